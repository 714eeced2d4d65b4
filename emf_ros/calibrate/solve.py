"""Intrinsics of the views of a board, by OpenCV (Zhang's method), with their doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ..geometry.camera import Camera
from .board import Found
from .views import MIN_VIEWS, Views

#: Error of a corner that is assumed at least, px. Exact corners would otherwise hide that the views
#: do not determine the focal length.
MIN_CORNER_ERROR_PX = 0.1

#: Relative change of the focal length by which its doubt is measured.
FOCAL_STEP = 0.02

#: Maximum standard deviation of the focal length, as a share of it.
MAX_FOCAL_DOUBT = 0.01

#: Maximum reprojection error, root mean square, px of an image 1000 px wide.
MAX_RMS_PX = 1.5

#: Reprojection error of a view, in medians of all views, beyond which it is left out.
OUTLIER = 3.0

#: Distortion models: OpenCV's flags, and the number of coefficients that are written.
MODELS = {
    "plumb_bob": (cv2.CALIB_FIX_K3, 5),
    "rational_polynomial": (cv2.CALIB_RATIONAL_MODEL, 8),
}


class CalibrationError(ValueError):
    """The views do not give the intrinsics; the message says why, and what to do."""


@dataclass(frozen=True)
class Calibration:
    """Intrinsics and how good they are.

    Attributes:
        camera: the intrinsics.
        rms_px: reprojection error, root mean square over all corners, px.
        focal_stddev_px: standard deviation of the focal length, px.
        left_out: names of views with a reprojection error far over the others'.
    """

    camera: Camera
    rms_px: float
    focal_stddev_px: float
    left_out: tuple[str, ...]


def solve(views: Views, model: str = "plumb_bob") -> Calibration:
    """The intrinsics of the views.

    Args:
        views: at least five that differ.
        model: one of `MODELS`.

    Raises:
        CalibrationError: there are too few views, they do not determine the focal length, or no
            camera of this model made them.
    """
    if len(views.found) < MIN_VIEWS:
        raise CalibrationError(
            f"{len(views.found)} different views of the board are too few, {MIN_VIEWS} are needed "
            "and 15 are good: move and tilt it; check --board (a checkerboard has inner corners)"
        )
    found, names = views.found, views.names
    rms, matrix, distortion, errors = _fit(found, views.size, model)
    good = errors <= max(OUTLIER * float(np.median(errors)), 1.0)
    left_out = tuple(name for name, kept in zip(names, good, strict=True) if not kept)
    if left_out and good.sum() >= MIN_VIEWS:
        found = [view for view, kept in zip(found, good, strict=True) if kept]
        rms, matrix, distortion, errors = _fit(found, views.size, model)
    else:
        left_out = ()
    hint = next(iter(views.hints()), "show more views")
    limit = MAX_RMS_PX * max(1.0, views.size[0] / 1000)
    if not rms <= limit:
        raise CalibrationError(
            f"the reprojection error is {rms:.2f} px, at most {limit:.2f} is usable: the board "
            "must be flat, the pictures sharp, and --board right"
        )
    focal, doubt = float(matrix[0, 0]), _focal_doubt(found, views.size, model, matrix, rms)
    if not doubt <= MAX_FOCAL_DOUBT * focal:
        raise CalibrationError(
            f"the views do not determine the focal length ({focal:.0f} px, +- {doubt:.0f}): {hint}"
        )
    return Calibration(Camera(matrix, views.size, distortion, model), rms, doubt, left_out)


def _focal_doubt(
    found: list[Found], size: tuple[int, int], model: str, matrix: np.ndarray, rms: float
) -> float:
    """Standard deviation of the focal length, px: how the error grows when it is changed.

    All else is fitted again. OpenCV's own deviations are zero where a value is not determined.
    """
    corners = sum(len(view.points) for view in found)
    # Of one coordinate; the error is of both.
    variance = max(rms**2 / 2, MIN_CORNER_ERROR_PX**2)
    rises = []
    for factor in (1 - FOCAL_STEP, 1 + FOCAL_STEP):
        changed = matrix.copy()
        changed[[0, 1], [0, 1]] *= factor
        other, *_ = _fit(found, size, model, changed)
        rises.append(corners * (other**2 - rms**2) / variance)
    rise = max(min(rises), 0.0)
    return float(FOCAL_STEP * matrix[0, 0] / np.sqrt(rise)) if rise > 0 else float("inf")


def _fit(
    found: list[Found], size: tuple[int, int], model: str, fixed: np.ndarray | None = None
) -> tuple:
    """Reprojection error, K, D, and errors of the views.

    Args:
        fixed: K with focal lengths that are kept; None: all of K is fitted.
    """
    flags, count = MODELS[model]
    none: Any = None
    guess: Any = None
    if fixed is not None:
        flags |= cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_FOCAL_LENGTH
        guess = fixed.copy()
    points = [
        np.concatenate([f.points, np.zeros((len(f.points), 1))], axis=1).astype(np.float32)
        for f in found
    ]
    pixels = [f.pixels.astype(np.float32).reshape(-1, 1, 2) for f in found]
    try:
        rms, matrix, distortion, _, _, _, _, errors = cv2.calibrateCameraExtended(
            points, pixels, size, guess, none, flags=flags
        )
    except cv2.error as error:
        raise CalibrationError(
            f"OpenCV finds no camera for these views: {' '.join(str(error).split())[:150]}; show "
            "more views, with the board tilted"
        ) from None
    if not (np.isfinite(matrix).all() and np.isfinite(distortion).all() and matrix[0, 0] > 0):
        raise CalibrationError("OpenCV finds no camera for these views: show more, tilted ones")
    return float(rms), matrix, distortion.ravel()[:count], errors.ravel()
