"""The training objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .setting_ranges import NOT_NEGATIVE, check_choice, check_numbers

DISTANCES = ("euclidean", "squared")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the paper's objective (3.2, 3.4.1), and of the confidence head's likelihood.

    Attributes:
        velocity, acceleration, smoothness: lambda_v, lambda_a, lambda_s.
        likelihood: weight of the confidence head's likelihood; not in the paper.
        distance: see `motion_terms`.
    """

    velocity: float = 1.0
    acceleration: float = 0.5
    smoothness: float = 0.1
    likelihood: float = 0.05
    distance: str = "euclidean"

    def __post_init__(self) -> None:
        terms = ("velocity", "acceleration", "smoothness", "likelihood")
        check_numbers(self, dict.fromkeys(terms, NOT_NEGATIVE))
        check_choice("distance", self.distance, DISTANCES)


def motion_terms(positions: Tensor, targets: Tensor, distance: str) -> dict[str, Tensor]:
    """The four terms of the EMF paper's objective (3.2), unweighted.

    L_pose of the error Y - Y^, L_velocity of its first difference over time, L_acceleration of its
    second, and L_smoothness of the second difference of the prediction Y^ itself.

    Args:
        positions: Y^ (B, T, J, 3) m.
        targets: Y (B, T, J, 3) m.
        distance: 'squared' is the formula as printed, ||.||^2 per joint. 'euclidean' is the
            standard MPJPE, ||.||, which the paper's text names. Each term is the mean over clips,
            frames and joints.

    Returns:
        'position', 'velocity', 'acceleration', 'smoothness': m, or m^2 when squared. A term is 0
        where the clip is too short for its difference.

    Raises:
        ValueError: the distance is unknown, or the shapes differ.
    """
    check_choice("distance", distance, DISTANCES)
    if positions.shape != targets.shape or positions.ndim != 4:
        raise ValueError(
            "positions and targets must both be (B, T, J, 3), not "
            f"{tuple(positions.shape)} and {tuple(targets.shape)}"
        )

    def mean(x: Tensor) -> Tensor:
        if x.shape[1] == 0:
            return x.sum()
        squared = x.square().sum(dim=-1)
        # The slope of the square root at zero is infinite; 1e-12 m^2 is (1 micrometre)^2.
        return squared.mean() if distance == "squared" else (squared + 1e-12).sqrt().mean()

    error = positions - targets
    return {
        "position": mean(error),
        "velocity": mean(error.diff(dim=1)),
        "acceleration": mean(error.diff(n=2, dim=1)),
        "smoothness": mean(positions.diff(n=2, dim=1)),
    }


def pose_losses(
    positions: Tensor, log_scale: Tensor, targets: Tensor, distance: str = "euclidean"
) -> dict[str, Tensor]:
    """The terms of the training: the paper's, and `likelihood`.

    The likelihood is the negative log-likelihood of the components of the errors under a Laplace
    distribution of the predicted scale. The errors are constants in it, so that the confidence head
    has no influence on the pose.

    Args:
        positions, targets: (B, T, J, 3) m.
        log_scale: (B, T, J) log m.
        distance: see `motion_terms`.
    """
    # The pelvis is the origin and has no error.
    off = (positions - targets)[:, :, 1:].detach().abs().sum(dim=-1)
    log_b = log_scale[:, :, 1:].clamp(-8.0, 2.0)
    return {
        **motion_terms(positions, targets, distance),
        "likelihood": (3 * log_b + off * torch.exp(-log_b)).mean(),
    }


def total_loss(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The minimised loss: the weighted sum of the terms of `pose_losses`.

    Without the likelihood it is equation (9) of the EMF paper (3.2).
    """
    return (
        terms["position"]
        + weights.velocity * terms["velocity"]
        + weights.acceleration * terms["acceleration"]
        + weights.smoothness * terms["smoothness"]
        + weights.likelihood * terms["likelihood"]
    )
