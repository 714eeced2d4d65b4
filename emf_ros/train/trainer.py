"""The trainer: from a folder of motion capture to weights."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import yaml
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..io.outputs import replacing
from ..io.progress import Progress, say
from ..model.checkpoint import load_weights, save_weights
from ..model.lifter import Lifter
from ..model.presets import LifterConfig, get_preset
from ..model.published import freeze_local_scales, published_local_scales
from ..model.tcpformer import StackedLinear
from ..runtime.torch import torch_device
from .detector_model import DetectorErrors
from .diversity import Diversity, DiversityConfig
from .evaluate import evaluate, trunk_mean_pose
from .losses import LossWeights, pose_losses, total_loss
from .mocap import MotionClips, WindowSampler, held_back, load_mocap
from .precision import multiply_in_bfloat16, uses_bfloat16
from .synthesis import CameraRanges, Synthesizer

OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("auto", "float32", "bfloat16")


class TrainingError(RuntimeError):
    """A run cannot go on; the message says why and what is kept."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run.

    Attributes:
        preset: the network's size.
        mocap: folder of motion capture.
        out: folder for the resumable state and the weights.
        lifter: settings of `LifterConfig` in place of the preset's.
        validation: subjects to hold back, see `mocap.held_back`.
        budget_minutes: length of the whole run in training time, which the learning rate follows:
            processor time on a CPU, time that passes on a GPU.
        steps: length of the run in steps instead; 0 leaves it to the time. Only so are two runs the
            same, because no two take the same time.
        batch: clips a step and process.
        short_share: share of the budget spent first on windows a third as long, three times as many
            a step. The network has no sense of the window's length, and the cameras and poses that
            it sees an hour are what counts at first.
        optimizer: 'adamw', or 'muon' for the matrices inside the trunk's blocks (Jordan et al.
            2024; updates as large as AdamW's, Liu et al. 2025, so that the learning rate means the
            same) and AdamW for all else.
        learning_rate: its peak, held between warm-up and cool-down.
        warmup: share of the budget in which the learning rate rises to the peak.
        cooldown: share of the budget, at its end, in which the learning rate falls to a hundredth.
            A run whose budget is raised before its cool-down goes on as if it had always been
            longer; a copy of its state with a smaller budget cools down and can be shipped
            (Haegele et al. 2024, "Scaling laws and compute-optimal training beyond fixed training
            durations", whose 1 - sqrt form is used).
        precision: of the matrix products inside the trunk's blocks: 'float32', 'bfloat16', or
            'auto' (default), which takes bfloat16 where the device computes in it. EMF, where
            neighbouring frames are subtracted, and the heads, which give metres, are always in
            float32 on a CPU.
        weight_decay, clip_norm: as usual.
        ema: decay of the averaged weights, which are the ones that ship.
        init: weights file to go on from; empty: random weights. Several, with commas between:
            from their mean, which of runs that began alike is better than each (Wortsman et al.
            2022). Its sizes stand in for the preset's; with settings in `lifter` the network grows:
            what the file holds under the same name and shape is taken over, all else begins at
            random.
        seed: of weights and data.
        validate_minutes, validate_windows: training time between validations, and their size.
        save_minutes: training time between saved states.
        loss, diversity, cameras, errors: see there.
    """

    preset: str
    mocap: str
    out: str
    lifter: dict[str, Any] = field(default_factory=dict)
    validation: tuple[str, ...] = ()
    budget_minutes: float = 60.0
    steps: int = 0
    batch: int = 8
    short_share: float = 0.5
    optimizer: str = "muon"
    learning_rate: float = 2e-3
    warmup: float = 0.03
    cooldown: float = 0.3
    precision: str = "auto"
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.998
    init: str = ""
    seed: int = 0
    validate_minutes: float = 10.0
    validate_windows: int = 256
    save_minutes: float = 3.0
    loss: LossWeights = field(default_factory=LossWeights)
    diversity: DiversityConfig = field(default_factory=DiversityConfig)
    cameras: CameraRanges = field(default_factory=CameraRanges)
    errors: DetectorErrors = field(default_factory=DetectorErrors)

    def __post_init__(self) -> None:
        for name in ("batch", "validate_windows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.steps < 0 or not self.budget_minutes > 0:
            raise ValueError("a run needs a budget: minutes above 0, or a number of steps")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {self.optimizer!r}"
            )
        for name in ("short_share", "warmup", "cooldown"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, not {getattr(self, name)}")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}"
            )

    def changed(self, assignments: list[str]) -> TrainConfig:
        """With settings such as 'learning_rate=1e-3', 'errors.swap=0' or 'lifter.features=none'.

        Raises:
            ValueError: no such setting, or a value of another type.
        """
        config = self
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            if not equals:
                raise ValueError(f"{assignment!r} is not SETTING=VALUE")
            config = _changed(config, path.strip().split("."), text, path.strip())
        return config

    def differences(self) -> list[tuple[str, str]]:
        """Settings that `changed` set, by name, with their values as text."""
        plain = dict(_flat(asdict(TrainConfig(self.preset, self.mocap, self.out))))
        own = ("preset", "mocap", "out", "validation", "budget_minutes", "steps", "init", "seed")
        return [
            (name, json.dumps(value))
            for name, value in _flat(asdict(self))
            if name not in own and plain.get(name) != value
        ]

    def network(self) -> LifterConfig:
        """The preset with `lifter`'s changes.

        Raises:
            ValueError: unknown preset or settings.
        """
        return _resized(get_preset(self.preset), self.lifter)


def _resized(config: LifterConfig, settings: dict[str, Any]) -> LifterConfig:
    """With other settings, those of `motion` one by one.

    Raises:
        ValueError: unknown or impossible ones.
    """
    was = config.as_dict()
    motion = {**was["motion"], **settings.get("motion", {})}
    return LifterConfig.from_dict({**was, **settings, "motion": motion})


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as dotted names and values."""
    out = []
    for name, value in settings.items():
        if isinstance(value, dict):
            out += _flat(value, f"{prefix}{name}.")
        else:
            out.append((f"{prefix}{name}", value))
    return out


def _changed(settings: Any, path: list[str], text: str, whole: str) -> Any:
    """A copy of nested dataclasses and dicts with one value replaced."""
    name, rest = path[0], path[1:]
    if isinstance(settings, dict):
        inside = settings.get(name, {})
        value = _changed(inside, rest, text, whole) if rest else yaml.safe_load(text)
        return {**settings, name: value}
    if name not in {f.name for f in dataclasses.fields(settings)}:
        known = ", ".join(f.name for f in dataclasses.fields(settings))
        raise ValueError(f"there is no setting {whole!r}; known here: {known}")
    old = getattr(settings, name)
    if rest:
        if not dataclasses.is_dataclass(old) and not isinstance(old, dict):
            raise ValueError(f"{whole!r}: {name} has no settings of its own")
        return dataclasses.replace(settings, **{name: _changed(old, rest, text, whole)})
    value = yaml.safe_load(text)
    if isinstance(value, str) and isinstance(old, float):
        with suppress(ValueError):  # YAML takes 1e-3 for text
            value = float(value)
    if isinstance(value, int) and not isinstance(value, bool) and isinstance(old, float):
        value = float(value)
    if isinstance(value, list) and isinstance(old, tuple):
        value = tuple(value)
    if type(value) is not type(old):
        raise ValueError(f"{whole} is a {type(old).__name__}, as {old!r} is; {text!r} is not")
    return dataclasses.replace(settings, **{name: value})


# ------------------------------------------------------------------------------ processes


@dataclass(frozen=True)
class Processes:
    """The processes that train together: one, unless `torchrun` started several."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Processes:
        """Take part in what `torchrun` describes in the environment, if it does."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    def leave(self) -> None:
        """Part from the others, at the end of the run."""
        if self.count > 1:
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        return self.rank == 0

    def agree(self, value: float, device: torch.device) -> float:
        """The first process's value."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return float(shared)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Everyone's tensor, at everyone's."""
        if self.count == 1:
            return [tensor]
        out: list[Any] = [None] * self.count
        dist.all_gather_object(out, tensor)
        return out


# ------------------------------------------------------------------------------ the trainer


class Trainer:
    """One run: built new or from its state file, advanced in slices of time.

    Raises:
        MocapError, WeightsError: from the files that are read.
        ValueError: settings that do not fit each other, the machine or the state file.
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
        self.optimizers = self._new_optimizers()
        torch.manual_seed(config.seed + 1000 * self.processes.rank)  # of dropout
        everyone = load_mocap(config.mocap)
        subjects = set(everyone.subjects.tolist())
        self.validation_subjects = held_back(subjects, config.validation)
        self.training = everyone.of(subjects - self.validation_subjects)
        self.validation: MotionClips = everyone.of(self.validation_subjects)
        self.sampler = WindowSampler(self.training, self.lifter.config.rate_hz, self.device)
        self.synthesizer = Synthesizer(
            self.device, config.seed + 1000 * self.processes.rank, config.cameras, config.errors
        )
        self.diversity = Diversity(
            config.diversity, self.lifter.config.rate_hz, self.synthesizer.generator
        )
        self.out = Path(config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.step, self.trained_s, self.clips = 0, 0.0, 0
        if self.state_path.exists():
            self.load_state()
        if self.device.type == "cpu" and uses_bfloat16(config.precision):
            multiply_in_bfloat16(self.lifter.trunk.blocks)
            multiply_in_bfloat16(self.lifter.trunk.proxy_blocks)
        # Its parameters are the lifter's own, so that state, average and optimiser need not know.
        self._parallel: nn.Module = self.lifter
        if self.processes.count > 1:
            self._parallel = DistributedDataParallel(self.lifter)

    def _new_lifter(self) -> Lifter:
        config = self.config.network()
        if not self.config.init:
            return Lifter(config)
        given = _mean_weights(self.config.init.split(","))
        config = _resized(given.config, self.config.lifter)
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
        # The calibration of the weights that we come from says nothing of those to come.
        lifter.scale_offset.zero_()
        if published_local_scales(lifter.trunk):
            freeze_local_scales(lifter.trunk)
        return lifter

    def _new_optimizers(self) -> list[torch.optim.Optimizer]:
        """Weight decay is for matrices, not for scales, offsets and kernels."""
        c = self.config
        matrices = {
            id(module.weight)
            for module in self.lifter.modules()
            if isinstance(module, nn.Linear | StackedLinear)
        }
        # Muon is for what maps features to features; 'fusion' gives two weights, no features.
        hidden = {
            id(p)
            for name, p in self.lifter.trunk.named_parameters()
            if "blocks." in name and ".fusion." not in name and p.ndim == 2
        } & matrices
        trained = [p for p in self.lifter.parameters() if p.requires_grad]
        by_muon = [p for p in trained if id(p) in hidden] if c.optimizer == "muon" else []
        rest = [p for p in trained if c.optimizer != "muon" or id(p) not in hidden]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in rest if id(p) in matrices]},
            {"params": [p for p in rest if id(p) not in matrices], "weight_decay": 0.0},
        ]
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                groups, lr=c.learning_rate, weight_decay=c.weight_decay, betas=(0.9, 0.99)
            )
        ]
        if by_muon:
            optimizers.append(
                torch.optim.Muon(
                    by_muon,
                    lr=c.learning_rate,
                    weight_decay=c.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        return optimizers

    #: Endings of the files that a run and `card.finish` write, after the preset's name.
    ENDINGS = (".state.pt", ".safetensors", ".onnx", ".md")

    @property
    def state_path(self) -> Path:
        return self.out / f"{self.config.preset}.state.pt"

    @property
    def weights_path(self) -> Path:
        return self.out / f"{self.config.preset}.safetensors"

    def summary(self) -> str:
        """One line on what is trained on what."""
        c, data = self.lifter.config, self.training
        left = f", {data.left_out} clips of one frame or none left out" if data.left_out else ""
        return (
            f"{self.config.preset}: {c.layers} layers, d {c.dim}, T {c.frames} on {self.device}; "
            f"{len(data.lengths)} clips, {data.minutes:.0f} minutes{left}; validation on "
            f"{', '.join(sorted(self.validation_subjects))}"
        )

    # ---------------------------------------------------------------------- the state file

    def save_state(self) -> None:
        """Write all that is needed to go on; every process has to call it.

        Raises:
            OutputError: it cannot be written; the last state is still there.
        """
        generators = self.processes.gather(self.synthesizer.generator.get_state())
        dropout = self.processes.gather(_dropout_state(self.device))
        if not self.processes.first:
            return
        state = {
            "config": asdict(self.config),
            "lifter": self.lifter.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generators": generators,
            "dropout": dropout,
            "step": self.step,
            "trained_s": self.trained_s,
            "clips": self.clips,
        }
        with replacing(self.state_path) as part, part.open("wb") as file:
            torch.save(state, file)

    def load_state(self) -> None:
        try:
            state = torch.load(self.state_path, map_location=self.device, weights_only=True)
            theirs = dict(state["config"])
        except Exception as error:  # torch.load raises whatever a broken file leads to
            raise ValueError(f"{self.state_path} is no state of a run: {error}") from None
        # The budget may be raised, or lowered to cool a copy down.
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
        self.lifter.load_state_dict(state["lifter"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.trained_s, self.clips = state["step"], state["trained_s"], state["clips"]
        rank = self.processes.rank
        if len(state["generators"]) == self.processes.count:
            self.synthesizer.generator.set_state(state["generators"][rank].cpu())
            _set_dropout_state(self.device, state["dropout"][rank].cpu())
        else:
            # Of another number of processes: new random numbers, which never came before.
            self.synthesizer.generator.manual_seed(self.config.seed + 1000 * rank + self.step)

    # ---------------------------------------------------------------------- training

    def clock(self) -> float:
        """Training time so far, s, from an arbitrary beginning: the processor time of all threads
        on a CPU, where other programs take their share of the time that passes."""
        return time.process_time() if self.device.type == "cpu" else time.perf_counter()

    def progress(self) -> float:
        """How much of the budget is spent, 0 to 1."""
        c = self.config
        done = self.step / c.steps if c.steps else self.trained_s / (60 * c.budget_minutes)
        return min(1.0, done)

    def learning_rate(self) -> float:
        """Linear warm-up, the peak, and the cool-down, over the budget."""
        c, done = self.config, self.progress()
        if done < c.warmup:
            return c.learning_rate * (0.02 + 0.98 * done / c.warmup)
        if done <= 1 - c.cooldown:
            return c.learning_rate
        cooled = (done - (1 - c.cooldown)) / c.cooldown
        return c.learning_rate * max(0.01, 1 - math.sqrt(cooled))

    def synthesize(self) -> tuple[Tensor, Tensor]:
        """A fresh batch: keypoints (B, T, 17, 3), targets (B, T, 17, 3) m."""
        c = self.config
        frames, clips = self.lifter.config.frames, c.batch
        if self.progress() < c.short_share:
            frames, clips = max(3, frames // 3), 3 * clips
        generator = self.synthesizer.generator
        motion = self.sampler.draw(clips, frames, generator, c.cameras.speed)
        batch = self.synthesizer.batch(self.diversity(motion))
        return batch.keypoints, batch.targets

    def train_step(self) -> dict[str, Tensor]:
        """One optimiser step on a fresh batch; returns the loss terms, on the device."""
        c = self.config
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate()
        keypoints, targets = self.synthesize()
        self._parallel.train()
        halved = self.device.type == "cuda" and c.precision != "float32"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=halved):
            positions, log_scale = self._parallel(keypoints)
        terms = pose_losses(positions.float(), log_scale.float(), targets, c.loss.distance)
        loss = total_loss(terms, c.loss)
        self.lifter.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.lifter.parameters(), c.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.clips += len(keypoints) * self.processes.count
        # The average starts short, or it would remember the random beginning for ever.
        decay = min(c.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, new in zip(self.averaged.parameters(), self.lifter.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)
        return {k: v.detach() for k, v in terms.items()}

    def validate(self, windows: int | None = None) -> dict[str, Any]:
        windows = windows or self.config.validate_windows
        return evaluate(self.averaged, self.validation, self.device, windows, ("exact", "noisy"))

    @cached_property
    def mean_pose(self) -> np.ndarray:
        """(17, 3) m, see `trunk_mean_pose`."""
        return trunk_mean_pose(self.training)

    def save_weights(self) -> None:
        """The averaged weights, with what an evaluation has to know of their training."""
        notes = {
            "training": json.dumps(
                {
                    "subjects": sorted(set(self.training.subjects.tolist())),
                    "validation": sorted(self.validation_subjects),
                    "mean_pose_m": self.mean_pose.round(4).tolist(),
                }
            )
        }
        save_weights(self.weights_path, self.averaged, notes)

    def train(self, minutes: float, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Go on for so many minutes of training time, or to the end of the budget.

        Args:
            minutes: of training time.
            stopping: is asked after each step. When it is true, the state is saved and training
                ends there; the first process's answer counts.

        Returns:
            whether the budget is spent.

        Raises:
            TrainingError: the loss is no number any more, or the state cannot be saved at the end
                of the slice; what was saved last is still there.
        """
        c, end_s = self.config, self.trained_s + 60 * minutes
        log = _Log(self)
        next_validation = self.trained_s + 60 * c.validate_minutes
        next_save = self.trained_s + 60 * c.save_minutes
        while self.progress() < 1 and self.trained_s < end_s:
            begin = self.clock()
            terms = self.train_step()
            log.step(terms)
            spent = self.processes.agree(self.clock() - begin, self.device)
            self.trained_s += spent
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
        log.close()
        return self.progress() >= 1

    def _try_to_save(self, last: bool) -> None:
        """A full disk may be emptied while a run of hours goes on."""
        try:
            self.save_state()
            if self.processes.first:
                self.save_weights()
        except OSError as error:
            if last:
                raise TrainingError(f"{error}; the state before it is kept") from None
            say(f"{error}; going on, and trying again later")


def _mean_weights(paths: list[str]) -> Lifter:
    """The mean of weights files of one shape.

    Raises:
        WeightsError: one does not load.
        ValueError: they are of networks that differ.
    """
    lifter, *others = [load_weights(path.strip()) for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        if other.config != lifter.config:
            raise ValueError(f"{paths[0]} and {path.strip()} are weights of different networks")
    states = [network.state_dict() for network in (lifter, *others)]
    # What is no float, such as a count, is the same in all.
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        for name, value in states[0].items()
        if value.is_floating_point()
    }
    lifter.load_state_dict({**states[0], **mean})
    return lifter


def _plain(value: Any) -> Any:
    """As it comes back from a file, where tuples may have become lists."""
    return json.loads(json.dumps(value))


def _dropout_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_dropout_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


class _Log:
    """Progress and TensorBoard scalars, of the first process alone.

    Loss terms are added up on the device and fetched now and then: each look at them would make the
    host wait for the GPU.
    """

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
        trainer, enough = self.trainer, self.added >= self.EVERY
        if not enough and trainer.device.type != "cpu":
            return
        means = {k: float(v) / self.added for k, v in self.sums.items()}
        if not all(math.isfinite(v) for v in means.values()):
            raise TrainingError(
                f"the loss is no number at step {trainer.step}: {means}; the last saved state is "
                "from before; a lower learning rate may help"
            )
        if not enough:
            return
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
    """A writer of scalars, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("no TensorBoard scalars: pip install tensorboard")
        return None
    return SummaryWriter(str(folder / "tensorboard"))
