"""The training objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LossWeights:
    """Weights of the paper's objective (3.2, 3.4.1), and of the confidence head's likelihood."""

    velocity: float = 1.0
    acceleration: float = 0.5
    smoothness: float = 0.1
    likelihood: float = 0.05


def pose_losses(positions: Tensor, log_scale: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The terms of L = L_pose + lambda_v L_v + lambda_a L_a + lambda_s L_s (EMF paper, 3.2).

    Each is the mean Euclidean norm per joint, as MPJPE is, of the error, of its first and second
    difference over time, and of the second difference of the prediction itself. `likelihood` is the
    negative log-likelihood of the errors' components under a Laplace distribution of the predicted
    scale; the error is held fixed in it, so that confidence never bends the pose.

    Args:
        positions, targets: (B, T, J, 3) m.
        log_scale: (B, T, J) log m.
    """

    def mean_norm(x: Tensor) -> Tensor:
        # The square root's slope at zero is infinite; 1e-12 m^2 is a micrometre.
        return (x.square().sum(dim=-1) + 1e-12).sqrt().mean()

    def difference(x: Tensor) -> Tensor:
        return x[:, 1:] - x[:, :-1]

    error = positions - targets
    jolt = difference(difference(positions))
    # The pelvis is the origin by definition and has no error to learn from.
    off = error[:, :, 1:].detach().abs().sum(dim=-1)
    log_b = log_scale[:, :, 1:].clamp(-8.0, 2.0)
    return {
        "position": mean_norm(error),
        "velocity": mean_norm(difference(error)),
        "acceleration": mean_norm(difference(difference(error))),
        "smoothness": mean_norm(jolt),
        "likelihood": (3 * log_b + off * torch.exp(-log_b)).mean(),
    }


def total_loss(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    return (
        terms["position"]
        + weights.velocity * terms["velocity"]
        + weights.acceleration * terms["acceleration"]
        + weights.smoothness * terms["smoothness"]
        + weights.likelihood * terms["likelihood"]
    )
