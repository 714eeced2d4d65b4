"""Plausibility: which detections of one image can be people.

A detection that one image cannot disprove passes. A reflection in a good mirror is a plausible
person: its bones are right, and only knowledge of the room says that it stands behind glass. It
gets a track of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..detect.protocol import in_image, person_score
from ..reasons import Reason
from ..skeletons import Layout
from ..types import Pose2D
from .apart import SeenApart
from .duplicates import find_duplicates

#: Joints of the body. Hands, feet and face say less about whether there is a person.
BODY = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")

#: Joints of the trunk.
TRUNK = ("shoulder", "hip")

#: Joints of the face.
FACE = ("nose", "eye", "ear")

#: Maximum apparent length of each bone, in trunk lengths, see `_trunk_length`. Source: 60 000 poses
#: of motion capture (CMU, SNU). They were seen from all around, from 10 degrees below to 50 degrees
#: above, 1.5 to 6 m away. 99.9 % of those lengths are under 0.70, 0.75, 1.08 and 1.08. The limits
#: are 1.5 times as long, for errors of the detector and for limbs that point at the camera.
MAX_BONE_LENGTHS = {
    ("shoulder", "elbow"): 1.05,
    ("elbow", "wrist"): 1.15,
    ("hip", "knee"): 1.6,
    ("knee", "ankle"): 1.6,
}

#: Maximum diagonal of the box around the body's joints, in trunk lengths. 99.98 % of the same poses
#: have 1.09 to 4.3.
MAX_BODY_DIAGONAL = 6.0

#: Trunk length of a person whose trunk shows its width only, in widths of the shoulders.
TRUNK_PER_SHOULDERS = 1.5

#: Minimum number of bones that are too long, for a pose to be impossible. One wrist or ankle may be
#: a guess of the detector.
MIN_LONG_BONES = 2

#: Minimum trunk length, px: avoids division by zero.
MIN_TRUNK_PX = 1e-9


class QualityGate:
    """Passes the detections that are plausible people, and rejects the others.

    Args:
        layout: of the keypoints.
        min_score: minimum mean score of the body's joints that are not outside the image, 0..1.
        min_joint_score: minimum score of a joint that counts as visible, 0..1.
        min_trunk: minimum number of visible shoulders and hips, 0 to 4.
        min_inside: minimum number of the body's twelve joints that are visible and in the image. If
            both shoulders are, the joints of the face count too.
        min_size: minimum diagonal of the box around the body's visible joints, as a share of the
            image's diagonal.
        max_oks: maximum object-keypoint similarity of two people, 0..1. Above it the detection with
            the lower score is a duplicate.
    """

    def __init__(
        self,
        layout: Layout,
        min_score: float = 0.3,
        min_joint_score: float = 0.3,
        min_trunk: int = 2,
        min_inside: int = 6,
        min_size: float = 0.02,
        max_oks: float = 0.5,
    ) -> None:
        self.layout = layout
        self.min_score, self.min_joint_score = min_score, min_joint_score
        self.min_trunk, self.min_inside = min_trunk, min_inside
        self.min_size, self.max_oks = min_size, max_oks
        self._apart = SeenApart(layout)
        self._body = self._joints(BODY)
        self._trunk = self._joints(TRUNK)
        self._shoulders = self._joints(("shoulder",))
        self._face = [i for i, j in enumerate(layout.joints) if j.split("_")[-1] in FACE]
        self._left, self._right = (
            [layout.index(f"{side}_{joint}") for joint in TRUNK] for side in ("left", "right")
        )
        bones = [
            (layout.index(f"{side}_{a}"), layout.index(f"{side}_{b}"), limit)
            for side in ("left", "right")
            for (a, b), limit in MAX_BONE_LENGTHS.items()
        ]
        self._bones = np.array([bone[:2] for bone in bones])
        self._max_lengths = np.array([bone[2] for bone in bones])

    def restart(self) -> None:
        """Forget which people were seen apart."""
        self._apart.restart()

    def _joints(self, kinds: Sequence[str]) -> list[int]:
        return [self.layout.index(f"{side}_{kind}") for side in ("left", "right") for kind in kinds]

    def select(
        self,
        detections: Sequence[Pose2D],
        image_size: tuple[int, int],
        stamp_ns: int | None = None,
    ) -> tuple[list[Pose2D], Counter[Reason]]:
        """Keep the plausible detections.

        Args:
            detections: of one image, keypoints (K, 3) px, px, score in the gate's layout; may hold
                NaN.
            image_size: (width, height) px.
            stamp_ns: of the image, ns, where the images come in their order: people who were seen
                apart are then no merged pose. None for an image by itself.

        Returns:
            the detections that pass, in their order, and the number rejected by
            reason.

        Raises:
            ValueError: the keypoints are not in the gate's layout.
        """
        rejected: Counter[Reason] = Counter()
        plausible = []
        for detection in detections:
            reason = self.reason(detection, image_size)
            if reason is None:
                plausible.append(detection)
            else:
                rejected[reason] += 1
        apart = None if stamp_ns is None else self._apart.update(plausible, stamp_ns)
        duplicates = find_duplicates(
            plausible, self.layout, self.max_oks, self.min_joint_score, apart
        )
        rejected.update(duplicates.values())
        return [d for i, d in enumerate(plausible) if i not in duplicates], rejected

    def reason(self, detection: Pose2D, image_size: tuple[int, int]) -> Reason | None:
        """Why a detection, without regard to the others, is rejected; None where it passes.

        Raises:
            ValueError: its keypoints are not in the gate's layout.
        """
        keypoints = detection.keypoints
        if keypoints.shape != (len(self.layout), 3):
            raise ValueError(f"the keypoints are not of layout {self.layout.name!r}")
        finite = np.isfinite(keypoints).all(axis=1)
        scores = np.where(finite, keypoints[:, 2], 0.0)
        visible = finite & (scores >= self.min_joint_score)
        if not person_score(keypoints, self._body, image_size) >= self.min_score:
            return Reason.LOW_SCORE
        if visible[self._trunk].sum() < self.min_trunk:
            return Reason.TRUNK_MISSING
        points = keypoints[:, :2]
        body = np.zeros_like(visible)
        body[self._body] = visible[self._body]
        diagonal = float(np.hypot(*np.ptp(points[body], axis=0))) if body.any() else 0.0
        if diagonal < self.min_size * np.hypot(*image_size):
            return Reason.TOO_SMALL
        inside = visible & in_image(points, image_size)
        shown = int((body & inside).sum())
        # Where head and chest fill the image, the face shows what the limbs do not.
        if inside[self._shoulders].all():
            shown += int(inside[self._face].sum())
        if shown < self.min_inside:
            return Reason.TRUNCATED
        if self._is_impossible(points, visible, diagonal):
            return Reason.IMPLAUSIBLE_BONES
        return None

    def _is_impossible(self, points: np.ndarray, visible: np.ndarray, diagonal: float) -> bool:
        """Whether several bones, or the whole body, are too long for the trunk.

        Args:
            points: (K, 2) px.
            visible: (K,) bool.
            diagonal: of the box around the body's visible joints, px.
        """
        if not visible[self._trunk].all():
            return False
        trunk = self._trunk_length(points)
        lengths = np.linalg.norm(points[self._bones[:, 0]] - points[self._bones[:, 1]], axis=1)
        too_long = visible[self._bones].all(axis=1) & (lengths > self._max_lengths * trunk)
        return bool(too_long.sum() >= MIN_LONG_BONES or diagonal > MAX_BODY_DIAGONAL * trunk)

    def _trunk_length(self, points: np.ndarray) -> float:
        """Apparent length of the trunk, px, that is not short from any direction of view.

        It is the longest of the four lines between a shoulder and a hip, and of
        `TRUNK_PER_SHOULDERS` times the width of the shoulders.
        """
        left, right = points[self._left], points[self._right]
        lines = np.linalg.norm(
            [left[0] - left[1], left[0] - right[1], right[0] - left[1], right[0] - right[1]], axis=1
        )
        shoulders = float(np.linalg.norm(left[0] - right[0]))
        return max(float(lines.max()), TRUNK_PER_SHOULDERS * shoulders, MIN_TRUNK_PX)
