"""2D pose models of the user's own in ONNX.

- `config`: the YAML file beside a model;
- `decode`: the outputs of each family of models;
- `detector`: the detector.
"""

from .detector import OnnxPoseDetector

__all__ = ["OnnxPoseDetector"]
