"""The interface of the engines that run the model, and the parts that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from ..model.presets import LifterConfig
from ..runtime.device import BackendUnavailable
from ..skeletons import get_layout

__all__ = [
    "Engine",
    "EngineError",
    "EngineUnavailable",
    "check_config",
    "check_keypoints",
    "clip_shape",
    "laplace_stddev",
]


class EngineError(RuntimeError):
    """The model cannot be run with these settings; the message says why."""


class EngineUnavailable(EngineError, BackendUnavailable):
    """This engine cannot run here, but another one may: a package or a GPU is missing."""


class Engine(Protocol):
    """Runs the model. Only one thread at a time may use it.

    Attributes:
        config: length and rate of the window, and the layout.
        device: the device that it runs on, 'cuda' or 'cpu'.
        description: one line for the log: engine, device, and the reason for the choice.
    """

    config: LifterConfig
    device: str
    description: str

    def lift(self, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lift windows of keypoints.

        Args:
            keypoints: (B, T, J, 3) of the canonical windows; B may be 0.

        Returns:
            positions (B, T, J, 3) m, and the standard deviation of their error along each axis
            (B, T, J) m.

        Raises:
            ValueError: the shape is another one, or keypoints are not finite.
            EngineError: the GPU has failed, and the CPU may not be used.
        """
        ...

    def warm_up(self, largest: int) -> None:
        """Run the model once for each batch size, as the first runs are slow.

        Args:
            largest: maximum number of people in one forward pass.

        Raises:
            EngineError: as `lift`.
        """
        ...

    def limit(self, largest: int) -> None:
        """Free what larger batches need; the callers give no larger ones any more.

        Args:
            largest: maximum number of people in one forward pass.
        """
        ...


def check_config(path: Path, config: LifterConfig) -> None:
    """Check that a model gives metric skeletons.

    Raises:
        EngineError: it does not.
    """
    if config.normalization != "virtual_camera":
        raise EngineError(
            f"{path} takes keypoints normalised by {config.normalization!r}, which gives no metric "
            "skeletons; use a model that takes 'virtual_camera'"
        )


def clip_shape(config: LifterConfig) -> tuple[int, int, int]:
    """The shape (T, J, 3) of the keypoints of one person."""
    return config.frames, len(get_layout(config.layout)), 3


def check_keypoints(keypoints: np.ndarray, config: LifterConfig) -> np.ndarray:
    """The keypoints (B, T, J, 3) as contiguous float32.

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
    """The standard deviation, m, of Laplace errors, from the logarithm of their scale in m."""
    # A Laplace distribution of scale b has the standard deviation sqrt(2) b.
    return np.sqrt(2.0) * np.exp(np.clip(log_scale, -8.0, 2.0))
