"""Pictures from a video file, a webcam or a folder of images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class VideoError(RuntimeError):
    """A source that cannot be opened or read; the message says which and why."""


class FrameSource(Protocol):
    """Pictures one after another.

    Attributes:
        size: (width, height) px.
        rate_hz: of the recording; what the camera says for a live source.
        count: number of pictures where it is known, else 0.
        live: whether the pictures come at their own pace.
    """

    size: tuple[int, int]
    rate_hz: float
    count: int
    live: bool

    def skip(self) -> bool:
        """Pass over a picture, cheaper than reading it; False at the end."""
        ...

    def read(self) -> np.ndarray | None:
        """The next picture (H, W, 3) uint8 BGR; None at the end."""
        ...

    def rewind(self) -> bool:
        """Start again; False where that cannot be."""
        ...

    def close(self) -> None: ...


class _Capture:
    """A file or a webcam through OpenCV."""

    def __init__(self, source: str | int, fallback_rate_hz: float) -> None:
        self._source, self.live = source, isinstance(source, int)
        what = f"camera {source}" if self.live else f"video {source}"
        if not self.live and not Path(str(source)).is_file():
            raise VideoError(f"there is no file {source}")
        # A webcam's rows should come without a queue of old ones before them.
        backend = cv2.CAP_V4L2 if self.live else cv2.CAP_ANY
        self._capture = cv2.VideoCapture(source, backend)
        if not self._capture.isOpened():
            raise VideoError(f"cannot open the {what}")
        if self.live:
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        ok, first = self._capture.read()
        if not ok or first is None or not first.size:
            self._capture.release()
            raise VideoError(f"the {what} has no readable picture")
        self._first: np.ndarray | None = first
        self.size = (first.shape[1], first.shape[0])
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate_hz = rate if math.isfinite(rate) and 1 <= rate <= 1000 else fallback_rate_hz
        frames = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = 0 if self.live or not 0 < frames < 1e9 else int(frames)

    def skip(self) -> bool:
        if self._first is not None:
            self._first = None
            return True
        return bool(self._capture.grab())

    def read(self) -> np.ndarray | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        ok, picture = self._capture.read()
        return picture if ok and picture is not None and picture.size else None

    def rewind(self) -> bool:
        if self.live:
            return False
        # Reopened, since seeking by frame is not exact in every container.
        self._capture.release()
        self._capture = cv2.VideoCapture(self._source)
        self._first = None
        return bool(self._capture.isOpened())

    def close(self) -> None:
        self._capture.release()


class _Folder:
    """Image files in the order of their names."""

    live = False

    def __init__(self, folder: Path, rate_hz: float) -> None:
        self._paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not self._paths:
            raise VideoError(f"no images in the folder {folder}")
        first = cv2.imread(str(self._paths[0]), cv2.IMREAD_COLOR)
        if first is None:
            raise VideoError(f"{self._paths[0]} cannot be decoded")
        self.size = (first.shape[1], first.shape[0])
        self.rate_hz, self.count, self._next = rate_hz, len(self._paths), 0

    def skip(self) -> bool:
        self._next += 1
        return self._next <= len(self._paths)

    def read(self) -> np.ndarray | None:
        while self._next < len(self._paths):
            picture = cv2.imread(str(self._paths[self._next]), cv2.IMREAD_COLOR)
            self._next += 1
            if picture is not None:
                return picture
        return None

    def rewind(self) -> bool:
        self._next = 0
        return True

    def close(self) -> None:
        return None


def open_source(source: str | Path, rate_hz: float = 30.0) -> FrameSource:
    """Open a video file, a webcam by its number ("0"), or a folder of images.

    Args:
        source: which.
        rate_hz: of folders, and of files and cameras that do not tell theirs.

    Raises:
        VideoError: says what is wrong.
    """
    text = str(source).strip()
    if not text:
        raise VideoError("no video given: a file, a folder of images or a camera's number")
    if text.isdigit():
        return _Capture(int(text), rate_hz)
    path = Path(text).expanduser()
    if path.is_dir():
        return _Folder(path, rate_hz)
    return _Capture(str(path), rate_hz)


def frames_of(source: FrameSource) -> Iterator[tuple[int, float, np.ndarray]]:
    """Number, time in seconds at the recorded rate, and picture, to the end."""
    index = 0
    while (picture := source.read()) is not None:
        yield index, index / source.rate_hz, picture
        index += 1
