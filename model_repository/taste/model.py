"""The step `taste` for Triton; what it does is in `shelfbridge/steps/taste.py`."""

from shelfbridge.steps.taste import Taste
from shelfbridge.triton import served

TritonPythonModel = served(Taste)
