"""Errors of a GPU: which of them pass, which are final, and what must outlive them."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator

#: Parts of the texts of torch, onnxruntime, cuDNN, cuBLAS, TensorRT and the Jetson's driver when
#: memory is short. A Jetson has no NVML, so torch fails to report the shortage there.
_OUT_OF_MEMORY = (
    "out of memory",
    "out_of_memory",
    "outofmemory",
    "memoryerror",
    "bad_alloc",
    "failed to allocate memory",
    "alloc_failed",
    "smaller than requested bytes",
    "nvmapmemalloc",
    "nvml_success",
    "cublas_status_not_initialized",
    "cudaerrormemoryallocation",
)

#: Parts of the texts of errors after which a process cannot use CUDA any more.
_STICKY = (
    "illegal memory access",
    "illegal address",
    "illegaladdress",
    "illegal instruction",
    "misaligned address",
    "invalid program counter",
    "invalid pc",
    "hardware stack error",
    "device-side assert",
    "unspecified launch failure",
    "launchfailure",
    "launch_failed",
    "launch timed out",
    "uncorrectable ecc",
    "nvlink error",
    "context is destroyed",
    "device lost",
    "fallen off the bus",
    " xid",
    *(f"cuda failure {code}" for code in (214, 700, 702, 710, 714, 715, 716, 717, 718, 719)),
    *(f"cuda error {code}" for code in (214, 700, 702, 710, 714, 715, 716, 717, 718, 719)),
)


def first_line(error: BaseException) -> str:
    """The first line of an error: errors of CUDA have pages."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one of its causes, says that the memory of the GPU is full."""
    return any(any(part in text for part in _OUT_OF_MEMORY) for text in _texts(error))


def is_sticky(error: BaseException) -> bool:
    """Whether an error, or one of its causes, ends the use of CUDA in this process."""
    return any(any(part in text for part in _STICKY) for text in _texts(error))


def _texts(error: BaseException) -> Iterator[str]:
    """The texts of an error and of its causes, in small letters.

    During the capture of a CUDA graph the last error hides the first one.
    """
    cause: BaseException | None = error
    while cause is not None:
        yield f"{type(cause).__name__} {cause}".lower()
        cause = cause.__cause__ or cause.__context__


def keep_for_ever(*things: object) -> None:
    """Never free these objects, not even at the end of the process.

    After a sticky error the destructors of a GPU's buffers throw, and that ends the process. An
    error holds the objects of the calls that it came from.
    """
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def free_gpu_memory() -> None:
    """Give the memory of freed objects back to the GPU: torch keeps it for itself."""
    gc.collect()
    if "torch" in sys.modules:
        from .torch import release_memory

        release_memory()
