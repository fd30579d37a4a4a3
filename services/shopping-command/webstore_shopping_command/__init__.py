"""WebStore's carts, written: event-sourced commands."""
