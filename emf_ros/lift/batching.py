"""Batch sizes for the hardware: buckets for GPUs, chunks that fit the cache of a CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..model.presets import LifterConfig
from ..skeletons import get_layout

#: Batch sizes that a GPU runs. Other sizes are padded to the next one; the largest is the maximum
#: number of people in one forward pass.
BUCKETS = (1, 2, 4, 8, 16, 32, 64)

#: Maximum number of floats in the activations of one layer, of all clips of a chunk: 1 MB.
_CACHED = 2**18

#: Positions (B, T, J, 3) m and their standard deviation (B, T, J) m.
Lifted = tuple[np.ndarray, np.ndarray]


def bucket_of(people: int) -> int:
    """The smallest bucket that holds a number of people; the largest where none does."""
    return next((bucket for bucket in BUCKETS if bucket >= people), BUCKETS[-1])


def buckets_up_to(people: int) -> tuple[int, ...]:
    """The buckets of all batches of at most a number of people, the largest first."""
    return tuple(b for b in reversed(BUCKETS) if b <= bucket_of(people))


def cpu_chunk(config: LifterConfig) -> int:
    """The number of clips that a CPU runs at a time: those that fit its cache.

    Measured for `lite` in onnxruntime on one core: 5.8 ms a person in batches of 8, 7.6 ms in one
    of 48. Padding to buckets only adds time there.
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
    positions = np.empty((*keypoints.shape[:-1], 3), dtype=np.float32)
    stddev = np.empty(keypoints.shape[:-1], dtype=np.float32)
    for begin in range(0, len(keypoints), size):
        rows = slice(begin, begin + size)
        positions[rows], stddev[rows] = run(keypoints[rows])
    return positions, stddev
