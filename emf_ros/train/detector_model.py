"""What a 2D detector reports of people whose 3D joints are known: a measured noise model.

The model builds the points that a detector of a given layout marks on the body, projects them, errs
as detectors were measured to, and converts the result to h36m17 by the code that runs live.

"Measured" below means: by benchmarks/detector_errors.py, BlazePose "lite" and "full" against
"heavy" on one video of two people, as it is and in thirteen degradations. One video and one family
of detectors stand for all, so ranges reach beyond what was measured: spreads from two thirds of the
lowest to 1.2 times the highest, and rates of failures vary between clips as an exponential
distribution does. "Assumed" means that no measurement here tells it.

Lengths in the image are on the plane z = 1 or in shares of the person's size there: the diagonal of
the box around the h36m17 joints, mean over the window. Frames: the camera's optical frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..skeletons import H36M17, conversion_matrix, get_layout

#: Points nearer to the camera's plane have no picture, m.
NEAREST_M = 0.05

_FACE = ("nose", "left_ear", "right_ear")
_SIDED = tuple(
    f"{side}_{joint}"
    for side in ("left", "right")
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
)
#: The points of all layouts that h36m17 is made of. The last three are halpe26's own.
POINTS = (*_FACE, *_SIDED, "head", "neck", "hip")

#: Points that are hidden, lost and led astray together.
LIMBS = {
    "head": ("neck", "nose", "left_ear", "right_ear", "head"),
    "pelvis": ("hip",),
    **{f"{s}_arm": (f"{s}_shoulder", f"{s}_elbow", f"{s}_wrist") for s in ("left", "right")},
    **{f"{s}_leg": (f"{s}_hip", f"{s}_knee", f"{s}_ankle") for s in ("left", "right")},
}

#: How far out a point is on its limb: at the trunk, in its middle; all others are its end.
_DEPTH = {"neck": 0, "shoulder": 0, "hip": 0, "elbow": 1, "knee": 1}

#: How often limbs go astray. Measured: points of the face a quarter as much as the others.
ASTRAY_SHARE = {"head": 0.25, "pelvis": 0.25}

#: What is exchanged when left and right are taken for one another. Measured: the legs most, since
#: they cross in front of each other; hips and shoulders stay in place.
SWAPS = {
    "legs": ("knee", "ankle"),
    "arms": ("elbow", "wrist"),
    "body": ("ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
}


def _kind(point: str) -> str:
    """'left_hip' -> 'hip'; halpe26's own 'hip' is 'hip' too."""
    return point.split("_")[-1]


# ---------------------------------------------------------------------------------- layouts


@dataclass(frozen=True)
class Offset:
    """From a joint's centre to the point that a detector marks, in shares of the trunk's length.

    Attributes:
        out: sidewards, away from the body's middle.
        up: along the trunk, from hips to shoulders.
    """

    out: float = 0.0
    up: float = 0.0


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


# ---------------------------------------------------------------------------------- the errors


@dataclass(frozen=True)
class Failure:
    """Something that happens in bursts.

    Attributes:
        rate: share of the frames, mean over the clips, at the reference spread.
        length: mean number of frames that a burst lasts, at 30 Hz.
    """

    rate: float
    length: float


@dataclass(frozen=True)
class DetectorErrors:
    """How a detector errs; lengths in shares of the person's size in the image.

    Attributes:
        spread: standard deviation of the noise within a window, per axis, mean over the joints;
            drawn per clip, log-uniformly. Measured: 0.009 (one person, whom MediaPipe smooths) and
            0.010 to 0.022; 0.005 of "heavy" against its own low pass, as better detectors may have.
        slow_share: of the noise's variance that is in its slow process. Measured: 0.3 to 0.75.
        slow_correlation, fast_correlation: of the two first-order autoregressive processes from
            frame to frame at 30 Hz. Measured: 0.8 to 0.97, and 0.0 to 0.6.
        volatility: standard deviation of the logarithm of a factor on all of a frame's noise, and
            its correlation from frame to frame. Measured: 0.39 to 0.52, and 0.6 to 0.75.
        anisotropy: spread along x over that along y, per clip. Measured: 1.1 to 1.6, on people who
            move along x.
        bias: constant error per clip and point, over the spread. Measured, together with what the
            slow process leaves in a window's mean: 0.5 to 0.85. The value makes it 0.8, the upper
            end, since what is wrong in the reference too was not seen.
        difficulty: change of the logarithm of the spread per standard deviation of the score's
            logit. Measured: 0.2 to 0.3; points of score under 0.2 err 2 to 3 times as much as those
            over 0.99, no more.
        offsets: factor on the layouts' offsets and on OFFSET_SPREAD.
        astray: a limb, or its outer part, far from where it is. Measured: 2 to 17 % of all points,
            in bursts of 1.3 to 2 frames.
        astray_size: standard deviation of the displacement along each axis. Measured of those over
            0.1: median 0.16 to 0.18, 90th percentile 0.25 to 0.37.
        astray_logit: what the score's logit loses there. Measured: 1.2; it is no safe sign.
        legs_swapped, arms_swapped, body_swapped: left taken for right. Measured on someone walking
            past and someone facing the camera: legs 5 to 20 % of the frames, for 2 frames; both
            legs and arms, a back taken for a front, 0 to 4 %; arms alone hardly ever. Scores do
            not tell it. Legs are taken at half of that, since not everyone walks past.
        limb_lost: a limb with a low score or none, frozen, adrift or not reported. Measured: bursts
            of low scores last 3 to 7 frames; what other detectors report meanwhile is assumed.
        missing: frames without the person. Measured: 7 to 24 % in pictures in which the detector
            works at all, in bursts of 4 to 12 frames; a window is only made of what is left.
        edge_pull: how much of its way beyond the picture's edge a point is moved back, drawn per
            clip. Measured at cut off ankles: 10th percentile 0 to 0.2, median 0.3 to 0.8, 90th
            percentile 1.5 to 1.8; 30 to 65 % of the points beyond are reported inside.
        edge_spread: of a random displacement of points beyond the edge. With it knees and ankles
            that are cut off err as measured: 0.1 and 0.23 in the median.
        edge_logit: what the logit loses at the edge, and further per size beyond it. Measured: 3
            and 10, for median scores of 0.44 at knees and 0.14 at ankles that are cut off.
        edge_noise: growth of all noise per share of the points cut off. Measured: hips err by 0.035
            in place of 0.010 above legs that are cut off.
    """

    spread: tuple[float, float] = (0.005, 0.027)
    slow_share: tuple[float, float] = (0.3, 0.75)
    slow_correlation: tuple[float, float] = (0.75, 0.97)
    fast_correlation: tuple[float, float] = (0.0, 0.6)
    volatility: float = 0.45
    volatility_correlation: float = 0.75
    anisotropy: tuple[float, float] = (0.8, 1.5)
    bias: float = 0.6
    difficulty: float = 0.28
    offsets: float = 1.0
    astray: Failure = Failure(0.04, 1.4)
    astray_size: float = 0.14
    astray_logit: float = 1.2
    legs_swapped: Failure = Failure(0.03, 2.0)
    arms_swapped: Failure = Failure(0.005, 2.0)
    body_swapped: Failure = Failure(0.01, 4.0)
    limb_lost: Failure = Failure(0.02, 6.0)
    missing: Failure = Failure(0.06, 5.0)
    edge_pull: tuple[float, float] = (0.0, 1.5)
    edge_spread: float = 0.07
    edge_logit: tuple[float, float] = (3.0, 10.0)
    edge_noise: float = 4.0

    @classmethod
    def none(cls) -> DetectorErrors:
        """No error of place at all; scores keep their law."""
        never = Failure(0.0, 1.0)
        return cls(
            spread=(0.0, 0.0),
            offsets=0.0,
            astray=never,
            legs_swapped=never,
            arms_swapped=never,
            body_swapped=never,
            limb_lost=never,
            missing=never,
            edge_pull=(0.0, 0.0),
            edge_spread=0.0,
        )


#: Spread at which the failures have their rates; they grow in proportion. Measured from 0.010 to
#: 0.022: points astray grow by six, swapped legs by two.
REFERENCE_SPREAD = 0.014

#: Noise of the kinds of joints over the mean of all. Measured: mean over the
#: conditions; head and neck, which BlazePose does not mark, are assumed.
JOINT_SPREAD = {
    "nose": 0.67,
    "ear": 0.63,
    "shoulder": 0.88,
    "elbow": 1.13,
    "wrist": 1.08,
    "hip": 1.17,
    "knee": 1.29,
    "ankle": 1.15,
    "head": 0.8,
    "neck": 0.8,
}

#: Correlations of the noise of two points, along either axis. Measured: between the conditions;
#: those of halpe26's own points are assumed. "other" is the same joint's other side.
NOISE_CORRELATION = {
    ("nose", "ear"): 0.60,
    ("ear", "other ear"): 0.45,
    ("ear", "shoulder"): 0.40,
    ("nose", "shoulder"): 0.14,
    ("shoulder", "other shoulder"): -0.15,
    ("shoulder", "elbow"): 0.45,
    ("shoulder", "wrist"): 0.18,
    ("elbow", "wrist"): 0.60,
    ("shoulder", "hip"): 0.30,
    ("shoulder", "other hip"): -0.22,
    ("hip", "other hip"): 0.33,
    ("hip", "knee"): 0.35,
    ("hip", "ankle"): 0.16,
    ("knee", "ankle"): 0.42,
    ("knee", "other knee"): -0.15,
    ("ankle", "other ankle"): -0.15,
    ("knee", "other ankle"): -0.10,
    ("head", "nose"): 0.50,
    ("head", "ear"): 0.50,
    ("neck", "shoulder"): 0.45,
    ("neck", "ear"): 0.30,
    ("hip centre", "hip"): 0.60,
}


def _noise_correlation(a: str, b: str) -> float:
    """The entry of NOISE_CORRELATION for two points; 0 where there is none."""
    if a == b:
        return 1.0
    name = {"hip": "hip centre"}
    kinds = [name.get(p, _kind(p)) for p in (a, b)]
    opposite = {a.split("_")[0], b.split("_")[0]} == {"left", "right"}
    for one, two in (kinds, kinds[::-1]):
        found = NOISE_CORRELATION.get((one, f"other {two}" if opposite else two))
        if found is not None:
            return found
    return 0.0


def point_correlation() -> Tensor:
    """(P, P) float64, positive definite."""
    rows = [[_noise_correlation(a, b) for b in POINTS] for a in POINTS]
    return torch.tensor(rows, dtype=torch.float64)


# ---------------------------------------------------------------------------------- the model


@dataclass
class Clip:
    """What is drawn once per clip.

    Attributes:
        layout: (B,) index into the layouts.
        spread: (B, 1, 1, 1) of the noise, share of the size.
        size: (B, 1, 1, 1) of the person on the plane z = 1.
    """

    layout: Tensor
    spread: Tensor
    size: Tensor

    @cached_property
    def severity(self) -> Tensor:
        """(B, 1) factor on the rates of failures; 1 where there is no noise to go by."""
        spread = self.spread[:, :, 0, 0]
        return torch.where(spread > 0, spread / REFERENCE_SPREAD, torch.ones_like(spread))


class DetectorModel:
    """Turns windows of 3D joints into what a detector would report of them.

    Args:
        device: to work on.
        generator: that all here is drawn from, on that device.
        errors: their ranges.
        layouts: which are drawn from.
    """

    def __init__(
        self,
        device: torch.device,
        generator: torch.Generator,
        errors: DetectorErrors,
        layouts: tuple[str, ...] = tuple(LAYOUT_MODELS),
    ) -> None:
        self.device, self.generator, self.errors = device, generator, errors
        models = [LAYOUT_MODELS[name] for name in layouts]
        shares = torch.tensor([m.share for m in models], device=device)
        self.layout_bounds = shares.cumsum(0) / shares.sum()
        self.weights = torch.stack([conversion_weights(n) for n in layouts]).to(device)
        self.offset_means = torch.stack([_offset_means(m) for m in models]).to(device)
        laws = torch.stack([_score_laws(m.scores) for m in models]).to(device)
        self.logit_mean, self.logit_spread = laws[..., 0], laws[..., 1]
        self.floors = torch.tensor([m.scores.floor for m in models], device=device)
        kinds = [_kind(p) for p in POINTS]
        self.offset_spread = torch.tensor([OFFSET_SPREAD[k] for k in kinds], device=device)
        self.joint_spread = torch.tensor([JOINT_SPREAD[k] for k in kinds], device=device)
        self.mixing = torch.linalg.cholesky(point_correlation()).float().to(device)
        self.mirror = torch.tensor([POINTS.index(_other_side(p)) for p in POINTS], device=device)
        self.swaps = {
            name: torch.tensor([p != _other_side(p) and _kind(p) in s for p in POINTS]).to(device)
            for name, s in SWAPS.items()
        }
        limb_of = {p: i for i, points in enumerate(LIMBS.values()) for p in points}
        self.limb_of = torch.tensor([limb_of[p] for p in POINTS], device=device)
        self.limb_depth = torch.tensor([_DEPTH.get(k, 2) for k in kinds], device=device)
        self.limb_side = torch.tensor(
            [[float(name.startswith(s)) for name in LIMBS] for s in ("left", "right")],
            device=device,
        )
        self.astray_share = torch.tensor([ASTRAY_SHARE.get(n, 1.0) for n in LIMBS], device=device)
        self.astray_bounds = torch.tensor([0.2, 0.6], device=device)

    # ------------------------------------------------------------------------------ draws

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * self.rand(*shape)

    def log_uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        """Zero where the limits are."""
        if limits[1] == 0:
            return torch.zeros(*shape, device=self.device)
        return limits[0] * (limits[1] / limits[0]) ** self.rand(*shape)

    def autoregressive(self, batch: int, frames: int, width: int, correlation: float) -> Tensor:
        """(B, T, width) stationary first-order processes of unit variance."""
        one = torch.full((1,), correlation, device=self.device)
        factor = torch.linalg.cholesky(_ar_covariance(frames, one))
        return factor @ self.randn(batch, frames, width)

    def bursts(self, failure: Failure, severity: Tensor, frames: int) -> Tensor:
        """Which frames a failure touches: (B, T, K) bool, K independent processes.

        Bursts begin at random, also before the clip, and last a geometrically distributed number of
        frames; where they overlap they join. The clips' rates are exponentially distributed, so
        that most clips have less than the mean and some much more.

        Args:
            failure: its mean rate and length.
            severity: (B, K) factors on the rate.
            frames: T.
        """
        batch, width = severity.shape
        before = math.ceil(4 * failure.length)
        rate = failure.rate * severity * -torch.log1p(-self.rand(batch, 1))
        # An M/G/inf queue is busy for the share 1 - exp(-load) of the time.
        start = -torch.log1p(-rate.clamp(max=0.6))[:, None] / failure.length
        total = before + frames
        starts = self.rand(batch, total, width) < start
        if failure.length > 1:
            stay = math.log(1 - 1 / failure.length)
            length = 1 + torch.floor(torch.log1p(-self.rand(batch, total, width)) / stay)
        else:
            length = torch.ones(batch, total, width, device=self.device)
        index = torch.arange(total, device=self.device)[:, None]
        until = torch.where(starts, index + length, torch.zeros_like(length))
        return (until.cummax(dim=1).values > index)[:, before:]

    # ------------------------------------------------------------------------------ observation

    def observe(
        self, joints: Tensor, half_width: Tensor, half_height: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What a detector would report.

        Args:
            joints: (B, T, 17, 3) m, h36m17, in the camera's optical frame.
            half_width, half_height: (B,) half the picture on the plane z = 1.

        Returns:
            rays (B, T, 17, 2), finite, and scores (B, T, 17), 0 where nothing is reported.
        """
        points, scores, clip = self.mark(joints, half_width, half_height)
        rays, scores = self.to_h36m17(points, scores, clip.layout)
        return rays, self.drop_unreported(scores, clip)

    def mark(
        self, joints: Tensor, half_width: Tensor, half_height: Tensor
    ) -> tuple[Tensor, Tensor, Clip]:
        """The detector's own points (B, T, P, 2) and scores (B, T, P), before the conversion; see
        `observe`."""
        e = self.errors
        batch, frames = joints.shape[:2]
        exact = _project(joints)
        size = (exact.amax(dim=2) - exact.amin(dim=2)).norm(dim=-1).mean(dim=1)
        clip = Clip(
            torch.bucketize(self.rand(batch), self.layout_bounds[:-1]),
            self.log_uniform(e.spread, batch, 1, 1, 1),
            size.clamp(min=1e-6)[:, None, None, None],
        )
        body = self.body_points(joints, clip.layout)
        points = _project(body)
        beyond = self.beyond_edges(points, half_width, half_height)
        difficulty = self.difficulty(batch, frames)
        logits = self.logits(clip, difficulty)
        noise = self.noise(clip, difficulty, beyond)
        points = points + (noise + self.bias(clip)) * clip.size
        points, logits = self.lead_astray(points, logits, clip)
        points, logits = self.cut_at_edges(points, logits, beyond, clip)
        points = self.swap_sides(points, clip)
        scores = torch.sigmoid(logits) * (body[..., 2] > NEAREST_M)
        return *self.lose_limbs(points, scores, clip), clip

    def body_points(self, joints: Tensor, layout: Tensor) -> Tensor:
        """The points that detectors mark on the body.

        Args:
            joints: (B, T, 17, 3) m.
            layout: (B,) index.

        Returns:
            (B, T, P, 3) m, POINTS, in the same frame.
        """

        def joint(name: str) -> Tensor:
            return joints[:, :, H36M17.index(name)]

        shoulders = 0.5 * (joint("left_shoulder") + joint("right_shoulder"))
        hips = 0.5 * (joint("left_hip") + joint("right_hip"))
        trunk = (shoulders - hips).norm(dim=-1).mean(dim=1)[:, None, None]
        up = _unit(shoulders - hips)
        left = {
            "shoulder": _unit(joint("left_shoulder") - joint("right_shoulder")),
            "hip": _unit(joint("left_hip") - joint("right_hip")),
        }
        # The head's axes: along the neck, to the face, and to the left ear.
        axis = _unit(joint("head_top") - shoulders)
        face = joint("nose") - shoulders
        face = _unit(face - (face * axis).sum(-1, keepdim=True) * axis)
        side = torch.linalg.cross(axis, face)
        drawn = HEAD_SPREAD * self.randn(len(joints), 1, 1)
        head = trunk * (1 + self.errors.offsets * drawn)
        built = {
            "nose": shoulders + head * (NOSE_UP * axis + NOSE_FORWARD * face),
            "left_ear": shoulders + head * (EAR_UP * axis + EAR_OUT * side),
            "right_ear": shoulders + head * (EAR_UP * axis - EAR_OUT * side),
            "head": shoulders + head * CROWN_UP * axis,
            "neck": shoulders + head * NECK_UP * axis,
            "hip": hips,
        }
        points = torch.stack([built[p] if p in built else joint(p) for p in POINTS], dim=2)
        if self.errors.offsets == 0:
            return points
        # Offsets turn with the trunk; those of the shoulders and hips go along their own line.
        lateral = torch.stack(
            [left["hip" if _kind(p) in ("hip", "knee", "ankle") else "shoulder"] for p in POINTS],
            dim=2,
        )
        upward = up[:, :, None].expand_as(lateral)
        forward = torch.linalg.cross(lateral, upward)
        means = self.offset_means[layout]
        own = self.offset_spread[:, None] * self.randn(len(joints), len(POINTS), 3)
        offset = self.errors.offsets * (means + own)[:, None]
        axes = torch.stack([lateral, upward, forward], dim=-2)
        return points + trunk[..., None] * torch.einsum(
            "btpk,btpkc->btpc", offset.expand(-1, joints.shape[1], -1, -1), axes
        )

    def difficulty(self, batch: int, frames: int) -> Tensor:
        """How hard each point is to see, standard normal: (B, T, P).

        It is nearly one value for a limb, and the limbs of a side have a part in common, that of
        the body turned away. Half of its variance lasts the clip. Measured: logits of elbow and
        wrist, and of knee and ankle, correlate by 0.9; those of a side's knee and elbow by 0.2 to
        0.7; a limb's from frame to frame by 0.6 to 0.93.
        """
        lasting = self.randn(batch, 1, len(LIMBS))
        passing = self.autoregressive(batch, frames, len(LIMBS), 0.93)
        limb = math.sqrt(0.5) * (lasting + passing)
        sided = self.limb_side.sum(dim=0)
        common = self.randn(batch, 1, 2) @ self.limb_side
        limb = (1 - 0.4 * sided).sqrt() * limb + math.sqrt(0.4) * common
        own = self.autoregressive(batch, frames, len(POINTS), 0.7)
        return math.sqrt(0.95) * limb[..., self.limb_of] + math.sqrt(0.05) * own

    def logits(self, clip: Clip, difficulty: Tensor) -> Tensor:
        """(B, T, P) of the scores, by the law of the clip's layout."""
        mean, deviation = self.logit_mean[clip.layout], self.logit_spread[clip.layout]
        return mean[:, None] - deviation[:, None] * difficulty

    def noise(self, clip: Clip, difficulty: Tensor, beyond: Tensor) -> Tensor:
        """Noise of zero mean in shares of the size, (B, T, P, 2).

        A slow and a fast autoregressive process, correlated between the points, under a volatility
        that all points of a frame share and that makes the tails heavy.
        """
        e = self.errors
        batch, frames, count = difficulty.shape
        share = self.uniform(e.slow_share, batch)[:, None, None]
        covariance = share * _ar_covariance(frames, self.uniform(e.slow_correlation, batch))
        covariance = covariance + (1 - share) * _ar_covariance(
            frames, self.uniform(e.fast_correlation, batch)
        )
        white = self.randn(batch, frames, 2 * count)
        noise = (torch.linalg.cholesky(covariance) @ white).view(batch, frames, 2, count)
        noise = (noise @ self.mixing.mT).transpose(2, 3)
        calm = self.autoregressive(batch, frames, 1, e.volatility_correlation)
        log_scale = e.volatility * calm + e.difficulty * difficulty
        # The mean square of exp(s z) is exp(2 s^2): the spread stays the spread.
        log_scale = log_scale - e.volatility**2 - e.difficulty**2
        cut = (beyond.amax(dim=-1) > 0).float().mean(dim=2, keepdim=True)
        scale = clip.spread[..., 0] * self.joint_spread * log_scale.exp() * (1 + e.edge_noise * cut)
        ratio = self.log_uniform(e.anisotropy, batch, 1, 1)
        axes = torch.stack([ratio.sqrt(), 1 / ratio.sqrt()], dim=-1)
        return noise * scale[..., None] * axes

    def bias(self, clip: Clip) -> Tensor:
        """A constant error in shares of the size, (B, 1, P, 2), correlated as the noise is."""
        drawn = self.randn(len(clip.layout), 1, 2, len(POINTS)) @ self.mixing.mT
        return self.errors.bias * clip.spread * self.joint_spread[:, None] * drawn.transpose(2, 3)

    def lead_astray(self, points: Tensor, logits: Tensor, clip: Clip) -> tuple[Tensor, Tensor]:
        """Short jumps of a whole limb, its outer two points or its end, growing outwards."""
        e = self.errors
        batch, frames, _ = logits.shape
        astray = self.bursts(e.astray, clip.severity * self.astray_share, frames)[..., self.limb_of]
        # Measured: one point in two fifths of the cases, two as often, more in the rest.
        inner = torch.bucketize(self.rand(batch, 1, len(LIMBS)), self.astray_bounds)
        astray = astray & (self.limb_depth >= inner[..., self.limb_of])
        jump = e.astray_size * self.autoregressive(batch, frames, 2 * len(LIMBS), 0.8)
        jump = jump.view(batch, frames, len(LIMBS), 2)
        jump = jump[:, :, self.limb_of] * (0.4 + 0.3 * self.limb_depth)[:, None]
        points = points + torch.where(astray[..., None], jump * clip.size, torch.zeros_like(points))
        return points, logits - e.astray_logit * astray

    def beyond_edges(self, points: Tensor, half_width: Tensor, half_height: Tensor) -> Tensor:
        """How far points (B, T, P, 2) lie outside the picture along each axis, >= 0."""
        half = torch.stack([half_width, half_height], dim=-1)[:, None, None]
        return (points.abs() - half).clamp(min=0)

    def cut_at_edges(
        self, points: Tensor, logits: Tensor, beyond: Tensor, clip: Clip
    ) -> tuple[Tensor, Tensor]:
        """Points beyond the picture are guesses, squeezed towards it, and mostly known to be so."""
        e = self.errors
        batch, _, count = logits.shape
        pull = self.uniform(e.edge_pull, batch, 1, 1, 1)
        guess = e.edge_spread * clip.size * self.randn(batch, 1, count, 2)
        outside = beyond.amax(dim=-1) > 0
        moved = points - pull * beyond * points.sign() + guess
        honest = self.uniform((0.2, 1.2), batch, 1, 1)
        depth = beyond.norm(dim=-1) / clip.size[..., 0]
        loss = honest * (e.edge_logit[0] + e.edge_logit[1] * depth.clamp(max=1.0))
        return torch.where(outside[..., None], moved, points), logits - loss * outside

    def swap_sides(self, points: Tensor, clip: Clip) -> Tensor:
        """Left for right; scores do not change, as measured."""
        e = self.errors
        frames = points.shape[1]
        failures = {"legs": e.legs_swapped, "arms": e.arms_swapped, "body": e.body_swapped}
        for name, failure in failures.items():
            swapped = self.bursts(failure, clip.severity, frames) & self.swaps[name]
            points = torch.where(swapped[..., None], points[:, :, self.mirror], points)
        return points

    def lose_limbs(self, points: Tensor, scores: Tensor, clip: Clip) -> tuple[Tensor, Tensor]:
        """Limbs that are frozen or adrift under a low score, or not reported at all."""
        batch, frames, count = scores.shape
        lost = self.bursts(self.errors.limb_lost, clip.severity.expand(-1, len(LIMBS)), frames)
        lost = lost[..., self.limb_of] & (self.limb_depth > 0)
        row = torch.arange(batch, device=self.device)
        frozen = points[row, (self.rand(batch) * frames).long()][:, None]
        adrift = points + 0.07 * clip.size * self.randn(batch, 1, count, 2)
        kind = self.rand(batch, 1, 1)
        # Some detectors freeze a limb or report nothing of it; BlazePose never does.
        guesses = (self.floors[clip.layout] == 0)[:, None, None]
        instead = torch.where(((kind < 0.5) & ~guesses)[..., None], frozen, adrift)
        reported = (kind < 0.7) | guesses
        low = 0.35 * self.rand(batch, 1, 1) * self.rand(batch, frames, 1) * reported
        return (
            torch.where(lost[..., None], instead, points),
            torch.where(lost, torch.minimum(low, scores), scores),
        )

    def to_h36m17(self, points: Tensor, scores: Tensor, layout: Tensor) -> tuple[Tensor, Tensor]:
        """The live conversion: weighted sums, and the lowest score of what a joint is made of."""
        weights = self.weights[layout]
        rays = torch.einsum("bjp,btpc->btjc", weights, points)
        unused = torch.where(weights != 0, 0.0, torch.inf)[:, None]
        return rays, (scores[:, :, None] + unused).amin(dim=-1)

    def drop_unreported(self, scores: Tensor, clip: Clip) -> Tensor:
        """Score 0 in frames without the person, and for scores under some detectors' floor."""
        batch, frames, _ = scores.shape
        missing = self.bursts(self.errors.missing, clip.severity, frames)
        # Someone who is gone for most of a window is not tracked, and has none.
        missing = missing & (missing.float().mean(dim=1, keepdim=True) <= 0.5)
        has_floor = self.rand(batch) < self.floors[clip.layout]
        floor = (0.3 * self.rand(batch) * has_floor)[:, None, None]
        return torch.where(missing | (scores < floor), torch.zeros_like(scores), scores)


def _project(points: Tensor) -> Tensor:
    """(..., 3) m -> (..., 2) on the plane z = 1; what is too near is held at NEAREST_M."""
    return points[..., :2] / points[..., 2:].clamp(min=NEAREST_M)


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True).clamp(min=1e-6)


def _ar_covariance(frames: int, correlation: Tensor) -> Tensor:
    """(B,) -> (B, T, T): correlation to the power of the frames between."""
    index = torch.arange(frames, device=correlation.device)
    return correlation[:, None, None] ** (index[:, None] - index).abs()


def _other_side(point: str) -> str:
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if point.startswith(side):
            return other + point.removeprefix(side)
    return point


def _offset_means(model: LayoutModel) -> Tensor:
    """(P, 3) in shares of the trunk: along the left, up and forward axes."""
    rows = []
    for point in POINTS:
        sided = point.startswith(("left_", "right_"))
        offset = model.offsets.get(_kind(point), Offset())
        sign = (1.0 if point.startswith("left_") else -1.0) if sided else 0.0
        rows.append((sign * offset.out, offset.up, 0.0))
    return torch.tensor(rows)


def _score_laws(law: ScoreLaw) -> Tensor:
    """(P, 2) mean and standard deviation of the logit."""
    by_kind = {
        **dict.fromkeys(("elbow", "wrist"), law.arms),
        **dict.fromkeys(("knee", "ankle"), law.legs),
    }
    return torch.tensor([by_kind.get(_kind(p), law.core) for p in POINTS])
