"""The settings of a 2D pose model: the YAML file beside it, and presets for well-known models."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...io.paths import from_home
from ...io.plain_yaml import PlainYamlError, read_plain_yaml
from ...skeletons import LAYOUTS, Layout, get_layout
from ..protocol import DetectorError

#: Decoders of top-down models: one person in each crop.
TOP_DOWN = ("simcc", "heatmap", "movenet_single")
#: Decoders of one-stage models: all people in an image.
ONE_STAGE = ("rtmo", "yolo_pose", "movenet_multi")
#: Decoders of all models that give keypoints.
POSE_DECODES = TOP_DOWN + ONE_STAGE
#: Decoders of models that give bounding boxes.
BOX_DECODES = ("yolo_boxes", "yolox_boxes", "nms_boxes")
#: Input size (width, height), px, of models that take any size.
DEFAULT_SIZE = {
    # At half of this size, people a third of the image tall are detected a fifth less often, with
    # half the accuracy.
    "movenet_multi": (512, 288),
    **dict.fromkeys(("rtmo", "yolo_pose", "yolo_boxes", "yolox_boxes", "nms_boxes"), (640, 640)),
}
#: Maximum width and height of a model's input, px.
MAX_SIDE = 8192
#: Data types of a model's input.
DTYPES = ("float32", "float16", "uint8", "int32")


@dataclass(frozen=True)
class NetworkConfig:
    """Input and output of a network.

    Attributes:
        decode: form of the output, one of `POSE_DECODES` or `BOX_DECODES`.
        layout: of the keypoints; None for boxes.
        size: (width, height) of the input, px; None for the model's own, or else `DEFAULT_SIZE`.
        channels: 'nchw' or 'nhwc'.
        dtype: one of `DTYPES`; None for the model's own.
        colors: 'rgb' or 'bgr'.
        mean, std: of each channel in the order of `colors`, for values 0..255; the network gets
            (value - mean) / std.
        placement: position of an image of another aspect ratio in the input, 'center' or 'corner'
            (upper left).
        fill: value, 0..255, of the pixels outside the image.
        score_threshold: minimum score of a candidate, 0..1.
        nms_iou: maximum IoU of the boxes of two people, 0..1; of two that overlap more, the one
            with the better score is kept.
        split: for simcc, number of bins per pixel.
        padding: for top-down models, size of a crop over size of the box.
        grid: for heatmap, 'corners' if the outermost cells lie on the outermost pixels (UDP),
            'stride' if each cell lies on the first of its pixels.
        refine: for heatmap, 'gaussian' (the peak of a Gaussian through the neighbours), 'quarter'
            (a quarter cell towards the higher neighbour) or 'none'.
        class_id: for boxes, index of the class of people.
        boxes: for top-down models, the model that detects people. None for a single person: the
            crop is the whole image first, and then the person's box in the image before.
        model: for boxes, the .onnx file.
        detect_every: for boxes, number of images per run of the model. In the other images the
            crops follow the people's boxes in the image before.
    """

    decode: str
    layout: Layout | None = None
    size: tuple[int, int] | None = None
    channels: str = "nchw"
    dtype: str | None = None
    colors: str = "rgb"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    placement: str = "center"
    fill: int = 0
    score_threshold: float = 0.1
    nms_iou: float = 0.5
    split: float = 2.0
    padding: float = 1.25
    grid: str = "corners"
    refine: str = "gaussian"
    class_id: int = 0
    boxes: NetworkConfig | None = None
    model: Path | None = None
    detect_every: int = 1


# ------------------------------------------------------------------------------------- presets

_IMAGENET = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
_IMAGENET_BGR = {key: value[::-1] for key, value in _IMAGENET.items()}
_ULTRALYTICS: dict[str, Any] = {"std": [255.0, 255.0, 255.0], "fill": 114}
_OPENMMLAB: dict[str, Any] = {"colors": "bgr", "placement": "corner", "fill": 114}

_POSE_PRESETS: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"rtmpose-[tsmlx](?![a-z]).*halpe26", {"decode": "simcc", "layout": "halpe26", **_IMAGENET}),
    (r"rtmpose-[tsmlx](?![a-z])", {"decode": "simcc", "layout": "coco17", **_IMAGENET}),
    (r"rtmo-[tsml](?![a-z])", {"decode": "rtmo", "layout": "coco17", **_OPENMMLAB}),
    (
        r"yolo(v8|11|26)[nsmlx]-pose",
        {"decode": "yolo_pose", "layout": "coco17", **_ULTRALYTICS},
    ),
    (
        r"movenet.*multi",
        {"decode": "movenet_multi", "layout": "coco17", "channels": "nhwc"},
    ),
    (
        r"movenet.*(single|lightning|thunder)",
        {"decode": "movenet_single", "layout": "coco17", "channels": "nhwc"},
    ),
    (r"vitpose", {"decode": "heatmap", "layout": "coco17", **_IMAGENET}),
    (r"tinypose", {"decode": "heatmap", "layout": "coco17", **_IMAGENET, "grid": "stride"}),
)
_BOX_PRESETS: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"yolox.*humanart", {"decode": "nms_boxes", **_OPENMMLAB}),
    (r"rtmdet", {"decode": "nms_boxes", **_OPENMMLAB, **_IMAGENET_BGR}),
    (r"yolox[-_](nano|tiny|[smlx])$", {"decode": "yolox_boxes", **_OPENMMLAB}),
    (r"yolo(v8|11|26)[nsmlx]$", {"decode": "yolo_boxes", **_ULTRALYTICS}),
)


def _preset(name: str, presets: tuple[tuple[str, dict[str, Any]], ...]) -> dict[str, Any] | None:
    for pattern, values in presets:
        if re.search(pattern, name.lower()):
            return values
    return None


# ---------------------------------------------------------------------------------- validation

Read = Callable[[Any], Any]


class _Wrong(Exception):
    """A value is not valid; the message says which values are."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _one_of(*choices: str) -> Read:
    def read(value: Any) -> str:
        if value not in choices:
            raise _Wrong(f"one of {', '.join(choices)}")
        return value

    return read


def _number(low: float, high: float) -> Read:
    def read(value: Any) -> float:
        if not _is_number(value) or not low <= value <= high:
            raise _Wrong(f"a number in {low:g}..{high:g}")
        return float(value)

    return read


def _whole(low: int, high: int) -> Read:
    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _Wrong(f"a whole number in {low}..{high}")
        return value

    return read


def _three(value: Any, positive: bool = False) -> tuple[float, ...]:
    fits = isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))
    if not fits or (positive and min(value) <= 0):
        raise _Wrong(f"a list of three{' positive' if positive else ''} numbers")
    return tuple(float(v) for v in value)


def _size(value: Any) -> tuple[int, int]:
    whole = _whole(8, MAX_SIDE)
    if not isinstance(value, list) or len(value) != 2:
        raise _Wrong("[width, height], px")
    return whole(value[0]), whole(value[1])


def _layout(value: Any) -> Layout:
    if not isinstance(value, str) or value not in LAYOUTS:
        raise _Wrong(f"one of {', '.join(LAYOUTS)}")
    return get_layout(value)


def _positive_three(value: Any) -> tuple[float, ...]:
    return _three(value, positive=True)


_INPUT: dict[str, Read] = {
    "decode": lambda value: value,  # checked before the others
    "size": _size,
    "channels": _one_of("nchw", "nhwc"),
    "dtype": _one_of(*DTYPES),
    "colors": _one_of("rgb", "bgr"),
    "mean": _three,
    "std": _positive_three,
    "placement": _one_of("center", "corner"),
    "fill": _whole(0, 255),
}
_SCORES: dict[str, Read] = {"score_threshold": _number(0.0, 1.0), "nms_iou": _number(0.0, 1.0)}
_CROPS: dict[str, Read] = {"padding": _number(1.0, 3.0), "boxes": lambda value: value}
_KEYS: dict[str, dict[str, Read]] = {
    "simcc": {"split": _number(1.0, 8.0), **_CROPS},
    "heatmap": {
        "grid": _one_of("corners", "stride"),
        "refine": _one_of("gaussian", "quarter", "none"),
        **_CROPS,
    },
    "movenet_single": _CROPS,
    "rtmo": _SCORES,
    "yolo_pose": _SCORES,
    "movenet_multi": _SCORES,
    **{
        decode: {
            **_SCORES,
            "class_id": _whole(0, 10_000),
            "model": lambda value: value,
            "detect_every": _whole(1, 1000),
        }
        for decode in BOX_DECODES
    },
}


def _read(values: Any, where: str, decodes: tuple[str, ...]) -> NetworkConfig:
    """Check the values of a mapping.

    Raises:
        DetectorError: a value is not valid; the message names the first one.
    """
    if not isinstance(values, dict):
        raise DetectorError(f"{where} must be a mapping of settings, not {values!r}")
    decode = values.get("decode")
    if decode not in decodes:
        raise DetectorError(
            f"{where}: decode must be one of {', '.join(decodes)}, not {decode!r}"
            if "decode" in values
            else f"{where}: decode is missing; it must be one of {', '.join(decodes)}"
        )
    known = {**_INPUT, **_KEYS[decode]}
    if decode in POSE_DECODES:
        known["layout"] = _layout
        if "layout" not in values:
            raise DetectorError(
                f"{where}: layout is missing; it must be one of {', '.join(LAYOUTS)}"
            )
    read = {}
    for key, value in values.items():
        if key not in known:
            raise DetectorError(
                f"{where}: unknown setting {key!r}; {decode} has: {', '.join(known)}"
            )
        try:
            read[key] = known[key](value)
        except _Wrong as wrong:
            raise DetectorError(f"{where}: {key} must be {wrong}, not {value!r}") from None
    return NetworkConfig(**read)


def load_config(path: Path) -> NetworkConfig:
    """The settings of a model: of the YAML file of the same name beside it, or of a preset.

    Raises:
        DetectorError: there is neither, or a setting is not valid; the message names it.
    """
    beside = _settings_beside(path)
    values: Any
    if beside:
        where = str(beside[0])
        try:
            values = read_plain_yaml(beside[0])
        except PlainYamlError as error:
            raise DetectorError(f"{where} cannot be read: {error}") from None
    else:
        where = f"the preset for {path.name}"
        values = _preset(path.stem, _POSE_PRESETS)
        if values is None:
            raise DetectorError(
                f"there is no {path.with_suffix('.yaml')} and no preset for a file of this name; "
                "docs/reference/onnx.md lists the settings"
            )
    config = _read(values, where, POSE_DECODES)
    boxes: Any = config.boxes
    if boxes is None or boxes == "whole":
        return replace(config, boxes=None)
    return replace(config, boxes=_read_boxes(boxes, path, where))


def files_of_model(path: Path) -> list[Path]:
    """The files on which a model's answers depend: with its settings and the model for boxes.

    Raises:
        DetectorError: as `load_config`.
    """
    boxes = load_config(path).boxes
    more = [boxes.model] if boxes is not None and boxes.model is not None else []
    return [path, *_settings_beside(path), *more]


def _settings_beside(path: Path) -> list[Path]:
    """The YAML file of the same name beside a model; empty where there is none."""
    both = (path.with_suffix(".yaml"), path.with_suffix(".yml"))
    return [file for file in both if file.is_file()][:1]


def _read_boxes(boxes: Any, path: Path, where: str) -> NetworkConfig:
    """The settings of the model that detects people for a top-down one."""
    if not isinstance(boxes, dict):
        raise DetectorError(f"{where}: boxes must be whole or a mapping with model, not {boxes!r}")
    where = f"{where}, boxes"
    file = boxes.get("model")
    if not isinstance(file, str) or not file:
        raise DetectorError(f"{where}: model must be the name of a .onnx file, not {file!r}")
    model = path.parent / from_home(file)
    if "decode" not in boxes:
        boxes = {**(_preset(model.stem, _BOX_PRESETS) or {}), **boxes}
    return replace(_read(boxes, where, BOX_DECODES), model=model)
