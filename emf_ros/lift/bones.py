"""Bones that keep their lengths: what a window of frames cannot know, and a track can.

The model sees a second of motion and guesses the body anew in each; the person stays the same. The
mean of many guesses is nearer the truth than the newest, and a skeleton whose bones keep their
lengths keeps its scale, on which the root's distance depends.
"""

from __future__ import annotations

import math

import numpy as np

from ..skeletons import H36M17

_ENDS = np.array(H36M17.edges)
#: The bone on the other side, by bone; itself for the middle ones.
_MIRROR = np.array(
    [H36M17.edges.index((H36M17.mirror[a], H36M17.mirror[b])) for a, b in H36M17.edges]
)

#: Least share of the skeleton that a window's weight is taken from.
LEAST_WEIGHED_SHARE = 0.1


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """(..., 17, 3) -> (..., 16): lengths in the order of `H36M17.bones`, in the joints' unit."""
    return np.linalg.norm(joints[..., _ENDS[:, 1], :] - joints[..., _ENDS[:, 0], :], axis=-1)


def with_bone_lengths(joints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The same pose with other bones: their directions stay, and the pelvis.

    Args:
        joints: (..., 17, 3).
        lengths: (..., 16) in their unit, of shapes that broadcast. A bone of no length, which has
            no direction, stays one.
    """
    old = bone_lengths(joints)
    factor = np.where(old > 1e-6, lengths / np.maximum(old, 1e-6), 0.0)
    out = joints.copy()
    # Parents stand before their children in the layout's order of bones.
    for bone, (parent, child) in enumerate(_ENDS):
        step = joints[..., child, :] - joints[..., parent, :]
        out[..., child, :] = out[..., parent, :] + factor[..., bone, None] * step
    return out


class BoneMemory:
    """The lengths of one person's bones, from all windows so far.

    Each window gives the mean of its frames, weighted by how sure the model is of the bone's outer
    end; both sides are taken to be alike. Older windows count less, so that a wrong id, or one
    person's track taken over by another, is forgotten. Windows that show a part of the person count
    less too: their scale is uncertain.

    Args:
        memory_s: time after which a window counts 1/e.
    """

    def __init__(self, memory_s: float) -> None:
        self.memory_s = memory_s
        self._sum = np.zeros(len(_ENDS))
        self._share_sum = 0.0
        self._weight = 0.0
        self._newest_ns = 0

    @property
    def share(self) -> float:
        """The share of the skeleton that was seen, mean over the windows as they count; 0..1."""
        return self._share_sum / self._weight if self._weight else 0.0

    def add(
        self, joints: np.ndarray, stddev: np.ndarray, stamp_ns: int, share: float = 1.0
    ) -> np.ndarray:
        """Take in a window.

        Args:
            joints: (T, 17, 3) m.
            stddev: (T, 17) m.
            stamp_ns: of the window; not before the last one's.
            share: of the skeleton that is seen, 0..1.

        Returns:
            (16,) m: the lengths as they are known now.
        """
        weight = 1.0 / np.maximum(stddev[:, _ENDS[:, 1]], 1e-3) ** 2
        lengths = (weight * bone_lengths(joints)).sum(axis=0) / weight.sum(axis=0)
        lengths = 0.5 * (lengths + lengths[_MIRROR])
        kept = math.exp(-max(0, stamp_ns - self._newest_ns) * 1e-9 / self.memory_s)
        counts = max(share, LEAST_WEIGHED_SHARE) ** 2
        self._sum = kept * self._sum + counts * lengths
        self._share_sum = kept * self._share_sum + counts * share
        self._weight = kept * self._weight + counts
        self._newest_ns = stamp_ns
        return self._sum / self._weight
