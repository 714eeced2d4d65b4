"""A video file: its frames through OpenCV, with the times that its container holds."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from .container import (
    SAME_TIME_S,
    FrameIndex,
    codec_of,
    is_elementary_stream,
    read_index,
    why_unreadable,
)
from .frame_source import (
    DEFAULT_RATE_HZ,
    SourceBase,
    VideoError,
    header_rate_hz,
    pixel_aspect,
)
from .images import MAX_PIXELS

#: Maximum number of attempts at the next frame where the file's packets cannot be counted.
MAX_BLIND_ATTEMPTS = 256
#: Maximum difference between a frame's time and a constant rate's, in periods.
GRID_TOLERANCE = 0.05

# FFmpeg writes lines for each damaged packet. Here they are counted and reported once.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class VideoFile(SourceBase):
    """A file read through OpenCV, with the times of its container.

    Args:
        path: of the file.
        rate_hz: mean rate to play at; None: as recorded.
    """

    live = False

    def __init__(self, path: Path, rate_hz: float | None) -> None:
        super().__init__()
        # Absolute, since FFmpeg takes text before a colon for a protocol.
        self._path = path.absolute()
        self._given_rate_hz = rate_hz
        self._last = -1
        self._index_read = False
        self._index: FrameIndex | None = None
        self._capture = _opened(self._path)
        try:
            if not self._capture.isOpened():
                raise VideoError(f"cannot read the video {path}: {why_unreadable(self._path)}")
            # Before decoding: a small file may ask for frames of any size.
            sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
            width, height = (int(self._capture.get(side)) for side in sides)
            if width * height > MAX_PIXELS:
                raise VideoError(
                    f"cannot read the video {path}: its frames have {width}x{height} pixels, and "
                    f"at most {MAX_PIXELS} are read; scale it down"
                )
            self._codec = codec_of(self._capture)
            self._restart()
            first = None
            while first is None and self._advance():
                self._ahead = True
                ok, first = self._capture.retrieve()
                first = first if ok and first is not None and first.size else None
            if first is None:
                why = why_unreadable(self._path, self._codec)
                raise VideoError(f"cannot read a frame of the video {path}: {why}")
        except VideoError:
            self._capture.release()
            raise
        self.size = (first.shape[1], first.shape[0])
        self.pixel_aspect = pixel_aspect(self._capture)
        self._header_rate_hz = header_rate_hz(self._capture)
        claimed = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._claimed = int(claimed) if 0 < claimed < 1e9 else 0
        self._times_read = False
        self._timed, self._scale = True, 1.0
        self._rate = DEFAULT_RATE_HZ

    @property
    def rate_hz(self) -> float:
        self._read_times()
        return self._rate

    @property
    def count(self) -> int:
        self._read_times()
        return self._index.count if self._index is not None else self._claimed

    @property
    def notice(self) -> str:
        self._read_times()
        if self._timed and self._index is not None and self._index.shift_s:
            return (
                f"{self._path.name} is damaged at an unknown place: later times are too early "
                f"by up to {self._index.shift_s:.3g} s"
            )
        if self._timed:
            return ""
        return (
            f"{self._path.name} holds no times of its frames: {self._rate:g} frames a second "
            "are assumed; a rate can be given"
        )

    def times(self) -> np.ndarray | None:
        self._read_times()
        if not self._timed:
            return np.arange(self.count) / self._rate if self.count else None
        index = self._index
        if index is None or not len(index.number):
            return None
        time_s: np.ndarray = np.interp(np.arange(index.count), index.number, index.time_s)
        return time_s * self._scale

    def grab(self) -> tuple[int, float] | None:
        self._read_times()
        if self._ahead:
            self._ahead = False
        elif not self._advance():
            if self._index is not None and self._index.count > self._last + 1:
                self.unreadable += self._index.count - self._last - 1
                self._last = self._index.count - 1
            return None
        number, time_s = self._place(self._position_s())
        self.unreadable += number - self._last - 1
        self._last = number
        return number, time_s

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray | None:
        ok, frame = self._capture.retrieve(into)
        return self._checked(frame if ok else None)

    def rewind(self) -> bool:
        # Reopened, since seeking by frame is not exact in every container.
        self._capture.release()
        self._capture = _opened(self._path)
        self._restart()
        return bool(self._capture.isOpened())

    def close(self) -> None:
        self._capture.release()

    def _restart(self) -> None:
        self._forget_losses()
        #: Whether a frame is grabbed that `grab` has not yet returned.
        self._ahead = False
        #: Number of the frame grabbed last; -1 before the first.
        self._last = -1
        #: Number of frames of the index up to that one.
        self._listed = 0
        #: Number of frames that were decoded.
        self._grabbed = 0
        self._first_position_s: float | None = None
        self._last_time_s, self._last_step_s = 0.0, 0.0
        self._on_grid = True

    def _position_s(self) -> float:
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def _advance(self) -> bool:
        """Grab the next frame that can be decoded; False when there is none."""
        if self._capture.grab():
            self._grabbed += 1
            return True
        # OpenCV stops at a packet that its decoder rejects; the next call continues after it.
        self._read_index()
        attempts = MAX_BLIND_ATTEMPTS if self._index is None else self._index.count - self._grabbed
        for _ in range(attempts):
            if self._capture.grab():
                self._grabbed += 1
                return True
        return False

    def _read_index(self) -> None:
        if not self._index_read:
            self._index_read = True
            self._index = read_index(self._path)

    def _read_times(self) -> None:
        """Find the origin of the times and the rate, once."""
        if self._times_read:
            return
        self._times_read = True
        self._read_index()
        index, given = self._index, self._given_rate_hz
        listed = index is not None and len(index.position_s) > 0
        self._timed = not is_elementary_stream(self._path) and (listed or self._positions_rise())
        recorded = self._header_rate_hz or DEFAULT_RATE_HZ
        if self._timed and index is not None and listed and index.time_s[-1] > 0:
            recorded = float(index.number[-1] / index.time_s[-1])
        self._rate = given or recorded
        self._scale = recorded / self._rate

    def _positions_rise(self) -> bool:
        """Whether OpenCV gives the times of decoded frames."""
        capture = _opened(self._path)
        seen = [capture.get(cv2.CAP_PROP_POS_MSEC) for _ in range(2) if capture.grab()]
        capture.release()
        return len(seen) < 2 or seen[1] > seen[0]

    def _place(self, position_s: float) -> tuple[int, float]:
        """Number and time, s, of the frame that was decoded last."""
        following = self._last + 1
        if not self._timed:
            return following, following / self._rate
        index = self._index
        if index is None or not len(index.position_s):
            return self._place_unlisted(position_s)
        at = int(np.searchsorted(index.position_s, position_s - SAME_TIME_S))
        # Frames with the same time are adjacent.
        at = max(at, self._listed)
        if at < len(index.position_s) and abs(index.position_s[at] - position_s) <= SAME_TIME_S:
            self._listed = at + 1
            return int(index.number[at]), float(index.time_s[at]) * self._scale
        # The file has grown, or the decoder gives a time that is not in the index.
        return following, (position_s - float(index.position_s[0])) * self._scale

    def _place_unlisted(self, position_s: float) -> tuple[int, float]:
        """As `_place`, for a file whose times are known only after decoding."""
        if self._first_position_s is None:
            self._first_position_s = position_s
        number, time_s = self._last + 1, position_s - self._first_position_s
        if number and not time_s > self._last_time_s:
            # OpenCV up to 4.5 loses the times of the last frames.
            time_s = self._last_time_s + self._last_step_s
        self._last_step_s, self._last_time_s = time_s - self._last_time_s, time_s
        # At a constant rate the length of a gap gives the number of lost frames.
        periods = time_s * self._header_rate_hz
        self._on_grid &= abs(periods - round(periods)) <= GRID_TOLERANCE
        if self._on_grid and self._index is not None and self._index.count == self._claimed:
            number = max(number, min(round(periods), self._claimed - 1))
        return number, time_s * self._scale


def _opened(path: Path) -> cv2.VideoCapture:
    """A capture of a file, opened or not, without error lines of OpenCV."""
    # OpenCV up to 4.5 has these functions elsewhere.
    log = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        return cv2.VideoCapture(str(path))
    finally:
        log.setLogLevel(level)
