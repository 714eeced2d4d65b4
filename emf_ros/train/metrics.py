"""Errors of 3D poses, in the field's terms."""

from __future__ import annotations

import torch
from torch import Tensor

from ..skeletons import H36M17


def mpjpe(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean per-joint position error of poses (..., J, 3), in their unit; over J only."""
    return (predicted - truth).norm(dim=-1).mean(dim=-1)


def p_mpjpe(predicted: Tensor, truth: Tensor) -> Tensor:
    """MPJPE after the best similarity transform per pose (Procrustes; Umeyama 1991).

    Args:
        predicted, truth: (..., J, 3).
    """
    mean_p = predicted.mean(dim=-2, keepdim=True)
    mean_t = truth.mean(dim=-2, keepdim=True)
    p, t = predicted - mean_p, truth - mean_t
    u, s, vh = torch.linalg.svd(p.transpose(-1, -2) @ t)
    sign = torch.ones_like(s)
    sign[..., 2] = torch.det(u @ vh).sign()
    rotation = (u * sign[..., None, :]) @ vh
    scale = (s * sign).sum(-1) / p.square().sum((-1, -2)).clamp(min=1e-12)
    return mpjpe(scale[..., None, None] * p @ rotation + mean_t, truth)


def n_mpjpe(predicted: Tensor, truth: Tensor) -> Tensor:
    """MPJPE after the best scale per pose, both relative to the root. (..., J, 3)."""
    scale = (predicted * truth).sum((-1, -2)) / predicted.square().sum((-1, -2)).clamp(min=1e-12)
    return mpjpe(scale[..., None, None] * predicted, truth)


def mpjve(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean per-joint velocity error of sequences (..., T, J, 3), unit per frame."""
    return mpjpe(predicted.diff(dim=-3), truth.diff(dim=-3)).mean(dim=-1)


def acceleration_error(predicted: Tensor, truth: Tensor, rate_hz: float) -> Tensor:
    """Mean norm of the acceleration's error of sequences (..., T, J, 3) m, m/s^2."""
    error = (predicted - truth).diff(n=2, dim=-3) * rate_hz**2
    return error.norm(dim=-1).mean(dim=(-1, -2))


def trunk_frame(joints: Tensor) -> Tensor:
    """How the trunk is turned.

    Args:
        joints: (..., 17, 3) of layout h36m17.

    Returns:
        (..., 3, 3) R whose rows are the trunk's axes: to its left (the hips' line, square to the
        last), to its back, and up (pelvis to thorax), so that R @ x is x in the trunk's frame.
    """
    up = joints[..., H36M17.index("thorax"), :] - joints[..., H36M17.index("pelvis"), :]
    left = joints[..., H36M17.index("left_hip"), :] - joints[..., H36M17.index("right_hip"), :]
    up = up / up.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    left = left - (left * up).sum(dim=-1, keepdim=True) * up
    left = left / left.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    back = torch.linalg.cross(up, left)
    return torch.stack([left, back, up], dim=-2)
