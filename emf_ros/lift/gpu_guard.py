"""Handling of a GPU that fails during the lifting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from ..reasons import Reason
from ..runtime.device import DevicePolicy, GpuFallback, first_line
from .batching import BUCKETS, Lifted, bucket_of, in_chunks
from .engine_base import Engine, check_keypoints

#: Parts of the error texts of torch, onnxruntime, cuDNN, cuBLAS and TensorRT.
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "failed to allocate memory", "alloc_failed")

_Result = TypeVar("_Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one of its causes, says that the memory of the GPU is full."""
    cause: BaseException | None = error
    # During the capture of a CUDA graph the last error hides the first one.
    while cause is not None:
        text = f"{type(cause).__name__} {cause}".lower()
        if any(words in text for words in _OUT_OF_MEMORY):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class GpuGuard:
    """An engine on a GPU that uses smaller batches, or the CPU, when the GPU fails.

    When the memory of the GPU is full, the batch size is halved and stays so: the next frame would
    not fit either. This is counted as `gpu_out_of_memory`. When not even one person fits, or after
    any other error, `GpuFallback` uses the CPU. `device` and `description` follow.

    Args:
        engine: on the GPU.
        make_cpu: makes the engine for the CPU.
        policy: with the device 'cuda' there is no fallback.
        say: takes a line of text about each failure.
        counts: takes the number of failures, by reason.
    """

    def __init__(
        self,
        engine: Engine,
        make_cpu: Callable[[], Engine],
        policy: DevicePolicy,
        say: Callable[[str], None],
        counts: Counter[Reason],
    ) -> None:
        self._engines = GpuFallback(engine, make_cpu, policy, "the lifter", say, counts)
        self._say, self._counts = say, counts
        self._largest = BUCKETS[-1]
        self.config = engine.config
        self._describe()

    def lift(self, keypoints: np.ndarray) -> Lifted:
        # Bad keypoints are refused here: their error must not count as one of the GPU.
        keypoints = check_keypoints(keypoints, self.config)
        return self._run(
            len(keypoints), lambda size: in_chunks(self._engines.runner.lift, keypoints, size)
        )

    def warm_up(self, largest: int) -> None:
        self._run(largest, lambda size: self._engines.runner.warm_up(size))

    def _describe(self) -> None:
        engine = self._engines.runner
        self.device, self.description = engine.device, engine.description + self._engines.note
        if self._engines.on_gpu and self._largest < BUCKETS[-1]:
            self.description += f"; out of GPU memory, at most {self._largest} people in one pass"

    def _run(self, people: int, run: Callable[[int], _Result]) -> _Result:
        """Run in passes of at most the number of people that the GPU has memory for."""
        while self._engines.on_gpu:
            size = max(1, min(people, self._largest))
            try:
                return run(size)
            except Exception as error:
                full, reason = is_out_of_memory(error), first_line(error)
            # Outside the handler, as the error holds the memory of the stack frames it came from.
            if full:
                self._counts[Reason.GPU_OUT_OF_MEMORY] += 1
            if full and size > 1:
                self._largest = bucket_of(size) // 2
                self._say(
                    f"out of GPU memory with {size} people in one pass: at most {self._largest} "
                    f"from now on ({reason})"
                )
            else:
                self._engines.leave_gpu(reason)
            self._describe()
        return run(max(1, people))
