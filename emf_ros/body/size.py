"""The lengths of one body over time, and when its URDF is to be written anew."""

from __future__ import annotations

import numpy as np

from .chain import LENGTHS, completed

#: Number of images that a length is the mean of; older ones fade.
IMAGES = 100
#: Difference of a length from that in the URDF from which a new URDF is due, m.
NEW_M = 0.01

_TRUNK = LENGTHS.index("trunk")


class BodySize:
    """The lengths of one body.

    Attributes:
        described: (11,) m, the lengths that the URDF has, in the order of `chain.LENGTHS`; typical
            ones before the first image.
    """

    def __init__(self) -> None:
        self.described = completed(np.full(len(LENGTHS), np.nan))
        self._means = np.full(len(LENGTHS), np.nan)
        # Number of images in each mean.
        self._images = np.zeros(len(LENGTHS))

    @property
    def trunk_m(self) -> float:
        """Length of the trunk in the URDF, m."""
        return float(self.described[_TRUNK])

    def take(self, lengths: np.ndarray) -> bool:
        """Take the lengths that an image shows; whether the URDF is to be written anew.

        Args:
            lengths: (11,) m, see `chain.lengths_of`; NaN where unknown.
        """
        first, known = not self._images.any(), np.isfinite(lengths)
        self._images = np.minimum(self._images + known, IMAGES)
        before = np.where(self._images > 1, self._means, lengths)
        step = np.where(known, lengths - before, 0.0) / np.maximum(self._images, 1)
        self._means = before + step
        if not first and not (np.abs(self._means - self.described) > NEW_M).any():
            return False
        self.described = completed(self._means)
        return True
