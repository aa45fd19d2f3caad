"""Which settings serve a release best on this machine."""
