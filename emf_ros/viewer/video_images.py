"""The images of a video by the stamps of a recording, for playback in any order."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..io.frame_source import FrameSource
from ..io.recordings import Recording
from ..io.video import times_of
from ..io.video_match import nothing_shown, time_mismatch

#: Minimum time before the wanted one from which images are decoded, s. It is above the steps of
#: playback at any speed: there, no image before a gap is passed over.
_DECODED_S = 0.15
#: The same in periods of the source: a slow one has no image in that time.
_DECODED_PERIODS = 1.5
#: Added to each wanted time, s: stamps since 1970 are rounded to 2e-7 s.
_ROUNDING_S = 1e-6
#: Minimum time for which the last image is shown, s. It is above the time for which people are.
_LAST_S = 1.0
#: Stands for the frame after the last one: its number, and its time, s.
_END = (-1, math.inf)


class VideoImages:
    """The images of a video by the stamps of a recording. A step back opens the video again.

    Args:
        open_video: opens it.
        recording: made of it.

    Attributes:
        fault: why this video cannot be that of the recording, in a sentence; empty where it can.
            No image is then shown. It may be found only while the video is read.
    """

    def __init__(self, open_video: Callable[[], FrameSource], recording: Recording) -> None:
        self._open = open_video
        self._source = open_video()
        self._decoded_s = max(_DECODED_S, _DECODED_PERIODS / self._source.rate_hz)
        self._begin()
        self.fault = ""
        self._recording = recording
        known = recording.frame >= 0
        numbers, rows = np.unique(recording.frame[known], return_index=True)
        #: Stamp, s, of the poses of each image, by its number.
        self._stamp_of = dict(
            zip(numbers.tolist(), recording.stamp[known][rows].tolist(), strict=True)
        )
        #: Times, s, of all frames by number; None where they are not known before the end.
        self._times = self._source.times()
        # Where stamps and times meet, s. Without numbers the times are stamps: from 0 in a lifted
        # video, of a clock in live recordings and bags.
        self._stamps_s, self._times_s = np.array([self._source.start_s]), np.zeros(1)
        if len(numbers):
            self._meet_by_number(numbers)
        else:
            self._check_stamps(math.inf if self._times is None else float(self._times[-1]))

    def at(self, stamp: float) -> np.ndarray | None:
        """(H, W, 3) uint8 BGR, the newest image up to a stamp, s; None without one."""
        time_s = self._time_of(stamp) + _ROUNDING_S
        if self.fault:
            return None
        if time_s < self._reached_s:
            self._open_again()
        passed_over = self._advance(time_s)
        if passed_over is not None:
            # A gap follows that image.
            self._open_again()
            self._advance(time_s, passed_over)
        ended = self._ahead == _END and time_s - self._reached_s > max(_LAST_S, self._decoded_s)
        return None if ended or self.fault else self._image

    def _time_of(self, stamp: float) -> float:
        """Time of the video, s, at a stamp, s."""
        stamps_s, times_s = self._stamps_s, self._times_s
        beyond_s = min(stamp - stamps_s[0], 0.0) + max(stamp - stamps_s[-1], 0.0)
        return float(np.interp(stamp, stamps_s, times_s) + beyond_s)

    def _meet_by_number(self, numbers: np.ndarray) -> None:
        """Learn where stamps and times meet.

        Args:
            numbers: of the images with poses, rising.
        """
        times = self._times
        if times is None:
            # The others are checked when they are read.
            numbers = numbers[:1]
            times = times_of(self._source, int(numbers[0]) + 1)
            self._source.rewind()
        if times is None or numbers[0] >= len(times):
            end_s = 0.0 if times is None else float(times[-1])
            self._refuse(end_s)
            return
        numbers = numbers[numbers < len(times)]
        stamps_s = np.array([self._stamp_of[number] for number in numbers.tolist()])
        first = int(numbers[0]), float(times[numbers[0]]), float(stamps_s[0])
        for number, stamp in zip(numbers.tolist(), stamps_s, strict=True):
            time_s = float(times[number])
            self.fault = self.fault or time_mismatch(first, number, time_s, np.array([stamp]))
        order = np.argsort(stamps_s, kind="stable")
        self._stamps_s, self._times_s = stamps_s[order], times[numbers[order]]

    def _check_stamps(self, end_s: float) -> None:
        """Refuse poses without numbers none of whose stamps is of the video.

        Args:
            end_s: time of the last image, s.
        """
        reach_s = 0.5 / self._source.rate_hz + _ROUNDING_S
        time_s = self._recording.stamp - self._source.start_s
        if not ((time_s >= -reach_s) & (time_s <= end_s + reach_s)).any():
            self._refuse(end_s)

    def _check_number(self, number: int, frame_s: float) -> None:
        """Refuse poses of another rate, where the times are known only while the video is read."""
        stamp = self._stamp_of.get(number)
        if self._times is not None or stamp is None:
            return
        first = min(self._stamp_of), float(self._times_s[0]), float(self._stamps_s[0])
        # Images are shown by their times, so nothing may be added for long recordings.
        mismatch = time_mismatch(first, number, frame_s, np.array([stamp]), share=0.0)
        self.fault = self.fault or mismatch

    def _refuse(self, end_s: float) -> None:
        recording, begin_s = self._recording, self._source.start_s
        self.fault = nothing_shown(recording.frame, recording.stamp, begin_s, begin_s + end_s)

    def _begin(self) -> None:
        self._image: np.ndarray | None = None
        #: Time of the newest frame that `at` has reached, s.
        self._reached_s = -math.inf
        #: The frame after that one, not yet decoded: its number, and its time, s.
        self._ahead: tuple[int, float] | None = None

    def _open_again(self) -> None:
        self._source.close()
        self._source = self._open()
        self._begin()

    def _advance(self, time_s: float, decoded_from: float = math.inf) -> int | None:
        """Go on to the newest frame up to a time.

        Args:
            time_s: of the video, s.
            decoded_from: number of the first frame to decode. Earlier ones are decoded only
                shortly before the time.

        Returns:
            the number of the newest frame that was passed over, where no image follows it.
        """
        passed_over = None
        while True:
            if self._ahead is None:
                self._ahead = self._source.grab() or _END
            number, frame_s = self._ahead
            if self._ahead == _END and not self._stamp_of:
                self._check_stamps(self._reached_s)
            if frame_s > time_s:
                return passed_over
            self._ahead, self._reached_s = None, frame_s
            self._check_number(number, frame_s)
            if number < decoded_from and time_s - frame_s > self._decoded_s:
                self._image, passed_over = None, number
            elif (image := self._source.retrieve()) is not None:
                self._image, passed_over = image, None
