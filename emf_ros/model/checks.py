"""Checks of the network's input."""

from __future__ import annotations

import torch
from torch import Tensor


def _values_can_be_read(x: Tensor) -> bool:
    """Whether values can be read without side effects.

    Reading from a GPU waits for it and cannot be captured in a CUDA graph. A traced or compiled
    graph would keep the answer of one input.
    """
    return x.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.jit.is_tracing())


def check_clip(
    x: Tensor,
    channels: int,
    joints: int | None = None,
    min_frames: int = 1,
    name: str = "keypoints",
) -> None:
    """Check the shape, type and values of a clip.

    Values are tested on the CPU only, outside tracing and compiling. Callers test the values of
    clips for a GPU before.

    Args:
        x: (B, T, J, C), any floating type.
        channels: C.
        joints: J; None accepts any.
        min_frames: minimum T.
        name: of the clip in messages.

    Raises:
        ValueError: the clip is wrong; names the expected and the actual shape or values.
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
