"""The images of one topic of a bag, as a video."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..geometry.camera import Camera, CameraError
from .bags import BagError, BagReader, namespace_of, stamp_ns
from .camera_info import camera_from_info
from .frame_source import DEFAULT_RATE_HZ, SourceBase, VideoError
from .images import ImageError, decode_compressed, decode_image

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

#: Number of images by whose stamps a bag's rate is told: a pause among them does not matter.
_RATE_IMAGES = 31

#: Last names of the topics of compressed images: image_raw/compressed has the camera of image_raw.
_TRANSPORTS = ("compressed", "compressedDepth", "zstd", "ffmpeg")


class BagSource(SourceBase):
    """The images of one topic, at the stamps of their headers.

    Args:
        path: of the bag.
        topic: of the images; empty where the bag has only one.
        rectified: whether the images are rectified, see `camera_info.camera_from_info`.

    Attributes:
        camera: by the `camera_info` in the namespace of the topic; an error where it cannot be
            used; None where there is none. The notice then says which other ones the bag has.

    Raises:
        VideoError: the bag cannot be read, has no such topic, or no image that can be decoded.
    """

    live = False

    def __init__(self, path: Path, topic: str = "", rectified: bool = False) -> None:
        super().__init__()
        self._path, self.notice = path, ""
        try:
            self._bag = BagReader(path)
        except BagError as error:
            raise VideoError(str(error)) from None
        try:
            by = "--topic (source_topic of video_source)"
            self._topic = self._bag.choose(topic, IMAGE, COMPRESSED_IMAGE, by=by)
            self.count = self._bag.counts[self._topic]
            self._message: Any = None
            self._restart()
            stamps: list[int] = []
            while not self.size[0] and self.grab() is not None:
                assert self._message is not None
                image = self._decoded()
                if image is not None:
                    self.size = (image.shape[1], image.shape[0])
                    stamps.append(stamp_ns(self._message.header))
            if not self.size[0]:
                raise VideoError(f"no image of {self._topic} in {path} can be decoded")
            # A damaged message is a fault of the playback, which comes to it later.
            with suppress(VideoError):
                while len(stamps) < _RATE_IMAGES and self.grab() is not None:
                    assert self._message is not None
                    stamps.append(stamp_ns(self._message.header))
            steps_s = np.diff(stamps) / 1e9
            # The lower median: of two steps, the longer one may be a pause.
            rising_s = np.sort(steps_s[steps_s > 0])
            self.rate_hz = (
                float(1 / rising_s[(len(rising_s) - 1) // 2]) if len(rising_s) else DEFAULT_RATE_HZ
            )
            self.camera = self._camera(rectified)
            self._restart()
        except BagError as error:
            self._bag.close()
            raise VideoError(str(error)) from None
        except VideoError:
            self._bag.close()
            raise

    def grab(self) -> tuple[int, float] | None:
        try:
            found = next(self._messages, None)
        except BagError as error:
            raise VideoError(str(error)) from None
        if found is None:
            return None
        self._message = found[2]
        self._next += 1
        stamp_s = stamp_ns(self._message.header) / 1e9
        if self._next == 1:
            self.start_s = stamp_s
        return self._next - 1, stamp_s - self.start_s

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray | None:
        return self._checked(self._decoded())

    def times(self) -> np.ndarray | None:
        return None

    def rewind(self) -> bool:
        self._forget_losses()
        self._restart()
        return True

    def close(self) -> None:
        self._bag.close()

    def _restart(self) -> None:
        self._messages: Iterator[tuple[str, int, Any]] = self._bag.messages({self._topic})
        self._message, self._next = None, 0

    def _decoded(self) -> np.ndarray | None:
        """The image of the message, BGR; None where it cannot be decoded."""
        message = self._message
        data = np.asarray(message.data, dtype=np.uint8)
        try:
            if self._bag.topics[self._topic] == COMPRESSED_IMAGE:
                rgb = decode_compressed(data)
            else:
                rgb = decode_image(
                    data,
                    message.encoding,
                    message.width,
                    message.height,
                    message.step,
                    bool(message.is_bigendian),
                )
        except ImageError:
            return None
        return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)

    def _camera(self, rectified: bool) -> Camera | CameraError | None:
        """The intrinsics of the first message beside the images; None where there is none.

        Messages that cannot be used give an error. It is for those who need the intrinsics.

        Those of another namespace may be of another camera, and are not taken.
        """
        image, _, last = self._topic.rpartition("/")
        images = [self._topic, image] if last in _TRANSPORTS else [self._topic]
        infos = self._bag.of_type(CAMERA_INFO)
        found = [
            info for name in images for info in infos if namespace_of(info) == namespace_of(name)
        ]
        if not found:
            if infos:
                self.notice = (
                    f"no camera_info is in the namespace of {self._topic}: not taken: "
                    + ", ".join(infos)
                )
            return None
        usual = [info for info in found if info.endswith("/camera_info")]
        topic = (usual or found)[0]
        camera = None
        for _, _, message in self._bag.messages({topic}):
            try:
                camera = camera_from_info(message, rectified)
                camera = camera.scaled_to(*self.size) if camera is not None else None
            except CameraError as error:
                return CameraError(f"{self._path}: {topic}: {error}")
            if camera is not None:
                break
        return camera
