"""Engines that run the model, and the choice between them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Protocol

import numpy as np

from ..model.presets import LifterConfig, get_preset
from ..paths import share_folder
from ..skeletons import get_layout

DEVICES = ("auto", "cuda", "cpu")
ENGINES = ("auto", "torch", "onnxruntime")


class EngineError(RuntimeError):
    """The model cannot be run as asked for; the message says why."""


class Engine(Protocol):
    """Something that runs the model.

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
        of their error along each axis (B, T, J) m.

        Raises:
            ValueError: another shape, or keypoints that are not finite.
        """
        ...


def _check_config(path: Path, config: LifterConfig) -> None:
    """Refuse a model that is no use here, whatever it is good for elsewhere."""
    if config.normalization != "virtual_camera":
        raise EngineError(
            f"{path} takes keypoints normalised by {config.normalization!r}, which gives no metric "
            "skeletons; what runs here takes 'virtual_camera'"
        )


def _check_keypoints(keypoints: np.ndarray, config: LifterConfig) -> np.ndarray:
    shape = (config.frames, len(get_layout(config.layout)), 3)
    if keypoints.ndim != 4 or keypoints.shape[1:] != shape:
        raise ValueError(
            f"keypoints must be (B, {', '.join(map(str, shape))}), not {keypoints.shape}"
        )
    if not np.isfinite(keypoints).all():
        raise ValueError("keypoints must be finite")
    return np.ascontiguousarray(keypoints, dtype=np.float32)


def _laplace_stddev(log_scale: np.ndarray) -> np.ndarray:
    # A Laplace distribution of scale b has the standard deviation sqrt(2) b.
    return np.sqrt(2.0) * np.exp(np.clip(log_scale, -8.0, 2.0))


def default_threads() -> int:
    """Two threads where there are two cores: more bring little to a model this small."""
    return min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


class OnnxEngine:
    """The exported model in onnxruntime, on the CPU."""

    device = "cpu"

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Spinning workers answer a tenth sooner on idle cores and take twice as long on busy ones,
        # as a robot's are; and they burn a core while no one is in sight.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise EngineError(f"{path} cannot be loaded: {error}") from None
        try:
            self.config = LifterConfig.from_metadata(
                self._session.get_modelmeta().custom_metadata_map
            )
        except ValueError as error:
            raise EngineError(f"{path}: {error}") from None
        _check_config(path, self.config)
        taken = [(i.name, list(i.shape[1:])) for i in self._session.get_inputs()]
        wanted = [("keypoints", [self.config.frames, len(get_layout(self.config.layout)), 3])]
        if taken != wanted:
            raise EngineError(f"{path} says that it takes {wanted} and takes {taken}")
        self.description = f"onnxruntime {onnxruntime.__version__} on {threads} CPU threads"

    def warm_up(self, n):
        self.lift(np.zeros((n, self.config.frames, 17, 3)))

    def lift(self, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        keypoints = _check_keypoints(keypoints, self.config)
        positions, log_scale = self._session.run(
            ["positions", "log_scale"], {"keypoints": keypoints}
        )
        return positions, _laplace_stddev(log_scale)


class TorchEngine:
    """The model in torch, on a CUDA GPU or the CPU."""

    def __init__(self, path: Path, device: str, threads: int) -> None:
        import torch

        from ..model.checkpoint import WeightsError, load_weights
        from ..model.fused import FusedLifter

        try:
            lifter = load_weights(path)
        except WeightsError as error:
            raise EngineError(str(error)) from None
        _check_config(path, lifter.config)
        self._lifter = FusedLifter(lifter).to(device)
        self._torch, self.device, self.config = torch, device, lifter.config
        if device == "cuda":
            where = torch.cuda.get_device_name()
        else:
            torch.set_num_threads(threads)
            where = f"{threads} CPU threads"
        self.description = f"torch {torch.__version__} on {where}"

    def lift(self, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        torch = self._torch
        with torch.inference_mode():
            batch = torch.from_numpy(_check_keypoints(keypoints, self.config))
            positions, log_scale = self._lifter(batch.to(self.device))
            return positions.cpu().numpy(), _laplace_stddev(log_scale.cpu().numpy())


def make_engine(
    preset: str = "lite",
    weights: str | Path | None = None,
    device: str = "auto",
    require_gpu: bool = False,
    threads: int | None = None,
    engine: str = "auto",
    say=print,
    counts=None,
) -> Engine:
    """Load the model and choose what runs it.

    A CUDA GPU is used when there is one; on the CPU the exported model in onnxruntime, which is the
    faster there, where both exist, else torch. `description` says which and why.

    Args:
        preset: which of the shipped models, when `weights` is not given.
        weights: a .safetensors or .onnx file.
        device: 'auto', 'cuda' or 'cpu'.
        require_gpu: refuse to run on a CPU.
        threads: of the CPU engines.

    Raises:
        EngineError: there are no such weights, they do not load, or the device is not there.
    """
    if device not in DEVICES:
        raise EngineError(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
    threads = threads or default_threads()
    if weights:
        path = Path(weights).expanduser()
    else:
        try:
            get_preset(preset)
        except ValueError as error:
            raise EngineError(str(error)) from None
        models = share_folder("models")
        path = models / f"{preset}.safetensors"
        if not path.is_file():
            have = sorted(p.stem for p in models.glob("*.safetensors"))
            raise EngineError(
                f"no weights for the preset {preset!r} in {models}; "
                f"there are: {', '.join(have) or 'none'}"
            )
    if not path.is_file():
        raise EngineError(f"there is no weights file {path}")

    cuda, why_not = False, "device is cpu"
    if device != "cpu":
        cuda, why_not = _cuda()
    if not cuda and (require_gpu or device == "cuda"):
        raise EngineError(f"a GPU is required and cannot be used: {why_not}")

    if path.suffix == ".onnx":
        if cuda and (require_gpu or device == "cuda"):
            raise EngineError("a GPU is required; give the .safetensors file, which runs on one")
        return OnnxEngine(path, threads)
    if cuda:
        return TorchEngine(path, "cuda", threads)
    exported = path.with_suffix(".onnx")
    if exported.is_file():
        try:
            engine = OnnxEngine(exported, threads)
        except ImportError:
            engine = TorchEngine(path, "cpu", threads)
    else:
        engine = TorchEngine(path, "cpu", threads)
    engine.description += f" ({why_not})"
    return engine


#: A CUDA GPU shows itself as one of these: desktop, Jetson, WSL.
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/nvmap", "/dev/dxg")


def _cuda() -> tuple[bool, str]:
    """Whether torch has a CUDA GPU, and if not, why."""
    # Importing torch takes seconds; where there is no GPU its answer is known.
    if sys.platform == "linux" and not any(os.path.exists(path) for path in _GPU_DEVICES):
        return False, "no CUDA GPU"
    try:
        import torch
    except ImportError:
        return False, "torch is not installed"
    if torch.version.cuda is None:
        return False, "torch was built without CUDA"
    if not torch.cuda.is_available():
        return False, "no CUDA GPU"
    return True, ""
