"""Topologies: where and how the model repository is served."""
