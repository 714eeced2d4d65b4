"""Rates and latencies of the last minute."""

from __future__ import annotations

import math
import time
from collections import deque

import numpy as np

#: Number of seconds that are kept.
HISTORY_S = 60


class History:
    """Collects the times of messages, second by second.

    Attributes:
        seconds: time (s), rate of the messages (Hz) and median latency (ms) of each second.
        rate_hz: of the last second.
        latency_ms: (2,) median and 95th percentile of the last second, ms; NaN where unknown.
        stages_ms: (3,) medians of detection, queue and lifting, ms; NaN where unknown.
        people: number of people in the last message.
    """

    def __init__(self) -> None:
        self.seconds: deque[tuple[float, float, float]] = deque(maxlen=HISTORY_S)
        self.rate_hz = 0.0
        self.latency_ms = np.full(2, np.nan)
        self.stages_ms = np.full(3, np.nan)
        self.people = 0
        self._since_s = time.monotonic()
        self._messages: list[tuple[float, float, float, float]] = []

    def add(self, age_ms: float, stages_ms: tuple[float, float, float], people: int) -> None:
        """Take a message.

        Args:
            age_ms: age of its image, ms; NaN where unknown.
            stages_ms: of detection, queue and lifting, ms; NaN where unknown.
            people: number of people in it.
        """
        self._messages.append((age_ms, *stages_ms))
        self.people = people

    def close_second(self) -> None:
        """Sum up the messages since the last call."""
        now = time.monotonic()
        times = np.array(self._messages, dtype=float).reshape(-1, 4)
        self.rate_hz = len(times) / max(now - self._since_s, 1e-6)
        self.latency_ms = np.array([_percentile(times[:, 0], q) for q in (50, 95)])
        self.stages_ms = np.array([_percentile(times[:, i], 50) for i in (1, 2, 3)])
        self.seconds.append((now, self.rate_hz, float(self.latency_ms[0])))
        self._since_s, self._messages = now, []
        if not len(times):
            self.people = 0

    def rows(self) -> list[tuple[str, str]]:
        """The last second as pairs of name and value."""
        names = ("detection", "queue", "lifting")
        stages = ", ".join(
            f"{name} {_number(value)}" for name, value in zip(names, self.stages_ms, strict=True)
        )
        return [
            ("skeletons", f"{self.rate_hz:.1f} Hz"),
            ("people", str(self.people)),
            ("latency, ms", " / ".join(map(_number, self.latency_ms)) + " (p50 / p95)"),
            ("of it, ms", stages),
        ]


def _percentile(values: np.ndarray, q: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, q)) if len(known) else math.nan


def _number(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "unknown"
