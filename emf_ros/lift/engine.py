"""Engines that run the model, and the choice between them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ..model.presets import presets_with_weights
from ..onnx_session import default_threads, gpu_there
from ..paths import share_folder
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

DEVICES = ("auto", "cuda", "cpu")
ENGINES = ("auto", "torch", "onnxruntime")

#: The faster first. On a GPU torch replays one CUDA graph; on a CPU onnxruntime takes a third of
#: torch's time.
_ORDER = {"cuda": ("torch", "onnxruntime"), "cpu": ("onnxruntime", "torch")}


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def make_engine(
    preset: str = "lite",
    weights: str | Path | None = None,
    device: str = "auto",
    require_gpu: bool = False,
    threads: int | None = None,
    engine: str = "auto",
    say: Callable[[str], None] = _to_stderr,
    counts: Counter[str] | None = None,
) -> Engine:
    """Load the model and choose what runs it.

    The first of these that is to be had: torch on a CUDA GPU, onnxruntime on one, onnxruntime on
    the CPU, torch on the CPU. `description` says which, and why none before it. onnxruntime wants
    the exported model, .onnx, beside the .safetensors file.

    A GPU that fails later is told to `say` and `counts`, see `GpuGuard`; the CPU then takes over,
    unless `require_gpu`.

    Args:
        preset: which of the shipped models, when `weights` is not given.
        weights: a .safetensors or .onnx file.
        device: 'auto', 'cuda' or 'cpu'; 'cuda' refuses to start on a CPU.
        require_gpu: refuse to run on a CPU, now and later.
        threads: of the CPU engines.
        engine: one of `ENGINES`.
        say: takes what happens to a GPU, a line each; by default stderr.
        counts: where that is counted.

    Raises:
        EngineError: there are no such weights, they do not load, or what was asked for is not to
            be had here.
    """
    for name, value, known in (("device", device, DEVICES), ("engine", engine, ENGINES)):
        if value not in known:
            raise EngineError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    path = _weights_file(preset, weights)
    threads = threads or default_threads()
    reasons: list[str] = []
    if device == "cpu":
        reasons.append("device is cpu")
    elif not gpu_there():
        reasons.append("no CUDA GPU")
    else:
        on_gpu = _first_of("cuda", engine, path, threads, reasons)
        if on_gpu is not None:

            def fall_back() -> Engine:
                return _on_cpu("auto", path, threads, [])

            return GpuGuard(
                on_gpu,
                None if require_gpu else fall_back,
                say,
                Counter() if counts is None else counts,
            )
    if require_gpu or device == "cuda":
        raise EngineError(f"a GPU is required and cannot be used: {'; '.join(reasons)}")
    return _on_cpu(engine, path, threads, reasons)


def _on_cpu(engine: str, path: Path, threads: int, reasons: list[str]) -> Engine:
    made = _first_of("cpu", engine, path, threads, reasons)
    if made is None:
        raise EngineError(f"nothing runs {path} here: {'; '.join(reasons)}")
    return made


def _first_of(
    device: str, engine: str, path: Path, threads: int, reasons: list[str]
) -> Engine | None:
    """The fastest engine on a device; None where there is none. Why others are not it is added to
    `reasons`, and stands in its description."""
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
