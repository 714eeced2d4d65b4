"""Engines that run the model, and the choice between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..io.paths import from_home, share_folder
from ..model.presets import presets_with_weights
from ..reasons import Reason
from ..runtime.backends import Backend
from ..runtime.device import DEVICES, DevicePolicy, to_stderr
from ..runtime.onnx import CPU, CUDA, TENSORRT, default_threads
from ..runtime.onnx_gpu import GPU_PROVIDERS
from .engine_base import Engine, EngineError, EngineUnavailable
from .gpu_guard import GpuGuard
from .onnx_engine import OnnxEngine
from .torch_engine import TorchEngine

__all__ = [
    "DEVICES",
    "ENGINES",
    "Engine",
    "EngineError",
    "OnnxEngine",
    "TorchEngine",
    "default_threads",
    "make_engine",
]

ENGINES = ("auto", "torch", "onnxruntime")

#: Number of people in one pass that a GPU is made ready for without `Engine.warm_up`.
READY_FOR_PEOPLE = 8


def make_engine(
    preset: str = "lite",
    weights: str | Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    engine: str = "auto",
    say: Callable[[str], None] = to_stderr,
    counts: Counter[Reason] | None = None,
) -> Engine:
    """Load the model and choose what runs it.

    The first engine that works is used, in this order: onnxruntime with TensorRT, onnxruntime with
    CUDA, torch with CUDA, onnxruntime on the CPU, torch on the CPU. `description` says which engine
    runs, and why each earlier one does not. onnxruntime needs the exported .onnx file beside the
    .safetensors file.

    The devices are those of `runtime.device`. `GpuGuard` handles a GPU that fails later.

    Args:
        preset: name of the shipped model that is used without `weights`.
        weights: a .safetensors or .onnx file.
        device: 'auto', 'cuda' or 'cpu', see `runtime.device`.
        threads: of the CPU engines.
        engine: one of `ENGINES`.
        say: takes the events of a GPU, one line each; by default they go to stderr.
        counts: takes the number of these events, by reason.

    Raises:
        EngineError: the weights do not exist or do not load, or the device or engine is not
            available on this machine.
    """
    policy = DevicePolicy(device, EngineError)
    if engine not in ENGINES:
        raise EngineError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    path = weights_file(preset, weights)
    cpu_threads = threads or default_threads()

    backends = [
        Backend(name, device, partial(make, path, cpu_threads, say))
        for name, device, library, make in _ENGINES
        if engine in ("auto", library)
    ]
    counts = Counter() if counts is None else counts
    guard = GpuGuard(backends, policy, say, counts, READY_FOR_PEOPLE)
    settled = guard.settled
    if settled is None:
        return guard
    settled.description = guard.description
    return settled


def _torch(device: str, path: Path, threads: int, say: Callable[[str], None]) -> Engine:
    if path.suffix == ".onnx":
        raise EngineUnavailable("it runs .safetensors files, not .onnx")
    return TorchEngine(path, device, threads)


def _onnxruntime(provider: str, path: Path, threads: int, say: Callable[[str], None]) -> Engine:
    exported = path.with_suffix(".onnx")
    if not exported.is_file():
        raise EngineUnavailable(f"there is no {exported}; emf-ros export makes one")
    return OnnxEngine(exported, threads, provider, say)


#: Name for the log, device, library and maker of each engine, the preferred one first. On a CPU
#: onnxruntime needs a third of torch's time.
_ENGINES: tuple[tuple[str, str, str, Callable[..., Engine]], ...] = (
    (GPU_PROVIDERS[TENSORRT], "cuda", "onnxruntime", partial(_onnxruntime, TENSORRT)),
    (GPU_PROVIDERS[CUDA], "cuda", "onnxruntime", partial(_onnxruntime, CUDA)),
    ("torch on CUDA", "cuda", "torch", partial(_torch, "cuda")),
    ("onnxruntime on the CPU", "cpu", "onnxruntime", partial(_onnxruntime, CPU)),
    ("torch on the CPU", "cpu", "torch", partial(_torch, "cpu")),
)


def weights_file(preset: str, weights: str | Path | None) -> Path:
    """The file that is asked for; it exists.

    Raises:
        EngineError: it does not, or there is no such preset.
    """
    if weights:
        path = from_home(weights)
    else:
        models = share_folder("models")
        path = models / f"{preset}.safetensors"
        if preset not in presets_with_weights():
            raise EngineError(
                f"no weights for the preset {preset!r} in {models}; "
                f"there are: {', '.join(presets_with_weights()) or 'none'}"
            )
    if not path.is_file():
        raise EngineError(f"there is no weights file {path}")
    return path
