"""The stamps of a camera's images, and which image is to be described next."""

from __future__ import annotations

from collections import deque

import numpy as np

from ..stamps import NANOSECONDS

#: Maximum number of stamps that are remembered: at 1000 Hz four seconds, more than any lag.
MAX_STAMPS = 4096

#: Number of stamps that the period of the images is measured from.
PERIOD_STAMPS = 17


class Timeline:
    """The stamps of the images of one camera.

    Poses are given at stamps of images. The described image is the newest one that is at least
    `lag` frames of the model old.

    Args:
        rate_hz: of the model's frames.
    """

    def __init__(self, rate_hz: float) -> None:
        self.step_ns = NANOSECONDS / rate_hz
        self._stamps: deque[int] = deque(maxlen=MAX_STAMPS)
        # None before the first: stamps may be negative, so no number can say it.
        self._described_ns: int | None = None

    def __bool__(self) -> bool:
        """Whether there was an image."""
        return bool(self._stamps)

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest image, ns; 0 before the first."""
        return self._stamps[-1] if self._stamps else 0

    @property
    def period_ms(self) -> float:
        """Median time from image to image, ms, of the last ones; NaN with fewer than two."""
        stamps = list(self._stamps)[-PERIOD_STAMPS:]
        return float(np.median(np.diff(stamps))) / 1e6 if len(stamps) > 1 else float("nan")

    def add(self, stamp_ns: int) -> None:
        """Take in an image by its stamp, ns, which is later than the last one."""
        self._stamps.append(stamp_ns)

    def clear(self) -> None:
        """Forget all images."""
        self._stamps.clear()
        self._described_ns = None

    def mark_described(self, stamp_ns: int) -> None:
        """Remember that the image of a stamp, ns, is described, and with it all before it."""
        self._described_ns = stamp_ns

    def due(self, lag: int) -> int | None:
        """Stamp of the image to describe, ns; None where it is described already.

        Before any image is `lag` frames old it is the oldest one.
        """
        if not self._stamps:
            return None
        stamp_ns = self.newest_ns
        if lag:
            latest_ns = self._latest_due(lag)
            old = (stamp for stamp in reversed(self._stamps) if stamp <= latest_ns)
            stamp_ns = next(old, self._stamps[0])
        return None if self._is_described(stamp_ns) else stamp_ns

    def due_every(self, lag: int, finish: bool) -> list[tuple[int, int]]:
        """All images that are due and not described, the oldest first.

        Args:
            lag: frames of the model.
            finish: add the images that are not `lag` frames old.

        Returns:
            stamp, ns, and lag of each; the lag is smaller where the image is not old enough.
        """
        due, latest_ns = [], self._latest_due(lag)
        for stamp_ns in self._stamps:
            if self._is_described(stamp_ns):
                continue
            if stamp_ns <= latest_ns:
                due.append((stamp_ns, lag))
            elif finish:
                due.append((stamp_ns, round((self.newest_ns - stamp_ns) / self.step_ns)))
        return due

    def _is_described(self, stamp_ns: int) -> bool:
        return self._described_ns is not None and stamp_ns <= self._described_ns

    def _latest_due(self, lag: int) -> int:
        """The latest stamp, ns, of an image that is `lag` frames old."""
        # Half a frame of tolerance: a jittering stamp would double the lag now and then.
        return self.newest_ns - round((lag - 0.5) * self.step_ns)
