"""What compression costs and gains, candidate by candidate: `python -m build.frontier`."""
