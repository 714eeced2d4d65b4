"""Diversity by construction: training motion made richer than what was recorded.

Each function takes a batch of windows and returns one in which some windows have been changed; it
is vectorised over windows and frames, runs on the windows' device and draws from the generator it
is given. Positions are (B, T, 17, 3) m in h36m17's order, z up.

Two frames move with the body, their axes forward, left and up: the pelvis frame (hip axis, and
the direction to the spine) carries the thighs, the thorax frame (shoulder axis, and the direction
from the spine to the neck) the upper arms and the head. Knees and elbows are hinges: the bone below
one is given by the flexion, 0 for a straight limb, and the twist, the angle about the bone above
between the hinge's axis and where that axis lies when the bone is swung from rest without twisting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from torch import Tensor

from ..skeletons import H36M17

#: Limbs as (joint that it hangs from, hinge, end): the index of a limb below is the one here.
LIMBS = (
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow", "right_wrist"),
    ("left_hip", "left_knee", "left_ankle"),
    ("right_hip", "right_knee", "right_ankle"),
)
_MIRRORED_LIMB = (1, 0, 3, 2)
_ARMS, _LEGS = slice(0, 2), slice(2, 4)

#: What the pelvis frame carries; the thorax frame carries all else.
_LOWER = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine")

# Rest of the left limbs' upper bones (forward, left, up), and the axis about which the hinge bends
# there: a knee takes the shank back, an elbow the forearm forward and up. The arm rests half way
# between hanging, before the body and to the side: the direction opposite, where the twist is not
# defined, is out of its reach.
_REST = {"arm": (0.5, 0.5, -math.sqrt(0.5)), "leg": (0.0, 0.0, -1.0)}
_AXIS = {"arm": (0.04, -0.83, -0.56), "leg": (0.0, 1.0, 0.0)}

#: Hinges of real people, degrees, with what the markers err: the largest twist to either side; the
#: bend below which a limb counts as straight, whichever way it seems to bend; the largest flexion.
#: 99.9 % of 38 000 recorded frames of all kinds lie within. For a knee, 90 degrees of twist are the
#: plane that parts backward from forward.
TWIST_DEG = {"arm": 110.0, "leg": 90.0}
STRAIGHT_DEG = {"arm": 20.0, "leg": 15.0}
FLEXION_DEG = {"arm": 160.0, "leg": 165.0}

#: The trunk's half axes to the side and to the front, as shares of the shoulders' width; the
#: head's radius, as a share of the way from the neck's base to the top; and how near the lines
#: through the middles of two legs may come, m. 99.8 % of the recorded frames keep clear of the
#: trunk and the head, 99.9 % of the other leg.
TRUNK_SIDE, TRUNK_FRONT, HEAD_RADIUS, LEG_DISTANCE_M = 0.4, 0.26, 0.26, 0.06

#: Points of each limb that must lie outside the trunk: shares of the upper and of the lower bone.
#: Where a limb begins it lies within the body.
_UPPER_PROBES, _LOWER_PROBES = (0.6, 0.8, 1.0), (0.25, 0.5, 0.75, 1.0)

_EPS = 1e-6


@dataclass(frozen=True)
class DiversityConfig:
    """How often each function changes a window, and how far.

    Attributes:
        limbs: probability of `recombine_limbs`.
        limb_share: probability of each limb of such a window to be replaced.
        halves: probability of `recombine_halves`.
        keys: probability of `key_poses`.
        key_interval_s: from one key pose to the next.
        key_turn_deg: the largest turn about the vertical between two key poses.
        key_step_m: the largest step in x and in y between two key poses.
        rotations: probability of `random_rotations`.
        swing_deg: standard deviation of the upper bones' rotation about each axis.
        flexion_deg: standard deviation of what is added to knees' and elbows' flexion.
        twist_deg: standard deviation of what is added to the limbs' twist.
        frequency_hz: of the sinusoids which those rotations follow.
        lengths: probability of `change_bone_lengths`.
        leg_length, arm_length, trunk_length, head_length, shoulder_width, hip_width: largest
            change of each group of bones, as a share.
        bone_length: largest further change of one bone and its mirror image.
        tilt: probability of `tilt_body`.
        tilt_deg: the largest rotation.
        tilt_constant: share of the tilted windows that are tilted all the time; the others fall.
        fall_s: how long a fall takes.
    """

    limbs: float = 0.3
    limb_share: float = 0.5
    halves: float = 0.15
    keys: float = 0.15
    key_interval_s: tuple[float, float] = (0.5, 1.5)
    key_turn_deg: float = 60.0
    key_step_m: float = 0.4
    rotations: float = 0.25
    swing_deg: float = 20.0
    flexion_deg: float = 25.0
    twist_deg: float = 15.0
    frequency_hz: tuple[float, float] = (0.1, 0.8)
    lengths: float = 0.5
    leg_length: float = 0.08
    arm_length: float = 0.08
    trunk_length: float = 0.08
    head_length: float = 0.08
    shoulder_width: float = 0.1
    hip_width: float = 0.1
    bone_length: float = 0.03
    tilt: float = 0.1
    tilt_deg: float = 180.0
    tilt_constant: float = 0.5
    fall_s: tuple[float, float] = (0.6, 1.8)

    def __post_init__(self) -> None:
        shares = ("limbs", "limb_share", "halves", "keys", "rotations", "lengths", "tilt")
        for name in (*shares, "tilt_constant"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, not {getattr(self, name)!r}")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and not 0 < value[0] <= value[1]:
                raise ValueError(f"{field.name} must be positive and in order, not {value!r}")


# ---------------------------------------------------------------------------------- the body


@dataclass(frozen=True)
class _Body:
    """The layout and the anatomy as tensors on one device; L = 4 limbs, P points on each.

    Attributes:
        parents: (17,) with the root its own.
        ancestors: (17, 17): positions are this matrix times the offsets from the parents.
        lower: (17,) whether the pelvis frame carries the bone to the joint.
        limbs: (L, 3) joints; legs: (L,) which of them are legs.
        rest, axis: (L, 3) of the upper bones and of the hinges.
        twist, straight, flexion: (L,) rad.
        probes: (L * P, 17): the points on limbs that must stay outside the trunk.
    """

    parents: Tensor
    ancestors: Tensor
    lower: Tensor
    limbs: Tensor
    legs: Tensor
    rest: Tensor
    axis: Tensor
    twist: Tensor
    straight: Tensor
    flexion: Tensor
    probes: Tensor


@lru_cache
def _body(device: torch.device) -> _Body:
    count, index = len(H36M17), H36M17.index
    parents = [p if p >= 0 else j for j, p in enumerate(H36M17.parents)]
    ancestors = torch.zeros(count, count)
    for joint in range(count):
        above = joint
        while above >= 0:
            ancestors[joint, above] = 1.0
            above = H36M17.parents[above]
    kinds = ["arm" if "shoulder" in limb[0] else "leg" for limb in LIMBS]
    # Mirroring takes y to -y; of an axis of rotation, x and z change their sign instead.
    left = torch.tensor([limb[0].startswith("left") for limb in LIMBS])[:, None]
    rest = torch.tensor([_REST[k] for k in kinds])
    axis = torch.tensor([_AXIS[k] for k in kinds])
    rest = torch.where(left, rest, rest * torch.tensor([1.0, -1.0, 1.0]))
    axis = torch.where(left, axis, axis * torch.tensor([-1.0, 1.0, -1.0]))
    probes = []
    for limb in LIMBS:
        for first, second, shares in (
            (limb[0], limb[1], _UPPER_PROBES),
            (limb[1], limb[2], _LOWER_PROBES),
        ):
            for share in shares:
                row = torch.zeros(count)
                row[index(first)], row[index(second)] = 1 - share, share
                probes.append(row)
    tensors = {
        "parents": torch.tensor(parents),
        "ancestors": ancestors,
        "lower": torch.tensor([j in _LOWER for j in H36M17.joints]),
        "limbs": torch.tensor([[index(j) for j in limb] for limb in LIMBS]),
        "legs": torch.tensor([k == "leg" for k in kinds]),
        "rest": torch.nn.functional.normalize(rest, dim=-1),
        "axis": torch.nn.functional.normalize(axis, dim=-1),
        "twist": torch.deg2rad(torch.tensor([TWIST_DEG[k] for k in kinds])),
        "straight": torch.deg2rad(torch.tensor([STRAIGHT_DEG[k] for k in kinds])),
        "flexion": torch.deg2rad(torch.tensor([FLEXION_DEG[k] for k in kinds])),
        "probes": torch.stack(probes),
    }
    return _Body(**{name: tensor.to(device) for name, tensor in tensors.items()})


def bone_offsets(motion: Tensor) -> Tensor:
    """(..., 17, 3) positions -> (..., 17, 3) offsets from the parents, the root's its position."""
    parents = _body(motion.device).parents
    offsets = motion - motion[..., parents, :]
    offsets[..., 0, :] = motion[..., 0, :]
    return offsets


def assemble(offsets: Tensor) -> Tensor:
    """The inverse of `bone_offsets`."""
    return _body(offsets.device).ancestors @ offsets


# ----------------------------------------------------------------------------------- geometry


def _joint(motion: Tensor, name: str) -> Tensor:
    return motion[..., H36M17.index(name), :]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(..., 3), (..., 3) -> (..., 1)."""
    return (a * b).sum(-1, keepdim=True)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.cross(*torch.broadcast_tensors(a, b))


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True).clamp(min=_EPS)


def _axes(left: Tensor, up: Tensor) -> Tensor:
    """(..., 3, 3) whose columns are forward, left and up, from two directions that need not be at
    right angles; where they are parallel, or one is nothing, some frame."""
    # Far below what the frames of real bodies would notice; parallel to nothing else.
    left = left + left.new_tensor([1e-5, 2e-5, -1e-5])
    up = up + up.new_tensor([2e-5, -1e-5, 3e-5])
    y = _unit(left)
    z = _unit(up - _dot(up, y) * y)
    return torch.stack([_cross(y, z), y, z], -1)


def trunk_frames(motion: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 17, 3) -> the pelvis frame and the thorax frame, (..., 3, 3) each: their columns are
    forward, left and up in the world."""
    hips = _joint(motion, "left_hip") - _joint(motion, "right_hip")
    shoulders = _joint(motion, "left_shoulder") - _joint(motion, "right_shoulder")
    spine = _joint(motion, "spine")
    return (
        _axes(hips, spine - _joint(motion, "pelvis")),
        _axes(shoulders, _joint(motion, "thorax") - spine),
    )


def _turn(vector: Tensor, axis: Tensor, angle: Tensor) -> Tensor:
    """Rodrigues' rotation: vector (..., 3) about the unit axis (..., 3) by angle (..., 1) rad."""
    sin, cos = angle.sin(), angle.cos()
    return vector * cos + _cross(axis, vector) * sin + axis * _dot(axis, vector) * (1 - cos)


def _slerp(first: Tensor, second: Tensor, part: Tensor) -> Tensor:
    """From one unit vector (..., 3) to another along the great circle; part (..., 1)."""
    normal = _cross(first, second)
    sin = normal.norm(dim=-1, keepdim=True)
    # Opposite directions have no great circle of their own: any will do.
    some = _cross(first, first.roll(1, -1) * first.new_tensor([1.0, -1.0, 1.0]))
    axis = _unit(torch.where(sin > 1e-4, normal, some))
    return _turn(first, axis, part * torch.atan2(sin, _dot(first, second)))


def _slerp_rotation(first: Tensor, second: Tensor, part: Tensor) -> Tensor:
    """From one rotation (..., 3, 3) to another the shortest way; part (..., 1)."""
    r = first.mT @ second
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    # The relative rotation's quaternion (Shepperd), whose w is not negative.
    real = (1 + xx + yy + zz).clamp(min=0).sqrt()[..., None]
    squares = torch.stack([1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], -1)
    signs = torch.stack(
        [
            r[..., 2, 1] - r[..., 1, 2],
            r[..., 0, 2] - r[..., 2, 0],
            r[..., 1, 0] - r[..., 0, 1],
        ],
        -1,
    )
    imaginary = torch.copysign(squares.clamp(min=0).sqrt(), signs)
    angle = 2 * torch.atan2(imaginary.norm(dim=-1, keepdim=True), real)
    axis = first @ _unit(imaginary)[..., None]
    return _turn(first.mT, axis.mT, (part * angle)[..., None]).mT


def _hinge_axes(upper: Tensor) -> tuple[Tensor, Tensor]:
    """The axes of untwisted hinges, and what they become by a twist of 90 degrees.

    Args:
        upper: (..., L, 3) directions of the limbs' upper bones in the frames that carry them.
    """
    body = _body(upper.device)
    swing = _cross(body.rest, upper)
    turned = _cross(swing, body.axis)
    cos = _dot(body.rest, upper)
    axis = body.axis + turned + _cross(swing, turned) / (1 + cos).clamp(min=1e-3)
    return _unit(axis), _unit(_cross(upper, axis))


def hinge_angles(upper: Tensor, lower: Tensor, steady: float = 0.0) -> tuple[Tensor, Tensor]:
    """Flexion (0..pi) and twist (-pi..pi), (..., L, 1) rad each, of knees and elbows.

    Args:
        upper, lower: (..., L, 3) directions of the limbs' bones in the frames that carry them.
        steady: draws the twist of nearly straight limbs, which noise would decide, to 0: the sine
            of the flexion at which it is halved.
    """
    normal = _cross(upper, lower)
    axis, side = _hinge_axes(upper)
    flexion = torch.atan2(normal.norm(dim=-1, keepdim=True), _dot(upper, lower))
    return flexion, torch.atan2(_dot(normal, side), _dot(normal, axis) + steady)


def bend_hinge(upper: Tensor, flexion: Tensor, twist: Tensor) -> Tensor:
    """The inverse of `hinge_angles`: directions of the lower bones."""
    axis, side = _hinge_axes(upper)
    normal = axis * twist.cos() + side * twist.sin()
    return upper * flexion.cos() + _cross(normal, upper) * flexion.sin()


def _limb_frames(pelvis: Tensor, thorax: Tensor) -> Tensor:
    """(..., L, 3, 3) the frames that carry the limbs."""
    return torch.stack([thorax, thorax, pelvis, pelvis], -3)


def _joint_frames(pelvis: Tensor, thorax: Tensor) -> Tensor:
    """(..., 17, 3, 3) the frames that carry the bones to the joints."""
    lower = _body(pelvis.device).lower[:, None, None]
    return torch.where(lower, pelvis[..., None, :, :], thorax[..., None, :, :])


def _into(frames: Tensor, vectors: Tensor) -> Tensor:
    """World to frame: (..., 3, 3), (..., 3) -> (..., 3)."""
    return (frames.mT @ vectors[..., None])[..., 0]


def _out_of(frames: Tensor, vectors: Tensor) -> Tensor:
    """Frame to world."""
    return (frames @ vectors[..., None])[..., 0]


def _limb_bones(motion: Tensor, frames: Tensor) -> Tensor:
    """(..., L, 2, 3) the limbs' upper and lower bones in the frames (..., L, 3, 3)."""
    limbs = _body(motion.device).limbs
    joints = motion[..., limbs, :]
    return (joints[..., 1:, :] - joints[..., :-1, :]) @ frames


def _with_limbs(motion: Tensor, bones: Tensor) -> Tensor:
    """Hang other limbs on the body: bones (..., L, 2, 3) m in the world."""
    limbs = _body(motion.device).limbs
    ends = motion[..., limbs[:, :1], :] + bones.cumsum(dim=-2)
    out = motion.clone()
    out[..., limbs[:, 1:], :] = ends
    return out


def _lowest(motion: Tensor) -> Tensor:
    """(B, T, 17, 3) -> (B, T) m."""
    return motion[..., 2].amin(-1)


def _stand(motion: Tensor, height: Tensor, rate_hz: float) -> Tensor:
    """Shift the body vertically so that its lowest joint follows the height (B, T).

    The shift is smoothed, because the lowest joint changes from one to another of different speed
    and the whole body would jerk; so it follows nearly, in one frame at least exactly, and in none
    is it lower.
    """
    exact = height - _lowest(motion)
    reach = max(1, round(0.1 * rate_hz))
    shift = exact[:, None]
    for _ in range(2):
        padded = torch.nn.functional.pad(shift, (reach, reach), mode="replicate")
        shift = torch.nn.functional.avg_pool1d(padded, 2 * reach + 1, stride=1)
    shift = shift[:, 0]
    shift = shift + (exact - shift).amax(-1, keepdim=True)
    return motion + torch.nn.functional.pad(shift[..., None], (2, 0))[:, :, None]


# ----------------------------------------------------------------------------------- validity


def valid_hinges(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (..., L) whether each knee and elbow bends as a person's does.

    The bend must lie within `TWIST_DEG` of where the hinge's axis lies without twist (a shank that
    goes forward instead of back has 180 degrees), unless the limb is as good as straight, and be
    no sharper than `FLEXION_DEG`. Positions alone do not tell a hyperextended elbow from one in a
    twisted shoulder, so that for elbows the limit is that of the shoulder's rotation, as seen in
    motion capture.
    """
    body = _body(motion.device)
    bones = _unit(_limb_bones(motion, _limb_frames(*trunk_frames(motion))))
    flexion, twist = (a[..., 0] for a in hinge_angles(bones[..., 0, :], bones[..., 1, :]))
    forward = (twist.abs() <= body.twist) | (flexion <= body.straight)
    return forward & (flexion <= body.flexion)


def trunk_clearance(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (..., L, P) how far points on the limbs are from the middle of the trunk or
    of the head: 1 on the surface, less within.

    The trunk is all that lies about the lines from the pelvis to the spine and on to the neck's
    base by less than an ellipsoid's half axes; the head is a ball.
    """
    body = _body(motion.device)
    points = body.probes @ motion
    pelvis, thorax = trunk_frames(motion)
    joints = motion[..., [H36M17.index(j) for j in ("pelvis", "spine", "thorax")], :]
    width = _joint(motion, "left_shoulder") - _joint(motion, "right_shoulder")
    share = motion.new_tensor([TRUNK_FRONT, TRUNK_SIDE, TRUNK_FRONT])
    halves = (width.norm(dim=-1, keepdim=True).clamp(min=_EPS) * share)[..., None, :]
    ratios = []
    for number, frame in enumerate((pelvis, thorax)):
        start = joints[..., number, None, :]
        line = joints[..., number + 1, None, :] - start
        offset = points - start
        along = _dot(offset, line) / _dot(line, line).clamp(min=_EPS)
        offset = offset - along.clamp(0, 1) * line
        ratios.append((offset @ frame / halves).norm(dim=-1))
    neck = _joint(motion, "thorax")
    up = (_joint(motion, "head_top") - neck)[..., None, :]
    radius = HEAD_RADIUS * up.norm(dim=-1).clamp(min=_EPS)
    ratios.append((points - neck[..., None, :] - 0.6 * up).norm(dim=-1) / radius)
    return torch.stack(ratios).amin(0).unflatten(-1, (len(LIMBS), -1))


def leg_clearance(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (...) m: the least distance of points on the left leg from the right leg's
    bones, thighs' upper halves apart."""
    body = _body(motion.device)
    count = len(_UPPER_PROBES) + len(_LOWER_PROBES)
    points = body.probes[2 * count : 3 * count] @ motion
    hip, knee, ankle = (_joint(motion, f"right_{j}") for j in ("hip", "knee", "ankle"))
    nearest = []
    for start, end, least in ((hip, knee, 0.4), (knee, ankle, 0.0)):
        line = (end - start)[..., None, :]
        offset = points - start[..., None, :]
        along = _dot(offset, line) / _dot(line, line).clamp(min=_EPS)
        nearest.append((offset - along.clamp(least, 1) * line).norm(dim=-1))
    return torch.stack(nearest).amin(0).amin(-1)


def valid_limbs(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (..., L) whether a person's limb could be there: its hinge does not bend
    backward, it is not within the trunk or the head, legs are not within each other."""
    legs = _body(motion.device).legs
    apart = leg_clearance(motion)[..., None] >= LEG_DISTANCE_M
    return valid_hinges(motion) & (trunk_clearance(motion) >= 1).all(-1) & (apart | ~legs)


def valid_poses(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (...) whether a person could take the pose, see `valid_limbs`."""
    return valid_limbs(motion).all(-1)


# ------------------------------------------------------------------------------------- chance


def _rand(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator, device=generator.device)


def _uniform(low: float, high: float, generator: torch.Generator, *shape: int) -> Tensor:
    return low + (high - low) * _rand(generator, *shape)


def _index(count: int, generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randint(count, shape, generator=generator, device=generator.device)


def _others(batch: int, generator: torch.Generator, *shape: int) -> Tensor:
    """(B, *shape) indices of windows of the batch, none its own where there is another."""
    own = torch.arange(batch, device=generator.device).reshape(batch, *(1 for _ in shape))
    return (own + 1 + _index(max(batch - 1, 1), generator, batch, *shape)) % batch


def _choose(
    motion: Tensor, changed: Tensor, probability: float, generator: torch.Generator
) -> Tensor:
    """Each window as it was, or with that probability as it has become."""
    chosen = _rand(generator, len(motion)) < probability
    return torch.where(chosen[:, None, None, None], changed, motion)


def _smooth_noise(
    shape: tuple[int, ...],
    frames: int,
    rate_hz: float,
    frequency_hz: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """(*shape, T) about N(0, 1) at each time: four sinusoids of random frequency and phase."""
    waves = 4
    frequency = _uniform(*frequency_hz, generator, *shape, waves, 1)
    phase = _rand(generator, *shape, waves, 1)
    time = torch.arange(frames, device=generator.device) / rate_hz
    return (2 * math.pi * (frequency * time + phase)).sin().sum(-2) * math.sqrt(2 / waves)


def _minimum_jerk(part: Tensor) -> Tensor:
    """0..1 -> 0..1, beginning and ending at rest (Flash and Hogan 1985)."""
    part = part.clamp(0, 1)
    return part**3 * (10 - 15 * part + 6 * part**2)


# -------------------------------------------------------------------------------- the changes


def _move_limbs(motion: Tensor, bones: Tensor, rate_hz: float) -> Tensor:
    """Hang other limbs on the body: bones (B, T, L, 2, 3) m in the world.

    An arm that could not be there in some frame stays as it was, and so do both legs, since each of
    them has to keep clear of the other. The lowest joint stays at its height.
    """
    changed = _with_limbs(motion, bones)
    valid = valid_limbs(changed).all(1)
    valid = torch.cat([valid[:, _ARMS], valid[:, _LEGS].all(1, keepdim=True).expand(-1, 2)], 1)
    joints = _body(motion.device).limbs[:, 1:]
    changed[:, :, joints] = torch.where(
        valid[:, None, :, None, None], changed[:, :, joints], motion[:, :, joints]
    )
    moved = (changed != motion)[:, :, joints[_LEGS]].flatten(1).any(1)
    stood = _stand(changed, _lowest(motion), rate_hz)
    return torch.where(moved[:, None, None, None], stood, changed)


def recombine_limbs(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Some limbs move as those of other windows do, or as the mirror image of the limb opposite,
    relative to the pelvis (legs) or the thorax (arms). Lengths of bones stay."""
    batch = len(motion)
    frames = _limb_frames(*trunk_frames(motion))
    bones = _limb_bones(motion, frames)
    mirrored = bones[..., list(_MIRRORED_LIMB), :, :] * motion.new_tensor([1.0, -1.0, 1.0])
    donors = torch.stack([bones, mirrored]).movedim(3, 0)
    limb = torch.arange(len(LIMBS), device=motion.device)
    donor = _others(batch, generator, len(LIMBS))
    taken = donors[limb, _index(2, generator, batch, len(LIMBS)), donor].movedim(1, 2)
    taken = _unit(taken) * bones.norm(dim=-1, keepdim=True)
    replaced = _rand(generator, batch, len(LIMBS)) < config.limb_share
    bones = torch.where(replaced[:, None, :, None, None], taken, bones)
    changed = _move_limbs(motion, bones @ frames.mT, rate_hz)
    return _choose(motion, changed, config.limbs, generator)


def recombine_halves(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """All above the pelvis moves as in another window, relative to the pelvis frame."""
    donor = _others(len(motion), generator)
    pelvis, _ = trunk_frames(motion)
    offsets = bone_offsets(motion)
    taken = (offsets @ pelvis)[donor] @ pelvis.mT
    taken = _unit(taken) * offsets.norm(dim=-1, keepdim=True)
    body = _body(motion.device)
    above = ~body.lower
    above[0] = False
    changed = assemble(torch.where(above[:, None], taken, offsets))
    changed = _stand(changed, _lowest(motion), rate_hz)
    return _choose(motion, changed, config.halves, generator)


@dataclass
class _Pose:
    """A pose taken apart, so that its parts can be interpolated one by one.

    Attributes:
        pelvis: (..., 3, 3) the pelvis frame in the world.
        thorax: (..., 3, 3) the thorax frame in the pelvis frame.
        bones: (..., 17, 3) directions of the bones in the frames that carry them.
        flexion, twist: (..., L, 1) rad.
        height: (..., 1) m, of the lowest joint.
    """

    pelvis: Tensor
    thorax: Tensor
    bones: Tensor
    flexion: Tensor
    twist: Tensor
    height: Tensor


def _take_apart(poses: Tensor) -> _Pose:
    body = _body(poses.device)
    pelvis, thorax = trunk_frames(poses)
    bones = _unit(_into(_joint_frames(pelvis, thorax), bone_offsets(poses)))
    flexion, twist = hinge_angles(
        bones[..., body.limbs[:, 1], :], bones[..., body.limbs[:, 2], :], steady=0.15
    )
    limit = body.twist[:, None]
    return _Pose(
        pelvis,
        pelvis.mT @ thorax,
        bones,
        flexion,
        twist.clamp(-limit, limit),
        _lowest(poses)[..., None],
    )


def _put_together(pose: _Pose, lengths: Tensor) -> Tensor:
    """The pose with its pelvis at the origin; lengths (..., 17, 1) m."""
    body = _body(lengths.device)
    bones = pose.bones.clone()
    upper = bones[..., body.limbs[:, 1], :]
    bones[..., body.limbs[:, 2], :] = bend_hinge(upper, pose.flexion, pose.twist)
    frames = _joint_frames(pose.pelvis, pose.pelvis @ pose.thorax)
    offsets = _out_of(frames, bones) * lengths
    offsets[..., 0, :] = 0.0
    return assemble(offsets)


def _between(first: _Pose, second: _Pose, part: Tensor) -> _Pose:
    """The pose on the way from one to the other; part (..., 1)."""

    def mix(a: Tensor, b: Tensor) -> Tensor:
        return a + (b - a) * part.reshape(*part.shape, *(1 for _ in range(a.dim() - part.dim())))

    return _Pose(
        _slerp_rotation(first.pelvis, second.pelvis, part),
        _slerp_rotation(first.thorax, second.thorax, part),
        _slerp(first.bones, second.bones, part[..., None]),
        mix(first.flexion, second.flexion),
        mix(first.twist, second.twist),
        mix(first.height, second.height),
    )


def _heading(pelvis: Tensor) -> Tensor:
    """(..., 3, 3) -> (...) rad: where the hip axis points, seen from above."""
    return torch.atan2(pelvis[..., 1, 1], pelvis[..., 0, 1])


def _about_z(angle: Tensor) -> Tensor:
    """(...) rad -> (..., 3, 3)."""
    eye = torch.eye(3, device=angle.device)
    turned = _turn(eye, eye[2], angle[..., None, None])
    return turned.mT


def key_poses(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Some windows become motion from one key pose to the next, drawn from all frames of the batch.

    From key to key the frames of the trunk and the directions of the bones turn the shortest way,
    hinges' angles, the root's place and the lowest joint's height go straight, all of them with
    minimum jerk. A window shows what it has the time for of four such keys. Lengths of the bones
    are those of the window's first frame.
    """
    keys, (batch, count) = 4, motion.shape[:2]
    rows, index = _index(batch, generator, batch, keys), _index(count, generator, batch, keys)
    poses = _take_apart(motion[rows, index])

    # The body turns as little between the keys as is wished, wherever their clips looked.
    turn = math.radians(config.key_turn_deg) * _uniform(-1, 1, generator, batch, keys)
    facing = _heading(trunk_frames(motion[:, 0])[0])[:, None] + turn.cumsum(1)
    poses.pelvis = _about_z(facing - _heading(poses.pelvis)) @ poses.pelvis
    step = config.key_step_m * _uniform(-1, 1, generator, batch, keys, 2)
    place = motion[:, :1, 0, :2] + step.cumsum(1)

    knots = _uniform(*config.key_interval_s, generator, batch, keys - 1).cumsum(1)
    knots = torch.nn.functional.pad(knots, (1, 0))
    spare = (knots[:, -1:] - (count - 1) / rate_hz).clamp(min=0)
    time = spare * _rand(generator, batch, 1) + torch.arange(count, device=motion.device) / rate_hz
    before = (time[..., None] >= knots[:, None, 1:-1]).sum(-1)
    row = torch.arange(batch, device=motion.device)[:, None]
    start, end = knots[row, before], knots[row, before + 1]
    part = _minimum_jerk((time - start) / (end - start))[..., None]

    def at(which: Tensor) -> _Pose:
        return _Pose(**{f.name: getattr(poses, f.name)[row, which] for f in fields(_Pose)})

    pose = _between(at(before), at(before + 1), part)
    lengths = bone_offsets(motion[:, :1]).norm(dim=-1, keepdim=True)
    changed = _stand(_put_together(pose, lengths), pose.height[..., 0], rate_hz)
    ground = place[row, before] + (place[row, before + 1] - place[row, before]) * part
    changed = changed + torch.nn.functional.pad(ground, (0, 1))[:, :, None]
    return _choose(motion, changed, config.keys, generator)


@dataclass(frozen=True)
class _Range:
    """How limbs move by chance: well inside of what some people can do. Left limbs; degrees.

    Attributes:
        middle, half: of the cone in which the upper bone stays: an axis (forward, left, up).
        flexion, twist: the most of them.
        shares: of the swing's spread about the axes forward, left and up.
        pull: how far the upper bone is drawn to the cone's middle, as a share of the way: limbs
            collide less there.
    """

    middle: tuple[float, float, float]
    half: float
    flexion: float
    twist: float
    shares: tuple[float, float, float]
    pull: float


# Thighs swing to and fro rather than sideways: legs would often collide.
_ARM_RANGE = _Range((0.5, 0.6, -0.2), 95.0, 140.0, 75.0, (1.0, 1.0, 1.0), 0.25)
_LEG_RANGE = _Range((0.45, 0.25, -0.9), 60.0, 135.0, 30.0, (0.4, 1.0, 0.4), 0.2)


@lru_cache
def _ranges(device: torch.device) -> dict[str, Tensor]:
    """The fields of `_Range` as (L, 3) or (L, 1), rad, right limbs mirrored."""
    ranges = [_ARM_RANGE if "shoulder" in limb[0] else _LEG_RANGE for limb in LIMBS]
    side = torch.tensor([[1.0 if limb[0].startswith("left") else -1.0] for limb in LIMBS])
    one = torch.ones_like(side)
    table = {
        f.name: torch.tensor([getattr(r, f.name) for r in ranges]).reshape(len(LIMBS), -1)
        for f in fields(_Range)
    }
    for name in ("half", "flexion", "twist"):
        table[name] = torch.deg2rad(table[name])
    table["middle"] = _unit(table["middle"] * torch.cat([one, side, one], 1))
    return {name: tensor.to(device) for name, tensor in table.items()}


def random_rotations(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Limbs of some windows swing, bend and twist smoothly at random about what they do, hips and
    shoulders within cones, knees and elbows as hinges."""
    batch, count = motion.shape[:2]
    frames = _limb_frames(*trunk_frames(motion))
    bones = _limb_bones(motion, frames)
    upper, lower = _unit(bones).unbind(-2)
    flexion, twist = hinge_angles(upper, lower, steady=0.15)

    noise = _smooth_noise(
        (batch, len(LIMBS), 5), count, rate_hz, config.frequency_hz, generator
    ).permute(0, 3, 1, 2)
    spread = torch.deg2rad(
        motion.new_tensor([config.swing_deg] * 3 + [config.flexion_deg, config.twist_deg])
    )
    swing, bend, roll = (noise * spread).split([3, 1, 1], dim=-1)
    limits = _ranges(motion.device)
    swing = swing * limits["shares"]
    upper = _turn(upper, _unit(swing), swing.norm(dim=-1, keepdim=True))
    middle, half = limits["middle"].expand_as(upper), limits["half"]
    away = torch.atan2(_cross(middle, upper).norm(dim=-1, keepdim=True), _dot(middle, upper))
    # Drawn to the middle, and let no nearer to the cone's edge than the edge, without a kink.
    part = 1 - limits["pull"]
    part = part / (1 + (part * away / half) ** 8) ** 0.125
    upper = _slerp(middle, upper, part)
    # Bent beyond straight, a limb is all but straight; it comes to rest there without a jerk.
    flexion = flexion + bend
    flexion = ((flexion + (flexion**2 + 0.05).sqrt()) / 2).minimum(limits["flexion"])
    twist = (twist + roll).clamp(-limits["twist"], limits["twist"])
    lower = bend_hinge(upper, flexion, twist)
    turned = torch.stack([upper, lower], -2) * bones.norm(dim=-1, keepdim=True)
    changed = _move_limbs(motion, turned @ frames.mT, rate_hz)
    return _choose(motion, changed, config.rotations, generator)


#: Group of each bone by the joint at its end, for `change_bone_lengths`.
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
    """Other proportions, the same left and right and throughout a window. Directions stay, the
    lowest joint's height stays, and steps are as much longer as the legs are."""
    batch = len(motion)
    groups = sorted(set(_GROUPS.values()))
    names = [j.removeprefix("left_").removeprefix("right_") for j in H36M17.joints]
    bones = sorted(_GROUPS)
    largest = motion.new_tensor([getattr(config, g) for g in groups])
    common = largest * _uniform(-1, 1, generator, batch, len(groups))
    single = config.bone_length * _uniform(-1, 1, generator, batch, len(bones))
    of_group = [groups.index(_GROUPS[bone]) for bone in bones]
    factor = (1 + common[:, of_group]) * (1 + single)
    offsets = bone_offsets(motion)
    begin = offsets[:, :1, :1]
    pace = 1 + common[:, groups.index("leg_length")]
    root = begin + (offsets[:, :, :1] - begin) * pace[:, None, None, None]
    factor = factor[:, [bones.index(n) for n in names[1:]]]
    changed = torch.cat([root, offsets[:, :, 1:] * factor[:, None, :, None]], 2)
    changed = _stand(assemble(changed), _lowest(motion), rate_hz)
    return _choose(motion, changed, config.lengths, generator)


def tilt_body(
    motion: Tensor, config: DiversityConfig, generator: torch.Generator, rate_hz: float
) -> Tensor:
    """Some bodies are turned about a random horizontal axis through the pelvis, all the time or as
    they fall, so that lying, crawling and hanging upside down are seen. The lowest joint, whichever
    it is then, is as high above the floor as the lowest one was."""
    batch, count = motion.shape[:2]
    course = 2 * math.pi * _rand(generator, batch)
    axis = torch.stack([course.cos(), course.sin(), torch.zeros_like(course)], -1)
    # The fall's middle lies within the window, so that every falling body is seen to fall.
    time = torch.arange(count, device=motion.device) / rate_hz
    lasts = _uniform(*config.fall_s, generator, batch, 1)
    middle = _rand(generator, batch, 1) * (count - 1) / rate_hz
    part = _minimum_jerk((time - middle) / lasts + 0.5)
    constant = _rand(generator, batch, 1) < config.tilt_constant
    part = torch.where(constant, torch.ones_like(part), part)
    angle = part * math.radians(config.tilt_deg) * _rand(generator, batch, 1)
    root = motion[:, :, :1]
    turned = _turn(motion - root, axis[:, None, None], angle[:, :, None, None])
    changed = _stand(root + turned, _lowest(motion), rate_hz)
    return _choose(motion, changed, config.tilt, generator)


#: A function of this module by the field of `DiversityConfig` with its probability, in the order
#: in which they are applied: what replaces a whole motion comes before what changes parts of it.
Change = Callable[[Tensor, DiversityConfig, torch.Generator, float], Tensor]
CHANGES: dict[str, Change] = {
    "keys": key_poses,
    "halves": recombine_halves,
    "limbs": recombine_limbs,
    "rotations": random_rotations,
    "lengths": change_bone_lengths,
    "tilt": tilt_body,
}


class Diversity:
    """Applies all of the changes to batches of windows.

    A window in which a change makes any pose impossible, see `valid_poses`, stays as it was before
    that change.

    Args:
        config: how much of what.
        rate_hz: frames a second of the windows.
        generator: to draw from; it must live on the windows' device.

    Attributes:
        tried, refused: numbers of windows per change, as tensors on the device so that counting
            does not wait for it.
    """

    def __init__(self, config: DiversityConfig, rate_hz: float, generator: torch.Generator) -> None:
        if not rate_hz > 0:
            raise ValueError(f"rate_hz must be positive, not {rate_hz!r}")
        self.config, self.rate_hz, self.generator = config, rate_hz, generator
        self.changes = {n: f for n, f in CHANGES.items() if getattr(config, n) > 0}
        zero = torch.zeros((), dtype=torch.long, device=generator.device)
        self.tried = {name: zero for name in self.changes}
        self.refused = {name: zero for name in self.changes}

    def __call__(self, motion: Tensor) -> Tensor:
        """(B, T, 17, 3) m, z up -> the same, richer. The input is not written to."""
        for name, change in self.changes.items():
            changed = change(motion, self.config, self.generator, self.rate_hz)
            touched = (changed != motion).flatten(1).any(1)
            # A body that is turned as a whole is as possible as it was.
            keep = touched if name == "tilt" else touched & valid_poses(changed).all(1)
            self.tried[name] = self.tried[name] + touched.sum()
            self.refused[name] = self.refused[name] + (touched & ~keep).sum()
            motion = torch.where(keep[:, None, None, None], changed, motion)
        return motion

    def refusal_rates(self) -> dict[str, float]:
        """Share of the changed windows that had to stay as they were, per change."""
        return {n: float(self.refused[n]) / max(1, int(self.tried[n])) for n in self.changes}
