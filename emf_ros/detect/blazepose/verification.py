"""Verification: rejects tracked poses that are false positives.

The landmark network gives a pose for any ROI. Some false positives have a high presence: lenses on
a wall, a guitar, a spoon. Their presence is low in the mirrored crop, or the person detection gives
a low score at the same position. Each verification gives a log-likelihood ratio of a person against
a false positive. The ratios are added until the pose is confirmed or rejected (Wald, Sequential
Tests of Statistical Hypotheses, 1945).
"""

from __future__ import annotations

import math

from ...geometry.crops import Roi
from ...types import Pose2D
from .roi import MIN_ROI_SIDE_PX, at_same_place, similar_size

#: Weight of the log-odds of the presence in the ROI. This weight, the next two and the offset are a
#: logistic regression. It was fitted to BlazePose "full" on two videos of people and on 35 images
#: and scenes without people. One video was also truncated, occluded, shrunk, darkened, blurred and
#: made grey. A single verification rejects 2 % of the people (17 % in the altered video), and
#: confirms 5 % of the false positives.
PRESENCE_WEIGHT = 0.26
#: Weight of the log-odds of the presence in the mirrored ROI.
MIRRORED_PRESENCE_WEIGHT = 0.43
#: Weight of the log-odds of the best person detection score in a tile around the pose.
DETECTION_WEIGHT = 1.27
#: Offset of the regression, a log-likelihood ratio.
OFFSET = -4.2
#: Minimum distance of a probability from 0 and from 1 in its log-odds.
PROBABILITY_MARGIN = 1e-4
#: Maximum absolute log-likelihood ratio of one verification. It is limited because two successive
#: frames of a scene are not independent evidence.
MAX_RATIO_PER_VERIFICATION = 3.0
#: Minimum log-likelihood ratio at which a pose is confirmed.
CONFIRM_RATIO = 1.0
#: Minimum log-likelihood ratio at which a confirmed pose stays confirmed.
UNCONFIRM_RATIO = -1.0
#: Log-likelihood ratio at which a pose is rejected; it is the minimum of the sum.
REJECT_RATIO = -4.0
#: Maximum of the sum; it limits the time until a wrong track is rejected.
MAX_RATIO = 6.0
#: Time between the verifications of a pose that is not confirmed, ns: one in each image.
UNCONFIRMED_INTERVAL_NS = 1
#: Time from a failed verification of a confirmed pose to the next one, ns. In it the scene changes.
FAILED_INTERVAL_NS = 150_000_000
#: Time between the verifications of other confirmed poses, ns.
CONFIRMED_INTERVAL_NS = 1_000_000_000
#: Maximum number of verifications in one frame where the networks take one crop at a time.
MAX_VERIFICATIONS_PER_FRAME = 2
#: Side of the tile for the person detection over the visible size of the person.
VERIFICATION_TILE_TO_PERSON = 2.0
#: Time for which the position of a rejected pose is remembered, ns.
REJECTED_MEMORY_NS = 10_000_000_000
#: Log-likelihood ratio with which a new pose at such a position begins.
RATIO_AFTER_REJECTION = -2.0


def log_likelihood_ratio(presence: float, mirrored_presence: float, detection: float) -> float:
    """The log-likelihood ratio of a person against a false positive.

    Args:
        presence: of the landmark network, 0..1.
        mirrored_presence: the same in the mirrored crop, 0..1.
        detection: best score of the person detection around the pose, 0..1.
    """
    return OFFSET + (
        PRESENCE_WEIGHT * _log_odds(presence)
        + MIRRORED_PRESENCE_WEIGHT * _log_odds(mirrored_presence)
        + DETECTION_WEIGHT * _log_odds(detection)
    )


class Verification:
    """The accumulated evidence for one tracked pose.

    Args:
        ratio: log-likelihood ratio to begin with.

    Attributes:
        ratio: the log-likelihood ratio so far.
        confirmed: whether the pose is reported.
    """

    def __init__(self, ratio: float = 0.0) -> None:
        self.ratio, self.confirmed = ratio, False
        self._due_ns: int | None = None

    @property
    def rejected(self) -> bool:
        """Whether the pose is a false positive."""
        return self.ratio <= REJECT_RATIO

    def is_due(self, stamp_ns: int) -> bool:
        """Whether the next verification is due."""
        return self._due_ns is None or stamp_ns >= self._due_ns

    def add(self, ratio: float, stamp_ns: int) -> None:
        """Add the log-likelihood ratio of one verification; NaN counts as the lowest."""
        lowest = -MAX_RATIO_PER_VERIFICATION
        ratio = ratio if ratio > lowest else lowest
        total = self.ratio + min(ratio, MAX_RATIO_PER_VERIFICATION)
        self.ratio = min(max(total, REJECT_RATIO), MAX_RATIO)
        self.confirmed = self.ratio >= (UNCONFIRM_RATIO if self.confirmed else CONFIRM_RATIO)
        interval_ns = UNCONFIRMED_INTERVAL_NS
        if self.confirmed:
            interval_ns = FAILED_INTERVAL_NS if ratio < 0 else CONFIRMED_INTERVAL_NS
        self._due_ns = stamp_ns + interval_ns


class RejectedPlaces:
    """The places where poses have been rejected; a new pose there needs more evidence."""

    def __init__(self) -> None:
        #: Of each place the stamp, ns, until which it is remembered, and the ROI.
        self._places: list[tuple[int, Roi]] = []

    def __len__(self) -> int:
        return len(self._places)

    def clear(self) -> None:
        """Forget all places."""
        self._places = []

    def add(self, roi: Roi, stamp_ns: int) -> None:
        """Remember the place of a pose that is rejected in a frame with this stamp."""
        self._places.append((stamp_ns + REJECTED_MEMORY_NS, roi))

    def first_ratio(self, roi: Roi, stamp_ns: int) -> float:
        """The log-likelihood ratio with which a new pose begins."""
        self._places = [(until_ns, r) for until_ns, r in self._places if stamp_ns < until_ns]
        again = any(at_same_place(roi, r) and similar_size(roi, r) for _, r in self._places)
        return RATIO_AFTER_REJECTION if again else 0.0


def verification_tile(pose: Pose2D, roi: Roi, width: int, height: int) -> Roi:
    """The tile around a person for the person detection: the visible part, with a margin.

    Args:
        pose: of the person.
        roi: of the person. It is returned if no keypoint is in the image.
        width, height: px, of the image.
    """
    points = pose.keypoints[:, :2]
    inside = ((points >= 0) & (points < (width, height))).all(axis=1)
    if not inside.any():
        return roi
    low, high = points[inside].min(axis=0), points[inside].max(axis=0)
    x, y = ((low + high) / 2).tolist()
    side = VERIFICATION_TILE_TO_PERSON * float((high - low).max())
    return Roi(x, y, max(side, MIN_ROI_SIDE_PX), 0.0)


def _log_odds(probability: float) -> float:
    # The comparison fails for NaN, which then counts as 0.
    if not probability >= PROBABILITY_MARGIN:
        probability = PROBABILITY_MARGIN
    probability = min(probability, 1 - PROBABILITY_MARGIN)
    return math.log(probability / (1 - probability))
