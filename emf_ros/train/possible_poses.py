"""Which poses a person can take: hinges that bend the right way, and limbs outside the trunk.

Positions are (..., 17, 3) m in the joint order of h36m17.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..skeletons import H36M17
from .articulated_body import (
    LIMBS,
    LOWER_PROBES,
    UPPER_PROBES,
    body_of,
    hinge_angles,
    joint_of,
    limb_bones,
    limb_frames,
    trunk_frames,
)
from .vectors import EPS, constant, dot, index_of, unit

#: Joints of the trunk, from the bottom up.
_TRUNK = tuple(H36M17.index(joint) for joint in ("pelvis", "spine", "thorax"))

# 99.8 % of the recorded frames keep clear of the trunk and the head, 99.9 % of the other leg.

#: Half axis of the trunk to the side, as a share of the distance between the shoulders.
TRUNK_SIDE = 0.4
#: Half axis of the trunk to the front, as a share of the distance between the shoulders.
TRUNK_FRONT = 0.26
#: Radius of the head, as a share of the distance from the neck's base to the top of the head.
HEAD_RADIUS = 0.26
#: Minimum distance between the centre lines of the two legs, m.
LEG_DISTANCE_M = 0.06


def valid_hinges(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (..., L) whether each knee and elbow bends as a person's can.

    The twist must be at most `TWIST_DEG` unless the limb is straight: a shank that bends forward
    has a twist of 180 degrees. The flexion must be at most `FLEXION_DEG`. Positions alone do not
    tell a hyperextended elbow from one under a twisted shoulder. The limit for elbows is therefore
    the range of the shoulder's rotation in motion capture.
    """
    body = body_of(motion.device)
    bones = unit(limb_bones(motion, limb_frames(*trunk_frames(motion))))
    flexion, twist = (a[..., 0] for a in hinge_angles(bones[..., 0, :], bones[..., 1, :]))
    forward = (twist.abs() <= body.twist) | (flexion <= body.straight)
    return forward & (flexion <= body.flexion)


def trunk_clearance(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (..., L, P) distance of points on the limbs from the trunk and the head.

    It is relative: 1 on the surface of the nearer one, less than 1 inside. The trunk is an
    ellipsoid moved along the line from the pelvis over the spine to the neck's base. The head is a
    sphere.
    """
    body = body_of(motion.device)
    points = body.probes @ motion
    pelvis, thorax = trunk_frames(motion)
    joints = motion[..., index_of(_TRUNK, motion.device), :]
    width = joint_of(motion, "left_shoulder") - joint_of(motion, "right_shoulder")
    share = constant((TRUNK_FRONT, TRUNK_SIDE, TRUNK_FRONT), motion)
    halves = (width.norm(dim=-1, keepdim=True).clamp(min=EPS) * share)[..., None, :]
    ratios = []
    for number, frame in enumerate((pelvis, thorax)):
        start = joints[..., number, None, :]
        line = joints[..., number + 1, None, :] - start
        offset = points - start
        along = dot(offset, line) / dot(line, line).clamp(min=EPS)
        offset = offset - along.clamp(0, 1) * line
        ratios.append((offset @ frame / halves).norm(dim=-1))
    neck = joint_of(motion, "thorax")
    up = (joint_of(motion, "head_top") - neck)[..., None, :]
    radius = HEAD_RADIUS * up.norm(dim=-1).clamp(min=EPS)
    ratios.append((points - neck[..., None, :] - 0.6 * up).norm(dim=-1) / radius)
    return torch.stack(ratios).amin(0).unflatten(-1, (len(LIMBS), -1))


def leg_clearance(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (...) m, minimum distance of points on the left leg from the right bones.

    The upper parts of the thighs are left out.
    """
    body = body_of(motion.device)
    count = len(UPPER_PROBES) + len(LOWER_PROBES)
    points = body.probes[2 * count : 3 * count] @ motion
    hip, knee, ankle = (joint_of(motion, f"right_{j}") for j in ("hip", "knee", "ankle"))
    nearest = []
    for start, end, least in ((hip, knee, 0.4), (knee, ankle, 0.0)):
        line = (end - start)[..., None, :]
        offset = points - start[..., None, :]
        along = dot(offset, line) / dot(line, line).clamp(min=EPS)
        nearest.append((offset - along.clamp(least, 1) * line).norm(dim=-1))
    return torch.stack(nearest).amin(0).amin(-1)


def valid_limbs(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (..., L) whether each limb is possible.

    Its hinge bends the right way, it is outside the trunk and the head, and legs are apart.
    """
    legs = body_of(motion.device).legs
    apart = leg_clearance(motion)[..., None] >= LEG_DISTANCE_M
    return valid_hinges(motion) & (trunk_clearance(motion) >= 1).all(-1) & (apart | ~legs)


def valid_poses(motion: Tensor) -> Tensor:
    """(..., 17, 3) -> (...) whether all limbs are possible, see `valid_limbs`."""
    return valid_limbs(motion).all(-1)
