"""Weights as safetensors files, which hold arrays and text and cannot run code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..io.one_line import one_line
from ..io.outputs import replacing
from .lifter import Lifter
from .presets import LifterConfig


class WeightsError(ValueError):
    """A weights file is missing, broken, or of a kind that this version does not read."""


def save_weights(path: str | Path, lifter: Lifter, notes: dict[str, str] | None = None) -> None:
    """Write a lifter's weights and its configuration.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in lifter.state_dict().items()}
    metadata = {**(notes or {}), **lifter.config.metadata()}
    with replacing(path) as part:
        part.write_bytes(save(tensors, metadata))


def load_notes(path: str | Path) -> dict[str, str]:
    """The `notes` that `save_weights` wrote into a file.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no readable safetensors file: {one_line(error)}") from None


def load_weights(path: str | Path, device: str = "cpu") -> Lifter:
    """Build the lifter that a file describes, in evaluation mode.

    Raises:
        WeightsError: the file is missing or broken, or its weights do not fit its configuration.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{path} is no readable safetensors file: {one_line(error)}") from None
    try:
        config = LifterConfig.from_metadata(metadata)
        # Before it is built: a damaged configuration may ask for any amount of memory.
        held, needed = sum(t.numel() for t in tensors.values()), _least_numbers(config)
        if held < needed:
            raise ValueError(f"it has {held} weights, and the lifter it describes over {needed}")
        lifter = Lifter(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: {one_line(error)}") from None
    try:
        lifter.load_state_dict(tensors)
    except RuntimeError as error:
        why = one_line(error)
        raise WeightsError(f"{path} does not fit the lifter it describes: {why}") from None
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise WeightsError(f"{path} holds values that are not finite")
    return lifter.to(device).eval()


def _least_numbers(config: LifterConfig) -> int:
    """A number of weights that a lifter of a configuration has at least: those of some matrices."""
    motion = config.motion
    taps = sum(min(scale + 1, motion.max_taps) for scale in motion.scales)
    return max(
        int(config.layers * config.dim**2 * max(1.0, config.mlp_ratio)),
        config.dim * config.dim_rep,
        config.dim * config.tokens,
        motion.channels * motion.dim if config.features == "emf" else 0,
        motion.channels * taps * max(1, motion.joint_kernels) if config.features == "emf" else 0,
    )


def mean_weights(paths: Sequence[str]) -> Lifter:
    """The mean of weights files of one shape.

    Raises:
        WeightsError: a file cannot be loaded.
        ValueError: the networks differ.
    """
    lifter, *others = [load_weights(path) for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        if other.config != lifter.config:
            raise ValueError(f"{paths[0]} and {path} are weights of different networks")
    states = [network.state_dict() for network in (lifter, *others)]
    # Tensors of integers are equal in all files.
    mean = {
        name: torch.stack([state[name] for state in states]).mean(dim=0)
        for name, value in states[0].items()
        if value.is_floating_point()
    }
    lifter.load_state_dict({**states[0], **mean})
    return lifter
