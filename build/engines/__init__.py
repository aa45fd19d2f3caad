"""TensorRT engines from a release's ONNX masters: on the GPU that serves them, judged before they are published.

Parsing and building have run through NVIDIA's TensorRT-RTX (`check`), and all of it through a recording double
(`tests/unit/tensorrt_double.py`); none of it on a GPU yet.
"""
