"""From motion to what the live system would hand the model: random cameras and a faulty detector.

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


@dataclass(frozen=True)
class CameraRanges:
    """Where the camera is and what it is, and how much of the window it has seen.

    Attributes:
        distance_m: to the pelvis at a random frame, log-uniform.
        pitch_deg: from looking up to looking down.
        roll_deg: either way.
        fov_deg: horizontal field of view; `aspect`: height over width.
        body_scale: factor on the person's size.
        speed: of play.
        mirror: share of clips that are mirrored.
        replicated_start: share of clips that begin with their first frame repeated, as the live
            system fills a young track's window; only with a detector's errors.
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
            # What is repeated is the observation, with its error.
            joints, rays, scores = self.replicate_start(joints, rays, scores)
        # Behind the camera there is no picture.
        scores = scores * (joints[..., 2] > NEAREST_M)
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

    def replicate_start(self, *windows: Tensor) -> tuple[Tensor, ...]:
        """Some windows (B, T, ...) stand still until a random frame, all of them alike."""
        batch, frames = windows[0].shape[:2]
        young = self.rand(batch) < self.cameras.replicated_start
        first = (self.rand(batch) * frames).long() * young
        index = torch.arange(frames, device=self.device)[None].maximum(first[:, None])
        row = torch.arange(batch, device=self.device)[:, None]
        return tuple(window[row, index] for window in windows)


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
