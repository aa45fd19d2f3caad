"""A recommendation shelf: what is known of the shopper and of the products, and how a shelf is filled from it."""
