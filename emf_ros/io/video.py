"""Frames and their times from a video file, a webcam or a folder of images."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from .bag_source import BagSource
from .bags import is_bag
from .frame_source import (
    DEFAULT_RATE_HZ,
    FrameSource,
    SourceBase,
    VideoError,
    header_rate_hz,
    pixel_aspect,
)
from .paths import IMAGE_SUFFIXES, from_home
from .video_file import VideoFile

#: Maximum number of a webcam: OpenCV takes 32 bits.
MAX_WEBCAM = 2**31 - 1


def open_source(
    source: str | Path, rate_hz: float | None = None, topic: str = "", rectified: bool = False
) -> FrameSource:
    """Open a video file, a folder of images, a bag of ROS 2, or a webcam by its number ("0").

    An existing file or folder wins over a webcam of the same number.

    Args:
        source: path or number.
        rate_hz: frames per second of a folder (None: 30) and of a file without times (None: as
            OpenCV assumes). A file with times is played at this mean rate (None: as recorded). A
            bag is played as recorded.
        topic: of the images of a bag; empty where it has only one.
        rectified: whether the images of a bag are rectified.

    Raises:
        VideoError: the source cannot be opened; the message has the reason.
    """
    if rate_hz is not None and not (math.isfinite(rate_hz) and rate_hz > 0):
        raise VideoError(f"a rate of {rate_hz:g} frames a second: it must be above 0")
    text = str(source)
    if not text.strip():
        raise VideoError("no video given: a file, a folder of images or a camera's number")
    path = Path(text)
    if not path.exists():
        if text.strip().isdecimal():
            if int(text) > MAX_WEBCAM:
                raise VideoError(f"there is no file or folder {source}, and no such camera")
            return _Webcam(int(text), rate_hz or DEFAULT_RATE_HZ)
        path = from_home(path)
    try:
        if is_bag(path):
            return BagSource(path, topic, rectified)
        if topic:
            raise VideoError(f"{source} is no bag, and has no topic {topic}")
        if path.is_dir():
            return _Folder(path, rate_hz or DEFAULT_RATE_HZ)
        if not path.is_file():
            raise VideoError(f"there is no file {source}")
        with open(path, "rb"):
            return VideoFile(path, rate_hz)
    except OSError as error:
        raise VideoError(f"cannot read {source}: {error.strerror or error}") from None


def frames_of(source: FrameSource) -> Iterator[tuple[int, float, np.ndarray]]:
    """Number, time (s since the first frame) and frame, to the end.

    Frames that cannot be read are skipped; `losses` counts them.
    """
    while (grabbed := source.grab()) is not None:
        frame = source.retrieve()
        if frame is not None:
            yield (*grabbed, frame)


def times_of(source: FrameSource, count: int | None = None) -> np.ndarray | None:
    """Times (N,) of the first frames by number, s, rising; None where no frame can be read.

    Where the source cannot list them, as with OpenCV before 4.10, it is read up to the last of
    these frames. So a source that is to be played from its beginning is rewound.

    Args:
        source: a file, a folder or a bag; not a webcam, which has no end.
        count: maximum number of frames; None for all.
    """
    times = source.times()
    if times is not None:
        return times[:count]
    read: dict[int, float] = {}
    while (count is None or len(read) < count) and (grabbed := source.grab()) is not None:
        read[grabbed[0]] = grabbed[1]
    if not read:
        return None
    # A frame that cannot be read lies between its neighbours.
    wanted = np.arange(max(read) + 1)[:count]
    out: np.ndarray = np.interp(wanted, list(read), list(read.values()))
    return out


def losses(source: FrameSource) -> list[str]:
    """Sentences on the frames that were left out so far; empty where none was."""
    total = f" of {source.count}" if source.count else ""
    out = []
    if source.unreadable:
        out.append(f"{source.unreadable}{total} frames could not be read")
    width, height = source.size
    for (other_width, other_height), number in sorted(source.other_sizes.items()):
        out.append(
            f"{number}{total} frames are {other_width}x{other_height}, not {width}x{height} "
            "like the first: left out"
        )
    return out


class _Webcam(SourceBase):
    """A camera by its number; the time of a frame is its arrival."""

    live, count, notice = True, 0, ""

    def __init__(self, number: int, fallback_rate_hz: float) -> None:
        super().__init__()
        self._capture = cv2.VideoCapture(number, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise VideoError(f"cannot open the camera {number}")
        # Without a queue of old frames the newest one is read.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        ok, first = self._capture.read()
        if not ok or first is None or not first.size:
            self._capture.release()
            raise VideoError(f"the camera {number} has no readable frame")
        self.size = (first.shape[1], first.shape[0])
        self.pixel_aspect = pixel_aspect(self._capture)
        self.rate_hz = header_rate_hz(self._capture) or fallback_rate_hz
        self._next, self._begin = 0, 0.0

    def grab(self) -> tuple[int, float] | None:
        if not self._capture.grab():
            return None
        now = time.monotonic()
        if not self._next:
            self._begin = now
        self._next += 1
        return self._next - 1, now - self._begin

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray | None:
        ok, frame = self._capture.retrieve(into)
        return self._checked(frame if ok else None)

    def times(self) -> np.ndarray | None:
        return None

    def rewind(self) -> bool:
        return False

    def close(self) -> None:
        self._capture.release()


class _Folder(SourceBase):
    """Image files in the natural order of their names, at a constant rate."""

    live, notice = False, ""

    def __init__(self, folder: Path, rate_hz: float) -> None:
        super().__init__()
        self._paths = sorted(
            (
                path
                for path in folder.iterdir()
                if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
            ),
            key=natural_order,
        )
        self.count, self.rate_hz, self._next = len(self._paths), rate_hz, 0
        if not self._paths:
            raise VideoError(f"no images in the folder {folder}")
        for path in self._paths:
            first = _read_image(path)
            if first is not None:
                self.size = (first.shape[1], first.shape[0])
                return
        raise VideoError(f"none of the {self.count} images in the folder {folder} can be decoded")

    def grab(self) -> tuple[int, float] | None:
        if self._next >= self.count:
            return None
        self._next += 1
        return self._next - 1, (self._next - 1) / self.rate_hz

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray | None:
        return self._checked(_read_image(self._paths[self._next - 1]))

    def times(self) -> np.ndarray | None:
        return np.arange(self.count) / self.rate_hz

    def rewind(self) -> bool:
        self._forget_losses()
        self._next = 0
        return True

    def close(self) -> None:
        return None


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that compares numbers in names by value: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", path.name)
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in parts if p]
    return [*key, (2, 0, path.name)]


def _read_image(path: Path) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR; None where the file cannot be decoded."""
    try:
        data = np.fromfile(path, np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        return None
