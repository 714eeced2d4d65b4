"""Rotations: quaternions of matrices, turns about an axis. Unknown is NaN."""

from __future__ import annotations

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) vectors of length 1; NaN for those of length 0."""
    length = np.sqrt(dot(vectors, vectors))[..., None]
    return vectors / np.where(length > 1e-9, length, np.nan)


_ONES = np.ones(3)
#: Factors of the six products of a cross product.
_FIRST, _SECOND = np.array([1, 2, 0, 2, 0, 1]), np.array([2, 0, 1, 1, 2, 0])


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., 3) cross product; several times faster than numpy's on small arrays."""
    products = a.take(_FIRST, -1) * b.take(_SECOND, -1)
    out: np.ndarray = products[..., :3] - products[..., 3:]
    return out


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(...) scalar product of (..., 3); faster than einsum on small arrays."""
    product = a * b
    if product.ndim != 2:
        product, shape = product.reshape(-1, 3), product.shape[:-1]
        of_all: np.ndarray = product.dot(_ONES).reshape(shape)
        return of_all
    of_rows: np.ndarray = product.dot(_ONES)
    return of_rows


def along(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(P, ...) scalar product of (P, ..., 3) with one axis (3,), or with one of each row (P, 3)."""
    if axis.ndim == 1:
        out: np.ndarray = vectors.reshape(-1, 3).dot(axis).reshape(vectors.shape[:-1])
        return out
    return dot(vectors, axis.reshape(len(axis), *(1,) * (vectors.ndim - 2), 3))


def clipped(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values within limits, as `np.clip`; several times faster on small arrays. NaN stays NaN."""
    out: np.ndarray = np.minimum(np.maximum(values, low), high)
    return out


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
    entries = flat.dot(_ENTRIES)
    entries += _ADDED
    # NaN counts as the largest: the result is NaN.
    largest = entries[:, :4].argmax(axis=-1)
    rows = _ROWS.take(largest, 0)
    rows += np.arange(0, entries.size, entries.shape[1])[:, None]
    row = entries.take(rows)
    row /= np.sqrt((row * row).dot(_FOUR))[:, None]
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
_ADDED = np.array([1.0] * 4 + [0.0] * 6)
_FOUR = np.ones(4)
#: Entries of the rows of that product.
_ROWS = np.array([[0, 4, 5, 7], [4, 1, 6, 8], [5, 6, 2, 9], [7, 8, 9, 3]])


def nearest_sign(quaternion: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The quaternions with the sign that is nearest to those before.

    q and -q are the same rotation. Without a common sign a consumer that interpolates sees jumps.

    Args:
        quaternion, before: (..., 4); those before may be NaN.
    """
    cosine = (quaternion * before).reshape(-1, 4).dot(_FOUR).reshape(quaternion.shape[:-1])
    return quaternion * np.where(cosine < 0, -1.0, 1.0)[..., None]


def turned(rotation: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(..., 3, 3) times (..., 3)."""
    return np.asarray(np.einsum("...ij,...j->...i", rotation, vectors))


def carried_along(vectors: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Turn vectors by the shortest rotation from a direction that they are square to to another.

    Args:
        vectors: (..., 3) square to `before`.
        before, after: (..., 3) of length 1. Opposite ones have no shortest rotation: NaN.
    """
    # The rotation is that of two reflections. Nothing of the vectors is along `before`.
    cosine = dot(before, after)
    share = dot(after, vectors) / np.where(cosine > -0.999, 1.0 + cosine, np.nan)
    return np.asarray(vectors - share[..., None] * (before + after))
