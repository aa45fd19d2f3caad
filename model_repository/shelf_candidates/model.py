"""The step `shelf_candidates` for Triton; what it does is in `shelfbridge/steps/shelf_candidates.py`."""

from shelfbridge.steps.shelf_candidates import ShelfCandidates
from shelfbridge.triton import served

TritonPythonModel = served(ShelfCandidates)
