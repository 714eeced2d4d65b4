"""Which detections are people that can be published: plausibility in 2D, of one image.

What one image cannot tell is let through. A reflection in a good mirror is a plausible person: it
has the right bones, and nothing but the knowledge of the room says that it stands behind glass. It
gets an id of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..detect.protocol import Detection, in_picture, is_made_up, person_score
from ..skeletons import Layout
from .similarity import areas_of, boxes_of, coco_sigmas, oks

#: The body's joints; hands, feet and face say less about whether there is a person.
BODY = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
TRUNK = ("shoulder", "hip")
FACE = ("nose", "eye", "ear")

#: The longest that bones can look, as shares of the trunk: the longest of the four lines between
#: shoulders and hips and of 1.5 times the shoulders' width, which together are never short from
#: every side. From 60 000 poses of motion capture (CMU, SNU) seen from all around, -10 to 50
#: degrees above and 1.5 to 6 m away; 99.9 % are under 0.70, 0.75, 1.08 and 1.08, and these bounds
#: are half as long again, for the detector's errors and for limbs stretched at the camera.
LONGEST = {
    ("shoulder", "elbow"): 1.05,
    ("elbow", "wrist"): 1.15,
    ("hip", "knee"): 1.6,
    ("knee", "ankle"): 1.6,
}
#: Likewise of the diagonal of the box around the body's joints: 1.09 to 4.3 in 99.98 %.
LARGEST = 6.0

#: Reasons, as counted.
REASONS = (
    "low_score",
    "no_trunk",
    "too_small",
    "cut_off",
    "impossible_bones",
    "double",
)


class QualityGate:
    """Lets through those who are plausible people.

    Args:
        layout: of the keypoints.
        min_score: least mean score of the body's joints that are not beyond the picture, 0..1.
        min_joint_score: a joint under it is not seen, 0..1.
        min_trunk: how many of shoulders and hips must be seen, 0 to 4.
        min_inside: how many of the twelve joints of the body must be seen within the picture; with
            both shoulders those of the face count too.
        min_size: least diagonal of the box around the joints seen, as a share of the picture's.
        max_double: of two whose object-keypoint similarity is above, the weaker goes, 0..1.
    """

    def __init__(
        self,
        layout: Layout,
        min_score: float = 0.3,
        min_joint_score: float = 0.3,
        min_trunk: int = 2,
        min_inside: int = 6,
        min_size: float = 0.02,
        max_double: float = 0.5,
    ) -> None:
        self.layout = layout
        self.min_score, self.min_joint_score = min_score, min_joint_score
        self.min_trunk, self.min_inside = min_trunk, min_inside
        self.min_size, self.max_double = min_size, max_double
        self._sigmas = coco_sigmas(layout)
        self._mirror = np.array(layout.mirror)
        self._body = self._joints(BODY)
        self._trunk = self._joints(TRUNK)
        self._shoulders = self._joints(("shoulder",))
        self._face = [i for i, j in enumerate(layout.joints) if j.split("_")[-1] in FACE]
        self._left, self._right = (
            [layout.index(f"{side}_{joint}") for joint in TRUNK] for side in ("left", "right")
        )
        pairs = [
            (layout.index(f"{side}_{a}"), layout.index(f"{side}_{b}"), bound)
            for side in ("left", "right")
            for (a, b), bound in LONGEST.items()
        ]
        self._bones = np.array([pair[:2] for pair in pairs])
        self._bounds = np.array([pair[2] for pair in pairs])

    def _joints(self, kinds: Sequence[str]) -> list[int]:
        return [self.layout.index(f"{side}_{kind}") for side in ("left", "right") for kind in kinds]

    def select(
        self, detections: Sequence[Detection], image_size: tuple[int, int]
    ) -> tuple[list[Detection], Counter[str]]:
        """Keep the plausible ones.

        Args:
            detections: of one image, keypoints (K, 3) px in the gate's layout; may hold NaN.
            image_size: (width, height) px.

        Returns:
            those who pass, in their order, and the number refused by each of `REASONS`.

        Raises:
            ValueError: the keypoints are not in the gate's layout.
        """
        counts: Counter[str] = Counter()
        kept = []
        for detection in detections:
            reason = self.reason(detection, image_size)
            if reason is None:
                kept.append(detection)
            else:
                counts[reason] += 1
        alone = self._without_doubles(kept)
        if len(alone) < len(kept):
            counts["double"] += len(kept) - len(alone)
        return alone, counts

    def reason(self, detection: Detection, image_size: tuple[int, int]) -> str | None:
        """Why a detection, looked at by itself, is refused; None where it is not.

        Raises:
            ValueError: its keypoints are not in the gate's layout.
        """
        keypoints = detection.keypoints
        if keypoints.shape != (len(self.layout), 3):
            raise ValueError(f"the keypoints are not of layout {self.layout.name!r}")
        there = np.isfinite(keypoints).all(axis=1)
        scores = np.where(there, keypoints[:, 2], 0.0)
        seen = there & (scores >= self.min_joint_score)
        if not person_score(keypoints, self._body, image_size) >= self.min_score:
            return "low_score"
        if seen[self._trunk].sum() < self.min_trunk:
            return "no_trunk"
        points = keypoints[:, :2]
        body = np.zeros_like(seen)
        body[self._body] = seen[self._body]
        diagonal = float(np.hypot(*np.ptp(points[body], axis=0)))
        if diagonal < self.min_size * np.hypot(*image_size):
            return "too_small"
        inside = in_picture(points, image_size)
        shown = int((body & inside).sum())
        # Of a person whose head and chest fill the picture, the face shows what the limbs do not.
        if (seen & inside)[self._shoulders].all():
            shown += int((seen & inside)[self._face].sum())
        if shown < self.min_inside:
            return "cut_off"
        if self._is_impossible(points, seen, diagonal):
            return "impossible_bones"
        return None

    def _is_impossible(self, points: np.ndarray, seen: np.ndarray, diagonal: float) -> bool:
        """Whether two bones or more, or the whole body, are too long for the trunk.

        One alone may be a wrist or an ankle that is guessed.
        """
        if not seen[self._trunk].all():
            return False
        left, right = points[self._left], points[self._right]
        lines = np.linalg.norm(
            [left[0] - left[1], left[0] - right[1], right[0] - left[1], right[0] - right[1]], axis=1
        )
        trunk = max(float(lines.max()), 1.5 * float(np.linalg.norm(left[0] - right[0])), 1e-9)
        lengths = np.linalg.norm(points[self._bones[:, 0]] - points[self._bones[:, 1]], axis=1)
        long = seen[self._bones].all(axis=1) & (lengths > self._bounds * trunk)
        return bool(long.sum() >= 2 or diagonal > LARGEST * trunk)

    def _without_doubles(self, detections: list[Detection]) -> list[Detection]:
        if len(detections) < 2:
            return detections
        poses = np.array([d.keypoints for d in detections])
        areas = areas_of(boxes_of(poses, self.min_joint_score))
        # The detector may see one from the front and its double from behind.
        turned = poses[:, self._mirror]
        alike = np.fmax(
            oks(poses, poses, areas, self._sigmas, self.min_joint_score),
            oks(turned, poses, areas, self._sigmas, self.min_joint_score),
        )
        kept: list[int] = []
        for i in sorted(range(len(detections)), key=lambda i: -detections[i].score):
            if any(max(alike[i, k], alike[k, i]) > self.max_double for k in kept):
                continue
            if not any(is_made_up(detections[i], detections[k], self.layout) for k in kept):
                kept.append(i)
        return [detections[i] for i in sorted(kept)]
