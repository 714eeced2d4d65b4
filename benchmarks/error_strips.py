"""Stretches of real and synthetic keypoints, side by side in a plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from error_reference import Reference, match
from error_statistics import windows_of_motion

from emf_ros.skeletons import BLAZEPOSE33, H36M17, convert_keypoints
from emf_ros.train.detector_errors import DetectorErrors, Failure
from emf_ros.train.detector_model import DetectorModel


@dataclass
class Strip:
    """A stretch of one person: h36m17 in shares of its size around its middle, and scores.

    Attributes:
        points: (T, 17, 2); NaN where there is none.
        scores: (T, 17).
    """

    title: str
    points: np.ndarray
    scores: np.ndarray


STRIP_FRAMES = 60


def strip(title: str, keypoints: np.ndarray) -> Strip:
    """Of (T, 17, 3) in any unit."""
    points, scores = keypoints[..., :2], keypoints[..., 2]
    points = np.where(scores[..., None] > 0, points, np.nan)
    span = np.nanmax(points, axis=1) - np.nanmin(points, axis=1)
    size = np.nanmean(np.linalg.norm(span, axis=-1))
    return Strip(title, (points - np.nanmean(points, axis=(0, 1))) / size, scores)


def real_strips(found: dict[str, np.ndarray], truth: Reference) -> list[Strip]:
    """Each detection's stretch of a person with the fewest gaps, people taking turns."""
    strips = []
    for i, (name, detections) in enumerate(found.items()):
        person = i % len(truth.poses)
        track = match(detections, truth.poses, truth.size)[person]
        seen = np.isfinite(track[:, 0, 0])
        starts = range(0, len(track) - STRIP_FRAMES + 1, 5)
        begin = max(starts, key=lambda s: seen[s : s + STRIP_FRAMES].sum())
        part = track[begin : begin + STRIP_FRAMES]
        strips.append(strip(f"real: {name}", convert_keypoints(part, BLAZEPOSE33, H36M17)))
    return strips


def model_strips(mocap: Path, rate_hz: float, spreads: list[float], seed: int) -> list[Strip]:
    filmed = windows_of_motion(mocap, 40 * len(spreads), STRIP_FRAMES, rate_hz)
    generator = torch.Generator().manual_seed(seed)
    # Of people that are whole in the image and move, as those in the video do.
    rays = filmed.joints[..., :2] / filmed.joints[..., 2:].clamp(min=0.05)
    half = torch.stack([filmed.half_width, filmed.half_height], -1)[:, None, None]
    inside = (rays.abs() < half).all(-1).float().mean(dim=(1, 2))
    moves = filmed.joints.diff(dim=1).norm(dim=-1).mean(dim=(1, 2))
    best = (inside + moves.clamp(max=0.03)).argsort(descending=True)
    chosen = best[torch.randperm(2 * len(spreads), generator=generator)[: len(spreads)]]
    strips = []
    for index, spread in zip(chosen.tolist(), spreads, strict=True):
        # The real stretches are those with the fewest gaps.
        errors = DetectorErrors(spread=(spread, spread), missing=Failure(0.0, 1.0))
        model = DetectorModel(torch.device("cpu"), generator, errors, ("blazepose33",))
        one = slice(index, index + 1)
        observed, scores = model.observe(
            filmed.joints[one], filmed.half_width[one], filmed.half_height[one]
        )
        keypoints = torch.cat([observed, scores[..., None]], dim=-1)[0].numpy()
        strips.append(strip(f"model: spread {100 * spread:.1f} %", keypoints))
    return strips


SHOWN = ("left_wrist", "right_wrist", "left_hip", "left_ankle", "right_ankle")


def draw_strips(columns: list[list[Strip]], path: Path) -> None:
    """One strip a row: x and y of some joints over time, their scores, and stick figures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = max(len(c) for c in columns)
    widths = [3, 3, 2, 7] * len(columns)
    figure, axes = plt.subplots(
        rows,
        len(widths),
        figsize=(11 * len(columns), 2.3 * rows),
        width_ratios=widths,
        constrained_layout=True,
        squeeze=False,
    )
    colors = [f"C{i}" for i in range(len(SHOWN))]
    for c, column in enumerate(columns):
        for r, shown in enumerate(column):
            cells = axes[r, 4 * c : 4 * c + 4]
            for i, joint in enumerate(SHOWN):
                k = H36M17.index(joint)
                for axis in range(2):
                    cells[axis].plot(shown.points[:, k, axis], color=colors[i], lw=1)
                cells[2].plot(shown.scores[:, k], color=colors[i], lw=1)
            cells[0].set_title(shown.title, fontsize=9, loc="left")
            cells[2].set_ylim(-0.05, 1.05)
            for j, frame in enumerate(range(0, len(shown.points), 5)):
                pose = shown.points[frame] - np.nanmean(shown.points[frame], axis=0) + [0.8 * j, 0]
                for a, b in H36M17.edges:
                    sure = min(shown.scores[frame, [a, b]])
                    side = H36M17.sides[b]
                    color = {"left": "tab:red", "right": "tab:blue", "middle": "0.3"}[side]
                    cells[3].plot(*pose[[a, b]].T, color=color, lw=1.2, alpha=0.25 + 0.75 * sure)
            cells[3].invert_yaxis()
            cells[3].set_aspect("equal")
            cells[3].axis("off")
            for cell in cells[:3]:
                cell.tick_params(labelsize=6)
    if columns:
        axes[0, 0].legend(SHOWN, fontsize=5, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)
