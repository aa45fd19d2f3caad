"""The step `postprocess` for Triton; what it does is in `shelfbridge/steps/postprocess.py`."""

from shelfbridge.steps.postprocess import Postprocess
from shelfbridge.triton import served

TritonPythonModel = served(Postprocess)
