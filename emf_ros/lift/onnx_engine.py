"""The exported model in onnxruntime: TensorRT, CUDA, or the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..model.presets import LifterConfig
from ..runtime.device import BackendUnavailable, to_stderr
from ..runtime.gpu_errors import first_line
from ..runtime.onnx import CPU, make_session
from ..runtime.onnx_gpu import GPU_PROVIDERS, BatchInput, gpu_session
from .batching import (
    BUCKETS,
    Lifted,
    ThreadedChunks,
    bucket_of,
    buckets_up_to,
    cpu_chunk,
    in_chunks,
)
from .engine_base import (
    EngineError,
    EngineUnavailable,
    check_config,
    check_keypoints,
    clip_shape,
    laplace_stddev,
)

_OUTPUTS = ("positions", "log_scale")
#: End of the name of the file for GPUs, with half precision inside, see `model.export`.
HALF_SUFFIX = "_fp16.onnx"


class OnnxEngine:
    """The exported model in onnxruntime.

    Args:
        path: a .onnx file. A GPU takes the file with half precision inside where there is one.
        threads: number of CPU threads.
        provider: `CPU`, or one of `GPU_PROVIDERS`.
        say: takes a line for the log where TensorRT builds an engine.

    Raises:
        EngineUnavailable: onnxruntime or its provider cannot be used.
        EngineError: the file does not load, or is no lifting model.
        Exception: the first pass on the GPU fails; the errors have no common base class.
    """

    def __init__(
        self,
        path: Path,
        threads: int,
        provider: str = CPU,
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        try:
            import onnxruntime
        except (ImportError, OSError) as error:
            text = f"onnxruntime cannot be imported: {first_line(error)}"
            raise EngineUnavailable(text) from None

        self.device = "cpu" if provider == CPU else "cuda"
        self._session = _cpu_session(path, 1)
        self.config = _config(path, self._session)
        check_config(path, self.config)
        taken = [(i.name, i.type, list(i.shape[1:])) for i in self._session.get_inputs()]
        wanted = [("keypoints", "tensor(float)", list(clip_shape(self.config)))]
        if taken != wanted:
            raise EngineError(f"the inputs of {path} are {taken}; its metadata say {wanted}")
        _check_outputs(path, self._session, self.config)
        self._bound: dict[int, _Bound] = {}
        if provider != CPU:
            # The file is sound, so an error from here on is one of the GPU.
            half = path.with_name(path.stem + HALF_SUFFIX)
            file = half if half.is_file() else path
            given = BatchInput("keypoints", clip_shape(self.config), "float32", BUCKETS)
            try:
                # EMF takes differences of neighbouring frames, which TF32 would round away.
                self._session = gpu_session(provider, file, threads, given, say, exact=True)
            except BackendUnavailable as error:
                raise EngineUnavailable(str(error)) from None
            if _config(file, self._session) != self.config:
                raise EngineUnavailable(f"{file} is another model than {path}")
            self.warm_up(1)
            where = f"{GPU_PROVIDERS[provider]}, {file.name}"
        else:
            where = f"{threads} CPU threads"
            chunk = cpu_chunk(self.config)
            self._chunks = ThreadedChunks(self._run, chunk, threads)
            if chunk == 1:
                # A large network has layers that several threads share with a gain.
                self._session = _cpu_session(path, threads)
                self._chunks = ThreadedChunks(self._run, chunk, 1)
        self.description = f"onnxruntime {onnxruntime.__version__} on {where}"

    def lift(self, keypoints: np.ndarray) -> Lifted:
        keypoints = check_keypoints(keypoints, self.config)
        if self.device == "cuda":
            return in_chunks(self._run_bound, keypoints, BUCKETS[-1])
        return self._chunks(keypoints)

    def warm_up(self, largest: int) -> None:
        # On the CPU only the very first pass is slow, not the first of each batch size.
        for bucket in buckets_up_to(largest) if self.device == "cuda" else (1,):
            self.lift(np.zeros((bucket, *clip_shape(self.config)), dtype=np.float32))

    def limit(self, largest: int) -> None:
        self._bound = {size: bound for size, bound in self._bound.items() if size <= largest}

    def _run(self, keypoints: np.ndarray) -> Lifted:
        positions, log_scale = self._session.run(_OUTPUTS, {"keypoints": keypoints})
        return positions, laplace_stddev(log_scale)

    def _run_bound(self, keypoints: np.ndarray) -> Lifted:
        bucket = bucket_of(len(keypoints))
        if bucket not in self._bound:
            self._bound[bucket] = _Bound(self._session, (bucket, *clip_shape(self.config)), "cuda")
        return self._bound[bucket].run(keypoints)


def _config(path: Path, session: Any) -> LifterConfig:
    """The configuration in the metadata of a file.

    Raises:
        EngineError: there is none, or another one than a lifter's.
    """
    try:
        return LifterConfig.from_metadata(session.get_modelmeta().custom_metadata_map)
    except ValueError as error:
        raise EngineError(f"{path}: {error}") from None


def _check_outputs(path: Path, session: Any, config: LifterConfig) -> None:
    """Run the model once, of two people: what it gives is known only then.

    Raises:
        EngineError: it fails, or gives something else than positions and their scale.
    """
    shape = (2, *clip_shape(config))
    try:
        given = session.run(_OUTPUTS, {"keypoints": np.zeros(shape, dtype=np.float32)})
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise EngineError(f"{path} fails on an input of {shape}: {first_line(error)}") from None
    found = [(value.dtype.name, value.shape) for value in map(np.asarray, given)]
    wanted = [("float32", shape), ("float32", shape[:-1])]
    if found != wanted:
        raise EngineError(f"{path} gives {found} for two people, not {wanted}")
    if not all(np.isfinite(value).all() for value in given):
        raise EngineError(f"{path} gives numbers that are not finite: its weights are damaged")


def _cpu_session(path: Path, threads: int) -> Any:
    """A session on the CPU.

    Raises:
        EngineError: the file does not load.
    """
    try:
        return make_session(path, threads)
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise EngineError(f"{path} cannot be loaded: {first_line(error)}") from None


class _Bound:
    """The buffers of one bucket, bound to the session: a pass allocates nothing.

    Args:
        session: of onnxruntime.
        shape: (bucket, T, J, 3).
        memory: device of the buffers, 'cuda' or 'cpu'.
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
        """Lift keypoints (b, T, J, 3), 1 <= b <= bucket."""
        people = len(keypoints)
        self._padded[:people], self._padded[people:] = keypoints, 0.0
        self._given.update_inplace(self._padded)
        self._session.run_with_iobinding(self._binding)
        positions, log_scale = (value.numpy()[:people] for value in self._lifted)
        return positions, laplace_stddev(log_scale)
