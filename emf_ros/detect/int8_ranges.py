"""Which tensors of BlazePose's landmark network `full` are rounded to eight bits, and their ranges.

They belong to the layers of 16x16 and 8x8 cells, which have most of the operations. The first
layers, the heat map and the last layers stay in float32: rounding them moves the keypoints by up to
0.6 % of the height. The ranges of the tensors without relu6 were measured on 40 crops of the demo
and of another camera.
"""

from .tflite_to_onnx import RELU6_RANGE, Ranges

#: Indices of the tensors after relu6.
_RELU6 = (
    *(233, 234, 237, 238, 241, 242, 244, 245, 248, 249),
    *(252, 256, 258, 259, 262, 263, 266, 267, 270, 271),
)
#: Ranges of the other tensors, by their index.
_OTHERS = {
    232: (-45.0, 71.0),
    235: (-38.0, 38.0),
    236: (-47.0, 76.0),
    239: (-42.0, 38.0),
    240: (-75.0, 75.0),
    243: (-45.0, 70.0),
    246: (-49.0, 74.0),
    247: (-87.0, 134.0),
    250: (-103.0, 117.0),
    251: (-161.0, 232.0),
    257: (-43.0, 34.0),
    260: (-29.0, 31.0),
    261: (-52.0, 53.0),
    264: (-43.0, 45.0),
    265: (-84.0, 75.0),
    268: (-134.0, 119.0),
    269: (-152.0, 141.0),
}
#: Ranges of the rounded tensors of each variant of the landmark network that has such tensors.
INT8_RANGES: dict[str, Ranges] = {"full": {**dict.fromkeys(_RELU6, RELU6_RANGE), **_OTHERS}}
