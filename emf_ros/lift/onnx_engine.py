"""The exported model in onnxruntime: TensorRT, CUDA, or the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..model.presets import LifterConfig
from ..paths import cache_folder
from .batching import BUCKETS, Lifted, bucket_of, buckets_up_to, cpu_chunk, in_chunks
from .engine_base import (
    EngineError,
    EngineUnavailable,
    check_config,
    check_keypoints,
    clip_shape,
    first_line,
    laplace_stddev,
)

TENSORRT, CUDA, CPU = (f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU"))
_OUTPUTS = ("positions", "log_scale")


class OnnxEngine:
    """The exported model in onnxruntime.

    Args:
        path: a .onnx file.
        threads: of the CPU.
        device: 'cuda', which is TensorRT where that starts, or 'cpu'.

    Raises:
        EngineUnavailable: onnxruntime or the GPU cannot be used.
        EngineError: the file does not load, or is of no use here.
    """

    def __init__(self, path: Path, threads: int, device: str = "cpu") -> None:
        try:
            import onnxruntime
        except ImportError:
            raise EngineUnavailable("onnxruntime is not installed") from None

        self.device = device
        try:
            self._session = make_session(path, threads, [CPU])
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise EngineError(f"{path} cannot be loaded: {error}") from None
        try:
            self.config = LifterConfig.from_metadata(
                self._session.get_modelmeta().custom_metadata_map
            )
        except ValueError as error:
            raise EngineError(f"{path}: {error}") from None
        check_config(path, self.config)
        taken = [(i.name, list(i.shape[1:])) for i in self._session.get_inputs()]
        wanted = [("keypoints", list(clip_shape(self.config)))]
        if taken != wanted:
            raise EngineError(f"{path} says that it takes {wanted} and takes {taken}")
        self._bound: dict[int, _Bound] = {}
        if device == "cuda":
            # The file is sound: what fails now is the GPU's side.
            self._session, where = gpu_session(path, threads, clip_shape(self.config))
        else:
            where = f"{threads} CPU threads"
        self.description = f"onnxruntime {onnxruntime.__version__} on {where}"

    def lift(self, keypoints: np.ndarray) -> Lifted:
        keypoints = check_keypoints(keypoints, self.config)
        if self.device == "cuda":
            return in_chunks(self._run_bound, keypoints, BUCKETS[-1])
        return in_chunks(self._run, keypoints, cpu_chunk(self.config))

    def warm_up(self, largest: int) -> None:
        # On the CPU only the very first pass is slow, not the first of each size.
        for bucket in buckets_up_to(largest) if self.device == "cuda" else (1,):
            self.lift(np.zeros((bucket, *clip_shape(self.config)), dtype=np.float32))

    def _run(self, keypoints: np.ndarray) -> Lifted:
        positions, log_scale = self._session.run(_OUTPUTS, {"keypoints": keypoints})
        return positions, laplace_stddev(log_scale)

    def _run_bound(self, keypoints: np.ndarray) -> Lifted:
        bucket = bucket_of(len(keypoints))
        if bucket not in self._bound:
            self._bound[bucket] = _Bound(self._session, (bucket, *clip_shape(self.config)), "cuda")
        return self._bound[bucket].run(keypoints)


class _Bound:
    """One bucket's buffers, bound to the session, so that nothing is allocated in a pass.

    Args:
        shape: (bucket, T, J, 3).
        memory: where they lie, 'cuda' or 'cpu'.
    """

    def __init__(self, session: Any, shape: tuple[int, ...], memory: str) -> None:
        from onnxruntime import OrtValue

        self._session = session
        self._padded = np.zeros(shape, dtype=np.float32)
        self._given, *self._lifted = (
            OrtValue.ortvalue_from_shape_and_type(list(s), np.float32, memory, 0)
            for s in (shape, shape, shape[:-1])
        )
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("keypoints", self._given)
        for name, value in zip(_OUTPUTS, self._lifted, strict=True):
            self._binding.bind_ortvalue_output(name, value)

    def run(self, keypoints: np.ndarray) -> Lifted:
        """Lift (b, T, J, 3), b from 1 to the bucket."""
        people = len(keypoints)
        self._padded[:people], self._padded[people:] = keypoints, 0.0
        self._given.update_inplace(self._padded)
        self._session.run_with_iobinding(self._binding)
        positions, log_scale = (value.numpy()[:people] for value in self._lifted)
        return positions, laplace_stddev(log_scale)


def make_session(path: Path, threads: int, providers: Sequence[str | tuple[str, dict]]) -> Any:
    """An onnxruntime session that stays on the providers it has started on."""
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


def gpu_session(path: Path, threads: int, clip: tuple[int, ...] | None = None) -> tuple[Any, str]:
    """A session that runs on a GPU, and the providers' names for the log.

    Args:
        path, clip: as `gpu_providers`.
        threads: of the CPU, for what does not run on the GPU.

    Raises:
        EngineUnavailable: there is none.
    """
    import onnxruntime

    wanted = gpu_providers(onnxruntime.get_available_providers(), path, clip)
    if not wanted:
        raise EngineUnavailable("this onnxruntime is built without CUDA (onnxruntime-gpu has it)")
    if hasattr(onnxruntime, "preload_dlls"):
        # CUDA as pip installs it lies where the loader does not look.
        onnxruntime.preload_dlls()
    try:
        session = make_session(path, threads, [*wanted, CPU])
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise EngineUnavailable(first_line(error)) from None
    # A provider that does not start is left out without an error.
    used = session.get_providers()
    names = [name for name, _ in wanted]
    missing = [name for name in names if name not in used]
    if len(missing) == len(names):
        raise EngineUnavailable(f"onnxruntime has {', '.join(names)}, which did not start")
    where = " and ".join(name for name in names if name in used)
    return session, where + (f" ({', '.join(missing)} did not start)" if missing else "")


def gpu_providers(
    available: Sequence[str], path: Path, clip: tuple[int, ...] | None = None
) -> list[tuple[str, dict[str, str]]]:
    """The providers to be asked for, the best first, with their options.

    Args:
        available: those that onnxruntime was built with.
        path: of the model.
        clip: (T, J, 3); None for a model that takes one shape only, whatever it is.
    """
    options: dict[str, dict[str, str]] = {CUDA: {"device_id": "0"}}
    if TENSORRT in available:
        options[TENSORRT] = _tensorrt_options(path, clip)
    return [(name, options[name]) for name in (TENSORRT, CUDA) if name in available]


def _tensorrt_options(path: Path, clip: tuple[int, ...] | None) -> dict[str, str]:
    options = {"device_id": "0", "trt_fp16_enable": "1"}
    # One engine for all buckets, or each new one would be built anew, which takes minutes.
    if clip is not None:
        for which, people in (("min", BUCKETS[0]), ("opt", 8), ("max", BUCKETS[-1])):
            shape = "x".join(map(str, (people, *clip)))
            options[f"trt_profile_{which}_shapes"] = f"keypoints:{shape}"
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
