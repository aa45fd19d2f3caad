"""The step `personal` for Triton; what it does is in `shelfbridge/steps/personal.py`."""

from shelfbridge.steps.personal import Personal
from shelfbridge.triton import served

TritonPythonModel = served(Personal)
