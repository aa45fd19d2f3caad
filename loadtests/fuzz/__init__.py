"""Malformed and hostile requests at two sites, while others search."""
