"""What a pose shows of a posture: heights, angles and speeds, in shares of the leg's length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..skeletons import H36M17
from .memory import Memory
from .rotations import dot
from .upright import ANKLES, HEAD_TOP, THORAX, WRISTS, heights, in_plane

_SIDES = ("left", "right")
_HIPS, _KNEES = ([H36M17.index(f"{side}_{joint}") for side in _SIDES] for joint in ("hip", "knee"))
#: Ends of the thighs, and of the shanks, left and right.
_UPPER, _LOWER = np.array(_HIPS + _KNEES), np.array(_KNEES + ANKLES)
_FOUR = np.ones(4)
_OTHER_SIDE = np.array([1, 0, 3, 2])

FEATURES = (
    "pelvis_height",
    "head_height",
    "pelvis_over_lowest",
    "trunk_up",
    "thigh_up_low",
    "thigh_up_high",
    "shank_up_low",
    "shank_up_high",
    "knee_cos_low",
    "knee_cos_high",
    "knee_height",
    "feet_aside",
    "feet_forward",
    "speed",
    "feet_speed",
    "head_rise",
    "head_drop",
)

#: Time constant of the speeds, s.
SPEED_S = 0.15
#: Time constant in which a drop of the head is forgotten, s.
DROP_S = 0.5
#: Longest time between two images whose difference is a speed, s.
MAX_STEP_S = 0.6


@dataclass
class _Memory(Memory):
    BLANK = {"head": ((), np.nan), "legs": ((2, 3), np.nan), "moving": ((3,), 0.0)}

    head: np.ndarray  # (P,) height over the lower foot
    legs: np.ndarray  # (P, 2, 3) from hip to ankle
    moving: np.ndarray  # (P, 3) speed of the feet, rise of the head, its largest drop, 1/s


class PostureFeatures:
    """Features of people from image to image."""

    def __init__(self) -> None:
        self._last = _Memory.of_nobody()

    def update(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        joints: np.ndarray,
        over: np.ndarray,
        up: np.ndarray,
        forward: np.ndarray,
        speed: np.ndarray,
    ) -> np.ndarray:
        """(P, F) features; NaN where trunk or legs are unknown.

        Args:
            stamp_ns: of the image, ns.
            ids: of the people.
            joints: (P, 17, 3) m.
            over: (P, 17) m, see `upright.heights`.
            up: the vertical.
            forward: (P, 3) where the trunk faces.
            speed: (P,) m/s over the floor; NaN where it is not known.
        """
        bones = joints.take(_UPPER, 1) - joints.take(_LOWER, 1)
        # A leg that is not seen is taken to be like the other one.
        bones = np.where(np.isnan(bones), bones.take(_OTHER_SIDE, 1), bones)
        lengths = np.sqrt(dot(bones, bones))
        leg_m = 0.5 * lengths.dot(_FOUR)
        # Vertical extent of each bone, and of each leg down to knee and ankle.
        rise = heights(bones, up)
        knees, legs = rise[:, :2], rise[:, :2] + rise[:, 2:]
        knee_depth, depth = (np.maximum(part[:, 0], part[:, 1]) for part in (knees, legs))
        # Cosines of thighs and shanks to the vertical, and between them.
        cosines = np.empty((len(joints), 2, 3))
        share = rise / lengths
        cosines[..., 0], cosines[..., 1] = share[:, :2], share[:, 2:]
        thighs, shanks = bones[:, :2], bones[:, 2:]
        cosines[..., 2] = dot(thighs, shanks) / (lengths[:, :2] * lengths[:, 2:])
        pelvis, thorax, top = over[:, 0], over[:, THORAX], over[:, HEAD_TOP]
        trunk = joints[:, THORAX] - joints[:, 0]
        head = np.where(np.isnan(top), thorax, top) - pelvis + depth
        lines = thighs + shanks
        feet = -0.5 * in_plane(lines[:, 0] + lines[:, 1], up)
        ahead = dot(feet, forward)
        left, right = (over[:, wrist] for wrist in WRISTS)
        lowest = np.fmin(np.fmin(left, right), np.fmin(thorax, top))
        hanging = np.fmax(np.fmax(depth, knee_depth), pelvis - lowest)
        out = np.empty((len(joints), len(FEATURES)))
        out[:, 0], out[:, 1], out[:, 2] = depth, head, hanging
        out[:, 3] = (thorax - pelvis) * leg_m / np.sqrt(dot(trunk, trunk))
        out[:, 10] = depth - knee_depth
        out[:, 11] = np.sqrt(dot(feet, feet))
        out[:, 12] = np.where(np.isnan(ahead), 0.0, ahead)
        out /= leg_m[:, None]
        out[:, 4:10:2] = np.minimum(cosines[:, 0], cosines[:, 1])
        out[:, 5:10:2] = np.maximum(cosines[:, 0], cosines[:, 1])
        out[:, 13] = np.where(np.isnan(speed), 0.0, speed)
        out[:, 14:] = self._speeds(stamp_ns, ids, out[:, 1], lines / leg_m[:, None, None])
        return out

    def _speeds(
        self, stamp_ns: int, ids: Sequence[int], head: np.ndarray, legs: np.ndarray
    ) -> np.ndarray:
        """(P, 3) speed of the feet, rise of the head, and its largest drop of late, 1/s."""
        waited_s = self._last.age_s(stamp_ns)
        if 0 < waited_s <= MAX_STEP_S:
            last = self._last.of(ids)
            now, steps = np.empty((len(head), 2)), legs - last.legs
            lengths = np.sqrt(dot(steps, steps))
            now[:, 0] = 0.5 * (lengths[:, 0] + lengths[:, 1])
            now[:, 1] = head - last.head
            gain = 1.0 - math.exp(-waited_s / SPEED_S)
            moving, before = last.moving.copy(), last.moving[:, :2]
            now = before + gain * (now / waited_s - before)
            moving[:, :2] = np.where(np.isnan(now), 0.0, now)
            moving[:, 2] *= math.exp(-waited_s / DROP_S)
            moving[:, 2] = np.maximum(moving[:, 2], -moving[:, 1])
        else:
            moving = np.zeros((len(head), 3))
        self._last = _Memory(stamp_ns, list(ids), head.copy(), legs, moving)
        return moving
