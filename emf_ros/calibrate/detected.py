"""Keypoints of the people in a video, for the estimate of the focal length."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..detect.protocol import DetectorError
from ..io.frame_source import FrameSource, VideoError
from ..io.progress import track
from ..io.video import frames_of
from ..people import PeopleTracker
from ..skeletons import Layout
from ..stamps import NANOSECONDS


def detected_keypoints(
    source: FrameSource, people: int, stopping: Callable[[], bool] = lambda: False
) -> tuple[Layout, np.ndarray, np.ndarray, np.ndarray]:
    """Detect and track the people in a video, which is read to its end and closed.

    Args:
        source: the video.
        people: maximum number of people.
        stopping: ends the reading where it gives true.

    Returns:
        the layout, (M, K, 3) keypoints px, px, score, (M,) stamps s, and (M,) ids.

    Raises:
        VideoError: the detector is not available.
    """
    try:
        tracker = PeopleTracker.make("blazepose", "full", people)
    except DetectorError as error:
        raise VideoError(str(error)) from None
    rows: list[tuple[np.ndarray, float, int]] = []
    try:
        for _, stamp, image in track(frames_of(source), "detecting", source.count or None):
            if stopping():
                break
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            for person in tracker.update(rgb, round(stamp * NANOSECONDS)):
                rows.append((person.keypoints, stamp, person.track_id))
    finally:
        tracker.close()
        source.close()
    keypoints = np.array([row[0] for row in rows]).reshape(-1, len(tracker.layout), 3)
    stamps = np.array([row[1] for row in rows])
    return tracker.layout, keypoints, stamps, np.array([row[2] for row in rows], dtype=np.int64)
