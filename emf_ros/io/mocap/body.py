"""Units, axes and proportions of a file: whether it shows a person, and the person's size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...skeletons import H36M17
from . import OPTIONS_OF, FormatError
from .joints import ADULT_SIZE_M, JointMap, body_size, map_joints, standing_rest, to_h36m17
from .skeleton import Motion

#: Metres for one unit. 'cmu' is that of the CMU database, inch / 0.45, and of its BVH conversions.
UNITS = {
    "m": 1.0,
    "cm": 0.01,
    "mm": 0.001,
    "inch": 0.0254,
    "foot": 0.3048,
    "cmu": 0.0254 / 0.45,
}

#: Range of the length of trunk and leg (m), of people of 1.0 to 2.25 m.
SIZES_M = (0.78, 1.75)

#: Length of trunk and leg over body height: hip to knee 0.245, knee to ankle 0.246 and hip to
#: shoulder 0.288 (Drillis and Contini 1966, after Winter, Biomechanics and Motor Control of Human
#: Movement).
_SIZE_SHARE = 0.779

#: Range of the length of the bone that ends at each joint, over body height. The means are Winter's
#: (thigh 0.245, shank 0.246, upper arm 0.186, forearm 0.146). The ranges are wide: rigs put joints
#: elsewhere than anatomy does, and the height is itself an estimate.
BONE_SHARES = {
    "hip": (0.025, 0.11),
    "knee": (0.17, 0.36),
    "ankle": (0.17, 0.36),
    "spine": (0.04, 0.25),
    "thorax": (0.07, 0.28),
    "nose": (0.04, 0.20),
    "head_top": (0.03, 0.17),
    "shoulder": (0.04, 0.17),
    "elbow": (0.11, 0.28),
    "wrist": (0.085, 0.24),
}

#: Bones of constant length. The others bend, or slide on their neighbours.
_RIGID = ("hip", "knee", "ankle", "elbow", "wrist")

#: Largest difference between the bones of the two sides, over the shorter one.
ASYMMETRY = 0.25

#: Largest change of a bone's length over time, 5th to 95th percentile, over its median.
VARIATION = 0.15

#: Range of body heights (m) to which the estimate is limited.
_HEIGHTS_M = (1.0, 2.2)

#: Height of the ankle above the floor (m), of an adult that stands.
_ANKLE_M = 0.08

#: Percentile of the lowest ankles' heights that is taken for standing feet.
_FLOOR_PERCENTILE = 2

#: Smallest cosine between the trunk in the rest pose and the axis that points up.
_REST_UPRIGHT = 0.8

#: Smallest component, along the axis that points up, of the trunk's mean direction in the motion.
_MOTION_UPRIGHT = 0.7


def pose_of(
    motion: Motion,
    joints: Mapping[str, Sequence[str]] | None = None,
    unit: str = "auto",
    up: str = "auto",
) -> tuple[np.ndarray, str, float]:
    """The joints of h36m17, found by their names.

    Args:
        motion: the file.
        joints: names to be taken for some joints, see `joints.read_joint_map`.
        unit, up: see `find_unit` and `find_up`.

    Returns:
        (N, 17, 3) m in the file's axes, NaN where unknown; the axis that points up, "y" or "z"; and
        metres for one unit of the file.

    Raises:
        FormatError: joints, unit or axis cannot be told.
    """
    # A body model's points are not the joints that a map of rigs' names is about.
    found = map_joints(motion, None if motion.naming == "h36m17" else joints)
    pose = to_h36m17(motion, found)
    metres = motion.unit_m or find_unit(body_size(_by_joint(pose)), unit)
    return metres * pose, find_up(motion, found, pose, up), metres


def find_unit(size: float, asked: str = "auto") -> float:
    """Metres for one unit of a file.

    Args:
        size: trunk and leg in the file's unit, see `joints.body_size`.
        asked: 'auto', or one of `UNITS`.

    Raises:
        FormatError: with 'auto', no unit or several make this a person.
    """
    if asked != "auto":
        if asked not in UNITS:
            raise FormatError(f"unknown unit {asked!r}; known: auto, {', '.join(UNITS)}")
        return UNITS[asked]
    low, high = SIZES_M
    fitting = [name for name, metres in UNITS.items() if low <= size * metres <= high]
    if len(fitting) == 1:
        return UNITS[fitting[0]]
    tried = ", ".join(f"{size * metres:.3g} m if in {name}" for name, metres in UNITS.items())
    raise FormatError(
        f"trunk and leg are {size:.4g} units long: {tried}. A person's are {low:g} to {high:g} m: "
        + (f"{' or '.join(fitting)}? " if fitting else "none fits. ")
        + f"Give --unit {OPTIONS_OF}"
    )


def find_up(motion: Motion, found: JointMap, pose: np.ndarray, asked: str = "auto") -> str:
    """The axis that points up, 'y' or 'z'.

    What the format prescribes; else the rest pose if a person stands in it, since people in the
    motion may lie; else the mean direction of the trunk.

    Args:
        motion: the file.
        found: its joints.
        pose: (N, 17, 3) the same as h36m17.
        asked: 'auto', 'y' or 'z'.

    Raises:
        FormatError: with 'auto', it cannot be told.
    """
    if asked in ("y", "z"):
        return asked
    if asked != "auto":
        raise FormatError(f"the up axis is auto, y or z, not {asked!r}")
    if motion.up:
        return motion.up
    rest = standing_rest(motion, found)
    trunk = pose[:, H36M17.index("thorax")] - pose[:, H36M17.index("pelvis")]
    trunk /= np.maximum(np.linalg.norm(trunk, axis=-1, keepdims=True), 1e-12)
    mean = np.nanmean(trunk, axis=0)
    for direction, least in ((rest, _REST_UPRIGHT), (mean, _MOTION_UPRIGHT)):
        if direction is None:
            continue
        name = axis_along(direction, least)
        if name:
            return name
    shown = ", ".join(f"{v:.2f}" for v in mean)
    raise FormatError(
        f"no axis is up: the trunk points along ({shown}) on average and the rest pose does not "
        f"stand. Give --up {OPTIONS_OF}"
    )


def axis_along(direction: np.ndarray, least: float = _MOTION_UPRIGHT) -> str:
    """The axis, "y" or "z", along which a direction (3,) has at least this component; else ""."""
    return next((name for axis, name in ((1, "y"), (2, "z")) if direction[axis] >= least), "")


def to_z_up(positions: np.ndarray, up: str) -> np.ndarray:
    """Turn (..., 3) with y up to z up, right-handed; z up stays."""
    if up == "z":
        return positions
    x, y, z = np.moveaxis(positions, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def to_y_up(positions: np.ndarray, up: str) -> np.ndarray:
    """Turn (..., 3) with z up to y up, right-handed; y up stays."""
    if up == "y":
        return positions
    x, y, z = np.moveaxis(positions, -1, 0)
    return np.stack([x, z, -y], axis=-1)


def put_on_floor(positions: np.ndarray) -> np.ndarray:
    """Shift (N, 17, 3) m, z up, so that the floor is at z = 0.

    The lowest ankles, but for outliers, are taken to stand on it. Nothing is tilted.
    """
    size = body_size(_by_joint(positions))
    ankles = positions[:, [H36M17.index("left_ankle"), H36M17.index("right_ankle")], 2]
    lowest = ankles.min(axis=1)
    floor = np.percentile(lowest[np.isfinite(lowest)], _FLOOR_PERCENTILE)
    floor -= _ANKLE_M * size / ADULT_SIZE_M
    return positions - np.array([0.0, 0.0, floor])


def _by_joint(positions: np.ndarray) -> dict[str, np.ndarray]:
    return {joint: positions[:, i] for i, joint in enumerate(H36M17.joints)}


def check_bones(positions: np.ndarray) -> None:
    """Refuse a motion whose bones are not those of a person.

    Args:
        positions: (N, 17, 3) m; frames with NaN are passed over.

    Raises:
        FormatError: a bone is too short or too long for a person of this size, longer on one side
            than on the other, or changes its length; names the bone.
    """
    positions = positions[np.isfinite(positions).all(axis=(1, 2))]
    if not len(positions):
        raise FormatError("has no frame in which all joints are known")
    height = body_size(_by_joint(positions)) / _SIZE_SHARE
    height = float(np.clip(height, *_HEIGHTS_M))
    medians: dict[str, float] = {}
    for joint, parent in H36M17.parent_of.items():
        bone, kind = f"{parent} to {joint}", joint.removeprefix("left_").removeprefix("right_")
        steps = positions[:, H36M17.index(joint)] - positions[:, H36M17.index(parent)]
        lengths = np.linalg.norm(steps, axis=-1)
        medians[joint] = median = float(np.median(lengths))
        low, high = (share * height for share in BONE_SHARES[kind])
        if not low <= median <= high:
            raise FormatError(
                f"{bone} is {median:.3g} m long; it is {low:.3f} to {high:.3f} m on a person of "
                f"about {height:.2f} m, as trunk and legs say"
            )
        shortest, longest = np.percentile(lengths, (5, 95))
        if kind in _RIGID and longest - shortest > VARIATION * median:
            raise FormatError(
                f"{bone} changes its length from {shortest:.3f} to {longest:.3f} m; bones may "
                f"change by {100 * VARIATION:.0f} %"
            )
    _check_sides(medians)


def _check_sides(lengths: dict[str, float]) -> None:
    for joint, left in lengths.items():
        if not joint.startswith("left_"):
            continue
        right = lengths[joint.replace("left_", "right_")]
        if max(left, right) > (1 + ASYMMETRY) * min(left, right):
            kind = joint.removeprefix("left_")
            raise FormatError(
                f"the bone that ends at the {kind} is {left:.3f} m long on the left and "
                f"{right:.3f} m on the right; they may differ by {100 * ASYMMETRY:.0f} %"
            )
