"""Smoothing of positions over time: off unless asked for, as it delays what it smooths."""

from __future__ import annotations

import math

import numpy as np

from .window import NANOSECONDS


class OneEuroFilter:
    """A low-pass filter that opens with the speed (Casiez, Roussel & Vogel 2012).

    What moves at v m/s is smoothed with the cutoff frequency `min_cutoff_hz + beta * v`: who stands
    still does not tremble, and fast motion is hardly delayed. The delay of steady motion is
    1 / (2 pi cutoff). The defaults are for human joints at 30 Hz: white noise of 5 mm falls to
    2 mm; the delay is 31 ms at 0.5 m/s, 9 ms at 2 m/s, and 14 ms while one starts to move so fast.
    Errors that last for longer than 0.1 s are motion to the filter.

    Every element of the array is filtered by itself. It starts anew after a NaN, which stays one.

    Args:
        min_cutoff_hz: of what stands still; the lower, the steadier and the later.
        beta: 1/m, how fast the cutoff grows with the speed: Hz per m/s.
        derivative_cutoff_hz: of the low-pass filter on the speed.
        reset_s: after a gap longer than this everything starts anew.

    Raises:
        ValueError: a parameter is not positive; `beta` may be 0.
    """

    def __init__(
        self,
        min_cutoff_hz: float = 1.0,
        beta: float = 8.0,
        derivative_cutoff_hz: float = 3.0,
        reset_s: float = 0.5,
    ) -> None:
        if not (min_cutoff_hz > 0 and derivative_cutoff_hz > 0 and reset_s > 0 and beta >= 0):
            raise ValueError(
                f"cutoffs and reset_s must be positive and beta not negative, are {min_cutoff_hz}, "
                f"{derivative_cutoff_hz}, {reset_s} and {beta}"
            )
        self.min_cutoff_hz = min_cutoff_hz
        self.beta = beta
        self.derivative_cutoff_hz = derivative_cutoff_hz
        self.reset_s = reset_s
        self._stamp_ns: int | None = None
        # NaN where an element has no past.
        self._values = self._smooth = self._speed = np.zeros(0)

    def filter(self, stamp_ns: int, values: np.ndarray) -> np.ndarray:
        """Smooth one frame.

        Args:
            stamp_ns: of the frame, later than the last one's.
            values: m, of any shape, the same at every call.

        Returns:
            m, in that shape.

        Raises:
            ValueError: the stamp does not rise, or the shape changes.
        """
        values = np.array(values, dtype=np.float64)
        if self._stamp_ns is None:
            return self._begin(stamp_ns, values)
        if stamp_ns <= self._stamp_ns:
            raise ValueError("stamps must rise")
        if values.shape != self._values.shape:
            raise ValueError(f"the shape changes from {self._values.shape} to {values.shape}")
        step_s = (stamp_ns - self._stamp_ns) / NANOSECONDS
        if step_s > self.reset_s:
            return self._begin(stamp_ns, values)
        velocity = (values - self._values) / step_s
        velocity = self._speed + _share(self.derivative_cutoff_hz, step_s) * (
            velocity - self._speed
        )
        cutoff_hz = self.min_cutoff_hz + self.beta * np.abs(velocity)
        smooth = self._smooth + _share(cutoff_hz, step_s) * (values - self._smooth)
        fresh = np.isnan(self._smooth)
        self._speed = np.where(fresh | np.isnan(values), 0.0, velocity)
        self._smooth = np.where(fresh, values, smooth)
        self._values, self._stamp_ns = values, stamp_ns
        return self._smooth.copy()

    def _begin(self, stamp_ns: int, values: np.ndarray) -> np.ndarray:
        self._stamp_ns = stamp_ns
        self._values = self._smooth = values
        self._speed = np.zeros_like(values)
        return values.copy()


def _share(cutoff_hz: np.ndarray | float, step_s: float) -> np.ndarray | float:
    """How much of the new value a first-order low-pass filter takes (their equation 6)."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * step_s))
