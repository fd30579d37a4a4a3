"""What order publishes: `order-placed`. It consumes nothing."""

PUBLISHES = ["order-placed"]
