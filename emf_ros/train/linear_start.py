"""The first weights of EMF: those with which it begins as a linear map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..model.lifter import Lifter


@torch.no_grad()
def begin_linear(lifter: Lifter) -> bool:
    """Set EMF and W_embed so that W_embed EMF(X) is linear in X and in its motion M_s.

    The second half of the units of each layer is the negative of the first half. As ReLU(u) -
    ReLU(-u) = u, the next layer sees u itself: "looks-linear initialisation" (Balduzzi et al. 2017,
    "The Shattered Gradients Problem", section 4). With torch's first weights g(X) is mostly its
    offsets, and in its first minutes a network of this size learns more slowly from it than from
    the keypoints themselves; later that makes no difference (docs/experiments/network.md).

    The features of the keypoints are as large as the keypoints, and W_embed as large as that of a
    network without EMF.

    Returns:
        whether the network has the form for this: EMF with g, final ReLUs and even widths. Others
        are left as they are.
    """
    motion = lifter.motion_flow
    if motion is None or motion.original is None or not motion.config.final_relu:
        return False
    scales, width = len(motion.config.scales), motion.config.dim
    if width % (2 * scales):
        return False
    for encoder in motion.encoders:
        _begin(encoder, _orthogonal(width // scales, motion.config.channels))
    _begin(motion.original, _orthogonal(width // 2, motion.config.channels))
    # The softmax of equal logits makes the motion of each scale smaller.
    of_motion = scales * _orthogonal(width, width // 2)
    _begin(motion.enhance, _read_pairs(of_motion, scales))
    embed, frames = lifter.trunk.embed, lifter.config.frame_stride
    size = (frames * motion.config.channels) ** -0.5
    linear = torch.empty(embed.out_features, frames * width // 2).uniform_(-size, size)
    embed.weight.copy_(_read_pairs(linear, frames))
    embed.bias.zero_()
    return True


def _begin(mlp: nn.Module, first: Tensor) -> None:
    """A linear map through both layers of `motion_flow._mlp`, with `first` half of the first."""
    layers = [layer for layer in mlp.modules() if isinstance(layer, nn.Linear)]
    second = _orthogonal(layers[1].out_features // 2, len(first))
    for layer, half in zip(layers, (first, _read_pairs(second, 1)), strict=True):
        layer.weight.copy_(torch.cat([half, -half]))
        layer.bias.zero_()


def _read_pairs(matrix: Tensor, groups: int) -> Tensor:
    """(M, N) for values u -> (M, 2 N) for their pairs: `groups` times ReLU(u_i), ReLU(-u_i)."""
    return torch.cat([half for part in matrix.chunk(groups, 1) for half in (part, -part)], 1)


def _orthogonal(rows: int, columns: int) -> Tensor:
    return nn.init.orthogonal_(torch.empty(rows, columns))
