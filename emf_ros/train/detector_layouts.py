"""Which points the detectors of a layout mark on a body, and which scores they give them."""

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
#: The points of all layouts that h36m17 is made of. The last three are halpe26's own.
POINTS = (*_FACE, *_SIDED, "head", "neck", "hip")


def kind_of(point: str) -> str:
    """'left_hip' -> 'hip'; halpe26's own 'hip' is 'hip' too."""
    return point.split("_")[-1]


@dataclass(frozen=True)
class ScoreLaw:
    """Scores as the logistic function of a normal variable.

    Attributes:
        core, arms, legs: mean and standard deviation of the logit: of the head, the shoulders and
            the hips; of elbows and wrists; of knees and ankles.
        floor: share of clips in which points under a random score up to 0.3 are not reported; 0
            for detectors that report every point always.
    """

    core: tuple[float, float]
    arms: tuple[float, float]
    legs: tuple[float, float]
    floor: float


@dataclass(frozen=True)
class LayoutModel:
    """How the detectors of a layout see a body.

    Attributes:
        share: of the clips that have this layout.
        offsets: by kind of joint; those not named have none.
        scores: their law.
    """

    share: float
    offsets: dict[str, Offset]
    scores: ScoreLaw


#: Constant differences between the points that detectors mark and anatomical joint centres, where
#: the motion capture's joints lie after `mocap.to_anatomical_centres`.
#:
#: blazepose33. Measured by `benchmarks/detector_offsets.py` on two people with marker motion
#: capture. Both agree on the shoulders (inwards by 0.05 and 0.06) and on the ankles (outwards by
#: 0.02 and 0.03). They differ on the hips (0.04 outwards, 0.01 inwards), which "heavy" puts 0.39 of
#: the trunk apart on a third person, where the truth of the two has 0.40: taken as nearly none.
#: Scores are measured: head, shoulders and hips are nearly always certain, limbs are not.
#:
#: coco17, halpe26. Assumed: annotators mark hips inside the silhouette at the height of the hip's
#: crease, further out and higher than the joints' centres, and shoulders a little under the
#: acromion. Scores of heatmaps' peaks are less extreme, and their users often cut low ones off.
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

#: Where the face is over the middle of the shoulders, in shares of the trunk's length, along the
#: line to the mocap's head_top. Motion capture has no ears, and its heads differ by source: what
#: the ears' height of 0.28 to 0.53 would be, were it taken from head_top and thorax. Measured on
#: the video: 0.39 and 0.41, and 0.16 to 0.18 from ear to nose. Breadth and crown: adults' averages.
EAR_UP, EAR_OUT = 0.40, 0.15
NOSE_UP, NOSE_FORWARD = 0.37, 0.17
CROWN_UP = 0.68
NECK_UP = 0.05
#: Standard deviation of the head's size between clips, as a share. Assumed.
HEAD_SPREAD = 0.08

#: Standard deviation of the constant offset between clips along each axis of the body, in shares of
#: the trunk. A third of what COCO's annotators differ by (the constants of its object keypoint
#: similarity), for a person of 0.8 m (the root of the silhouette's area) and a trunk of 0.5 m: a
#: third is assumed.
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
    """The live conversion to h36m17 in terms of POINTS: (17, P) float32."""
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
    """(P, 3) in shares of the trunk: along the left, up and forward axes."""
    rows = []
    for point in POINTS:
        sided = point.startswith(("left_", "right_"))
        offset = model.offsets.get(kind_of(point), Offset())
        sign = (1.0 if point.startswith("left_") else -1.0) if sided else 0.0
        rows.append((sign * offset.out, offset.up, 0.0))
    return torch.tensor(rows)


def score_laws(law: ScoreLaw) -> Tensor:
    """(P, 2) mean and standard deviation of the logit."""
    by_kind = {
        **dict.fromkeys(("elbow", "wrist"), law.arms),
        **dict.fromkeys(("knee", "ankle"), law.legs),
    }
    return torch.tensor([by_kind.get(kind_of(p), law.core) for p in POINTS])
