"""Linear layers that take over the constant factors and offsets beside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A linear layer with a given weight (out, in) and bias (out)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


def after_norm(weight: Tensor, bias: Tensor | None, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """W (g n + b) + c = (W g) n + (W b + c): a linear layer merged with a norm's affine part."""
    offset = weight @ norm.bias
    return weight * norm.weight, offset if bias is None else offset + bias


def scaled(layer: nn.Linear, scale: Tensor) -> nn.Linear:
    """s (W x + c) as one layer."""
    return linear(layer.weight * scale[:, None], layer.bias * scale)


def joined(*parts: tuple[Tensor, Tensor]) -> nn.Linear:
    """Linear layers of the same input as one layer."""
    return linear(torch.cat([w for w, _ in parts]), torch.cat([b for _, b in parts]))
