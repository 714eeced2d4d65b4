"""Truth from several cameras: points where the rays of calibrated views meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..geometry.camera import Camera

#: Rays that miss the point which the others agree on by more, m, are left out.
OUTLIER_M = 0.08
#: Standard deviation of the Gaussian that smooths the truth over time, s: a person's joints have
#: little over 4 Hz, where it takes a quarter off; at 6 Hz it halves.
SMOOTHING_S = 0.03


@dataclass
class View:
    """One of the cameras.

    Attributes:
        video: its file.
        camera: intrinsics.
        rotation: (3, 3) from the world to its optical frame.
        position: (3,) m in the world.
    """

    video: Path
    camera: Camera
    rotation: np.ndarray
    position: np.ndarray

    def from_world(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) m in the world -> in the camera's optical frame."""
        return (points - self.position) @ self.rotation.T


def triangulate(views: list[View], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points in the world that are nearest to the cameras' rays.

    The point nearest to lines minimises the sum of squared distances across them, a 3x3 linear
    system. Rays are weighed by their scores, and left out one by one while one misses by more than
    OUTLIER_M and three or more are left.

    Args:
        points: (V, N, K, 3) px, px, score.

    Returns:
        (N, K, 3) m, NaN where fewer than two rays are left, and (V, N, K) m, how far each ray
        passes, NaN for those left out.
    """
    rays = np.stack([v.camera.rays(p[..., :2]) for v, p in zip(views, points, strict=True)])
    lines = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1)
    lines = np.stack([line @ v.rotation for line, v in zip(lines, views, strict=True)])
    lines /= np.linalg.norm(lines, axis=-1, keepdims=True)
    across = np.eye(3) - lines[..., :, None] * lines[..., None, :]
    starts = np.stack([v.position for v in views])
    known = np.isfinite(lines).all(axis=-1)
    weight = np.where(known, points[..., 2], 0.0)
    across = np.where(known[..., None, None], across, 0.0)
    shift = np.einsum("vnkij,vj->vnki", across, starts)
    while True:
        normal = (weight[..., None, None] * across).sum(axis=0)
        enough = (weight > 0).sum(axis=0) >= 2
        normal = np.where(enough[..., None, None], normal, np.eye(3))
        found = np.linalg.solve(normal, (weight[..., None] * shift).sum(axis=0)[..., None])[..., 0]
        found = np.where(enough[..., None], found, np.nan)
        miss = np.linalg.norm(
            np.einsum("vnkij,vnkj->vnki", across, found[None] - starts[:, None, None]), axis=-1
        )
        miss = np.where(weight > 0, miss, np.nan)
        worst = np.nan_to_num(miss).argmax(axis=0)
        worst_miss = np.take_along_axis(np.nan_to_num(miss), worst[None], axis=0)[0]
        drop = (worst_miss > OUTLIER_M) & ((weight > 0).sum(axis=0) > 2)
        if not drop.any():
            return found, miss
        keep = np.take_along_axis(weight, worst[None], axis=0)[0]
        np.put_along_axis(weight, worst[None], np.where(drop, 0.0, keep)[None], axis=0)


def smooth(positions: np.ndarray, rate_hz: float) -> np.ndarray:
    """(N, ...) by a Gaussian over time; NaN counts for nothing."""
    step = np.arange(len(positions)) / rate_hz
    kernel = np.exp(-0.5 * ((step[:, None] - step) / SMOOTHING_S) ** 2)
    known = np.isfinite(positions)
    total = np.tensordot(kernel, np.where(known, positions, 0.0), axes=1)
    return total / np.tensordot(kernel, known.astype(float), axes=1)
