"""The orientation of each segment of each person over time, with its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .face import Faces, turned_heads
from .memory import Memory
from .rotations import (
    carried_along,
    cross,
    dot,
    nearest_sign,
    quaternions,
)
from .segments import (
    NAMES,
    PARENTS,
    TWIST_SHOWN,
    Frames,
    bases_of,
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


_COUNT = len(NAMES)
_HEAD = NAMES.index("head")


@dataclass
class _Memory(Memory):
    """The frames of the last image.

    Attributes:
        trunk: (P, 2, 3, 3) rotations of pelvis and trunk.
        axes: (P, S, 3, 2) primary and secondary axes.
        variance: (P, S) rad^2, of the twist.
        quaternion: (P, S, 4).
    """

    BLANK = {
        "trunk": ((2, 3, 3), np.nan),
        "axes": ((_COUNT, 3, 2), np.nan),
        "variance": ((_COUNT,), np.inf),
        "quaternion": ((_COUNT, 4), np.nan),
    }

    trunk: np.ndarray
    axes: np.ndarray
    variance: np.ndarray
    quaternion: np.ndarray


class OrientationTracker:
    """Orientations of people from image to image; a twist that is not seen is continued."""

    def __init__(self) -> None:
        self._last = _Memory.of_nobody()

    def update(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        joints: np.ndarray,
        stddev: np.ndarray,
        faces: Faces | None = None,
    ) -> Orientations:
        """The orientations in the next image.

        Args:
            stamp_ns: of the image, ns.
            ids: of all people; the others are forgotten.
            joints: (P, 17, 3) m, h36m17; NaN where unknown.
            stddev: (P, 17) m along each axis.
            faces: of the people in the image, where they are seen.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            frames = frames_of(joints, stddev)
            if faces is not None:
                frames.secondary[:, _HEAD], frames.twist_rad[:, _HEAD] = turned_heads(
                    faces,
                    frames.primary[:, _HEAD],
                    frames.secondary[:, _HEAD],
                    frames.twist_rad[:, _HEAD],
                )
            return self._updated(stamp_ns, ids, frames)

    def _updated(self, stamp_ns: int, ids: Sequence[int], frames: Frames) -> Orientations:
        primary, waited_s = frames.primary, self._last.age_s(stamp_ns)
        if not 0 <= waited_s <= FORGET_S:
            self._last, waited_s = _Memory.of_nobody(), 0.0
        last = self._last.of(ids)
        trunk = rotations_of(primary[:, :2], frames.secondary[:, :2])
        # The axes before, as if they had moved with pelvis or trunk.
        before = bases_of(trunk @ last.trunk.swapaxes(-1, -2)) @ last.axes
        carried = carried_along(before[..., 1], before[..., 0], primary)
        neutral = neutral_secondary(primary, trunk)
        begun = np.isnan(carried[..., 0])
        predicted = np.where(begun, np.inf, last.variance + TWIST_DRIFT * waited_s)
        carried = np.where(begun[..., None], neutral, carried)
        # The twist of a limb that is nearly straight is noise.
        clear = frames.twist_rad <= MAX_SPREAD_RAD
        measured = np.where(clear, frames.twist_rad, np.inf)
        measured *= measured
        # With no frame to start from, the measurement is all there is.
        unled = np.isnan(carried[..., 0])
        if np.count_nonzero(unled):
            begun |= unled
            carried = np.where(np.isnan(carried), frames.secondary, carried)
        gain, variance = _fused(predicted, measured)
        # All twists are angles from the carried axis, about the primary one.
        ahead = cross(primary, carried)
        turn = gain * np.where(clear, _angle(frames.secondary, carried, ahead), 0.0)
        most = np.where(begun, np.inf, MAX_TURN_RAD_S * waited_s)
        turn = np.minimum(np.maximum(turn, -most), most)
        lost = (variance > MAX_SPREAD_RAD**2) & np.isfinite(neutral[..., 0])
        rest = _angle(neutral, carried, ahead) - turn
        rest -= 2 * np.pi * np.rint(rest / (2 * np.pi))
        turn += np.where(lost, min(waited_s / NEUTRAL_S, 1.0) * rest, 0.0)
        secondary = carried * np.cos(turn)[..., None] + ahead * np.sin(turn)[..., None]
        rotation = rotations_of(primary, secondary)
        quaternion = nearest_sign(quaternions(rotation), last.quaternion)
        axes = np.empty((*primary.shape, 2))
        axes[..., 0], axes[..., 1] = primary, secondary
        self._last = _Memory(stamp_ns, list(ids), trunk, axes, variance, quaternion)
        twist = np.where(TWIST_SHOWN, np.sqrt(variance), np.inf)
        spread = spreads_of(frames.swing_rad, twist)
        known = (spread <= MAX_SPREAD_RAD) & np.isfinite(rotation[..., 0, :1])
        return Orientations(rotation, np.where(known, spread, np.nan), quaternion)


def _fused(predicted: np.ndarray, measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain and variance of a measurement that is fused with a prediction.

    The errors of one image are those of the next one, so the variance is the weighted mean of the
    two (covariance intersection, Julier & Uhlmann 1997), and does not shrink with their number.
    """
    # The measurement's share of the sum; 0 for one that is infinite, and 1 against such a one.
    total = predicted + measured
    known = total < np.inf
    gain = np.where(known, predicted / total, measured < np.inf)
    mean = 2.0 * predicted * measured / total
    return gain, np.where(known, mean, np.minimum(predicted, measured))


def _angle(axis: np.ndarray, start: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """(P, S) rad, the angle of an axis in the plane of two others, from the first to the second."""
    return np.asarray(np.arctan2(dot(axis, ahead), dot(axis, start)))
