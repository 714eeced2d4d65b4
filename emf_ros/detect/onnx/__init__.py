"""The user's own 2D pose models in ONNX.

- `config`: the settings of a model, from the YAML file beside it or from a preset;
- `network`: one model in onnxruntime;
- `decode`: the inputs and outputs of each family of models;
- `detector`: the detector.
"""

from .detector import OnnxPoseDetector

__all__ = ["OnnxPoseDetector"]
