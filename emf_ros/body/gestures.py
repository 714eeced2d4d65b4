"""Gestures of the arms, each with a probability, its beginning and its end.

Each gesture is a pose of the arms that is held, or a movement that repeats. Limits are in physical
units, and times in seconds, so that the rate of the images does not matter. What passes the limits
is evidence, 0 to 1. A gesture begins when its evidence is over `BEGINS`, and ends when it is under
`ENDS`. Its probability is how often people with this evidence were right, by a measured table.

17 joints have no hand: the palm of a "stop" is not seen. An arm that is stretched towards the
camera is `stop`, and one that is stretched elsewhere is `point`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..skeletons import H36M17
from .gesture_table import EVIDENCE, PROBABILITY
from .memory import Memory
from .rotations import clipped, dot
from .upright import HEAD_TOP, THORAX
from .waving import SwingCounter

#: The gestures, in the order of the arrays.
GESTURES = ("wave", "point", "stop", "raise_hand", "hands_up")
WAVE, POINT, STOP, RAISE_HAND, HANDS_UP = range(len(GESTURES))

#: Evidence over which a gesture begins.
BEGINS = 0.6
#: Evidence under which a gesture ends.
ENDS = 0.35
#: Time without poses after which everything begins anew, s.
FORGET_S = 0.6

#: Time for which the pose of each gesture is held before it has half of its evidence, s.
HOLD_S = (0.0, 0.45, 0.45, 0.35, 0.35)
#: Time in which a pose that is no longer seen is forgotten, s.
RELEASE_S = 0.25
#: Time constant of the speed of a wrist, s.
SPEED_S = 0.2
#: Speed of a wrist against the trunk that is held still, lengths of the arm/s.
STILL_SPEED = 1.5
#: Minimum distance from shoulder to wrist of a stretched arm, as a share of the arm's length.
STRETCHED = 0.83
#: Minimum angle of a stretched arm from hanging down, and from lying beside the trunk, degrees.
POINTS_DEG = 42.0
#: Angle between a stretched arm and the direction to the camera under which it is a stop, degrees.
STOP_DEG = 25.0
#: Minimum height of a raised wrist over the middle of the head, as a share of the height from the
#: neck to the top of the head.
RAISED = 0.35
#: Minimum height of both wrists over the shoulders for hands up, as a share of the arm's length.
HIGH = 0.18
#: Number of swings that are alike after which a wave has half of its evidence.
SWINGS = 2.5

_SIDES = ("left", "right")
_SHOULDERS, _ELBOWS, _WRISTS = (
    [H36M17.index(f"{side}_{joint}") for side in _SIDES] for joint in ("shoulder", "elbow", "wrist")
)
#: Ends of the upper arms, and of the forearms, left and right.
_STARTS, _ENDS = np.array(_SHOULDERS + _ELBOWS), np.array(_ELBOWS + _WRISTS)
_SHOULDER_ROWS, _WRIST_ROWS = np.array(_SHOULDERS), np.array(_WRISTS)
#: Signs of an arm: its wrist is held still, and over the head; it is stretched, off hanging down,
#: and towards the camera; its wrist is over the shoulder; its forearm swings.
_STILL, _RAISED, _STRETCHED, _OFF_DOWN, _TO_CAMERA, _UP, _SWINGS = range(7)
#: Limits of the signs, each in its unit, and the widths in which they are unsure.
_LIMITS = np.array([-STILL_SPEED, RAISED, STRETCHED, POINTS_DEG, -STOP_DEG, HIGH, SWINGS])
_WIDTHS = np.array([0.15 * STILL_SPEED, 0.1, 0.03, 4.0, 4.0, 0.06, 0.25])
#: Time constants with which the evidence of the poses grows, s; of a wave there is no pose.
_HOLD_S = np.maximum(np.array(HOLD_S) / np.log(2.0), 1e-3)
#: Evidence is looked up for all gestures at once: each has a range of its own.
_RANGE = 2.0 * np.arange(len(GESTURES))
_AT = (np.array(EVIDENCE) + _RANGE[:, None]).ravel()
_PROBABILITY = np.array(PROBABILITY).ravel()


@dataclass
class Gestures:
    """Gestures of people.

    Attributes:
        evidence: (P, G) 0..1 in the order of `GESTURES`; NaN where the arms are not seen.
        probability: (P, G) share of the people with this evidence who show the gesture; NaN where
            there is no evidence.
        active: (P, G) whether the gesture goes on.
        since_ns: (P, G) stamp of the image in which it began, ns; 0 where it does not go on.
        arm: (P, G) 0 for the left arm, 1 for the right one.
    """

    evidence: np.ndarray
    probability: np.ndarray
    active: np.ndarray
    since_ns: np.ndarray
    arm: np.ndarray


@dataclass
class _Memory(Memory):
    BLANK = {
        "reach": ((2, 3), np.nan),
        "speed": ((2,), np.nan),
        "held": ((2, len(GESTURES)), 0.0),
        "active": ((len(GESTURES),), False),
        "since_ns": ((len(GESTURES),), 0),
    }

    reach: np.ndarray  # (P, 2, 3) from shoulder to wrist, in lengths of the arm
    speed: np.ndarray  # (P, 2) of the wrist, lengths of the arm/s
    held: np.ndarray  # (P, 2, G) evidence 0..1
    active: np.ndarray  # (P, G)
    since_ns: np.ndarray  # (P, G)


class GestureTracker:
    """Gestures of people from image to image."""

    def __init__(self) -> None:
        self._last = _Memory.of_nobody()
        self._forearms = SwingCounter()

    def update(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        joints: np.ndarray,
        over: np.ndarray,
        forward: np.ndarray,
        right: np.ndarray,
        placed: np.ndarray,
        measured: np.ndarray,
    ) -> Gestures:
        """The gestures in the next image.

        Args:
            stamp_ns: of the image, ns.
            ids: of the people.
            joints: (P, 17, 3) m.
            over: (P, 17) m, see `upright.heights`.
            forward, right: (P, 3) where the trunk faces, and to its right, of length 1.
            placed: (P,) whether the joints are in the camera's frame.
            measured: (P,) whether the joints are measured in this image. Those of other people
                are not evidence: their gestures do not begin.
        """
        waited_s = self._last.age_s(stamp_ns)
        if not 0 < waited_s <= FORGET_S:
            self._last, waited_s = _Memory.of_nobody(), 0.0
            self._forearms.restart()
        last = self._last.of(ids)
        bones = joints.take(_ENDS, 1) - joints.take(_STARTS, 1)
        bones_m = np.sqrt(dot(bones, bones))
        arm_m = bones_m[:, :2] + bones_m[:, 2:]
        reach = (bones[:, :2] + bones[:, 2:]) / arm_m[..., None]
        seen = np.isfinite(reach[..., 0]) & measured[:, None]
        speed = self._speed(last, reach, waited_s)
        shoulder, rise = joints.take(_SHOULDER_ROWS, 1), over.take(_ENDS, 1)
        rise -= over.take(_STARTS, 1)
        lift, above_shoulder = rise[:, 2:] / bones_m[:, 2:], (rise[:, :2] + rise[:, 2:]) / arm_m
        level = np.empty((len(joints), 4))
        level[:, :2] = dot(bones[:, 2:], right[:, None]) / bones_m[:, 2:]
        level[:, 2:] = dot(bones[:, 2:], forward[:, None]) / bones_m[:, 2:]
        swings = self._forearms.update(stamp_ns, ids, level, lift, above_shoulder, seen)

        thorax, top = over[:, THORAX, None], over[:, HEAD_TOP, None]
        length = np.sqrt(dot(reach, reach))
        cosines = np.empty((len(joints), 2, 2))
        # Off hanging down, and off lying beside the trunk.
        trunk = joints[:, 0] - joints[:, THORAX]
        beside = dot(reach, trunk[:, None]) / np.sqrt(dot(trunk, trunk))[:, None]
        cosines[..., 0] = np.fmax(-above_shoulder, beside) / length
        distance = np.where(placed[:, None], np.sqrt(dot(shoulder, shoulder)), np.nan)
        cosines[..., 1] = -dot(reach, shoulder) / (length * distance)
        values = np.empty((len(joints), 2, len(_LIMITS)))
        values[..., _STILL], values[..., _STRETCHED] = -speed, length
        wrists = over.take(_WRIST_ROWS, 1)
        values[..., _RAISED] = (wrists - 0.5 * (thorax + top)) / np.maximum(top - thorax, 0.1)
        angles = np.degrees(np.arccos(clipped(cosines, -1.0, 1.0)))
        values[..., _OFF_DOWN], values[..., _TO_CAMERA] = angles[..., 0], -angles[..., 1]
        values[..., _UP], values[..., _SWINGS] = above_shoulder, swings
        # How sure each value is above its limit, 0..1, one half at the limit.
        sure = 1.0 / (1.0 + np.exp(clipped((_LIMITS - values) / _WIDTHS, -60.0, 60.0)))
        still, raised, stretched, off_down, stops, high, waves = (
            sure[..., i] for i in range(len(_LIMITS))
        )
        stops = np.fmax(stops, 0.0)
        points = stretched * off_down * still * (1.0 - raised)
        both = np.minimum(high, still)
        up_both = np.fmax(np.minimum(both[:, :1], both[:, 1:]), 0.0)
        now = np.zeros(last.held.shape)
        now[..., POINT], now[..., STOP] = points * (1.0 - stops), points * stops
        now[..., RAISE_HAND], now[..., HANDS_UP] = raised * still * (1.0 - up_both), up_both
        # What needs a joint that is not known is not shown. A NaN would stay in the evidence.
        np.copyto(now, 0.0, where=~(seen[..., None] & np.isfinite(now)))
        # Evidence grows while a pose is held, and falls when it is left.
        rises = 1.0 - np.exp(-waited_s / _HOLD_S)
        falls = 1.0 - math.exp(-waited_s / RELEASE_S)
        held = last.held + np.where(now > last.held, rises, falls) * (now - last.held)
        arms = held.copy()
        arms[..., WAVE] = waves
        left, right_arm = arms[:, 0], arms[:, 1]
        best = np.maximum(left, right_arm)
        # A hand that waves is also raised, and may be stretched for a moment.
        best[:, POINT:HANDS_UP] *= 1.0 - best[:, WAVE, None]
        known = (seen[:, 0] | seen[:, 1])[:, None]
        # A gesture goes on over an image or two in which the arm is not seen.
        active = np.where(last.active, best > ENDS, known & (best > BEGINS))
        since = np.where(active, np.where(last.active, last.since_ns, stamp_ns), 0)
        self._last = _Memory(stamp_ns, list(ids), reach, speed, held, active, since)
        evidence = np.where(known | active, best, np.nan)
        probability = np.interp(evidence + _RANGE, _AT, _PROBABILITY)
        return Gestures(evidence, probability, active, since, (right_arm > left).astype(np.intp))

    def _speed(self, last: _Memory, reach: np.ndarray, waited_s: float) -> np.ndarray:
        """(P, 2) lengths of the arm/s of the wrists against the shoulders, smoothed."""
        if waited_s:
            step = reach - last.reach
            now = np.sqrt(dot(step, step)) / waited_s
            gain = 1.0 - math.exp(-waited_s / SPEED_S)
            before = last.speed
            speed = np.where(np.isnan(before), now, before + gain * (now - before))
        else:
            speed = last.speed
        return np.where(np.isnan(speed), 2.0 * STILL_SPEED, speed)
