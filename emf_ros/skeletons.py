"""Joint layouts as data, and the conversions between them.

A layout is a named, ordered set of joints. The model, the messages and the drawings get the index
of a joint from a layout. No other module contains such an index.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np


@dataclass(frozen=True)
class Layout:
    """A named set of joints.

    Attributes:
        name: the layout's name, as it stands in messages and files.
        joints: joint names in order.
        bones: pairs of joint names, for drawing.
        parent_of: name of the parent by name of the joint, in the kinematic tree. Joints without a
            parent have no entry. The keypoints of a detector form no tree, and have no entries.
    """

    name: str
    joints: tuple[str, ...]
    bones: tuple[tuple[str, str], ...]
    parent_of: dict[str, str]

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """The position of a joint in the order of this layout."""
        return self.joints.index(joint)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The bones as pairs of indices."""
        return tuple((self.index(a), self.index(b)) for a, b in self.bones)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """The index of the parent of each joint; -1 where there is none."""
        return tuple(
            self.index(self.parent_of[j]) if j in self.parent_of else -1 for j in self.joints
        )

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """The index of each joint on the other side; its own for joints in the middle."""

        def counterpart(joint: str) -> str:
            if joint.startswith("left_"):
                return "right_" + joint[5:]
            if joint.startswith("right_"):
                return "left_" + joint[6:]
            return joint

        return tuple(self.index(counterpart(j)) for j in self.joints)

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """'left', 'right' or 'middle' per joint."""
        return tuple(
            j.split("_")[0] if j.startswith(("left_", "right_")) else "middle" for j in self.joints
        )


def _tree(name: str, parent_of: dict[str, str | None]) -> Layout:
    joints = tuple(parent_of)
    tree = {j: p for j, p in parent_of.items() if p is not None}
    return Layout(name, joints, tuple((p, j) for j, p in tree.items()), tree)


# The 17 joints of Human3.6M. "thorax" is the base of the neck.
H36M17 = _tree(
    "h36m17",
    {
        "pelvis": None,
        "right_hip": "pelvis",
        "right_knee": "right_hip",
        "right_ankle": "right_knee",
        "left_hip": "pelvis",
        "left_knee": "left_hip",
        "left_ankle": "left_knee",
        "spine": "pelvis",
        "thorax": "spine",
        "nose": "thorax",
        "head_top": "nose",
        "left_shoulder": "thorax",
        "left_elbow": "left_shoulder",
        "left_wrist": "left_elbow",
        "right_shoulder": "thorax",
        "right_elbow": "right_shoulder",
        "right_wrist": "right_elbow",
    },
)

_LIMB_BONES = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
        ("hip", "knee"),
        ("knee", "ankle"),
        ("shoulder", "hip"),
    )
)
_GIRDLE_BONES = (("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"))
# The bones of the limbs without those from the shoulders to the hips.
_TRUNKLESS = tuple(bone for bone in _LIMB_BONES if bone[1].split("_")[1] != "hip")
_FACE_BONES = (
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
)
# The bones from the neck and from the middle of the hips.
_MIDDLE_BONES = tuple(
    (middle, f"{side}_{joint}")
    for middle, joint in (("neck", "shoulder"), ("hip", "hip"))
    for side in ("left", "right")
)
# The arms of OpenPose, from the neck, the right one first.
_NECK_AND_ARMS = (
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)

COCO17 = Layout(
    "coco17",
    (
        "nose",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
    _LIMB_BONES + _GIRDLE_BONES + _FACE_BONES,
    {},
)

# The BlazePose topology of MediaPipe.
BLAZEPOSE33 = Layout(
    "blazepose33",
    (
        "nose",
        "left_eye_inner",
        "left_eye",
        "left_eye_outer",
        "right_eye_inner",
        "right_eye",
        "right_eye_outer",
        "left_ear",
        "right_ear",
        "left_mouth",
        "right_mouth",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
        "left_pinky",
        "right_pinky",
        "left_index",
        "right_index",
        "left_thumb",
        "right_thumb",
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
        "left_heel",
        "right_heel",
        "left_foot_index",
        "right_foot_index",
    ),
    _LIMB_BONES
    + _GIRDLE_BONES
    + tuple(
        (f"{side}_{a}", f"{side}_{b}")
        for side in ("left", "right")
        for a, b in (
            ("wrist", "pinky"),
            ("wrist", "index"),
            ("wrist", "thumb"),
            ("ankle", "heel"),
            ("heel", "foot_index"),
            ("ankle", "foot_index"),
        )
    )
    + (("left_mouth", "right_mouth"), ("left_ear", "left_eye"), ("right_ear", "right_eye")),
    {},
)

# The first 26 points of Halpe-FullBody: those of COCO, then the middle line and the feet.
HALPE26 = Layout(
    "halpe26",
    (
        *COCO17.joints,
        "head",
        "neck",
        "hip",
        "left_big_toe",
        "right_big_toe",
        "left_small_toe",
        "right_small_toe",
        "left_heel",
        "right_heel",
    ),
    _TRUNKLESS
    + tuple(
        (f"{side}_{a}", f"{side}_{b}")
        for side in ("left", "right")
        for a, b in (("ankle", "heel"), ("ankle", "big_toe"), ("ankle", "small_toe"))
    )
    + (("head", "neck"), ("neck", "hip"))
    + _MIDDLE_BONES
    + _FACE_BONES,
    {},
)

_FOOT_BONES = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (("ankle", "heel"), ("ankle", "big_toe"), ("big_toe", "small_toe"))
)

# BODY_25 of OpenPose; its "MidHip" is "hip" here.
BODY25 = Layout(
    "body25",
    (
        "nose",
        *_NECK_AND_ARMS,
        "hip",
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
        "right_eye",
        "left_eye",
        "right_ear",
        "left_ear",
        "left_big_toe",
        "left_small_toe",
        "left_heel",
        "right_big_toe",
        "right_small_toe",
        "right_heel",
    ),
    _TRUNKLESS + _FOOT_BONES + (("neck", "nose"), ("neck", "hip")) + _MIDDLE_BONES + _FACE_BONES,
    {},
)

# hri_msgs/Skeleton2D of ROS4HRI: the COCO set of OpenPose, but with the left eye and ear first.
HRI18 = Layout(
    "hri18",
    (
        "nose",
        *_NECK_AND_ARMS,
        "right_hip",
        "right_knee",
        "right_ankle",
        "left_hip",
        "left_knee",
        "left_ankle",
        "left_eye",
        "right_eye",
        "left_ear",
        "right_ear",
    ),
    _TRUNKLESS
    + tuple(("neck", f"{s}_{j}") for s in ("left", "right") for j in ("shoulder", "hip"))
    + (("neck", "nose"), *_FACE_BONES),
    {},
)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout for layout in (H36M17, COCO17, BLAZEPOSE33, HALPE26, BODY25, HRI18)
}


def get_layout(name: str) -> Layout:
    """The layout of that name.

    Raises:
        ValueError: there is none; the message lists those that exist.
    """
    try:
        return LAYOUTS[name]
    except (KeyError, TypeError):  # a list has no hash
        raise ValueError(f"unknown joint layout {name!r}; known: {', '.join(LAYOUTS)}") from None


# Weights of the two shoulders in the joint between them.
_SHOULDERS = {"left_shoulder": 0.5, "right_shoulder": 0.5}
# Weights of the two hips in the joint between them.
_HIPS = {"left_hip": 0.5, "right_hip": 0.5}
# Ratio of the height from ear to crown to the height from neck to ear: of adults, in the motion
# capture skeletons.
_CROWN = 0.55
# Weights that extrapolate the top of the head from the shoulders through the ears.
_EXTRAPOLATED = {
    **{joint: 0.5 * (1 + _CROWN) for joint in ("left_ear", "right_ear")},
    **{joint: -0.5 * _CROWN for joint in _SHOULDERS},
}
# Weights by which a joint is computed from joints of other names; the best set comes first. They
# are used where the source has no joint of the same name.
_MADE_OF: dict[str, tuple[dict[str, float], ...]] = {
    "pelvis": ({"hip": 1.0}, _HIPS),
    "hip": ({"pelvis": 1.0}, _HIPS),
    "thorax": ({"neck": 1.0}, _SHOULDERS),
    "neck": ({"thorax": 1.0}, _SHOULDERS),
    "spine": ({"hip": 0.5, "neck": 0.5}, {j: 0.25 for j in (*_HIPS, *_SHOULDERS)}),
    "head_top": ({"head": 1.0}, _EXTRAPOLATED),
    "head": ({"head_top": 1.0}, _EXTRAPOLATED),
}


def _parts(joint: str, source: tuple[str, ...]) -> dict[str, float]:
    """The joints of a source that a joint is computed from, with their weights; empty for none."""
    for way in ({joint: 1.0}, *_MADE_OF.get(joint, ())):
        if all(part in source for part in way):
            return way
    return {}


def conversion_matrix(source: Layout, target: Layout) -> np.ndarray:
    """The weights that turn joints of one layout into another's.

    Returns:
        (K_target, K_source) float64. Each row sums to 1. It is zero where the source lacks the
        necessary joints, as for the toes from coco17.

    Raises:
        ValueError: no joint can be computed.
    """
    parts, weights = _conversion(source.name, source.joints, target.name, target.joints)
    matrix = np.zeros((len(target), len(source)))
    # Padding repeats a part with weight 0.
    np.add.at(matrix, (np.arange(len(target))[:, None], parts), weights)
    return matrix


def check_conversion(source: Layout, target: Layout) -> None:
    """Check that keypoints of one layout can be converted to another. The check is fast.

    Raises:
        ValueError: as `conversion_matrix`.
    """
    _conversion(source.name, source.joints, target.name, target.joints)


# A layout holds a dictionary, which has no hash: its name and joints are the key.
@lru_cache(maxsize=64)
def _conversion(
    source: str, source_joints: tuple[str, ...], target: str, target_joints: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The source's joints that each target's joint is computed from, and their weights.

    Returns:
        (K_target, P) indices and float64 weights, P the largest number of parts. A joint of fewer
        parts repeats its first part with weight 0. A joint that cannot be computed has only the
        weights 0.

    Raises:
        ValueError: as `conversion_matrix`.
    """
    if source == target:
        return np.arange(len(source_joints))[:, None], np.ones((len(source_joints), 1))
    parts_of = [_parts(joint, source_joints) for joint in target_joints]
    if not any(parts_of):
        raise ValueError(f"no conversion from layout {source!r} to {target!r}")
    count = max(map(len, parts_of))
    parts = np.zeros((len(target_joints), count), dtype=np.intp)
    weights = np.zeros((len(target_joints), count))
    for row, weight_of in enumerate(parts_of):
        # In the order of the source, in which the sum is taken.
        for column, part in enumerate(sorted(weight_of, key=source_joints.index)):
            weights[row, column] = weight_of[part]
            parts[row, column] = source_joints.index(part)
        parts[row, len(weight_of) :] = parts[row, 0]
    return parts, weights


def convert_keypoints(keypoints: np.ndarray, source: Layout, target: Layout) -> np.ndarray:
    """Convert 2D keypoints between layouts.

    Args:
        keypoints: (..., K_source, 3): x, y (any unit) and score 0..1.
        source: their layout.
        target: the wanted layout.

    Returns:
        (..., K_target, 3). A joint that is computed from several joints has the lowest of their
        scores. It is missing (NaN, score 0) when any of them is missing, or when it cannot be
        computed.

    Raises:
        ValueError: as `conversion_matrix`.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    if source.name == target.name:
        return keypoints.copy()
    parts, weights = _conversion(source.name, source.joints, target.name, target.joints)
    gathered = keypoints[..., parts, :]
    out = gathered.min(axis=-2)
    # Not a product of matrices: 0 times the NaN of an unused joint would be NaN.
    out[..., :2] = np.einsum("kp,...kpc->...kc", weights, gathered[..., :2])
    missing = ~np.isfinite(out).all(axis=-1) | (out[..., 2] <= 0) | ~weights.any(axis=-1)
    out[missing] = (np.nan, np.nan, 0.0)
    return out
