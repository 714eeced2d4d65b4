"""A person that the detector tracks from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...geometry.crops import Roi
from ...types import Pose2D
from .verification import Verification


@dataclass
class TrackedPerson:
    """A person in one frame, and the ROI of the next frame.

    Attributes:
        pose: the person's keypoints.
        presence: from the landmark network, 0..1.
        next_roi: predicted for the next frame.
        verification: of the person, kept from frame to frame.
    """

    pose: Pose2D
    presence: float
    next_roi: Roi
    verification: Verification = field(default_factory=Verification)
