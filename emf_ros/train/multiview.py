"""Triangulation of points from several calibrated cameras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..geometry.camera import Camera

#: Maximum distance of a ray from the triangulated point, m. Rays beyond are left out.
OUTLIER_M = 0.08
#: Standard deviation of the Gaussian that smooths points over time, s. It keeps three quarters at
#: 4 Hz and half at 6 Hz; joints of a person move little above 4 Hz.
SMOOTHING_S = 0.03


@dataclass
class View:
    """One camera of a recording.

    Attributes:
        video: its file.
        camera: intrinsics.
        rotation: (3, 3) from the world to the optical frame.
        position: (3,) m in the world.
    """

    video: Path
    camera: Camera
    rotation: np.ndarray
    position: np.ndarray

    def from_world(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) m, from the world to the camera's optical frame."""
        return (points - self.position) @ self.rotation.T


def triangulate(views: list[View], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points in the world that are nearest to the cameras' rays.

    The sum of squared distances from the rays is minimised, weighted by scores: a 3x3 system.
    While a ray is more than `OUTLIER_M` away and three or more are left, the farthest is left out.

    Args:
        views: V cameras.
        points: (V, N, K, 3) px, px, score.

    Returns:
        (N, K, 3) m, NaN where fewer than two rays are left; and (V, N, K) m, the distance of each
        ray, NaN where left out.
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
    """Smooth (N, ...) by a Gaussian over time; NaN has no weight."""
    step = np.arange(len(positions)) / rate_hz
    kernel = np.exp(-0.5 * ((step[:, None] - step) / SMOOTHING_S) ** 2)
    known = np.isfinite(positions)
    total = np.tensordot(kernel, np.where(known, positions, 0.0), axes=1)
    return total / np.tensordot(kernel, known.astype(float), axes=1)
