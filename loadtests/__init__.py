"""Measuring programs: they write JSON and a plot, and never decide whether a test passes."""
