"""Sessions of onnxruntime on a GPU, with its providers TensorRT and CUDA.

The types of a file decide the precision: TensorRT builds a strongly typed engine.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import importlib.util
import io
import mmap
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..io.paths import cache_folder
from .device import BackendUnavailable
from .gpu_errors import first_line
from .onnx import CPU, CUDA, TENSORRT, make_session

#: Names of the GPU backends for the log, by provider; the preferred one first.
GPU_PROVIDERS = {TENSORRT: "TensorRT", CUDA: "CUDA"}

#: Files that say which GPU a machine has: desktop, Jetson.
_GPU_NAMES = ("/proc/driver/nvidia/gpus/*/information", "/proc/device-tree/model")


@dataclass(frozen=True)
class BatchInput:
    """The input of a network, and the batch sizes that it is given.

    Attributes:
        name: of the input.
        shape: of one item of a batch.
        dtype: of numpy.
        sizes: batch sizes in rising order; a batch is padded to the next one, or split.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    sizes: tuple[int, ...]

    def blank(self, size: int) -> np.ndarray:
        """A batch of zeros."""
        return np.zeros((size, *self.shape), self.dtype)

    def size_for(self, items: int) -> int:
        """The smallest size that holds a number of items; the largest where none does."""
        return next((size for size in self.sizes if size >= items), self.sizes[-1])


def gpu_session(
    provider: str,
    path: Path,
    threads: int,
    given: BatchInput,
    say: Callable[[str], None],
    exact: bool = False,
) -> Any:
    """Make a session on a GPU. A pass has not run yet.

    Args:
        provider: `TENSORRT` or `CUDA`.
        path: of a .onnx file.
        threads: number of CPU threads.
        given: the input.
        say: takes a line for the log where TensorRT builds an engine.
        exact: float32 stays float32 on CUDA, which by default rounds factors to TF32.

    Raises:
        BackendUnavailable: this onnxruntime or this machine does not have the provider.
        Exception: the provider does not start; the errors have no common base class.
    """
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise BackendUnavailable(
            f"this onnxruntime is built without {GPU_PROVIDERS[provider]} (onnxruntime-gpu has it)"
        )
    missing = load_libraries(provider)
    if provider == CUDA:
        session = make_session(path, threads, [(CUDA, cuda_options(exact)), CPU])
    else:
        session = _tensorrt_session(path, threads, given, say)
    if provider not in session.get_providers():
        # A provider whose library cannot be loaded is left out without an error.
        raise BackendUnavailable(missing or "it did not start; its libraries cannot be loaded")
    return session


class SizedSessions:
    """A network on a GPU, for batches of any size up to a maximum.

    TensorRT has one engine for all sizes. CUDA has a session for each size, and batches are padded:
    a session builds new plans for its convolutions whenever the size changes.

    Args:
        provider: `TENSORRT` or `CUDA`.
        path: of a .onnx file, whose first axis is the batch in input and outputs.
        threads: number of CPU threads.
        given: the input.
        say: takes a line for the log where TensorRT builds an engine.

    Attributes:
        description: of the provider.

    Raises:
        BackendUnavailable, Exception: as `gpu_session`, or the first pass fails.
    """

    def __init__(
        self,
        provider: str,
        path: Path,
        threads: int,
        given: BatchInput,
        say: Callable[[str], None],
    ) -> None:
        self.description = GPU_PROVIDERS[provider]
        self._given = given
        if provider == TENSORRT:
            session = gpu_session(provider, path, threads, given, say)
            self._sessions = dict.fromkeys(given.sizes, session)
        else:
            self._sessions = {
                size: gpu_session(provider, path, threads, given, say) for size in given.sizes
            }
        for size, session in self._sessions.items():
            session.run(None, {given.name: given.blank(size)})

    def run(self, outputs: Sequence[str] | None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As a session of onnxruntime, for a batch of at most the largest size."""
        batch = given[self._given.name]
        items, size = len(batch), self._given.size_for(len(batch))
        if items < size:
            padded = self._given.blank(size)
            padded[:items] = batch
            batch = padded
        answers = self._sessions[size].run(outputs, {self._given.name: batch})
        return [answer[:items] for answer in answers] if items < size else answers


def cuda_options(exact: bool = False) -> dict[str, str]:
    """The options of the provider CUDA."""
    options = {
        "device_id": "0",
        # The exhaustive search takes seconds for each convolution and size.
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }
    return {**options, "use_tf32": "0"} if exact else options


def tensorrt_options(given: BatchInput, folder: Path | None) -> dict[str, str]:
    """The options of the provider TensorRT.

    Args:
        given: the input.
        folder: where engines are kept; None where none can be kept.
    """
    usual = given.size_for(min(2, given.sizes[-1]))
    options = {"device_id": "0"}
    # One engine for all sizes: an engine for each size would take minutes to build.
    for which, size in (("min", given.sizes[0]), ("opt", usual), ("max", given.sizes[-1])):
        shape = "x".join(map(str, (size, *given.shape)))
        options[f"trt_profile_{which}_shapes"] = f"{given.name}:{shape}"
    if folder is not None:
        for what in ("engine", "timing"):
            options[f"trt_{what}_cache_enable"] = "True"
            options[f"trt_{what}_cache_path"] = str(folder)
    return options


def _model_of(description: bytes) -> bytes:
    """The line with the model of a GPU; all where there is none.

    The other lines have numbers of its place in the computer, which a restart may change.
    """
    lines = [line for line in description.splitlines() if line.startswith(b"Model:")]
    return lines[0] if lines else description


def engine_folder(path: Path, versions: Sequence[object]) -> Path:
    """The folder of the TensorRT engines of a file.

    TensorRT's own names distinguish neither weights nor versions nor GPUs of one architecture.

    Args:
        path: of the .onnx file.
        versions: of the libraries.
    """
    content = hashlib.sha256(path.read_bytes())
    for pattern in _GPU_NAMES:
        for name in sorted(Path("/").glob(pattern.lstrip("/"))):
            with contextlib.suppress(OSError):
                content.update(_model_of(name.read_bytes()))
    content.update(repr(tuple(versions)).encode())
    return cache_folder() / "tensorrt" / content.hexdigest()[:16]


def _tensorrt_session(
    path: Path, threads: int, given: BatchInput, say: Callable[[str], None]
) -> Any:
    import onnxruntime

    versions = onnxruntime.__version__, _tensorrt_version()
    folder = engine_folder(path, versions)

    def make(cached: bool) -> Any:
        options = tensorrt_options(given, folder if cached else None)
        return make_session(path, threads, [(TENSORRT, options), (CUDA, cuda_options()), CPU])

    building = f"TensorRT builds an engine for {path.name}, which takes minutes"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        say(f"{building} at each start: {folder} cannot be written")
        return make(cached=False)
    # Two processes that build at the same time would read half a file.
    with _locked(folder.with_suffix(".lock")):
        if not any(folder.glob("*.engine")):
            say(f"{building}, once")
        try:
            return make(cached=True)
        except Exception as error:  # onnxruntime's errors have no common base class
            if "deserialize" not in str(error).lower():
                raise
            reason = first_line(error)
        say(f"{building}: the one in {folder} cannot be read ({reason})")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        return make(cached=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes, released also when the process is killed."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def load_libraries(provider: str) -> str:
    """Load the libraries of a provider that pip installs, which the loader does not find.

    Args:
        provider: of onnxruntime, by its name there.

    Returns:
        the first library of CUDA that is missing, for the reason of a provider that does not start.

    Raises:
        BackendUnavailable: TensorRT is not installed, and is needed.
    """
    if provider == CPU:
        return ""
    missing = _load_cuda()
    if provider == TENSORRT:
        _tensorrt_version()
    return missing


def _tensorrt_version() -> int:
    """The version of the TensorRT that this onnxruntime needs; it is loaded.

    Raises:
        BackendUnavailable: it is not installed.
    """
    import onnxruntime

    # The package of pip loads its libraries when it is imported.
    with contextlib.suppress(Exception):
        importlib.import_module("tensorrt_libs")
    try:
        library = ctypes.CDLL(needed_tensorrt(Path(onnxruntime.__file__).parent / "capi"))
    except OSError as error:
        raise BackendUnavailable(first_line(error)) from None
    return int(library.getInferLibVersion())


def needed_tensorrt(folder: Path) -> str:
    """The name of the TensorRT library that a build of onnxruntime links.

    Args:
        folder: of the libraries of onnxruntime.

    Raises:
        BackendUnavailable: the build has no provider for TensorRT.
    """
    provider = folder / "libonnxruntime_providers_tensorrt.so"
    try:
        with (
            provider.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            found = re.search(rb"libnvinfer\.so\.\d+", content)
            return found.group().decode() if found else "libnvinfer.so"
    except (OSError, ValueError):
        raise BackendUnavailable(f"there is no {provider}") from None


@cache
def _load_cuda() -> str:
    """Load CUDA's libraries; the first that is missing."""
    import onnxruntime

    if not hasattr(onnxruntime, "preload_dlls"):
        return ""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        # onnxruntime looks beside its own folder only. In an environment on top of ROS's system
        # packages the libraries lie elsewhere.
        for folder in _nvidia_folders():
            onnxruntime.preload_dlls(directory=str(folder))
        printed.truncate(0)
        printed.seek(0)
        onnxruntime.preload_dlls()
    lines = [line for line in printed.getvalue().splitlines() if line.startswith("Failed to load")]
    return lines[0] if lines else ""


def _nvidia_folders() -> list[Path]:
    """The folders of the libraries of NVIDIA's packages from pip."""
    try:
        found = importlib.util.find_spec("nvidia")
    except (ImportError, ValueError):
        return []
    roots = (found.submodule_search_locations or ()) if found else ()
    return sorted(folder for root in roots for folder in Path(root).glob("*/lib"))
