"""Sessions of onnxruntime, and which of its providers run them: TensorRT, CUDA, or the CPU."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io.paths import cache_folder
from .device import GpuUnavailable, first_line

TENSORRT, CUDA, CPU = (f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU"))

#: The least, the usual and the largest shape of each input, by its name.
Shapes = Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]


def default_threads() -> int:
    """Two threads where there are two cores: more bring little to a model this small."""
    return min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


def make_session(
    path: Path, threads: int, providers: Sequence[str | tuple[str, dict[str, str]]] = (CPU,)
) -> Any:
    """An onnxruntime.InferenceSession.

    Args:
        path: a .onnx file.
        threads: of the CPU.
        providers: the best first, with their options.

    Raises:
        Exception: whatever onnxruntime raises; its errors share no base of their own.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Spinning workers answer a tenth sooner on idle cores and take twice as long on busy ones,
    # as a robot's are; and they burn a core while no one is in sight.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    # Or a pass that fails on the GPU would go on on the CPU, with a word on stdout at most.
    session.disable_fallback()
    return session


def make_gpu_session(path: Path, threads: int, shapes: Shapes) -> tuple[Any, str]:
    """A session that runs on a GPU, and the providers' names for the log.

    Raises:
        GpuUnavailable: there is none.
    """
    import onnxruntime

    wanted = gpu_providers(onnxruntime.get_available_providers(), path, shapes)
    if not wanted:
        raise GpuUnavailable("this onnxruntime is built without CUDA (onnxruntime-gpu has it)")
    if hasattr(onnxruntime, "preload_dlls"):
        # CUDA as pip installs it lies where the loader does not look.
        onnxruntime.preload_dlls()
    try:
        session = make_session(path, threads, [*wanted, CPU])
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise GpuUnavailable(first_line(error)) from None
    # A provider that does not start is left out without an error.
    used = session.get_providers()
    names = [name for name, _ in wanted]
    missing = [name for name in names if name not in used]
    if len(missing) == len(names):
        raise GpuUnavailable(f"onnxruntime has {', '.join(names)}, which did not start")
    where = " and ".join(name for name in names if name in used)
    return session, where + (f" ({', '.join(missing)} did not start)" if missing else "")


def gpu_providers(
    available: Sequence[str], path: Path, shapes: Shapes
) -> list[tuple[str, dict[str, str]]]:
    """The providers to be asked for, the best first, with their options.

    Args:
        available: those that onnxruntime was built with.
        path: of the model.
        shapes: of its inputs.
    """
    options: dict[str, dict[str, str]] = {CUDA: {"device_id": "0"}}
    if TENSORRT in available:
        options[TENSORRT] = _tensorrt_options(path, shapes)
    return [(name, options[name]) for name in (TENSORRT, CUDA) if name in available]


def _tensorrt_options(path: Path, shapes: Shapes) -> dict[str, str]:
    options = {"device_id": "0", "trt_fp16_enable": "1"}
    # One engine for all sizes, or each new one would be built anew, which takes minutes.
    for index, which in enumerate(("min", "opt", "max")):
        options[f"trt_profile_{which}_shapes"] = ",".join(
            f"{name}:{'x'.join(map(str, of_input[index]))}" for name, of_input in shapes.items()
        )
    # By its content: the names that TensorRT's cache goes by do not tell other weights apart.
    folder = cache_folder() / "tensorrt" / hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # Then it is built at each start.
        return options
    for what in ("engine", "timing"):
        options[f"trt_{what}_cache_enable"] = "1"
        options[f"trt_{what}_cache_path"] = str(folder)
    return options
