"""Clips without gaps and jumps, at one rate."""

from __future__ import annotations

import numpy as np

from ...io.mocap import FormatError
from ...io.mocap.rate import MIN_RATE_HZ
from ...skeletons import H36M17

#: Rate of stored clips, frames a second.
RATE_HZ = 30.0

#: Longest gap of a joint that is interpolated (s). Longer gaps cut the clip.
LONGEST_GAP_S = 1.0 / MIN_RATE_HZ

#: Largest speed of a pelvis (m/s); faster ones are jumps of the recording. Sprinters reach 12.
FASTEST_M_S = 12.0

#: Largest speed of a joint relative to the pelvis (m/s). A pitcher's wrist reaches 25. This limit
#: recognises the T-pose at the start of the CMU database's BVH files.
FASTEST_LIMB_M_S = 30.0

#: Largest distance of a clip from its start (m), a little less than 16 bits of millimetres hold.
RANGE_M = 32.0


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """The runs of True in (N,) as first index and index after the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def fill_gaps(positions: np.ndarray, rate_hz: float) -> np.ndarray:
    """Interpolate joints over gaps of at most `LONGEST_GAP_S`.

    Args:
        positions: (N, 17, 3), NaN or infinite where missing.
        rate_hz: frames a second.

    Returns:
        (N, 17, 3), NaN where gaps are longer, and before a joint's first and after its last frame.
    """
    filled = np.where(np.isfinite(positions).all(axis=-1, keepdims=True), positions, np.nan)
    for joint in range(positions.shape[1]):
        missing = np.isnan(filled[:, joint, 0])
        for first, after in _runs(missing):
            if first == 0 or after == len(filled) or (after - first) / rate_hz > LONGEST_GAP_S:
                continue
            part = (np.arange(first, after) - (first - 1)) / (after - first + 1)
            before, behind = filled[first - 1, joint], filled[after, joint]
            filled[first:after, joint] = before + part[:, None] * (behind - before)
    return filled


def cut(positions: np.ndarray, rate_hz: float) -> list[tuple[int, int]]:
    """Find the pieces of a motion without NaN and without jumps of the person.

    Args:
        positions: (N, 17, 3) m.
        rate_hz: frames a second.

    Returns:
        first frame and frame after the last of each piece, of one frame or more.
    """
    pieces = []
    for first, after in _runs(np.isfinite(positions).all(axis=(1, 2))):
        pelvis = positions[first:after, H36M17.index("pelvis"), None]
        root, limbs = (
            np.linalg.norm(np.diff(moved, axis=0), axis=-1).max(axis=1) * rate_hz
            for moved in (pelvis, positions[first:after] - pelvis)
        )
        jumps = (root > FASTEST_M_S) | (limbs > FASTEST_LIMB_M_S)
        starts = [first, *(first + 1 + np.flatnonzero(jumps)).tolist()]
        pieces += list(zip(starts, [*starts[1:], after], strict=True))
    return pieces


def resample(positions: np.ndarray, rate_hz: float, to_hz: float = RATE_HZ) -> np.ndarray:
    """Motion at another rate, by linear interpolation at the exact times.

    Args:
        positions: (N, 17, 3).
        rate_hz: its frames a second.
        to_hz: the frames a second wanted.

    Returns:
        (M, 17, 3) from the time of the first frame on to that of the last.
    """
    # Files round their frame times, to 0.033333 s: then the last frame is a little early.
    count = int(np.floor((len(positions) - 1) / rate_hz * to_hz + 0.01)) + 1
    time = np.minimum(np.arange(count) * (rate_hz / to_hz), len(positions) - 1)
    low = np.floor(time).astype(int)
    high = np.minimum(low + 1, len(positions) - 1)
    part = (time - low)[:, None, None]
    return (1 - part) * positions[low] + part * positions[high]


def recentre(positions: np.ndarray) -> list[np.ndarray]:
    """Begin motion over the origin, in as many pieces as `RANGE_M` demands.

    Args:
        positions: (N, 17, 3) m, z up, finite.

    Returns:
        pieces (N_i, 17, 3), each with its first pelvis at x = y = 0; heights stay.

    Raises:
        FormatError: the height is beyond what the format holds.
    """
    if np.abs(positions[..., 2]).max() > RANGE_M:
        raise FormatError(f"is more than {RANGE_M:g} m above or below its floor")
    pieces = []
    first, pelvis = 0, H36M17.index("pelvis")
    while first < len(positions):
        shift = positions[first, pelvis] * (1, 1, 0)
        rest = positions[first:] - shift
        beyond = np.flatnonzero(np.abs(rest).max(axis=(1, 2)) > RANGE_M)
        # The person fits into the first frame, so that each piece has one frame at least.
        length = max(int(beyond[0]), 1) if beyond.size else len(rest)
        pieces.append(rest[:length])
        first += length
    return pieces
