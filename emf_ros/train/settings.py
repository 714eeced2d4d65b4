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
    """The settings that decide a run.

    Attributes:
        preset: name of the network's size.
        mocap: folder of motion capture.
        out: folder for the resumable state and the weights.
        lifter: settings of `LifterConfig` in place of the preset's.
        validation: subjects to hold back, see `mocap.held_back`.
        budget_minutes: training time of the whole run, which the learning rate follows. It is
            processor time on a CPU and elapsed time on a GPU.
        steps: length of the run in steps; 0 uses `budget_minutes`. Only runs of equal steps are
            equal, because their time varies.
        batch: number of clips per step and process.
        short_share: share of the budget, at its beginning, with windows a third as long and three
            times as many clips per step. The network does not depend on the window's length, and
            early on the number of different cameras and poses decides.
        optimizer: 'adamw' for all parameters, or 'muon' (Jordan et al. 2024) for the matrices that
            map features to features, and AdamW for all others. The updates of both have the same
            size (Liu et al. 2025), so that one learning rate serves both.
        learning_rate: maximum learning rate, held between warm-up and cool-down.
        warmup: share of the budget in which the learning rate rises to the peak.
        cooldown: share of the budget, at its end, in which the learning rate falls to a hundredth.
            A run whose budget is raised before its cool-down continues as a longer run. A copy of
            its state with a smaller budget cools down, and its weights can be shipped. The form is
            1 - sqrt (Haegele et al. 2024, "Scaling laws and compute-optimal training beyond fixed
            training durations").
        precision: of the matrix products inside the trunk's blocks: 'float32', 'bfloat16', or
            'auto', which is bfloat16 on devices that compute in it. On a CPU, EMF and the heads
            are always in float32: EMF subtracts neighbouring frames, and the heads give metres.
        weight_decay: of the matrices.
        clip_norm: maximum norm of the gradient.
        ema: decay of the averaged weights, which are the ones that are saved.
        init: weights file to start from; empty: random weights. Of several files, separated by
            commas, the mean is taken: the mean of runs that began alike is better than each
            (Wortsman et al. 2022). The file's sizes replace the preset's. With settings in
            `lifter` the network grows: tensors of the same name and shape are taken over, all
            others begin at random.
        seed: of the weights and the data.
        validate_minutes: training time between two validations, minutes.
        validate_windows: number of windows of a validation.
        save_minutes: training time between two saved states, minutes.
        loss, diversity, cameras, errors: see the classes.
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
        """A copy with settings such as 'learning_rate=1e-3' or 'lifter.features=none'.

        Raises:
            ValueError: a setting does not exist, or its value has another type.
        """
        config = self
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            if not equals:
                raise ValueError(f"{assignment!r} is not SETTING=VALUE")
            config = _changed(config, path.strip().split("."), text, path.strip())
        return config

    def differences(self) -> list[tuple[str, str]]:
        """Names and values, as JSON, of the settings that differ from the defaults."""
        plain = dict(_flat(asdict(TrainConfig(self.preset, self.mocap, self.out))))
        own = ("preset", "mocap", "out", "validation", "budget_minutes", "steps", "init", "seed")
        return [
            (name, json.dumps(value))
            for name, value in _flat(asdict(self))
            if name not in own and plain.get(name) != value
        ]

    def network(self) -> LifterConfig:
        """The preset with the changes of `lifter`.

        Raises:
            ValueError: the preset or a setting is unknown.
        """
        return resized(get_preset(self.preset), self.lifter)


def resized(config: LifterConfig, settings: dict[str, Any]) -> LifterConfig:
    """A copy with other settings; those of `motion` are replaced one by one.

    Raises:
        ValueError: a setting is unknown or impossible.
    """
    was = config.as_dict()
    motion = {**was["motion"], **settings.get("motion", {})}
    return LifterConfig.from_dict({**was, **settings, "motion": motion})


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as pairs of dotted names and values."""
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
        with suppress(ValueError):  # YAML reads 1e-3 as text
            value = float(value)
    if isinstance(value, int) and not isinstance(value, bool) and isinstance(old, float):
        value = float(value)
    if isinstance(value, list) and isinstance(old, tuple):
        value = tuple(value)
    if type(value) is not type(old):
        raise ValueError(f"{whole} is a {type(old).__name__}, as {old!r} is; {text!r} is not")
    return dataclasses.replace(settings, **{name: value})
