"""Enhanced Motion Flow (EMF): multi-scale motion features from keypoints over time.

Sections and equations are those of the EMF paper. Its displayed equations of section 3.1 are
counted in order: (1) M_s, (2) F_s, (3) F_motion, (4) F_orig, (5) F_enhanced, (6) F_output. The
paper itself calls the last one (6).

Shapes: B clips, T frames, J joints, C channels (x, y, score), D features, S scales.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_clip
from .presets import MotionFlowConfig


def pad_time(x: Tensor, before: int, after: int, padding: str) -> Tensor:
    """Pad (B, T, J, C) to (B, before + T + after, J, C) as `MotionFlowConfig.padding` says."""
    if padding == "zero":
        return F.pad(x, (0, 0, 0, 0, before, after))
    first, last = x[:, :1].expand(-1, before, -1, -1), x[:, -1:].expand(-1, after, -1, -1)
    return torch.cat([first, x, last], dim=1)


class MotionKernel(nn.Module):
    """Equation (1): M_s[t] = sum_i K_s[i] * X[t - floor(k/2) + i], initialised as in 3.4.2.

    Attributes:
        offsets: offset of each tap from t, frames.
        weight: (k, C), or (k, J, C) where each joint has its own kernel.
    """

    PATTERNS = {1: (1.0, -1.0), 2: (-0.5, 0.0, 0.5)}

    def __init__(self, scale: int, config: MotionFlowConfig) -> None:
        super().__init__()
        self.padding = config.padding
        taps = min(scale + 1, config.max_taps)
        first = -(taps // 2) if config.alignment == "paper" else 1 - taps
        spacing = scale if config.dilated else 1
        self.offsets = tuple(spacing * (first + i) for i in range(taps))
        kernel = torch.empty(taps, config.channels)
        if scale in self.PATTERNS and len(self.PATTERNS[scale]) == taps:
            pattern = torch.tensor(self.PATTERNS[scale])
            if scale == 1 and config.forward_sign:
                pattern = -pattern
            kernel.copy_(pattern[:, None])
            if not config.pattern_score:
                kernel[:, 2:] = 0.0
        else:
            nn.init.xavier_uniform_(kernel)
        if config.joint_kernels:
            kernel = kernel[:, None].repeat(1, config.joint_kernels, 1)
        self.weight = nn.Parameter(kernel)

    @property
    def look_back(self) -> int:
        """Number of frames before t that M_s[t] depends on."""
        return max(0, -self.offsets[0])

    @property
    def look_ahead(self) -> int:
        """Number of frames after t that M_s[t] depends on."""
        return max(0, self.offsets[-1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, J, C) -> (B, T, J, C), as a sum of shifted views: the loop is over the taps."""
        padded = pad_time(x, self.look_back, self.look_ahead, self.padding)
        frames, first = x.shape[1], self.look_back
        out = self.weight[0] * padded[:, first + self.offsets[0] :][:, :frames]
        for weight, offset in zip(self.weight[1:], self.offsets[1:], strict=True):
            out = out + weight * padded[:, first + offset :][:, :frames]
        return out


def _mlp(
    width_in: int, hidden: int, width_out: int, dropout: float, final_relu: bool
) -> nn.Sequential:
    """ReLU(W2 ReLU(W1 x + b1) + b2), the form of f_s (2), g (4) and h (5)."""
    layers = [nn.Linear(width_in, hidden), nn.ReLU(), nn.Dropout(dropout)]
    layers.append(nn.Linear(hidden, width_out))
    if final_relu:
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class EnhancedMotionFlow(nn.Module):
    """The EMF module (3.1): kernels, an encoder per scale, adaptive fusion, residual enhancement.

    Attributes:
        config: see `MotionFlowConfig`.
        kernels, encoders: K_s and f_s, one per scale.
        scale_logits: alpha_raw.
        original: g; None where `combine` leaves it out.
        enhance: h.
    """

    def __init__(self, config: MotionFlowConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or MotionFlowConfig()
        part = c.dim // len(c.scales)  # d_s
        form = (c.dropout, c.final_relu)
        self.kernels = nn.ModuleList(MotionKernel(s, c) for s in c.scales)
        self.encoders = nn.ModuleList(_mlp(c.channels, 2 * part, part, *form) for _ in c.scales)
        self.scale_logits = nn.Parameter(torch.zeros(len(c.scales)))
        self.original = _mlp(c.channels, c.dim, c.dim, *form) if c.combine == "residual" else None
        # A correction of coordinates can be negative, so it must not end in a ReLU.
        self.enhance = _mlp(
            c.dim, 2 * c.dim, c.width, c.dropout, c.final_relu and c.combine != "compressed"
        )

    @property
    def look_back(self) -> int:
        """Number of frames before t that the features of t depend on."""
        return max(int(kernel.look_back) for kernel in self.kernels)  # type: ignore[arg-type]

    @property
    def look_ahead(self) -> int:
        """Number of frames after t that the features of t depend on: the minimum latency."""
        return max(int(kernel.look_ahead) for kernel in self.kernels)  # type: ignore[arg-type]

    @property
    def receptive_field(self) -> int:
        """Number of frames that the features of one frame depend on."""
        return self.look_back + 1 + self.look_ahead

    def forward(self, x: Tensor) -> Tensor:
        """Keypoints (B, T, J, C) -> features (B, T, J, D).

        Raises:
            ValueError: wrong rank, number of channels or type; an empty clip; or values that are
                not finite, which `check_clip` tests on a CPU only.
        """
        check_clip(x, self.config.channels, self.config.joint_kernels or None)
        return self.fuse(x, [kernel(x) for kernel in self.kernels])

    def fuse(self, x: Tensor, motion: list[Tensor]) -> Tensor:
        """Equations (2) to (6), for each frame and joint on its own.

        Args:
            x: keypoints (..., C).
            motion: M_s per scale, each (..., C).
        """
        alpha = self.scale_logits.softmax(dim=0)
        scales = zip(alpha, self.encoders, motion, strict=True)
        f_motion = torch.cat([a * f(m) for a, f, m in scales], dim=-1)  # (2), (3)
        f_enhanced: Tensor = self.enhance(f_motion)  # (5)
        if self.original is not None:
            return self.original(x) + f_enhanced  # (4), (6)
        return x + f_enhanced if self.config.combine == "compressed" else f_enhanced
