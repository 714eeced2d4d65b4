"""The videos of people that the demo, the tests and the benchmarks use."""

from __future__ import annotations

from pathlib import Path

from .fetch import ensure_file
from .manifest import (
    CAMERA_VIDEOS,
    DEMO_VIDEO,
    FOUR_CAMERAS_CALIBRATION,
    FOUR_CAMERAS_FOLDER,
)


def ensure_demo_video() -> Path:
    """Path of the demo video; it is downloaded (9 MB) when needed.

    Raises:
        DownloadError: it is not available.
    """
    return ensure_file(DEMO_VIDEO)


def ensure_four_cameras() -> tuple[Path, tuple[Path, ...]]:
    """Paths of the calibration and the videos of four cameras; downloaded (51 MB) when needed.

    Raises:
        DownloadError: they are not available.
    """
    videos = tuple(ensure_file(f"{FOUR_CAMERAS_FOLDER}/{name}.mp4") for name in CAMERA_VIDEOS)
    return ensure_file(FOUR_CAMERAS_CALIBRATION), videos
