"""Fits the table from the evidence of a gesture to its probability: how often it is right.

The truth is built motion, in which people make gestures for two fifths of the time. Images in
which an arm moves up to its gesture are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from built_motion import GESTURES as BUILT_GESTURES
from built_motion import UNSURE
from crowd import Crowd

from emf_ros.body.gestures import GESTURES, POINT, STOP
from emf_ros.types import TrackState

#: Evidence at which the table has a probability.
KNOTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
#: Weight of the squared steps from knot to knot, against the mean loss of an image.
PENALTY = 1e-4
PATH = Path(__file__).resolve().parents[1] / "emf_ros" / "body" / "gesture_table.py"


def shows(crowd: Crowd, true_evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, G) whether each row shows each gesture, and (N,) whether that is known.

    Args:
        crowd: built gestures.
        true_evidence: (N, G) of the true joints: which of the two a stretched arm is, depends on
            where the camera stands.
    """
    out = np.array([crowd["label"] == BUILT_GESTURES.index(name) for name in GESTURES]).T
    stretched = out[:, POINT] | out[:, STOP]
    stops = true_evidence[:, STOP] > true_evidence[:, POINT]
    out[:, POINT], out[:, STOP] = stretched & ~stops, stretched & stops
    return out, (crowd["label"] != UNSURE) & (crowd["state"] == TrackState.TRACKED)


def fit_gestures(evidence: np.ndarray, shown: np.ndarray) -> None:
    """Fit a monotone table for each gesture, and write it.

    Args:
        evidence: (N, G) 0 to 1.
        shown: (N, G) whether the row shows the gesture.
    """
    write(np.array([_monotone(e, s) for e, s in zip(evidence.T, shown.T, strict=True)]))


def _monotone(evidence: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """(K,) probabilities at the knots that explain the images best."""
    shares = [np.interp(evidence, KNOTS, unit) for unit in np.eye(len(KNOTS))]
    inputs, target = torch.from_numpy(np.stack(shares, 1)), torch.from_numpy(shown.astype(float))
    start = torch.full((len(KNOTS),), -1.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([start], max_iter=200, line_search_fn="strong_wolfe")

    def steps() -> torch.Tensor:
        return torch.nn.functional.softplus(start[1:])

    def chances() -> torch.Tensor:
        logits = torch.cumsum(torch.cat([start[:1], steps()]), 0)
        return torch.sigmoid(logits)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        each = torch.nn.functional.binary_cross_entropy(inputs @ chances(), target)
        total = each + PENALTY * steps().square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return chances().detach().numpy()


def write(table: np.ndarray) -> None:
    """Write the table of a fit."""
    lines = [
        '"""How often a gesture is shown, by its evidence: `benchmarks/body.py --fit` wrote it."""',
        "",
        "# fmt: off",
        "",
        "#: Evidence at which the table has a probability.",
        f"EVIDENCE = ({', '.join(f'{v:g}' for v in KNOTS)})",
        "#: Probability at this evidence, a row for each of `gestures.GESTURES`.",
        "PROBABILITY = (",
    ]
    for name, row in zip(GESTURES, table, strict=True):
        lines.append(f"    ({', '.join(f'{v:.3f}' for v in row)}),  # {name}")
    PATH.write_text("\n".join([*lines, ")"]) + "\n", encoding="utf-8")
