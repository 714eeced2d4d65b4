"""The top view: positions of people on the floor, and the trails of their last positions."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import cv2
import numpy as np

from ...skeletons import H36M17
from .drawing import dot, line, polygon, text_size, write
from .palette import DARK, FLOOR, GRID, MUTED, PANEL, TEXT, color_of, mixed

#: Length of a trail, s.
TRAIL_S = 2.0
#: Maximum gap in a trail that is bridged by a line, s.
MAX_TRAIL_GAP_S = 0.5
#: Maximum coordinate of a root that is drawn, m.
MAX_POSITION_M = 100.0
#: Length of the view behind the camera, m.
BEHIND_CAMERA_M = 0.45

_PELVIS = H36M17.index("pelvis")


class TopView:
    """A square of the image with x to the right, z up and cells of 1 m.

    Args:
        area: x, y, width, height of the square in the image, px.
        unit: scale of line widths and letters.
        wedge: (2, 2) x, z of the rays to the left and right edge of the camera's image. None: the
            field of view is not drawn.
    """

    def __init__(
        self, area: tuple[int, int, int, int], unit: float, wedge: np.ndarray | None
    ) -> None:
        self.area, self._unit, self._wedge = area, unit, wedge
        self._trails: dict[int, deque[tuple[float, float, float]]] = {}
        self._scale = 1.0
        self.fit(np.array([-1.0, 0.0, 0.0]), np.array([1.0, 0.0, 4.0]))

    def fit(self, low: np.ndarray, high: np.ndarray) -> None:
        """Choose the scale at which the box from low to high, (3,) m, is inside."""
        deep = max(4.0, float(high[2]) + 0.3) + BEHIND_CAMERA_M
        wide = 2 * max(1.5, float(high[0]) + 0.3, 0.3 - float(low[0]))
        self._scale = min(self.area[3] / deep, self.area[2] / wide)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points of the optical frame to pixels of the image.

        Args:
            points: (..., 3) m.

        Returns:
            (..., 2) px; they may lie outside the area.
        """
        points = np.asarray(points, dtype=np.float64)
        x, y, width, height = self.area
        across = x + 0.5 * width + self._scale * points[..., 0]
        down = y + height - self._scale * (points[..., 2] + BEHIND_CAMERA_M)
        return np.stack([across, down], axis=-1)

    def restart(self) -> None:
        """Forget all trails."""
        self._trails.clear()

    def follow(self, joints: np.ndarray, ids: np.ndarray, stamp: float) -> None:
        """Extend the trails: joints (P, 17, 3) m, ids (P,), stamp s."""
        for person, track_id in zip(joints, ids, strict=True):
            root = person[_PELVIS]
            if _is_drawn(root):
                trail = self._trails.setdefault(int(track_id), deque())
                trail.append((stamp, float(root[0]), float(root[2])))
        for track_id in list(self._trails):
            trail = self._trails[track_id]
            while trail and trail[0][0] < stamp - TRAIL_S:
                trail.popleft()
            if not trail:
                del self._trails[track_id]

    def draw(
        self,
        image: np.ndarray,
        joints: np.ndarray,
        ids: np.ndarray,
        labels: dict[int, str],
        stamp: float,
    ) -> None:
        """Draw grid, field of view, trails, people and camera into the image's area."""
        x, y, width, height = self.area
        part = image[y : y + height, x : x + width]
        part[:] = PANEL
        self._draw_grid(part)
        self._draw_trails(part, stamp)
        self._draw_people(part, joints, ids, labels)
        # The camera: a triangle that points ahead.
        arrow = self._at(0, 0) + self._unit * np.array([[0.0, -6.0], [-4.5, 3.5], [4.5, 3.5]])
        polygon(part, arrow, TEXT)
        cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), GRID, 1)

    def _at(self, x: Any, z: Any) -> np.ndarray:
        """Position x, z (m) to pixels of the area."""
        point = np.stack([x, np.zeros_like(x, dtype=float), z], -1)
        return self.project(point) - np.array(self.area[:2])

    def _draw_grid(self, part: np.ndarray) -> None:
        height, width = part.shape[:2]
        if self._wedge is not None:
            reach = 3 * (height + width) / self._scale
            fan = [self._at(0, 0), *(self._at(*(reach * edge)) for edge in self._wedge)]
            polygon(part, fan, FLOOR)
        half, top = 0.5 * width / self._scale, height / self._scale
        for column in range(math.ceil(-half), math.floor(half) + 1):
            line(part, self._at(column, -BEHIND_CAMERA_M), self._at(column, top), GRID)
        letters = 5.5 * self._unit
        for row in range(math.floor(top - BEHIND_CAMERA_M) + 1):
            line(part, self._at(-half, row), self._at(half, row), GRID)
            at = self._at(-half, row) + (0.4 * letters, -0.3 * letters)
            if row > 0 and at[1] > 1.4 * letters:
                write(part, f"{row} m" if row == 1 else f"{row}", tuple(at), letters, MUTED)

    def _draw_trails(self, part: np.ndarray, stamp: float) -> None:
        for track_id, trail in self._trails.items():
            color = color_of(track_id)
            times = [moment[0] for moment in trail]
            pixels = self._at(np.array(trail)[:, 1], np.array(trail)[:, 2])
            for i, (t0, t1) in enumerate(zip(times[:-1], times[1:], strict=True)):
                if t1 - t0 < MAX_TRAIL_GAP_S:
                    age = (stamp - t1) / TRAIL_S
                    shade = mixed(color, DARK, 0.25 + 0.6 * age)
                    line(part, pixels[i], pixels[i + 1], shade, round(1.5 * self._unit))

    def _draw_people(
        self, part: np.ndarray, joints: np.ndarray, ids: np.ndarray, labels: dict[int, str]
    ) -> None:
        for person, track_id in zip(joints, ids, strict=True):
            root = person[_PELVIS]
            if not _is_drawn(root):
                continue
            at = self._at(root[0], root[2])
            dot(part, at, 4.6 * self._unit, DARK)
            dot(part, at, 3.6 * self._unit, color_of(int(track_id)))
            text, letters = labels[int(track_id)].lstrip("#."), 6.5 * self._unit
            wide = text_size(text, letters)[0]
            beside = 6 * self._unit
            if at[0] + beside + wide > part.shape[1]:
                beside = -beside - wide
            write(part, text, (at[0] + beside, at[1] + 0.5 * letters), letters, TEXT)


def _is_drawn(root: np.ndarray) -> bool:
    """Whether a root (3,) m is known and at most `MAX_POSITION_M` away along each axis."""
    return bool(np.isfinite(root).all() and np.abs(root).max() < MAX_POSITION_M)
