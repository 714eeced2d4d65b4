"""The virtual camera of the 3D view: where it stands, what it holds in view, how it projects."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from ...geometry.camera import Camera
from .floor import DEFAULT_FLOOR_M, Floor

#: Angle about the vertical, rad: the observer stands to the right of the camera and looks left.
YAW_RAD = math.radians(-38.0)
#: Angle below the horizontal, rad.
PITCH_RAD = math.radians(21.0)
#: Focal length in image sides. It is long, so that people far away are not tiny.
FOCAL_SIDES = 1.9
#: Time constant of widening the view, s.
WIDEN_S = 0.5
#: Time constant of narrowing the view, s.
NARROW_S = 5.0
#: Maximum distance of a joint from the body's middle along each axis, m; beyond it is an error.
MAX_REACH_M = 1.2
#: Minimum distance in front of the observer at which a point is drawn, m.
MIN_DEPTH_M = 0.05

#: Range of the view's lower and upper corner, m: x, y, z in the optical frame.
_LOW_RANGE = ([-8, -3, 0.2], [7, 2, 11])
_HIGH_RANGE = ([-7, -2, 1.2], [8, 5, 12])


class Observer:
    """A virtual camera beside, behind and above the real one, which keeps people in view.

    The view adapts slowly: it widens within a second for a person who would leave it and narrows
    over several seconds. The floor is taken to be level in the optical frame, at the height of
    the lowest ankles. Under a pitched camera that is wrong by the pitch, but it is the same error
    for everyone, and positions can still be compared.

    Args:
        width, height: of the image, px.
        frustum: (4, 3) m, corners of the real camera's field of view, kept in view.

    Attributes:
        low, high: (3,) m, the box in the optical frame that is held in view.
    """

    def __init__(self, width: int, height: int, frustum: np.ndarray) -> None:
        self._size = np.array([width, height])
        self._frustum = frustum
        sin_yaw, cos_yaw = math.sin(YAW_RAD), math.cos(YAW_RAD)
        sin_pitch, cos_pitch = math.sin(PITCH_RAD), math.cos(PITCH_RAD)
        ahead = np.array([sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch])
        right = np.array([cos_yaw, 0.0, -sin_yaw])
        self._axes = np.stack([right, np.cross(ahead, right), ahead])
        self._focal = FOCAL_SIDES * max(width, height)
        # People stand in the lower part; the upper part has room for the top view.
        self._centre = np.array([0.5 * width, 0.6 * height])
        self.low = np.array([-1.0, -0.7, 2.0])
        self.high = np.array([1.0, DEFAULT_FLOOR_M, 4.0])
        self._floor = Floor()
        self._seen_anyone = False
        self._move()

    @property
    def floor(self) -> float:
        """Depth of the floor below the camera, m."""
        return self._floor.depth

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points of the optical frame to pixels of the image.

        Args:
            points: (..., 3) m.

        Returns:
            (..., 2) px; NaN for what is unknown, behind the observer or far outside the image.
        """
        seen = np.asarray(points, dtype=np.float64) @ self._axes.T - self._position
        with np.errstate(invalid="ignore", divide="ignore"):
            ahead = np.where(seen[..., 2:] > MIN_DEPTH_M, seen[..., 2:], np.nan)
            pixels = self._centre + self._focal * seen[..., :2] / ahead
            # Far outside the image OpenCV's fixed-point numbers would overflow.
            return np.where(np.abs(pixels) < 20 * self._size.max(), pixels, np.nan)

    def depth(self, points: np.ndarray) -> np.ndarray:
        """(...,) m, depth of points (..., 3) along the direction of view, from a fixed origin."""
        return points @ self._axes[2]

    def length_px(self, at: np.ndarray, metres: float) -> float:
        """Length in the image, px, of a length in metres at a point (3,) m."""
        depth = float(self.depth(at) - self._position[2])
        return self._focal * metres / max(depth, 0.3)

    def follow(self, joints: np.ndarray, step_s: float) -> None:
        """Adapt floor and framing to the people.

        Args:
            joints: (P, 17, 3) m, optical frame; NaN where unknown.
            step_s: time since the last call, s.
        """
        if len(joints) == 0:
            return
        self._floor.follow(joints[..., 1], step_s)
        middle = np.nanmedian(joints, axis=1, keepdims=True)
        bodies = np.clip(joints, middle - MAX_REACH_M, middle + MAX_REACH_M).reshape(-1, 3)
        low = np.clip(np.nanmin(bodies, axis=0) - 0.15, *_LOW_RANGE)
        high = np.clip(np.nanmax(bodies, axis=0) + 0.15, *_HIGH_RANGE)
        if self._seen_anyone:
            widen, narrow = 1 - math.exp(-step_s / WIDEN_S), 1 - math.exp(-step_s / NARROW_S)
            self.low += np.where(low < self.low, widen, narrow) * (low - self.low)
            self.high += np.where(high > self.high, widen, narrow) * (high - self.high)
        else:
            self.low, self.high = low, high
        self._seen_anyone = True
        self._move()

    def _move(self) -> None:
        """Stand as near as the people, the floor below them and the camera fit into the image."""
        low, high = self.low.copy(), self.high.copy()
        high[1] = max(high[1], self.floor)
        corners = np.array(list(product(*zip(low, high, strict=True))))
        camera = np.concatenate([self._frustum, [[0.0, 0.0, 0.0], [0.0, self.floor, 0.0]]])
        points = np.concatenate([corners, camera]) @ self._axes.T
        # The part of the image to fill, as tangents of the viewing angle. The top is left free for
        # labels and for the top view.
        fill_low = (np.array([0.07, 0.27]) * self._size - self._centre) / self._focal
        fill_high = (np.array([0.93, 0.93]) * self._size - self._centre) / self._focal
        # Each point p must satisfy fill_low <= (p - position) / depth <= fill_high. This bounds
        # the position from both sides. The bounds of the tighter axis meet at the least depth.
        upper = (points[:, :2] - fill_high * points[:, 2:]).max(axis=0)
        lower = (points[:, :2] - fill_low * points[:, 2:]).min(axis=0)
        depth = float(((lower - upper) / (fill_high - fill_low)).min())
        across = 0.5 * (upper + fill_high * depth + lower + fill_low * depth)
        self._position = np.array([across[0], across[1], depth])


def camera_frustum(camera: Camera | None) -> tuple[np.ndarray | None, np.ndarray]:
    """A camera's field of view.

    Returns:
        (2, 2): x, z of the unit rays to the left and right edge, or None where they are not known;
        (4, 3): the corners of its image, m, 0.35 m along their rays.
    """
    corners = np.array([[-0.8, -0.5, 1.0], [0.8, -0.5, 1.0], [0.8, 0.5, 1.0], [-0.8, 0.5, 1.0]])
    wedge = None
    if camera is not None:
        right, low = camera.size[0] - 1.0, camera.size[1] - 1.0
        edges = camera.rays(np.array([[0.0, low / 2], [right, low / 2]]))[:, 0]
        if np.isfinite(edges).all():
            wedge = np.stack([edges, np.ones(2)], axis=-1)
            wedge /= np.linalg.norm(wedge, axis=-1, keepdims=True)
        rays = camera.rays(np.array([[0.0, 0.0], [right, 0.0], [right, low], [0.0, low]]))
        if np.isfinite(rays).all():
            corners = np.concatenate([rays, np.ones((4, 1))], axis=-1)
    return wedge, 0.35 * corners / np.linalg.norm(corners, axis=-1, keepdims=True)
