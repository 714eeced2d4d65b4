"""Bone lengths of a person, averaged over the whole track.

The model sees about a second of motion and estimates the body in each window. The person stays
the same, so the mean of many estimates is more accurate than the newest one. A skeleton with
constant bone lengths also has a constant scale, on which the distance of the root depends.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..skeletons import H36M17

#: (16, 2) joints of each bone: parent and child.
_ENDS = np.array(H36M17.edges)
#: (16,) index of the bone on the other side of the body; its own for bones in the middle.
_MIRROR = np.array(
    [H36M17.edges.index((H36M17.mirror[a], H36M17.mirror[b])) for a, b in H36M17.edges]
)

#: (16, 17) whether a bone is between the pelvis and a joint.
_PATH = np.zeros((len(_ENDS), len(H36M17)))
for _bone, (_parent, _child) in enumerate(_ENDS):
    # In the order of bones of the layout parents come before their children.
    _PATH[:, _child] = _PATH[:, _parent]
    _PATH[_bone, _child] = 1.0

#: Minimum share of the skeleton that the weight of a window is computed from.
MIN_WEIGHTED_SHARE = 0.1


class Bones(NamedTuple):
    """The bones of poses, in the order of `H36M17.bones`.

    Attributes:
        vectors: (..., 3, 16) m, from parent to child.
        lengths: (..., 16) m.
    """

    vectors: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, joints: np.ndarray) -> Bones:
        """The bones of joints (..., 17, 3) m."""
        by_axis = np.ascontiguousarray(joints.swapaxes(-1, -2))
        vectors = by_axis.take(_ENDS[:, 1], axis=-1) - by_axis.take(_ENDS[:, 0], axis=-1)
        x, y, z = (vectors[..., axis, :] for axis in range(3))
        return cls(vectors, np.sqrt(x * x + y * y + z * z))


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """(..., 16) lengths of the bones of joints (..., 17, 3), in the order of `H36M17.bones`."""
    return Bones.of(joints).lengths


def with_bone_lengths(
    joints: np.ndarray, lengths: np.ndarray, bones: Bones | None = None
) -> np.ndarray:
    """The same pose with other bone lengths. The pelvis and the directions of the bones stay.

    Args:
        joints: (..., 17, 3).
        lengths: (..., 16) in the unit of the joints; the shapes broadcast. A bone of length 0 has
            no direction, and stays as it is.
        bones: of the joints, where the caller has them.

    Returns:
        (..., 17, 3).
    """
    vectors, old = bones or Bones.of(joints)
    factor = np.where(old > 1e-6, lengths / np.maximum(old, 1e-6), 0.0)
    # A joint is the sum of the bones between the pelvis and it.
    return ((factor[..., None, :] * vectors) @ _PATH).swapaxes(-1, -2) + joints[..., :1, :]


def window_lengths(bones: Bones, stddev: np.ndarray) -> np.ndarray:
    """The bone lengths of windows: means of the frames, weighted by the inverse variance of the
    bone's outer end. Both sides of the body are equal.

    Args:
        bones: of (..., T) frames.
        stddev: (..., T, 17) m, of the joints.

    Returns:
        (..., 16) m.
    """
    weight = 1.0 / np.maximum(stddev.take(_ENDS[:, 1], axis=-1), 1e-3) ** 2
    lengths = (weight * bones.lengths).sum(axis=-2) / weight.sum(axis=-2)
    return 0.5 * (lengths + lengths[..., _MIRROR])


class BoneMemory:
    """The bone lengths of one person, from all windows so far.

    Older windows count less, so that the lengths of another person, after an exchange of ids, are
    forgotten. Windows that show a part of the person count less too: their scale is uncertain.

    Args:
        memory_s: time after which the weight of a window has fallen to 1/e, s.
    """

    def __init__(self, memory_s: float) -> None:
        self.memory_s = memory_s
        self._sum = np.zeros(len(_ENDS))
        self._share_sum = 0.0
        self._weight = 0.0
        self._newest_ns = 0

    @property
    def share(self) -> float:
        """The share of the skeleton that was seen, 0..1: weighted mean over the windows."""
        return self._share_sum / self._weight if self._weight else 0.0

    def add(self, lengths: np.ndarray, stamp_ns: int, share: float = 1.0) -> np.ndarray:
        """Take in a window.

        Args:
            lengths: (16,) m, see `window_lengths`.
            stamp_ns: of the window, ns; not before that of the last one.
            share: of the skeleton that is seen, 0..1.

        Returns:
            (16,) m: the lengths from all windows so far.
        """
        kept = math.exp(-max(0, stamp_ns - self._newest_ns) * 1e-9 / self.memory_s)
        counts = max(share, MIN_WEIGHTED_SHARE) ** 2
        self._sum = kept * self._sum + counts * lengths
        self._share_sum = kept * self._share_sum + counts * share
        self._weight = kept * self._weight + counts
        self._newest_ns = stamp_ns
        return self._sum / self._weight
