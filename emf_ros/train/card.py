"""The end of a training run: calibration, the exported model, the model card."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..io.outputs import write_text
from ..lift.onnx_engine import HALF_SUFFIX
from ..model.checkpoint import load_weights
from ..model.export import ExportError, export_checked
from .confidence import calibrate
from .detector_errors import DetectorErrors
from .evaluate import evaluate
from .report import tables
from .synthesis import CameraRanges
from .trainer import Trainer

CMU_ACKNOWLEDGEMENT = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created "
    "with funding from NSF EIA-0196217."
)
_TERMS = {
    "cmu": CMU_ACKNOWLEDGEMENT,
    "snu_walk": "snu_walk: Yoonsang Lee 2013, MIT.",
    "reactidle": "reactidle: RSAIT 2025, MIT.",
    "mesh2motion": "mesh2motion: CC0 1.0, hand-keyed.",
    "quaternius": "quaternius: CC0 1.0, hand-keyed.",
    "kaykit": "kaykit_adventurers: CC0 1.0, hand-keyed.",
    "g1moves": "g1moves: G1 Moves, Mitch Chaiet / Experiential Technologies, 2026, CC BY 4.0, "
    "changed.",
    "mass": "mass: Seunghwan Lee et al., SNU, Apache-2.0.",
    "nimble": "nimble: Keenon Werling and nimblephysics contributors, BSD-2-Clause.",
}


def finish(trainer: Trainer) -> None:
    """Calibrate the averaged weights; write them, the ONNX exports and the model card.

    Raises:
        ExportError: an export failed; all else is written, and the card says so.
        OutputError: a file cannot be written.
    """
    c = trainer.config
    expected = calibrate(trainer.averaged, trainer.validation, trainer.device, c.cameras, c.errors)
    trainer.save_weights()
    lifter = load_weights(trainer.weights_path)
    failed = []
    for half, ending in ((False, ".onnx"), (True, HALF_SUFFIX)):
        exported = trainer.weights_path.with_name(trainer.weights_path.stem + ending)
        try:
            export_checked(lifter, exported, half=half)
        except ExportError as error:
            failed.append(str(error))
    report = evaluate(
        lifter.to(trainer.device),
        trainer.validation,
        trainer.device,
        windows=1536,
        mean_pose=trainer.mean_pose,
    )
    card = model_card(trainer, report, expected, failed)
    write_text(trainer.weights_path.with_suffix(".md"), card)
    if failed:
        raise ExportError(f"{'; '.join(failed)}; weights and model card are in {trainer.out}")


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


def command_of(trainer: Trainer) -> str:
    """The command line that repeats the run, for a shell."""
    c = trainer.config
    words = ["emf-ros train"]
    if trainer.processes.count > 1:
        words = [f"torchrun --nproc-per-node {trainer.processes.count} -m emf_ros.cli train"]
    words.append(f"--preset {c.preset}")
    words.append(f"--steps {c.steps}" if c.steps else f"--budget {c.budget_minutes:g}")
    if c.init:
        names = ",".join(Path(path).name for path in c.init.split(","))
        words.append(f"--init {shlex.quote(names)}")
    if c.validation:
        words.append(f"--validation {shlex.quote(','.join(c.validation))}")
    words.append(f"--seed {c.seed}")
    words += [f"--set {shlex.quote(f'{name}={value}')}" for name, value in c.differences()]
    return " ".join(words)


def model_card(
    trainer: Trainer,
    report: dict[str, Any],
    expected: float | None,
    failed_exports: Sequence[str] = (),
) -> str:
    """The model card in Markdown: training data and accuracy.

    Args:
        report: report of `evaluate`.
        expected: result of `confidence.calibrate`.
        failed_exports: why files of the lifter are missing, a line for each.
    """
    c, size = trainer.config, trainer.averaged.config
    parameters = sum(p.numel() for p in trainer.averaged.parameters())
    clips = trainer.training
    begun = ", ".join(Path(path).name for path in c.init.split(",")) if c.init else ""
    unseen = ", which the weights were not trained on."
    if not trainer.notes.all_known:
        unseen = f". It is not known on which subjects {begun} was trained. It may be on these."
    lines = [
        f"# {c.preset}",
        "",
        f"EMF in front of TCPFormer: {size.layers} layers, d {size.dim}, {size.heads} heads, "
        f"{size.frames} frames at {size.rate_hz:g} Hz, {parameters:,} parameters. "
        "2D keypoints of one person over time in, root-relative metres and their spread out.",
        "",
        f"Trained by `{command_of(trainer)}` ({trainer.device.type}) at revision {_revision()}: "
        f"{trainer.trained_s / 60:.0f} minutes, {trainer.step:,} steps, {trainer.clips:,} clips.",
        "",
        "## How good",
        "",
        f"`emf-ros eval` on {report['windows']} windows of the validation subjects "
        f"{', '.join(report['subjects'])}{unseen} The random "
        "cameras are 1.2 to 8 m away. Keypoints are exact, or with the errors of the simulated "
        "detector (noisy), or with a missing part of the body on top (dropouts).",
        "",
        "MPJPE is the mean distance of the joints from the truth, both relative to the pelvis. "
        "P-MPJPE is the same after the best rotation, shift and scale of each pose. N-MPJPE is "
        "the same after the best scale alone.",
        "",
        *(
            (
                "These cameras and errors are the standard ones, for comparison, not those that "
                "this run was given. `stddev` is calibrated on those of this run.",
                "",
            )
            if (c.cameras, c.errors) != (CameraRanges(), DetectorErrors())
            else ()
        ),
        *tables(report),
        "`stddev` is calibrated on these subjects, with a factor for each joint, so that 68 % of "
        "the errors along an axis are inside."
        + (
            ""
            if expected is None
            else " If it is calibrated on all but one of them, "
            f"{100 * expected:.0f} % are inside on that one."
        ),
        "",
        "## Data",
        "",
        *(
            (f"The table is of this run. It began from {begun}, whose data come on top.", "")
            if begun
            else ()
        ),
        "| source | clips | minutes |",
        "|---|---|---|",
    ]
    for source in np.unique(clips.sources):
        mine = clips.sources == source
        minutes = (clips.lengths[mine] / clips.rates[mine]).sum() / 60
        lines.append(f"| {source} | {mine.sum()} | {minutes:.1f} |")
    sources = set(clips.sources.tolist())
    terms = [text for name, text in _TERMS.items() if any(s.startswith(name) for s in sources)]
    lines += [
        "",
        *terms,
        "",
        "## Known failures",
        "",
        "- Height is not visible in one image. A child is placed too far away, and a tall person "
        "too near. The relative error is that of the size, against an adult's mean.",
        "- Limbs that point at the camera or away from it: their depth is a guess.",
        "- Left/right swaps from a track's first image on, and in somersaults.",
        "- Most of the recorded motion is walking and standing. People that lie, crawl or stand on "
        "their hands come mostly from synthetic motion.",
        "- `stddev` is calibrated on simulated detectors, not on real ones.",
        *(f"- {reason}." for reason in failed_exports),
        "",
    ]
    return "\n".join(lines)
