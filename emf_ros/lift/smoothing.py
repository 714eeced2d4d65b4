"""Smoothing of positions over time."""

from __future__ import annotations

import math

import numpy as np

from .window import NANOSECONDS


class WindowFilter:
    """Removes the jumps between the poses of consecutive windows, without delay.

    Each window is a new estimate of the whole second. The newest frames of two consecutive windows
    differ by more than the person moved, but the motion within a window is smooth. So the filter
    advances the last pose by the motion in the new window. The difference to the pose in the new
    window decays with a time constant. This is a complementary filter (Higgins 1975): it passes
    motion and averages positions. On a real recording at lag 0, the acceleration falls from 16.6 to
    10.2 m/s^2 at 0.05 s, and to 8.3 m/s^2 at 0.1 s (true: 4.7). The error grows by 1 and 3 mm.

    Args:
        time_constant_s: time constant of the decay of that difference, s.
    """

    def __init__(self, time_constant_s: float) -> None:
        self.time_constant_s = time_constant_s
        self._stamp_ns: int | None = None
        self._pose = np.zeros(0)

    def filter(self, stamp_ns: int, window: np.ndarray, frame: int, rate_hz: float) -> np.ndarray:
        """The pose of one frame.

        Args:
            stamp_ns: of that frame, ns, later than that of the last one.
            window: (T, ...) m, the newest window.
            frame: index of the frame in the window.
            rate_hz: of the frames of the window.

        Returns:
            (...) m.
        """
        pose: np.ndarray = window[frame]
        if self._stamp_ns is not None:
            step_s = (stamp_ns - self._stamp_ns) / NANOSECONDS
            # Position in the new window of the frame that was described last.
            at = frame - step_s * rate_hz
            if at >= 0:
                low = math.floor(at)
                then = window[low] + (at - low) * (window[low + 1] - window[low])
                moved = self._pose + pose - then
                pose = pose + math.exp(-step_s / self.time_constant_s) * (moved - pose)
        self._stamp_ns, self._pose = stamp_ns, pose
        return pose


class OneEuroFilter:
    """A low-pass filter whose cutoff grows with the speed (Casiez, Roussel & Vogel 2012).

    The cutoff frequency at a speed of v m/s is `min_cutoff_hz + beta * v`. Joints at rest do not
    jitter, and fast motion is hardly delayed. The delay of uniform motion is 1 / (2 pi cutoff). The
    defaults are for human joints at 30 Hz: white noise of 5 mm falls to 2 mm. The delay is 31 ms at
    0.5 m/s, 9 ms at 2 m/s, and 14 ms while a joint accelerates to 2 m/s. Errors that last for more
    than 0.1 s pass the filter like motion.

    Each element of the array is filtered separately. NaN stays NaN, and restarts its filter.

    Args:
        min_cutoff_hz: cutoff at rest, Hz. A lower one smooths more and delays more.
        beta: growth of the cutoff with the speed, Hz per m/s.
        derivative_cutoff_hz: cutoff of the low-pass filter on the speed, Hz.
        reset_s: gap after which the filter restarts, s.

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
            stamp_ns: of the frame, ns, later than that of the last one.
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
    """Weight of the new value in a first-order low-pass filter (their equation 6)."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * step_s))
