"""Fits the regression that tells postures, and writes emf_ros/body/posture_table.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from emf_ros.body import posture
from emf_ros.body.posture_features import FEATURES

#: Weight of the sum of the squared weights.
PENALTY = 3e-5
#: Range of a feature that the regression tells apart, percentiles.
RANGE = (1, 99)
PATH = Path(__file__).resolve().parents[1] / "emf_ros" / "body" / "posture_table.py"


def fit_postures(features: np.ndarray, labels: np.ndarray, used: np.ndarray) -> None:
    """Fit on the rows of the mask `used` and write the table.

    Rare postures weigh by the root of their rarity, so that probabilities are neither those of the
    motion capture nor those of equally frequent postures.

    Args:
        features: (N, F).
        labels: (N,) index in `posture.POSTURES`; others are left out.
        used: (N,).
    """
    column = {"walking": "moving", "running": "moving"}
    number = np.full(len(labels), -1)
    for index, name in enumerate(posture.POSTURES):
        number[labels == index] = posture.COLUMNS.index(column.get(name, name))
    used = used & np.isfinite(features).all(axis=1) & (number >= 0)
    low, high = np.percentile(features[used], RANGE, axis=0)
    posture._LOW, posture._SCALE = low, 1.0 / (high - low)
    inputs = torch.from_numpy(posture.basis(features[used]))
    target = torch.from_numpy(number[used])
    counts = torch.bincount(target, minlength=len(posture.COLUMNS)).clamp(min=1)
    weight = (counts.sum() / counts).sqrt()[target]
    weights = torch.zeros(
        inputs.shape[1], len(posture.COLUMNS), dtype=inputs.dtype, requires_grad=True
    )
    optimizer = torch.optim.LBFGS([weights], max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        each = torch.nn.functional.cross_entropy(inputs @ weights, target, reduction="none")
        total = (each * weight).sum() / weight.sum() + PENALTY * weights.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    found = weights.detach().numpy()
    write(low, high, found - found.mean(axis=1, keepdims=True))


def write(low: np.ndarray, high: np.ndarray, weights: np.ndarray) -> None:
    """Write the table of a fit."""
    head = (
        '"""Weights of the regression that tells postures, as `benchmarks/body.py --fit` wrote."""'
    )
    lines = [head, "", "# fmt: off", "", "#: Lower and upper end of each feature."]
    for name, values in (("LOW", low), ("HIGH", high)):
        lines.append(f"{name} = (")
        for start in range(0, len(FEATURES), 8):
            lines.append(f"    {', '.join(f'{v:.3g}' for v in values[start : start + 8])},")
        lines.append(")")
    lines += [
        "#: A row for the constant, for each feature, and for each feature beyond each knot; a",
        "#: column for each of `posture.COLUMNS`.",
        "WEIGHTS = (",
        *(f"    ({', '.join(f'{v:.3g}' for v in row)})," for row in weights),
        ")",
    ]
    PATH.write_text("\n".join(lines) + "\n", encoding="utf-8")
