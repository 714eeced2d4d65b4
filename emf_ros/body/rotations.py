"""Rotations: quaternions of matrices, turns about an axis. Unknown is NaN."""

from __future__ import annotations

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) vectors of length 1; NaN for those of length 0."""
    length = np.sqrt(dot(vectors, vectors))[..., None]
    return vectors / np.where(length > 1e-9, length, np.nan)


_NEXT, _AFTER = np.array([1, 2, 0]), np.array([2, 0, 1])


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 3) cross product; several times faster than numpy's on small arrays."""
    return a.take(_NEXT, -1) * b.take(_AFTER, -1) - a.take(_AFTER, -1) * b.take(_NEXT, -1)


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...) scalar product of (..., 3)."""
    return np.asarray(np.einsum("...i,...i->...", a, b))


def quaternions(rotation: np.ndarray) -> np.ndarray:
    """Quaternions of rotation matrices.

    The largest component is computed first, so that no division is by a small number (Shepperd
    1978).

    Args:
        rotation: (..., 3, 3).

    Returns:
        (..., 4) x, y, z, w of length 1; NaN where the matrix is.
    """
    flat = rotation.reshape(-1, 9)
    # Ten entries of four times the outer product of the quaternion with itself.
    entries = flat @ _ENTRIES
    entries[:, :4] += 1.0
    largest = np.nan_to_num(entries[:, :4], nan=-1.0).argmax(axis=-1)
    row = entries[np.arange(len(flat))[:, None], _ROWS[largest]]
    row /= np.sqrt(np.einsum("ij,ij->i", row, row))[:, None]
    return row.reshape(*rotation.shape[:-2], 4)


def matrices(quaternion: np.ndarray) -> np.ndarray:
    """(..., 4) x, y, z, w of length 1 -> (..., 3, 3); the inverse of `quaternions`."""
    x, y, z, w = np.moveaxis(quaternion, -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _entries() -> np.ndarray:
    """(9, 10) from a matrix, row by row, to xx, yy, zz, ww (less 1), xy, xz, yz, xw, yw, zw."""
    out = np.zeros((9, 10))
    for column, signs in enumerate(((1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1))):
        out[[0, 4, 8], column] = signs
    for column, (i, j) in enumerate(((1, 3), (2, 6), (5, 7)), start=4):
        out[[i, j], column] = 1
    for column, (plus, minus) in enumerate(((7, 5), (2, 6), (3, 1)), start=7):
        out[plus, column], out[minus, column] = 1, -1
    return out


_ENTRIES = _entries()
#: Entries of the rows of that product.
_ROWS = np.array([[0, 4, 5, 7], [4, 1, 6, 8], [5, 6, 2, 9], [7, 8, 9, 3]])


def nearest_sign(quaternion: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The quaternions with the sign that is nearest to those before.

    q and -q are the same rotation. Without a common sign a consumer that interpolates sees jumps.

    Args:
        quaternion, before: (..., 4); those before may be NaN.
    """
    opposite = np.einsum("...i,...i->...", quaternion, before)[..., None] < 0
    return np.where(opposite, -quaternion, quaternion)


def turned(rotation: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(..., 3, 3) times (..., 3)."""
    return np.asarray(np.einsum("...ij,...j->...i", rotation, vectors))


def turned_about(vectors: np.ndarray, axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Turn vectors about axes that they are perpendicular to.

    Args:
        vectors: (..., 3).
        axis: (..., 3) of length 1.
        angle: (...) rad.
    """
    return vectors * np.cos(angle)[..., None] + cross(axis, vectors) * np.sin(angle)[..., None]


def carried_along(vectors: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Turn vectors by the shortest rotation from one direction to another.

    Args:
        vectors: (..., 3).
        before, after: (..., 3) of length 1. Opposite ones have no shortest rotation: NaN.
    """
    axis = cross(before, after)
    cosine = dot(before, after)[..., None]
    # Rodrigues' formula with (1 - cos) / sin^2 = 1 / (1 + cos).
    along = dot(axis, vectors)[..., None]
    share = 1.0 / np.where(cosine > -0.999, 1.0 + cosine, np.nan)
    return vectors * cosine + cross(axis, vectors) + axis * along * share
