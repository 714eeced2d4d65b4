"""BlazePose in onnxruntime.

- `decode`: the networks' outputs: anchors, candidates, NMS, heat maps;
- `roi`: the region of interest (ROI) of a person, and its prediction for the next frame;
- `crops`: image pyramid, contrast normalisation, the networks' inputs;
- `tiles`: which parts of the image the person detection gets;
- `verification`: which tracked poses are false positives;
- `detector`: the detector that is made of these.
"""

from .detector import BlazePoseDetector

__all__ = ["BlazePoseDetector"]
