"""The settings of a training run."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml

from ..model.presets import LifterConfig, get_preset
from .detector_errors import DetectorErrors
from .diversity_config import DiversityConfig
from .losses import LossWeights
from .synthesis import CameraRanges

OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("auto", "float32", "bfloat16")


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
        return resized(get_preset(self.preset), self.lifter)


def resized(config: LifterConfig, settings: dict[str, Any]) -> LifterConfig:
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
