"""The posture of people: probabilities, the posture itself and its time, and falls.

A multinomial logistic regression on piecewise linear functions of `posture_features` gives the
probabilities of one image. `posture_table` holds its weights, `benchmarks/body.py` fits them.
People who move are walking or running by their speed. The probabilities are smoothed over time.

A fall is seen by its end: the person lies, and the head came down faster than people lie down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .memory import Memory
from .posture_features import FEATURES
from .posture_table import HIGH, LOW, WEIGHTS
from .rotations import clipped

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
_WALKING, _RUNNING, _LYING = (POSTURES.index(n) for n in ("walking", "running", "lying"))
#: (8,) column of the regression that each posture comes from.
_FROM = np.array([COLUMNS.index("moving" if n in ("walking", "running") else n) for n in POSTURES])

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
#: Probability of lying over which a fall is decided.
LIES = 0.6
#: Probability of lying under which a person who is seen has risen.
ROSE = 0.3
#: Number of places in which the slope of a feature's weight changes.
KNOTS = (0.2, 0.4, 0.6, 0.8)

_DROP = FEATURES.index("head_drop")
_SPEED = FEATURES.index("speed")
_LOW, _SCALE, _WEIGHTS = np.array(LOW), 1.0 / (np.array(HIGH) - np.array(LOW)), np.array(WEIGHTS)
_EACH = np.ones(len(COLUMNS))
_KNOTS = np.array(KNOTS)[:, None]


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
    BLANK = {
        "probability": ((len(POSTURES),), np.nan),
        "index": ((), -1),
        "since_ns": ((), 0),
        "drop": ((), 0.0),
        "lay": ((), np.nan),
        "fell": ((), np.nan),
    }

    probability: np.ndarray
    index: np.ndarray
    since_ns: np.ndarray
    drop: np.ndarray
    lay: np.ndarray  # (P,) probability of lying when the person was last seen
    fell: np.ndarray


def basis(features: np.ndarray) -> np.ndarray:
    """(P, F) -> (P, 1 + F * 5): the features in 0..1, and what they are beyond each knot."""
    people, count = features.shape
    share = clipped((features - _LOW) * _SCALE, 0.0, 1.0)
    out = np.ones((people, 1 + count * (1 + len(KNOTS))))
    out[:, 1 : 1 + count] = share
    beyond = out[:, 1 + count :].reshape(people, len(KNOTS), count)
    np.maximum(share[:, None] - _KNOTS, 0.0, out=beyond)
    return out


def probabilities(features: np.ndarray) -> np.ndarray:
    """(P, F) -> (P, 8), of one image alone; NaN where a feature is."""
    # Features are in 0..1, so the scores are too small to overflow.
    score = np.exp(basis(features).dot(_WEIGHTS))
    out = (score / score.dot(_EACH)[:, None]).take(_FROM, 1)
    runs = 1.0 / (1.0 + np.exp((RUN_M_S - features[:, _SPEED]) / RUN_WIDTH_M_S))
    out[:, _RUNNING] *= runs
    out[:, _WALKING] *= 1.0 - runs
    return out


class PostureTracker:
    """Postures of people from image to image."""

    def __init__(self) -> None:
        self._last = _Memory.of_nobody()

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
        waited_s = self._last.age_s(stamp_ns)
        if not 0 < waited_s <= FORGET_S:
            self._last, waited_s = _Memory.of_nobody(), 0.0
        last = self._last.of(ids)
        before, now = last.probability, probabilities(features)
        gain = 1.0 - math.exp(-waited_s / SMOOTH_S)
        smooth = np.where(np.isnan(before), now, before + gain * (now - before))
        if np.count_nonzero(seen) < len(seen):
            even = 1.0 / len(POSTURES)
            faded = even + math.exp(-waited_s / UNSEEN_S) * (before - even)
            smooth = np.where(seen[:, None], smooth, faded)
        known = np.isfinite(smooth[:, 0])
        filled = np.where(known[:, None], smooth, -1.0)
        best, old = filled.argmax(axis=1), last.index
        row = np.arange(0, filled.size, len(POSTURES))
        keeps = (old >= 0) & (
            filled.take(row + best) < filled.take(row + np.maximum(old, 0)) + LEAD
        )
        index = np.where(known, np.where(keeps, old, best), -1)
        sure = seen | (filled.take(row + np.maximum(index, 0)) > UNSEEN_KNOWN)
        index = np.where(sure, index, -1)
        since = np.where(index == old, last.since_ns, stamp_ns)
        drop = last.drop * math.exp(-waited_s / DROP_S)
        drop = np.where(seen, np.fmax(drop, features[:, _DROP]), drop)
        lies = np.where(known, smooth[:, _LYING], 0.0)
        # A person who is not seen has not risen: the faded probability is no evidence.
        lay, lying = last.lay, now[:, _LYING]
        moved = np.where(np.isnan(lay), lying, lay + gain * (lying - lay))
        lay = np.where(seen & np.isfinite(lying), moved, lay)
        fell = last.fell
        if np.count_nonzero((lies >= ROSE) | ~np.isnan(fell)):
            starts = seen & np.isnan(fell) & (lies > LIES)
            chance = 1.0 / (1.0 + np.exp(-(drop - FALL_DROP) / FALL_WIDTH))
            fell = np.where(starts, chance, np.where(lay < ROSE, np.nan, fell))
        fallen = np.where(known, np.where(np.isnan(fell), 0.0, fell) * lies, np.nan)
        self._last = _Memory(stamp_ns, list(ids), smooth, index, since, drop, lay, fell)
        return Postures(smooth, index, since, fallen)
