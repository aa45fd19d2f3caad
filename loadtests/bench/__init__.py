"""Shelfbridge beside what a shop would otherwise run: same machine, catalogue, queries and weights."""
