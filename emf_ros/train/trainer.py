"""The trainer: from a folder of motion capture to weights."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..io.one_line import one_line
from ..io.outputs import replacing
from ..io.progress import say
from ..lift.onnx_engine import HALF_SUFFIX
from ..model.checkpoint import mean_weights, save_weights
from ..model.lifter import Lifter
from ..model.presets import get_preset
from ..model.published import freeze_local_scales, published_local_scales
from ..runtime.torch import torch_device
from .diversity import Diversity
from .evaluate import evaluate, trunk_mean_pose
from .linear_start import begin_linear
from .losses import pose_losses, total_loss
from .mocap import MotionClips, WindowSampler, held_back, load_mocap
from .optimizers import make_optimizers
from .precision import autocast_blocks, multiply_in_bfloat16, uses_bfloat16
from .processes import Processes
from .settings import TrainConfig, resized
from .supply import ClipSupply
from .synthesis import Synthesizer
from .training_log import TrainingError, TrainingLog, diverged
from .training_notes import TrainingNotes


class Trainer:
    """One run: new or from its state file, trained in slices of time.

    Attributes:
        agreed_steps: number of steps after which several processes agree on time and end.

    Raises:
        MocapError, WeightsError: a file cannot be read.
        ValueError: the settings do not fit each other, the machine or the state file.
    """

    def __init__(
        self, config: TrainConfig, device: str = "auto", threads: int | None = None
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.config, self.device = config, torch_device(device)
        self.processes = Processes.join(self.device)
        torch.manual_seed(config.seed)
        self.lifter = self._new_lifter().to(self.device)
        self.averaged = copy.deepcopy(self.lifter).eval()
        self.optimizers = make_optimizers(self.lifter, config)
        torch.manual_seed(config.seed + 1000 * self.processes.rank)  # of dropout
        self.out = Path(config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        state = self._read_state() if self.state_path.exists() else None
        everyone = load_mocap(config.mocap)
        subjects = set(everyone.subjects.tolist())
        self.before = self._notes_before(state, subjects)
        # Those of the weights' own training go first, so that its curve goes on.
        again = self.before.validation & subjects
        self.validation_subjects = held_back(
            subjects, config.validation or again, self.before.subjects
        )
        self.training = everyone.of(subjects - self.validation_subjects)
        self.validation: MotionClips = everyone.of(self.validation_subjects)
        self.sampler = WindowSampler(self.training, self.lifter.config.rate_hz, self.device)
        self.synthesizer = Synthesizer(
            self.device, config.seed + 1000 * self.processes.rank, config.cameras, config.errors
        )
        self.diversity = Diversity(
            config.diversity, self.lifter.config.rate_hz, self.synthesizer.generator
        )
        self.supply = ClipSupply(
            self.sampler, self.diversity, self.synthesizer, config.cameras.speed
        )
        self.step, self.trained_s, self.clips = 0, 0.0, 0
        self.agreed_steps = agreed_steps(self.device, self.processes.count)
        if state is not None:
            self._restore(state)
        if self.device.type == "cpu" and uses_bfloat16(config.precision):
            multiply_in_bfloat16(self.lifter.trunk.blocks)
            multiply_in_bfloat16(self.lifter.trunk.proxy_blocks)
        elif self.device.type == "cuda" and config.precision != "float32":
            autocast_blocks(self.lifter)
        # It shares the lifter's parameters, so state, average and optimisers use the lifter.
        self._parallel: nn.Module = self.lifter
        if self.processes.count > 1:
            # No buffer changes in training, so none is sent before each pass.
            self._parallel = DistributedDataParallel(
                self.lifter, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def _new_lifter(self) -> Lifter:
        config = self.config.network()
        if not self.config.init:
            new = Lifter(config)
            begin_linear(new)
            return new
        given = mean_weights(self._init_paths)
        config = resized(given.config, self.config.lifter)
        for name in ("layout", "normalization"):
            has, wanted = getattr(given.config, name), getattr(get_preset(self.config.preset), name)
            if has != wanted:
                raise ValueError(
                    f"{self.config.init} has the {name} {has!r}; training gives {wanted!r}"
                )
        lifter = Lifter(config)
        state = lifter.state_dict()
        state.update(
            (name, value)
            for name, value in given.state_dict().items()
            if name in state and value.shape == state[name].shape
        )
        lifter.load_state_dict(state)
        # The calibration of the initial weights does not hold for the trained ones.
        lifter.scale_offset.zero_()
        if published_local_scales(lifter.trunk):
            freeze_local_scales(lifter.trunk)
        return lifter

    @property
    def _init_paths(self) -> list[str]:
        return [path.strip() for path in self.config.init.split(",")] if self.config.init else []

    def _notes_before(self, state: dict[str, Any] | None, subjects: set[str]) -> TrainingNotes:
        """The training before: of the weights from `init`, and of this run until its state."""
        begin = TrainingNotes.of_files(self._init_paths)
        if state is None:
            return begin
        if "training" in state:
            return TrainingNotes.from_text(state["training"]).after(begin)
        held = held_back(subjects, self.config.validation)
        return TrainingNotes(frozenset(subjects) - held, held).after(begin)

    @property
    def notes(self) -> TrainingNotes:
        """On which subjects the weights were trained, in this run and before."""
        trained = frozenset(self.training.subjects.tolist())
        return TrainingNotes(trained, self.validation_subjects).after(self.before)

    #: Endings of the files that `card.finish` makes of the weights, after the preset's name.
    FINISHED = (".onnx", HALF_SUFFIX, ".md")
    #: Endings of all files that a run writes.
    ENDINGS = (".state.pt", ".safetensors", *FINISHED)

    @property
    def state_path(self) -> Path:
        return self.out / f"{self.config.preset}.state.pt"

    @property
    def weights_path(self) -> Path:
        return self.out / f"{self.config.preset}.safetensors"

    def summary(self) -> str:
        """One line: the network, the device and the data."""
        c, data = self.lifter.config, self.training
        known = "" if self.before.all_known else ", which may be subjects of the initial weights"
        left = f", {data.left_out} clips of one frame or none left out" if data.left_out else ""
        return (
            f"{self.config.preset}: {c.layers} layers, d {c.dim}, T {c.frames} on {self.device}; "
            f"{len(data.lengths)} clips, {data.minutes:.0f} minutes{left}; validation on "
            f"{', '.join(sorted(self.validation_subjects))}{known}"
        )

    # ---------------------------------------------------------------------- the state file

    def save_state(self) -> None:
        """Write the state that a later run continues from. Each process has to call it.

        Raises:
            OutputError: it cannot be written; the last saved state is kept.
        """
        generator, left = self.supply.state()
        generators = self.processes.gather(generator)
        clips_left = self.processes.gather(left)
        dropout = self.processes.gather(_dropout_state(self.device))
        if not self.processes.first:
            return
        state = {
            "config": asdict(self.config),
            "lifter": self.lifter.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generators": generators,
            "clips_left": clips_left,
            "dropout": dropout,
            "step": self.step,
            "trained_s": self.trained_s,
            "clips": self.clips,
            "training": self.notes.text(),
        }
        with replacing(self.state_path) as part, part.open("wb") as file:
            torch.save(state, file)

    def _read_state(self) -> dict[str, Any]:
        """The state file of a run of these settings.

        Raises:
            ValueError: it is damaged, or was made with other settings.
        """
        try:
            state: dict[str, Any] = torch.load(
                self.state_path, map_location=self.device, weights_only=True
            )
            theirs = dict(state["config"])
        except Exception as error:  # torch.load raises whatever a broken file leads to
            raise ValueError(f"{self.state_path} is no state of a run: {error}") from None
        # The budget may be raised, or lowered to cool down a copy.
        free = ("out", "mocap", "budget_minutes", "steps")
        ours = asdict(self.config)
        changed = sorted(
            k for k in {*ours, *theirs} - {*free} if _plain(ours.get(k)) != _plain(theirs.get(k))
        )
        if changed:
            raise ValueError(
                f"{self.state_path} was made with other settings ({', '.join(changed)}); "
                "train into another folder or delete it"
            )
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Raises:
            ValueError: it was made by another version, or is of another network.
        """
        try:
            self.lifter.load_state_dict(state["lifter"])
            self.averaged.load_state_dict(state["averaged"])
        except RuntimeError as error:
            raise ValueError(
                f"{self.state_path} holds another network than the preset and --init describe now; "
                f"train into another folder or delete it ({one_line(error)})"
            ) from None
        try:
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            left, dropout = state["clips_left"], state["dropout"]
        except (KeyError, ValueError):
            raise ValueError(
                f"{self.state_path} is of another version of the trainer; "
                f"begin a new run with --init {self.weights_path}"
            ) from None
        self.step, self.trained_s, self.clips = state["step"], state["trained_s"], state["clips"]
        generators, rank, count = state["generators"], self.processes.rank, self.processes.count
        # A GPU's generator has a state of another size.
        own = self.synthesizer.generator.get_state().numel(), _dropout_state(self.device).numel()
        if len(generators) == count and (generators[rank].numel(), dropout[rank].numel()) == own:
            self.supply.restore(generators[rank], left[rank])
            _set_dropout_state(self.device, dropout[rank].cpu())
        else:
            # Other devices or another number of them: random numbers that were not used before.
            now = (self.config.seed, rank, count, self.step)
            self.synthesizer.generator.manual_seed(_hashed(*now, 1))
            torch.manual_seed(_hashed(*now, 2))

    # ---------------------------------------------------------------------- training

    def clock(self) -> float:
        """Training time, s, from an arbitrary beginning.

        On a CPU it is the processor time of all threads, since other programs share the CPU.
        """
        return time.process_time() if self.device.type == "cpu" else time.perf_counter()

    def progress(self) -> float:
        """Share of the budget that is spent."""
        c = self.config
        done = self.step / c.steps if c.steps else self.trained_s / (60 * c.budget_minutes)
        return min(1.0, done)

    def learning_rate(self) -> float:
        """The current learning rate: linear warm-up, constant, cool-down."""
        c, done = self.config, self.progress()
        if done < c.warmup:
            return c.learning_rate * (0.02 + 0.98 * done / c.warmup)
        if done <= 1 - c.cooldown:
            return c.learning_rate
        cooled = (done - (1 - c.cooldown)) / c.cooldown
        return c.learning_rate * max(0.01, 1 - math.sqrt(cooled))

    def synthesize(self) -> tuple[Tensor, Tensor]:
        """A new batch: keypoints (B, T, 17, 3), targets (B, T, 17, 3) m."""
        c = self.config
        frames, clips = self.lifter.config.frames, c.batch
        if self.progress() < c.short_share:
            frames, clips = max(3, frames // 3), 3 * clips
        return self.supply.take(clips, frames)

    def train_step(self) -> dict[str, Tensor]:
        """One step on a new batch; returns the loss terms, on the device."""
        c = self.config
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate()
        keypoints, targets = self.synthesize()
        self._parallel.train()
        positions, log_scale = self._parallel(keypoints)
        terms = pose_losses(positions, log_scale, targets, c.loss.distance)
        loss = total_loss(terms, c.loss)
        self.lifter.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.lifter.parameters(), c.clip_norm)
        # A GPU would wait for the answer: there `TrainingLog.step` and `_try_to_save` look.
        if self.device.type == "cpu" and not (norm + loss.detach()).isfinite():
            losses = {name: float(value.detach()) for name, value in terms.items()}
            raise diverged(
                f"the loss or its gradient is no number at step {self.step + 1}: {losses}"
            )
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.clips += len(keypoints) * self.processes.count
        # A short average at first, so that the random initial weights are forgotten.
        decay = min(c.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            # All at once: on a GPU each alone is a launch.
            torch._foreach_lerp_(
                list(self.averaged.parameters()), list(self.lifter.parameters()), 1 - decay
            )
        return {k: v.detach() for k, v in terms.items()}

    def validate(self, windows: int | None = None) -> dict[str, Any]:
        """The report of `evaluate` for the averaged weights on the validation subjects."""
        windows = windows or self.config.validate_windows
        return evaluate(self.averaged, self.validation, self.device, windows, ("exact", "noisy"))

    @cached_property
    def mean_pose(self) -> np.ndarray:
        """(17, 3) m, see `trunk_mean_pose`."""
        return trunk_mean_pose(self.training)

    def save_weights(self) -> None:
        """Write the averaged weights, with the subjects and the mean pose of their training.

        What a finished run had made of its weights goes: engines take the export beside a file.
        """
        for ending in self.FINISHED:
            self.weights_path.with_name(self.weights_path.stem + ending).unlink(missing_ok=True)
        notes = replace(self.notes, mean_pose_m=self.mean_pose)
        save_weights(self.weights_path, self.averaged, {"training": notes.text()})

    def train(self, minutes: float, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Train until a time or the budget is spent.

        Args:
            minutes: training time of this slice, minutes.
            stopping: called after each step. Where the first process answers true, the state is
                saved and training ends.

        Returns:
            whether the budget is spent.

        Raises:
            TrainingError: the loss, its gradient or a weight is not finite, or the state cannot be
                saved at the end of the slice. The last saved state is kept.
        """
        c, end_s = self.config, self.trained_s + 60 * minutes
        log = TrainingLog(self)
        next_validation = self.trained_s + 60 * c.validate_minutes
        next_save = self.trained_s + 60 * c.save_minutes
        begin = self.clock()
        while self.progress() < 1 and self.trained_s < end_s:
            terms = self.train_step()
            log.step(terms)
            if self.step % self.agreed_steps and not (c.steps and self.step >= c.steps):
                continue
            self.trained_s += self.processes.agree(self.clock() - begin, self.device)
            stopped = bool(self.processes.agree(float(stopping()), self.device))
            last = self.progress() >= 1 or self.trained_s >= end_s
            if self.trained_s >= next_save or last or stopped:
                next_save = self.trained_s + 60 * c.save_minutes
                self._try_to_save(last or stopped)
            if stopped:
                break
            if self.trained_s >= next_validation or last:
                next_validation = self.trained_s + 60 * c.validate_minutes
                if self.processes.first:
                    log.validation(self.validate())
            begin = self.clock()
        log.close()
        return self.progress() >= 1

    def _try_to_save(self, last: bool) -> None:
        """Save. Before the end of a slice a failure is only reported: a disk may be emptied."""
        weights = [*self.lifter.parameters(), *self.averaged.parameters()]
        finite = bool(torch.stack([w.detach().isfinite().all() for w in weights]).all())
        if not self.processes.agree(float(finite), self.device):
            raise diverged(f"the weights are no numbers at step {self.step}")
        try:
            self.save_state()
            if self.processes.first:
                self.save_weights()
        except OSError as error:
            if last:
                raise TrainingError(f"{error}; the state before it is kept") from None
            say(f"{error}; going on, and trying again later")


def agreed_steps(device: torch.device, processes: int) -> int:
    """`Trainer.agreed_steps`. A GPU would wait for each agreement."""
    return TrainingLog.EVERY if device.type == "cuda" and processes > 1 else 1


def _plain(value: Any) -> Any:
    """The value as a file gives it back, with lists in place of tuples."""
    return json.loads(json.dumps(value))


def _hashed(*numbers: int) -> int:
    """A seed of 32 bits: torch's generator of a CPU ignores all others."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _dropout_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_dropout_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
