"""From motion to what the live system would hand the model: random cameras and a faulty detector.

Everything is vectorised in torch and runs on the training device. Lengths are metres; angles in the
configurations are degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera import canonical_window
from ..skeletons import DERIVED_IN_H36M17, H36M17


@dataclass(frozen=True)
class CameraRanges:
    """Where the camera is and what it is."""

    distance_m: tuple[float, float] = (1.2, 8.0)
    pitch_deg: tuple[float, float] = (-25.0, 50.0)
    roll_deg: float = 10.0
    fov_deg: tuple[float, float] = (40.0, 100.0)
    aspect: tuple[float, float] = (0.56, 1.0)
    body_scale: tuple[float, float] = (0.88, 1.12)
    speed: tuple[float, float] = (0.7, 1.4)
    mirror: float = 0.5


@dataclass(frozen=True)
class DetectorErrors:
    """How a 2D detector errs. Spreads are shares of the person's size in the image.

    Attributes:
        spread: standard deviation of the joints' noise, drawn per clip from this range.
        correlation: of the noise between frames, drawn per clip.
        bias: standard deviation of an offset per joint that lasts the whole clip.
        dropout: share of clips in which limbs are lost for a stretch.
        swap: share of clips with left and right exchanged for a few frames.
        missing_frames: share of clips with frames without any keypoint.
        replicated_start: share of clips that begin with their first frame repeated, as the live
            system fills a young track's window.
    """

    spread: tuple[float, float] = (0.002, 0.022)
    correlation: tuple[float, float] = (0.2, 0.9)
    bias: float = 0.014
    dropout: float = 0.35
    swap: float = 0.06
    missing_frames: float = 0.15
    replicated_start: float = 0.15


#: Noise of each joint over the average one: ends of limbs are found worst.
_JOINT_SPREAD = {
    **{j: 0.7 for j in ("nose", "head_top", "thorax")},
    **{f"{s}_shoulder": 0.8 for s in ("left", "right")},
    **{f"{s}_hip": 1.0 for s in ("left", "right")},
    **{f"{s}_{j}": 1.2 for s in ("left", "right") for j in ("elbow", "knee", "ankle")},
    **{f"{s}_wrist": 1.5 for s in ("left", "right")},
}

#: What is lost together when something hides a part of the body.
_LIMBS = (
    ("left_elbow", "left_wrist"),
    ("right_elbow", "right_wrist"),
    ("left_knee", "left_ankle"),
    ("right_knee", "right_ankle"),
    ("left_wrist",),
    ("right_wrist",),
    ("left_knee", "left_ankle", "right_knee", "right_ankle"),
    ("left_ankle", "right_ankle"),
    ("nose", "head_top"),
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow", "right_wrist"),
)


@dataclass
class TrainingBatch:
    """What the model sees and what it should say.

    Attributes:
        keypoints: (B, T, 17, 3) canonical, see `canonical_window`.
        targets: (B, T, 17, 3) m, relative to the pelvis, in the virtual camera's frame.
        rays: (B, T, 17, 2) the noisy rays in the real camera's frame, and
        scores: (B, T, 17), for solving the root.
        rotation: (B, 3, 3) from the real to the virtual camera.
        joints: (B, T, 17, 3) m, the truth in the real camera's frame.
    """

    keypoints: Tensor
    targets: Tensor
    rays: Tensor
    scores: Tensor
    rotation: Tensor
    joints: Tensor


class Synthesizer:
    """Turns windows of motion into training batches.

    Args:
        device: to work on.
        seed: of the one generator that everything here draws from.
        cameras, errors: the ranges; `errors` None gives exact keypoints.
    """

    def __init__(
        self,
        device: torch.device,
        seed: int,
        cameras: CameraRanges | None = None,
        errors: DetectorErrors | None = None,
    ) -> None:
        self.device = device
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self.cameras = cameras or CameraRanges()
        self.errors = errors
        self.joint_spread = torch.tensor(
            [_JOINT_SPREAD.get(j, 1.0) for j in H36M17.joints], device=device
        )
        self.limbs = torch.zeros(len(_LIMBS), len(H36M17), device=device)
        for row, limb in enumerate(_LIMBS):
            for joint in limb:
                self.limbs[row, H36M17.index(joint)] = 1.0
        derive = torch.eye(len(H36M17))
        for joint, parts in DERIVED_IN_H36M17.items():
            derive[H36M17.index(joint)] = 0.0
            for name, weight in parts.items():
                derive[H36M17.index(joint), H36M17.index(name)] = weight
        self.derive = derive.to(device)
        self.mirror = torch.tensor(H36M17.mirror, device=device)

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.device)

    def uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * self.rand(*shape)

    def batch(self, motion: Tensor) -> TrainingBatch:
        """(B, T, 17, 3) m, z up -> a batch."""
        joints, half_width, half_height = self.film(motion)
        if self.errors is not None:
            joints = self.replicate_start(joints)
        rays = joints[..., :2] / joints[..., 2:].clamp(min=0.05)
        scores = torch.ones_like(rays[..., 0])
        if self.errors is not None:
            rays, scores = self.detect(rays, scores, half_width, half_height)
        # Behind the camera there is no picture.
        scores = scores * (joints[..., 2] > 0.05)
        window = canonical_window(rays, scores)
        relative = joints - joints[:, :, :1]
        targets = torch.einsum("bij,btkj->btki", window.rotation, relative)
        return TrainingBatch(window.keypoints, targets, rays, scores, window.rotation, joints)

    def film(self, motion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale, mirror and turn the person, and put a camera before it.

        Returns:
            joints (B, T, 17, 3) m in the camera's optical frame, and half the picture's width and
            height (B,) on the plane z = 1.
        """
        c, batch = self.cameras, motion.shape[0]
        mirrored = motion[:, :, self.mirror] * motion.new_tensor([-1.0, 1.0, 1.0])
        flip = self.rand(batch) < c.mirror
        motion = torch.where(flip[:, None, None, None], mirrored, motion)
        motion = motion * self.uniform(c.body_scale, batch)[:, None, None, None]

        # Rows of the rotation are the camera's axes in the world before yaw: right, down, forward.
        yaw = self.uniform((0.0, 2 * math.pi), batch)
        pitch = torch.deg2rad(self.uniform(c.pitch_deg, batch))
        roll = torch.deg2rad(self.uniform((-c.roll_deg, c.roll_deg), batch))
        zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
        sin_p, cos_p = pitch.sin(), pitch.cos()
        level = torch.stack(
            [
                torch.stack([one, zero, zero], -1),
                torch.stack([zero, -sin_p, -cos_p], -1),
                torch.stack([zero, cos_p, -sin_p], -1),
            ],
            -2,
        )
        spin = _rotation_z(yaw)
        camera = _rotation_z(roll) @ level @ spin

        half_width = torch.tan(torch.deg2rad(self.uniform(c.fov_deg, batch)) / 2)
        half_height = half_width * self.uniform(c.aspect, batch)
        # The pelvis of a random frame lies on a random ray of the picture.
        frame = (self.rand(batch) * motion.shape[1]).long()
        anchor = motion[torch.arange(batch, device=self.device), frame, 0]
        place = torch.stack(
            [
                half_width * self.uniform((-1.0, 1.0), batch),
                half_height * self.uniform((-0.9, 0.9), batch),
                one,
            ],
            -1,
        )
        near, far = c.distance_m
        distance = near * (far / near) ** self.rand(batch)
        place = place / place.norm(dim=-1, keepdim=True) * distance[:, None]
        relative = motion - anchor[:, None, None]
        joints = torch.einsum("bij,btkj->btki", camera, relative) + place[:, None, None]
        return joints, half_width, half_height

    def replicate_start(self, joints: Tensor) -> Tensor:
        """Some windows stand still until a random frame."""
        batch, frames = joints.shape[:2]
        young = self.rand(batch) < self.errors.replicated_start  # type: ignore[union-attr]
        first = (self.rand(batch) * frames).long() * young
        index = torch.arange(frames, device=self.device)[None].maximum(first[:, None])
        return joints[torch.arange(batch, device=self.device)[:, None], index]

    def detect(
        self, rays: Tensor, scores: Tensor, half_width: Tensor, half_height: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What a detector would report of exact rays (B, T, 17, 2): noisy rays and scores."""
        e = self.errors
        assert e is not None
        batch, frames, joints = scores.shape
        span = rays.amax(dim=2) - rays.amin(dim=2)
        size = span.norm(dim=-1).mean(dim=1)[:, None, None, None]

        # Noise that lasts: an autoregressive process; Student's tails by a common divisor.
        spread = e.spread[0] * (e.spread[1] / e.spread[0]) ** self.rand(batch, 1, 1)
        memory = self.uniform(e.correlation, batch, 1, 1)
        state = self.randn(batch, joints, 2)
        steps = []
        for _ in range(frames):
            state = memory * state + (1 - memory**2).sqrt() * self.randn(batch, joints, 2)
            steps.append(state)
        noise = torch.stack(steps, dim=1)
        tails = 4.0 / (self.randn(batch, frames, joints, 4) ** 2).sum(-1).clamp(min=0.3)
        noise = noise * tails.sqrt()[..., None] * spread[..., None] * self.joint_spread[:, None]
        # A joint that has been lost is not found elsewhere by chance alone: now and then a limb
        # lands on something quite different for a while.
        astray = (self.rand(batch, 1, joints) < 0.02) * self.burst(batch, frames, 0.4)[..., None]
        noise = noise + astray[..., None] * 0.15 * self.randn(batch, 1, joints, 2)

        bias = e.bias * self.randn(batch, 1, joints, 2) * self.rand(batch, 1, 1, 1) * 1.7
        # Scores fall with the error, each detector's by a law of its own; most are too sure.
        strictness = self.uniform((0.05, 1.5), batch, 1, 1)
        certainty = torch.exp(-((noise.norm(dim=-1) / 0.06) ** 2) * strictness)
        scores = scores * certainty * (1 - 0.1 * self.rand(batch, frames, joints))
        rays = rays + (noise + bias) * size

        # Left for right, for a few frames.
        swapped = (self.rand(batch, 1) < e.swap) * self.burst(batch, frames, 0.3)
        rays = torch.where(swapped[..., None, None] > 0, rays[:, :, self.mirror], rays)

        # The middle joints are means of the side ones, as every detector of limbs makes them; of
        # the rest, the thorax is sometimes a joint of its own.
        derived = torch.einsum("jk,btkc->btjc", self.derive, rays)
        rays = torch.where((self.rand(batch, 1, 1, 1) < 0.85), derived, rays)

        # Beyond the picture's edge a detector guesses, and says so.
        outside = (rays[..., 0].abs() > half_width[:, None, None]) | (
            rays[..., 1].abs() > half_height[:, None, None]
        )
        guess = self.randn(batch, 1, joints, 2) * 0.06 * size
        rays = torch.where(outside[..., None], rays + guess, rays)
        scores = torch.where(outside, scores * 0.3 * self.rand(batch, 1, 1), scores)

        # Parts out of sight for a stretch: no keypoint at all, or a guess with a low score.
        limb = self.limbs[(self.rand(batch) * len(self.limbs)).long()]
        lost = (self.rand(batch, 1) < e.dropout) * self.burst(batch, frames, 1.0)
        lost = (lost[..., None] * limb[:, None]) > 0
        frozen = rays[torch.arange(batch, device=self.device), (self.rand(batch) * frames).long()]
        kind = self.rand(batch, 1, 1)
        held = torch.where((kind < 0.5)[..., None], frozen[:, None], rays + 3 * guess)
        rays = torch.where(lost[..., None], held, rays)
        low = torch.where(kind < 0.7, 0.35 * self.rand(batch, 1, 1), torch.zeros_like(kind))
        scores = torch.where(lost, low, scores)

        # Frames that the detector never saw.
        gone = (self.rand(batch, 1) < e.missing_frames) * self.burst(batch, frames, 0.25)
        scores = torch.where(gone[..., None] > 0, torch.zeros_like(scores), scores)
        # Keypoints under a low score are not reported by some detectors.
        floor = self.rand(batch, 1, 1) * 0.3 * (self.rand(batch, 1, 1) < 0.5)
        scores = torch.where(scores < floor, torch.zeros_like(scores), scores)
        return rays, scores.clamp(0.0, 1.0)

    def burst(self, batch: int, frames: int, longest: float) -> Tensor:
        """(B, T) 1 inside one random stretch per clip, up to `longest` of the clip; it may lie at
        the clip's end, which is where the live system reads."""
        length = 1 + (self.rand(batch, 1) * longest * frames).floor()
        begin = (self.rand(batch, 1) * (frames + length) - length).floor()
        index = torch.arange(frames, device=self.device)[None]
        return ((index >= begin) & (index < begin + length)).to(torch.float32)


def _rotation_z(angle: Tensor) -> Tensor:
    """(B,) rad -> (B, 3, 3) about the third axis."""
    sin, cos = angle.sin(), angle.cos()
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack(
        [
            torch.stack([cos, -sin, zero], -1),
            torch.stack([sin, cos, zero], -1),
            torch.stack([zero, zero, one], -1),
        ],
        -2,
    )
