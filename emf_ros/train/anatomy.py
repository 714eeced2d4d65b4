"""Offsets between the joints of a rig or a detector and anatomical joint centres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..skeletons import H36M17


@dataclass(frozen=True)
class Offset:
    """Offset of a joint in the body's frame, in shares of the trunk's length.

    Attributes:
        out: sideways, away from the middle of the body.
        up: along the trunk, from the hips to the shoulders.
    """

    out: float = 0.0
    up: float = 0.0

    def __neg__(self) -> Offset:
        return Offset(-self.out, -self.up)


def move_joints(positions: np.ndarray, offsets: Mapping[str, Offset]) -> np.ndarray:
    """Move joints of both sides by constant offsets.

    Sideways is along the line between the shoulders for arms and shoulders, and along the line
    between the hips for legs and hips. The trunk's length is its median over the frames.

    Args:
        positions: (N, 17, 3) m, h36m17, of people of one body size; NaN where unknown.
        offsets: by kind of joint, such as 'hip'.

    Returns:
        (N, 17, 3) m. The pelvis is the middle of the moved hips.
    """
    joint = {name: H36M17.index(name) for name in H36M17.joints}
    left_hip, right_hip = positions[:, joint["left_hip"]], positions[:, joint["right_hip"]]
    left_shoulder = positions[:, joint["left_shoulder"]]
    right_shoulder = positions[:, joint["right_shoulder"]]
    trunk = 0.5 * (left_shoulder + right_shoulder) - 0.5 * (left_hip + right_hip)
    lengths = np.linalg.norm(trunk, axis=-1, keepdims=True)
    length_m = np.nanmedian(lengths)
    up = trunk / np.maximum(lengths, 1e-6)
    moved = positions.copy()
    for kind, offset in offsets.items():
        leg = kind in ("hip", "knee", "ankle")
        across = left_hip - right_hip if leg else left_shoulder - right_shoulder
        across = across / np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-6)
        for side, out in (("left", offset.out), ("right", -offset.out)):
            moved[:, joint[f"{side}_{kind}"]] += length_m * (out * across + offset.up * up)
    moved[:, joint["pelvis"]] = 0.5 * (moved[:, joint["left_hip"]] + moved[:, joint["right_hip"]])
    return moved
