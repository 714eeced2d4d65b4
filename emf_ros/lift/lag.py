"""The choice of the lag, the number of frames that the described image is behind the newest.

A larger lag makes poses more exact, because the model sees more of the motion after them. It also
makes them later.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

#: Number of outputs that the delay is estimated from.
RECENT = 64
#: Percentile of their delays that has to fit into the budget.
QUANTILE = 95.0

#: Number of outputs in a row with room for a larger lag, before it is chosen. Each change leaves
#: out images or waits for new ones. A smaller lag is chosen at once.
PATIENCE = 30

#: Minimum number of outputs before the lag is chosen.
FEWEST = 10


class AutoLag:
    """The largest lag that keeps the age of the poses within a budget.

    The age of a pose when it is published is the age of the image that it describes. It has two
    parts. The delay of the newest image (camera, detector, waiting, lifting) is measured. The time
    from the described image to the newest one follows from the lag and the camera's rate.

    Args:
        budget_ms: maximum age of 19 in 20 poses, ms.
        step_ms: time between two frames of the model, ms.
        largest: maximum lag, frames. The model knows most in the middle of the window.

    Attributes:
        lag: frames; 0 before `FEWEST` outputs.
    """

    def __init__(self, budget_ms: float, step_ms: float, largest: int) -> None:
        self.budget_ms, self.step_ms, self.largest = budget_ms, step_ms, largest
        self.lag = 0
        self._own_ms: deque[float] = deque(maxlen=RECENT)
        self._patience = 0

    def update(self, own_ms: float, period_ms: float) -> int:
        """Take in one output.

        Args:
            own_ms: age of the newest image when the poses were published, ms; NaN where it is not
                known.
            period_ms: time from image to image, ms.

        Returns:
            the lag of the next outputs, frames.
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
        """Time from the described image to the newest one, ms.

        The described image is the first that is at least the lag old, within half a frame.
        """
        if lag == 0:
            return 0.0
        return math.ceil((lag - 0.5) * self.step_ms / period_ms) * period_ms
