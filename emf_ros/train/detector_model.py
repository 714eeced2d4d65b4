"""A simulated 2D detector: a measured noise model for people whose 3D joints are known.

The model builds the points that a detector of a layout marks on the body, and projects them. It
adds errors as measured, and converts the result to h36m17 by the code that runs live.

"Measured" means by benchmarks/detector_errors.py: BlazePose "lite" and "full" against "heavy", on
one video of two people and on thirteen degradations of it. One video and one family of detectors
stand for all. The ranges are therefore wider than measured: spreads from two thirds of the lowest
to 1.2 times the highest. Rates of failures differ between clips by an exponential distribution.
"Assumed" means not measured.

Lengths in the image are on the plane z = 1, or in shares of the person's size there. The size is
the diagonal of the box around the h36m17 joints, mean over the window. 3D points are in the
camera's optical frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..skeletons import H36M17
from .detector_errors import (
    JOINT_SPREAD,
    REFERENCE_SPREAD,
    DetectorErrors,
    Failure,
    point_correlation,
)
from .detector_layouts import (
    CROWN_UP,
    EAR_OUT,
    EAR_UP,
    HEAD_SPREAD,
    LAYOUT_MODELS,
    NECK_UP,
    NOSE_FORWARD,
    NOSE_UP,
    OFFSET_SPREAD,
    POINTS,
    conversion_weights,
    kind_of,
    offset_means,
    other_side,
    score_laws,
)
from .vectors import unit

#: Minimum depth of a point that is observed, m.
NEAREST_M = 0.05

#: Points that are occluded, lost and displaced together, by limb.
LIMBS = {
    "head": ("neck", "nose", "left_ear", "right_ear", "head"),
    "pelvis": ("hip",),
    **{f"{s}_arm": (f"{s}_shoulder", f"{s}_elbow", f"{s}_wrist") for s in ("left", "right")},
    **{f"{s}_leg": (f"{s}_hip", f"{s}_knee", f"{s}_ankle") for s in ("left", "right")},
}

#: Position of a point on its limb: 0 at the trunk, 1 in the middle. All others are the end, 2.
_DEPTH = {"neck": 0, "shoulder": 0, "hip": 0, "elbow": 1, "knee": 1}

#: Factor on the rate at which limbs go astray, 1 where not given. Measured: a quarter for the face.
ASTRAY_SHARE = {"head": 0.25, "pelvis": 0.25}

#: Kinds of joints that a left/right swap exchanges. Measured: legs swap most, since they cross in
#: front of each other. Hips and shoulders then stay in place.
SWAPS = {
    "legs": ("knee", "ankle"),
    "arms": ("elbow", "wrist"),
    "body": ("ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
}


@dataclass
class Clip:
    """Values that are drawn once per clip.

    Attributes:
        layout: (B,) index of the layout.
        spread: (B, 1, 1, 1) spread of the noise, share of the size.
        size: (B, 1, 1, 1) size of the person on the plane z = 1.
    """

    layout: Tensor
    spread: Tensor
    size: Tensor

    @cached_property
    def severity(self) -> Tensor:
        """(B, 1) factor on the rates of failures; 1 without noise."""
        spread = self.spread[:, :, 0, 0]
        return torch.where(spread > 0, spread / REFERENCE_SPREAD, torch.ones_like(spread))


class DetectorModel:
    """Turns windows of 3D joints into keypoints of a simulated detector.

    Args:
        device: where the keypoints are made.
        generator: random generator on that device.
        errors: ranges of the errors.
        layouts: names of the layouts that are drawn from.
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
        self.offset_means = torch.stack([offset_means(m) for m in models]).to(device)
        laws = torch.stack([score_laws(m.scores) for m in models]).to(device)
        self.logit_mean, self.logit_spread = laws[..., 0], laws[..., 1]
        self.floors = torch.tensor([m.scores.floor for m in models], device=device)
        kinds = [kind_of(p) for p in POINTS]
        self.offset_spread = torch.tensor([OFFSET_SPREAD[k] for k in kinds], device=device)
        self.joint_spread = torch.tensor([JOINT_SPREAD[k] for k in kinds], device=device)
        self.mixing = torch.linalg.cholesky(point_correlation()).float().to(device)
        self.mirror = torch.tensor([POINTS.index(other_side(p)) for p in POINTS], device=device)
        self.swaps = {
            name: torch.tensor([p != other_side(p) and kind_of(p) in s for p in POINTS]).to(device)
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
        """Uniform in [0, 1)."""
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        """Uniform between the limits."""
        return limits[0] + (limits[1] - limits[0]) * self.rand(*shape)

    def log_uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        """Log-uniform between the limits; zero where the upper limit is zero."""
        if limits[1] == 0:
            return torch.zeros(*shape, device=self.device)
        return limits[0] * (limits[1] / limits[0]) ** self.rand(*shape)

    def autoregressive(self, batch: int, frames: int, width: int, correlation: float) -> Tensor:
        """(B, T, width) stationary first-order autoregressive processes of unit variance."""
        one = torch.full((1,), correlation, device=self.device)
        factor, _ = torch.linalg.cholesky_ex(_ar_covariance(frames, one))
        return factor @ self.randn(batch, frames, width)

    def bursts(self, failure: Failure, severity: Tensor, frames: int) -> Tensor:
        """Frames of a failure: (B, T, K) bool, K independent processes.

        Bursts begin at random, also before the clip. Their length has a geometric distribution, and
        overlapping bursts join. The rates of the clips have an exponential distribution: most are
        below the mean, and some are far above it.

        Args:
            failure: mean rate and length.
            severity: (B, K) factors on the rate.
            frames: T.
        """
        batch, width = severity.shape
        before = math.ceil(4 * failure.length)
        rate = failure.rate * severity * -torch.log1p(-self.rand(batch, 1))
        # An M/G/inf queue is busy for a share 1 - exp(-load) of the time.
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
        """The keypoints of the simulated detector, converted to h36m17.

        Args:
            joints: (B, T, 17, 3) m, h36m17, in the camera's optical frame.
            half_width: (B,) half the image's width on the plane z = 1.
            half_height: (B,) half the image's height on the plane z = 1.

        Returns:
            rays (B, T, 17, 2), finite, and scores (B, T, 17), 0 where nothing is reported.
        """
        points, scores, clip = self.mark(joints, half_width, half_height)
        rays, scores = self.to_h36m17(points, scores, clip.layout)
        return rays, self.drop_unreported(scores, clip)

    def mark(
        self, joints: Tensor, half_width: Tensor, half_height: Tensor
    ) -> tuple[Tensor, Tensor, Clip]:
        """The points (B, T, P, 2) and scores (B, T, P) of the detector before the conversion.

        Arguments are those of `observe`.
        """
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
        """The points that the detectors mark on the body.

        Args:
            joints: (B, T, 17, 3) m.
            layout: (B,) index of the layout.

        Returns:
            (B, T, P, 3) m, POINTS, in the frame of the joints.
        """

        def joint(name: str) -> Tensor:
            return joints[:, :, H36M17.index(name)]

        shoulders = 0.5 * (joint("left_shoulder") + joint("right_shoulder"))
        hips = 0.5 * (joint("left_hip") + joint("right_hip"))
        trunk = (shoulders - hips).norm(dim=-1).mean(dim=1)[:, None, None]
        up = unit(shoulders - hips)
        left = {
            "shoulder": unit(joint("left_shoulder") - joint("right_shoulder")),
            "hip": unit(joint("left_hip") - joint("right_hip")),
        }
        # The head's axes: along the neck, to the face, and to the left ear.
        axis = unit(joint("head_top") - shoulders)
        face = joint("nose") - shoulders
        face = unit(face - (face * axis).sum(-1, keepdim=True) * axis)
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
        # Offsets turn with the trunk. Sideways is along the line of the shoulders or of the hips.
        lateral = torch.stack(
            [left["hip" if kind_of(p) in ("hip", "knee", "ankle") else "shoulder"] for p in POINTS],
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
        """(B, T, P) difficulty of each point for the detector, standard normal.

        It is nearly one value per limb. The limbs of a side share a part, since the body may be
        turned away. Half of the variance is constant over the clip. Measured correlations of
        logits: 0.9 of elbow and wrist, and of knee and ankle; 0.2 to 0.7 of knee and elbow of a
        side; 0.6 to 0.93 of a limb from frame to frame.
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
        """(B, T, P) logits of the scores, as the layout of each clip distributes them."""
        mean, deviation = self.logit_mean[clip.layout], self.logit_spread[clip.layout]
        return mean[:, None] - deviation[:, None] * difficulty

    def noise(self, clip: Clip, difficulty: Tensor, beyond: Tensor) -> Tensor:
        """(B, T, P, 2) noise of zero mean, in shares of the size.

        It is the sum of a slow and a fast autoregressive process, correlated between the points.
        All points of a frame share a random factor, the volatility, which makes the tails heavy.
        """
        e = self.errors
        batch, frames, count = difficulty.shape
        share = self.uniform(e.slow_share, batch)[:, None, None]
        covariance = share * _ar_covariance(frames, self.uniform(e.slow_correlation, batch))
        covariance = covariance + (1 - share) * _ar_covariance(
            frames, self.uniform(e.fast_correlation, batch)
        )
        white = self.randn(batch, frames, 2 * count)
        # A check of the result would wait for the GPU.
        factor, _ = torch.linalg.cholesky_ex(covariance)
        noise = (factor @ white).view(batch, frames, 2, count)
        noise = (noise @ self.mixing.mT).transpose(2, 3)
        calm = self.autoregressive(batch, frames, 1, e.volatility_correlation)
        log_scale = e.volatility * calm + e.difficulty * difficulty
        # The mean square of exp(s z) is exp(2 s^2). Dividing by it keeps the spread.
        log_scale = log_scale - e.volatility**2 - e.difficulty**2
        cut = (beyond.amax(dim=-1) > 0).float().mean(dim=2, keepdim=True)
        scale = clip.spread[..., 0] * self.joint_spread * log_scale.exp() * (1 + e.edge_noise * cut)
        ratio = self.log_uniform(e.anisotropy, batch, 1, 1)
        axes = torch.stack([ratio.sqrt(), 1 / ratio.sqrt()], dim=-1)
        return noise * scale[..., None] * axes

    def bias(self, clip: Clip) -> Tensor:
        """(B, 1, P, 2) constant error, in shares of the size, correlated as the noise."""
        drawn = self.randn(len(clip.layout), 1, 2, len(POINTS)) @ self.mixing.mT
        return self.errors.bias * clip.spread * self.joint_spread[:, None] * drawn.transpose(2, 3)

    def lead_astray(self, points: Tensor, logits: Tensor, clip: Clip) -> tuple[Tensor, Tensor]:
        """Displace a limb, its outer two points or its end for short bursts, more at the end."""
        e = self.errors
        batch, frames, _ = logits.shape
        astray = self.bursts(e.astray, clip.severity * self.astray_share, frames)[..., self.limb_of]
        # Measured: one point in 40 % of the cases, two in 40 %, more in 20 %.
        inner = torch.bucketize(self.rand(batch, 1, len(LIMBS)), self.astray_bounds)
        astray = astray & (self.limb_depth >= inner[..., self.limb_of])
        jump = e.astray_size * self.autoregressive(batch, frames, 2 * len(LIMBS), 0.8)
        jump = jump.view(batch, frames, len(LIMBS), 2)
        jump = jump[:, :, self.limb_of] * (0.4 + 0.3 * self.limb_depth)[:, None]
        points = points + torch.where(astray[..., None], jump * clip.size, torch.zeros_like(points))
        return points, logits - e.astray_logit * astray

    def beyond_edges(self, points: Tensor, half_width: Tensor, half_height: Tensor) -> Tensor:
        """Distance of points (B, T, P, 2) beyond the image's edge along each axis, >= 0."""
        half = torch.stack([half_width, half_height], dim=-1)[:, None, None]
        return (points.abs() - half).clamp(min=0)

    def cut_at_edges(
        self, points: Tensor, logits: Tensor, beyond: Tensor, clip: Clip
    ) -> tuple[Tensor, Tensor]:
        """Move truncated points towards the image, and lower their scores."""
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
        """Swap left and right. Scores do not change, as measured."""
        e = self.errors
        frames = points.shape[1]
        failures = {"legs": e.legs_swapped, "arms": e.arms_swapped, "body": e.body_swapped}
        for name, failure in failures.items():
            swapped = self.bursts(failure, clip.severity, frames) & self.swaps[name]
            points = torch.where(swapped[..., None], points[:, :, self.mirror], points)
        return points

    def lose_limbs(self, points: Tensor, scores: Tensor, clip: Clip) -> tuple[Tensor, Tensor]:
        """Freeze or displace limbs under a low score, or do not report them."""
        batch, frames, count = scores.shape
        lost = self.bursts(self.errors.limb_lost, clip.severity.expand(-1, len(LIMBS)), frames)
        lost = lost[..., self.limb_of] & (self.limb_depth > 0)
        row = torch.arange(batch, device=self.device)
        frozen = points[row, (self.rand(batch) * frames).long()][:, None]
        adrift = points + 0.07 * clip.size * self.randn(batch, 1, count, 2)
        kind = self.rand(batch, 1, 1)
        # Some detectors freeze a limb or do not report it. BlazePose does neither.
        guesses = (self.floors[clip.layout] == 0)[:, None, None]
        instead = torch.where(((kind < 0.5) & ~guesses)[..., None], frozen, adrift)
        reported = (kind < 0.7) | guesses
        low = 0.35 * self.rand(batch, 1, 1) * self.rand(batch, frames, 1) * reported
        return (
            torch.where(lost[..., None], instead, points),
            torch.where(lost, torch.minimum(low, scores), scores),
        )

    def to_h36m17(self, points: Tensor, scores: Tensor, layout: Tensor) -> tuple[Tensor, Tensor]:
        """The live conversion: weighted sums of points, and the lowest of their scores."""
        weights = self.weights[layout]
        rays = torch.einsum("bjp,btpc->btjc", weights, points)
        unused = torch.where(weights != 0, 0.0, torch.inf)[:, None]
        return rays, (scores[:, :, None] + unused).amin(dim=-1)

    def drop_unreported(self, scores: Tensor, clip: Clip) -> Tensor:
        """Set scores to 0 in frames without the person, and below the floor of some detectors."""
        batch, frames, _ = scores.shape
        missing = self.bursts(self.errors.missing, clip.severity, frames)
        # A person who is missing for most of a window is not tracked, and has no window.
        missing = missing & (missing.float().mean(dim=1, keepdim=True) <= 0.5)
        has_floor = self.rand(batch) < self.floors[clip.layout]
        floor = (0.3 * self.rand(batch) * has_floor)[:, None, None]
        return torch.where(missing | (scores < floor), torch.zeros_like(scores), scores)


def _project(points: Tensor) -> Tensor:
    """(..., 3) m -> (..., 2) on the plane z = 1, with depths of at least `NEAREST_M`."""
    return points[..., :2] / points[..., 2:].clamp(min=NEAREST_M)


def _ar_covariance(frames: int, correlation: Tensor) -> Tensor:
    """(B,) -> (B, T, T), correlation to the power of the distance in frames."""
    index = torch.arange(frames, device=correlation.device)
    return correlation[:, None, None] ** (index[:, None] - index).abs()
