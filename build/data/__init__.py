"""Room of data: what there is to learn from."""
