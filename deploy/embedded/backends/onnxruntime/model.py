"""Stand-in for Triton's onnxruntime backend, which the wheel of the embedded server lacks.

Triton takes this file as the backend of every model whose config says `backend: "onnxruntime"`, and runs it in the
Python backend.
"""

from shelfbridge.triton import ServedGraph as TritonPythonModel

__all__ = ["TritonPythonModel"]
