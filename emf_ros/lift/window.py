"""The recent keypoints of a person, and the model's window, resampled from them by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        points = Observations.of([self]).resample(times_ns)[0]
        return points[..., :2], points[..., 2]

    @property
    def remembered(self) -> tuple[np.ndarray, np.ndarray]:
        """Stamps (N,), ns, and points (N, J, 3), rays and scores, of the observations that are
        remembered, the oldest first."""
        used = slice(self._begin, self._end)
        return self._stamps[used], self._points[used]


@dataclass(frozen=True)
class Observations:
    """What the histories of P people remember, N observations at most, in one table.

    Attributes:
        stamps_ns: (P, N), ns, rising; later than any image after a person's last observation.
        points: (P, N, J, 3) rays and scores, 0 after a person's last observation.
        max_gap_ns: (P, 1) maximum time between two observations that are interpolated, ns.
    """

    stamps_ns: np.ndarray
    points: np.ndarray
    max_gap_ns: np.ndarray

    @classmethod
    def of(cls, histories: Sequence[KeypointHistory]) -> Observations:
        """Those of some people, at least one, each with an observation."""
        remembered = [history.remembered for history in histories]
        shape = len(remembered), max(len(stamps) for stamps, _ in remembered)
        stamps_ns = np.full(shape, np.iinfo(np.int64).max)
        points = np.zeros((*shape, *remembered[0][1].shape[1:]))
        for row, (own_stamps, own_points) in enumerate(remembered):
            used = slice(len(own_stamps))
            stamps_ns[row, used], points[row, used] = own_stamps, own_points
        gaps = np.array([history.max_gap_ns for history in histories])
        return cls(stamps_ns, points, gaps[:, None])

    def resample(self, times_ns: np.ndarray) -> np.ndarray:
        """The keypoints at other times, see `KeypointHistory.resample`.

        Args:
            times_ns: (T,) ns, rising.

        Returns:
            (P, T, J, 3) rays and scores, all 0 where missing.
        """
        people, most = self.stamps_ns.shape
        times = np.maximum(np.asarray(times_ns, dtype=np.int64), self.stamps_ns[:, :1])
        after = (self.stamps_ns[:, None] < times[..., None]).sum(axis=-1)
        after = np.minimum(after, most - 1)
        first, stamps_ns = most * np.arange(people)[:, None], self.stamps_ns.ravel()
        later_ns = stamps_ns.take(first + after)
        exact = later_ns == times
        before = np.where(exact, after, np.maximum(after - 1, 0))
        earlier_ns = stamps_ns.take(first + before)
        gap_ns = later_ns - earlier_ns
        usable = exact | ((times < later_ns) & (gap_ns <= self.max_gap_ns))
        share = np.where(exact, 0.0, (times - earlier_ns) / np.maximum(gap_ns, 1))
        rows = self.points.reshape(people * most, *self.points.shape[2:])
        from_points, to_points = (rows.take(first + at, axis=0) for at in (before, after))
        present = (from_points[..., 2] > 0) & (to_points[..., 2] > 0) & usable[..., None]
        share = share[..., None, None]
        return np.where(present[..., None], (1 - share) * from_points + share * to_points, 0.0)

    def seen_within(self, min_score: float, until_ns: int, within_s: float) -> np.ndarray:
        """(P, J) bool: whether each joint had a score in the time up to a stamp.

        Args:
            min_score: minimum score, 0..1.
            until_ns: end of that time, ns. Later observations do not count.
            within_s: length of that time, s.
        """
        from_ns = until_ns - int(within_s * NANOSECONDS)
        within = (self.stamps_ns >= from_ns) & (self.stamps_ns <= until_ns)
        return np.asarray((within[..., None] & (self.points[..., 2] >= min_score)).any(axis=1))
