"""The step `preprocess` for Triton; what it does is in `shelfbridge/steps/preprocess.py`."""

from shelfbridge.steps.preprocess import Preprocess
from shelfbridge.triton import served

TritonPythonModel = served(Preprocess)
