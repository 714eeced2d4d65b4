"""The engine on a GPU: batches that fit its memory, and the CPU when the GPU fails."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ..reasons import Reason
from ..runtime.backends import Backend, Backends
from ..runtime.device import DevicePolicy
from ..runtime.gpu_errors import first_line, is_out_of_memory
from .batching import BUCKETS, Lifted, halved, in_chunks
from .engine_base import Engine, check_keypoints

_Result = TypeVar("_Result")


class GpuGuard:
    """The engine of the first backend that works, see `runtime.backends`.

    When the memory of the GPU is full, the batch size is halved and stays so: the next frame would
    not fit either. This is counted as `gpu_out_of_memory`. When not even one person fits, or after
    any other error, the GPU is lost. `device` and `description` follow.

    Args:
        backends: the preferred one first.
        policy: with the device 'cuda' there is no fallback.
        say: takes a line of text about each failure.
        counts: takes the number of failures, by reason.
        people: number of people in one pass that a GPU is made ready for at once.
        clock: s, from an arbitrary beginning.

    Raises:
        EngineError: no backend works.
    """

    def __init__(
        self,
        backends: Sequence[Backend[Engine]],
        policy: DevicePolicy,
        say: Callable[[str], None],
        counts: Counter[Reason],
        people: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._counts = say, counts
        #: Maximum number of people, and of those in one pass: now, and of the engine made last.
        self._people, self._largest, self._fits = people, BUCKETS[-1], BUCKETS[-1]
        warmed = [
            replace(b, make=self._warmed(b.make)) if b.device == "cuda" else b for b in backends
        ]
        self._backends = Backends(warmed, policy, "the lifter", say, counts, clock)
        self._engine, self._largest = self._backends.runner, self._fits
        self.config = self._engine.config
        self._describe()

    @property
    def settled(self) -> Engine | None:
        """The engine on the CPU where no GPU will be tried; None otherwise."""
        return None if self._backends.on_gpu or self._backends.waits else self._engine

    def lift(self, keypoints: np.ndarray) -> Lifted:
        # Bad keypoints are refused here: their error must not count as one of the GPU.
        keypoints = check_keypoints(keypoints, self.config)
        return self._run(len(keypoints), lambda size: in_chunks(self._engine.lift, keypoints, size))

    def warm_up(self, largest: int) -> None:
        self._people = max(1, largest)
        self._run(largest, lambda size: self._engine.warm_up(size))

    def limit(self, largest: int) -> None:
        self._largest = min(self._largest, largest)
        self._engine.limit(self._largest)
        self._describe()

    def _describe(self) -> None:
        self.device, self.description = self._backends.device, self._backends.description
        if self._backends.on_gpu and self._largest < BUCKETS[-1]:
            self.description += f"; out of GPU memory, at most {self._largest} people in one pass"

    def _warmed(self, make: Callable[[], Engine]) -> Callable[[], Engine]:
        """Make an engine that is ready for all batches that fit into the memory."""

        def made() -> Engine:
            engine, self._fits = make(), BUCKETS[-1]
            size = self._people
            while True:
                try:
                    engine.warm_up(size)
                    return engine
                except Exception as error:  # the libraries' errors have no common base class
                    if size == 1 or not is_out_of_memory(error):
                        raise
                size = self._fits = halved(size)
                engine.limit(size)

        return made

    def _follow(self) -> None:
        """Take the engine of the backends: another one has other memory."""
        if self._engine is not self._backends.runner:
            self._engine, self._largest = self._backends.runner, self._fits
            self._describe()

    def _run(self, people: int, run: Callable[[int], _Result]) -> _Result:
        """Run in passes of at most the number of people that the GPU has memory for."""
        self._backends.look_for_gpu()
        self._follow()
        while self._backends.on_gpu:
            size = max(1, min(people, self._largest))
            try:
                return run(size)
            except Exception as error:  # the libraries' errors have no common base class
                full = is_out_of_memory(error)
                smaller = full and size > 1
                reason = first_line(error) if smaller else self._backends.judge(error)
            # Outside the handler, as the error holds the memory of the stack frames it came from.
            if full:
                self._counts[Reason.GPU_OUT_OF_MEMORY] += 1
            if smaller:
                self.limit(halved(size))
                self._say(
                    f"out of GPU memory with {size} people in one pass: at most {self._largest} "
                    f"from now on ({reason})"
                )
            else:
                self._backends.leave_gpu(reason)
                self._follow()
        return run(max(1, people))
