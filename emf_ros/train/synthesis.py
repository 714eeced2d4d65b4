"""From motion to the model's live input: random cameras and a simulated detector.

Everything is vectorised in torch and runs on the training device. Lengths are metres; angles in the
configurations are degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.canonical_window import canonical_window
from ..skeletons import H36M17
from .detector_errors import DetectorErrors
from .detector_model import NEAREST_M, DetectorModel
from .setting_ranges import (
    HALF_TURN_DEG,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Range,
    check_limits,
    check_numbers,
)
from .vectors import constant


@dataclass(frozen=True)
class CameraRanges:
    """Ranges of the camera, of the person's size and of the playing speed.

    Attributes:
        distance_m: distance of the pelvis at a random frame, m, log-uniform.
        pitch_deg: pitch, degrees; positive looks down.
        roll_deg: maximum roll to either side, degrees.
        fov_deg: horizontal field of view, degrees.
        aspect: height over width of the image.
        body_scale: factor on the person's size.
        speed: factor on the speed of the motion.
        mirror: share of the clips that are mirrored.
        replicated_start: share of the clips that begin with repetitions of their first frame, as
            windows of new tracks do. Only with a detector's errors.
    """

    distance_m: tuple[float, float] = (1.2, 8.0)
    pitch_deg: tuple[float, float] = (-25.0, 50.0)
    roll_deg: float = 10.0
    fov_deg: tuple[float, float] = (40.0, 100.0)
    aspect: tuple[float, float] = (0.56, 1.0)
    body_scale: tuple[float, float] = (0.88, 1.12)
    speed: tuple[float, float] = (0.7, 1.4)
    mirror: float = 0.5
    replicated_start: float = 0.15

    def __post_init__(self) -> None:
        positive = ("distance_m", "aspect", "body_scale")
        check_limits(self, dict.fromkeys(positive, POSITIVE))
        check_limits(
            self,
            {
                "pitch_deg": Range(-90, 90),
                "fov_deg": Range(0, 180, above=True, below=True),
                "speed": NOT_NEGATIVE,
            },
        )
        check_numbers(self, {"roll_deg": HALF_TURN_DEG, "mirror": SHARE, "replicated_start": SHARE})


@dataclass
class TrainingBatch:
    """Input and targets of the model.

    Attributes:
        keypoints: (B, T, 17, 3) canonical, see `canonical_window`.
        targets: (B, T, 17, 3) m, relative to the pelvis, in the virtual camera's frame.
        rays: (B, T, 17, 2) noisy rays in the real camera's frame, for solving the root.
        scores: (B, T, 17) scores of these rays.
        rotation: (B, 3, 3) from the real to the virtual camera.
        joints: (B, T, 17, 3) m, true joints in the real camera's frame.
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
        device: where the batches are made.
        seed: of the random generator.
        cameras: ranges of the cameras.
        errors: ranges of the detector's errors; None gives exact keypoints.
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
        self.detector = DetectorModel(device, self.generator, errors) if errors else None
        self.mirror = torch.tensor(H36M17.mirror, device=device)

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, device=self.device)

    def uniform(self, limits: tuple[float, float], *shape: int) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * self.rand(*shape)

    def batch(self, motion: Tensor) -> TrainingBatch:
        """(B, T, 17, 3) m, z up -> a batch."""
        joints, half_width, half_height = self.film(motion)
        if self.detector is None:
            rays = joints[..., :2] / joints[..., 2:].clamp(min=NEAREST_M)
            scores = torch.ones_like(rays[..., 0])
        else:
            rays, scores = self.detector.observe(joints, half_width, half_height)
            # The observation is repeated with its error.
            joints, rays, scores = self.replicate_start(joints, rays, scores)
        # Points behind the camera are not observed.
        scores = scores * (joints[..., 2] > NEAREST_M)
        window = canonical_window(rays, scores)
        relative = joints - joints[:, :, :1]
        targets = torch.einsum("bij,btkj->btki", window.rotation, relative)
        return TrainingBatch(window.keypoints, targets, rays, scores, window.rotation, joints)

    def film(self, motion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale, mirror and turn the person, and place a camera.

        Returns:
            joints (B, T, 17, 3) m in the camera's optical frame; half the image's width (B,) and
            half its height (B,) on the plane z = 1.
        """
        c, batch = self.cameras, motion.shape[0]
        mirrored = motion[:, :, self.mirror] * constant((-1.0, 1.0, 1.0), motion)
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
        # The pelvis of a random frame lies on a random ray of the image.
        frame = (self.rand(batch) * motion.shape[1]).long()
        anchor = motion[torch.arange(batch, device=self.device), frame, 0]
        position = torch.stack(
            [
                half_width * self.uniform((-1.0, 1.0), batch),
                half_height * self.uniform((-0.9, 0.9), batch),
                one,
            ],
            -1,
        )
        near, far = c.distance_m
        distance = near * (far / near) ** self.rand(batch)
        position = position / position.norm(dim=-1, keepdim=True)
        position = position * distance[:, None]
        relative = motion - anchor[:, None, None]
        joints = torch.einsum("bij,btkj->btki", camera, relative) + position[:, None, None]
        return joints, half_width, half_height

    def replicate_start(self, *windows: Tensor) -> tuple[Tensor, ...]:
        """Repeat a random frame of some windows (B, T, ...) before it, equally in all arguments."""
        batch, frames = windows[0].shape[:2]
        new_track = self.rand(batch) < self.cameras.replicated_start
        first = (self.rand(batch) * frames).long() * new_track
        index = torch.arange(frames, device=self.device)[None].maximum(first[:, None])
        row = torch.arange(batch, device=self.device)[:, None]
        return tuple(window[row, index] for window in windows)


def _rotation_z(angle: Tensor) -> Tensor:
    """(B,) rad -> (B, 3, 3), rotations about the third axis."""
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
