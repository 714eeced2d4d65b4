"""Conversion of a file's joints to h36m17 by their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...skeletons import H36M17
from ..plain_yaml import PlainYamlError, read_plain_yaml
from . import OPTIONS_OF, FormatError
from .skeleton import Motion, Naming

#: Names of left and right joints, without their side, likelier meanings first: where a rig has both
#: LeftArm and LeftShoulder, the latter is the collar bone. By the programs that use them:
#: upleg, leg, foot, arm, forearm, hand: MotionBuilder, Mixamo, CMU, Perception Neuron, Motive;
#: thigh, calf, upperarm, lowerarm: 3ds Max Biped, Unreal, MakeHuman, Character Creator;
#: thigh, shin, upper_arm: Blender's Rigify, Rokoko; upperleg, lowerleg: VRM, VRoid, Unity, Xsens;
#: hip, knee, ankle, shoulder, elbow, wrist: Xsens' and Poser's BVH, Kinect, Advanced Skeleton;
#: thigh, uarm, farm: Motive's own names; shldr: Poser, DAZ;
#: thighbend, shldrbend, forearmbend: DAZ Genesis;
#: upperleg01, lowerarm01: MakeHuman's default rig; loleg, loarm: MakeHuman's BVH;
#: femur, tibia, humerus, radius: BVH made of Acclaim files.
_LIMBS: dict[Naming, dict[str, tuple[str, ...]]] = {
    "joints": {
        "hip": ("upleg", "upperleg", "upperleg01", "thigh", "thighbend", "femur", "hip"),
        "knee": (
            *("knee", "lowerleg", "lowerleg01", "lowleg", "loleg"),
            *("shin", "calf", "tibia", "leg"),
        ),
        "ankle": ("ankle", "foot"),
        "shoulder": (
            *("uparm", "upperarm", "upperarm01", "uarm"),
            *("shldr", "shldrbend", "humerus", "arm", "shoulder"),
        ),
        "elbow": (
            *("elbow", "forearm", "forearmbend", "farm"),
            *("lowerarm", "lowerarm01", "lowarm", "loarm", "radius"),
        ),
        "wrist": ("wrist", "hand"),
    },
    "bone ends": {
        "hip": ("hipjoint",),
        "knee": ("femur",),
        "ankle": ("tibia",),
        "shoulder": ("clavicle",),
        "elbow": ("humerus",),
        "wrist": ("wrist", "radius"),
    },
}

#: Names of the middle joints. "head" is the base of the skull, where the head turns.
_MIDDLE: dict[Naming, dict[str, tuple[str, ...]]] = {
    "joints": {
        "thorax": (
            *("neck", "neckbase", "necklower", "neck0", "neck01", "neck1", "necktwist01"),
            *("lowerneck", "spine004", "spineshoulder", "shouldercenter"),
        ),
        "head": ("head", "head1", "skull", "spine006"),
        "head_top": ("headtop", "headtopend", "headend", "headnub", "headsite"),
        "nose": ("nose",),
    },
    "bone ends": {"thorax": ("thorax",), "head": ("upperneck",), "head_top": ("head",)},
}

#: Prefixes that programs add to each name.
_PREFIX = re.compile(
    r"^(mixamorig\d*[ _.-]*|"
    r"(bip\d+|cc_base|valvebiped|def|org|jnt|j_bip|j_adj|j_sec|normalized)[ _.-]+)",
    re.I,
)

#: Second Life puts an m in front of every name, as in mHipLeft.
_SECOND_LIFE = re.compile(r"^m(?=[A-Z][a-z])")

#: Suffixes that programs add to each name.
_SUFFIX = re.compile(r"[ _.-]+(jnt|joint|bone|bind)$", re.I)

#: Parts of a name that say its side.
_SIDES = ("l", "r", "c", "m", "left", "right", "center", "middle")

#: Length of an adult's trunk and leg (m), to which the lengths below belong.
ADULT_SIZE_M = 1.38

#: Distance of the nose in front of the axis of the head, over the length of trunk and leg.
NOSE_FORWARD = 0.09 / ADULT_SIZE_M

#: Height of the nose above the base of the skull, over that of the crown.
NOSE_UP = 0.3

#: Height of the crown above the base of the skull, over the length of trunk and leg.
CROWN_UP = 0.19 / ADULT_SIZE_M

#: Range of heights of a rig's end of the head that are taken for the crown's, over the length of
#: trunk and leg. Rigs also put the end at the base of the skull, or a conventional unit away.
_CROWN_RANGE = (0.06 / ADULT_SIZE_M, 0.28 / ADULT_SIZE_M)

#: Height of the spine joint over that of the trunk, as of the CMU subjects' lowest back joint.
_SPINE_SHARE = 0.48

#: Range of heights of joints that are taken for the spine joint, over that of the trunk.
_SPINE_RANGE = (0.25, 0.75)

#: Largest cosine between trunk and legs in a rest pose in which a person stands.
_STANDING_LEGS = -0.8

#: Largest cosine between the trunk and the line through the hips in such a rest pose.
_STANDING_HIPS = 0.3

#: Joint indices by joint of h36m17, and of 'head'. Several stand for their mean.
JointMap = dict[str, tuple[int, ...]]


def _plain(names: Sequence[str]) -> list[str]:
    """Names in small letters and digits only, without common prefixes."""
    names = [re.split(r"[:|]", name)[-1].strip() for name in names]
    names = [_SUFFIX.sub("", name) or name for name in _without_shared_start(names)]
    if 2 * sum(bool(_SECOND_LIFE.match(name)) for name in names) > len(names):
        names = [_SECOND_LIFE.sub("", name) for name in names]
    return [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]


def _without_shared_start(names: list[str]) -> list[str]:
    """Names without programs' prefixes, and without a first part that more than half share.

    Such as 'Character1_' or 'Skeleton 001_'. A side or a joint's name is no such part.
    """
    while True:
        shorter = [_PREFIX.sub("", name) or name for name in names]
        starts = [re.match(r"[^ _.-]+[ _.-]+(?=.)", name) for name in shorter]
        common = Counter(start[0] for start in starts if start).most_common(1)
        if common and len(names) > 1 and 2 * common[0][1] > len(names):
            part = re.sub(r"[^a-z0-9]", "", common[0][0].lower())
            if part not in _SIDES and part not in _WORDS:
                shorter = [name.removeprefix(common[0][0]) for name in shorter]
        if shorter == names:
            return names
        names = shorter


def _spellings(side: str, joint: str) -> tuple[str, ...]:
    letter = side[0]
    return (side + joint, joint + side, letter + joint, joint + letter)


def _middle_spellings(joint: str) -> tuple[str, ...]:
    """VRoid writes C_Neck, Advanced Skeleton Neck_M."""
    return (joint, f"c{joint}", f"{joint}c", f"{joint}m", f"center{joint}")


#: Joints' names, by which most names of a rig may begin: Hand_L_Thumb1.
_WORDS = frozenset(
    name
    for tables in (_LIMBS, _MIDDLE)
    for table in tables.values()
    for aliases in table.values()
    for name in aliases
)


def _aliases(naming: Naming) -> dict[str, tuple[str, ...]]:
    if naming == "h36m17":
        return {joint: (joint.replace("_", ""),) for joint in H36M17.joints}
    aliases: dict[str, tuple[str, ...]] = {
        joint: tuple(s for n in names for s in _middle_spellings(n))
        for joint, names in _MIDDLE[naming].items()
    }
    for joint, names in _LIMBS[naming].items():
        for side in ("left", "right"):
            aliases[f"{side}_{joint}"] = tuple(s for n in names for s in _spellings(side, n))
    return aliases


def read_joint_map(path: str | Path) -> dict[str, tuple[str, ...]]:
    """A user's map from joints of h36m17, or 'head' for the base of the skull, to a file's names.

    Args:
        path: YAML; each value is a name, or a list of names whose mean is meant.

    Raises:
        FormatError: it is no such file.
    """
    try:
        data = read_plain_yaml(path)
    except PlainYamlError as error:
        raise FormatError(f"cannot read {path}: {error}") from None
    if not isinstance(data, dict) or not data:
        raise FormatError(f"{path} is no map from joints of h36m17 to names")
    known = (*H36M17.joints, "head")
    unknown = [str(joint) for joint in data if joint not in known]
    if unknown:
        raise FormatError(
            f"{path} maps {', '.join(unknown)}, which h36m17 has not; it has {', '.join(known)}"
        )
    joints = {}
    for joint, names in data.items():
        names = [names] if isinstance(names, (str, int)) else names
        if not isinstance(names, list) or not names:
            raise FormatError(f"{path}: {joint} needs a name or a list of names")
        joints[joint] = tuple(str(name) for name in names)
    return joints


def map_joints(motion: Motion, given: Mapping[str, Sequence[str]] | None = None) -> JointMap:
    """Find the joints of h36m17 among a file's.

    Args:
        motion: the file.
        given: names to be taken for some joints, see `read_joint_map`.

    Returns:
        indices of points. pelvis, spine, nose and head_top are absent where they are to be
        derived.

    Raises:
        FormatError: joints cannot be found; lists them and the names that the file has.
    """
    index: dict[str, int] = {}
    for i, name in enumerate(_plain(motion.names)):
        index.setdefault(name, i)
    exact = {name: i for i, name in reversed(list(enumerate(motion.names)))}
    found: JointMap = {}
    for joint, names in _aliases(motion.naming).items():
        match = next((index[name] for name in names if name in index), None)
        if match is not None:
            found[joint] = (match,)
    for joint, chosen in (given or {}).items():
        absent = [name for name in chosen if name not in exact]
        if absent:
            raise FormatError(
                f"has no joint {', '.join(absent)}, which the map gives for {joint}; "
                f"it has {_listed(motion)}"
            )
        found[joint] = tuple(exact[name] for name in chosen)
    derived = {"pelvis", "spine"} | ({"nose", "head_top"} if "head" in found else set())
    missing = [j for j in H36M17.joints if j not in found and j not in derived]
    if {"nose", "head_top"} <= set(missing):
        # Both are derived from the base of the skull.
        missing = [j for j in missing if j not in ("nose", "head_top")] + ["head"]
    if missing:
        raise FormatError(
            f"no joint was found for {', '.join(missing)}; the file has {_listed(motion)}. "
            f"Name them in a map: --joints {OPTIONS_OF}"
        )
    return found


def _listed(motion: Motion) -> str:
    return ", ".join(name for name in motion.names if not name.endswith(" (start)"))


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def _trunk(joints: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors up along the trunk and to where the body faces, each (N, 3)."""
    hips = 0.5 * (joints["left_hip"] + joints["right_hip"])
    up = _unit(joints["thorax"] - hips)
    lateral = joints["left_shoulder"] - joints["right_shoulder"]
    lateral = _unit(lateral) + _unit(joints["left_hip"] - joints["right_hip"])
    return up, _unit(np.cross(lateral, up))


def _points(positions: np.ndarray, found: JointMap) -> dict[str, np.ndarray]:
    """(N, 3) by joint, of (N, P, 3)."""
    return {joint: positions[:, list(points)].mean(axis=1) for joint, points in found.items()}


def standing_rest(motion: Motion, found: JointMap) -> np.ndarray | None:
    """Up along the trunk in the rest pose, (3,); None if no person stands in it.

    In some files the rest pose shows no person: each bone lies along an axis of its own frame.
    """
    joints = _points(motion.rest[None], found)
    hips = 0.5 * (joints["left_hip"] + joints["right_hip"])
    up = _unit(joints["thorax"] - hips)[0]
    legs = _unit(0.5 * (joints["left_ankle"] + joints["right_ankle"]) - hips)[0]
    across = _unit(joints["left_hip"] - joints["right_hip"])[0]
    if not across.any() or up @ legs > _STANDING_LEGS or abs(up @ across) > _STANDING_HIPS:
        return None
    return up


def to_h36m17(motion: Motion, found: JointMap) -> np.ndarray:
    """The joints of h36m17, in the file's unit and axes.

    What a file lacks is derived. The pelvis is the middle of the hips. The spine is the joint
    nearest to the middle of the trunk, or the middle itself. The crown is the file's end of the
    head, or else 0.19 m above the base of the skull on an adult; the nose is 0.3 of the way up to
    it and 0.09 m in front, along the head's own axes.

    Returns:
        (N, 17, 3), NaN where points are.

    Raises:
        FormatError: a joint is unknown in all frames, or the body has no size.
    """
    joints = _points(motion.positions, found)
    unknown = [joint for joint, points in joints.items() if not np.isfinite(points).any()]
    if unknown:
        raise FormatError(f"has no frame that shows {', '.join(unknown)}")
    joints.setdefault("pelvis", 0.5 * (joints["left_hip"] + joints["right_hip"]))
    if "spine" not in joints:
        middle = _middle_of_trunk(motion, found)
        between = 0.5 * (joints["pelvis"] + joints["thorax"])
        joints["spine"] = between if middle is None else motion.positions[:, middle]
    if "nose" not in joints or "head_top" not in joints:
        _add_face(motion, found, joints)
    return np.stack([joints[joint] for joint in H36M17.joints], axis=1)


def _middle_of_trunk(motion: Motion, found: JointMap) -> int | None:
    chain = [found["thorax"][0]]
    while motion.parents[chain[-1]] >= 0:
        chain.append(motion.parents[chain[-1]])
    steps = np.linalg.norm(np.diff(motion.rest[chain], axis=0), axis=-1)
    if not steps.sum() > 0:
        return None
    share = 1.0 - np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()
    nearest = int(np.argmin(np.abs(share - _SPINE_SHARE)))
    low, high = _SPINE_RANGE
    return chain[nearest] if low <= share[nearest] <= high else None


def _add_face(motion: Motion, found: JointMap, joints: dict[str, np.ndarray]) -> None:
    base = joints["head"]
    size = body_size(joints)
    forward, up = _head_axes(motion, found)
    crown = joints.get("head_top")
    if crown is not None and "nose" not in joints:
        height = np.nanmedian(np.linalg.norm(crown - base, axis=-1)) / size
        if not _CROWN_RANGE[0] <= height <= _CROWN_RANGE[1]:
            crown = None
    joints["head_top"] = base + CROWN_UP * size * up if crown is None else crown
    nose = base + NOSE_UP * (joints["head_top"] - base) + NOSE_FORWARD * size * forward
    joints.setdefault("nose", nose)


def _head_axes(motion: Motion, found: JointMap) -> tuple[np.ndarray, np.ndarray]:
    """Directions of the face and of the crown, unit vectors (N, 3) each.

    They turn with the head. In the head's frame they are the trunk's in the rest pose. Where no
    person stands in the rest pose, they are the trunk's on average over the file.
    """
    part = found["head_top" if motion.naming == "bone ends" else "head"][0]
    head = motion.orientations[:, part]
    if standing_rest(motion, found) is not None:
        up, forward = _trunk(_points(motion.rest[None], found))
    else:
        along = _trunk(_points(motion.positions, found))
        up, forward = (np.einsum("nji,nj->ni", head, axis) for axis in along)
    on_head = (_unit(np.nanmean(axis, axis=0)) for axis in (forward, up))
    world = [np.einsum("nij,j->ni", head, axis) for axis in on_head]
    return world[0], world[1]


def body_size(joints: Mapping[str, np.ndarray]) -> float:
    """Hip to knee to ankle, and middle of the hips to the base of the neck: the median length.

    Args:
        joints: (N, 3) by joint of h36m17.

    Raises:
        FormatError: no frame has all of these joints, or they are all in one place.
    """

    def length(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(a - b, axis=-1)

    hips = 0.5 * (joints["left_hip"] + joints["right_hip"])
    total = length(hips, joints["thorax"])
    for side in ("left", "right"):
        hip, knee, ankle = (joints[f"{side}_{j}"] for j in ("hip", "knee", "ankle"))
        total = total + 0.5 * (length(hip, knee) + length(knee, ankle))
    total = total[np.isfinite(total)]
    if not total.size:
        raise FormatError("has no frame in which trunk and legs are all known")
    if not np.median(total) > 0:
        raise FormatError("has all joints in one place")
    return float(np.median(total))


def limbs_by_name(names: Sequence[str]) -> dict[str, int]:
    """Find hips, knees, ankles, shoulders, elbows and wrists among the names of points.

    Args:
        names: as a file gives them, for example 'RHip', 'hip_r' or 'right_hip'.

    Returns:
        the index of each joint of h36m17 that is there.
    """
    plain = _plain(names)
    found = {}
    for joint, spellings in _aliases("joints").items():
        index = next((plain.index(s) for s in spellings if s in plain), None)
        if index is not None and joint.startswith(("left_", "right_")):
            found[joint] = index
    return found
