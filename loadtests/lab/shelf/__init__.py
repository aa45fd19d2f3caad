"""What a shelf and a personal search cost beside a search, and how soon an event shows."""
