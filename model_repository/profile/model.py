"""The step `profile` for Triton; what it does is in `shelfbridge/steps/profile.py`."""

from shelfbridge.steps.profile import Profile
from shelfbridge.triton import served

TritonPythonModel = served(Profile)
