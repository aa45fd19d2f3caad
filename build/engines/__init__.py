"""TensorRT engines from a release's ONNX masters: on the GPU that serves them, judged before they are published.

The code has run against a recording double of TensorRT only (`tests/unit/tensorrt_double.py`), not yet on a GPU.
"""
