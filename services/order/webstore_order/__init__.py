"""WebStore's orders, from the checkout to being placed."""
