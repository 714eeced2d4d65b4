"""Bone lengths of a person, averaged over the whole track.

The model sees about a second of motion and estimates the body in each window. The person stays
the same, so the mean of many estimates is more accurate than the newest one. A skeleton with
constant bone lengths also has a constant scale, on which the distance of the root depends.
"""

from __future__ import annotations

import math

import numpy as np

from ..skeletons import H36M17

#: (16, 2) joints of each bone: parent and child.
_ENDS = np.array(H36M17.edges)
#: (16,) index of the bone on the other side of the body; its own for bones in the middle.
_MIRROR = np.array(
    [H36M17.edges.index((H36M17.mirror[a], H36M17.mirror[b])) for a, b in H36M17.edges]
)

#: Minimum share of the skeleton that the weight of a window is computed from.
MIN_WEIGHTED_SHARE = 0.1


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """(..., 16) lengths of the bones of joints (..., 17, 3), in the order of `H36M17.bones`."""
    return np.linalg.norm(joints[..., _ENDS[:, 1], :] - joints[..., _ENDS[:, 0], :], axis=-1)


def with_bone_lengths(joints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The same pose with other bone lengths. The pelvis and the directions of the bones stay.

    Args:
        joints: (..., 17, 3).
        lengths: (..., 16) in the unit of the joints; the shapes broadcast. A bone of length 0 has
            no direction, and stays as it is.

    Returns:
        (..., 17, 3).
    """
    old = bone_lengths(joints)
    factor = np.where(old > 1e-6, lengths / np.maximum(old, 1e-6), 0.0)
    out = joints.copy()
    # In the order of bones of the layout parents come before their children.
    for bone, (parent, child) in enumerate(_ENDS):
        step = joints[..., child, :] - joints[..., parent, :]
        out[..., child, :] = out[..., parent, :] + factor[..., bone, None] * step
    return out


class BoneMemory:
    """The bone lengths of one person, from all windows so far.

    Each window gives the mean of its frames, weighted by the inverse variance of the bone's outer
    end. Both sides of the body are equal. Older windows count less, so that the lengths of another
    person, after an exchange of ids, are forgotten. Windows that show a part of the person count
    less too: their scale is uncertain.

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

    def add(
        self, joints: np.ndarray, stddev: np.ndarray, stamp_ns: int, share: float = 1.0
    ) -> np.ndarray:
        """Take in a window.

        Args:
            joints: (T, 17, 3) m.
            stddev: (T, 17) m.
            stamp_ns: of the window, ns; not before that of the last one.
            share: of the skeleton that is seen, 0..1.

        Returns:
            (16,) m: the lengths from all windows so far.
        """
        weight = 1.0 / np.maximum(stddev[:, _ENDS[:, 1]], 1e-3) ** 2
        lengths = (weight * bone_lengths(joints)).sum(axis=0) / weight.sum(axis=0)
        lengths = 0.5 * (lengths + lengths[_MIRROR])
        kept = math.exp(-max(0, stamp_ns - self._newest_ns) * 1e-9 / self.memory_s)
        counts = max(share, MIN_WEIGHTED_SHARE) ** 2
        self._sum = kept * self._sum + counts * lengths
        self._share_sum = kept * self._share_sum + counts * share
        self._weight = kept * self._weight + counts
        self._newest_ns = stamp_ns
        return self._sum / self._weight
