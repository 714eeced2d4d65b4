"""A person as a chain of hinges: the positions of its joints, and the lengths of its links.

The chain is that of `urdf.urdf_of`. Its turns are those of `angles`, so most joints have the names
and signs of the clinical angles. Four kinds of joints are added, so that the chain reaches the
joints of every pose:

- `head_*` turn the head against the trunk.
- `clavicle_*` raise a shoulder, and bring it forward.
- `knee_abduction` and `elbow_abduction` are what a bent limb shows outside of its hinge's plane.
- `trunk_stretch` slides: a spine bends in itself, which no hinge at its end shows.

A chain needs all turns of a limb that is seen. So the twist of a straight limb, which nobody can
see, has the continued value of `orientation`; it moves no joint. What hangs on joints that are not
known has no position: NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..skeletons import H36M17
from .angles import z_x_y
from .orientation import relative_to_parents
from .rotations import dot, matrices
from .segments import NAMES

_SIDES = ("left", "right")
#: Factor of a side: 1 where outward is to the person's right.
SIGNS = {"left": -1.0, "right": 1.0}

#: Name of the joint that slides, by what the base of the neck is farther from the hips than in the
#: zero pose.
TRUNK_STRETCH = "trunk_stretch"

#: Names of the joints of the chain, in the order of the arrays.
CHAIN: tuple[str, ...] = (
    *(f"trunk_{turn}" for turn in ("flexion", "lateral_bend", "rotation")),
    *(f"head_{turn}" for turn in ("flexion", "lateral_bend", "rotation")),
    TRUNK_STRETCH,
    *(
        f"{side}_{joint}"
        for side in _SIDES
        for joint in (
            "hip_flexion",
            "hip_abduction",
            "hip_rotation",
            "knee_flexion",
            "knee_abduction",
            "clavicle_elevation",
            "clavicle_protraction",
            "shoulder_elevation",
            "shoulder_plane",
            "shoulder_rotation",
            "elbow_flexion",
            "elbow_abduction",
        )
    ),
)

#: Angle of the line from the base of the neck to a shoulder over the horizontal in the zero pose,
#: rad: the median of lifted people.
CLAVICLE_RAD = 0.35

#: Typical lengths of a body, m, by name, in the order of the arrays: medians of lifted people.
TYPICAL_M: dict[str, float] = {
    "hips": 0.20,
    "thigh": 0.40,
    "shank": 0.41,
    "spine": 0.23,
    "trunk": 0.46,
    "clavicle": 0.21,
    "upper_arm": 0.29,
    "forearm": 0.27,
    "head": 0.28,
    "nose_up": 0.20,
    "nose_forward": 0.07,
}
LENGTHS: tuple[str, ...] = tuple(TYPICAL_M)
#: Joints, from and to, of the lengths but those of the nose; {} is a side.
_LINES = {
    "hips": ("left_hip", "right_hip"),
    "thigh": ("{}_hip", "{}_knee"),
    "shank": ("{}_knee", "{}_ankle"),
    "spine": ("pelvis", "spine"),
    "trunk": ("pelvis", "thorax"),
    "clavicle": ("thorax", "{}_shoulder"),
    "upper_arm": ("{}_shoulder", "{}_elbow"),
    "forearm": ("{}_elbow", "{}_wrist"),
    "head": ("thorax", "head_top"),
}

_J = {name: index for index, name in enumerate(H36M17.joints)}
_S = {name: index for index, name in enumerate(NAMES)}
_HINGED = [_S["trunk"], _S["head"], _S["left_thigh"], _S["right_thigh"]]
_ARMS = [_S["left_upper_arm"], _S["right_upper_arm"]]
#: (18, 2) joints of these lines, left and right.
_ENDS = np.array(
    [
        [_J[joint.format(side)] for joint in _LINES[name]]
        for name in LENGTHS[: len(_LINES)]
        for side in _SIDES
    ]
)
#: (2,) factors of the sides.
_SIGN = np.array([SIGNS[side] for side in _SIDES])


def _both(name: str) -> list[int]:
    return [_J[f"{side}_{name}"] for side in _SIDES]


def _segments(name: str) -> list[int]:
    return [_S[f"{side}_{name}"] for side in _SIDES]


def chain_positions(quaternion: np.ndarray, joints: np.ndarray, trunk_m: np.ndarray) -> np.ndarray:
    """The positions of the joints of the chain.

    Args:
        quaternion: (P, S, 4) x, y, z, w of the segments in the order of `segments.NAMES`, see
            `orientation.Orientations`.
        joints: (P, 17, 3) m, h36m17, in the same frame.
        trunk_m: (P,) m, the length of the trunk in the URDF.

    Returns:
        (P, 31) rad, or m of `TRUNK_STRETCH`, in the order of `CHAIN`; NaN where unknown.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rotation = matrices(quaternion)
        relative = relative_to_parents(rotation)
        turns, _ = z_x_y(relative[:, _HINGED])
        middle = turns[:, :2] * np.array([-1.0, 1.0, 1.0])
        side = np.empty((len(joints), 2, 12))
        side[..., 0] = turns[:, 2:, 0]
        side[..., 1] = -_SIGN * turns[:, 2:, 1]
        side[..., 2] = _SIGN * turns[:, 2:, 2]
        shank = _along(rotation[:, _segments("thigh")], joints, _both("knee"), _both("ankle"))
        side[..., 3] = np.arctan2(-shank[..., 0], -shank[..., 1])
        side[..., 4] = _SIGN * np.arcsin(np.clip(shank[..., 2], -1.0, 1.0))
        trunk = rotation[:, [_S["trunk"]] * 2]
        collar = _along(trunk, joints, [_J["thorax"]] * 2, _both("shoulder"))
        side[..., 5] = np.arcsin(np.clip(collar[..., 1], -1.0, 1.0)) - CLAVICLE_RAD
        side[..., 6] = np.arctan2(collar[..., 0], _SIGN * collar[..., 2])
        side[..., 7:10] = _swing_and_twist(relative[:, _ARMS])
        forearm = _along(
            rotation[:, _segments("upper_arm")], joints, _both("elbow"), _both("wrist")
        )
        side[..., 10] = np.arctan2(forearm[..., 0], -forearm[..., 1])
        side[..., 11] = _SIGN * np.arcsin(np.clip(forearm[..., 2], -1.0, 1.0))
        spine = joints[:, _J["thorax"]] - joints[:, _J["pelvis"]]
        stretch = np.sqrt(dot(spine, spine)) - trunk_m
    parts = (middle.reshape(-1, 6), stretch[:, None], side.reshape(-1, 24))
    return np.concatenate(parts, axis=1)


def _along(
    rotation: np.ndarray, joints: np.ndarray, start: Sequence[int], end: Sequence[int]
) -> np.ndarray:
    """(P, 2, 3) of length 1: from one joint of each side to another, in a segment's frame."""
    line = joints[:, end] - joints[:, start]
    line = line / np.sqrt(dot(line, line))[..., None]
    return np.asarray(np.einsum("...ji,...j->...i", rotation, line))


def _swing_and_twist(relative: np.ndarray) -> np.ndarray:
    """(P, 2, 3) rad: elevation, plane and rotation of upper arms, see `angles`.

    Unlike there each has a value for every arm: the plane of a hanging one is what it happens to
    be.

    Args:
        relative: (P, 2, 3, 3) of the upper arms, in the frame of the trunk.
    """
    arm = -relative[..., 1]
    aside = np.sqrt(arm[..., 0] ** 2 + arm[..., 2] ** 2)
    elevation = np.arctan2(aside, -arm[..., 1])
    plane = np.arctan2(arm[..., 0], _SIGN * arm[..., 2])
    # The swing is a turn by the plane about y, by the elevation about x, and back about y. It takes
    # x and z to these; the twist about the arm is what is left.
    c, s = np.cos(elevation), -_SIGN * np.sin(elevation)
    along, ahead = np.cos(plane), _SIGN * np.sin(plane)
    mixed = (c - 1) * along * ahead
    swung_x = np.stack([along**2 + c * ahead**2, -s * ahead, mixed], axis=-1)
    swung_z = np.stack([mixed, -s * along, ahead**2 + c * along**2], axis=-1)
    own = relative[..., 2]
    twist = np.arctan2(dot(swung_x, own), dot(swung_z, own))
    return np.stack([elevation, plane, _SIGN * twist], axis=-1)


def lengths_of(quaternion: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """The lengths of the links as one image shows them.

    Args:
        quaternion, joints: as of `chain_positions`.

    Returns:
        (P, 11) m, in the order of `LENGTHS`; of limbs the mean of the sides that are known. NaN
        where unknown.
    """

    with np.errstate(invalid="ignore"):
        head = matrices(quaternion[:, _S["head"]])
        nose = joints[:, _J["nose"]] - joints[:, _J["thorax"]]
        line = joints[:, _ENDS[:, 1]] - joints[:, _ENDS[:, 0]]
        both = np.sqrt(dot(line, line)).reshape(len(joints), -1, 2)
        known = np.isfinite(both)
        count = known.sum(axis=-1)
        mean = np.where(known, both, 0.0).sum(axis=-1) / np.where(count > 0, count, np.nan)
        in_head = [dot(nose, head[..., 1]), dot(nose, head[..., 0])]
    return np.concatenate([mean, np.stack(in_head, axis=-1)], axis=-1)


def completed(lengths: np.ndarray) -> np.ndarray:
    """(11,) lengths of one body, with typical ones of a body of its size where they are unknown."""
    typical = np.array(list(TYPICAL_M.values()))
    known = np.isfinite(lengths)
    scale = float(np.median(lengths[known] / typical[known])) if known.any() else 1.0
    return np.where(known, lengths, scale * typical)
