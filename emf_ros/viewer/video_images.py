"""The images of a video by the stamps of a recording, for playback in any order."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..io.frame_source import FrameSource
from ..io.recordings import Recording
from ..io.video import times_of

#: Minimum time before the wanted one from which images are decoded, s. It is above the steps of
#: playback at any speed: there, no image before a gap is passed over.
_DECODED_S = 0.15
#: The same in periods of the source: a slow one has no image in that time.
_DECODED_PERIODS = 1.5
#: Added to each wanted time, s: stamps since 1970 are rounded to 2e-7 s.
_ROUNDING_S = 1e-6
#: Stands for the frame after the last one: its number, and its time, s.
_END = (-1, math.inf)


class VideoImages:
    """The images of a video by the stamps of a recording. A step back opens the video again.

    Args:
        open_video: opens it.
        recording: made of it.
    """

    def __init__(self, open_video: Callable[[], FrameSource], recording: Recording) -> None:
        self._open = open_video
        self._source = open_video()
        self._decoded_s = max(_DECODED_S, _DECODED_PERIODS / self._source.rate_hz)
        self._begin()
        #: Stamp of the first image, s: 0 of a lifted video, the time of a clock in live recordings
        #: and bags.
        self._first_s = self._source.start_s
        known = np.flatnonzero(recording.frame >= 0)
        if len(known):
            first = known[0]
            number = int(recording.frame[first])
            times = times_of(self._source, number + 1)
            self._source.rewind()
            if times is not None and number < len(times):
                self._first_s = float(recording.stamp[first] - times[number])

    def at(self, stamp: float) -> np.ndarray | None:
        """(H, W, 3) uint8 BGR, the newest image up to a stamp, s; None without one."""
        time_s = stamp - self._first_s + _ROUNDING_S
        if time_s < self._reached_s:
            self._open_again()
        passed_over = self._advance(time_s)
        if passed_over is not None:
            # A gap follows that image.
            self._open_again()
            self._advance(time_s, passed_over)
        return self._image

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
            if frame_s > time_s:
                return passed_over
            self._ahead, self._reached_s = None, frame_s
            if number < decoded_from and time_s - frame_s > self._decoded_s:
                self._image, passed_over = None, number
            elif (image := self._source.retrieve()) is not None:
                self._image, passed_over = image, None
