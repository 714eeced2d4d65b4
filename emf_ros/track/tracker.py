"""Ids for detections, from where people were expected."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np

from ..detect.base import Detection

NANOSECONDS = 1_000_000_000


@dataclass
class _Track:
    id: int
    keypoints: np.ndarray
    velocity: np.ndarray
    stamp_ns: int
    hits: int = 1

    def predicted(self, stamp_ns: int) -> np.ndarray:
        """(K, 2) px. Motion is trusted for a short while only, people turn around."""
        elapsed = min((stamp_ns - self.stamp_ns) / NANOSECONDS, 0.2)
        return self.keypoints[:, :2] + elapsed * self.velocity


class Tracker:
    """Gives each detection the id of the track that it continues, or a new one.

    Pairs are made nearest first, by the mean distance of keypoints from where the track's motion
    would have them, as a share of the person's size. An id is never used again.

    Args:
        max_age_s: how long a track is remembered without a detection.
        max_distance: pairs farther apart than this share of the person's size are none.
        min_score: keypoints under it are not compared.
        min_hits: detections of a new track before it is reported, against ghosts of one frame.
    """

    def __init__(
        self,
        max_age_s: float = 1.0,
        max_distance: float = 0.5,
        min_score: float = 0.3,
        min_hits: int = 2,
    ) -> None:
        self.max_age_ns = int(max_age_s * NANOSECONDS)
        self.max_distance, self.min_score, self.min_hits = max_distance, min_score, min_hits
        self._tracks: list[_Track] = []
        self._ids = count(1)
        self._last_ns: int | None = None

    def update(self, detections: list[Detection], stamp_ns: int) -> list[tuple[int, Detection]]:
        """Ids for one image's detections; those of tracks too young yet are left out.

        A stamp that lies before the last one forgets all tracks: time has started anew.
        """
        if self._last_ns is not None and stamp_ns < self._last_ns:
            self._tracks = []
        self._last_ns = stamp_ns
        self._tracks = [t for t in self._tracks if stamp_ns - t.stamp_ns <= self.max_age_ns]

        pairs = []
        for row, track in enumerate(self._tracks):
            expected = track.predicted(stamp_ns)
            for column, detection in enumerate(detections):
                distance = self._distance(expected, track, detection)
                # Who has been away may have gone further.
                patience = 1.0 + min((stamp_ns - track.stamp_ns) / NANOSECONDS, 1.0)
                if distance <= self.max_distance * patience:
                    pairs.append((distance, row, column))
        taken_tracks: dict[int, int] = {}
        taken_detections: set[int] = set()
        for _, row, column in sorted(pairs):
            if row not in taken_tracks and column not in taken_detections:
                taken_tracks[row] = column
                taken_detections.add(column)

        out = []
        for row, column in taken_tracks.items():
            track, detection = self._tracks[row], detections[column]
            elapsed = max((stamp_ns - track.stamp_ns) / NANOSECONDS, 1e-3)
            moved = (detection.keypoints[:, :2] - track.keypoints[:, :2]) / elapsed
            track.velocity = 0.5 * track.velocity + 0.5 * moved
            track.keypoints, track.stamp_ns = detection.keypoints, stamp_ns
            track.hits += 1
            if track.hits >= self.min_hits:
                out.append((track.id, detection))
        for column, detection in enumerate(detections):
            if column not in taken_detections:
                still = np.zeros_like(detection.keypoints[:, :2])
                track = _Track(next(self._ids), detection.keypoints, still, stamp_ns)
                self._tracks.append(track)
                if self.min_hits <= 1:
                    out.append((track.id, detection))
        return sorted(out, key=lambda pair: pair[0])

    def _distance(self, expected: np.ndarray, track: _Track, detection: Detection) -> float:
        both = (track.keypoints[:, 2] >= self.min_score) & (
            detection.keypoints[:, 2] >= self.min_score
        )
        if both.sum() < 4:
            both = np.ones_like(both)
        size = np.linalg.norm(np.ptp(detection.keypoints[both, :2], axis=0))
        apart = np.linalg.norm(expected[both] - detection.keypoints[both, :2], axis=-1)
        return float(apart.mean() / max(size, 1.0))
