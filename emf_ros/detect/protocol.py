"""The interface of a 2D keypoint detector, and what its backends share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..skeletons import Layout

#: Two poses closer than this, as a share of the person's size, are one person found twice.
SAME_PERSON = 0.15

#: For `is_made_up`: the least ratio of the sizes, and the largest distance of the feet from the
#: other's shins, as a share of the other's size.
_GIANT, _ON_SHIN = 1.7, 0.15
_SHIN = ("knee", "ankle")


class DetectorError(RuntimeError):
    """A detector that cannot start or go on; the message says what to do."""


@dataclass
class Detection:
    """One person found in one image.

    Attributes:
        keypoints: (K, 3) px, px, score 0..1, in the detector's layout.
        score: of the person, 0..1.
        world: (K, 3) m, the detector's own 3D points, relative to the middle of the hips, axes as
            the camera's optical frame. None where the detector has none, or was not asked for them.
            Only evaluations use it.
    """

    keypoints: np.ndarray
    score: float
    world: np.ndarray | None = None

    def box(self, min_score: float = 0.0) -> np.ndarray:
        """(4,) x, y, width, height, px, around the keypoints of this score; NaN for none."""
        points = self.keypoints[self.keypoints[:, 2] >= min_score, :2]
        if not len(points):
            return np.full(4, np.nan)
        low, high = points.min(axis=0), points.max(axis=0)
        return np.concatenate([low, high - low])


class Detector(Protocol):
    """Finds people in images, one camera after another frame.

    Attributes:
        layout: of the keypoints.
        refused: how many it has found and then not reported, by reason; who reads it empties it.
    """

    layout: Layout
    refused: Counter[str]

    @property
    def description(self) -> str:
        """One line for the log: what runs where."""
        ...

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Detection]:
        """Find people.

        Args:
            image: (H, W, 3) uint8, RGB, contiguous.
            stamp_ns: of the image; any order, though steady rising serves tracking detectors best.
        """
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


def same_person(one: Detection, other: Detection) -> bool:
    """Whether two detections lie on one another, as if one person had been found twice."""
    size = np.linalg.norm(np.ptp(one.keypoints[:, :2], axis=0))
    apart = np.linalg.norm(one.keypoints[:, :2] - other.keypoints[:, :2], axis=-1).mean()
    return bool(apart <= SAME_PERSON * size)


def is_made_up(one: Detection, other: Detection, layout: Layout) -> bool:
    """Whether a pose is a giant on somebody else's legs.

    A detector may take somebody's legs for those of a much taller person, whose head is a lamp, the
    sun, or another person above. Both poses then have the same feet, or the taller one's are on the
    other's shins, which people on one floor never do: who is nearer and so much taller stands
    lower in the picture.
    """
    poses = one.keypoints[:, :2], other.keypoints[:, :2]
    sizes = [float(np.linalg.norm(np.ptp(pose, axis=0))) for pose in poses]
    if not (one.score < other.score and sizes[0] > _GIANT * sizes[1]):
        return False
    ends = [[layout.index(f"{side}_{end}") for side in ("left", "right")] for end in _SHIN]
    knees, ankles = (poses[1][end] for end in ends)
    shins = ankles - knees
    feet = poses[0][ends[1]][:, None]
    along = ((feet - knees) * shins).sum(axis=-1) / np.maximum((shins**2).sum(axis=-1), 1e-9)
    apart = np.linalg.norm(feet - (knees + along.clip(0, 1)[..., None] * shins), axis=-1)
    return bool(apart.min(axis=1).mean() < _ON_SHIN * sizes[1])


def without_doubles(found: list[Detection]) -> list[Detection]:
    """Of detections that lie on one another, keep the best."""
    kept: list[Detection] = []
    for detection in sorted(found, key=lambda d: -d.score):
        if not any(same_person(detection, other) for other in kept):
            kept.append(detection)
    return kept


def body_joints(layout: Layout) -> list[int]:
    """The joints whose mean score is the person's: those of the trunk and the limbs."""
    body = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    return [i for i, joint in enumerate(layout.joints) if joint.split("_")[-1] in body]


def person_score(keypoints: np.ndarray, body: list[int], image_size: tuple[int, int]) -> float:
    """The mean score of a body's keypoints that lie in the picture: those beyond its edges do not
    speak against a person who fills it.

    Args:
        keypoints: (K, 3) px, px, score; one that is not reported is NaN and counts as 0.
        body: the indices that count, see `body_joints`.
        image_size: (width, height) px.

    Returns:
        0..1; 0 where none lies in the picture.
    """
    chosen = keypoints[body]
    there = np.isfinite(chosen).all(axis=1)
    beyond = there & ~in_picture(chosen[:, :2], image_size)
    scores = np.where(there, chosen[:, 2], 0.0)[~beyond]
    return float(scores.mean()) if len(scores) else 0.0


def in_picture(points: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """(K,) whether points (K, 2) px lie in a picture of (width, height) px; not where NaN."""
    return np.all((points >= -0.5) & (points < np.array(image_size) - 0.5), axis=1)
