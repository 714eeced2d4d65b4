"""What happens when a GPU fails while people are being lifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from ..reasons import Reason
from ..runtime.device import DevicePolicy, GpuFallback, first_line
from .batching import BUCKETS, Lifted, bucket_of, in_chunks
from .engine_base import Engine, check_keypoints

#: How torch, onnxruntime, cuDNN, cuBLAS and TensorRT say it.
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "failed to allocate memory", "alloc_failed")

_Result = TypeVar("_Result")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that the GPU's memory is full."""
    cause: BaseException | None = error
    # While a CUDA graph is captured, the error that ends it hides the one that broke it.
    while cause is not None:
        text = f"{type(cause).__name__} {cause}".lower()
        if any(words in text for words in _OUT_OF_MEMORY):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class GpuGuard:
    """An engine on a GPU, with smaller batches or the CPU where the GPU fails.

    Where the GPU's memory is full, the batch is halved, and stays so: what did not fit once does
    not fit in the next frame. It is counted as `gpu_out_of_memory`. Where not even one person
    fits, or after any other error, `GpuFallback` takes the CPU. `device` and `description` follow.

    Args:
        engine: on the GPU.
        make_cpu: makes the engine for the CPU.
        policy: with the device 'cuda' there is no fallback.
        say: takes what has happened, a line each.
        counts: where it is counted.
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
        # Bad keypoints are not the GPU's fault: they are refused before it gets them.
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
            # Outside the handler: the error holds the memory of the frames that it came from.
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
