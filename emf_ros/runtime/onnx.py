"""Sessions of onnxruntime, and the number of threads of those on the CPU."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: Names of the providers in onnxruntime.
TENSORRT, CUDA, CPU = (f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU"))

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
    # By default a provider that fails, at the start or in a pass, gives way to the next one. This
    # raises no error, and the next one starts without its options.
    return onnxruntime.InferenceSession(
        str(path), options, providers=list(providers), enable_fallback=0
    )
