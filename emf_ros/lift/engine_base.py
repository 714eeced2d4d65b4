"""What all engines have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from ..model.presets import LifterConfig
from ..runtime.device import first_line
from ..skeletons import get_layout

__all__ = [
    "Engine",
    "EngineError",
    "EngineUnavailable",
    "check_config",
    "check_keypoints",
    "clip_shape",
    "first_line",
    "laplace_stddev",
]


class EngineError(RuntimeError):
    """The model cannot be run as asked for; the message says why."""


class EngineUnavailable(EngineError):
    """This engine is not to be had here, another may be: a package or a GPU is missing."""


class Engine(Protocol):
    """Something that runs the model. One thread at a time may use it.

    Attributes:
        config: the window's length and rate, and the layout.
        device: 'cuda' or 'cpu', where it really runs.
        description: one line for the log: what runs where, and why that was chosen.
    """

    config: LifterConfig
    device: str
    description: str

    def lift(self, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Canonical keypoints (B, T, J, 3) to positions (B, T, J, 3) m and the standard deviation
        of their error along each axis (B, T, J) m. B is any number, 0 too.

        Raises:
            ValueError: another shape, or keypoints that are not finite.
            EngineError: the GPU has failed, and nothing else may be used.
        """
        ...

    def warm_up(self, largest: int) -> None:
        """Do ahead what the first passes of up to `largest` people would take long for.

        Raises:
            EngineError: as `lift`.
        """
        ...


def check_config(path: Path, config: LifterConfig) -> None:
    """Refuse a model that is no use here, whatever it is good for elsewhere."""
    if config.normalization != "virtual_camera":
        raise EngineError(
            f"{path} takes keypoints normalised by {config.normalization!r}, which gives no metric "
            "skeletons; what runs here takes 'virtual_camera'"
        )


def clip_shape(config: LifterConfig) -> tuple[int, int, int]:
    """(T, J, 3) of one person's keypoints."""
    return config.frames, len(get_layout(config.layout)), 3


def check_keypoints(keypoints: np.ndarray, config: LifterConfig) -> np.ndarray:
    """The keypoints (B, T, J, 3) as engines want them, float32 in one piece.

    Raises:
        ValueError: see `Engine.lift`.
    """
    shape = clip_shape(config)
    if keypoints.ndim != 4 or keypoints.shape[1:] != shape:
        raise ValueError(
            f"keypoints must be (B, {', '.join(map(str, shape))}), not {keypoints.shape}"
        )
    if not np.isfinite(keypoints).all():
        raise ValueError("keypoints must be finite")
    return np.ascontiguousarray(keypoints, dtype=np.float32)


def laplace_stddev(log_scale: np.ndarray) -> np.ndarray:
    """The standard deviation, m, of errors whose scale is given as log m."""
    # A Laplace distribution of scale b has the standard deviation sqrt(2) b.
    return np.sqrt(2.0) * np.exp(np.clip(log_scale, -8.0, 2.0))
