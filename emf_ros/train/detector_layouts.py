"""Points that the detectors of each layout mark on a body, and their scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..skeletons import H36M17, conversion_matrix, get_layout
from .anatomy import Offset

_FACE = ("nose", "left_ear", "right_ear")
_SIDED = tuple(
    f"{side}_{joint}"
    for side in ("left", "right")
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
)
#: Points of all layouts that h36m17 is computed from. The last three exist in halpe26 only.
POINTS = (*_FACE, *_SIDED, "head", "neck", "hip")


def kind_of(point: str) -> str:
    """Kind of a point without its side: 'left_hip' and 'hip' are 'hip'."""
    return point.split("_")[-1]


@dataclass(frozen=True)
class ScoreLaw:
    """Distribution of scores: the logistic function of a normal variable.

    Attributes:
        core: mean and standard deviation of the logit of head, shoulders and hips.
        arms: the same of elbows and wrists.
        legs: the same of knees and ankles.
        floor: share of the clips in which points below a random score up to 0.3 are not reported.
            0 for detectors that report every point.
    """

    core: tuple[float, float]
    arms: tuple[float, float]
    legs: tuple[float, float]
    floor: float


@dataclass(frozen=True)
class LayoutModel:
    """Model of the detectors of a layout.

    Attributes:
        share: share of the clips that have this layout.
        offsets: offsets from anatomical joint centres to marked points, by kind of joint.
        scores: distribution of the scores.
    """

    share: float
    offsets: dict[str, Offset]
    scores: ScoreLaw


#: Models by layout. Offsets begin at anatomical joint centres, where the joints of motion capture
#: lie after `mocap.to_anatomical_centres`.
#:
#: blazepose33 is measured by `benchmarks/detector_offsets.py` on two people with marker motion
#: capture. Both agree on the shoulders (inwards by 0.05 and 0.06) and on the ankles (outwards by
#: 0.02 and 0.03). They differ on the hips (0.04 outwards, 0.01 inwards). "heavy" marks the hips of
#: a third person 0.39 of the trunk apart, where the truth of the two has 0.40. The offset of the
#: hips is therefore nearly zero. Scores are measured: those of head, shoulders and hips are nearly
#: always high, those of limbs are not.
#:
#: coco17 and halpe26 are assumed. Annotators mark hips inside the silhouette at the height of the
#: hip's crease, further outwards and higher than the joint centres. They mark shoulders a little
#: below the acromion. Scores are peaks of heatmaps: less extreme, and low ones are often dropped.
LAYOUT_MODELS: dict[str, LayoutModel] = {
    "blazepose33": LayoutModel(
        0.5,
        {
            "shoulder": Offset(-0.05, -0.01),
            "hip": Offset(0.005, -0.015),
            "ankle": Offset(0.025, -0.015),
        },
        ScoreLaw((6.5, 0.8), (2.4, 3.1), (2.9, 2.1), 0.0),
    ),
    "coco17": LayoutModel(
        0.3,
        {"shoulder": Offset(-0.01, -0.02), "hip": Offset(0.03, 0.05)},
        ScoreLaw((2.0, 0.8), (1.6, 1.2), (1.7, 1.1), 0.5),
    ),
    "halpe26": LayoutModel(
        0.2,
        {"shoulder": Offset(-0.01, -0.02), "hip": Offset(0.03, 0.05)},
        ScoreLaw((2.0, 0.8), (1.6, 1.2), (1.7, 1.1), 0.5),
    ),
}

# Positions of the face from the middle of the shoulders, in shares of the trunk's length. "Up" is
# along the line to the mocap's head_top. Motion capture has no ears. Its heads differ by source:
# head_top and thorax would give heights of the ears from 0.28 to 0.53. Measured on a video: ears at
# 0.39 and 0.41, and 0.16 to 0.18 from ear to nose. Breadth and crown are averages of adults.

#: Height of the ears.
EAR_UP = 0.40
#: Distance of each ear from the middle of the head.
EAR_OUT = 0.15
#: Height of the nose.
NOSE_UP = 0.37
#: Distance of the nose to the front.
NOSE_FORWARD = 0.17
#: Height of the top of the head.
CROWN_UP = 0.68
#: Height of the neck's base.
NECK_UP = 0.05
#: Standard deviation of the head's size between clips, as a share of its size. Assumed.
HEAD_SPREAD = 0.08

#: Standard deviation of the constant offset between clips along each axis of the body, in shares of
#: the trunk. It is a third of the deviation between COCO's annotators (the constants of its object
#: keypoint similarity), for a person of 0.8 m (root of the silhouette's area) and a trunk of 0.5 m.
#: The third is assumed.
OFFSET_SPREAD = {
    "nose": 0.014,
    "ear": 0.019,
    "shoulder": 0.042,
    "elbow": 0.038,
    "wrist": 0.033,
    "hip": 0.057,
    "knee": 0.046,
    "ankle": 0.047,
    "head": 0.04,
    "neck": 0.04,
}


def conversion_weights(layout: str) -> Tensor:
    """(17, P) float32, the live conversion from POINTS of a layout to h36m17."""
    source = get_layout(layout)
    matrix = torch.from_numpy(conversion_matrix(source, H36M17)).float()
    weights = torch.zeros(len(H36M17), len(POINTS))
    for i, joint in enumerate(source.joints):
        if joint in POINTS:
            weights[:, POINTS.index(joint)] = matrix[:, i]
    return weights


def other_side(point: str) -> str:
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if point.startswith(side):
            return other + point.removeprefix(side)
    return point


def offset_means(model: LayoutModel) -> Tensor:
    """(P, 3) offsets in shares of the trunk, along the axes left, up and forward."""
    rows = []
    for point in POINTS:
        sided = point.startswith(("left_", "right_"))
        offset = model.offsets.get(kind_of(point), Offset())
        sign = (1.0 if point.startswith("left_") else -1.0) if sided else 0.0
        rows.append((sign * offset.out, offset.up, 0.0))
    return torch.tensor(rows)


def score_laws(law: ScoreLaw) -> Tensor:
    """(P, 2) mean and standard deviation of the logit of each point."""
    by_kind = {
        **dict.fromkeys(("elbow", "wrist"), law.arms),
        **dict.fromkeys(("knee", "ankle"), law.legs),
    }
    return torch.tensor([by_kind.get(kind_of(p), law.core) for p in POINTS])
