"""What goes out with a training run's weights: the exported model and the model card."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from ..model.checkpoint import load_weights, save_weights
from ..model.export import check_export, export
from .evaluate import LAGS
from .mocap import VALIDATION_SUBJECTS, load_mocap
from .trainer import Trainer

CMU_ACKNOWLEDGEMENT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created "
    "with funding from NSF EIA-0196217."
)


def finish(trainer: Trainer) -> None:
    """Write the averaged weights, their ONNX twin and the model card into the run's folder."""
    save_weights(trainer.weights_path, trainer.averaged)
    lifter, exported = load_weights(trainer.weights_path), trainer.weights_path.with_suffix(".onnx")
    export(lifter, exported)
    check_export(lifter, exported)
    card = model_card(trainer, trainer.validate(windows=1536))
    trainer.weights_path.with_suffix(".md").write_text(card)


def _revision() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def model_card(trainer: Trainer, report: dict[str, Any]) -> str:
    """Markdown: what the weights were trained on and how good they are."""
    c, size = trainer.config, trainer.lifter.config
    parameters = sum(p.numel() for p in trainer.averaged.parameters())
    lines = [
        f"# {c.preset}",
        "",
        f"EMF in front of TCPFormer: {size.layers} layers, d {size.dim}, {size.heads} heads, "
        f"{size.frames} frames at {size.rate_hz:g} Hz, {parameters:,} parameters. "
        "2D keypoints of one person over time in, root-relative metres and their spread out.",
        "",
        f"Trained by `emf-ros train --preset {c.preset} --budget {c.budget_minutes:g}"
        f"{f' --init {Path(c.init).name}' if c.init else ''}` "
        f"(seed {c.seed}, {trainer.device.type}) at revision {_revision()}: "
        f"{trainer.trained_s / 60:.0f} minutes, {trainer.step:,} steps, {trainer.clips:,} clips.",
        "",
        "## How good",
        "",
        f"On {report['windows']} windows of the subjects {', '.join(sorted(VALIDATION_SUBJECTS))}, "
        "none of which was trained on, through random cameras 1.2 to 8 m away; keypoints exact, "
        "and with the errors of the simulated detector. Millimetres.",
        "",
        "| lag | exact: MPJPE | P-MPJPE | N-MPJPE | noisy: MPJPE | P-MPJPE | N-MPJPE |",
        "|---|---|---|---|---|---|---|",
    ]
    for lag in (*LAGS, size.frames // 2):
        cells = [str(lag)]
        for kind in ("exact", "noisy"):
            row = report[kind]["lag"][str(lag)]
            cells += [f"{row[m]:.1f}" for m in ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm")]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| over the window | exact | noisy |",
        "|---|---|---|",
    ]
    for name, key, factor, unit in (
        ("velocity error (MPJVE)", "mpjve_mm_per_frame", 1, "mm/frame"),
        ("acceleration error", "acceleration_error_m_s2", 1, "m/s²"),
        ("root's error, median, of the distance", "root_error_share_median", 100, "%"),
        ("errors inside one `stddev`", "inside_one_stddev", 100, "%"),
    ):
        values = [f"{factor * report[kind][key]:.1f} {unit}" for kind in ("exact", "noisy")]
        lines.append(f"| {name} | {' | '.join(values)} |")
    still = report["noisy"]["mean_pose_mpjpe_mm"]
    lines += [
        "",
        f"For comparison: answering always with the mean pose has an MPJPE of {still:.1f} mm.",
        "",
        "## Data",
        "",
        "| source | clips | minutes |",
        "|---|---|---|",
    ]
    clips = load_mocap(c.mocap, "train")
    for source in np.unique(clips.sources):
        mine = clips.sources == source
        minutes = clips.lengths[mine].sum() / clips.rate_hz / 60
        lines.append(f"| {source} | {mine.sum()} | {minutes:.1f} |")
    lines += [
        "",
        CMU_ACKNOWLEDGEMENT,
        "snu_walk: Yoonsang Lee 2013, MIT. reactidle: RSAIT 2025, MIT. mesh2motion, quaternius_*, "
        "kaykit_adventurers: CC0 1.0, hand-keyed.",
        "",
        "## Known failures",
        "",
        "- Height is not seen: a child is placed too far away, a tall person too near, by as much "
        "as their size differs from an adult's mean.",
        "- Most of the motion is walking and standing; upside-down, lying and crawling people are "
        "rare in it.",
        "- `stddev` is not calibrated on real detectors.",
        "",
    ]
    return "\n".join(lines)
