"""Training motion made more diverse than what was recorded.

Each change takes a batch of windows and returns a batch in which some windows are changed. It is
vectorised over windows and frames, runs on the device of the windows, and draws from the generator
that it is given. Positions are (B, T, 17, 3) m in the joint order of h36m17, z up. See
`articulated_body` for the frames and angles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from torch import Tensor

from ..skeletons import H36M17
from .articulated_body import (
    ARMS,
    LEGS,
    LIMBS,
    MIRRORED_LIMB,
    TWIST_DAMPING,
    assemble,
    bend_hinge,
    body_of,
    bone_offsets,
    follow_height,
    hinge_angles,
    limb_bones,
    limb_frames,
    lowest_height,
    trunk_frames,
    with_limbs,
)
from .diversity_config import DiversityConfig
from .draws import choose, minimum_jerk, other_windows, rand, random_index, smooth_noise, uniform
from .key_poses import key_poses
from .possible_poses import valid_limbs, valid_poses
from .vectors import constant, cross, dot, index_of, rotate_about, slerp, unit


def _move_limbs(motion: Tensor, bones: Tensor, rate_hz: float) -> Tensor:
    """Replace the limbs of the body by bones (B, T, L, 2, 3) m, given in the world.

    An arm that is impossible in some frame keeps its old motion. Where one leg is impossible, both
    keep theirs, since each must keep clear of the other. The lowest joint keeps its height.
    """
    changed = with_limbs(motion, bones)
    valid = valid_limbs(changed).all(1)
    valid = torch.cat([valid[:, ARMS], valid[:, LEGS].all(1, keepdim=True).expand(-1, 2)], 1)
    joints = body_of(motion.device).limbs[:, 1:]
    changed[:, :, joints] = torch.where(
        valid[:, None, :, None, None], changed[:, :, joints], motion[:, :, joints]
    )
    moved = (changed != motion)[:, :, joints[LEGS]].flatten(1).any(1)
    stood = follow_height(changed, lowest_height(motion), rate_hz)
    return torch.where(moved[:, None, None, None], stood, changed)


def recombine_limbs(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Give some limbs the motion of another window's limb, or the mirror image of its other side.

    The motion is relative to the pelvis frame (legs) or the thorax frame (arms). Bone lengths stay.
    """
    batch = len(motion)
    frames = limb_frames(*trunk_frames(motion))
    bones = limb_bones(motion, frames)
    mirrored = bones[..., index_of(MIRRORED_LIMB, motion.device), :, :]
    mirrored = mirrored * constant((1.0, -1.0, 1.0), motion)
    donors = torch.stack([bones, mirrored]).movedim(3, 0)
    limb = torch.arange(len(LIMBS), device=motion.device)
    donor = other_windows(batch, generator, len(LIMBS))
    taken = donors[limb, random_index(2, generator, batch, len(LIMBS)), donor].movedim(1, 2)
    taken = unit(taken) * bones.norm(dim=-1, keepdim=True)
    replaced = rand(generator, batch, len(LIMBS)) < config.limb_share
    bones = torch.where(replaced[:, None, :, None, None], taken, bones)
    changed = _move_limbs(motion, bones @ frames.mT, rate_hz)
    return choose(motion, changed, config.limbs, generator)


def recombine_halves(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Give all joints above the pelvis the motion of another window, in the pelvis frame."""
    donor = other_windows(len(motion), generator)
    pelvis, _ = trunk_frames(motion)
    offsets = bone_offsets(motion)
    taken = (offsets @ pelvis)[donor] @ pelvis.mT
    taken = unit(taken) * offsets.norm(dim=-1, keepdim=True)
    body = body_of(motion.device)
    above = ~body.lower
    above[:1].zero_()
    changed = assemble(torch.where(above[:, None], taken, offsets))
    changed = follow_height(changed, lowest_height(motion), rate_hz)
    return choose(motion, changed, config.halves, generator)


@dataclass(frozen=True)
class _Range:
    """Range of a left limb under random rotations, well inside what people can do.

    Attributes:
        middle: axis of the cone in which the upper bone stays (forward, left, up).
        half: half angle of that cone, degrees.
        flexion: maximum flexion, degrees.
        twist: maximum twist, degrees.
        shares: factors on the swing about the axes forward, left and up.
        pull: share of the angle by which the upper bone is drawn to the axis, where limbs collide
            less.
    """

    middle: tuple[float, float, float]
    half: float
    flexion: float
    twist: float
    shares: tuple[float, float, float]
    pull: float


# Thighs swing forward and back more than sideways, where legs often collide.
_ARM_RANGE = _Range((0.5, 0.6, -0.2), 95.0, 140.0, 75.0, (1.0, 1.0, 1.0), 0.25)
_LEG_RANGE = _Range((0.45, 0.25, -0.9), 60.0, 135.0, 30.0, (0.4, 1.0, 0.4), 0.2)


@lru_cache
def _ranges(device: torch.device) -> dict[str, Tensor]:
    """The fields of `_Range` per limb, (L, 3) or (L, 1), angles in rad, right limbs mirrored."""
    ranges = [_ARM_RANGE if "shoulder" in limb[0] else _LEG_RANGE for limb in LIMBS]
    side = torch.tensor([[1.0 if limb[0].startswith("left") else -1.0] for limb in LIMBS])
    one = torch.ones_like(side)
    table = {
        f.name: torch.tensor([getattr(r, f.name) for r in ranges]).reshape(len(LIMBS), -1)
        for f in fields(_Range)
    }
    for name in ("half", "flexion", "twist"):
        table[name] = torch.deg2rad(table[name])
    table["middle"] = unit(table["middle"] * torch.cat([one, side, one], 1))
    return {name: tensor.to(device) for name, tensor in table.items()}


def random_rotations(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Add smooth random swing, flexion and twist to the limbs of some windows.

    Upper bones stay within cones; knees and elbows stay hinges within their ranges.
    """
    batch, count = motion.shape[:2]
    frames = limb_frames(*trunk_frames(motion))
    bones = limb_bones(motion, frames)
    upper, lower = unit(bones).unbind(-2)
    flexion, twist = hinge_angles(upper, lower, damping=TWIST_DAMPING)

    noise = smooth_noise(
        (batch, len(LIMBS), 5), count, rate_hz, config.frequency_hz, generator
    ).permute(0, 3, 1, 2)
    spread = torch.deg2rad(
        constant((*[config.swing_deg] * 3, config.flexion_deg, config.twist_deg), motion)
    )
    swing, bend, roll = (noise * spread).split([3, 1, 1], dim=-1)
    limits = _ranges(motion.device)
    swing = swing * limits["shares"]
    upper = rotate_about(upper, unit(swing), swing.norm(dim=-1, keepdim=True))
    middle, half = limits["middle"].expand_as(upper), limits["half"]
    away = torch.atan2(cross(middle, upper).norm(dim=-1, keepdim=True), dot(middle, upper))
    # A smooth minimum of the drawn angle and the cone's half angle.
    part = 1 - limits["pull"]
    part = part / (1 + (part * away / half) ** 8) ** 0.125
    upper = slerp(middle, upper, part)
    # A smooth maximum of the flexion and straight: a hinge must not bend backward.
    flexion = flexion + bend
    flexion = ((flexion + (flexion**2 + 0.05).sqrt()) / 2).minimum(limits["flexion"])
    twist = (twist + roll).clamp(-limits["twist"], limits["twist"])
    lower = bend_hinge(upper, flexion, twist)
    turned = torch.stack([upper, lower], -2) * bones.norm(dim=-1, keepdim=True)
    changed = _move_limbs(motion, turned @ frames.mT, rate_hz)
    return choose(motion, changed, config.rotations, generator)


#: Field of `DiversityConfig` with the largest change of a bone, by the joint at its end.
_GROUPS = {
    "hip": "hip_width",
    "knee": "leg_length",
    "ankle": "leg_length",
    "spine": "trunk_length",
    "thorax": "trunk_length",
    "nose": "head_length",
    "head_top": "head_length",
    "shoulder": "shoulder_width",
    "elbow": "arm_length",
    "wrist": "arm_length",
}


def change_bone_lengths(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Change the bone lengths of some windows, equally left and right and in all frames.

    Directions and the height of the lowest joint stay. Steps scale with the legs.
    """
    batch = len(motion)
    groups = sorted(set(_GROUPS.values()))
    names = [j.removeprefix("left_").removeprefix("right_") for j in H36M17.joints]
    bones = sorted(_GROUPS)
    largest = constant(tuple(getattr(config, g) for g in groups), motion)
    common = largest * uniform(-1, 1, generator, batch, len(groups))
    single = config.bone_length * uniform(-1, 1, generator, batch, len(bones))
    of_group = index_of(tuple(groups.index(_GROUPS[bone]) for bone in bones), motion.device)
    factor = (1 + common[:, of_group]) * (1 + single)
    offsets = bone_offsets(motion)
    begin = offsets[:, :1, :1]
    pace = 1 + common[:, groups.index("leg_length")]
    root = begin + (offsets[:, :, :1] - begin) * pace[:, None, None, None]
    of_bone = index_of(tuple(bones.index(name) for name in names[1:]), motion.device)
    factor = factor[:, of_bone]
    changed = torch.cat([root, offsets[:, :, 1:] * factor[:, None, :, None]], 2)
    changed = follow_height(assemble(changed), lowest_height(motion), rate_hz)
    return choose(motion, changed, config.lengths, generator)


def tilt_body(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Turn some bodies about a random horizontal axis through the pelvis.

    The turn is constant or a fall within the window. It adds lying, crawling and upside-down
    bodies. The lowest joint, whichever it is then, keeps the height of the lowest one before.
    """
    batch, count = motion.shape[:2]
    course = 2 * math.pi * rand(generator, batch)
    axis = torch.stack([course.cos(), course.sin(), torch.zeros_like(course)], -1)
    # The middle of the fall lies within the window, so that every window shows its fall.
    time = torch.arange(count, device=motion.device) / rate_hz
    lasts = uniform(*config.fall_s, generator, batch, 1)
    middle = rand(generator, batch, 1) * (count - 1) / rate_hz
    part = minimum_jerk((time - middle) / lasts + 0.5)
    constant = rand(generator, batch, 1) < config.tilt_constant
    part = torch.where(constant, torch.ones_like(part), part)
    angle = part * math.radians(config.tilt_deg) * rand(generator, batch, 1)
    root = motion[:, :, :1]
    turned = rotate_about(motion - root, axis[:, None, None], angle[:, :, None, None])
    changed = follow_height(root + turned, lowest_height(motion), rate_hz)
    return choose(motion, changed, config.tilt, generator)


#: A change: windows (B, T, 17, 3) m, settings, generator and rate in Hz -> windows.
Change = Callable[[Tensor, DiversityConfig, torch.Generator, float], Tensor]
#: The changes by the field of `DiversityConfig` with their probability, in the order in which they
#: are applied: changes of the whole motion come before changes of its parts.
CHANGES: dict[str, Change] = {
    "keys": key_poses,
    "halves": recombine_halves,
    "limbs": recombine_limbs,
    "rotations": random_rotations,
    "lengths": change_bone_lengths,
    "tilt": tilt_body,
}


class Diversity:
    """Applies all changes to batches of windows.

    Where a change makes a pose of a window impossible, the window keeps its motion from before that
    change (see `valid_poses`).

    Args:
        config: probabilities and sizes of the changes.
        rate_hz: frames per second of the windows.
        generator: random generator on the windows' device.

    Raises:
        ValueError: `rate_hz` is not positive.
    """

    def __init__(self, config: DiversityConfig, rate_hz: float, generator: torch.Generator) -> None:
        if not rate_hz > 0:
            raise ValueError(f"rate_hz must be positive, not {rate_hz!r}")
        self.config, self.rate_hz, self.generator = config, rate_hz, generator
        self.changes = {n: f for n, f in CHANGES.items() if getattr(config, n) > 0}

    def __call__(self, motion: Tensor) -> Tensor:
        """(B, T, 17, 3) m, z up -> the same shape, changed. The input is not modified."""
        for name, change in self.changes.items():
            changed = change(motion, self.config, self.generator, self.rate_hz)
            touched = (changed != motion).flatten(1).any(1)
            # A body that is turned as a whole stays possible.
            keep = touched if name == "tilt" else touched & valid_poses(changed).all(1)
            motion = torch.where(keep[:, None, None, None], changed, motion)
        return motion
