"""The two networks of BlazePose in onnxruntime, on a GPU or on the CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...downloads.cache import DownloadError
from ...reasons import Reason
from ...runtime.device import DevicePolicy, GpuFallback, GpuUnavailable, first_line
from ...runtime.onnx import default_threads, make_gpu_session, make_session
from ..protocol import DetectorError
from ..weights import ensure_onnx
from .decode import DETECTION_INPUT_PX, LANDMARK_INPUT_PX

#: Index of the person detection network's session.
DETECTION_NETWORK = 0
#: Index of the landmark network's session.
LANDMARK_NETWORK = 1
#: Maximum number of crops in one pass on a GPU. A CPU takes one: several are no faster there, and
#: the result of one pass may make the next one unnecessary.
GPU_BATCH_SIZE = 8


@dataclass(frozen=True)
class Sessions:
    """Both networks on one device.

    Attributes:
        sessions: of the person detection and of the landmarks, `onnxruntime.InferenceSession`.
        batch_size: maximum number of crops in one pass.
        description: device and version, one line for the log.
    """

    sessions: tuple[Any, ...]
    batch_size: int
    description: str


class Networks:
    """The two networks, with the fallback from a GPU to the CPU.

    Args:
        variant: size of the landmark network, one of `weights.VARIANTS`.
        threads: number of CPU threads; None for `runtime.onnx.default_threads`.
        policy: the device.
        say: takes a line for the log, when a GPU fails.
        counts: counter for `gpu_lost`.

    Raises:
        DetectorError: onnxruntime, the weights or the device are not available.
    """

    def __init__(
        self,
        variant: str,
        threads: int | None,
        policy: DevicePolicy,
        say: Callable[[str], None],
        counts: Counter[Reason],
    ) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise DetectorError(
                "onnxruntime is not installed; pip install onnxruntime, or onnxruntime-gpu"
            ) from None
        try:
            paths = ensure_onnx(), ensure_onnx(variant)
        except DownloadError as error:
            raise DetectorError(str(error)) from None
        count = threads or default_threads()
        version = f"BlazePose {variant} in onnxruntime {onnxruntime.__version__}"

        def on_cpu(reason: str = "") -> Sessions:
            try:
                sessions = tuple(make_session(path, count) for path in paths)
            except Exception as error:  # onnxruntime's errors have no common base class
                raise DetectorError(f"BlazePose cannot be loaded: {first_line(error)}") from None
            why = f" ({reason})" if reason else ""
            return Sessions(sessions, 1, f"{version} on {count} CPU threads{why}")

        def on_gpu() -> Sessions:
            sessions, providers = _gpu_sessions(paths, count)
            return Sessions(sessions, GPU_BATCH_SIZE, f"{version} on {providers}")

        def guard(
            sessions: Sessions, make_cpu: Callable[[], Sessions] | None
        ) -> GpuFallback[Sessions]:
            return GpuFallback(sessions, make_cpu, policy, "BlazePose", say, counts)

        self._fallback = policy.choose(
            lambda: guard(on_gpu(), on_cpu), lambda reason: guard(on_cpu(reason), None)
        )

    @property
    def device(self) -> str:
        """'cuda' or 'cpu', where the networks run."""
        return self._fallback.device

    @property
    def description(self) -> str:
        """Device and version, one line for the log."""
        return self._fallback.runner.description + self._fallback.note

    @property
    def batch_size(self) -> int:
        """Maximum number of crops in one pass."""
        return self._fallback.runner.batch_size

    def run(self, network: int, outputs: tuple[str, ...], batch: np.ndarray) -> list[np.ndarray]:
        """Run one network on a batch; after a failure of the GPU on the CPU.

        Args:
            network: `DETECTION_NETWORK` or `LANDMARK_NETWORK`.
            outputs: names of the outputs, see `weights.ensure_onnx`.
            batch: (N, 3, H, W) float32, see `inputs`.
        """
        return self._fallback.run(
            lambda runner: runner.sessions[network].run(outputs, {"image": batch})
        )

    def close(self) -> None:
        """Free the sessions: onnxruntime does so with the last reference to one."""
        self._fallback.runner = replace(self._fallback.runner, sessions=())


def _gpu_sessions(paths: tuple[Path, Path], threads: int) -> tuple[tuple[Any, ...], str]:
    """Both networks on a GPU, and the names of the providers. Raises GpuUnavailable."""
    sessions, providers = [], ""
    for path, size in zip(paths, (DETECTION_INPUT_PX, LANDMARK_INPUT_PX), strict=True):
        smallest, usual, largest = ((n, 3, size, size) for n in (1, 2, GPU_BATCH_SIZE))
        session, providers = make_gpu_session(path, threads, {"image": (smallest, usual, largest)})
        try:
            # CUDA takes a while at each new batch size to choose its kernels.
            for count in range(1, GPU_BATCH_SIZE + 1):
                session.run(None, {"image": np.zeros((count, *smallest[1:]), dtype=np.float32)})
        except Exception as error:  # onnxruntime's errors have no common base class
            raise GpuUnavailable(first_line(error)) from None
        sessions.append(session)
    return tuple(sessions), providers
