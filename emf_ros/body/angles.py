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
from .orientation import Orientations
from .rotations import clipped, cross, dot
from .segments import NAMES, PARENTS

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
_CLEAR = np.sin(MIN_ELEVATION_RAD) ** 2
#: Order of the turns among the axes x, y and z.
_ZXY = np.array([2, 0, 1])


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
    return np.asarray(np.arccos(clipped(cosine, -1.0, 1.0)))


def _hinge(side: str, names: tuple[str, str, str]) -> list[int]:
    return [H36M17.index(f"{side}_{name}") for name in names]


_SIDES = ("left", "right")
_KNEES = [_hinge(side, ("hip", "knee", "ankle")) for side in _SIDES]
_ELBOWS = [_hinge(side, ("shoulder", "elbow", "wrist")) for side in _SIDES]
#: (3, 4) joints before, at and after the hinges of knees and elbows.
_HINGES = np.array(_KNEES + _ELBOWS).T
_MIDDLE = _HINGES[1]
#: (8,) joints at the outer ends of both bones of the hinges, and at their inner ends.
_OUTER, _INNER = np.concatenate([_HINGES[0], _HINGES[2]]), np.concatenate([_MIDDLE, _MIDDLE])
_TRUNK, _PELVIS = NAMES.index("trunk"), NAMES.index("pelvis")
_THIGHS = [NAMES.index(f"{side}_thigh") for side in _SIDES]
_ARMS = [NAMES.index(f"{side}_upper_arm") for side in _SIDES]
#: Segments whose rotation against the parent gives angles: trunk, thighs, upper arms.
_TURNED = np.array([_TRUNK, *_THIGHS, *_ARMS])
_PARENTS = np.array(PARENTS).take(_TURNED)
_ARM_ROWS = np.array(_ARMS)
#: Sign of abduction and inward rotation of a side.
_SIGN = np.array([-1.0, 1.0])
#: Signs of flexion, lateral bend and rotation of the trunk, and of hip flexion, abduction and
#: rotation of the sides.
_TURN_SIGNS = np.array([[-1.0, 1.0, 1.0], [1.0, 1.0, -1.0], [1.0, -1.0, 1.0]])


def joint_angles(joints: np.ndarray, stddev: np.ndarray, orientations: Orientations) -> JointAngles:
    """Angles of the joints.

    Args:
        joints: (P, 17, 3) m, h36m17.
        stddev: (P, 17) m along each axis.
        orientations: of the same people.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return _angles(joints, stddev, orientations)


def _angles(joints: np.ndarray, stddev: np.ndarray, orientations: Orientations) -> JointAngles:
    rotation, spread = orientations.rotation, orientations.stddev_rad
    relative = rotation.take(_PARENTS, 1).swapaxes(-1, -2) @ rotation.take(_TURNED, 1)
    spread = spread * spread
    people = len(joints)
    angles, variances = np.empty((people, len(ANGLES))), np.empty((people, len(ANGLES)))
    angle, variance = (a[:, 3:].reshape(people, 2, 8) for a in (angles, variances))
    turns, certain = z_x_y(relative[:, :3])
    turns *= _TURN_SIGNS
    # Turns about z, x and y.
    both = (spread.take(_TURNED[:3], 1) + spread[:, _PELVIS, None]).take(_ZXY, 2)
    both /= np.maximum(certain, 1e-6)
    angles[:, :3], variances[:, :3] = turns[:, 0], both[:, 0]
    angle[:, :, :3], variance[:, :, :3] = turns[:, 1:], both[:, 1:]
    bend, bend_variance = _hinge_flexion(joints, stddev)
    angle[:, :, 3], variance[:, :, 3] = bend[:, :2], bend_variance[:, :2]
    angle[:, :, 7], variance[:, :, 7] = bend[:, 2:], bend_variance[:, 2:]
    _shoulders(relative[:, 3:], spread, angle[:, :, 4:7], variance[:, :, 4:7])
    spreads = _FACTORS * np.sqrt(variances)
    unknown = ~(np.isfinite(angles) & (spreads <= MAX_SPREAD_RAD))
    angles[unknown] = spreads[unknown] = np.nan
    return JointAngles(angles, spreads)


def z_x_y(relative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turns about z, then x, then y, (..., 3) rad, and (..., 3) how well each is fixed, 0..1.

    Args:
        relative: (..., 3, 3) rotation in the frame of the parent.
    """
    sine = clipped(relative[..., 2, 1], -1.0, 1.0)
    second = np.arcsin(sine)
    turns = np.empty((*sine.shape, 3))
    turns[..., 0] = np.arctan2(-relative[..., 0, 1], relative[..., 1, 1])
    turns[..., 1] = second
    turns[..., 2] = np.arctan2(-relative[..., 2, 0], relative[..., 2, 2])
    fixed = np.empty_like(turns)
    fixed[..., 1] = 1.0
    fixed[..., ::2] = ((1.0 - sine * sine) * (np.abs(second) < MAX_SECOND_RAD))[..., None]
    return turns, fixed


def _shoulders(
    relative: np.ndarray, spread: np.ndarray, angle: np.ndarray, variance: np.ndarray
) -> None:
    """Elevation, plane of elevation and rotation of both upper arms, and their variances.

    Elevation is 0 for a hanging arm and half a turn overhead. The plane is 0 where the arm rises
    sideways, and a quarter turn where it rises forward. The rotation is that of the elbow's axis
    about the arm against an arm that has swung from hanging by the shortest way.

    Args:
        relative: (P, 2, 3, 3) of the upper arms, in the frame of the trunk.
        spread: (P, S, 3) rad^2, variances of the segments.
        angle: (P, 2, 3) rad, written.
        variance: (P, 2, 3) rad^2, written.
    """
    # The arm points along -y.
    arm = -relative[..., 1]
    ahead, up, right = arm[..., 0], arm[..., 1], arm[..., 2]
    level = ahead * ahead + right * right
    elevation = np.arctan2(np.sqrt(level), -up)
    # The z axis of an arm that swung by the shortest way from hanging, against the arm's own.
    share = ahead / np.where(up < 0.95, 1.0 - up, np.nan)
    swung = np.empty_like(arm)
    swung[..., 0] = -share * right
    swung[..., 1] = right
    swung[..., 2] = share * ahead - up
    own = relative[..., 2]
    turn = np.arctan2(-dot(cross(swung, own), arm), dot(swung, own))
    angle[..., 0], angle[..., 2] = elevation, _SIGN * turn
    angle[..., 1] = np.arctan2(ahead, _SIGN * right)
    trunk = np.maximum.reduce(spread[:, _TRUNK], axis=-1)[:, None]
    arms = spread.take(_ARM_ROWS, 1)
    swing = arms[..., 0] + trunk
    variance[..., 0], variance[..., 2] = swing, arms[..., 1] + trunk
    variance[..., 1] = np.where(level > _CLEAR, swing / level, np.inf)


def _hinge_flexion(joints: np.ndarray, stddev: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flexion of knees and elbows (P, 4) rad, 0 for straight, and its variance."""
    bones = joints.take(_OUTER, 1) - joints.take(_INNER, 1)
    square_m = dot(bones, bones)
    square_rad = stddev * stddev
    bones_rad = (square_rad.take(_OUTER, 1) + square_rad.take(_INNER, 1)) / square_m
    upper, lower = bones[:, :4], bones[:, 4:]
    length = np.sqrt(square_m[:, :4] * square_m[:, 4:])
    cosine = dot(upper, lower) / np.where(length > 0, length, np.nan)
    bend = np.pi - np.arccos(clipped(cosine, -1.0, 1.0))
    return bend, bones_rad[:, :4] + bones_rad[:, 4:]
