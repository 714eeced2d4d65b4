"""The state of one track: keypoints, velocity, appearance, and the times that rule its life.

Lengths are in body sizes. A body size is the square root of the person's area in the image: 0.4 of
the height of a standing person. Motion was measured on people walking, squatting and jumping, at 5
to 30 Hz.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from ..geometry.boxes import MIN_COMMON_JOINTS
from ..stamps import NANOSECONDS
from .appearance import PARTS

#: Standard deviation of the velocity of a new track, body sizes/s.
INITIAL_VELOCITY_STD = 1.5

#: Standard deviation of the change of a velocity within 1 s, body sizes/s.
VELOCITY_CHANGE_STD = 0.75

#: Standard deviation of the body's detected position when all its joints are visible, body sizes.
POSITION_STD = 0.02

#: Time in which a velocity that is not measured falls to 1/e, s. People turn around.
VELOCITY_DECAY_S = 1.5

#: Time in which the score of a keypoint that is not visible falls to 1/e, s.
SCORE_DECAY_S = 0.4

#: Maximum time without a detection of a coasting track, s. After it the track is lost, unless the
#: previous image had a detection of it.
MAX_COASTING_S = 0.25

#: Time constant of the mean of the appearance histograms, s.
APPEARANCE_MEAN_S = 4.0

#: Maximum time for which one detection counts in the mean of the appearance, s.
MAX_APPEARANCE_STEP_S = 0.25

#: Minimum sum of two observation times, s: avoids division by zero.
MIN_APPEARANCE_SUM_S = 1e-9


class TrackPhase(enum.Enum):
    """The phase of a track when a new image arrives. A deleted track has none."""

    #: Not reported yet.
    TENTATIVE = "tentative"
    #: Reported, with a detection in the previous image.
    CONFIRMED = "confirmed"
    #: Without a detection in the previous image, for `MAX_COASTING_S` at most.
    COASTING = "coasting"
    #: Without a detection for longer. Only re-identification brings it back.
    LOST = "lost"


@dataclass
class Track:
    """One person over time.

    Attributes:
        keypoints: (K, 3) px, px, score, of the last detection. A keypoint that was missing in it
            moves along with the body, and its score decays.
        appearance: (PARTS, B) mean colour histograms; NaN where never visible.
        stamp_ns: of the last detection, ns.
        velocity: (2,) px/s of the whole body.
        velocity_variance: of each component of the velocity, (body sizes/s)^2.
        appearance_s: (PARTS,) time for which the appearance was observed, s.
        hits: number of detections.
        id: 0 until the track is confirmed.
        first_keypoints: (K, 3) px, px, score, of the first detection.
        born_ns: stamp of the first detection, ns.
        occluded_ns: stamp at which the track was last expected to be occluded, ns.
    """

    keypoints: np.ndarray
    appearance: np.ndarray
    stamp_ns: int
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    velocity_variance: float = INITIAL_VELOCITY_STD**2
    appearance_s: np.ndarray = field(default_factory=lambda: np.full(PARTS, MAX_APPEARANCE_STEP_S))
    hits: int = 1
    id: int = 0

    def __post_init__(self) -> None:
        self.first_keypoints = self.keypoints
        self.born_ns = self.occluded_ns = self.stamp_ns

    def state(self, stamp_ns: int, previous_ns: int | None) -> TrackPhase:
        """The state before the image at `stamp_ns` is taken in; `previous_ns`: the image before."""
        if not self.id:
            return TrackPhase.TENTATIVE
        if self.stamp_ns == previous_ns:
            return TrackPhase.CONFIRMED
        late = self.missing_s(stamp_ns) > MAX_COASTING_S
        return TrackPhase.LOST if late else TrackPhase.COASTING

    def missing_s(self, stamp_ns: int) -> float:
        """Time since the last detection, s."""
        return (stamp_ns - self.stamp_ns) / NANOSECONDS

    def displacement(self, stamp_ns: int) -> np.ndarray:
        """(2,) px: predicted motion since the last detection, with a decaying velocity."""
        elapsed: float = VELOCITY_DECAY_S * -np.expm1(-self.missing_s(stamp_ns) / VELOCITY_DECAY_S)
        return elapsed * self.velocity

    def predicted(self, stamp_ns: int) -> np.ndarray:
        """(K, 3) px, px, score: predicted keypoints."""
        out = self.keypoints.copy()
        out[:, :2] += self.displacement(stamp_ns)
        return out

    def update(
        self,
        keypoints: np.ndarray,
        appearance: np.ndarray,
        stamp_ns: int,
        mirror: np.ndarray,
        min_score: float,
    ) -> None:
        """Take in a detection.

        Args:
            keypoints: (K, 3) px, px, score; missing ones are NaN.
            appearance: (PARTS, B).
            stamp_ns: of the image, ns.
            mirror: (K,) index of the joint on the other side of the body.
            min_score: minimum score of a visible keypoint, 0..1.
        """
        elapsed = self.missing_s(stamp_ns)
        expected = self.predicted(stamp_ns)
        if elapsed > 0:
            self._update_velocity(keypoints, elapsed, mirror, min_score)
        expected[:, 2] *= np.exp(-elapsed / SCORE_DECAY_S)
        used = np.isfinite(keypoints).all(axis=1) & (
            (keypoints[:, 2] >= min_score) | ~(expected[:, 2] >= min_score)
        )
        self.keypoints = np.where(used[:, None], keypoints, expected)
        self.stamp_ns = stamp_ns
        self.hits += 1
        step_s = np.full(PARTS, min(elapsed, MAX_APPEARANCE_STEP_S))
        self._update_appearance(appearance, step_s)

    def take_over(self, newer: Track, mirror: np.ndarray, min_score: float) -> None:
        """Continue with the detections of a newer track of the same person.

        Args:
            newer: the other track, which ends.
            mirror, min_score: see `update`.
        """
        if newer.hits == 1:
            self.update(newer.keypoints, newer.appearance, newer.stamp_ns, mirror, min_score)
            return
        self.keypoints, self.stamp_ns = newer.keypoints, newer.stamp_ns
        self.velocity, self.velocity_variance = newer.velocity, newer.velocity_variance
        self.hits += newer.hits
        self._update_appearance(newer.appearance, newer.appearance_s)

    def _update_velocity(
        self, keypoints: np.ndarray, elapsed: float, mirror: np.ndarray, min_score: float
    ) -> None:
        """Kalman filter of the velocity, from the step since the last detection.

        The step is the median over the midpoints of left and right joints, which a left/right swap
        does not move. Where too few pairs are visible it is the median over the joints.
        """
        self.velocity_variance += VELOCITY_CHANGE_STD**2 * elapsed
        steps = keypoints[:, :2] - self.keypoints[:, :2]
        both = (self.keypoints[:, 2] >= min_score) & (keypoints[:, 2] >= min_score)
        both &= np.isfinite(steps).all(axis=1)
        if both.sum() < MIN_COMMON_JOINTS:
            return
        pairs = both & both[mirror]
        if pairs.sum() >= MIN_COMMON_JOINTS:
            steps = (0.5 * (steps + steps[mirror]))[pairs]
        else:
            steps = steps[both]
        # The fewer joints two images have in common, the less certain is their median.
        noise = 2 * (POSITION_STD / both.mean() / elapsed) ** 2
        gain = self.velocity_variance / (self.velocity_variance + noise)
        measured = np.median(steps, axis=0) / elapsed
        self.velocity = self.velocity + gain * (measured - self.velocity)
        self.velocity_variance *= 1 - gain

    def _update_appearance(self, appearance: np.ndarray, seconds: np.ndarray) -> None:
        """Take histograms (PARTS, B), observed for `seconds` (PARTS,), into the mean."""
        visible = np.isfinite(appearance[:, 0])
        first = visible & np.isnan(self.appearance[:, 0])
        known_s = np.minimum(self.appearance_s, APPEARANCE_MEAN_S)
        weight = seconds / np.maximum(known_s + seconds, MIN_APPEARANCE_SUM_S)
        weight = np.where(first, 1.0, weight)[:, None]
        known = np.where(first[:, None], 0.0, self.appearance * (1 - weight))
        mean = known + weight * appearance
        self.appearance = np.where(visible[:, None], mean, self.appearance)
        self.appearance_s = self.appearance_s + np.where(visible, seconds, 0.0)
