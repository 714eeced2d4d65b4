"""Training in bfloat16: only inside the blocks. EMF and the heads stay in float32.

A GPU uses autocast in each block. Between blocks numbers are float32: positions in bfloat16 would
have steps of 4 mm, and velocities would be those of the rounding.

On a CPU that supports bfloat16 its matrix products are about twice as fast. autocast also converts
attention and element-wise operations, which are slower in bfloat16 on a CPU. So there only the
products change. Their inputs are rounded, the processor keeps the sums in float32, and everything
between two products stays in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..model.lifter import Lifter


def uses_bfloat16(precision: str) -> bool:
    """Whether a `precision` of `TrainConfig` means bfloat16 products on this CPU."""
    if precision != "auto":
        return precision == "bfloat16"
    # Without the instructions bfloat16 is emulated and slower than float32.
    has = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(has())


class _Product(torch.autograd.Function):
    """y = x W^T + b with bfloat16 factors, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        flat, half = x.reshape(-1, x.shape[-1]).bfloat16(), weight.bfloat16()
        ctx.save_for_backward(flat, half)
        ctx.shape, ctx.has_bias = x.shape, bias is not None
        y = (flat @ half.T).float()
        if bias is not None:
            y += bias
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0])
        half = gradient.bfloat16()
        of_bias = gradient.sum(dim=0) if ctx.has_bias else None
        return (half @ weight).float().view(ctx.shape), (half.T @ x).float(), of_bias


class Bfloat16Linear(nn.Linear):
    """A linear layer whose product is in bfloat16 while gradients are enabled."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return super().forward(x)
        product: Tensor = _Product.apply(x, self.weight, self.bias)
        return product


def multiply_in_bfloat16(module: nn.Module) -> None:
    """Make the linear layers of a module compute in bfloat16; weights stay in float32."""
    for layer in module.modules():
        # Only the class changes, so that names, weights and optimisers stay the same.
        if type(layer) is nn.Linear and layer.out_features > 2:
            layer.__class__ = Bfloat16Linear


def autocast_blocks(lifter: Lifter) -> None:
    """Make the blocks of a lifter compute with autocast to bfloat16; the rest stays in float32."""
    trunk = lifter.trunk
    for block in (*trunk.blocks, *trunk.local_blocks, *trunk.proxy_blocks):
        # The object's own attribute: names, weights and copies for evaluation stay as they are.
        block.forward = _Halved(block.forward)


class _Halved:
    """A block's forward pass with autocast, whose outputs are float32."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward

    def __call__(self, *inputs: Tensor) -> Any:
        with torch.autocast(inputs[0].device.type, torch.bfloat16):
            output = self._forward(*inputs)
        if isinstance(output, tuple):
            return tuple(part.float() for part in output)
        return output.float()
