"""Gestures of the arms, each with a probability, its beginning and its end.

Each gesture is a pose of the arms that is held, or a movement that repeats. Limits are in physical
units, and times in seconds, so that the rate of the images does not matter. A gesture begins when
its probability is over `BEGINS`, and ends when it is under `ENDS`.

17 joints have no hand: the palm of a "stop" is not seen. An arm that is stretched towards the
camera is `stop`, and one that is stretched elsewhere is `point`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..skeletons import H36M17
from .memory import Memory
from .rotations import dot, unit
from .upright import HEAD_TOP, THORAX, heights
from .waving import SwingCounter

#: The gestures, in the order of the arrays.
GESTURES = ("wave", "point", "stop", "raise_hand", "hands_up")
WAVE, POINT, STOP, RAISE_HAND, HANDS_UP = range(len(GESTURES))

#: Probability over which a gesture begins.
BEGINS = 0.6
#: Probability under which a gesture ends.
ENDS = 0.35
#: Time without poses after which everything begins anew, s.
FORGET_S = 0.6

#: Time for which the pose of each gesture is held before it is half as likely as it can be, s.
HOLD_S = (0.0, 0.45, 0.45, 0.35, 0.35)
#: Time in which a pose that is no longer seen is forgotten, s.
RELEASE_S = 0.25
#: Time constant of the speed of a wrist, s.
SPEED_S = 0.2
#: Speed of a wrist against the trunk that is held still, lengths of the arm/s.
STILL_SPEED = 1.5
#: Minimum distance from shoulder to wrist of a stretched arm, as a share of the arm's length.
STRETCHED = 0.83
#: Minimum angle of a stretched arm from hanging down, degrees.
POINTS_DEG = 42.0
#: Angle between a stretched arm and the direction to the camera under which it is a stop, degrees.
STOP_DEG = 25.0
#: Minimum height of a raised wrist over the middle of the head, as a share of the height from the
#: neck to the top of the head.
RAISED = 0.35
#: Number of swings that are alike after which a wave is as likely as not.
SWINGS = 2.5

_SIDES = ("left", "right")
_SHOULDERS, _ELBOWS, _WRISTS = (
    [H36M17.index(f"{side}_{joint}") for side in _SIDES] for joint in ("shoulder", "elbow", "wrist")
)


@dataclass
class Gestures:
    """Gestures of people.

    Attributes:
        probability: (P, G) in the order of `GESTURES`; NaN where the arms are not seen.
        active: (P, G) whether the gesture goes on.
        since_ns: (P, G) stamp of the image in which it began, ns; 0 where it does not go on.
        arm: (P, G) 0 for the left arm, 1 for the right one.
    """

    probability: np.ndarray
    active: np.ndarray
    since_ns: np.ndarray
    arm: np.ndarray


@dataclass
class _Memory(Memory):
    wrist: np.ndarray  # (P, 2, 3) against the shoulder, in lengths of the arm
    speed: np.ndarray  # (P, 2)
    held: np.ndarray  # (P, 2, G) evidence 0..1
    active: np.ndarray  # (P, G)
    since_ns: np.ndarray  # (P, G)


def _above(value: np.ndarray, limit: float, width: float) -> np.ndarray:
    """How sure a value is above a limit, 0..1, one half at the limit."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-(value - limit) / width, -60, 60))))


class GestureTracker:
    """Gestures of people from image to image."""

    def __init__(self) -> None:
        self._last: _Memory | None = None
        self._forearms = SwingCounter()

    def update(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        joints: np.ndarray,
        up: np.ndarray,
        right: np.ndarray,
        placed: np.ndarray,
        measured: np.ndarray,
    ) -> Gestures:
        """The gestures in the next image.

        Args:
            stamp_ns: of the image, ns.
            ids: of the people.
            joints: (P, 17, 3) m.
            up: the vertical.
            right: (P, 3) to the right of the trunk, of length 1.
            placed: (P,) whether the joints are in the camera's frame.
            measured: (P,) whether the joints are measured in this image. Those of other people
                are not evidence: their gestures do not begin.
        """
        last = self._last
        waited_s = last.age_s(stamp_ns) if last else np.inf
        if last is None or not 0 < waited_s <= FORGET_S:
            last, waited_s = _empty(), 0.0
            self._forearms.restart()
        rows = last.rows_of(ids)
        shoulder, elbow, wrist = (joints[:, i] for i in (_SHOULDERS, _ELBOWS, _WRISTS))
        upper, lower = elbow - shoulder, wrist - elbow
        arm_m = np.sqrt(dot(upper, upper)) + np.sqrt(dot(lower, lower))
        reach = (wrist - shoulder) / arm_m[..., None]
        seen = np.isfinite(reach[..., 0]) & measured[:, None]
        vertical = up[..., None, :]
        speed = self._speed(last, rows, reach, waited_s)
        still = _above(-speed, -STILL_SPEED, 0.15 * STILL_SPEED)

        over = heights(joints, up)
        head = 0.5 * (over[:, THORAX] + over[:, HEAD_TOP])
        head_m = np.maximum(over[:, HEAD_TOP] - over[:, THORAX], 0.1)
        above_head = (over[:, _WRISTS] - head[:, None]) / head_m[:, None]
        above_shoulder = (over[:, _WRISTS] - over[:, _SHOULDERS]) / arm_m
        raised = _above(above_head, RAISED, 0.1)

        length = np.sqrt(dot(reach, reach))
        from_down = np.degrees(np.arccos(np.clip(-dot(unit(reach), vertical), -1.0, 1.0)))
        stretched = _above(length, STRETCHED, 0.03) * _above(from_down, POINTS_DEG, 4.0) * still
        to_camera = np.where(placed[:, None, None], unit(-shoulder), np.nan)
        off = np.degrees(np.arccos(np.clip(dot(unit(reach), to_camera), -1.0, 1.0)))
        stops = np.where(np.isfinite(off), _above(-off, -STOP_DEG, 4.0), 0.0)
        low = 1.0 - raised
        up_both = np.minimum(_above(above_shoulder, 0.18, 0.06).min(axis=1), still.min(axis=1))
        others = np.where(np.isfinite(up_both), up_both, 0.0)[:, None]
        now = np.stack(
            [
                np.zeros_like(reach[..., 0]),
                stretched * low * (1.0 - stops),
                stretched * low * stops,
                raised * still * (1.0 - others),
                np.repeat(others, 2, axis=1),
            ],
            axis=-1,
        )
        # What needs a joint that is not known is not shown. A NaN would stay in the evidence.
        now = np.where(seen[..., None] & np.isfinite(now), now, 0.0)
        held = self._held(last.held[rows], now, waited_s)
        swings = self._forearms.update(stamp_ns, ids, lower, up, right, above_shoulder, seen)
        probability = np.where(
            np.arange(len(GESTURES)) == WAVE, _above(swings, SWINGS, 0.25)[..., None], held
        )
        arm = probability.argmax(axis=1)
        best = probability.max(axis=1)
        # A hand that waves is also raised, and may be stretched for a moment.
        calm = 1.0 - best[:, WAVE]
        best[:, [POINT, STOP, RAISE_HAND]] *= calm[:, None]
        known = seen.any(axis=1)[:, None]
        was = last.active[rows]
        # A gesture goes on over an image or two in which the arm is not seen.
        active = np.where(was, best > ENDS, known & (best > BEGINS))
        since = np.where(active, np.where(was, last.since_ns[rows], stamp_ns), 0)
        blank = _empty()
        self._last = _Memory(
            stamp_ns,
            {number: row for row, number in enumerate(ids)},
            np.concatenate([reach, blank.wrist]),
            np.concatenate([speed, blank.speed]),
            np.concatenate([held, blank.held]),
            np.concatenate([active, blank.active]),
            np.concatenate([since, blank.since_ns]),
        )
        return Gestures(np.where(known | active, best, np.nan), active, since, arm)

    def _speed(
        self, last: _Memory, rows: np.ndarray, reach: np.ndarray, waited_s: float
    ) -> np.ndarray:
        """(P, 2) lengths of the arm/s of the wrists against the shoulders, smoothed."""
        before = last.speed[rows]
        if not waited_s:
            return np.where(np.isfinite(before), before, 2.0 * STILL_SPEED)
        step = reach - last.wrist[rows]
        now = np.sqrt(dot(step, step)) / waited_s
        gain = 1.0 - np.exp(-waited_s / SPEED_S)
        out = np.where(np.isfinite(before), before + gain * (now - before), now)
        return np.where(np.isfinite(out), out, 2.0 * STILL_SPEED)

    def _held(self, before: np.ndarray, now: np.ndarray, waited_s: float) -> np.ndarray:
        """Evidence (P, 2, G) that grows while a pose is held, and falls when it is left."""
        hold = np.array(HOLD_S) / np.log(2.0)
        rise = 1.0 - np.exp(-waited_s / np.maximum(hold, 1e-3))
        fall = 1.0 - np.exp(-waited_s / RELEASE_S)
        return np.asarray(before + np.where(now > before, rise, fall) * (now - before))


def _empty() -> _Memory:
    count = len(GESTURES)
    return _Memory(
        0,
        {},
        np.full((1, 2, 3), np.nan),
        np.full((1, 2), np.nan),
        np.zeros((1, 2, count)),
        np.zeros((1, count), dtype=bool),
        np.zeros((1, count), dtype=np.int64),
    )
