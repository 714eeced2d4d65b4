"""Forearms that wave: their swings from side to side, counted.

A swing is the way of a forearm from one turning point to the next. Forearms swing in many
movements. In a wave several swings follow one another that are alike in size and time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..stamps import NANOSECONDS
from .memory import Memory
from .rotations import dot

#: Minimum size of a swing, degrees.
MIN_SWING_DEG = 18.0
#: Maximum size of a swing, degrees.
MAX_SWING_DEG = 130.0
#: Minimum time of a swing, s.
MIN_SWING_S = 0.06
#: Maximum time of a swing, s.
MAX_SWING_S = 0.65
#: Maximum ratio of sizes, and of times, of two swings that are alike.
ALIKE = 2.5
#: Number of swings over which no more are counted.
MOST = 6.0
#: Minimum height of the forearm's end over its beginning, as a share of its length.
STANDS = 0.2
#: Minimum height of a wrist that waves over the shoulder, in lengths of the arm.
WAVES_OVER = -0.25
#: Time for which a forearm may leave that place, s.
AWAY_S = 0.25


@dataclass
class _Memory(Memory):
    swings: np.ndarray  # (P, 2) number of swings that are alike
    direction: np.ndarray  # (P, 2) -1 or 1; 0 before the first swing
    start: np.ndarray  # (P, 2) angle of the turning point before, rad
    start_ns: np.ndarray  # (P, 2) its stamp
    extreme: np.ndarray  # (P, 2) angle farthest from there, rad; NaN where no forearm stands
    extreme_ns: np.ndarray  # (P, 2) its stamp
    size: np.ndarray  # (P, 2) of the last swing, rad; NaN before the first
    time_s: np.ndarray  # (P, 2) of the last swing
    stood_ns: np.ndarray  # (P, 2) stamp at which the forearm stood last


class SwingCounter:
    """Swings of the forearms of people from image to image."""

    def __init__(self) -> None:
        self._last = _empty()

    def restart(self) -> None:
        """Forget all swings."""
        self._last = _empty()

    def update(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        forearm: np.ndarray,
        up: np.ndarray,
        right: np.ndarray,
        above_shoulder: np.ndarray,
        seen: np.ndarray,
    ) -> np.ndarray:
        """(P, 2) number of swings that are alike and go on.

        Args:
            stamp_ns: of the image, ns.
            ids: of the people.
            forearm: (P, 2, 3) m from the elbow to the wrist, of the left and right side.
            up: the vertical.
            right: (P, 3) to the right of the trunk, of length 1.
            above_shoulder: (P, 2) height of the wrist over the shoulder, in lengths of the arm.
            seen: (P, 2) whether the forearm is measured in this image.
        """
        last = self._last
        rows = last.rows_of(ids)
        lift = dot(forearm, up[..., None, :])
        angle = np.arctan2(dot(forearm, right[:, None]), lift)
        stands = seen & np.isfinite(angle) & (above_shoulder > WAVES_OVER)
        stands &= lift > STANDS * np.sqrt(dot(forearm, forearm))
        away = stamp_ns - last.stood_ns[rows] > AWAY_S * NANOSECONDS
        new = np.isnan(last.extreme[rows]) | away
        begins = stands & new
        moves = stands & ~new
        gone = ~stands & new

        swings = np.where(new, 0.0, last.swings[rows])
        direction = np.where(new, 0.0, last.direction[rows])
        size = np.where(new, np.nan, last.size[rows])
        time_s = np.where(new, np.nan, last.time_s[rows])
        extreme = np.where(begins, angle, np.where(gone, np.nan, last.extreme[rows]))
        extreme_ns = np.where(begins, stamp_ns, last.extreme_ns[rows])
        start = np.where(begins, angle, last.start[rows])
        start_ns = np.where(begins, stamp_ns, last.start_ns[rows])

        way = _turn(extreme, angle)
        turns = moves & (np.abs(way) > np.radians(MIN_SWING_DEG)) & (way * direction <= 0)
        further = moves & (way * direction > 0)
        # The first movement has no turning point before it, so it is not a swing.
        ends = turns & (direction != 0)
        ended = np.abs(_turn(start, extreme))
        ended_s = (extreme_ns - start_ns) / NANOSECONDS
        fits = (ended >= np.radians(MIN_SWING_DEG)) & (ended <= np.radians(MAX_SWING_DEG))
        fits &= (ended_s >= MIN_SWING_S) & (ended_s <= MAX_SWING_S)
        alike = _alike(ended, size) & _alike(ended_s, time_s)
        count = np.where(fits, np.where(alike, np.minimum(swings + 1.0, MOST), 1.0), 0.0)
        swings = np.where(ends, count, swings)
        size = np.where(ends, np.where(fits, ended, np.nan), size)
        time_s = np.where(ends, np.where(fits, ended_s, np.nan), time_s)
        start = np.where(turns, extreme, start)
        start_ns = np.where(turns, extreme_ns, start_ns)
        direction = np.where(turns, np.sign(way), direction)
        waits = (stamp_ns - extreme_ns) > MAX_SWING_S * NANOSECONDS
        rests = moves & ~turns & (direction == 0) & waits
        moved = turns | further | rests
        extreme = np.where(moved, angle, extreme)
        extreme_ns = np.where(moved, stamp_ns, extreme_ns)
        over = ~moved & waits
        swings = np.where(over, 0.0, swings)
        size, time_s = np.where(over, np.nan, size), np.where(over, np.nan, time_s)
        stood_ns = np.where(stands, stamp_ns, last.stood_ns[rows])

        blank = _empty()
        values = (swings, direction, start, start_ns, extreme, extreme_ns, size, time_s, stood_ns)
        names = tuple(_Memory.__dataclass_fields__)[2:]
        self._last = _Memory(
            stamp_ns,
            {number: row for row, number in enumerate(ids)},
            *(np.concatenate([v, getattr(blank, n)]) for n, v in zip(names, values, strict=True)),
        )
        return swings


def _turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """rad, the shorter way from one angle to another."""
    return np.asarray((end - start + np.pi) % (2 * np.pi) - np.pi)


def _alike(value: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Whether two values differ by less than the ratio `ALIKE`."""
    return np.asarray((value <= ALIKE * before) & (before <= ALIKE * value))


def _empty() -> _Memory:
    blank, zero = np.full((1, 2), np.nan), np.zeros((1, 2))
    none = np.zeros((1, 2), dtype=np.int64)
    return _Memory(0, {}, zero, zero, blank, none, blank, none, blank, blank, none)
