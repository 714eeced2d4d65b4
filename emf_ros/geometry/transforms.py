"""Rigid transforms between frames, and their interpolation in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Angle between two rotations below which they are interpolated on a line, cosine of its half.
_ALMOST_EQUAL = 0.9999


@dataclass(frozen=True)
class Transform:
    """Rigid transforms, one or several: p becomes `rotation @ p + translation`.

    Attributes:
        rotation: (..., 3, 3).
        translation: (..., 3) m. NaN where the transform is not known.
    """

    rotation: np.ndarray
    translation: np.ndarray

    @classmethod
    def identity(cls) -> Transform:
        """The transform that changes nothing."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def of(cls, translation: np.ndarray, quaternion: np.ndarray) -> Transform:
        """Transforms of translations (..., 3) m and quaternions x, y, z, w (..., 4) of length 1."""
        return cls(rotations(quaternion), np.asarray(translation, dtype=np.float64))

    def __matmul__(self, first: Transform) -> Transform:
        """The transforms that apply `first`, and then these."""
        return Transform(self.rotation @ first.rotation, self.points(first.translation))

    def __getitem__(self, index: int | np.ndarray) -> Transform:
        """One or some of several transforms."""
        return Transform(self.rotation[index], self.translation[index])

    @property
    def known(self) -> np.ndarray:
        """(...) whether each transform is known."""
        return np.asarray(np.isfinite(self.translation).all(axis=-1))

    def inverse(self) -> Transform:
        """The transforms the other way."""
        back = np.swapaxes(self.rotation, -1, -2)
        return Transform(back, -_times(back, self.translation))

    def points(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) m, transformed points."""
        return self.vectors(points) + self.translation

    def vectors(self, vectors: np.ndarray) -> np.ndarray:
        """(..., 3), turned vectors; NaN stays NaN."""
        return _times(self.rotation, vectors)

    def covariance(self, covariance: np.ndarray) -> np.ndarray:
        """(..., 3, 3), turned covariances."""
        return np.asarray(self.rotation @ covariance @ np.swapaxes(self.rotation, -1, -2))


def _times(rotation: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("...ij,...j->...i", rotation, vectors))


def rotations(quaternion: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotation matrices of quaternions x, y, z, w (..., 4) of length 1."""
    x, y, z, w = np.moveaxis(np.asarray(quaternion, dtype=np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def between(before: np.ndarray, after: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Quaternions between two, at constant angular speed along the shorter way (Shoemake 1985).

    Args:
        before, after: (N, 4) of length 1.
        share: (N,) of the way, 0..1.

    Returns:
        (N, 4) of length 1.
    """
    cosine = np.einsum("ni,ni->n", before, after)
    after = np.where(cosine[:, None] < 0, -after, after)
    cosine = np.abs(cosine)
    angle = np.arccos(np.minimum(cosine, 1.0))
    sine = np.sin(angle)
    near = cosine > _ALMOST_EQUAL
    safe = np.where(near, 1.0, sine)
    first = np.where(near, 1.0 - share, np.sin((1.0 - share) * angle) / safe)
    second = np.where(near, share, np.sin(share * angle) / safe)
    mixed = first[:, None] * before + second[:, None] * after
    return np.asarray(mixed / np.linalg.norm(mixed, axis=-1, keepdims=True))
