"""A camera of the values that a calibration file gives it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ...geometry.camera import Camera, CameraError
from .values import is_true, read_matrix, read_number, read_numbers, read_whole_number

#: Order of the coefficients of a fisheye, where each has a name.
_FISHEYE_ORDER = ("k1", "k2", "k3", "k4")

#: Order of the coefficients of all other models, where each has a name.
_RADIAL_ORDER = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")

#: Camera models that are not implemented.
_UNSUPPORTED_CAMERA_MODELS = (
    "omni",
    "omnidirectional",
    "mei",
    "eucm",
    "ds",
    "doublesphere",
    "fov",
    "atan",
    "ocam",
    "scaramuzza",
    "cata",
    "equirectangular",
)

#: Camera models whose distortion is a fisheye's, where no distortion model is given.
_FISHEYE_CAMERA_MODELS = ("fisheye", "equidistant", "kannalabrandt", "kannalabrandt8")


def make_camera(values: dict[str, Any], rectified: bool) -> Camera:
    """The camera of the values that `find_cameras` found.

    Args:
        rectified: take the intrinsics of the rectified images (the left 3x3 of P).

    Raises:
        CameraError: a value is missing, wrong or not supported.
    """
    camera_model = re.sub(r"[^a-z0-9]", "", str(values.get("camera_model", "")).lower())
    if camera_model in _UNSUPPORTED_CAMERA_MODELS or "xi" in values:
        raise CameraError(
            f"the camera model {values.get('camera_model', 'omnidirectional')} is not implemented: "
            "calibrate as pinhole-radtan or pinhole-equi (equidistant)"
        )
    size = _size(values)
    if rectified:
        camera = Camera(_rectified_intrinsics(values), size)
    else:
        model, distortion = _lens(values, camera_model)
        camera = Camera(_intrinsics(values), size, distortion, model)
    roi = values.get("roi", {})
    x, y, width, height = (
        read_whole_number(roi.get(key, "0"), f"roi.{key}")
        for key in ("x_offset", "y_offset", "width", "height")
    )
    across, down = (
        read_whole_number(values.get(key, "0"), key) for key in ("binning_x", "binning_y")
    )
    return camera.delivered((x, y, width, height), (across, down))


def _size(values: dict[str, Any]) -> tuple[int, int]:
    """(width, height), px."""
    if "width" in values and "height" in values:
        return (
            read_whole_number(values["width"], "width"),
            read_whole_number(values["height"], "height"),
        )
    if "size" in values:
        size = read_numbers(values["size"], "image size")
        if len(size) == 2:
            return read_whole_number(size[0], "width"), read_whole_number(size[1], "height")
    missing = [name for name in ("width", "height") if name not in values]
    raise CameraError(
        f"there is no image {' and no image '.join(missing)}: add image_width and image_height, "
        "px, of the images that were used to calibrate"
    )


def _rectified_intrinsics(values: dict[str, Any]) -> np.ndarray:
    """(3, 3) px, the left part of P."""
    if "projected" not in values:
        raise CameraError(
            "no projection_matrix (P) is in it, which has the intrinsics of rectified images"
        )
    projected = read_matrix(values["projected"], "projection_matrix", 4)
    if not projected.any():
        raise CameraError("the projection_matrix is zero: no rectified images are known")
    return projected[:, :3]


def _intrinsics(values: dict[str, Any]) -> np.ndarray:
    """(3, 3) K, px."""
    if "matrix" in values:
        matrix = read_matrix(values["matrix"], "camera matrix", 3)
    elif missing := [name for name in ("fx", "fy", "cx", "cy") if name not in values]:
        raise CameraError(f"the camera matrix is missing: there is no {', '.join(missing)}")
    else:
        fx, fy, cx, cy = (read_number(values[name], name) for name in ("fx", "fy", "cx", "cy"))
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if not matrix.any():
        raise CameraError(
            "the camera matrix is zero: the camera was not calibrated; calibrate it, or give a "
            "field of view in place of the file"
        )
    return matrix


def _lens(values: dict[str, Any], camera_model: str) -> tuple[str, np.ndarray]:
    """The name of the distortion model as the file gives it, and the coefficients (N,).

    Args:
        camera_model: the file's camera model, in lower case, letters and digits only.
    """
    model = str(values.get("model", ""))
    if not model and camera_model:
        # Old files of camera_calibration have the distortion model under this name.
        is_fisheye = camera_model in _FISHEYE_CAMERA_MODELS
        model = "equidistant" if is_fisheye else str(values["camera_model"])
    if is_true(values.get("fisheye", "0")):
        model = model or "equidistant"
    if "distortion" in values:
        return model, read_numbers(values["distortion"], "distortion coefficients")
    named = [name for name in (*_RADIAL_ORDER, "p3") if name in values]
    if not named:
        return model, np.zeros(0)
    fisheye = model.lower().replace("-", "_") in ("equidistant", "fisheye", "kannala_brandt")
    order = _FISHEYE_ORDER if fisheye else _RADIAL_ORDER
    if not set(named) <= set(order):
        raise CameraError(f"{', '.join(set(named) - set(order))} is no coefficient of {model}")
    coefficients = [read_number(values.get(name, "0"), name) for name in order]
    if fisheye or any(coefficients[5:]):
        return model, np.array(coefficients)
    # Named coefficients without a model are radial and tangential ones.
    return model or "plumb_bob", np.array(coefficients[:5])
