"""Ranges of the numbers in a run's settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`.

    Attributes:
        low, high: the limits.
        above: whether `low` itself is outside.
        below: whether `high` itself is outside.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not math.isfinite(value) or not self.low <= value <= self.high:
            return False
        return not (self.above and value == self.low) and not (self.below and value == self.high)

    def __str__(self) -> str:
        if math.isinf(self.high):
            return "positive and finite" if self.above else f"{self.low} or more"
        if not self.above and not self.below:
            return f"{self.low} to {self.high}"
        low = f"above {self.low}" if self.above else f"{self.low} or more"
        return f"{low} and {'below' if self.below else 'at most'} {self.high}"


POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
SHARE = Range(0, 1)
#: Correlation from frame to frame. At 1 a process never changes.
CORRELATION = Range(0, 1, below=True)
HALF_TURN_DEG = Range(0, 180)


def check_numbers(settings: object, ranges: Mapping[str, Range]) -> None:
    """Refuse settings that are no number of their range.

    Raises:
        ValueError: says which, and its range.
    """
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        if value not in allowed:
            raise ValueError(f"{name} must be {allowed}, not {value!r}")


def check_limits(settings: object, ranges: Mapping[str, Range]) -> None:
    """Refuse settings that are no lower and upper limit of their range.

    Raises:
        ValueError: says which, and its range.
    """
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        if not _is_pair(value, allowed) or value[0] > value[1]:
            raise ValueError(
                f"{name} must be two numbers in order, both {allowed}, not {shown(value)}"
            )


def check_pairs(settings: object, ranges: Mapping[str, Range]) -> None:
    """Refuse settings that are not two numbers of their range, in any order.

    Raises:
        ValueError: says which, and its range.
    """
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        if not _is_pair(value, allowed):
            raise ValueError(f"{name} must be two numbers, both {allowed}, not {shown(value)}")


def check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a word that is not one of those known.

    Raises:
        ValueError: says which there are.
    """
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def shown(value: Any) -> str:
    """A value as a user writes it: a tuple as a list."""
    return repr(list(value)) if isinstance(value, tuple) else repr(value)


def _is_pair(value: Any, allowed: Range) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(v in allowed for v in value)
