"""The step `retrieve` for Triton; what it does is in `shelfbridge/steps/retrieve.py`."""

from shelfbridge.steps.retrieve import Retrieve
from shelfbridge.triton import served

TritonPythonModel = served(Retrieve)
