"""What a pose shows of a posture: heights, angles and speeds, in shares of the leg's length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..skeletons import H36M17
from .memory import Memory
from .rotations import dot, unit
from .upright import ANKLES, HEAD_TOP, THORAX, heights, in_plane

_HIPS, _KNEES, _WRISTS = (
    [H36M17.index(f"{side}_{joint}") for side in ("left", "right")]
    for joint in ("hip", "knee", "wrist")
)

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
    head: np.ndarray
    feet: np.ndarray
    moving: np.ndarray


class PostureFeatures:
    """Features of people from image to image."""

    def __init__(self) -> None:
        self._last: _Memory | None = None

    def update(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        joints: np.ndarray,
        up: np.ndarray,
        forward: np.ndarray,
        speed: np.ndarray,
    ) -> np.ndarray:
        """(P, F) features; NaN where trunk or legs are unknown.

        Args:
            stamp_ns: of the image, ns.
            ids: of the people.
            joints: (P, 17, 3) m.
            up: the vertical.
            forward: (P, 3) where the trunk faces.
            speed: (P,) m/s over the floor; NaN where it is not known.
        """
        over = heights(joints, up)
        thighs = joints[:, _HIPS] - joints[:, _KNEES]
        shanks = joints[:, _KNEES] - joints[:, ANKLES]
        # A leg that is not seen is taken to be like the other one.
        thighs, shanks = _filled(thighs), _filled(shanks)
        leg = np.sqrt(dot(thighs, thighs)) + np.sqrt(dot(shanks, shanks))
        leg_m = leg.mean(axis=1)
        thigh_up = dot(unit(thighs), up[..., None, :])
        shank_up = dot(unit(shanks), up[..., None, :])
        knee = dot(unit(thighs), unit(shanks))
        pelvis = over[:, 0]
        ankle = pelvis[:, None] - dot(thighs + shanks, up[..., None, :])
        low = ankle.min(axis=1)
        knees = (pelvis[:, None] - dot(thighs, up[..., None, :])).min(axis=1)
        trunk = joints[:, THORAX] - joints[:, 0]
        head = np.where(np.isfinite(over[:, HEAD_TOP]), over[:, HEAD_TOP], over[:, THORAX])
        feet = in_plane(-(thighs + shanks).mean(axis=1), up)
        ahead = np.where(np.isfinite(forward), forward, 0.0)
        lowest = np.fmin.reduce(over[:, [*_WRISTS, THORAX, HEAD_TOP]], axis=1)
        lowest = np.fmin(np.fmin(low, knees), lowest)
        legs = -(thighs + shanks) / leg_m[:, None, None]
        speeds = self._speeds(stamp_ns, ids, (head - low) / leg_m, legs)
        out = np.stack(
            [
                (pelvis - low) / leg_m,
                (head - low) / leg_m,
                (pelvis - lowest) / leg_m,
                dot(unit(trunk), np.broadcast_to(up, trunk.shape)),
                thigh_up.min(axis=1),
                thigh_up.max(axis=1),
                shank_up.min(axis=1),
                shank_up.max(axis=1),
                knee.min(axis=1),
                knee.max(axis=1),
                (knees - low) / leg_m,
                np.sqrt(dot(feet, feet)) / leg_m,
                dot(feet, ahead) / leg_m,
                np.where(np.isfinite(speed), speed, 0.0),
                *speeds,
            ],
            axis=-1,
        )
        return out

    def _speeds(
        self, stamp_ns: int, ids: Sequence[int], head: np.ndarray, legs: np.ndarray
    ) -> list[np.ndarray]:
        """Speed of the feet, rise of the head, and its largest drop of late, 1/s, (P,) each."""
        people = len(head)
        moving, last = np.zeros((people, 3)), self._last
        waited_s = last.age_s(stamp_ns) if last else np.inf
        if last is not None and 0 < waited_s <= MAX_STEP_S:
            rows = last.rows_of(ids)
            here = rows >= 0
            rise = (head - last.head[rows]) / waited_s
            steps = legs - last.feet[rows]
            feet = np.sqrt(dot(steps, steps)).mean(axis=1) / waited_s
            gain = 1.0 - np.exp(-waited_s / SPEED_S)
            before = last.moving[rows]
            feet = np.where(
                here & np.isfinite(feet), before[:, 0] + gain * (feet - before[:, 0]), 0.0
            )
            rise = np.where(
                here & np.isfinite(rise), before[:, 1] + gain * (rise - before[:, 1]), 0.0
            )
            drop = np.where(here, before[:, 2] * np.exp(-waited_s / DROP_S), 0.0)
            moving = np.stack([feet, rise, np.maximum(drop, -rise)], axis=-1)
        self._last = _Memory(
            stamp_ns,
            {number: row for row, number in enumerate(ids)},
            np.append(head, np.nan),
            np.concatenate([legs, np.full((1, 2, 3), np.nan)]),
            np.concatenate([moving, np.zeros((1, 3))]),
        )
        return [moving[:, 0], moving[:, 1], moving[:, 2]]


def _filled(bones: np.ndarray) -> np.ndarray:
    """(P, 2, 3) of both sides, with the other side's where one is unknown."""
    return np.where(np.isfinite(bones), bones, bones[:, ::-1])
