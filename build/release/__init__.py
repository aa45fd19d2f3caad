"""Room of the release: what is decided, put together, published, and changed while it is served."""
