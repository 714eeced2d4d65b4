"""Poses against the vertical: heights, facing, movement over the floor.

Shapes: P people. Positions are from the camera, along the axes of any frame. `up` is the floor's
normal in that frame, (3,) or (P, 3). Unknown is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..skeletons import H36M17
from .rotations import along, cross, dot

_LEFT_SHOULDER, _RIGHT_SHOULDER = H36M17.index("left_shoulder"), H36M17.index("right_shoulder")
_LEFT_HIP, _RIGHT_HIP = H36M17.index("left_hip"), H36M17.index("right_hip")
#: Ends of the lines of shoulders and hips.
_LEFTS, _RIGHTS = np.array([_LEFT_SHOULDER, _LEFT_HIP]), np.array([_RIGHT_SHOULDER, _RIGHT_HIP])
ANKLES = [H36M17.index("left_ankle"), H36M17.index("right_ankle")]
WRISTS = [H36M17.index("left_wrist"), H36M17.index("right_wrist")]
THORAX, HEAD_TOP = H36M17.index("thorax"), H36M17.index("head_top")

#: Height of an ankle that stands, over the floor, m; see `lift.ground`.
ANKLE_HEIGHT_M = 0.08
#: Minimum horizontal share of the line across the body that shows where a person faces.
MIN_LEVEL_SHARE = 0.5
#: Minimum speed of a person who moves, m/s. Below it there is no direction of movement.
MIN_SPEED_M_S = 0.3
#: Factor on the standard deviation of the facing that independent errors of the joints would give.
#: 68 % of the errors in motion capture are within it.
FACING_FACTOR = 1.3
#: Minimum standard deviation of the facing, rad.
MIN_FACING_RAD = math.radians(3.0)


def level_up() -> np.ndarray:
    """(3,) the vertical of a camera that is held level."""
    return np.array([0.0, -1.0, 0.0])


def in_plane(vectors: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(P, 3) the parts of vectors along the floor."""
    return np.asarray(vectors - along(vectors, up)[..., None] * up)


def heights(joints: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(P, J) m, positions (P, J, 3) along the vertical."""
    return along(joints, up)


@dataclass
class Facing:
    """Where people face.

    Attributes:
        direction: (P, 3) of length 1, in the floor's plane.
        stddev_rad: (P,) of the turn about the vertical.
    """

    direction: np.ndarray
    stddev_rad: np.ndarray


def facing(joints: np.ndarray, stddev: np.ndarray, up: np.ndarray) -> Facing:
    """Where the trunk faces, by the lines of the shoulders and of the hips.

    Args:
        joints: (P, 17, 3) m.
        stddev: (P, 17) m along each axis.
        up: the vertical.
    """
    lines = joints.take(_RIGHTS, 1) - joints.take(_LEFTS, 1)
    known = np.isfinite(lines)
    lines = np.where(known, lines, 0.0)
    right = lines[:, 0] + lines[:, 1]
    level = in_plane(right, up)
    level_square = dot(level, level)
    shown = level_square > MIN_LEVEL_SHARE**2 * dot(right, right)
    length = np.where(shown, np.sqrt(level_square), np.nan)
    square = stddev * stddev
    squares = np.where(known[..., 0], square.take(_RIGHTS, 1) + square.take(_LEFTS, 1), 0.0)
    variance = FACING_FACTOR**2 * (squares[:, 0] + squares[:, 1]) / level_square
    spread = np.where(shown, np.sqrt(variance + MIN_FACING_RAD**2), np.nan)
    return Facing(cross(up, level) / length[:, None], spread)


def signed_angle(start: np.ndarray, end: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(P,) rad, the turn about the vertical from one direction to another, to the left positive.

    Args:
        start: (P, 3) along the floor.
        end: (P, 3); its part along the floor counts.
        up: the vertical.
    """
    turn = along(cross(start, end), up)
    return np.asarray(np.arctan2(turn, dot(start, end)))


@dataclass
class Approach:
    """Movement over the floor, against the frame of the poses.

    Attributes:
        velocity: (P, 3) m/s in the floor's plane.
        speed: (P,) m/s.
        time_s: (P,) s until the person is closest to the base at this velocity; NaN for people who
            do not come closer or stand.
        distance_m: (P,) m, along the floor, at that time; today's distance where `time_s` is NaN.
    """

    velocity: np.ndarray
    speed: np.ndarray
    time_s: np.ndarray
    distance_m: np.ndarray


def approach(
    root: np.ndarray,
    velocity: np.ndarray,
    up: np.ndarray,
    base: np.ndarray | float = 0.0,
    base_velocity: np.ndarray | float = 0.0,
) -> Approach:
    """Movement over the floor.

    Args:
        root: (P, 3) m.
        velocity: (P, 3) m/s.
        up: the vertical.
        base: (3,) m, the place that people come close to.
        base_velocity: (3,) m/s, its own.
    """
    flat = in_plane(velocity, up)
    place, closing = in_plane(root - base, up), in_plane(velocity - base_velocity, up)
    square = dot(closing, closing)
    time_s = -dot(place, closing) / square
    comes = (square > MIN_SPEED_M_S**2) & (time_s > 0)
    ahead = np.where(comes[:, None], place + time_s[:, None] * closing, place)
    return Approach(
        flat,
        np.sqrt(dot(flat, flat)),
        np.where(comes, time_s, np.nan),
        np.sqrt(dot(ahead, ahead)),
    )


def height_over_floor(
    over: np.ndarray, camera_height_m: float | np.ndarray, placed: np.ndarray
) -> np.ndarray:
    """(P, 17) m, heights over the floor.

    With a known floor they are measured from it. Without one they are measured from the lower
    ankle, which is taken to stand on the floor.

    Args:
        over: (P, 17) m, see `heights`.
        camera_height_m: of the camera over the floor; NaN where it is not known.
        placed: (P,) whether the joints are in the camera's frame, not relative to the pelvis.
    """
    ankles = np.fmin(over[:, ANKLES[0]], over[:, ANKLES[1]])
    known = placed & np.isfinite(camera_height_m)
    base = np.where(known, -np.asarray(camera_height_m), ankles - ANKLE_HEIGHT_M)
    return over - base[:, None]
