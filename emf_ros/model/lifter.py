"""The lifter: EMF, TCPFormer and the two heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..skeletons import get_layout
from .motion_flow import EnhancedMotionFlow
from .presets import LifterConfig
from .tcpformer import TCPFormer


class Lifter(nn.Module):
    """Canonical 2D keypoints over time to root-relative 3D joints.

    H_embed = W_embed (EMF(X) + P), section 3.1.6 of the EMF paper, then TCPFormer's layers.
    """

    def __init__(self, config: LifterConfig) -> None:
        super().__init__()
        self.config = config
        joints = len(get_layout(config.layout))
        self.motion_flow = EnhancedMotionFlow(config.motion_dim)
        self.position = nn.Parameter(torch.zeros(1, joints, config.motion_dim))
        self.trunk = TCPFormer(
            config.motion_dim,
            config.dim,
            config.dim_rep,
            config.layers,
            config.frames,
            joints,
            config.heads,
            config.mlp_ratio,
            config.layer_scale,
            config.local_branch,
        )
        # P stands in front of W_embed here; a second embedding behind it would only repeat it.
        self.trunk.joint_position.requires_grad_(False)
        self.position_head = nn.Linear(config.dim_rep, 3)
        self.scale_head = nn.Linear(config.dim_rep, 1)

    def forward(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            keypoints: (B, T, J, 3) as of `canonical_window`.

        Returns:
            positions (B, T, J, 3) m, relative to the pelvis, in the virtual camera's frame, and the
            logarithm of the Laplace scale of their error (B, T, J), log m.
        """
        features = self.trunk(self.motion_flow(keypoints) + self.position)
        positions = self.position_head(features)
        positions = positions - positions[:, :, :1]
        return positions, self.scale_head(features).squeeze(-1)
