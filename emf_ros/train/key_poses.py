"""Motion between key poses: poses of other windows, joined by smooth interpolation."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .articulated_body import (
    TWIST_DAMPING,
    assemble,
    bend_hinge,
    body_of,
    bone_offsets,
    follow_height,
    hinge_angles,
    into_frame,
    joint_frames,
    lowest_height,
    out_of_frame,
    trunk_frames,
)
from .diversity_config import DiversityConfig
from .draws import choose, minimum_jerk, rand, random_index, uniform
from .vectors import rotate_about, slerp, slerp_rotation, unit


@dataclass
class PoseParts:
    """A pose in parts that can be interpolated one by one.

    Attributes:
        pelvis: (..., 3, 3) pelvis frame in the world.
        thorax: (..., 3, 3) thorax frame in the pelvis frame.
        bones: (..., 17, 3) directions of the bones in the frames that carry them.
        flexion: (..., L, 1) flexion of the hinges, rad.
        twist: (..., L, 1) twist of the hinges, rad.
        height: (..., 1) height of the lowest joint, m.
    """

    pelvis: Tensor
    thorax: Tensor
    bones: Tensor
    flexion: Tensor
    twist: Tensor
    height: Tensor


def _take_apart(poses: Tensor) -> PoseParts:
    body = body_of(poses.device)
    pelvis, thorax = trunk_frames(poses)
    bones = unit(into_frame(joint_frames(pelvis, thorax), bone_offsets(poses)))
    flexion, twist = hinge_angles(
        bones[..., body.limbs[:, 1], :], bones[..., body.limbs[:, 2], :], damping=TWIST_DAMPING
    )
    limit = body.twist[:, None]
    return PoseParts(
        pelvis,
        pelvis.mT @ thorax,
        bones,
        flexion,
        twist.clamp(-limit, limit),
        lowest_height(poses)[..., None],
    )


def _put_together(pose: PoseParts, lengths: Tensor) -> Tensor:
    """(..., 17, 3) m, the pose with its pelvis at the origin; lengths (..., 17, 1) m."""
    body = body_of(lengths.device)
    bones = pose.bones.clone()
    upper = bones[..., body.limbs[:, 1], :]
    bones[..., body.limbs[:, 2], :] = bend_hinge(upper, pose.flexion, pose.twist)
    frames = joint_frames(pose.pelvis, pose.pelvis @ pose.thorax)
    offsets = out_of_frame(frames, bones) * lengths
    offsets[..., 0, :].zero_()
    return assemble(offsets)


def _between(first: PoseParts, second: PoseParts, part: Tensor) -> PoseParts:
    """Interpolate poses; part (..., 1), 0 is the first."""

    def mix(a: Tensor, b: Tensor) -> Tensor:
        return a + (b - a) * part.reshape(*part.shape, *(1 for _ in range(a.dim() - part.dim())))

    return PoseParts(
        slerp_rotation(first.pelvis, second.pelvis, part),
        slerp_rotation(first.thorax, second.thorax, part),
        slerp(first.bones, second.bones, part[..., None]),
        mix(first.flexion, second.flexion),
        mix(first.twist, second.twist),
        mix(first.height, second.height),
    )


def _heading(pelvis: Tensor) -> Tensor:
    """(..., 3, 3) -> (...) rad, direction of the hip axis seen from above."""
    return torch.atan2(pelvis[..., 1, 1], pelvis[..., 0, 1])


def _about_z(angle: Tensor) -> Tensor:
    """(...) rad -> (..., 3, 3), rotation about the vertical."""
    eye = torch.eye(3, device=angle.device)
    turned = rotate_about(eye, eye[2], angle[..., None, None])
    return turned.mT


def key_poses(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Replace some windows by motion between four key poses, drawn from all frames of the batch.

    The frames of the trunk and the directions of the bones turn the shortest way. The angles of the
    hinges, the position of the root and the height of the lowest joint change linearly. All of them
    follow a minimum-jerk course. A window may be shorter than the motion; then it shows a part.
    Bone lengths are those of the window's first frame.
    """
    keys, (batch, count) = 4, motion.shape[:2]
    rows = random_index(batch, generator, batch, keys)
    index = random_index(count, generator, batch, keys)
    poses = _take_apart(motion[rows, index])

    # Limit the turn between two keys: the key poses face random directions.
    turn = math.radians(config.key_turn_deg) * uniform(-1, 1, generator, batch, keys)
    facing = _heading(trunk_frames(motion[:, 0])[0])[:, None] + turn.cumsum(1)
    poses.pelvis = _about_z(facing - _heading(poses.pelvis)) @ poses.pelvis
    step = config.key_step_m * uniform(-1, 1, generator, batch, keys, 2)
    position = motion[:, :1, 0, :2] + step.cumsum(1)

    knots = uniform(*config.key_interval_s, generator, batch, keys - 1).cumsum(1)
    knots = torch.nn.functional.pad(knots, (1, 0))
    spare = (knots[:, -1:] - (count - 1) / rate_hz).clamp(min=0)
    time = spare * rand(generator, batch, 1) + torch.arange(count, device=motion.device) / rate_hz
    before = (time[..., None] >= knots[:, None, 1:-1]).sum(-1)
    row = torch.arange(batch, device=motion.device)[:, None]
    start, end = knots[row, before], knots[row, before + 1]
    part = minimum_jerk((time - start) / (end - start))[..., None]

    def at(which: Tensor) -> PoseParts:
        names = [f.name for f in fields(PoseParts)]
        return PoseParts(**{name: getattr(poses, name)[row, which] for name in names})

    pose = _between(at(before), at(before + 1), part)
    lengths = bone_offsets(motion[:, :1]).norm(dim=-1, keepdim=True)
    changed = follow_height(_put_together(pose, lengths), pose.height[..., 0], rate_hz)
    start_xy, end_xy = position[row, before], position[row, before + 1]
    ground = start_xy + (end_xy - start_xy) * part
    changed = changed + torch.nn.functional.pad(ground, (0, 1))[:, :, None]
    return choose(motion, changed, config.keys, generator)
