"""The step `events` for Triton; what it does is in `shelfbridge/steps/events.py`."""

from shelfbridge.steps.events import Events
from shelfbridge.triton import served

TritonPythonModel = served(Events)
