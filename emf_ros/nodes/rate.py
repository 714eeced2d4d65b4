"""Rates of images: measured for the diagnostics, and limited. Needs no ROS."""

from __future__ import annotations

import time

from ..stamps import NANOSECONDS

#: Time by which an image may come early and still be due, as a share of the period.
EARLY_SHARE = 0.1


class RateMeter:
    """Mean number of events a second since the last reading.

    Attributes:
        last_count: number of events between the last two readings.
    """

    def __init__(self) -> None:
        self._count, self._since = 0, time.monotonic()
        self.last_count = 0

    def tick(self) -> None:
        """Count an event."""
        self._count += 1

    def read(self) -> float:
        """Events a second since the last reading, Hz."""
        now = time.monotonic()
        rate = self._count / max(now - self._since, 1e-6)
        self.last_count, self._count, self._since = self._count, 0, now
        return rate


class RateLimiter:
    """Selects images by their times so that their rate stays under a limit.

    Args:
        max_rate_hz: maximum rate, Hz; 0: no limit.
    """

    def __init__(self, max_rate_hz: float) -> None:
        self._period_ns = round(NANOSECONDS / max_rate_hz) if max_rate_hz > 0 else 0
        self._due_ns: int | None = None

    def restart(self) -> None:
        """Forget the images so far, as after a jump of the clock."""
        self._due_ns = None

    def is_due(self, stamp_ns: int) -> bool:
        """Whether the image of this time, ns, is used.

        Args:
            stamp_ns: the stamp or the arrival. Where it may step back, the caller restarts.
        """
        if not self._period_ns:
            return True
        due_ns = stamp_ns if self._due_ns is None else self._due_ns
        after_ns = stamp_ns - due_ns
        if after_ns < -EARLY_SHARE * self._period_ns:
            return False
        # The period counts from the due time. Late images would otherwise lower the rate.
        self._due_ns = self._period_ns + (due_ns if after_ns < self._period_ns else stamp_ns)
        return True
