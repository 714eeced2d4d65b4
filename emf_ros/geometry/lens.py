"""Distortion models: their names in ROS and in other programs, and their coefficients."""

from __future__ import annotations

import re

import numpy as np


class CameraError(ValueError):
    """Intrinsics that are impossible or not supported."""


#: Names of the equidistant model in ROS.
FISHEYE_MODELS = ("equidistant", "fisheye")

#: Names of the radial-tangential models in ROS.
_RADIAL_MODELS = ("plumb_bob", "rational_polynomial", "thin_prism_fisheye")

#: Names of the radial-tangential model in other programs (OpenCV's `calibrateCamera`).
_RADIAL_NAMES = (
    "radtan",
    "radial_tangential",
    "brown",
    "brown_conrady",
    "rational",
    "rational_polynomial_8",
    "opencv",
)

#: Names of the equidistant model in other programs (OpenCV's `fisheye`).
_FISHEYE_NAMES = (
    "equi",
    "equidist",
    "kannala_brandt",
    "kannala_brandt4",
    "kannala_brandt8",
    "kb4",
    "opencv_fisheye",
)

#: Names without a distortion model; the number of coefficients decides where it can.
_PINHOLE_NAMES = ("", "pinhole", "perspective")

#: Names of no distortion.
_NO_DISTORTION_NAMES = ("none", "no_distortion", "undistorted", "rectified")

#: Names of models that are not implemented; with zero coefficients they are no distortion.
_OTHER_POLYNOMIALS = ("inverse_brown_conrady", "modified_brown_conrady")


def read_distortion_model(model: str, distortion: np.ndarray) -> tuple[str, np.ndarray]:
    """The name of a distortion model in ROS, and its coefficients.

    Args:
        model: its name in ROS or in another program.
        distortion: (N,) finite.

    Raises:
        CameraError: the model is unknown, the number of coefficients is wrong, or four coefficients
            may belong to either of two models.
    """
    name = re.sub(r"[\s\-]+", "_", model.strip().lower())
    count, is_distorted = distortion.size, bool(distortion.any())
    if name in FISHEYE_MODELS + _FISHEYE_NAMES:
        if count not in (0, 4):
            if count < 4 or distortion[4:].any():
                raise CameraError(f"a fisheye has 4 coefficients, not {count}")
            # Some drivers, as of the T265, fill up the length of the other models with zeros.
            distortion = distortion[:4]
        return ("fisheye" if name == "fisheye" else "equidistant"), distortion
    if name in _NO_DISTORTION_NAMES + _OTHER_POLYNOMIALS:
        if not is_distorted:
            return "plumb_bob", np.zeros(0)
        if name in _NO_DISTORTION_NAMES:
            raise CameraError(f"the distortion model is {model!r}, but D is not zero")
        raise CameraError(
            f"the distortion model {model!r} is not implemented; calibrate with plumb_bob, "
            "rational_polynomial or equidistant"
        )
    if name not in _RADIAL_MODELS + _RADIAL_NAMES + _PINHOLE_NAMES:
        raise CameraError(
            f"unknown distortion model {model!r}; known are plumb_bob (radtan), "
            "rational_polynomial, equidistant (fisheye) and none"
        )
    counts = (12, 14) if name == "thin_prism_fisheye" else (4, 5, 8, 12, 14)
    if count and count not in counts:
        known = f"{', '.join(map(str, counts[:-1]))} or {counts[-1]}"
        raise CameraError(
            f"D has {count} values, the distortion model {known} (k1, k2, p1, p2, k3, ...): write "
            "0 for those that are not used"
        )
    if name in _PINHOLE_NAMES and count == 4 and is_distorted:
        raise CameraError(
            "D has 4 values and no distortion_model; write one: plumb_bob (k1, k2, p1, p2) or "
            "equidistant (k1, k2, k3, k4)"
        )
    if name in _RADIAL_MODELS:
        return name, distortion
    return ("plumb_bob" if count <= 5 else "rational_polynomial"), distortion
