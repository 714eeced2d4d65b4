"""The recent keypoints of a person, and the model's window, resampled from them by time."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..stamps import NANOSECONDS


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
        self._entries: deque[tuple[int, np.ndarray, np.ndarray]] = deque()
        self.observed = 0
        self._born_ns = 0

    @property
    def seen_ns(self) -> int:
        """Time from the first observation of the track to the last one, ns."""
        return self.newest_ns - self._born_ns

    @property
    def newest(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Stamp, ns, rays (J, 2) and scores (J,) of the last observation."""
        return self._entries[-1]

    @property
    def newest_ns(self) -> int:
        """Stamp of the last observation, ns."""
        return self._entries[-1][0]

    @property
    def first_ns(self) -> int:
        """Stamp of the oldest observation that is remembered, ns."""
        return self._entries[0][0]

    def add(self, stamp_ns: int, rays: np.ndarray, scores: np.ndarray) -> None:
        """Append an observation.

        Args:
            stamp_ns: of the image, ns.
            rays: (J, 2); anything where the score is 0.
            scores: (J,) 0..1; 0 marks a missing joint.

        Raises:
            ValueError: the stamp is not later than the last one.
        """
        if self._entries and stamp_ns <= self.newest_ns:
            raise ValueError("stamps must rise")
        if not self._entries:
            self._born_ns = stamp_ns
        self._entries.append((stamp_ns, rays, scores))
        self.observed += 1
        # One older observation stays: the oldest sample lies between it and the next one.
        while len(self._entries) > 2 and self._entries[1][0] <= stamp_ns - self.span_ns:
            self._entries.popleft()

    def reorder(self, stamp_ns: int, order: np.ndarray) -> None:
        """Reorder the joints of a past observation.

        Args:
            stamp_ns: of the observation, ns. One that is forgotten is ignored.
            order: (J,) joint i gets the values of joint order[i].
        """
        for i in range(len(self._entries) - 1, -1, -1):
            stamp, rays, scores = self._entries[i]
            if stamp == stamp_ns:
                self._entries[i] = stamp, rays[order], scores[order]
            if stamp <= stamp_ns:
                return

    def resample(self, times_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rays and scores at other times, by linear interpolation of each joint.

        Times before the first observation repeat it: the window of a new track must be full. Times
        after the last one, or inside a gap, are missing.

        Args:
            times_ns: (T,) ns, rising.

        Returns:
            rays (T, J, 2), 0 where missing, and scores (T, J).
        """
        stamps = np.array([entry[0] for entry in self._entries], dtype=np.int64)
        rays = np.stack([entry[1] for entry in self._entries])
        scores = np.stack([entry[2] for entry in self._entries])
        times = np.maximum(np.asarray(times_ns, dtype=np.int64), stamps[0])
        after = np.searchsorted(stamps, times, side="left").clip(max=len(stamps) - 1)
        exact = stamps[after] == times
        before = np.where(exact, after, (after - 1).clip(min=0))
        gap = stamps[after] - stamps[before]
        usable = exact | ((times < stamps[after]) & (gap <= self.max_gap_ns))
        share = (times - stamps[before]) / np.maximum(gap, 1)
        share = np.where(exact, 0.0, share)[:, None]
        present = (scores[before] > 0) & (scores[after] > 0) & usable[:, None]
        out_scores = np.where(present, (1 - share) * scores[before] + share * scores[after], 0.0)
        share = share[..., None]
        out_rays = (1 - share) * rays[before] + share * rays[after]
        return np.where(present[..., None], out_rays, 0.0), out_scores

    def seen_within(self, min_score: float, until_ns: int, within_s: float) -> np.ndarray:
        """(J,) bool: whether each joint had a score in the time up to a stamp.

        Args:
            min_score: minimum score, 0..1.
            until_ns: end of that time, ns. Later observations do not count.
            within_s: length of that time, s.
        """
        seen = np.zeros(len(self._entries[-1][2]), dtype=bool)
        for stamp, _, scores in self._entries:
            if 0 <= until_ns - stamp <= within_s * NANOSECONDS:
                seen |= scores >= min_score
        return seen
