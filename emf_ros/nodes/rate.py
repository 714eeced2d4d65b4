"""Rates for the diagnostics."""

from __future__ import annotations

import time


class RateMeter:
    """Events a second, over the time since it was last asked."""

    def __init__(self) -> None:
        self._count, self._since = 0, time.monotonic()

    def tick(self) -> None:
        self._count += 1

    def read(self) -> float:
        now = time.monotonic()
        rate = self._count / max(now - self._since, 1e-6)
        self._count, self._since = 0, now
        return rate
