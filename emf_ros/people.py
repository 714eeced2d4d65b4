"""The one path from an image, or from keypoints without ids, to people with ids.

Its steps are detection, plausibility, duplicates, association and confirmation. The nodes, the
tools, the Python API and the benchmarks all take it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .detect.budget import DetectionBudget
from .detect.factory import make_detector
from .detect.protocol import Detector, LiveDetector
from .reasons import Reason
from .skeletons import Layout
from .stamps import StampFilter
from .track import WEAK, QualityGate, Tracker
from .types import Pose2D

#: Minimum score of a detection that begins a track, 0..1. A weaker one, down to `WEAK` times this,
#: can only continue one.
MIN_SCORE = 0.4


#: Maximum mean number of new people a second over the life of a process.
IDS_PER_S = 10

#: Time after which the first ids repeat, s: 116 days.
FIRST_ID_PERIOD_S = 10_000_000


def unique_first_id(now_s: float) -> int:
    """A first id above all ids that a process gave which began before.

    So an id stays unique when a node is restarted.

    Args:
        now_s: the system's clock, s.
    """
    return 1 + IDS_PER_S * (int(now_s) % FIRST_ID_PERIOD_S)


class PeopleTracker:
    """Tracks the people of one camera: detection, plausibility, duplicates, association.

    Args:
        layout: of the keypoints.
        detector: None where people come as keypoints. `close` closes it. It should report
            detections down to `WEAK` times `min_score`, as the detector of `make` does.
        min_score: minimum score of a detection that begins a track, 0..1.
        use_appearance: compare the colours of clothes, too, where there is an image.
        counts: where rejected detections are counted; by default a new counter.
        first_id: id of the first person.

    Attributes:
        counts: number of rejected detections by reason. Only grows.
    """

    def __init__(
        self,
        layout: Layout,
        detector: Detector | None = None,
        min_score: float = MIN_SCORE,
        use_appearance: bool = True,
        counts: Counter[Reason] | None = None,
        first_id: int = 1,
    ) -> None:
        self.layout, self.detector = layout, detector
        self.use_appearance = use_appearance
        self.counts: Counter[Reason] = Counter() if counts is None else counts
        self._quality = QualityGate(layout, min_score=WEAK * min_score)
        self._tracker = Tracker(layout, birth_score=min_score, counts=self.counts)
        self._before_first = first_id - 1

    @classmethod
    def make(
        cls,
        backend: str = "blazepose",
        variant: str = "full",
        max_people: int = 8,
        min_score: float = MIN_SCORE,
        use_appearance: bool = True,
        counts: Counter[Reason] | None = None,
        first_id: int = 1,
        **options: Any,
    ) -> PeopleTracker:
        """Build a tracker with its detector.

        Args:
            backend, variant, max_people: of the detector, see `make_detector`.
            min_score, use_appearance, counts, first_id: see the class.
            options: more of `make_detector`.

        Raises:
            DetectorError: the backend, its model or the device is not available.
        """
        detector = make_detector(backend, variant, max_people, WEAK * min_score, **options)
        return cls(detector.layout, detector, min_score, use_appearance, counts, first_id)

    def configure(self, max_people: int, min_score: float, use_appearance: bool) -> None:
        """Change the settings between two images; the tracks go on.

        Args:
            max_people: maximum number of people; without a detector it is not used.
            min_score, use_appearance: see the class.

        Raises:
            DetectorError: the detector cannot change them; nothing has changed.
        """
        if self.detector is not None:
            self.detector.configure(max_people, WEAK * min_score)
        self._quality.min_score = WEAK * min_score
        self._tracker.birth_score = min_score
        self.use_appearance = use_appearance

    def restart(self) -> None:
        """Forget all people, and take the next stamp as the first. Ids go on."""
        self._quality.restart()
        self._tracker.restart()
        if self.detector is not None:
            self.detector.restart()

    @property
    def stamps(self) -> StampFilter:
        """The rule on the stamps of images.

        A caller with work before the detection, such as decoding, asks it first, and drops the
        images that it refuses.
        """
        return self._tracker.stamps

    @stamps.setter
    def stamps(self, stamps: StampFilter) -> None:
        self._tracker.stamps = stamps

    @property
    def description(self) -> str:
        """One line for the log: the detector and its device."""
        return self.detector.description if self.detector is not None else "no detector"

    @property
    def budget(self) -> DetectionBudget | None:
        """The detector's budget of time; None where it has no limit."""
        return self.detector.budget if isinstance(self.detector, LiveDetector) else None

    def detect_new(self) -> None:
        """Detect new people in the last image, as far as the detector's budget allows.

        Call it when the people of the image have been passed on. Without a budget it does nothing.
        """
        if isinstance(self.detector, LiveDetector):
            self.detector.detect_new()

    def update(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        """Detect and track people in the next image.

        Args:
            image: (H, W, 3) uint8, RGB, contiguous.
            stamp_ns: of the image, ns.

        Returns:
            the confirmed people with their ids, ids rising; empty where the stamp is refused.

        Raises:
            ValueError: there is no detector.
        """
        if self.detector is None:
            raise ValueError("these people come as keypoints: there is no detector for images")
        if not self.stamps.accepts(stamp_ns):
            return []
        found = self.detector.detect(image, stamp_ns)
        self.counts.update(self.detector.refused)
        self.detector.refused.clear()
        size = (image.shape[1], image.shape[0])
        return self.update_keypoints(found, size, stamp_ns, image)

    def update_keypoints(
        self,
        people: Sequence[Pose2D],
        image_size: tuple[int, int],
        stamp_ns: int,
        image: np.ndarray | None = None,
    ) -> list[Pose2D]:
        """Track people whose keypoints are known already, such as those of third-party messages.

        The rules on plausibility and duplicates are those of detections in images.

        Args:
            people: of the next image, keypoints (K, 3) px, px, score; may hold NaN.
            image_size: (width, height) px.
            stamp_ns: of the image, ns.
            image: (H, W, 3) uint8 RGB, for the appearance; None where there is none.

        Returns:
            as `update`; the keypoints are the arrays that were given.

        Raises:
            ValueError: the keypoints are not in the tracker's layout.
        """
        if not self.stamps.accepts(stamp_ns):
            return []
        plausible, rejected = self._quality.select(people, image_size, stamp_ns)
        self.counts.update(rejected)
        tracked = self._tracker.update(plausible, stamp_ns, image if self.use_appearance else None)
        return [replace(pose, track_id=self._before_first + number) for number, pose in tracked]

    def close(self) -> None:
        """Release the detector's model."""
        if self.detector is not None:
            self.detector.close()
