"""A source of frames: its interface, its errors, and what all sources share."""

from __future__ import annotations

import math
from collections import Counter
from typing import Protocol

import cv2
import numpy as np

from ..geometry.camera import Camera, CameraError

#: Rate of a folder, and of a file that has neither times nor a rate, Hz.
DEFAULT_RATE_HZ = 30.0
#: Maximum rate that is accepted from a container's header or a driver, Hz.
MAX_HEADER_RATE_HZ = 1000.0


class VideoError(RuntimeError):
    """A source that cannot be opened or read; the message has its name and the reason."""


class FrameSource(Protocol):
    """Frames in their order, each with its number and its time.

    `grab` moves to the next frame and `retrieve` decodes it: to skip a frame costs less than to
    read it. Numbers count from 0 and include the frames that cannot be read.

    Attributes:
        size: (width, height) px.
        pixel_aspect: width of a pixel over its height; 1 for square pixels.
        rate_hz: mean number of frames a second; of a bag that of its first images, without pauses;
            of a webcam what its driver says.
        count: number of frames; 0 where it is unknown.
        live: whether the frames arrive in real time, as of a webcam.
        unreadable: number of frames since the beginning that could not be read.
        other_sizes: number of frames left out since the beginning, by their size (width, height).
        notice: a sentence for the user about times that are not exact, or about intrinsics that
            are not those of the images; empty where there is nothing to say.
        start_s: stamp of the first frame, s; 0 where it has none, as in a video.
        camera: the intrinsics that the source brings, or why those that it brings cannot be used;
            None where it brings none.
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
    @property
    def start_s(self) -> float: ...
    @property
    def camera(self) -> Camera | CameraError | None: ...

    def grab(self) -> tuple[int, float] | None:
        """The next frame's number and time, s since the first; None at the end."""
        ...

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray | None:
        """The grabbed frame (H, W, 3) uint8 BGR; None where it is left out and counted.

        Args:
            into: array like the frame that may be used for it. It saves memory traffic where the
                source can use it. None: each frame is a new array.
        """
        ...

    def times(self) -> np.ndarray | None:
        """(count,) s, times of all frames by number; None where they are unknown."""
        ...

    def rewind(self) -> bool:
        """Start again, with the counts at zero; False where that is impossible."""
        ...

    def close(self) -> None: ...


class SourceBase:
    """Size and losses of a source: the frames that could not be read or have another size."""

    def __init__(self) -> None:
        self.size, self.pixel_aspect = (0, 0), 1.0
        self.unreadable = 0
        self.other_sizes: Counter[tuple[int, int]] = Counter()
        self.start_s = 0.0
        self.camera: Camera | CameraError | None = None

    def _checked(self, frame: np.ndarray | None) -> np.ndarray | None:
        """The frame, or None after counting why it is left out."""
        if frame is None or not frame.size:
            self.unreadable += 1
            return None
        size = (frame.shape[1], frame.shape[0])
        if size != self.size:
            self.other_sizes[size] += 1
            return None
        return frame

    def _forget_losses(self) -> None:
        self.unreadable = 0
        self.other_sizes = Counter()


def pixel_aspect(capture: cv2.VideoCapture) -> float:
    """Width of a pixel over its height, as OpenCV gives the frames; 1 where it is unknown."""
    across, down = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    if not (math.isfinite(across) and math.isfinite(down) and across > 0 and down > 0):
        return 1.0
    # The file's aspect is the sensor's; OpenCV rotates the frames of an upright phone.
    turned = capture.get(cv2.CAP_PROP_ORIENTATION_AUTO) > 0
    upright = turned and round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90
    return down / across if upright else across / down


def header_rate_hz(capture: cv2.VideoCapture) -> float:
    """Rate of the driver or of the container's header, Hz; 0 where it is impossible."""
    rate: float = capture.get(cv2.CAP_PROP_FPS)
    return rate if math.isfinite(rate) and 0 < rate <= MAX_HEADER_RATE_HZ else 0.0
