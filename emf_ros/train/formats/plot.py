"""Plots of clips, for checking an import."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...io.one_line import one_line
from ...io.outputs import replacing
from ...skeletons import H36M17
from .archive import Clip, unique_names

_COLOURS = {"left": "#1f77b4", "right": "#d62728", "middle": "#444444"}

#: Number of skeletons in one strip.
_SKELETONS = 8

#: Maximum length of a file's name without its ending and its number (bytes). File systems take 255.
_NAME_BYTES = 200

#: Smallest distance between skeletons (m).
_SPACING_M = 1.1

#: Name of each view, and the camera's angle about the person from straight ahead (degrees).
_VIEWS = (("front, turned 25°", 25.0), ("from the person's left", 90.0))


def facing(positions: np.ndarray) -> float:
    """Mean facing of a person (N, 17, 3), z up: rad about z from the x axis."""

    def across(joint: str) -> np.ndarray:
        left, right = (H36M17.index(f"{side}_{joint}") for side in ("left", "right"))
        return positions[:, left] - positions[:, right]

    x, y = (across("hip") + across("shoulder")).sum(axis=0)[:2]
    return float(np.arctan2(-x, y))


def side_on(positions: np.ndarray, around: float) -> np.ndarray:
    """Orthographic view of (N, 17, 3) m: (N, 17, 2) m, right and up, from `around` rad about z."""
    right = np.array([-np.sin(around), np.cos(around), 0.0])
    return np.stack([positions @ right, positions[..., 2]], axis=-1)


def plot_clip(clip: Clip, rate_hz: float, path: str | Path) -> None:
    """Draw a strip of skeletons over time, from the front and from the left.

    Each stands over the time that it is from, at its own height, its pelvis in the middle. All are
    seen from one direction, that of the clip's mean facing. Left limbs are blue, right ones red.

    Raises:
        OutputError: the image cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    frames = np.unique(np.linspace(0, len(clip.positions) - 1, _SKELETONS).round().astype(int))
    poses = clip.positions[frames]
    # The position of the person is removed: it would leave the plot.
    poses = poses - poses[:, :1] * (1, 1, 0)
    around = facing(clip.positions)
    views = [side_on(poses, around + np.deg2rad(degrees)) for _, degrees in _VIEWS]
    widest = max(float(np.ptp(v[..., 0], axis=1).max()) for v in views)
    spacing = max(_SPACING_M, widest + 0.25)
    low = min(0.0, float(poses[..., 2].min())) - 0.05
    high = max(1.9, float(poses[..., 2].max()) + 0.1)
    width = 16.0
    height = 2 * (width - 1.0) * (high - low) / (spacing * _SKELETONS) + 1.6
    figure = Figure(figsize=(width, max(height, 4.5)), layout="constrained")
    for axes, view, (name, _) in zip(figure.subplots(2, 1), views, _VIEWS, strict=True):
        for i, skeleton in enumerate(view):
            _draw(axes, skeleton + (i * spacing, 0))
        axes.axhline(0.0, color="#999999", linewidth=0.8, zorder=0)
        axes.set_xlim(-spacing / 2, (_SKELETONS - 0.5) * spacing)
        axes.set_ylim(low, high)
        axes.set_aspect("equal")
        axes.set_ylabel(f"{name}\nheight, m")
        axes.set_xticks(np.arange(len(frames)) * spacing, [f"{f / rate_hz:.2f} s" for f in frames])
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    seconds = (len(clip.positions) - 1) / rate_hz
    title = f"{clip.name}  ·  subject {clip.subject}  ·  {seconds:.1f} s  ·  {clip.action}"
    # Names of files may hold bytes that are no text. Between two '$' matplotlib reads formulas.
    shown = one_line(title).encode(errors="replace").decode().replace("$", r"\$")
    figure.suptitle(shown, fontsize=12)
    handles = [Line2D([], [], color=c, linewidth=2.5, label=s) for s, c in _COLOURS.items()]
    figure.legend(handles=handles, loc="upper right", ncols=3, frameon=False)
    with replacing(path) as part, warnings.catch_warnings():
        # The title has boxes for letters that matplotlib's font lacks, such as those of Japanese.
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(part, format="png", dpi=100)


def _draw(axes: Any, skeleton: np.ndarray) -> None:
    """One skeleton (17, 2) m."""
    for parent, child in H36M17.edges:
        colour = _COLOURS[H36M17.sides[child]]
        xy = skeleton[[parent, child]].T
        axes.plot(*xy, color=colour, linewidth=2.5, solid_capstyle="round")
    head = skeleton[H36M17.index("nose")]
    axes.plot(*head, "o", color=_COLOURS["middle"], markersize=4)


def _file_name(clip: str) -> str:
    """A clip's name with '_' for what a file's name may not have. Of long ones the end is kept."""
    plain = re.sub(r"[^\w.~#-]+", "_", clip)
    return plain.encode()[-_NAME_BYTES:].decode(errors="ignore") or "_"


def plot_clips(clips: list[Clip], rate_hz: float, folder: str | Path) -> Iterator[Path]:
    """Draw clips into a folder, one PNG each; yields them as they are written.

    Names that would give one file are numbered.

    Raises:
        OutputError: an image cannot be written.
    """
    names = unique_names(_file_name(clip.name) for clip in clips)
    for clip, name in zip(clips, names, strict=True):
        path = Path(folder) / f"{name}.png"
        plot_clip(clip, rate_hz, path)
        yield path
