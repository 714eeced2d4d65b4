"""Detector and lifter in one process: keypoints are handed over as arrays."""

from __future__ import annotations

import sys
from typing import Any

from .base import BaseNode
from .keypoint_detector import KeypointDetector
from .running import run
from .skeleton_lifter import SkeletonLifter


def build() -> list[BaseNode[Any]]:
    """The two nodes; the detector gives its keypoints to the lifter."""
    lifter = SkeletonLifter(subscribe=False)
    return [lifter, KeypointDetector(lifter.submit, lifter.is_wanted)]


def main(args: list[str] | None = None) -> int:
    return run(build, args)


if __name__ == "__main__":
    sys.exit(main())
