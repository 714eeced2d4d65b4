"""Batches as the hardware likes them: buckets for GPUs, chunks that fit a CPU's cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..model.presets import LifterConfig
from ..skeletons import get_layout

#: Batches that a GPU runs; what lies between is padded to the next. The largest holds the most
#: people that go through in one pass.
BUCKETS = (1, 2, 4, 8, 16, 32, 64)

#: Numbers in the activations of one layer, all clips of a batch together: 1 MB.
_CACHED = 2**18

#: Positions (B, T, J, 3) m and their standard deviation (B, T, J) m.
Lifted = tuple[np.ndarray, np.ndarray]


def bucket_of(people: int) -> int:
    """The smallest bucket that holds so many people; the largest where none does."""
    return next((bucket for bucket in BUCKETS if bucket >= people), BUCKETS[-1])


def buckets_up_to(people: int) -> tuple[int, ...]:
    """All buckets that batches of at most so many people fall into, the largest first."""
    return tuple(b for b in reversed(BUCKETS) if b <= bucket_of(people))


def cpu_chunk(config: LifterConfig) -> int:
    """Clips that a CPU runs at a time: as many as stay in its cache.

    Measured for `lite` in onnxruntime on one core: 5.4 ms a person in eights, 8.2 in one batch of
    32. Padding to buckets is of no use there: three people take 35 ms where four take 43, five 57
    where eight take 96.
    """
    numbers = config.frames * len(get_layout(config.layout)) * config.dim
    return int(np.clip(_CACHED // numbers, 1, BUCKETS[-1]))


def in_chunks(run: Callable[[np.ndarray], Lifted], keypoints: np.ndarray, size: int) -> Lifted:
    """Run a batch of any size in parts.

    Args:
        run: lifts keypoints (b, T, J, 3), 1 <= b <= size; it may give the same memory each time.
        keypoints: (B, T, J, 3); of no one, too.
        size: of the largest part.
    """
    positions = np.empty((*keypoints.shape[:-1], 3), dtype=np.float32)
    stddev = np.empty(keypoints.shape[:-1], dtype=np.float32)
    for begin in range(0, len(keypoints), size):
        rows = slice(begin, begin + size)
        positions[rows], stddev[rows] = run(keypoints[rows])
    return positions, stddev
