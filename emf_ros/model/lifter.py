"""The lifter: EMF, TCPFormer and the two heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..skeletons import get_layout
from .checks import check_clip
from .motion_flow import EnhancedMotionFlow
from .presets import LifterConfig
from .tcpformer import TCPFormer


def join_frames(x: Tensor, stride: int) -> Tensor:
    """(B, T, J, C) -> (B, T/s, J, s C), features of s neighbouring frames in one token."""
    if stride == 1:
        return x
    return x.unflatten(1, (-1, stride)).transpose(2, 3).flatten(3)


def split_frames(x: Tensor, stride: int) -> Tensor:
    """(B, T/s, J, s C) -> (B, T, J, C), the inverse of `join_frames`."""
    if stride == 1:
        return x
    return x.unflatten(3, (stride, -1)).transpose(2, 3).flatten(1, 2)


class Lifter(nn.Module):
    """From 2D keypoints over time to root-relative 3D joints.

    Section 3.1.6 of the EMF paper, equations (7) H^(0) = EMF(X) + P and (8) H_embed = W_embed H^(0)
    + b_embed, then TCPFormer's layers and our heads.
    """

    def __init__(self, config: LifterConfig) -> None:
        super().__init__()
        self.config = config
        self.joints = len(get_layout(config.layout))
        emf = config.features == "emf"
        self.motion_flow = EnhancedMotionFlow(config.motion) if emf else None
        before = config.position == "before_embedding"
        self.position = (
            nn.Parameter(torch.zeros(1, self.joints, config.feature_width)) if before else None
        )
        self.trunk = TCPFormer(
            config.frame_stride * config.feature_width,
            config.dim,
            config.dim_rep,
            config.layers,
            config.tokens,
            self.joints,
            config.heads,
            config.mlp_ratio,
            config.layer_scale,
            config.local_branch,
            config.temporal_position,
        )
        # P before W_embed replaces the joint position behind it.
        self.trunk.joint_position.requires_grad_(not before)
        self.position_head = nn.Linear(config.dim_rep, 3 * config.frame_stride)
        self.scale_head = nn.Linear(config.dim_rep, config.frame_stride)
        # Set after training, see `train.confidence`; zero until then.
        self.scale_offset: Tensor
        self.register_buffer("scale_offset", torch.zeros(self.joints))

    def features(self, keypoints: Tensor) -> Tensor:
        """(B, T, J, C) -> (B, T, J, feature width), the features of each frame."""
        if self.motion_flow is not None:
            features = self.motion_flow(keypoints)
        elif self.config.features == "difference":
            before = torch.cat([keypoints[:, :1], keypoints[:, :-1]], dim=1)
            features = torch.cat([keypoints, keypoints - before], dim=-1)
        else:
            features = keypoints
        return features if self.position is None else features + self.position  # (7)

    def forward(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            keypoints: (B, T, J, 3) as `canonical_window` gives them. T may differ from the
                configuration's, but accuracy was measured at that. Where T is no multiple of
                frame_stride, or gives fewer than 3 tokens, the first frame is repeated in front.

        Returns:
            positions (B, T, J, 3) m, relative to the pelvis, in the virtual camera's frame; and
            the logarithm (B, T, J), log m, of the Laplace scale of their error. sqrt(2) times the
            scale is the standard deviation along each axis. With calibrated weights 68 % of the
            errors are inside it.

        Raises:
            ValueError: wrong rank, type, or number of joints or channels; fewer than 3 frames; or
                values that are not finite, which `check_clip` tests on a CPU only.
        """
        check_clip(keypoints, self.config.motion.channels, self.joints, 3)
        frames, stride = keypoints.shape[1], self.config.frame_stride
        missing = max(-frames % stride, 3 * stride - frames)
        if missing > 0:
            keypoints = torch.cat([keypoints[:, :1].expand(-1, missing, -1, -1), keypoints], dim=1)
        tokens = join_frames(self.features(keypoints), stride)
        representation = self.trunk(tokens)  # (8) and the following equations
        positions = split_frames(self.position_head(representation), stride)[:, -frames:]
        positions = positions - positions[:, :, :1]
        log_scale = split_frames(self.scale_head(representation), stride)[:, -frames:]
        return positions, log_scale.squeeze(-1) + self.scale_offset
