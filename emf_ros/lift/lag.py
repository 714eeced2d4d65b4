"""How many frames behind the newest a pose may be: the more it has seen after it, the better it is,
and the later it comes."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

#: Outputs that the delay is estimated from, and their quantile that has to fit into the budget.
RECENT, QUANTILE = 64, 95.0

#: Outputs with room for a larger lag before it is taken: each change leaves out images or waits for
#: new ones, so it is not made for a moment's calm. A smaller lag is taken at once.
PATIENCE = 30

#: Outputs before anything is known of the delay.
FEWEST = 10


class AutoLag:
    """The largest lag that keeps the age of the poses within a budget.

    A pose's age when it is published is that of the image that it describes: the newest image's
    own delay (camera, detector, waiting, lifting), which is measured, and how much older the
    described image is than the newest, which the lag and the camera's rate fix.

    Args:
        budget_ms: the age that nineteen in twenty poses should keep.
        step_ms: a frame of the model.
        largest: never more than this; half the window is where the model knows most.

    Attributes:
        lag: frames; 0 until enough is known.
    """

    def __init__(self, budget_ms: float, step_ms: float, largest: int) -> None:
        self.budget_ms, self.step_ms, self.largest = budget_ms, step_ms, largest
        self.lag = 0
        self._own_ms: deque[float] = deque(maxlen=RECENT)
        self._patience = 0

    def update(self, own_ms: float, period_ms: float) -> int:
        """Take in one output.

        Args:
            own_ms: the newest image's age when its poses were published; NaN where not known.
            period_ms: from image to image.

        Returns:
            the lag to use from now on.
        """
        if math.isfinite(own_ms):
            self._own_ms.append(own_ms)
        if len(self._own_ms) < FEWEST or not period_ms > 0:
            return self.lag
        left_ms = self.budget_ms - float(np.percentile(self._own_ms, QUANTILE))
        fits = max(
            (k for k in range(self.largest + 1) if self.behind_ms(k, period_ms) <= left_ms),
            default=0,
        )
        self._patience = self._patience + 1 if fits > self.lag else 0
        if fits < self.lag or self._patience >= PATIENCE:
            self.lag, self._patience = fits, 0
        return self.lag

    def behind_ms(self, lag: int, period_ms: float) -> float:
        """How much older than the newest the described image is: the first that is at least the lag
        old, within half a frame."""
        if lag == 0:
            return 0.0
        return math.ceil((lag - 0.5) * self.step_ms / period_ms) * period_ms
