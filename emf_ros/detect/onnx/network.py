"""One model in onnxruntime, on a GPU or on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...geometry.crops import Placement
from ...reasons import Reason
from ...runtime.backends import Backend, Backends
from ...runtime.batching import batches
from ...runtime.device import DevicePolicy
from ...runtime.gpu_errors import first_line
from ...runtime.onnx import default_threads, make_session
from ...runtime.onnx_gpu import GPU_PROVIDERS, BatchInput, SizedSessions
from ..protocol import DetectorError
from .config import BOX_DECODES, DEFAULT_SIZE, MAX_SIDE, TOP_DOWN, NetworkConfig
from .decode import WrongShape, decode_boxes, decode_crops, decode_people, network_input

#: Data types of `config.DTYPES`, by the names of onnxruntime.
ONNXRUNTIME_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
}


#: Maximum number of crops in one pass; more go through in several.
MAX_BATCH_SIZE = 8


@dataclass(frozen=True)
class Session:
    """The model on one device.

    Attributes:
        session: has the method `run` of an `onnxruntime.InferenceSession`.
        description: model, library and device, one line for the log.
    """

    session: Any
    description: str


class Network:
    """One .onnx file in onnxruntime, on a GPU or on the CPU, see `runtime.device`.

    Args:
        path: of the file.
        config: of its input and output.
        policy: the device.
        max_batch: maximum number of crops in one pass, if the model takes several.
        say: takes a line for the log: a GPU fails, or works again.
        counts: counter for `gpu_lost`.

    Attributes:
        size: (width, height) px of the input.

    Raises:
        DetectorError: the file cannot be loaded, or it does not match its settings.
    """

    def __init__(
        self,
        path: Path,
        config: NetworkConfig,
        policy: DevicePolicy,
        max_batch: int,
        say: Callable[[str], None],
        counts: Counter[Reason],
    ) -> None:
        try:
            import onnxruntime
        except (ImportError, OSError) as error:
            raise DetectorError(
                f"onnxruntime cannot be imported ({first_line(error)}); pip install onnxruntime"
            ) from None
        if not path.is_file():
            raise DetectorError(f"there is no model file {path}")
        self.path, self.config = path, config
        self._threads = default_threads()
        try:
            on_cpu = make_session(path, self._threads)
        except Exception as error:  # onnxruntime's errors have no common base class
            raise DetectorError(f"{path} cannot be loaded: {first_line(error)}") from None
        self._read_input(on_cpu)
        self._max_batch = min(max_batch, MAX_BATCH_SIZE) if self._any_batch else 1
        # On the CPU first: a failure there is a fault of the file, not of the GPU.
        try:
            self._check_output(self._run_once(on_cpu, self._blank(1)))
        except DetectorError:
            raise
        except Exception as error:
            raise DetectorError(
                f"{path} fails on an input of {self._blank(1).shape}: {first_line(error)}"
            ) from None

        version = f"{path.name} in onnxruntime {onnxruntime.__version__}"
        #: The session of the checks; the CPU's runner if no GPU works.
        checked = [on_cpu]

        def make_on_cpu() -> Session:
            session = checked.pop() if checked else make_session(path, self._threads)
            return Session(session, f"{version} on {self._threads} CPU threads")

        def make_on_gpu(provider: str) -> Session:
            sessions = SizedSessions(provider, path, self._threads, self._batch_input(), say)
            return Session(sessions, f"{version} on {sessions.description}")

        backends = [
            Backend(name, "cuda", partial(make_on_gpu, provider))
            for provider, name in GPU_PROVIDERS.items()
        ]
        cpu = Backend("the CPU", "cpu", make_on_cpu)
        self._backends = Backends([*backends, cpu], policy, path.name, say, counts)

    @property
    def device(self) -> str:
        """'cuda' or 'cpu', where it runs."""
        return self._backends.device

    @property
    def description(self) -> str:
        """Model, device, and why not on a GPU, one line for the log."""
        return self._backends.description

    def close(self) -> None:
        """Wait for an attempt to use the GPU."""
        self._backends.close()

    def _read_input(self, session: Any) -> None:
        """Read name, type and shape of the input; they must match the settings."""
        inputs = session.get_inputs()
        actual = ", ".join(f"{i.name} {i.type} {list(i.shape)}" for i in inputs)
        nchw = self.config.channels == "nchw"
        form = "(1, 3, height, width)" if nchw else "(1, height, width, 3)"
        shape = list(inputs[0].shape) if inputs else []
        wrong = f"{self.path}: expected one input {form} by its settings, found {actual or 'none'}"
        if len(inputs) != 1 or len(shape) != 4:
            raise DetectorError(wrong)
        numbers = [n if isinstance(n, int) and n > 0 else None for n in shape]
        batch, channels = numbers[0], numbers[1 if nchw else 3]
        height, width = numbers[2:] if nchw else numbers[1:3]
        if batch not in (None, 1) or channels not in (None, 3):
            raise DetectorError(wrong)
        default = DEFAULT_SIZE.get(self.config.decode)
        size = self.config.size or (default if None in (width, height) else None)
        if size is None:
            if width is None or height is None:
                raise DetectorError(
                    f"{self.path} takes any size; write size: [width, height] in its settings"
                )
            size = (width, height)
        if max(size) > MAX_SIDE:
            raise DetectorError(f"{wrong}: at most {MAX_SIDE} px wide and high")
        if width not in (None, size[0]) or height not in (None, size[1]):
            raise DetectorError(
                f"{self.path}: expected an input {size[0]} wide and {size[1]} high, "
                f"found one {width} wide and {height} high"
            )
        self.size = size
        kind = ONNXRUNTIME_TYPES.get(inputs[0].type)
        if kind is None or self.config.dtype not in (None, kind):
            raise DetectorError(
                f"{self.path}: expected an input of {self.config.dtype or 'a known type'}, "
                f"found {inputs[0].type}"
            )
        if kind in ("uint8", "int32") and (any(self.config.mean) or set(self.config.std) != {1.0}):
            raise DetectorError(
                f"{self.path} takes {kind}: leave mean and std out, the model has its own"
            )
        self._name, self._dtype, self._any_batch = inputs[0].name, kind, batch is None
        self._outputs = [output.name for output in session.get_outputs()]

    def _shape(self, batch: int) -> tuple[int, int, int, int]:
        width, height = self.size
        if self.config.channels == "nchw":
            return batch, 3, height, width
        return batch, height, width, 3

    def _batch_input(self) -> BatchInput:
        """The input with the batch sizes of a GPU: powers of two."""
        sizes = [1]
        while sizes[-1] < self._max_batch:
            sizes.append(2 * sizes[-1])
        return BatchInput(self._name, self._shape(1)[1:], self._dtype, tuple(sizes))

    def _blank(self, batch: int) -> np.ndarray:
        return np.zeros(self._shape(batch), self._dtype)

    def _check_output(self, outputs: dict[str, np.ndarray]) -> None:
        try:
            self.decode(outputs)
        except WrongShape as error:
            raise DetectorError(f"{self.path}: output of {self.config.decode}: {error}") from None

    def decode(self, outputs: dict[str, np.ndarray]) -> Any:
        """Decode the outputs with the decoder of this network."""
        if self.config.decode in TOP_DOWN:
            return decode_crops(outputs, self.config, self.size)
        if self.config.decode in BOX_DECODES:
            return decode_boxes(outputs, self.config, self.size)
        return decode_people(outputs, self.config, self.size)

    def _run_once(self, session: Any, batch: np.ndarray) -> dict[str, np.ndarray]:
        values = session.run(self._outputs, {self._name: batch})
        return dict(zip(self._outputs, values, strict=True))

    def _run(self, batch: np.ndarray) -> Any:
        return self.decode(self._backends.run(lambda runner: self._run_once(runner.session, batch)))

    def infer(self, image: np.ndarray, placement: Placement) -> Any:
        """Decoded output for one crop of an image (H, W, 3) uint8 RGB."""
        crop = placement.crop(image, self.size, self.config.fill)
        return self._run(network_input(crop, self.config, self._dtype)[None])

    def infer_crops(self, image: np.ndarray, placements: list[Placement]) -> np.ndarray:
        """Keypoints (B, K, 3) px of the input, px, score, of a top-down network for B crops."""
        inputs = [
            network_input(p.crop(image, self.size, self.config.fill), self.config, self._dtype)
            for p in placements
        ]
        results = [self._run(np.stack(batch)) for batch in batches(inputs, self._max_batch)]
        return np.concatenate(results)
