"""A small real ONNX model of each decoder's form, with its settings beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from marker_models import IMAGENET, marker_model, picture, places

from emf_ros.detect.onnx.detector import OnnxPoseDetector
from emf_ros.types import Pose2D

ULTRALYTICS = {"std": (255.0, 255.0, 255.0)}

#: What each form is like in the wild: the model's arguments and the settings.
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "simcc": (
        {"size": (192, 256), "mean": IMAGENET[0], "std": IMAGENET[1], "batch": "batch"},
        {},
    ),
    "heatmap": (
        {"size": (192, 256), "mean": IMAGENET[0], "std": IMAGENET[1], "batch": "batch"},
        {},
    ),
    "heatmap_stride": (
        {"size": (192, 256), "mean": IMAGENET[0], "std": IMAGENET[1], "batch": "batch"},
        {"grid": "stride"},
    ),
    "movenet_single": ({"size": (192, 192), "dtype": "int32", "channels": "nhwc"}, {}),
    "movenet_multi": (
        {"size": (512, 288), "dtype": "int32", "channels": "nhwc", "dynamic": True},
        {},
    ),
    "rtmo": ({"size": (320, 320), "colors": "bgr"}, {"placement": "corner", "fill": 114}),
    "yolo_pose": ({"size": (320, 320), **ULTRALYTICS}, {"fill": 114}),
    "yolo_pose_end2end": ({"size": (320, 256), **ULTRALYTICS}, {"fill": 114}),
}
EVERY_FORM = pytest.mark.parametrize("form", FORMS)
SIZES = [(640, 480), (1280, 720), (360, 640), (192, 256), (900, 300), (100, 75)]


def write(path: Path, settings: dict[str, Any]) -> None:
    path.with_suffix(".yaml").write_text(yaml.safe_dump(settings))


def make(folder: Path, form: str, settings: dict[str, Any] | None = None, **more: Any) -> Path:
    """A model of this form with its settings beside it."""
    arguments, own = FORMS[form]
    arguments = {**arguments, **more}
    path = marker_model(folder / f"{form}.onnx", form, **arguments)
    decode = form.removesuffix("_end2end").removesuffix("_stride")
    values: dict[str, Any] = {"decode": decode, "layout": "coco17"}
    for key in ("channels", "colors", "mean", "std"):
        if key in arguments:
            given = arguments[key]
            values[key] = list(given) if isinstance(given, tuple) else given
    write(path, {**values, **own, **(settings or {})})
    return path


def detector(path: Path, max_people: int = 4, min_score: float = 0.4) -> OnnxPoseDetector:
    return OnnxPoseDetector(path, max_people, min_score, device="cpu")


def scene(width: int, height: int, count: int = 17) -> tuple[np.ndarray, np.ndarray]:
    """An image of one person who fills most of it, and the joints' places."""
    person = places(count, 0.04 * width, 0.04 * height, 0.92 * width, 0.92 * height)
    apart = np.linalg.norm(person[:, None] - person[None], axis=-1) + 1e9 * np.eye(count)
    return picture(width, height, [person], 0.3 * apart.min()), person


def error(found: Pose2D, person: np.ndarray) -> float:
    """The largest distance of a keypoint from its marker, px of the image."""
    return float(np.linalg.norm(found.keypoints[:, :2] - person, axis=-1).max())
