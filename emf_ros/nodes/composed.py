"""Detector and lifter in one process, with the camera on request: no copies between them.

The detector hands its keypoints to the lifter as arrays. With the option `--camera` the node
video_source is in the process, too, and hands its images to the detector by reference.
"""

from __future__ import annotations

import sys
from typing import Any

from rclpy.utilities import remove_ros_args

from .base import BaseNode, NodeError
from .keypoint_detector import KeypointDetector
from .running import run
from .skeleton_lifter import SkeletonLifter
from .video_source import VideoSource

#: Option of the command line that adds the camera.
CAMERA = "--camera"


def build(options: list[str]) -> list[BaseNode[Any]]:
    """The nodes, connected.

    Args:
        options: of the command line, without those for ROS.

    Raises:
        NodeError: an option is unknown, or a node cannot start.
    """
    for option in options:
        if option != CAMERA:
            raise NodeError(f"unknown option {option}; known: {CAMERA}")
    camera = CAMERA in options
    lifter = SkeletonLifter(subscribe=False, subscribe_info=not camera)
    detector = KeypointDetector(lifter.submit, lifter.is_wanted, subscribe=not camera)
    if not camera:
        return [lifter, detector]
    # First in the list is destroyed first: the camera uses the detector, and that the lifter.
    return [VideoSource(detector, lifter.take_info), detector, lifter]


def main(args: list[str] | None = None) -> int:
    given = sys.argv if args is None else args
    # ROS takes its own arguments out once it has accepted them.
    return run(lambda: build(remove_ros_args(given)[1:]), args, sends_images=CAMERA in given)


if __name__ == "__main__":
    sys.exit(main())
