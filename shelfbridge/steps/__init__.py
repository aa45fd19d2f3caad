"""The steps of the pipelines, one module each: plain classes, (inputs, snapshot of the release) to outputs."""

from shelfbridge.steps.step import Arrays, Inputs, Outputs, Step, strings

__all__ = ["Arrays", "Inputs", "Outputs", "Step", "strings"]
