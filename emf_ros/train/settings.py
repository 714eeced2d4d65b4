"""The settings of a training run."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from ..io.one_line import one_line
from ..io.plain_yaml import parse_plain_yaml
from ..model.presets import LifterConfig, get_preset
from .detector_errors import DetectorErrors
from .diversity_config import DiversityConfig
from .losses import LossWeights
from .setting_ranges import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Range,
    check_choice,
    check_numbers,
    shown,
)
from .synthesis import CameraRanges

OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("auto", "float32", "bfloat16")

#: Seeds. torch takes 64 bits, and a trainer adds ranks and steps.
_SEEDS = Range(0, 2**62)

#: Numbers that YAML takes for text, as they have an exponent and no point.
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


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
            A run whose budget is raised before its cool-down continues as a longer run. To ship
            weights from its middle, give a copy a budget of its time so far / (1 - cooldown): the
            cool-down then begins, in its full length. The form is 1 - sqrt (Haegele et al. 2024,
            "Scaling laws and compute-optimal training beyond fixed training durations").
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
        check_numbers(self, dict.fromkeys(("batch", "validate_windows"), Range(1)))
        if self.steps not in NOT_NEGATIVE or self.budget_minutes not in POSITIVE:
            raise ValueError("a run needs a budget: minutes above 0, or a number of steps")
        shares = ("short_share", "warmup", "cooldown")
        check_numbers(self, dict.fromkeys(shares, SHARE))
        positive = ("learning_rate", "clip_norm", "validate_minutes", "save_minutes")
        check_numbers(self, dict.fromkeys(positive, POSITIVE))
        check_numbers(
            self,
            {
                "weight_decay": NOT_NEGATIVE,
                # At 1 the averaged weights, which are saved, never leave the first ones.
                "ema": Range(0, 1, below=True),
                "seed": _SEEDS,
            },
        )
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_choice("precision", self.precision, PRECISIONS)

    def changed(self, assignments: list[str]) -> TrainConfig:
        """A copy with settings such as 'learning_rate=1e-3' or 'lifter.features=none'.

        Raises:
            ValueError: a setting does not exist, or its value has another type or is out of range;
                says which assignment.
        """
        config = self
        for assignment in assignments:
            path, equals, text = assignment.partition("=")
            if not equals:
                raise ValueError(f"{assignment!r} is not SETTING=VALUE")
            try:
                config = _changed(config, path.strip().split("."), text.strip(), path.strip())
            except (ValueError, OverflowError) as error:
                raise ValueError(f"{assignment}: {one_line(error)}") from None
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
    was, motion = config.as_dict(), settings.get("motion", {})
    if not isinstance(motion, dict):
        raise ValueError(f"motion has settings of its own, such as motion.dim; {motion!r} is none")
    return LifterConfig.from_dict({**was, **settings, "motion": {**was["motion"], **motion}})


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
        old = settings.get(name, {})
        if rest and not isinstance(old, dict):
            raise ValueError(f"{name} has no settings of its own")
        value = _changed(old, rest, text, whole) if rest else _number(parse_plain_yaml(text))
        return {**settings, name: value}
    if name not in {f.name for f in dataclasses.fields(settings)}:
        known = ", ".join(f.name for f in dataclasses.fields(settings))
        raise ValueError(f"there is no setting {whole!r}; known here: {known}")
    old = getattr(settings, name)
    if rest:
        if not dataclasses.is_dataclass(old) and not isinstance(old, dict):
            raise ValueError(f"{whole!r}: {name} has no settings of its own")
        return dataclasses.replace(settings, **{name: _changed(old, rest, text, whole)})
    return dataclasses.replace(settings, **{name: _of_type(old, text, whole)})


def _number(value: Any) -> Any:
    """A value of YAML, and a number where YAML reads 1e-3 as text."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _of_type(old: Any, text: str, whole: str) -> Any:
    """The value of a text, of the type of the old one; numbers in a list keep their count."""
    if dataclasses.is_dataclass(old):
        first = dataclasses.fields(old)[0].name
        raise ValueError(f"{whole} has settings of its own, such as {whole}.{first}")
    if isinstance(old, str) and text[:1] not in ("'", '"'):
        # As it is: a folder may be called 2024.
        return text
    value = _number(parse_plain_yaml(text))
    if isinstance(old, tuple):
        names = not old or isinstance(old[0], str)
        kinds = (str,) if names else (float, int)
        fits = isinstance(value, list) and (names or len(value) == len(old))
        value = list(map(_number, value)) if fits and not names else value
        if not fits or any(type(v) not in kinds for v in value):
            wanted = "a list of names" if names else f"a list of {len(old)} numbers"
            raise ValueError(f"{whole} is {wanted}, as {shown(old)} is; {text!r} is not")
        return tuple(value) if names else tuple(map(float, value))
    if type(value) is int and isinstance(old, float):
        value = float(value)
    if type(value) is not type(old):
        raise ValueError(f"{whole} is a {type(old).__name__}, as {old!r} is; {text!r} is not")
    return value
