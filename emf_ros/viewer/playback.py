"""Plays a recording, with its video where there is one, in the viewer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..io.frame_source import FrameSource
from ..io.recordings import Recording
from ..io.render.overlay import small_overlay
from ..skeletons import H36M17, convert_keypoints
from ..types import Frame3D, Pose3D, TrackState
from .frustum import MAX_IMAGE_SIDE_PX
from .video_images import VideoImages
from .viewer import Viewer

#: Speeds that can be chosen, as a share of the recorded one.
SPEEDS = ("0.25", "0.5", "1", "2", "4")
#: Maximum time for which people stay in view after their row, s.
HOLD_S = 0.5
#: Maximum rate at which images are shown, Hz.
MAX_RATE_HZ = 30.0
#: What the page says where the video has no image.
NO_IMAGE = "The video has no image of this time"


class Playback:
    """Plays a recording in the viewer, in a loop, with a slider for the time.

    Args:
        viewer: shows it.
        recording: the people.
        open_video: opens the video that was lifted; None without one.
    """

    def __init__(
        self, viewer: Viewer, recording: Recording, open_video: Callable[[], FrameSource] | None
    ) -> None:
        self._viewer, self._recording = viewer, recording
        self._times = np.unique(recording.stamp)
        self._begin, self._end = float(self._times[0]), float(self._times[-1])
        self._video = VideoImages(open_video, recording) if open_video else None
        # Where this program has put the slider, s. Elsewhere it was moved in a browser.
        self._placed_s = 0.0
        viewer.panel.hide_record()
        gui: Any = viewer.gui
        with gui.add_folder("Recording"):
            length = max(self._end - self._begin, 0.01)
            self._slider = gui.add_slider("Time, s", 0.0, round(length, 2), 0.01, initial_value=0.0)
            self._speed = gui.add_dropdown("Speed", SPEEDS, initial_value="1")
        viewer.set_camera(recording.camera)

    @property
    def video_fault(self) -> str:
        """Why the video cannot be that of the recording; empty where it can, so far."""
        return self._video.fault if self._video is not None else ""

    @property
    def _is_moved(self) -> bool:
        """Whether a browser has moved the slider."""
        return abs(self._slider.value - self._placed_s) > 1e-6

    def _place_slider(self, at_s: float) -> None:
        """Put the slider to a time, s, unless a browser has just moved it."""
        if not self._is_moved:
            self._placed_s = min(round(at_s, 2), self._slider.max)
            self._slider.value = self._placed_s

    def run(self, stopping: Callable[[], bool]) -> None:
        """Play until `stopping` is true. Nothing is played while no browser is connected."""
        at_s, before = 0.0, time.monotonic()
        shown: tuple[float, int] | None = None
        while not stopping():
            time.sleep(1 / MAX_RATE_HZ if self._viewer.watchers else 0.2)
            now = time.monotonic()
            step_s, before = now - before, now
            if not self._viewer.watchers:
                shown = None
                continue
            moved = self._is_moved
            if moved:
                at_s = self._placed_s = float(self._slider.value)
            elif not self._viewer.paused:
                at_s += step_s * float(self._speed.value)
                if at_s > self._end - self._begin + HOLD_S:
                    at_s = 0.0
            frame = self._frame_at(self._begin + at_s)
            if shown == (round(at_s, 3), frame.stamp_ns):
                continue
            shown = (round(at_s, 3), frame.stamp_ns)
            self._viewer.draw(frame)
            if not moved:
                self._place_slider(at_s)
            self._show_image(self._begin + at_s)

    def _rows_at(self, stamp: float) -> np.ndarray:
        """The rows of the newest image up to a time, s; none where it is long ago."""
        newest = int(np.searchsorted(self._times, stamp + 1e-6, side="right")) - 1
        if newest < 0 or stamp - self._times[newest] > HOLD_S:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero(self._recording.stamp == self._times[newest])

    def _frame_at(self, stamp: float) -> Frame3D:
        rows = self._rows_at(stamp)
        at = float(self._recording.stamp[rows[0]]) if len(rows) else stamp
        return Frame3D(
            round(at * 1e9), 0, [pose_of_row(self._recording, row) for row in rows], float("nan")
        )

    def _show_image(self, stamp: float) -> None:
        if self._video is None:
            return
        image = self._video.at(stamp)
        missing = "" if image is not None else self._video.fault or NO_IMAGE
        self._viewer.tell(missing)
        if image is None:
            self._viewer.draw_image(None)
            return
        recording, rows = self._recording, self._rows_at(stamp)
        # The keypoints are in the recorded size, and the video may have another.
        keypoints = recording.keypoints_2d[rows].copy()
        if recording.image_size != (0, 0):
            keypoints[..., :2] *= np.array(image.shape[1::-1]) / np.array(recording.image_size)
        ids = recording.track_id[rows]
        self._viewer.draw_image(
            small_overlay(image, keypoints, ids, recording.layout, MAX_IMAGE_SIDE_PX)
        )


def pose_of_row(recording: Recording, row: int) -> Pose3D:
    """The pose in one row of a recording; its confidence is that of the keypoints."""
    joints = recording.joints_3d[row]
    person = Pose3D.unknown(int(recording.track_id[row]), TrackState.TRACKED)
    person.joints = joints
    known = np.isfinite(joints).all(axis=-1)
    # Without keypoints nothing tells the confidence.
    person.confidence = known.astype(float)
    keypoints = recording.keypoints_2d[row]
    if np.isfinite(keypoints[:, :2]).any():
        # Layouts that cannot be converted cannot be lifted either.
        with contextlib.suppress(ValueError):
            scores = convert_keypoints(keypoints, recording.layout, H36M17)[:, 2]
            person.confidence = np.where(known, np.nan_to_num(scores), 0.0)
    person.stddev = recording.joint_stddev[row]
    person.root = person.last_root = recording.root[row]
    person.root_valid = bool(recording.root_valid[row])
    return person
