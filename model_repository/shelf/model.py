"""The step `shelf` for Triton; what it does is in `shelfbridge/steps/shelf.py`."""

from shelfbridge.steps.shelf import Shelf
from shelfbridge.triton import served

TritonPythonModel = served(Shelf)
