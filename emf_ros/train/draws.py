"""Random draws for the changes of training motion. Generators decide the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rand(generator: torch.Generator, *shape: int) -> Tensor:
    """Uniform in [0, 1)."""
    return torch.rand(*shape, generator=generator, device=generator.device)


def uniform(low: float, high: float, generator: torch.Generator, *shape: int) -> Tensor:
    """Uniform in [low, high)."""
    return low + (high - low) * rand(generator, *shape)


def random_index(count: int, generator: torch.Generator, *shape: int) -> Tensor:
    """Uniform integers in [0, count)."""
    return torch.randint(count, shape, generator=generator, device=generator.device)


def other_windows(batch: int, generator: torch.Generator, *shape: int) -> Tensor:
    """(B, *shape) indices of other windows of the batch; the own one only in a batch of one."""
    own = torch.arange(batch, device=generator.device).reshape(batch, *(1 for _ in shape))
    return (own + 1 + random_index(max(batch - 1, 1), generator, batch, *shape)) % batch


def choose(
    motion: Tensor, changed: Tensor, probability: float, generator: torch.Generator
) -> Tensor:
    """Take the changed window with the given probability, else the old one."""
    chosen = rand(generator, len(motion)) < probability
    return torch.where(chosen[:, None, None, None], changed, motion)


def smooth_noise(
    shape: tuple[int, ...],
    frames: int,
    rate_hz: float,
    frequency_hz: tuple[float, float],
    generator: torch.Generator,
) -> Tensor:
    """(*shape, T) noise, nearly standard normal: four sinusoids of random frequency and phase."""
    waves = 4
    frequency = uniform(*frequency_hz, generator, *shape, waves, 1)
    phase = rand(generator, *shape, waves, 1)
    time = torch.arange(frames, device=generator.device) / rate_hz
    return (2 * math.pi * (frequency * time + phase)).sin().sum(-2) * math.sqrt(2 / waves)


def minimum_jerk(part: Tensor) -> Tensor:
    """Course from 0 to 1 that begins and ends at rest (Flash and Hogan 1985); part 0 to 1."""
    part = part.clamp(0, 1)
    return part**3 * (10 - 15 * part + 6 * part**2)
