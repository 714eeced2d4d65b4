"""The two networks of BlazePose in onnxruntime, on a GPU or on the CPU.

A GPU takes several crops in one pass. On the CPU each crop is a pass of its own, on one thread, and
several passes run at the same time. Two threads in one pass take up to 1.75 times the CPU time.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ...downloads.cache import DownloadError
from ...geometry.crops import Roi
from ...reasons import Reason
from ...runtime.backends import Backend, Backends
from ...runtime.batching import batches
from ...runtime.device import DevicePolicy
from ...runtime.gpu_errors import first_line
from ...runtime.onnx import available_cores, make_session, time_ratio
from ...runtime.onnx_gpu import GPU_PROVIDERS, BatchInput, SizedSessions
from ..budget import DetectionBudget
from ..protocol import DetectorError
from ..weights import ensure_onnx
from .decode import DETECTION_INPUT_PX, LANDMARK_INPUT_PX

#: Index of the person detection network's session.
DETECTION_NETWORK = 0
#: Index of the landmark network's session.
LANDMARK_NETWORK = 1
#: Numbers of crops in one pass on a GPU. A CPU takes one: several are no faster there.
GPU_BATCH_SIZES = (1, 2, 4, 8)
#: Maximum number of passes at the same time on the CPU.
MAX_CPU_PASSES = 4
#: Maximum number of threads in one pass on the CPU; more bring little to these small networks.
MAX_THREADS_PER_PASS = 2
#: Maximum time of a pass on several threads, over that on one thread, for which a single crop gets
#: several threads. The ratio is 1/2 at best, and the CPU time is twice the ratio.
MAX_TIME_RATIO = 2 / 3


@dataclass(frozen=True)
class Job:
    """The inference of one network on some crops.

    Attributes:
        network: `DETECTION_NETWORK` or `LANDMARK_NETWORK`.
        outputs: names of the outputs, see `weights.ensure_onnx`.
        make_input: makes the input (N, H, W, 3) uint8 of N ROIs, see `inputs`. Other threads may
            call it at the same time.
        rois: regions of the crops, at least one.
    """

    network: int
    outputs: tuple[str, ...]
    make_input: Callable[[Sequence[Roi]], np.ndarray]
    rois: Sequence[Roi]


@dataclass(frozen=True)
class Sessions:
    """Both networks on one device.

    Attributes:
        sessions: of the person detection and of the landmarks; each has the method `run` of an
            `onnxruntime.InferenceSession`.
        batch_size: maximum number of crops in one pass.
        description: device and version, one line for the log.
        lone: sessions for a pass that runs alone; empty where `sessions` do it.
        threads: of the passes that run at the same time; None where one pass runs at a time.
    """

    sessions: tuple[Any, ...]
    batch_size: int
    description: str
    lone: tuple[Any, ...] = ()
    threads: ThreadPoolExecutor | None = None

    def run(
        self, jobs: Sequence[Job], budget: DetectionBudget | None
    ) -> list[list[list[np.ndarray]]]:
        """The outputs for each ROI of each job, see `Networks.run`."""
        passes = [(job, rois) for job in jobs for rois in batches(job.rois, self.batch_size)]
        alone = len(passes) == 1
        sessions = self.lone if self.lone and alone else self.sessions

        def run_pass(of_job: tuple[Job, Sequence[Roi]]) -> list[list[np.ndarray]]:
            job, rois = of_job
            outputs = sessions[job.network].run(job.outputs, {"image": job.make_input(rois)})
            return [[output[index] for output in outputs] for index in range(len(rois))]

        timed = run_pass if budget is None else budget.timed(run_pass)
        mapped = map if self.threads is None or alone else self.threads.map
        of_rois = itertools.chain.from_iterable(mapped(timed, passes))
        return [list(itertools.islice(of_rois, len(job.rois))) for job in jobs]


class Networks:
    """The two networks, with the fallback from a GPU to the CPU.

    Args:
        variant: size of the landmark network, one of `weights.VARIANTS`.
        threads: maximum number of CPU threads; None for up to `MAX_CPU_PASSES`, one for each core.
        policy: the device.
        say: takes a line for the log: a GPU fails, or works again.
        counts: counter for `gpu_lost`.
        budget: gets the time of each pass.

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
        budget: DetectionBudget | None = None,
    ) -> None:
        self._budget = budget
        try:
            import onnxruntime
        except (ImportError, OSError) as error:
            raise DetectorError(
                f"onnxruntime cannot be imported ({first_line(error)}); "
                "pip install onnxruntime, or onnxruntime-gpu"
            ) from None
        try:
            paths = ensure_onnx(), ensure_onnx(variant)
        except DownloadError as error:
            raise DetectorError(str(error)) from None
        count = threads or min(MAX_CPU_PASSES, available_cores())
        version = f"BlazePose {variant} in onnxruntime {onnxruntime.__version__}"

        def on_cpu() -> Sessions:
            try:
                return _on_cpu(paths, count, version)
            except Exception as error:  # onnxruntime's errors have no common base class
                raise DetectorError(f"BlazePose cannot be loaded: {first_line(error)}") from None

        def on_gpu(provider: str) -> Sessions:
            sessions = _gpu_sessions(paths, provider, min(count, MAX_THREADS_PER_PASS), say)
            description = f"{version} on {GPU_PROVIDERS[provider]}"
            return Sessions(sessions, GPU_BATCH_SIZES[-1], description)

        backends = [
            Backend(name, "cuda", partial(on_gpu, provider))
            for provider, name in GPU_PROVIDERS.items()
        ]
        cpu = Backend("the CPU", "cpu", on_cpu)
        self._backends = Backends([*backends, cpu], policy, "BlazePose", say, counts)

    @property
    def device(self) -> str:
        """'cuda' or 'cpu', where the networks run."""
        return self._backends.device

    @property
    def description(self) -> str:
        """Device and version, one line for the log."""
        return self._backends.description

    @property
    def batch_size(self) -> int:
        """Maximum number of crops in one pass; these cost less together than one by one."""
        return self._backends.runner.batch_size

    def run(self, jobs: Sequence[Job]) -> list[list[list[np.ndarray]]]:
        """Run networks on crops; after a failure of the GPU on the CPU.

        The outputs are the same bits with any number of threads.

        Args:
            jobs: independent of each other.

        Returns:
            for each job, for each of its ROIs, the outputs, without the axis of the batch.
        """
        return self._backends.run(lambda runner: runner.run(jobs, self._budget))

    def close(self) -> None:
        """Free the sessions: onnxruntime does so with the last reference to one."""
        self._backends.close()
        runner = self._backends.runner
        if runner.threads is not None:
            runner.threads.shutdown()
        self._backends.runner = replace(runner, sessions=(), lone=(), threads=None)


def _on_cpu(paths: tuple[Path, Path], threads: int, version: str) -> Sessions:
    """Both networks on the CPU. Raises onnxruntime's errors."""
    sessions = tuple(make_session(path, 1) for path in paths)
    if threads == 1:
        return Sessions(sessions, 1, f"{version} on 1 CPU thread")
    several = min(threads, MAX_THREADS_PER_PASS)
    ratio = _time_ratio(paths[LANDMARK_NETWORK], several)
    lone: tuple[Any, ...] = ()
    if ratio <= MAX_TIME_RATIO:
        lone = tuple(make_session(path, several) for path in paths)
    description = (
        f"{version} on up to {threads} CPU threads, {several if lone else 1} for a single crop "
        f"({several} threads take {ratio:.2f} of the time of one)"
    )
    pool = ThreadPoolExecutor(threads, thread_name_prefix="blazepose")
    return Sessions(sessions, 1, description, lone, pool)


@cache
def _time_ratio(path: Path, threads: int) -> float:
    """Time of a landmark inference on some threads over that on one; measured once a process."""
    crop = np.zeros((1, LANDMARK_INPUT_PX, LANDMARK_INPUT_PX, 3), dtype=np.uint8)
    return time_ratio(make_session(path, threads), make_session(path, 1), {"image": crop})


def _gpu_sessions(
    paths: tuple[Path, Path], provider: str, threads: int, say: Callable[[str], None]
) -> tuple[SizedSessions, ...]:
    """Both networks on a GPU. Raises the errors of `SizedSessions`."""
    return tuple(
        SizedSessions(
            provider,
            path,
            threads,
            BatchInput("image", (side, side, 3), "uint8", GPU_BATCH_SIZES),
            say,
        )
        for path, side in zip(paths, (DETECTION_INPUT_PX, LANDMARK_INPUT_PX), strict=True)
    )
