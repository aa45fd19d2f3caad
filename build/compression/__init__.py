"""Room of compression: one network in every form that is served, from one set of scales."""
