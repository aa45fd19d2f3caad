"""The step `shortlist` for Triton; what it does is in `shelfbridge/steps/shortlist.py`."""

from shelfbridge.steps.shortlist import Shortlist
from shelfbridge.triton import served

TritonPythonModel = served(Shortlist)
