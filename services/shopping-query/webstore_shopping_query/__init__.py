"""WebStore's carts, read: the read model and the checkout."""
