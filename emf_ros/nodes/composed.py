"""Detector and lifter in one process; keypoints go from one to the other as arrays."""

from __future__ import annotations

import sys

from .keypoint_detector import KeypointDetector
from .running import run
from .skeleton_lifter import SkeletonLifter


def build() -> list:
    lifter = SkeletonLifter(subscribe=False)
    return [lifter, KeypointDetector(lifter.submit, lifter.is_wanted)]


def main(args: list[str] | None = None) -> int:
    return run(build, args)


if __name__ == "__main__":
    sys.exit(main())
