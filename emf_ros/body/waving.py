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


_FULL = 2.0 * np.pi
_MIN_SWING_RAD, _MAX_SWING_RAD = np.radians(MIN_SWING_DEG), np.radians(MAX_SWING_DEG)
#: Columns of the numbers of a forearm: number of swings that are alike; direction of the movement,
#: -1 or 1, 0 before the first swing; angle of the turning point before, and the one farthest from
#: there, rad, NaN where no forearm stands; size, rad, and time, s, of the last swing, NaN before.
_SWINGS, _DIRECTION, _START, _EXTREME, _SIZE, _TIME = range(6)
#: Columns of its stamps, ns: of these two angles, and at which it stood last.
_START_NS, _EXTREME_NS, _STOOD_NS = range(3)
_BLANK = np.array([0.0, 0.0, np.nan, np.nan, np.nan, np.nan])


@dataclass
class _Memory(Memory):
    BLANK = {"numbers": ((4, 6), _BLANK), "stamps": ((4, 3), 0)}

    numbers: np.ndarray  # (P, 4, 6)
    stamps: np.ndarray  # (P, 4, 3)


class SwingCounter:
    """Swings of the forearms of people from image to image."""

    def __init__(self) -> None:
        self._last = _Memory.of_nobody()

    def restart(self) -> None:
        """Forget all swings."""
        self._last = _Memory.of_nobody()

    def update(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        level: np.ndarray,
        lift: np.ndarray,
        above_shoulder: np.ndarray,
        seen: np.ndarray,
    ) -> np.ndarray:
        """(P, 2) number of swings from side to side that are alike and go on, of the left and right
        forearm; 0 for one that swings further forward and back, as people who beckon do.

        Args:
            stamp_ns: of the image, ns.
            ids: of the people.
            level: (P, 4) share of the way from the elbow to the wrist that goes to the right of the
                trunk, of the left and right side, and then that which goes forward.
            lift: (P, 2) that which goes up.
            above_shoulder: (P, 2) height of the wrist over the shoulder, in lengths of the arm.
            seen: (P, 2) whether the forearm is measured in this image.
        """
        last = self._last.of(ids)
        numbers, stamps = last.numbers.copy(), last.stamps.copy()
        swings, direction, start, extreme, size, time_s = (numbers[..., i] for i in range(6))
        start_ns, extreme_ns, stood_ns = (stamps[..., i] for i in range(3))
        stands = seen & (above_shoulder > WAVES_OVER) & (lift > STANDS)
        angle = np.arctan2(level, np.concatenate([lift, lift], axis=1))
        stands = np.concatenate([stands, stands], axis=1) & np.isfinite(angle)
        new = np.isnan(extreme) | (stamp_ns - stood_ns > AWAY_S * NANOSECONDS)
        np.copyto(numbers, _BLANK, where=new[..., None])
        begins, moves = stands & new, stands & ~new
        if np.count_nonzero(begins):
            for of_angle, of_stamp in ((start, start_ns), (extreme, extreme_ns)):
                np.copyto(of_angle, angle, where=begins)
                np.copyto(of_stamp, stamp_ns, where=begins)

        way = _turn(extreme, angle)
        ahead = way * direction
        turns = moves & (np.abs(way) > _MIN_SWING_RAD) & (ahead <= 0)
        # The first movement has no turning point before it, so it is not a swing.
        ends = turns & (direction != 0)
        if np.count_nonzero(ends):
            ended = np.abs(_turn(start, extreme))
            ended_s = (extreme_ns - start_ns) / NANOSECONDS
            fits = (ended >= _MIN_SWING_RAD) & (ended <= _MAX_SWING_RAD)
            fits &= (ended_s >= MIN_SWING_S) & (ended_s <= MAX_SWING_S)
            alike = _alike(ended, size) & _alike(ended_s, time_s)
            count = np.where(alike, np.minimum(swings + 1.0, MOST), 1.0) * fits
            np.copyto(swings, count, where=ends)
            np.copyto(size, np.where(fits, ended, np.nan), where=ends)
            np.copyto(time_s, np.where(fits, ended_s, np.nan), where=ends)
        if np.count_nonzero(turns):
            np.copyto(start, extreme, where=turns)
            np.copyto(start_ns, extreme_ns, where=turns)
            np.copyto(direction, np.sign(way), where=turns)
        waits = stamp_ns - extreme_ns > MAX_SWING_S * NANOSECONDS
        moved = turns | (moves & ((ahead > 0) | (waits & (direction == 0))))
        np.copyto(extreme, angle, where=moved)
        np.copyto(extreme_ns, stamp_ns, where=moved)
        over = waits & ~moved
        np.copyto(swings, 0.0, where=over)
        np.copyto(size, np.nan, where=over)
        np.copyto(time_s, np.nan, where=over)
        np.copyto(stood_ns, stamp_ns, where=stands)
        self._last = _Memory(stamp_ns, list(ids), numbers, stamps)
        return np.where(size[:, 2:] > size[:, :2], 0.0, swings[:, :2])


def _turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """rad, the shorter way from one angle to another."""
    way = end - start
    return np.asarray(way - _FULL * np.rint(way / _FULL))


def _alike(value: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Whether two values differ by less than the ratio `ALIKE`."""
    return np.asarray((value <= ALIKE * before) & (before <= ALIKE * value))
