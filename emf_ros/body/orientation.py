"""The orientation of each segment of each person over time, with its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .memory import Memory
from .rotations import (
    carried_along,
    cross,
    dot,
    nearest_sign,
    quaternions,
    turned,
    turned_about,
)
from .segments import (
    NAMES,
    PARENTS,
    TWIST_SHOWN,
    base_rotations,
    frames_of,
    neutral_secondary,
    rotations_of,
    spreads_of,
)

#: Growth of the variance of a twist that is not seen, rad^2/s: an upper arm turns by 30 degrees
#: within a third of a second.
TWIST_DRIFT = 0.8
#: Maximum standard deviation of a known direction or twist, rad. A wider one is unknown.
MAX_SPREAD_RAD = 1.0
#: Maximum speed at which a continued twist follows a measurement, rad/s.
MAX_TURN_RAD_S = 12.0
#: Time in which a twist that is not known comes back to that of the trunk or pelvis, s.
NEUTRAL_S = 1.0
#: Time without a person after which the memory of the twists is of no use, s.
FORGET_S = 1.0


@dataclass
class Orientations:
    """Orientations of the segments, in the order of `segments.NAMES`.

    Attributes:
        rotation: (P, S, 3, 3); the columns are the segment's x (forward), y (up) and z (right) in
            the frame of the joints. NaN where a joint of the segment is unknown.
        stddev_rad: (P, S, 3) rad, of the turn about the segment's own x, y and z. NaN where it is
            unknown: the rotation is then a smooth continuation, not a measurement.
        quaternion: (P, S, 4) x, y, z, w of the same rotation. The sign does not jump.
    """

    rotation: np.ndarray
    stddev_rad: np.ndarray
    quaternion: np.ndarray


def relative_to_parents(rotation: np.ndarray) -> np.ndarray:
    """(P, S, 3, 3) -> (P, S, 3, 3), in the frame of each parent; that of the pelvis stays."""
    parents = rotation[:, list(PARENTS)]
    out = np.swapaxes(parents, -1, -2) @ rotation
    out[:, 0] = rotation[:, 0]
    return out


@dataclass
class _Memory(Memory):
    """The frames of the last image.

    Attributes:
        primary, secondary: (P + 1, S, 3) axes in the frame of pelvis or trunk, see
            `segments.base_rotations`.
        variance: (P + 1, S) rad^2, of the twist.
        quaternion: (P + 1, S, 4).
    """

    primary: np.ndarray
    secondary: np.ndarray
    variance: np.ndarray
    quaternion: np.ndarray


_COUNT = len(NAMES)
_NOWHERE = np.full((1, _COUNT, 3), np.nan)
_UNKNOWN = np.full((1, _COUNT), np.inf)
_UNTURNED = np.full((1, _COUNT, 4), np.nan)


class OrientationTracker:
    """Orientations of people from image to image; a twist that is not seen is continued."""

    def __init__(self) -> None:
        self._last = _Memory(0, {}, _NOWHERE, _NOWHERE, _UNKNOWN, _UNTURNED)

    def update(
        self, stamp_ns: int, ids: Sequence[int], joints: np.ndarray, stddev: np.ndarray
    ) -> Orientations:
        """The orientations in the next image.

        Args:
            stamp_ns: of the image, ns.
            ids: of all people; the others are forgotten.
            joints: (P, 17, 3) m, h36m17; NaN where unknown.
            stddev: (P, 17) m along each axis.
        """
        frames = frames_of(joints, stddev)
        primary, last = frames.primary, self._last
        waited_s = last.age_s(stamp_ns)
        rows = last.rows_of(ids)
        if not 0 <= waited_s <= FORGET_S:
            waited_s, rows = 0.0, np.full_like(rows, -1)
        base = base_rotations(primary, frames.secondary)
        carried = carried_along(
            turned(base, last.secondary[rows]), turned(base, last.primary[rows]), primary
        )
        neutral = neutral_secondary(primary, base)
        begun = ~np.isfinite(carried[..., 0])
        predicted = np.where(begun, np.inf, last.variance[rows] + TWIST_DRIFT * waited_s)
        carried = np.where(begun[..., None], neutral, carried)
        # The twist of a limb that is nearly straight is noise.
        clear = frames.twist_rad <= MAX_SPREAD_RAD
        measured = np.where(clear, frames.twist_rad, np.inf) ** 2
        # With no frame to start from, the measurement is all there is.
        begun |= ~np.isfinite(carried[..., 0])
        carried = np.where(np.isfinite(carried), carried, frames.secondary)
        gain, variance = _fused(predicted, measured)
        turn = gain * np.where(clear, _turn(carried, frames.secondary, primary), 0.0)
        most = np.where(begun, np.inf, MAX_TURN_RAD_S * waited_s)
        secondary = turned_about(carried, primary, np.clip(turn, -most, most))
        lost = variance > MAX_SPREAD_RAD**2
        if lost.any():
            lost &= np.isfinite(neutral[..., 0])
            turn = np.where(lost, _turn(secondary, neutral, primary), 0.0)
            back = min(waited_s / NEUTRAL_S, 1.0)
            secondary = turned_about(secondary, primary, back * turn)
        rotation = rotations_of(primary, secondary)
        quaternion = nearest_sign(quaternions(rotation), last.quaternion[rows])
        turned_back = base.swapaxes(-1, -2)
        self._last = _Memory(
            stamp_ns,
            {number: row for row, number in enumerate(ids)},
            np.concatenate([turned(turned_back, primary), _NOWHERE]),
            np.concatenate([turned(turned_back, secondary), _NOWHERE]),
            np.concatenate([variance, _UNKNOWN]),
            np.concatenate([quaternion, _UNTURNED]),
        )
        twist = np.where(TWIST_SHOWN, np.sqrt(variance), np.inf)
        spread = spreads_of(frames.swing_rad, twist)
        known = (spread <= MAX_SPREAD_RAD) & np.isfinite(rotation[..., 0, :1])
        return Orientations(rotation, np.where(known, spread, np.nan), quaternion)


def _fused(predicted: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and variance of a measurement that is fused with a prediction.

    The errors of one image are those of the next one, so the variance is the weighted mean of the
    two (covariance intersection, Julier & Uhlmann 1997), and does not shrink with their number.
    """
    seen, known = np.isfinite(measured), np.isfinite(predicted)
    both = seen & known
    total = np.where(both, predicted, 0.0) + np.where(both, measured, 1.0)
    gain = np.where(both, np.where(both, predicted, 0.0) / total, np.where(seen, 1.0, 0.0))
    mean = gain * np.where(both, measured, 0.0) + (1 - gain) * np.where(both, predicted, 0.0)
    return gain, np.where(both, mean, np.where(seen, measured, predicted))


def _turn(before: np.ndarray, after: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(P, S) rad, the turn about axes that takes one direction square to them to another."""
    return np.asarray(np.arctan2(dot(cross(before, after), axis), dot(before, after)))
