"""What a tracker keeps of each person from image to image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..stamps import NANOSECONDS


@dataclass
class Memory:
    """Base of the values of people in one image: arrays with a row for each person.

    The last row is that of a person who was not there.

    Attributes:
        stamp_ns: of the image, ns.
        rows: row of each person by id.
    """

    stamp_ns: int
    rows: dict[int, int]

    def age_s(self, stamp_ns: int) -> float:
        """Time from this image to another one, s."""
        return (stamp_ns - self.stamp_ns) / NANOSECONDS

    def rows_of(self, ids: Sequence[int]) -> np.ndarray:
        """(P,) the row of each of these people."""
        return np.array([self.rows.get(number, -1) for number in ids], dtype=int)
