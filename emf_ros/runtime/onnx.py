"""Sessions of onnxruntime with its providers TensorRT, CUDA and CPU."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..io.paths import cache_folder
from .device import GpuUnavailable, first_line

#: Names of the providers in onnxruntime.
TENSORRT, CUDA, CPU = (f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU"))

#: Smallest, usual and largest shape of each input, by its name.
Shapes = Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]


#: Number of passes of each session when two are compared; the shortest counts.
_TIMED_PASSES = 5


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def default_threads() -> int:
    """Number of CPU threads: two if there are two cores; more bring little to small models."""
    return min(2, available_cores())


def time_ratio(session: Any, reference: Any, given: Mapping[str, np.ndarray]) -> float:
    """Time of a pass through a session over that through another, on the same input.

    The sessions take turns, so that other load slows both down. The shortest time of each counts.
    """
    times: tuple[list[float], list[float]] = [], []
    for _ in range(_TIMED_PASSES):
        for of_session, timed in zip(times, (session, reference), strict=True):
            begin = time.perf_counter()
            timed.run(None, dict(given))
            of_session.append(time.perf_counter() - begin)
    return min(times[0]) / min(times[1])


def make_session(
    path: Path, threads: int, providers: Sequence[str | tuple[str, dict[str, str]]] = (CPU,)
) -> Any:
    """Make an onnxruntime.InferenceSession.

    Args:
        path: of a .onnx file.
        threads: number of CPU threads.
        providers: the preferred one first, with their options.

    Raises:
        Exception: onnxruntime cannot load the file; its errors have no common base class.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Spinning workers have a tenth less latency on idle cores and twice the latency on busy ones.
    # A robot's cores are busy. Spinning also uses a whole core while there are no people.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    # By default a pass that fails on the GPU continues on the CPU without an error.
    session.disable_fallback()
    return session


def make_gpu_session(path: Path, threads: int, shapes: Shapes) -> tuple[Any, str]:
    """Make a session on a GPU.

    Args:
        path: of a .onnx file.
        threads: number of CPU threads.
        shapes: of the inputs.

    Returns:
        The session, and the names of its providers for the log.

    Raises:
        GpuUnavailable: onnxruntime cannot use a GPU.
    """
    import onnxruntime

    wanted = gpu_providers(onnxruntime.get_available_providers(), path, shapes)
    if not wanted:
        raise GpuUnavailable("this onnxruntime is built without CUDA (onnxruntime-gpu has it)")
    if hasattr(onnxruntime, "preload_dlls"):
        # The loader does not find the CUDA libraries that pip installs.
        onnxruntime.preload_dlls()
    try:
        session = make_session(path, threads, [*wanted, CPU])
    except Exception as error:  # onnxruntime's errors have no common base class
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
    """The GPU providers to use, the preferred one first, with their options.

    Args:
        available: providers that onnxruntime was built with.
        path: of the model.
        shapes: of its inputs.
    """
    options: dict[str, dict[str, str]] = {CUDA: {"device_id": "0"}}
    if TENSORRT in available:
        options[TENSORRT] = _tensorrt_options(path, shapes)
    return [(name, options[name]) for name in (TENSORRT, CUDA) if name in available]


def _tensorrt_options(path: Path, shapes: Shapes) -> dict[str, str]:
    options = {"device_id": "0", "trt_fp16_enable": "1"}
    # One engine for all sizes: an engine for each size would take minutes to build.
    for index, which in enumerate(("min", "opt", "max")):
        options[f"trt_profile_{which}_shapes"] = ",".join(
            f"{name}:{'x'.join(map(str, of_input[index]))}" for name, of_input in shapes.items()
        )
    # A folder for each file content: TensorRT's own names do not distinguish weights.
    folder = cache_folder() / "tensorrt" / hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # Without a cache folder the engine is built at each start.
        return options
    for what in ("engine", "timing"):
        options[f"trt_{what}_cache_enable"] = "1"
        options[f"trt_{what}_cache_path"] = str(folder)
    return options
