"""Measuring programs for work on the server itself: rooflines, sweeps of settings, what single parts cost."""
