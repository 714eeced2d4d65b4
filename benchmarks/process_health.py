"""Handles and threads of processes over time, and whether these, or other figures, grow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Minimum number of readings on which a line is fitted.
MIN_READINGS = 6


@dataclass(frozen=True)
class Reading:
    """The state of a process.

    Attributes:
        at_s: when it was read, monotonic, s.
        handles: number of open files and sockets.
        threads: number of threads.
    """

    at_s: float
    handles: int
    threads: int


def read(pid: int, at_s: float) -> Reading:
    """The state of a process now.

    Raises:
        OSError: it has ended.
    """
    handles = len(os.listdir(f"/proc/{pid}/fd"))
    return Reading(at_s, handles, len(os.listdir(Path(f"/proc/{pid}/task"))))


@dataclass(frozen=True)
class Trend:
    """A line that was fitted to readings.

    Attributes:
        per_second: its slope.
        doubt: standard error of the slope. NaN for both where there are too few readings.
    """

    per_second: float
    doubt: float

    def surely_over(self, limit: float) -> bool:
        """Whether the slope is over a limit by more than twice its doubt."""
        return self.per_second - 2 * self.doubt > limit

    def surely_under(self, limit: float) -> bool:
        """Whether the slope is under a limit by more than twice its doubt."""
        return self.per_second + 2 * self.doubt < limit


def trend(times_s: list[float], values: list[float]) -> Trend:
    """Fit a line by least squares.

    Neighbouring readings are alike, so that fewer of them are independent. The doubt takes the
    correlation of neighbouring residuals into account.

    Args:
        times_s: of the readings, s.
        values: at these times; those that are not finite are left out.
    """
    times, found = np.array(times_s), np.array(values)
    known = np.isfinite(found)
    times, found = times[known], found[known]
    if len(times) < MIN_READINGS:
        return Trend(float("nan"), float("nan"))
    times = times - times.mean()
    slope = float(times @ found / (times @ times))
    rest = found - found.mean() - slope * times
    error = float(np.sqrt(rest @ rest / (len(times) - 2) / (times @ times)))
    alike = float(rest[1:] @ rest[:-1] / (rest @ rest)) if rest.any() else 0.0
    alike = min(max(alike, 0.0), 0.95)
    return Trend(slope, error * float(np.sqrt((1 + alike) / (1 - alike))))


def grows(numbers: list[int]) -> bool:
    """Whether numbers, in the order of time, have grown for good.

    A number that goes up and down does not grow: all numbers of the last quarter must be larger
    than all of the first.
    """
    quarter = len(numbers) // 4
    return quarter > 0 and min(numbers[-quarter:]) > max(numbers[:quarter])
