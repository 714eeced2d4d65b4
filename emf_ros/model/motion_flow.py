"""Enhanced Motion Flow (EMF): multi-scale motion features from keypoints over time.

Section numbers are those of the EMF paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MotionKernel(nn.Module):
    """M^(t) = sum_i K^(i) * X^(t - floor(k/2) + i), one kernel per channel, for all joints (3.1.2).

    The sequence's ends replicate. Initially a finite difference of the paper's sign,
    x[t-1] - x[t] at scale 1; scales without such a pattern start from Xavier's distribution.
    """

    PATTERNS = {1: (1.0, -1.0), 2: (-0.5, 0.0, 0.5)}

    def __init__(self, scale: int, channels: int = 3) -> None:
        super().__init__()
        self.taps = min(scale + 1, 5)
        self.first = -(self.taps // 2)
        self.weight = nn.Parameter(torch.empty(self.taps, channels))
        if scale in self.PATTERNS:
            pattern = torch.tensor(self.PATTERNS[scale])
            self.weight.data.copy_(pattern[:, None].expand(-1, channels))
        else:
            nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, J, C) -> (B, T, J, C)."""
        length = x.shape[1]
        before, after = -self.first, self.taps - 1 + self.first
        padded = torch.cat(
            [x[:, :1].expand(-1, before, -1, -1), x, x[:, -1:].expand(-1, after, -1, -1)], dim=1
        )
        # A sum of shifted views: the loop is over at most five taps, never over time.
        out = self.weight[0] * padded[:, :length]
        for i in range(1, self.taps):
            out = out + self.weight[i] * padded[:, i : i + length]
        return out


def _mlp(width_in: int, hidden: int, width_out: int, dropout: float) -> nn.Sequential:
    """ReLU(W2 ReLU(W1 x)): f_s, g and h all have this form, the last ReLU included."""
    return nn.Sequential(
        nn.Linear(width_in, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, width_out),
        nn.ReLU(),
    )


class EnhancedMotionFlow(nn.Module):
    """The EMF module of the paper, F_output = g(X) + h(F_motion) (3.1).

    Args:
        dim: D, the width of the features; a multiple of the number of scales.
        scales: S, the temporal scales.
        channels: width of the input, x, y and score.
        dropout: after the first ReLU of f, g and h.
    """

    def __init__(
        self,
        dim: int = 66,
        scales: Sequence[int] = (1, 2, 4),
        channels: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if dim % len(scales):
            raise ValueError(f"dim {dim} is no multiple of the {len(scales)} scales")
        part = dim // len(scales)
        self.kernels = nn.ModuleList(MotionKernel(s, channels) for s in scales)
        self.encoders = nn.ModuleList(_mlp(channels, 2 * part, part, dropout) for _ in scales)
        self.scale_logits = nn.Parameter(torch.zeros(len(scales)))
        self.original = _mlp(channels, dim, dim, dropout)
        self.enhance = _mlp(dim, 2 * dim, dim, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Keypoints (B, T, J, C) -> features (B, T, J, D)."""
        alpha = self.scale_logits.softmax(dim=0)
        motion = [
            alpha[s] * encode(kernel(x))
            for s, (kernel, encode) in enumerate(zip(self.kernels, self.encoders, strict=True))
        ]
        return self.original(x) + self.enhance(torch.cat(motion, dim=-1))
