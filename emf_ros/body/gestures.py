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
from ..stamps import NANOSECONDS
from .memory import Memory
from .rotations import dot, unit
from .upright import HEAD_TOP, THORAX, heights

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
#: Minimum swing of a forearm that waves, from side to side, degrees.
SWING_DEG = 24.0
#: Maximum time of a swing from side to side, s.
SWING_S = 0.65
#: Number of swings after which a wave is as likely as not: four are two to each side.
SWINGS = 3.5
#: Minimum height of the forearm's end over its beginning, as a share of its length.
STANDS = 0.5
#: Minimum height of a wrist that waves over the shoulder, in lengths of the arm.
WAVES_OVER = -0.1

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
    extreme: np.ndarray  # (P, 2) angle of the last turning point of the forearm, rad
    direction: np.ndarray  # (P, 2) of the swing, -1, 0 or 1
    turned_ns: np.ndarray  # (P, 2) stamp of the last turning point
    swings: np.ndarray  # (P, 2) number of swings of late
    active: np.ndarray  # (P, G)
    since_ns: np.ndarray  # (P, G)


def _above(value: np.ndarray, limit: float, width: float) -> np.ndarray:
    """How sure a value is above a limit, 0..1, one half at the limit."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-(value - limit) / width, -60, 60))))


class GestureTracker:
    """Gestures of people from image to image."""

    def __init__(self) -> None:
        self._last: _Memory | None = None

    def update(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        joints: np.ndarray,
        up: np.ndarray,
        right: np.ndarray,
        placed: np.ndarray,
    ) -> Gestures:
        """The gestures in the next image.

        Args:
            stamp_ns: of the image, ns.
            ids: of the people.
            joints: (P, 17, 3) m.
            up: the vertical.
            right: (P, 3) to the right of the trunk, of length 1.
            placed: (P,) whether the joints are in the camera's frame.
        """
        last = self._last
        waited_s = last.age_s(stamp_ns) if last else np.inf
        if last is None or not 0 < waited_s <= FORGET_S:
            last, waited_s = _empty(), 0.0
        rows = last.rows_of(ids)
        shoulder, elbow, wrist = (joints[:, i] for i in (_SHOULDERS, _ELBOWS, _WRISTS))
        upper, lower = elbow - shoulder, wrist - elbow
        arm_m = np.sqrt(dot(upper, upper)) + np.sqrt(dot(lower, lower))
        reach = (wrist - shoulder) / arm_m[..., None]
        seen = np.isfinite(reach[..., 0])
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
        others = up_both[:, None]
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
        now = np.where(seen[..., None], now, 0.0)
        held = self._held(last.held[rows], now, waited_s)
        swings, turning = self._swings(last, rows, stamp_ns, lower, vertical, right, above_shoulder)
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
        active = known & np.where(was, best > ENDS, best > BEGINS)
        since = np.where(active, np.where(was, last.since_ns[rows], stamp_ns), 0)
        blank = _empty()
        self._last = _Memory(
            stamp_ns,
            {number: row for row, number in enumerate(ids)},
            np.concatenate([reach, blank.wrist]),
            np.concatenate([speed, blank.speed]),
            np.concatenate([held, blank.held]),
            np.concatenate([turning["extreme"], blank.extreme]),
            np.concatenate([turning["direction"], blank.direction]),
            np.concatenate([turning["turned_ns"], blank.turned_ns]),
            np.concatenate([turning["swings"], blank.swings]),
            np.concatenate([active, blank.active]),
            np.concatenate([since, blank.since_ns]),
        )
        return Gestures(np.where(known, best, np.nan), active, since, arm)

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

    def _swings(
        self,
        last: _Memory,
        rows: np.ndarray,
        stamp_ns: int,
        lower: np.ndarray,
        vertical: np.ndarray,
        right: np.ndarray,
        above_shoulder: np.ndarray,
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Number of swings (P, 2) of a forearm that stands, and the new turning points."""
        lift = dot(lower, vertical)
        angle = np.arctan2(dot(lower, right[:, None]), lift)
        stands = lift > STANDS * np.sqrt(dot(lower, lower))
        stands &= above_shoulder > WAVES_OVER
        extreme, direction = last.extreme[rows], last.direction[rows]
        turned_ns, swings = last.turned_ns[rows], last.swings[rows].copy()
        known = np.isfinite(angle) & stands
        begin = known & ~np.isfinite(extreme)
        extreme = np.where(begin, angle, extreme)
        turned_ns = np.where(begin, stamp_ns, turned_ns)
        move = (angle - extreme + np.pi) % (2 * np.pi) - np.pi
        further = known & (direction != 0) & (move * direction > 0)
        extreme = np.where(further, angle, extreme)
        turned_ns = np.where(further, stamp_ns, turned_ns)
        turns = known & ~further & (np.abs(move) > np.radians(SWING_DEG))
        quick = turns & (stamp_ns - turned_ns <= SWING_S * NANOSECONDS)
        swings = np.where(quick, np.minimum(swings + 1.0, 5.0), np.where(turns, 1.0, swings))
        direction = np.where(turns, np.sign(move), direction)
        extreme = np.where(turns, angle, extreme)
        turned_ns = np.where(turns, stamp_ns, turned_ns)
        # A forearm may leave its range for a moment at the end of a swing.
        over = stamp_ns - turned_ns > SWING_S * NANOSECONDS
        swings = np.where(over, 0.0, swings)
        extreme = np.where(known | ~over, extreme, np.nan)
        direction = np.where(known | ~over, direction, 0.0)
        state = {
            "extreme": extreme,
            "direction": direction,
            "turned_ns": turned_ns,
            "swings": swings,
        }
        return swings, state


def _empty() -> _Memory:
    count = len(GESTURES)
    return _Memory(
        0,
        {},
        np.full((1, 2, 3), np.nan),
        np.full((1, 2), np.nan),
        np.zeros((1, 2, count)),
        np.full((1, 2), np.nan),
        np.zeros((1, 2)),
        np.zeros((1, 2), dtype=np.int64),
        np.zeros((1, 2)),
        np.zeros((1, count), dtype=bool),
        np.zeros((1, count), dtype=np.int64),
    )
