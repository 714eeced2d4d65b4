"""The posture of people: probabilities, the posture itself and its time, and falls.

A multinomial logistic regression on piecewise linear functions of `posture_features` gives the
probabilities of one image. `posture_table` holds its weights, `benchmarks/body.py` fits them.
People who move are walking or running by their speed. The probabilities are smoothed over time.

A fall is seen by its end: the person lies, and the head came down faster than people lie down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .memory import Memory
from .posture_features import FEATURES
from .posture_table import HIGH, LOW, WEIGHTS

#: The postures, in the order of the probabilities.
POSTURES = (
    "standing",
    "walking",
    "running",
    "sitting",
    "crouching",
    "kneeling",
    "bending",
    "lying",
)
#: Columns of the regression: these postures, and one for walking and running together.
COLUMNS = ("standing", "moving", "sitting", "crouching", "kneeling", "bending", "lying")
_STANDING, _WALKING, _RUNNING, _LYING = (
    POSTURES.index(name) for name in ("standing", "walking", "running", "lying")
)
_REST = [POSTURES.index(name) for name in COLUMNS[2:]]

#: Speed at which walking and running are equally likely, m/s.
RUN_M_S = 2.2
#: Width of that limit, m/s: as uncertain is the speed of one camera.
RUN_WIDTH_M_S = 0.3
#: Time constant of the probabilities, s.
SMOOTH_S = 0.15
#: Time constant with which the probabilities of a person who is not seen become equal, s.
UNSEEN_S = 0.5
#: Probability under which the posture of a person who is not seen is unknown.
UNSEEN_KNOWN = 0.5
#: Lead in probability with which another posture takes over.
LEAD = 0.2
#: Time without poses after which a posture begins anew, s.
FORGET_S = 1.0
#: Speed of the head's drop at which a fall and lying down are equally likely, lengths of a leg/s.
FALL_DROP = 2.9
#: Width of that limit, lengths of a leg/s.
FALL_WIDTH = 0.35
#: Time in which a drop of the head is forgotten before the person lies, s.
DROP_S = 1.0
#: Probabilities of lying at which a fall is decided, and over.
LIES, ROSE = 0.6, 0.3
#: Number of places in which the slope of a feature's weight changes.
KNOTS = (0.2, 0.4, 0.6, 0.8)

_DROP = FEATURES.index("head_drop")
_SPEED = FEATURES.index("speed")
_LOW, _HIGH, _WEIGHTS = np.array(LOW), np.array(HIGH), np.array(WEIGHTS)


@dataclass
class Postures:
    """Postures of people. NaN, and -1, where trunk or legs are unknown.

    Attributes:
        probability: (P, 8) in the order of `POSTURES`; their sum is 1.
        index: (P,) index of the posture, -1 for unknown.
        since_ns: (P,) stamp of the image in which it began, ns.
        fallen: (P,) probability that the person lies because of a fall.
    """

    probability: np.ndarray
    index: np.ndarray
    since_ns: np.ndarray
    fallen: np.ndarray


@dataclass
class _Memory(Memory):
    probability: np.ndarray
    index: np.ndarray
    since_ns: np.ndarray
    drop: np.ndarray
    fell: np.ndarray


def basis(features: np.ndarray) -> np.ndarray:
    """(P, F) -> (P, 1 + F * 5): the features in 0..1, and what they are beyond each knot."""
    share = (np.clip(features, _LOW, _HIGH) - _LOW) / (_HIGH - _LOW)
    parts = [np.ones((len(share), 1)), share]
    parts += [np.maximum(share - knot, 0.0) for knot in KNOTS]
    return np.concatenate(parts, axis=1)


def probabilities(features: np.ndarray) -> np.ndarray:
    """(P, F) -> (P, 8), of one image alone; NaN where a feature is."""
    score = basis(features) @ _WEIGHTS
    score = np.exp(score - score.max(axis=1, keepdims=True))
    share = score / score.sum(axis=1, keepdims=True)
    out = np.zeros((len(share), len(POSTURES)))
    out[:, _STANDING] = share[:, 0]
    runs = 1.0 / (1.0 + np.exp(-(features[:, _SPEED] - RUN_M_S) / RUN_WIDTH_M_S))
    out[:, _RUNNING] = share[:, 1] * runs
    out[:, _WALKING] = share[:, 1] * (1.0 - runs)
    out[:, _REST] = share[:, 2:]
    return out


class PostureTracker:
    """Postures of people from image to image."""

    def __init__(self) -> None:
        self._last: _Memory | None = None

    def update(
        self, stamp_ns: int, ids: Sequence[int], features: np.ndarray, seen: np.ndarray
    ) -> Postures:
        """The postures in the next image.

        Args:
            stamp_ns: of the image, ns.
            ids: of the people.
            features: (P, F), see `posture_features`.
            seen: (P,) whether the features are measured in this image. Those of other people are
                not evidence: their posture fades, and does not begin.
        """
        people, last = len(ids), self._last
        now = np.where(seen[:, None], probabilities(features), np.nan)
        waited_s = last.age_s(stamp_ns) if last else np.inf
        if last is None or not 0 < waited_s <= FORGET_S:
            last = _empty()
            waited_s = 0.0
        rows = last.rows_of(ids)
        before = last.probability[rows]
        gain = 1.0 - np.exp(-waited_s / SMOOTH_S)
        smooth = np.where(np.isfinite(before), before + gain * (now - before), now)
        even = 1.0 / len(POSTURES)
        faded = even + np.exp(-waited_s / UNSEEN_S) * (before - even)
        smooth = np.where(seen[:, None], smooth, faded)
        known = np.isfinite(smooth[:, 0])
        filled = np.where(known[:, None], smooth, -1.0)
        best, old = filled.argmax(axis=1), last.index[rows]
        everyone = np.arange(people)
        keeps = (old >= 0) & (filled[everyone, best] < filled[everyone, old] + LEAD)
        index = np.where(known, np.where(keeps, old, best), -1)
        index = np.where(seen | (filled[everyone, index] > UNSEEN_KNOWN), index, -1)
        since = np.where(index == old, last.since_ns[rows], stamp_ns)
        drop = last.drop[rows] * np.exp(-waited_s / DROP_S)
        drop = np.where(seen, np.fmax(drop, features[:, _DROP]), drop)
        lies = np.where(known, smooth[:, _LYING], 0.0)
        fell = last.fell[rows]
        starts = seen & np.isnan(fell) & (lies > LIES)
        chance = 1.0 / (1.0 + np.exp(-(drop - FALL_DROP) / FALL_WIDTH))
        fell = np.where(starts, chance, np.where(known & (lies < ROSE), np.nan, fell))
        fallen = np.where(known, np.where(np.isnan(fell), 0.0, fell) * lies, np.nan)
        self._last = _Memory(
            stamp_ns,
            {number: row for row, number in enumerate(ids)},
            np.concatenate([smooth, _empty().probability]),
            np.append(index, -1),
            np.append(since, 0),
            np.append(drop, 0.0),
            np.append(fell, np.nan),
        )
        return Postures(smooth, index, since, fallen)


def _empty() -> _Memory:
    """The memory of nobody: its last row is that of a person who was not there."""
    return _Memory(
        0,
        {},
        np.full((1, len(POSTURES)), np.nan),
        np.array([-1]),
        np.array([0], dtype=np.int64),
        np.zeros(1),
        np.full(1, np.nan),
    )
