"""Which parameters of a lifter are trained by which optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..model.lifter import Lifter
from ..model.tcpformer import StackedLinear
from .muon import BatchedMuon
from .settings import TrainConfig


def make_optimizers(lifter: Lifter, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The optimisers of a run: AdamW, and Muon where the settings ask for it.

    Weight decay applies to matrices, not to scales, offsets and kernels.
    """
    matrices = {
        id(module.weight)
        for module in lifter.modules()
        if isinstance(module, nn.Linear | StackedLinear)
    }
    hidden = {
        id(p)
        for name, p in lifter.named_parameters()
        if id(p) in matrices and p.ndim == 2 and _maps_features(name, p, lifter)
    }
    trained = [p for p in lifter.parameters() if p.requires_grad]
    by_muon = [p for p in trained if id(p) in hidden] if config.optimizer == "muon" else []
    rest = [p for p in trained if config.optimizer != "muon" or id(p) not in hidden]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if id(p) in matrices]},
        {"params": [p for p in rest if id(p) not in matrices], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            groups, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
    ]
    if by_muon:
        optimizers.append(BatchedMuon(by_muon, config.learning_rate, config.weight_decay))
    return optimizers


def _maps_features(name: str, matrix: nn.Parameter, lifter: Lifter) -> bool:
    """Whether a matrix maps features to features, as Muon needs.

    That excludes EMF's first layers, whose input is keypoints, and the heads. EMF's inner layers
    and W_embed learn more slowly with AdamW (docs/experiments/network.md).
    """
    if name.startswith("trunk.") and "blocks." in name:
        return ".fusion." not in name  # it gives two weights
    if lifter.motion_flow is None:
        return False
    inner = name.startswith("motion_flow.") and matrix.shape[1] != lifter.config.motion.channels
    return inner or name == "trunk.embed.weight"
