"""Videos made from a video, so that one recording tests more than one thing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import cv2
import numpy as np

from ..geometry.camera import Camera, CameraError
from ..io.video import FrameSource
from .evaluate import EvaluationError


@dataclass(frozen=True)
class Variation:
    """What is changed in a video.

    Attributes:
        mirror: whether left and right are exchanged.
        keep: shares of the width and of the height that are kept, from the upper left corner.
        scale: factor on the resolution.
        slower: factor on the time between images.
        every: 1 keeps all images, N keeps every Nth; their times stay.
    """

    mirror: bool = False
    keep: tuple[float, float] = (1.0, 1.0)
    scale: float = 1.0
    slower: float = 1.0
    every: int = 1

    def changed(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> the changed image."""
        height, width = image.shape[:2]
        image = image[: round(height * self.keep[1]), : round(width * self.keep[0])]
        if self.mirror:
            image = image[:, ::-1]
        if self.scale != 1:
            size = (round(image.shape[1] * self.scale), round(image.shape[0] * self.scale))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(image)

    def camera(self, camera: Camera) -> Camera:
        """The intrinsics of the changed images.

        Raises:
            EvaluationError: a distorted video is to be mirrored.
        """
        width, height = (round(n * k) for n, k in zip(camera.size, self.keep, strict=True))
        matrix = camera.matrix.copy()
        if self.mirror:
            if camera.distortion.any():
                raise EvaluationError("a distorted video cannot be mirrored: rectify it first")
            matrix[0, 2] = width - 1 - matrix[0, 2]
        cut = Camera(matrix, (width, height), camera.distortion, camera.model)
        return cut.scaled_to(round(width * self.scale), round(height * self.scale))


VARIATIONS: dict[str, Variation] = {
    "as it is": Variation(),
    "mirrored": Variation(mirror=True),
    "cropped": Variation(keep=(0.75, 0.85)),
    "slowed": Variation(slower=2.0),
    "shrunk": Variation(scale=0.36),
}


class VariedSource:
    """A video through a `Variation`, as a `FrameSource`."""

    def __init__(self, source: FrameSource, variation: Variation) -> None:
        self._source, self._variation = source, variation
        first = np.zeros((source.size[1], source.size[0], 3), np.uint8)
        height, width = variation.changed(first).shape[:2]
        self.size, self.pixel_aspect = (width, height), source.pixel_aspect
        self.rate_hz = source.rate_hz / variation.slower / variation.every
        self.count = -(-source.count // variation.every)
        self.live, self.notice = source.live, source.notice
        self.start_s = source.start_s
        # The intrinsics of the source are not those of the varied images.
        self.camera: Camera | CameraError | None = None

    @property
    def unreadable(self) -> int:
        return self._source.unreadable

    @property
    def other_sizes(self) -> Counter[tuple[int, int]]:
        return self._source.other_sizes

    def grab(self) -> tuple[int, float] | None:
        while (grabbed := self._source.grab()) is not None:
            number, time_s = grabbed
            if number % self._variation.every == 0:
                return number // self._variation.every, time_s * self._variation.slower
        return None

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray | None:
        image = self._source.retrieve()
        return None if image is None else self._variation.changed(image)

    def times(self) -> np.ndarray | None:
        times = self._source.times()
        if times is None:
            return None
        return times[:: self._variation.every] * self._variation.slower

    def rewind(self) -> bool:
        return self._source.rewind()

    def close(self) -> None:
        self._source.close()
