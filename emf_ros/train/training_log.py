"""The reports of a training run: progress, validation curve, TensorBoard scalars."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..io.progress import Progress, say

if TYPE_CHECKING:
    from .trainer import Trainer


class TrainingError(RuntimeError):
    """A run cannot continue; the message says why, and what is kept."""


def diverged(what: str) -> TrainingError:
    """The error of a run whose numbers are no longer finite."""
    return TrainingError(
        f"{what}; this is not saved, and any earlier state is kept; a lower learning rate may help"
    )


class TrainingLog:
    """Progress and scalars of the first process.

    Loss terms are added up on the device. They are read every `EVERY` steps, because each reading
    makes the host wait for the GPU.
    """

    #: Number of steps between two reports.
    EVERY = 20

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.sums: dict[str, Tensor] = {}
        self.added = 0
        c = trainer.config
        self.bar = Progress(
            "training",
            c.steps or round(60 * c.budget_minutes),
            "step" if c.steps else "s",
            self._position(),
            shown=trainer.processes.first,
        )
        self.writer = _tensorboard(trainer.out) if trainer.processes.first else None

    def _position(self) -> int:
        trainer = self.trainer
        return trainer.step if trainer.config.steps else round(trainer.trained_s)

    def step(self, terms: dict[str, Tensor]) -> None:
        self.sums = {k: self.sums[k] + v if k in self.sums else v for k, v in terms.items()}
        self.added += 1
        self.bar.update(self._position() - self.bar.done)
        trainer = self.trainer
        if self.added < self.EVERY:
            return
        means = {k: float(v) / self.added for k, v in self.sums.items()}
        if not all(math.isfinite(v) for v in means.values()):
            raise diverged(f"the loss is no number at step {trainer.step}: {means}")
        self.sums, self.added = {}, 0
        self.bar.note(f"position {1000 * means['position']:.0f} mm")
        if self.writer is not None:
            for name, value in means.items():
                self.writer.add_scalar(f"loss/{name}", value, trainer.step)
            self.writer.add_scalar("learning_rate", trainer.learning_rate(), trainer.step)
            if trainer.trained_s:
                self.writer.add_scalar(
                    "clips_per_second", trainer.clips / trainer.trained_s, trainer.step
                )

    def validation(self, report: dict[str, Any]) -> None:
        trainer, newest = self.trainer, report["noisy"]["lag"]["0"]
        exact = report["exact"]["lag"]["0"]
        say(
            f"{trainer.trained_s / 60:.1f} min, step {trainer.step}, {trainer.clips} clips: "
            f"validation at lag 0, simulated detector: MPJPE {newest['mpjpe_mm']:.1f} mm, "
            f"P-MPJPE {newest['p_mpjpe_mm']:.1f} mm; exact keypoints: {exact['mpjpe_mm']:.1f} mm, "
            f"{exact['p_mpjpe_mm']:.1f} mm"
        )
        columns = {
            "minutes": round(trainer.trained_s / 60, 2),
            "step": trainer.step,
            "clips": trainer.clips,
            "learning_rate": f"{trainer.learning_rate():.3g}",
            "noisy_mpjpe_mm": round(newest["mpjpe_mm"], 2),
            "noisy_p_mpjpe_mm": round(newest["p_mpjpe_mm"], 2),
            "exact_mpjpe_mm": round(exact["mpjpe_mm"], 2),
            "exact_p_mpjpe_mm": round(exact["p_mpjpe_mm"], 2),
        }
        path = trainer.out / f"{trainer.config.preset}.curve.csv"
        with suppress(OSError), path.open("a") as file:
            if file.tell() == 0:
                file.write(",".join(columns) + "\n")
            file.write(",".join(str(value) for value in columns.values()) + "\n")
        if self.writer is not None:
            for name, value in newest.items():
                self.writer.add_scalar(f"validation/{name}", value, trainer.step)
            acceleration = report["noisy"]["acceleration_error_m_s2"]
            self.writer.add_scalar("validation/acceleration_m_s2", acceleration, trainer.step)
            self.writer.flush()

    def close(self) -> None:
        self.bar.close()
        if self.writer is not None:
            self.writer.close()


def _tensorboard(folder: Path) -> Any:
    """A writer of scalars; None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("no TensorBoard scalars: pip install tensorboard")
        return None
    return SummaryWriter(str(folder / "tensorboard"))
