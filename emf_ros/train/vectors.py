"""Directions and rotations in 3D."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

#: Minimum length that a vector is divided by.
EPS = 1e-6


def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """A constant (N,) of the type and on the device of another tensor; it must not be changed."""
    return _kept(values, like.dtype, like.device)


def index_of(values: tuple[int, ...], device: torch.device) -> Tensor:
    """An index (N,) on a device; it must not be changed."""
    return _kept(values, torch.int64, device)


@lru_cache(maxsize=256)
def _kept(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A constant that is sent to the device once: the copy waits for all that a GPU has to do."""
    # A tensor of the inference mode could not be used in training.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """(..., 3), (..., 3) -> (..., 1), the scalar product."""
    return (a * b).sum(-1, keepdim=True)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """(..., 3), (..., 3) -> (..., 3), the vector product."""
    return torch.linalg.cross(*torch.broadcast_tensors(a, b))


def unit(vector: Tensor) -> Tensor:
    """(..., 3) -> (..., 3) of length 1; zero stays zero."""
    return vector / vector.norm(dim=-1, keepdim=True).clamp(min=EPS)


def axes_from(left: Tensor, up: Tensor) -> Tensor:
    """(..., 3, 3) rotation whose columns are forward, left and up.

    The two directions need not be perpendicular. Where they are parallel, or one is zero, the
    rotation is arbitrary but valid.
    """
    # The shifts are far below a body's measurement errors, and not parallel to each other.
    left = left + constant((1e-5, 2e-5, -1e-5), left)
    up = up + constant((2e-5, -1e-5, 3e-5), up)
    y = unit(left)
    z = unit(up - dot(up, y) * y)
    return torch.stack([cross(y, z), y, z], -1)


def rotate_about(vector: Tensor, axis: Tensor, angle: Tensor) -> Tensor:
    """Turn a vector (..., 3) about a unit axis (..., 3) by an angle (..., 1) rad (Rodrigues)."""
    sin, cos = angle.sin(), angle.cos()
    return vector * cos + cross(axis, vector) * sin + axis * dot(axis, vector) * (1 - cos)


def slerp(first: Tensor, second: Tensor, part: Tensor) -> Tensor:
    """Interpolate unit vectors (..., 3) along the great circle; part (..., 1), 0 is the first."""
    normal = cross(first, second)
    sin = normal.norm(dim=-1, keepdim=True)
    # Opposite directions are on many great circles; any of them is right.
    some = cross(first, first.roll(1, -1) * constant((1.0, -1.0, 1.0), first))
    axis = unit(torch.where(sin > 1e-4, normal, some))
    return rotate_about(first, axis, part * torch.atan2(sin, dot(first, second)))


def slerp_rotation(first: Tensor, second: Tensor, part: Tensor) -> Tensor:
    """Interpolate rotations (..., 3, 3) the shortest way; part (..., 1), 0 is the first."""
    r = first.mT @ second
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    # The quaternion of the relative rotation (Shepperd 1978); its real part is not negative.
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
    axis = first @ unit(imaginary)[..., None]
    return rotate_about(first.mT, axis.mT, (part * angle)[..., None]).mT
