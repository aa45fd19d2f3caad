"""Offline programs: data in, a new release of the model repository out."""
