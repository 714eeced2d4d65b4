"""The interface of a 2D keypoint detector, and what its backends share."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import numpy as np

from ..reasons import Reason
from ..skeletons import Layout
from ..types import Pose2D


class DetectorError(RuntimeError):
    """A detector that cannot start or go on; the message says what to do."""


class Detector(Protocol):
    """Finds people in images, one camera after another frame.

    Attributes:
        layout: of the keypoints.
        refused: how many it has found and then not reported, by reason; who reads it empties it.
    """

    layout: Layout
    refused: Counter[Reason]

    @property
    def description(self) -> str:
        """One line for the log: what runs where."""
        ...

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        """Find people.

        Args:
            image: (H, W, 3) uint8, RGB, contiguous.
            stamp_ns: of the image; any order, though steady rising serves tracking detectors best.
        """
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


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
