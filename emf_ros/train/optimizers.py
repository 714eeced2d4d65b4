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
    # Muon suits matrices that map features to features. 'fusion' gives two weights.
    hidden = {
        id(p)
        for name, p in lifter.trunk.named_parameters()
        if "blocks." in name and ".fusion." not in name and p.ndim == 2
    } & matrices
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
    if by_muon and by_muon[0].device.type == "cuda":
        optimizers.append(BatchedMuon(by_muon, config.learning_rate, config.weight_decay))
    elif by_muon:
        optimizers.append(
            torch.optim.Muon(
                by_muon,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimizers
