"""The published TCPFormer, from a checkout of its repository."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def _without_cuda() -> Iterator[None]:
    """The published code moves six tensors to 'cuda' while it is built, GPU or not."""
    if torch.cuda.is_available():
        yield
        return
    original = torch.Tensor.to

    def to(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self if args[:1] == ("cuda",) else original(self, *args, **kwargs)

    torch.Tensor.to = to  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        torch.Tensor.to = original  # type: ignore[method-assign]


def reference(checkout: str, frames: int) -> nn.Module:
    """The published TCPFormer of full size, with random weights."""
    if "timm" not in sys.modules:
        try:
            import timm.models.layers  # noqa: F401
        except ImportError:
            # It takes stochastic depth from there, which is off.
            names = ("timm", "timm.models", "timm.models.layers")
            for name in names:
                sys.modules[name] = types.ModuleType(name)
            sys.modules[names[2]].DropPath = nn.Identity  # type: ignore[attr-defined]
    if checkout not in sys.path:
        sys.path.insert(0, checkout)
    from model.Model import MemoryInducedTransformer

    with _without_cuda():
        network: nn.Module = MemoryInducedTransformer(
            n_layers=16,
            dim_in=3,
            dim_feat=128,
            dim_rep=512,
            dim_out=3,
            mlp_ratio=4,
            num_heads=8,
            n_frames=frames,
        )
    return network.eval()
