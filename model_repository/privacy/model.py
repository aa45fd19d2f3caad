"""The step `privacy` for Triton; what it does is in `shelfbridge/steps/privacy.py`."""

from shelfbridge.steps.privacy import Privacy
from shelfbridge.triton import served

TritonPythonModel = served(Privacy)
