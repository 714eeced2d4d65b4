"""Arguments that describe a video and its camera, and how commands open them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import arguments
from .console import say

if TYPE_CHECKING:
    from ..geometry.camera import Camera
    from ..io.frame_source import FrameSource

# numpy and OpenCV are imported where they are used: a command that needs neither starts fast.


def add_video(command: argparse.ArgumentParser) -> None:
    """Add the rate of the video and the intrinsics of its camera."""
    add_rate(command)
    add_camera(command)


def add_rate(command: argparse.ArgumentParser) -> None:
    """Add the rate of a video."""
    command.add_argument(
        "--rate",
        type=arguments.positive_number,
        metavar="HZ",
        help="images per second of a folder (30) or of a stream without times; a video with times "
        "is played at this mean rate (as recorded)",
    )


def add_camera(command: argparse.ArgumentParser) -> None:
    """Add the intrinsics of a video's camera."""
    camera = command.add_mutually_exclusive_group()
    camera.add_argument(
        "--camera-info", metavar="FILE", help="calibration file (docs/reference/calibration.md)"
    )
    camera.add_argument(
        "--fov",
        type=arguments.field_of_view,
        metavar="DEG",
        help="horizontal field of view (default: that of a bag, or a guess across the longer side)",
    )
    command.add_argument(
        "--rectified",
        action="store_true",
        help="the images are rectified: take the file's P, without distortion",
    )


def open_video(
    path: str, args: argparse.Namespace, tell: Callable[[str], None] = say
) -> FrameSource:
    """Open a video at the rate of `add_rate`, of a bag the topic of `arguments.add_topic`.

    Args:
        tell: called with each sentence for the user.

    Raises:
        VideoError: it cannot be opened.
    """
    from ..io.video import open_source

    source = open_source(path, args.rate, args.topic, getattr(args, "rectified", False))
    if source.notice:
        tell(source.notice)
    return source


def camera_of(
    source: FrameSource, args: argparse.Namespace, tell: Callable[[str], None] = say
) -> Camera:
    """The camera that the arguments of `add_camera` describe, or that the source brings.

    Args:
        source: the video.
        tell: called with each sentence for the user.

    Raises:
        CameraError: the intrinsics cannot be used.
    """
    from ..io.calibration.reader import choose_camera

    camera, notes = choose_camera(
        source.size,
        args.camera_info,
        args.fov,
        source.pixel_aspect,
        args.rectified,
        source.camera,
    )
    for note in notes:
        tell(note)
    return camera
