"""Engines that run the model, and the choice between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..io.paths import share_folder
from ..model.presets import presets_with_weights
from ..reasons import Reason
from ..runtime.device import DEVICES, DevicePolicy, GpuUnavailable, to_stderr
from ..runtime.onnx import default_threads
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

#: Engines of each device, the faster one first. On a GPU torch replays one CUDA graph. On a CPU
#: onnxruntime needs a third of torch's time.
_ORDER = {"cuda": ("torch", "onnxruntime"), "cpu": ("onnxruntime", "torch")}


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

    The first engine that works is used, in this order: torch on a CUDA GPU, onnxruntime on a GPU,
    onnxruntime on the CPU, torch on the CPU. `description` says which engine runs, and why each
    earlier one does not. onnxruntime needs the exported .onnx file beside the .safetensors file.

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
    path = _weights_file(preset, weights)
    cpu_threads = threads or default_threads()

    def on_gpu() -> Engine:
        reasons: list[str] = []
        made = _first_of("cuda", engine, path, cpu_threads, reasons)
        if made is None:
            raise GpuUnavailable("; ".join(reasons))
        return GpuGuard(
            made,
            lambda: _on_cpu("auto", path, cpu_threads, []),
            policy,
            say,
            Counter() if counts is None else counts,
        )

    return policy.choose(on_gpu, lambda reason: _on_cpu(engine, path, cpu_threads, [reason]))


def _on_cpu(engine: str, path: Path, threads: int, reasons: list[str]) -> Engine:
    made = _first_of("cpu", engine, path, threads, reasons)
    if made is None:
        raise EngineError(f"nothing runs {path} here: {'; '.join(reasons)}")
    return made


def _first_of(
    device: str, engine: str, path: Path, threads: int, reasons: list[str]
) -> Engine | None:
    """The fastest engine on a device; None where there is none.

    The reasons against faster ones are added to `reasons`, and to the description.
    """
    for name in _ORDER[device]:
        if engine not in ("auto", name):
            continue
        try:
            made = _MAKERS[name](path, device, threads)
        except EngineUnavailable as error:
            reasons.append(f"{name} on {device}: {error}")
            continue
        if reasons:
            made.description += f" ({'; '.join(reasons)})"
        return made
    return None


def _torch(path: Path, device: str, threads: int) -> Engine:
    if path.suffix == ".onnx":
        raise EngineUnavailable("it runs .safetensors files, not .onnx")
    return TorchEngine(path, device, threads)


def _onnxruntime(path: Path, device: str, threads: int) -> Engine:
    exported = path.with_suffix(".onnx")
    if not exported.is_file():
        raise EngineUnavailable(f"there is no {exported}; emf-ros export makes one")
    return OnnxEngine(exported, threads, device)


_MAKERS: dict[str, Callable[[Path, str, int], Engine]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
}


def _weights_file(preset: str, weights: str | Path | None) -> Path:
    """The file that is asked for; it exists.

    Raises:
        EngineError: it does not, or there is no such preset.
    """
    if weights:
        path = Path(weights).expanduser()
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
