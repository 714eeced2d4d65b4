"""The choice of the lag, the number of frames that the described image is behind the newest.

With a larger lag, poses are more accurate, because the model sees more of the motion after them.
They are also published later.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

#: Maximum number of outputs from which the delay is estimated.
MAX_RECENT_OUTPUTS = 64
#: Percentile of their delays that must fit into the budget, %.
DELAY_PERCENTILE = 95.0

#: Number of outputs in a row that must allow a larger lag before it is chosen. Each change leaves
#: out images or waits for new ones. A smaller lag is chosen at once.
OUTPUTS_BEFORE_INCREASE = 30

#: Minimum number of outputs before the lag is chosen.
MIN_OUTPUTS = 10


class AutoLag:
    """The largest lag that keeps the age of the poses within a budget.

    The age of a pose when it is published is the age of the image that it describes. It has two
    parts. The delay of the newest image (camera, detector, waiting, lifting) is measured. The time
    from the described image to the newest one follows from the lag and the camera's rate.

    Args:
        budget_ms: maximum age of 19 in 20 poses, ms.
        step_ms: time between two frames of the model, ms.
        largest: maximum lag, frames. The model is most accurate in the middle of the window.

    Attributes:
        lag: frames; 0 before `MIN_OUTPUTS` outputs.
    """

    def __init__(self, budget_ms: float, step_ms: float, largest: int) -> None:
        self.budget_ms, self.step_ms, self.largest = budget_ms, step_ms, largest
        self.lag = 0
        self._delays_ms: deque[float] = deque(maxlen=MAX_RECENT_OUTPUTS)
        self._outputs_with_room = 0

    def update(self, delay_ms: float, period_ms: float) -> int:
        """Take in one output.

        Args:
            delay_ms: age of the newest image when the poses were published, ms; NaN where it is not
                known.
            period_ms: time from image to image, ms.

        Returns:
            the lag of the next outputs, frames.
        """
        if math.isfinite(delay_ms):
            self._delays_ms.append(delay_ms)
        if len(self._delays_ms) < MIN_OUTPUTS or not period_ms > 0:
            return self.lag
        left_ms = self.budget_ms - float(np.percentile(self._delays_ms, DELAY_PERCENTILE))
        fits = max(
            (k for k in range(self.largest + 1) if self.behind_ms(k, period_ms) <= left_ms),
            default=0,
        )
        self._outputs_with_room = self._outputs_with_room + 1 if fits > self.lag else 0
        if fits < self.lag or self._outputs_with_room >= OUTPUTS_BEFORE_INCREASE:
            self.lag, self._outputs_with_room = fits, 0
        return self.lag

    def behind_ms(self, lag: int, period_ms: float) -> float:
        """Time from the described image to the newest one, ms.

        The described image is the first that is at least the lag old, within half a frame.
        """
        if lag == 0:
            return 0.0
        return math.ceil((lag - 0.5) * self.step_ms / period_ms) * period_ms
