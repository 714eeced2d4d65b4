"""The interface of a 2D keypoint detector, and what its backends share."""

from __future__ import annotations

from collections import Counter
from typing import Protocol, runtime_checkable

import numpy as np

from ..reasons import Reason
from ..skeletons import Layout
from ..types import Pose2D
from .budget import DetectionBudget


class DetectorError(RuntimeError):
    """A detector cannot start or continue; the message says what to do."""


class Detector(Protocol):
    """Detects people in the images of one camera.

    Attributes:
        layout: of the keypoints.
        refused: number of detections that were not reported, by reason. Its reader clears it.
    """

    layout: Layout
    refused: Counter[Reason]

    @property
    def description(self) -> str:
        """Model and device, one line for the log."""
        ...

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        """Detect people.

        Args:
            image: (H, W, 3) uint8, RGB, contiguous.
            stamp_ns: of the image, ns. A detector that tracks people restarts when stamps fall.

        Raises:
            DetectorError: the detector cannot continue.
        """
        ...

    def configure(self, max_people: int, min_score: float) -> None:
        """Change the settings between two images.

        Args:
            max_people: maximum number of people.
            min_score: minimum score of a reported person, 0..1.

        Raises:
            DetectorError: the detector cannot change them; nothing has changed.
        """
        ...

    def restart(self) -> None:
        """Forget all people; the next image is the first."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@runtime_checkable
class LiveDetector(Detector, Protocol):
    """A detector that can limit the time of the person detection and of the verification.

    Attributes:
        budget: of that time; None for no limit.
    """

    budget: DetectionBudget | None

    def detect_new(self) -> None:
        """Detect new people in the last image, and verify poses, as far as the budget allows.

        Call it when the people of the image have been passed on, from the same thread.
        """
        ...


def body_joints(layout: Layout) -> list[int]:
    """Indices of the joints whose mean score is the person's: those of the trunk and the limbs."""
    body = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    return [i for i, joint in enumerate(layout.joints) if joint.split("_")[-1] in body]


def person_score(keypoints: np.ndarray, body: list[int], image_size: tuple[int, int]) -> float:
    """Score of a person: the mean score of the body's keypoints in the image.

    Keypoints outside are left out: a person close to the camera fills the image.

    Args:
        keypoints: (K, 3) px, px, score. A missing keypoint is NaN and has score 0.
        body: indices of the joints, see `body_joints`.
        image_size: (width, height) px.

    Returns:
        0..1; 0 if no keypoint is in the image.
    """
    chosen = keypoints[body]
    known = np.isfinite(chosen).all(axis=1)
    outside = known & ~in_image(chosen[:, :2], image_size)
    scores = np.where(known, chosen[:, 2], 0.0)[~outside]
    return float(scores.mean()) if len(scores) else 0.0


def in_image(points: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """(K,) whether points (K, 2) px are in an image of (width, height) px; False for NaN."""
    return np.all((points >= -0.5) & (points < np.array(image_size) - 0.5), axis=1)
