"""Which people were seen apart from one another: their later poses are not merged from the two.

An adult behind a child looks like a merged pose: a larger body on the same feet, of a lower score.
No position of joints tells the two apart. But the two people were seen beside one another before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry.boxes import extents
from ..skeletons import Layout
from ..stamps import NANOSECONDS
from ..types import Pose2D
from .duplicates import MAX_DUPLICATE_DISTANCE, shin_distances

#: Minimum mean distance of the ankles of a person who is apart from the other person's shins, as a
#: share of the other person's size. It is twice that of a merged pose.
MIN_APART_DISTANCE = 0.3

#: Minimum time for which two people are seen apart, s.
MIN_APART_S = 0.5

#: Maximum growth of a person since then. A pose that takes the legs of another person grows more.
MAX_GROWTH = 1.2

#: Maximum time between two images, s.
MAX_GAP_S = 0.5


class SeenApart:
    """The pairs of people who were seen apart, from image to image.

    Args:
        layout: of the keypoints.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.restart()

    def restart(self) -> None:
        """Forget all people."""
        self._stamp_ns = 0
        self._points = np.zeros((0, len(self._layout), 2))
        self._apart_s = self._sizes = np.zeros((0, 0))

    def update(self, poses: Sequence[Pose2D], stamp_ns: int) -> np.ndarray:
        """(P, P) bool, whether each person was seen apart from each other one, at today's size.

        A person continues that of the last image whose keypoints are at the same positions.

        Args:
            poses: of the next image, keypoints (K, 3) px, px, score; NaN where missing.
            stamp_ns: of the image, ns.
        """
        elapsed_s = (stamp_ns - self._stamp_ns) / NANOSECONDS
        if not 0 <= elapsed_s <= MAX_GAP_S:
            self.restart()
        if len(poses) < 2:
            # One person is apart from nobody, and nobody is remembered.
            self.restart()
            self._stamp_ns = stamp_ns
            return np.zeros((len(poses), len(poses)), dtype=bool)
        points = np.array([pose.keypoints[:, :2] for pose in poses], dtype=np.float64)
        finite = np.asarray(np.isfinite(points).all(axis=-1))
        points[~finite] = np.nan
        size = extents(points, finite)
        was = self._rows_before(points, size)
        pairs = (was[:, None] >= 0) & (was >= 0)
        apart_s: np.ndarray = np.zeros(pairs.shape)
        sizes: np.ndarray = np.zeros(pairs.shape)
        if pairs.any():
            before = was[:, None], was
            apart_s = np.where(pairs, self._apart_s[before], 0.0)
            sizes = np.where(pairs, self._sizes[before], 0.0)
        # A comparison with NaN is false.
        away = shin_distances(points, points, self._layout) > MIN_APART_DISTANCE * size
        longer = np.where(pairs, apart_s + elapsed_s, 0.0)
        kept = np.where(apart_s >= MIN_APART_S, apart_s, 0.0)
        apart_s = np.where(away, longer, kept)
        sizes = np.where(away, size[:, None], sizes)
        self._stamp_ns, self._points = stamp_ns, points
        self._apart_s, self._sizes = apart_s, sizes
        return np.asarray((apart_s >= MIN_APART_S) & (size[:, None] <= MAX_GROWTH * sizes))

    def _rows_before(self, points: np.ndarray, size: np.ndarray) -> np.ndarray:
        """(P,) row of each person in the last image, -1 for a new one.

        Args:
            points: (P, K, 2) px.
            size: (P,) px.
        """
        if not len(self._points):
            return np.full(len(points), -1)
        steps = np.linalg.norm(points[:, None] - self._points, axis=-1)
        known = np.isfinite(steps)
        count = known.sum(axis=-1)
        total = np.where(known, steps, 0.0).sum(axis=-1)
        distance = np.where(count > 0, total / np.maximum(count, 1), np.inf)
        best = distance.argmin(axis=1)
        mutual = distance.argmin(axis=0)[best] == np.arange(len(points))
        near = distance.min(axis=1) <= MAX_DUPLICATE_DISTANCE * size
        return np.where(mutual & near, best, -1)
