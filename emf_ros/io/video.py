"""Pictures and their times from a video file, a webcam or a folder of images."""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from .container import (
    PictureIndex,
    codec_of,
    is_elementary_stream,
    read_index,
    why_unreadable,
)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")

#: Rate of a folder, and of a file that tells neither times nor a rate, Hz.
DEFAULT_RATE_HZ = 30.0
#: Maximum rate that a container's header is believed, Hz.
MAX_HEADER_RATE_HZ = 1000.0
#: Maximum number of attempts at the next picture where the file's packets cannot be counted.
MAX_BLIND_ATTEMPTS = 256
#: Maximum difference between a picture's time and a constant rate's, in periods.
GRID_TOLERANCE = 0.05

# FFmpeg writes a line or several for each damaged packet. Here they are counted and said once.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class VideoError(RuntimeError):
    """A source that cannot be opened or read; the message says which and why."""


class FrameSource(Protocol):
    """Pictures one after another, each with its number and its time.

    `grab` moves to the next picture, `retrieve` decodes it: a picture that is passed over costs
    less. Numbers count from 0 and include the pictures that cannot be read.

    Attributes:
        size: (width, height) px.
        pixel_aspect: width of a pixel over its height; 1 for square pixels.
        rate_hz: mean number of pictures a second; of a webcam what its driver says.
        count: number of pictures where it is known, else 0.
        live: whether the pictures come at their own pace.
        unreadable: number of pictures so far that could not be read, since the beginning.
        other_sizes: number of pictures so far of each other size (width, height), left out.
        notice: a sentence on how the times come about, where that matters; else empty.
    """

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def pixel_aspect(self) -> float: ...
    @property
    def rate_hz(self) -> float: ...
    @property
    def count(self) -> int: ...
    @property
    def live(self) -> bool: ...
    @property
    def unreadable(self) -> int: ...
    @property
    def other_sizes(self) -> Counter[tuple[int, int]]: ...
    @property
    def notice(self) -> str: ...

    def grab(self) -> tuple[int, float] | None:
        """The next picture's number and time, s since the first; None at the end."""
        ...

    def retrieve(self) -> np.ndarray | None:
        """The grabbed picture (H, W, 3) uint8 BGR; None where it is left out, and counted."""
        ...

    def times(self) -> np.ndarray | None:
        """(count,) s, the times of all pictures by number; None where they are not known."""
        ...

    def rewind(self) -> bool:
        """Start again, with the counts at zero; False where that cannot be."""
        ...

    def close(self) -> None: ...


def _pixel_aspect(capture: cv2.VideoCapture) -> float:
    """Width of a pixel over its height, as the pictures are read; 1 where the file says nothing."""
    across, down = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    if not (math.isfinite(across) and math.isfinite(down) and across > 0 and down > 0):
        return 1.0
    # The file's is that of the sensor; OpenCV turns pictures that were taken upright.
    turned = capture.get(cv2.CAP_PROP_ORIENTATION_AUTO) > 0
    upright = turned and round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90
    return down / across if upright else across / down


class _Losses:
    """What a source could not give; part of every source here."""

    def __init__(self) -> None:
        self.size, self.pixel_aspect = (0, 0), 1.0
        self.unreadable = 0
        self.other_sizes: Counter[tuple[int, int]] = Counter()

    def _checked(self, picture: np.ndarray | None) -> np.ndarray | None:
        """The picture, or None after counting why it is left out."""
        if picture is None or not picture.size:
            self.unreadable += 1
            return None
        size = (picture.shape[1], picture.shape[0])
        if size != self.size:
            self.other_sizes[size] += 1
            return None
        return picture

    def _forget_losses(self) -> None:
        self.unreadable = 0
        self.other_sizes = Counter()


class _Webcam(_Losses):
    """A camera by its number; a picture's time is when it came."""

    live, count, notice = True, 0, ""

    def __init__(self, number: int, fallback_rate_hz: float) -> None:
        super().__init__()
        self._capture = cv2.VideoCapture(number, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise VideoError(f"cannot open the camera {number}")
        # A webcam's rows should come without a queue of old ones before them.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        ok, first = self._capture.read()
        if not ok or first is None or not first.size:
            self._capture.release()
            raise VideoError(f"the camera {number} has no readable picture")
        self.size = (first.shape[1], first.shape[0])
        self.pixel_aspect = _pixel_aspect(self._capture)
        self.rate_hz = _header_rate_hz(self._capture) or fallback_rate_hz
        self._next, self._begin = 0, 0.0

    def grab(self) -> tuple[int, float] | None:
        if not self._capture.grab():
            return None
        now = time.monotonic()
        if not self._next:
            self._begin = now
        self._next += 1
        return self._next - 1, now - self._begin

    def retrieve(self) -> np.ndarray | None:
        ok, picture = self._capture.retrieve()
        return self._checked(picture if ok else None)

    def times(self) -> np.ndarray | None:
        return None

    def rewind(self) -> bool:
        return False

    def close(self) -> None:
        self._capture.release()


class _VideoFile(_Losses):
    """A file through OpenCV, at the times that its container tells.

    Args:
        path: of the file.
        rate_hz: mean rate to play at; None: as recorded.
    """

    live = False

    def __init__(self, path: Path, rate_hz: float | None) -> None:
        super().__init__()
        # Absolute, as FFmpeg takes what stands before a colon for a protocol.
        self._path = path.absolute()
        self._given_rate_hz = rate_hz
        self._last = -1
        self._index_read = False
        self._index: PictureIndex | None = None
        self._capture = _opened(self._path)
        try:
            if not self._capture.isOpened():
                raise VideoError(f"cannot read the video {path}: {why_unreadable(self._path)}")
            self._codec = codec_of(self._capture)
            self._restart()
            first = None
            while first is None and self._advance():
                self._ahead = True
                ok, first = self._capture.retrieve()
                first = first if ok and first is not None and first.size else None
            if first is None:
                why = why_unreadable(self._path, self._codec)
                raise VideoError(f"cannot read a picture of the video {path}: {why}")
        except VideoError:
            self._capture.release()
            raise
        self.size = (first.shape[1], first.shape[0])
        self.pixel_aspect = _pixel_aspect(self._capture)
        self._header_rate_hz = _header_rate_hz(self._capture)
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
                f"{self._path.name} is damaged where it cannot be told: times after that are too "
                f"early by up to {self._index.shift_s:.3g} s"
            )
        if self._timed:
            return ""
        return (
            f"{self._path.name} holds no times of its pictures: {self._rate:g} pictures a second "
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

    def retrieve(self) -> np.ndarray | None:
        ok, picture = self._capture.retrieve()
        return self._checked(picture if ok else None)

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
        #: Whether a picture is grabbed that `grab` has not yet told of.
        self._ahead = False
        #: Number of the picture grabbed last; -1 before the first.
        self._last = -1
        #: Number of listed pictures up to that one.
        self._listed = 0
        #: Number of pictures that the decoder gave.
        self._grabbed = 0
        self._first_position_s: float | None = None
        self._last_time_s, self._last_step_s = 0.0, 0.0
        self._on_grid = True

    def _position_s(self) -> float:
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def _advance(self) -> bool:
        """Grab the next picture that can be decoded; False when there is none."""
        if self._capture.grab():
            self._grabbed += 1
            return True
        # OpenCV ends at the first packet that its decoder refuses; the next call goes on behind it.
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
        """Find out how the times come about, once."""
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
        """Whether OpenCV tells the times of decoded pictures."""
        capture = _opened(self._path)
        seen = [capture.get(cv2.CAP_PROP_POS_MSEC) for _ in range(2) if capture.grab()]
        capture.release()
        return len(seen) < 2 or seen[1] > seen[0]

    def _place(self, position_s: float) -> tuple[int, float]:
        """Number and time, s, of the picture that was decoded last."""
        following = self._last + 1
        if not self._timed:
            return following, following / self._rate
        index = self._index
        if index is None or not len(index.position_s):
            return self._place_unlisted(position_s)
        at = int(np.searchsorted(index.position_s, position_s - 1e-5))
        # Pictures of one time stand one after another.
        at = max(at, self._listed)
        if at < len(index.position_s) and abs(index.position_s[at] - position_s) <= 1e-5:
            self._listed = at + 1
            return int(index.number[at]), float(index.time_s[at]) * self._scale
        # The file has grown since, or the decoder has a time of its own.
        return following, (position_s - float(index.position_s[0])) * self._scale

    def _place_unlisted(self, position_s: float) -> tuple[int, float]:
        """As `_place`, where the times are only known of pictures that have been decoded."""
        if self._first_position_s is None:
            self._first_position_s = position_s
        number, time_s = self._last + 1, position_s - self._first_position_s
        if number and not time_s > self._last_time_s:
            # OpenCV up to 4.5 loses the times of the last pictures.
            time_s = self._last_time_s + self._last_step_s
        self._last_step_s, self._last_time_s = time_s - self._last_time_s, time_s
        # At a constant rate a gap in time tells how many pictures are lost.
        periods = time_s * self._header_rate_hz
        self._on_grid &= abs(periods - round(periods)) <= GRID_TOLERANCE
        if self._on_grid and self._index is not None and self._index.count == self._claimed:
            number = max(number, min(round(periods), self._claimed - 1))
        return number, time_s * self._scale


class _Folder(_Losses):
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

    def retrieve(self) -> np.ndarray | None:
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
    """Key that sorts the numbers in names by their values: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", path.name)
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in parts if p]
    return [*key, (2, 0, path.name)]


def open_source(source: str | Path, rate_hz: float | None = None) -> FrameSource:
    """Open a video file, a folder of images, or a webcam by its number ("0").

    An existing file or folder wins over a webcam of the same number.

    Args:
        source: path or number.
        rate_hz: pictures a second of a folder (None: 30) and of a file that holds no times (None:
            what OpenCV assumes). A file with times is played at this mean rate (None: as recorded).

    Raises:
        VideoError: says what is wrong.
    """
    if rate_hz is not None and not (math.isfinite(rate_hz) and rate_hz > 0):
        raise VideoError(f"a rate of {rate_hz:g} pictures a second: it must be above 0")
    text = str(source)
    if not text.strip():
        raise VideoError("no video given: a file, a folder of images or a camera's number")
    path = Path(text)
    if not path.exists():
        if text.strip().isdecimal():
            return _Webcam(int(text), rate_hz or DEFAULT_RATE_HZ)
        path = path.expanduser()
    try:
        if path.is_dir():
            return _Folder(path, rate_hz or DEFAULT_RATE_HZ)
        if not path.is_file():
            raise VideoError(f"there is no file {source}")
        with open(path, "rb"):
            return _VideoFile(path, rate_hz)
    except OSError as error:
        raise VideoError(f"cannot read {source}: {error.strerror or error}") from None


def frames_of(source: FrameSource) -> Iterator[tuple[int, float, np.ndarray]]:
    """Number, time (s since the first picture) and picture, to the end.

    What cannot be read is passed over; `losses` tells of it afterwards.
    """
    while (grabbed := source.grab()) is not None:
        picture = source.retrieve()
        if picture is not None:
            yield (*grabbed, picture)


def losses(source: FrameSource) -> list[str]:
    """Sentences on the pictures that were left out so far; empty where there are none."""
    total = f" of {source.count}" if source.count else ""
    out = []
    if source.unreadable:
        out.append(f"{source.unreadable}{total} pictures could not be read")
    width, height = source.size
    for (other_width, other_height), number in sorted(source.other_sizes.items()):
        out.append(
            f"{number}{total} pictures are {other_width}x{other_height}, not {width}x{height} "
            "like the first: left out"
        )
    return out


def _opened(path: Path) -> cv2.VideoCapture:
    """A capture of a file, opened or not, without OpenCV's own lines on why not."""
    # OpenCV up to 4.5 offers this under another name.
    log = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        return cv2.VideoCapture(str(path))
    finally:
        log.setLogLevel(level)


def _header_rate_hz(capture: cv2.VideoCapture) -> float:
    """What the driver or the container's header says; 0 where that cannot be."""
    rate: float = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and 0 < rate <= MAX_HEADER_RATE_HZ else 0.0


def _read_image(path: Path) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR; None where the file cannot be decoded."""
    try:
        data = np.fromfile(path, np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except (OSError, cv2.error):
        return None
