"""What is refused before the network sees it."""

from __future__ import annotations

import torch
from torch import Tensor


def _values_can_be_read(x: Tensor) -> bool:
    """Whether looking at the values costs nothing but the look.

    Reading from a GPU would wait for it, cannot be captured in a CUDA graph, and a traced or
    compiled graph would keep the answer of one input for all.
    """
    return x.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.jit.is_tracing())


def check_clip(
    x: Tensor,
    channels: int,
    joints: int | None = None,
    min_frames: int = 1,
    name: str = "keypoints",
) -> None:
    """Refuse what is no clip of so many channels.

    Shape and type are always looked at; that all is finite only where that needs no waiting, which
    is on the CPU outside of tracing and compiling. Who sends clips to a GPU looks before.

    Args:
        x: (B, T, J, C), any floating type.
        joints: J, where it is fixed.
        min_frames: the least T.

    Raises:
        ValueError: says what was expected and what came.
    """
    wanted = f"(B, T, {joints or 'J'}, {channels})"
    if x.ndim != 4:
        raise ValueError(f"{name} must be {wanted}, four dimensions, not {tuple(x.shape)}")
    if x.shape[3] != channels or (joints is not None and x.shape[2] != joints):
        raise ValueError(f"{name} must be {wanted}, not {tuple(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"{name} must be floating-point numbers, not {x.dtype}")
    if x.shape[1] < min_frames:
        raise ValueError(f"{name} must be {min_frames} frames or more, not {x.shape[1]}")
    if _values_can_be_read(x) and not bool(x.isfinite().all()):
        bad = int((~x.isfinite()).sum())
        raise ValueError(f"{name} must be finite; {bad} of {x.numel()} values are NaN or infinite")
