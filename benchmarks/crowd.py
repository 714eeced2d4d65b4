"""Many sequences at once: their rows by stamp, so that all people of a moment are one batch."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
from posture_truth import posture_labels
from simulated_people import RATE_HZ, Lifted

#: Columns of `Lifted` that have a row per image.
COLUMNS = (
    "joints",
    "stddev",
    "root",
    "velocity",
    "state",
    "truth",
    "truth_before",
    "truth_after",
    "label",
    "face",
)


class Crowd:
    """Sequences as one table.

    Attributes:
        sequences: as given.
        first: (S + 1,) first row of each sequence.
        sequence: (N,) number of the sequence of each row.
        stamp_ns: (N,).
        up: (N, 3); camera_height_m: (N,).
        fits: (N,) whether the row's person is one that is fitted on; the others are reported on.
        built: (N,) whether the motion is built.
    """

    def __init__(self, sequences: list[Lifted]) -> None:
        self.sequences = sequences
        lengths = [len(s.stamp_ns) for s in sequences]
        self.first = np.concatenate([[0], np.cumsum(lengths)])
        self.sequence = np.repeat(np.arange(len(sequences)), lengths)
        self.stamp_ns = np.concatenate([s.stamp_ns for s in sequences])
        self.columns = {n: np.concatenate([getattr(s, n) for s in sequences]) for n in COLUMNS}
        self.up = np.array([s.up for s in sequences])[self.sequence]
        self.camera_height_m = np.array([s.camera_height for s in sequences])[self.sequence]
        fits = [zlib.crc32(s.subject.encode()) % 2 == 0 for s in sequences]
        self.fits = np.array(fits)[self.sequence]
        self.built = np.array([s.source in ("built", "gestures") for s in sequences])[self.sequence]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.stamp_ns)

    def moments(self) -> Iterator[tuple[int, list[int], np.ndarray]]:
        """Stamp, numbers of the sequences and rows of each moment."""
        order = np.lexsort((self.sequence, self.stamp_ns))
        cuts = np.flatnonzero(np.diff(self.stamp_ns[order])) + 1
        for rows in np.split(order, cuts):
            yield int(self.stamp_ns[rows[0]]), self.sequence[rows].tolist(), rows

    def postures(self, every: int) -> np.ndarray:
        """(N,) posture that each row shows: as built, or by the rules on the true joints."""
        out = []
        for s in self.sequences:
            if s.source == "built":
                out.append(s.label)
            elif s.source == "gestures":
                out.append(np.zeros_like(s.label))
            else:
                out.append(posture_labels(_on_floor(s), RATE_HZ / every))
        return np.concatenate(out)

    def near(self, rows: np.ndarray, seconds: float) -> np.ndarray:
        """(N,) whether a row of the mask `rows` is within some time in the same sequence."""
        out = np.zeros(len(self), dtype=bool)
        for number in np.unique(self.sequence[rows]).tolist():
            part = slice(self.first[number], self.first[number + 1])
            stamps = self.stamp_ns[part]
            apart = np.abs(stamps[:, None] - stamps[rows[part]][None])
            out[part] = (apart <= seconds * 1e9).any(axis=1)
        return out

    def events(self, rows: np.ndarray) -> list[tuple[int, int]]:
        """First row, and row after the last one, of each run of the mask `rows`."""
        out = []
        for start, end in zip(self.first[:-1].tolist(), self.first[1:].tolist(), strict=True):
            edges = np.diff(np.concatenate([[0], rows[start:end].astype(int), [0]]))
            begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
            out += [(start + a, start + b) for a, b in zip(begins, ends, strict=True)]
        return out


def _on_floor(s: Lifted) -> np.ndarray:
    """(N, 17, 3) the true joints with z up and the floor at z = 0."""
    side = np.cross(s.up, [0.0, 0.0, 1.0])
    side = side / np.linalg.norm(side)
    axes = np.stack([side, np.cross(s.up, side), s.up])
    return s.truth @ axes.T + np.array([0.0, 0.0, s.camera_height])
