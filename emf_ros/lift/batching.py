"""Batch sizes for the hardware: buckets for GPUs, chunks that fit the cache of a CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

from ..model.presets import LifterConfig
from ..skeletons import get_layout

#: Batch sizes that a GPU runs. Other sizes are padded to the next one; the largest is the maximum
#: number of people in one forward pass.
BUCKETS = (1, 2, 4, *range(8, 65, 8))

#: Maximum number of floats in the activations of one layer, of all clips of a chunk: 0.5 MB.
_CACHED = 2**17

#: Positions (B, T, J, 3) m and their standard deviation (B, T, J) m.
Lifted = tuple[np.ndarray, np.ndarray]


def bucket_of(people: int) -> int:
    """The smallest bucket that holds a number of people; the largest where none does."""
    return next((bucket for bucket in BUCKETS if bucket >= people), BUCKETS[-1])


def halved(people: int) -> int:
    """The largest bucket of at most half the bucket of a number of people; at least 1."""
    return max(b for b in BUCKETS if b == 1 or 2 * b <= bucket_of(people))


def buckets_up_to(people: int) -> tuple[int, ...]:
    """The buckets of all batches of at most a number of people, the largest first."""
    return tuple(b for b in reversed(BUCKETS) if b <= bucket_of(people))


def cpu_chunk(config: LifterConfig) -> int:
    """The number of clips that a CPU runs at a time: those that fit its cache.

    Measured for `lite` in onnxruntime on one core: 6.3 ms a person one by one, 5.7 ms in batches of
    3 to 8, and a third more in one of 48. Padding to buckets only adds time there.
    """
    tokens = config.frames // config.frame_stride
    widest = max(config.frames * config.motion.dim, tokens * config.dim)
    numbers = widest * len(get_layout(config.layout))
    return int(np.clip(_CACHED // numbers, 1, BUCKETS[-1]))


def in_chunks(run: Callable[[np.ndarray], Lifted], keypoints: np.ndarray, size: int) -> Lifted:
    """Run a batch of any size in parts.

    Args:
        run: lifts keypoints (b, T, J, 3), 1 <= b <= size; it may return the same memory each time.
        keypoints: (B, T, J, 3); B may be 0.
        size: maximum size of a part.
    """
    positions, stddev = _room(keypoints)
    for begin in range(0, len(keypoints), size):
        rows = slice(begin, begin + size)
        positions[rows], stddev[rows] = run(keypoints[rows])
    return positions, stddev


class ThreadedChunks:
    """Runs a batch of any size in parts of about equal size, each part on one thread.

    A layer of a small network takes about as long as a thread takes to wake up, so two threads in
    one layer gain nothing. Two people on two threads take hardly longer than one.

    Args:
        run: as for `in_chunks`; several threads call it at the same time.
        size: maximum size of a part.
        threads: number of threads, the caller's included.
    """

    def __init__(self, run: Callable[[np.ndarray], Lifted], size: int, threads: int) -> None:
        self._run, self._size, self._threads = run, size, threads
        self._pool = ThreadPoolExecutor(max(1, threads - 1), "lift")

    def __call__(self, keypoints: np.ndarray) -> Lifted:
        """Lift keypoints (B, T, J, 3); B may be 0."""
        people = len(keypoints)
        positions, stddev = _room(keypoints)
        # A multiple of the number of threads, so that all of them end at the same time.
        count = min(people, self._threads * -(-people // (self._size * self._threads)))
        cuts = [people * part // max(1, count) for part in range(count + 1)]
        parts = deque(map(slice, cuts, cuts[1:]))

        def work() -> None:
            while parts:
                try:
                    rows = parts.popleft()
                except IndexError:  # another thread was faster
                    return
                positions[rows], stddev[rows] = self._run(keypoints[rows])

        helpers = [self._pool.submit(work) for _ in range(min(self._threads, count) - 1)]
        try:
            work()
        finally:
            # A thread that has not begun, as the cores are busy, has nothing left to do.
            running = [helper for helper in helpers if not helper.cancel()]
            wait(running)
        for helper in running:
            helper.result()
        return positions, stddev


def _room(keypoints: np.ndarray) -> Lifted:
    """Memory for the result of keypoints (B, T, J, 3)."""
    shape = keypoints.shape[:-1]
    return np.empty((*shape, 3), dtype=np.float32), np.empty(shape, dtype=np.float32)
