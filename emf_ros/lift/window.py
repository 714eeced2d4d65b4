"""The recent keypoints of a person, and the model's window, resampled from them by time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..stamps import NANOSECONDS

#: Number of observations that a new history has memory for.
CAPACITY = 64


class KeypointHistory:
    """The observations of one track: rays with their stamps.

    Args:
        span_s: time for which observations are remembered, s.
        max_gap_s: maximum time between two observations that are interpolated, s. In a longer gap
            the samples are missing.

    Attributes:
        observed: number of observations since the track began.
    """

    def __init__(self, span_s: float, max_gap_s: float) -> None:
        self.span_ns = int(span_s * NANOSECONDS)
        self.max_gap_ns = int(max_gap_s * NANOSECONDS)
        # Rows from `_begin` to `_end` are in use: stamps, and of each joint the ray and the score.
        self._stamps = np.empty(CAPACITY, dtype=np.int64)
        self._points = np.empty((CAPACITY, 0, 3))
        self._begin = self._end = 0
        self.observed = 0
        self._born_ns = 0

    @property
    def seen_ns(self) -> int:
        """Time from the first observation of the track to the last one, ns."""
        return self.newest_ns - self._born_ns

    @property
    def newest(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Stamp, ns, rays (J, 2) and scores (J,) of the last observation."""
        points = self._points[self._end - 1]
        return self.newest_ns, points[:, :2], points[:, 2]

    @property
    def newest_ns(self) -> int:
        """Stamp of the last observation, ns."""
        return int(self._stamps[self._end - 1])

    @property
    def first_ns(self) -> int:
        """Stamp of the oldest observation that is remembered, ns."""
        return int(self._stamps[self._begin])

    def add(self, stamp_ns: int, rays: np.ndarray, scores: np.ndarray) -> None:
        """Append an observation.

        Args:
            stamp_ns: of the image, ns.
            rays: (J, 2); anything where the score is 0.
            scores: (J,) 0..1; 0 marks a missing joint.

        Raises:
            ValueError: the stamp is not later than the last one.
        """
        if self._end and stamp_ns <= self.newest_ns:
            raise ValueError("stamps must rise")
        if not self._end:
            self._born_ns = stamp_ns
            self._points = np.empty((CAPACITY, len(scores), 3))
        elif self._end == len(self._stamps):
            self._make_room()
        self._stamps[self._end] = stamp_ns
        self._points[self._end, :, :2] = rays
        self._points[self._end, :, 2] = scores
        self._end += 1
        self.observed += 1
        # One older observation stays: the oldest sample lies between it and the next one.
        oldest_ns = stamp_ns - self.span_ns
        while self._end - self._begin > 2 and self._stamps[self._begin + 1] <= oldest_ns:
            self._begin += 1

    def _make_room(self) -> None:
        """Move the rows to the front of memory of twice their number or more."""
        used = slice(self._begin, self._end)
        count = self._end - self._begin
        capacity = max(CAPACITY, 2 * count)
        stamps, points = np.empty(capacity, np.int64), np.empty((capacity, *self._points.shape[1:]))
        stamps[:count], points[:count] = self._stamps[used], self._points[used]
        self._stamps, self._points, self._begin, self._end = stamps, points, 0, count

    def reorder(self, stamp_ns: int, order: np.ndarray) -> None:
        """Reorder the joints of a past observation.

        Args:
            stamp_ns: of the observation, ns. One that is forgotten is ignored.
            order: (J,) joint i gets the values of joint order[i].
        """
        row = self._begin + int(np.searchsorted(self._stamps[self._begin : self._end], stamp_ns))
        if row < self._end and self._stamps[row] == stamp_ns:
            self._points[row] = self._points[row, order]

    def resample(self, times_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays and scores at other times, by linear interpolation of each joint.

        Times before the first observation repeat it: the window of a new track must be full. Times
        after the last one, or inside a gap, are missing.

        Args:
            times_ns: (T,) ns, rising.

        Returns:
            rays (T, J, 2), 0 where missing, and scores (T, J).
        """
        points = resample([self], times_ns)[0]
        return points[..., :2], points[..., 2]

    def between(self, times_ns: np.ndarray) -> tuple[np.ndarray, ...]:
        """The observations before and after other times, (T,) ns.

        Returns:
            points (T, J, 3) of both: rays and scores; (T,) the share of the later one in the
            samples; (T,) whether there is a sample.
        """
        stamps = self._stamps[self._begin : self._end]
        times = np.maximum(times_ns, stamps[0])
        after = np.minimum(stamps.searchsorted(times), len(stamps) - 1)
        later = stamps[after]
        exact = later == times
        before = np.where(exact, after, np.maximum(after - 1, 0))
        earlier = stamps[before]
        gap = later - earlier
        usable = exact | ((times < later) & (gap <= self.max_gap_ns))
        share = np.where(exact, 0.0, (times - earlier) / np.maximum(gap, 1))
        points = self._points[self._begin : self._end]
        return points[before], points[after], share, usable

    def seen_within(self, min_score: float, until_ns: int, within_s: float) -> np.ndarray:
        """(J,) bool: whether each joint had a score in the time up to a stamp.

        Args:
            min_score: minimum score, 0..1.
            until_ns: end of that time, ns. Later observations do not count.
            within_s: length of that time, s.
        """
        stamps = self._stamps[self._begin : self._end]
        first = stamps.searchsorted(until_ns - int(within_s * NANOSECONDS))
        scores = self._points[self._begin : self._end, :, 2]
        seen = scores[first : stamps.searchsorted(until_ns, side="right")] >= min_score
        return np.asarray(seen.any(axis=0))


def resample(histories: Sequence[KeypointHistory], times_ns: np.ndarray) -> np.ndarray:
    """The keypoints of P people at other times, see `KeypointHistory.resample`.

    Args:
        histories: of the people, with observations.
        times_ns: (T,) ns, rising.

    Returns:
        (P, T, J, 3) rays and scores, all 0 where missing.
    """
    times = np.asarray(times_ns, dtype=np.int64)
    parts = zip(*(history.between(times) for history in histories), strict=True)
    before, after, share, usable = map(np.stack, parts)
    present = (before[..., 2] > 0) & (after[..., 2] > 0) & usable[..., None]
    share = share[..., None, None]
    return np.where(present[..., None], (1 - share) * before + share * after, 0.0)
