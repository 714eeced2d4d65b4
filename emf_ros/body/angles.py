"""Angles of the joints by their clinical names and signs.

The angles of hip, shoulder and trunk are those of the International Society of Biomechanics (Wu et
al. 2002 and 2005): a segment's orientation in the frame of its parent, as turns about z, then x,
then y. In the person who stands upright with hanging arms all are 0.

Flexion is positive forward, and of the knee backward. Abduction is positive away from the middle.
Rotation is positive inward for limbs. Lateral bend and rotation of the trunk are positive to the
person's right and left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..skeletons import H36M17
from .orientation import Orientations, relative_to_parents
from .rotations import cross, dot
from .segments import NAMES

#: Names of the angles, in the order of the arrays.
ANGLES: tuple[str, ...] = (
    "trunk_flexion",
    "trunk_lateral_bend",
    "trunk_rotation",
    *(
        f"{side}_{angle}"
        for side in ("left", "right")
        for angle in (
            "hip_flexion",
            "hip_abduction",
            "hip_rotation",
            "knee_flexion",
            "shoulder_elevation",
            "shoulder_plane",
            "shoulder_rotation",
            "elbow_flexion",
        )
    ),
)

#: Factors on the standard deviations of the angles, which come from those of two segments with
#: errors that are taken as independent, by name without the side; 1 for all others. Both come from
#: the same joints. `benchmarks/body.py` measures them.
SPREAD_FACTORS = {
    "trunk_flexion": 0.65,
    "trunk_lateral_bend": 0.65,
    "trunk_rotation": 0.6,
    "hip_flexion": 1.3,
    "shoulder_elevation": 0.75,
    "elbow_flexion": 0.75,
}
_FACTORS = np.array(
    [SPREAD_FACTORS.get(n.removeprefix("left_").removeprefix("right_"), 1.0) for n in ANGLES]
)

#: Angle of the second turn beyond which the first and the third cannot be told apart, rad.
MAX_SECOND_RAD = 1.3
#: Minimum elevation of an upper arm whose plane is given, and that from hanging up, rad.
MIN_ELEVATION_RAD = 0.35
#: Maximum standard deviation of an angle that is given, rad.
MAX_SPREAD_RAD = 1.0


@dataclass
class JointAngles:
    """Angles in the order of `ANGLES`. Unknown is NaN.

    Attributes:
        angle_rad: (P, A) rad.
        stddev_rad: (P, A) rad.
    """

    angle_rad: np.ndarray
    stddev_rad: np.ndarray


def inner_angle(before: np.ndarray, at: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(..., 3) positions -> (...) rad, the inner angle at a joint; half a turn is straight."""
    a, b = before - at, after - at
    lengths = np.sqrt(dot(a, a) * dot(b, b))
    cosine = dot(a, b) / np.where(lengths > 0, lengths, np.nan)
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _hinge(side: str, names: tuple[str, str, str]) -> list[int]:
    return [H36M17.index(f"{side}_{name}") for name in names]


_SIDES = ("left", "right")
_KNEES = [_hinge(side, ("hip", "knee", "ankle")) for side in _SIDES]
_ELBOWS = [_hinge(side, ("shoulder", "elbow", "wrist")) for side in _SIDES]
_HINGES = np.array(_KNEES + _ELBOWS)
_TRUNK, _PELVIS = NAMES.index("trunk"), NAMES.index("pelvis")
_THIGHS = [NAMES.index(f"{side}_thigh") for side in _SIDES]
_ARMS = [NAMES.index(f"{side}_upper_arm") for side in _SIDES]
#: Sign of abduction and inward rotation of a side.
_SIGN = np.array([-1.0, 1.0])


def joint_angles(joints: np.ndarray, stddev: np.ndarray, orientations: Orientations) -> JointAngles:
    """Angles of the joints.

    Args:
        joints: (P, 17, 3) m, h36m17.
        stddev: (P, 17) m along each axis.
        orientations: of the same people.
    """
    relative = relative_to_parents(orientations.rotation)
    spread = orientations.stddev_rad**2
    people = len(joints)
    angle = np.full((people, 2, 8), np.nan)
    variance = np.full((people, 2, 8), np.inf)
    first = [_TRUNK, *_THIGHS]
    turns, certain = z_x_y(relative[:, first])
    both = spread[:, first] + spread[:, [_PELVIS] * 3]
    # Turns about z, x and y.
    both = both[..., [2, 0, 1]] / np.maximum(certain, 1e-6)
    angle[:, :, 0] = turns[:, 1:, 0]
    angle[:, :, 1] = -_SIGN * turns[:, 1:, 1]
    angle[:, :, 2] = _SIGN * turns[:, 1:, 2]
    variance[:, :, :3] = both[:, 1:]
    bend, bend_variance = _hinge_flexion(joints, stddev)
    angle[:, :, 3], variance[:, :, 3] = bend[:, :2], bend_variance[:, :2]
    angle[:, :, 7], variance[:, :, 7] = bend[:, 2:], bend_variance[:, 2:]
    angle[:, :, 4:7], variance[:, :, 4:7] = _shoulders(relative[:, _ARMS], spread)
    trunk = turns[:, 0] * np.array([-1.0, 1.0, 1.0])
    angles = np.concatenate([trunk, angle.reshape(people, -1)], axis=1)
    variances = np.concatenate([both[:, 0], variance.reshape(people, -1)], axis=1)
    spreads = _FACTORS * np.sqrt(variances)
    known = np.isfinite(angles) & (spreads <= MAX_SPREAD_RAD)
    return JointAngles(np.where(known, angles, np.nan), np.where(known, spreads, np.nan))


def z_x_y(relative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns about z, then x, then y, (..., 3) rad, and (..., 3) how well each is fixed, 0..1.

    Args:
        relative: (..., 3, 3) rotation in the frame of the parent.
    """
    second = np.arcsin(np.clip(relative[..., 2, 1], -1.0, 1.0))
    first = np.arctan2(-relative[..., 0, 1], relative[..., 1, 1])
    third = np.arctan2(-relative[..., 2, 0], relative[..., 2, 2])
    cosine = np.cos(second) ** 2
    fixed = np.where(np.abs(second) < MAX_SECOND_RAD, cosine, 0.0)
    return (
        np.stack([first, second, third], axis=-1),
        np.stack([fixed, np.ones_like(fixed), fixed], axis=-1),
    )


def _shoulders(relative: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Elevation, plane of elevation and rotation of both upper arms, and their variances.

    Elevation is 0 for a hanging arm and half a turn overhead. The plane is 0 where the arm rises
    sideways, and a quarter turn where it rises forward. The rotation is that of the elbow's axis
    about the arm against an arm that has swung from hanging by the shortest way.

    Args:
        relative: (P, 2, 3, 3) of the upper arms, in the frame of the trunk.
        spread: (P, S, 3) rad^2, variances of the segments.
    """
    # The arm points along -y.
    arm = -relative[..., 1]
    aside = np.sqrt(arm[..., 0] ** 2 + arm[..., 2] ** 2)
    elevation = np.arctan2(aside, -arm[..., 1])
    plane = np.arctan2(arm[..., 0], _SIGN * arm[..., 2])
    # The z axis of an arm that swung by the shortest way from hanging.
    down = np.array([0.0, -1.0, 0.0])
    axis = np.stack([-arm[..., 2], np.zeros_like(aside), arm[..., 0]], axis=-1)
    cosine = arm @ down
    share = axis[..., 2:] / np.where(1 + cosine > 0.05, 1 + cosine, np.nan)[..., None]
    z = np.array([0.0, 0.0, 1.0])
    swung = z * cosine[..., None] + cross(axis, np.broadcast_to(z, axis.shape)) + axis * share
    own = relative[..., 2]
    turn = np.arctan2(-dot(cross(swung, own), arm), dot(swung, own))
    trunk = spread[:, _TRUNK].max(axis=-1)[:, None]
    swing = spread[:, _ARMS, 0] + trunk
    clear = np.sin(np.maximum(elevation, 0.0)) ** 2
    sure = np.sin(MIN_ELEVATION_RAD) ** 2
    plane_variance = np.where(clear > sure, swing / np.maximum(clear, sure), np.inf)
    twist_variance = spread[:, _ARMS, 1] + trunk
    return (
        np.stack([elevation, plane, _SIGN * turn], axis=-1),
        np.stack([swing, plane_variance, twist_variance], axis=-1),
    )


def _hinge_flexion(joints: np.ndarray, stddev: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flexion of knees and elbows (P, 4) rad, 0 for straight, and its variance."""
    before, at, after = (joints[:, _HINGES[:, i]] for i in range(3))
    one, two, three = (stddev[:, _HINGES[:, i]] ** 2 for i in range(3))
    bend = np.pi - inner_angle(before, at, after)
    upper, lower = before - at, after - at
    variance = (one + two) / dot(upper, upper) + (two + three) / dot(lower, lower)
    return bend, np.where(np.isfinite(bend + variance), variance, np.inf)
