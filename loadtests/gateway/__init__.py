"""What the gateway adds to a search."""
