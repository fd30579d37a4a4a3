"""WebStore's products, their stock, and the reservations of orders."""
