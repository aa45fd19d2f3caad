"""A shop's load on two sites: what shoppers do, how their number changes, what fails, and what callers saw of it."""
