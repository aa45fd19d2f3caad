"""Services that run inside the peers' own environments: each is one file that imports nothing of this project."""
