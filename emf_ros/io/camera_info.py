"""Intrinsics of messages sensor_msgs/CameraInfo, of ROS or of a bag that is read without ROS."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry.camera import Camera


def camera_from_info(message: Any, rectified: bool = False) -> Camera | None:
    """The camera of the images as they are delivered: cropped to `roi`, then binned (REP 104).

    Args:
        message: of a camera; its width, height, K, D and P are those of the full image.
        rectified: whether the images are rectified. The intrinsics are then the left 3x3 of P,
            without distortion. The last column of P, of a stereo pair, moves no ray.

    Returns:
        the camera; None where K, or P of rectified images, is zero: it is not calibrated.

    Raises:
        CameraError: the intrinsics are invalid.
    """
    if rectified:
        matrix = np.asarray(message.p, dtype=np.float64).reshape(3, 4)[:, :3]
        distortion, model = np.zeros(0), "none"
    else:
        matrix = np.asarray(message.k, dtype=np.float64)
        distortion, model = np.asarray(message.d), message.distortion_model
    if not matrix.any():
        return None
    roi = message.roi
    return Camera(matrix, (message.width, message.height), distortion, model).delivered(
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
        (message.binning_x, message.binning_y),
    )


def delivered_size(message: Any) -> tuple[int, int]:
    """(width, height) px of the images as they are delivered; needs no intrinsics."""
    width = message.roi.width or message.width
    height = message.roi.height or message.height
    return width // max(1, message.binning_x), height // max(1, message.binning_y)
