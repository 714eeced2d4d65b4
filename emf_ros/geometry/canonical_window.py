"""The canonical view: windows of keypoints as the model takes them, independent of the camera.

The functions take numpy arrays and torch tensors alike (by the array API). Training and the live
engine share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .array_namespace import array_namespace


@dataclass
class CanonicalWindow:
    """Windows of keypoints, as the model takes them.

    Attributes:
        keypoints: (B, T, J, 3): x, y in units of the window's scale, score; zeros where missing.
        rotation: (B, 3, 3): from the camera's optical frame to the virtual camera's.
        valid: (B,): the window has enough keypoints to be centred and scaled.
    """

    keypoints: Any
    rotation: Any
    valid: Any


def look_at_rotation(direction: Any) -> Any:
    """The smallest rotation that turns a direction onto the optical axis.

    It keeps the camera's roll about its axis as far as possible: down stays down.

    Args:
        direction: (..., 3), any length, z > 0.

    Returns:
        (..., 3, 3) R with R @ direction on +z. Rodrigues' formula for the axis d x z.
    """
    xp = array_namespace(direction)
    d = direction / xp.sqrt(xp.sum(direction**2, axis=-1, keepdims=True))
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    k = 1.0 / (1.0 + z)
    rows = [
        xp.stack([1.0 - x * x * k, -x * y * k, -x], axis=-1),
        xp.stack([-x * y * k, 1.0 - y * y * k, -y], axis=-1),
        xp.stack([x, y, z], axis=-1),
    ]
    return xp.stack(rows, axis=-2)


def canonical_window(rays: Any, scores: Any) -> CanonicalWindow:
    """Make windows of rays independent of the camera.

    A virtual camera looks along the window's mean ray to the person. Its image is divided by one
    scale for the whole window. The result depends neither on focal length and resolution nor on
    the position in the image. Motion within the window is kept.

    Args:
        rays: (B, T, J, 2), finite; ignored where the score is 0.
        scores: (B, T, J) 0..1; 0 marks a missing keypoint.

    Returns:
        the windows, in the arrays' own library and type.
    """
    xp = array_namespace(rays)
    seen = xp.astype(scores > 0, rays.dtype)
    x, y = rays[..., 0], rays[..., 1]
    count = xp.sum(seen, axis=(1, 2))
    # The mean of unit rays: the mean of points on the plane is biased outwards at wide angles.
    unit = seen / xp.sqrt(x * x + y * y + 1.0)
    any_seen = count > 0
    sums = (xp.sum(part, axis=(1, 2)) for part in (unit * x, unit * y, unit))
    forward = (0.0, 0.0, 1.0)
    axis = [xp.where(any_seen, total, one) for total, one in zip(sums, forward, strict=True)]
    rotation = look_at_rotation(xp.stack(axis, axis=-1))
    turned_x, turned_y, turned_z = (
        row[:, 0, None, None] * x + row[:, 1, None, None] * y + row[:, 2, None, None]
        for row in (rotation[:, i] for i in range(3))
    )
    # Rays more than 84 degrees from the window's mean do not belong to one person.
    in_front = turned_z > 0.1
    depth = xp.where(in_front, turned_z, 1.0)
    seen = seen * xp.astype(in_front, rays.dtype)
    plane_x, plane_y = turned_x / depth * seen, turned_y / depth * seen
    count = xp.sum(seen, axis=(1, 2))
    total = xp.where(count > 0, count, 1.0)
    spread = xp.sum(plane_x**2 + plane_y**2, axis=(1, 2)) / total
    valid = (count >= 6) & (spread > 1e-10)
    scale = 1.0 / xp.sqrt(xp.where(valid, spread, 1.0))[:, None, None]
    keypoints = xp.stack([plane_x * scale, plane_y * scale, scores * seen], axis=-1)
    return CanonicalWindow(keypoints, rotation, valid)
