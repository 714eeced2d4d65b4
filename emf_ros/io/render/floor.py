"""The level floor under people, estimated from their ankles."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from ...skeletons import H36M17

#: Height of the ankle joint above the floor when standing, m.
ANKLE_HEIGHT_M = 0.08
#: Depth of the floor below the camera before anyone was seen, m.
DEFAULT_FLOOR_M = 1.2
#: Percentile of the ankles' depths that is the floor; one bad joint does not lower it for good.
FLOOR_PERCENTILE = 85
#: Maximum number of ankles from which the floor is estimated.
MAX_ANKLES = 900
#: Minimum and maximum depth of the floor, m.
DEPTH_RANGE_M = (-3.0, 5.0)
#: Time constant of moving the floor, s.
FLOOR_S = 1.5

_ANKLES = [H36M17.index("left_ankle"), H36M17.index("right_ankle")]


class Floor:
    """The floor at the height of the lowest ankles.

    Attributes:
        depth: of the floor below the origin, m.
    """

    def __init__(self) -> None:
        self.depth = DEFAULT_FLOOR_M
        self._ankles: deque[float] = deque(maxlen=MAX_ANKLES)
        self._moved = False

    def follow(self, depths: np.ndarray, step_s: float) -> None:
        """Take the people of one time.

        Args:
            depths: (P, 17) m, of the joints below the origin; NaN where unknown.
            step_s: time since the last call, s.
        """
        for person in depths:
            lowest = person[_ANKLES]
            if np.isfinite(lowest).any():
                self._ankles.append(float(np.nanmax(lowest)))
        if len(depths) == 0 or not self._ankles:
            return
        floor = float(np.percentile(self._ankles, FLOOR_PERCENTILE)) + ANKLE_HEIGHT_M
        floor = min(max(floor, DEPTH_RANGE_M[0]), DEPTH_RANGE_M[1])
        share = 1 - math.exp(-step_s / FLOOR_S) if self._moved else 1.0
        self.depth += share * (floor - self.depth)
        self._moved = True
