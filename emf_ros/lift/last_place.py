"""Where a person was last seen, and how uncertain that place becomes."""

from __future__ import annotations

import numpy as np

from ..stamps import NANOSECONDS

#: Standard deviation of the velocity of a person who is not seen, along each axis, m/s. A person
#: walks at 1.4 m/s (Bohannon 1997), in any horizontal direction: 1.4 / sqrt(2) along each of two.
WALKING_STDDEV_MPS = 1.0

_EYE = np.eye(3)


class LastPlace:
    """The last known root of a person."""

    def __init__(self) -> None:
        self._stamp_ns = 0
        self._root, self._covariance = np.full(3, np.nan), np.full((3, 3), np.nan)

    def update(self, stamp_ns: int, root: np.ndarray, covariance: np.ndarray) -> None:
        """Take a known root.

        Args:
            stamp_ns: of its image, ns.
            root: (3,) m.
            covariance: (3, 3) m^2.
        """
        self._stamp_ns, self._root, self._covariance = stamp_ns, root, covariance

    def at(self, stamp_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """The place at a stamp, ns, not before the last update.

        Returns:
            (3,) m, where the root was last known, and (3, 3) m^2, the covariance of the root about
            it: the person may have walked since. NaN where the root was never known.
        """
        walked_m = WALKING_STDDEV_MPS * max(stamp_ns - self._stamp_ns, 0) / NANOSECONDS
        return self._root, self._covariance + walked_m**2 * _EYE
