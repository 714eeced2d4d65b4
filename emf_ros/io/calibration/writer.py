"""Write the intrinsics of a camera as ROS's camera_calibration does."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...geometry.camera import Camera
from ..outputs import write_text


def camera_text(camera: Camera, name: str, comments: tuple[str, ...] = ()) -> str:
    """The text of the file. P is K, as of images that are rectified to K.

    Args:
        camera: the intrinsics, of whole images.
        name: of the camera.
        comments: lines at the beginning, without '#'.
    """
    projection = np.zeros((3, 4))
    projection[:, :3] = camera.matrix
    lines = [f"# {comment}" for comment in comments]
    lines += [
        f"image_width: {camera.size[0]}",
        f"image_height: {camera.size[1]}",
        f"camera_name: {name}",
        *_matrix("camera_matrix", camera.matrix),
        f"distortion_model: {camera.model}",
        *_matrix("distortion_coefficients", camera.distortion[None]),
        *_matrix("rectification_matrix", np.eye(3)),
        *_matrix("projection_matrix", projection),
    ]
    return "\n".join(lines) + "\n"


def _matrix(name: str, values: np.ndarray) -> list[str]:
    numbers = ", ".join(f"{value:.10g}" for value in values.ravel().tolist())
    rows, columns = values.shape
    return [f"{name}:", f"  rows: {rows}", f"  cols: {columns}", f"  data: [{numbers}]"]


def write_camera(
    path: str | Path, camera: Camera, name: str, comments: tuple[str, ...] = ()
) -> None:
    """Write the file; an existing one is replaced when the new one is complete.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, camera_text(camera, name, comments))
