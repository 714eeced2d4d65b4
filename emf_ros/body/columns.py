"""A `BodyState` as numbers with names, for recordings and tables."""

from __future__ import annotations

import math

import numpy as np

from .angles import ANGLES
from .gestures import GESTURES
from .posture import POSTURES
from .segments import NAMES
from .state import BodyState

#: Fields of `BodyState` that are numbers or arrays, with the endings of their columns.
_FIELDS: dict[str, tuple[str, ...]] = {
    "facing": ("_x", "_y", "_z"),
    "facing_camera_rad": ("",),
    "facing_stddev_rad": ("",),
    "velocity": ("_x", "_y", "_z"),
    "speed": ("",),
    "closest_s": ("",),
    "closest_m": ("",),
    "posture_probability": tuple(f"_{posture}" for posture in POSTURES),
    "posture_s": ("",),
    "fallen": ("",),
    "head_height_m": ("",),
    "hand_height_m": ("_left", "_right"),
    "height_stddev_m": ("",),
    "hand_raised": ("_left", "_right"),
    "head_yaw_rad": ("",),
    "head_pitch_rad": ("",),
    "head_stddev_rad": ("_yaw", "_pitch"),
    "looking_at_camera": ("",),
    "gesture_probability": tuple(f"_{gesture}" for gesture in GESTURES),
    "orientation": tuple(f"_{segment}_{axis}" for segment in NAMES for axis in "xyzw"),
    "orientation_stddev_rad": tuple(f"_{segment}_{axis}" for segment in NAMES for axis in "xyz"),
    "angle_rad": tuple(f"_{angle}" for angle in ANGLES),
    "angle_stddev_rad": tuple(f"_{angle}" for angle in ANGLES),
}

#: Names of the columns. `posture` is the number of the posture in `posture.POSTURES`. A gesture
#: that goes on is 1 in `gesture_NAME`, and 0 otherwise.
COLUMNS: tuple[str, ...] = (
    *(name + ending for name, endings in _FIELDS.items() for ending in endings),
    "posture",
    *(f"gesture_{gesture}" for gesture in GESTURES),
    *(f"pointing_origin_{axis}" for axis in "xyz"),
    *(f"pointing_direction_{axis}" for axis in "xyz"),
    "pointing_stddev_rad",
    *(f"pointing_target_{axis}" for axis in "xyz"),
)


def row_of(state: BodyState) -> np.ndarray:
    """(B,) the numbers of a state in the order of `COLUMNS`; NaN where unknown."""
    parts = [np.ravel(getattr(state, name)) for name in _FIELDS]
    parts.append(np.array([POSTURES.index(state.posture) if state.posture else math.nan]))
    active = {gesture.name for gesture in state.gestures}
    parts.append(np.array([float(gesture in active) for gesture in GESTURES]))
    aim = state.pointing
    if aim is None:
        parts.append(np.full(10, np.nan))
    else:
        parts += [aim.origin, aim.direction, np.array([aim.stddev_rad]), aim.target]
    return np.concatenate([part.astype(np.float64) for part in parts])
