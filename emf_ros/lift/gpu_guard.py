"""What happens when a GPU fails while people are being lifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from .batching import BUCKETS, Lifted, bucket_of, in_chunks
from .engine_base import Engine, EngineError, check_keypoints, first_line

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
    """An engine on a GPU that goes on when the GPU does not.

    Where its memory is full, batches are split, in halves, and stay so: what did not fit once will
    not fit at the next frame. Where not even one person fits, or after any other error, a CPU takes
    over for good: after most errors CUDA is of no use to the process any more. Each is said and
    counted, `gpu_out_of_memory` and `engine_fell_back`; `device` and `description` change along.

    Args:
        engine: on the GPU.
        fall_back: makes the engine for the CPU; None: there is to be none.
        say: takes what has happened, a line each.
        counts: where it is counted.
    """

    def __init__(
        self,
        engine: Engine,
        fall_back: Callable[[], Engine] | None,
        say: Callable[[str], None],
        counts: Counter[str],
    ) -> None:
        self._engine, self._fall_back = engine, fall_back
        self._say, self._counts = say, counts
        self._largest = BUCKETS[-1]
        self._on_gpu = True
        self.config, self.device = engine.config, engine.device
        self.description = engine.description

    def lift(self, keypoints: np.ndarray) -> Lifted:
        # Here, so that what an engine raises below is not the input's fault.
        keypoints = check_keypoints(keypoints, self.config)
        return self._run(len(keypoints), lambda size: in_chunks(self._engine.lift, keypoints, size))

    def warm_up(self, largest: int) -> None:
        self._run(largest, lambda size: self._engine.warm_up(size))

    def _run(self, people: int, run: Callable[[int], _Result]) -> _Result:
        """Run with at most so many people at a time as the GPU has memory for."""
        while self._on_gpu:
            size = max(1, min(people, self._largest))
            try:
                return run(size)
            except Exception as error:
                full, text = is_out_of_memory(error), first_line(error)
            # Not among the above: while an error is handled it keeps the memory that it broke in.
            if full:
                self._counts["gpu_out_of_memory"] += 1
            if full and size > 1:
                self._largest = bucket_of(size) // 2
                self._say(
                    f"out of GPU memory with {size} people in one pass: at most {self._largest} "
                    f"from now on ({text})"
                )
                self.description = (
                    f"{self._engine.description}; out of GPU memory, at most {self._largest} "
                    "people in one pass"
                )
            else:
                self._leave_gpu(text)
        return run(max(1, people))

    def _leave_gpu(self, text: str) -> None:
        if self._fall_back is None:
            raise EngineError(f"a GPU is required and has failed: {text}")
        failed = self._engine.description
        self._engine = self._fall_back()
        self._on_gpu = False
        self.device = self._engine.device
        self.description = f"{self._engine.description}, fallen back from {failed}: {text}"
        self._counts["engine_fell_back"] += 1
        self._say(f"the GPU has failed, the model runs on the CPU from now on ({text})")
