"""Cost of a configuration: parameters and arithmetic."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from .lifter import Lifter
from .presets import LifterConfig


def parameters(config: LifterConfig) -> int:
    """Number of trained or imported weights."""
    with torch.device("meta"):
        return sum(p.numel() for p in Lifter(config).parameters())


@lru_cache(maxsize=32)
def macs(config: LifterConfig) -> int:
    """Number of multiply-adds of one clip in matrix products, attention included."""
    with torch.device("meta"):
        lifter = Lifter(config).eval()
        keypoints = torch.zeros(1, config.frames, lifter.joints, config.motion.channels)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        lifter(keypoints)
    return int(counter.get_total_flops()) // 2
