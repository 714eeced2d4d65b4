"""A real keypoint_detector process, shown image after image, and checks of what it publishes."""

from __future__ import annotations

import time
from array import array
from typing import Any

import cv2
import numpy as np
import pytest
from inputs import FRAME_NS, FRAME_SIZE, image_message, set_stamp
from ros_session import stamp_ns, wait_for


class Detector:
    """A detector process, what it finds, and a hand that shows it images one at a time."""

    def __init__(
        self, ros: Any, process: Any, diagnostics: Any, frames: list, compressed: bool = False
    ) -> None:
        from sensor_msgs.msg import CompressedImage, Image

        from emf_ros_msgs.msg import Skeleton2DArray

        self.process, self.frames, self._compressed = process, frames, compressed
        self.diagnostics = diagnostics(process.topic("keypoint_detector"))
        self.keypoints = ros.listen(Skeleton2DArray, process.topic("keypoints"))
        if compressed:
            self._images = ros.publisher(CompressedImage, process.topic("image/compressed"))
        else:
            self._images = ros.publisher(Image, process.topic("image"))
        self.now = time.time_ns()
        ros.connect(process.topic("keypoint_detector"))
        self.send(self.make(self.frames[0]))

    def make(self, picture: np.ndarray) -> Any:
        """The image's message, one frame after the last."""
        self.now += FRAME_NS
        if not self._compressed:
            return image_message(picture, self.now)
        ok, jpeg = cv2.imencode(".jpg", picture)
        assert ok
        return self.make_compressed(jpeg.tobytes())

    def make_compressed(self, data: bytes) -> Any:
        from sensor_msgs.msg import CompressedImage

        self.now += FRAME_NS
        message = CompressedImage(format="jpeg", data=array("B", data))
        message.header.frame_id = "test_camera"
        set_stamp(message, self.now)
        return message

    def send(self, message: Any) -> Any:
        """Publish an image that must be answered; the answer."""
        self._images.publish(message)
        return wait_for(lambda: self.keypoints.of_stamp(stamp_ns(message)), "keypoints")

    def show(self, frames: list[np.ndarray]) -> list[Any]:
        """The keypoints of some images."""
        return [self.send(self.make(picture)) for picture in frames]

    def show_until_two(self) -> int:
        """Images until both people are found; how many that took."""
        for index, picture in enumerate(self.frames[:40]):
            if len(self.send(self.make(picture)).skeletons) == 2:
                return index
        pytest.fail("the second person was not found")

    def send_refused(self, message: Any) -> None:
        """Publish an image that must be counted as bad."""
        wait_for(self.diagnostics.last, "diagnostics")
        before = self.diagnostics.count("bad_image")
        self._images.publish(message)
        wait_for(lambda: self.diagnostics.count("bad_image") > before, "the count")
        assert self.keypoints.of_stamp(stamp_ns(message)) is None

    def assert_goes_on(self) -> None:
        """The next good image is answered, with people in it."""
        assert self.process.alive
        for picture in self.frames[:20]:
            answer = self.send(self.make(picture))
            if answer.skeletons:
                assert_sane(answer)
                return
        pytest.fail("no one was found any more")


def assert_sane(answer: Any) -> None:
    assert answer.layout == "blazepose33"
    assert (answer.image_width, answer.image_height) == FRAME_SIZE
    assert answer.detect_ms > 0
    for person in answer.skeletons:
        assert len(person.keypoints) == 33
        assert 0 < person.score <= 1
        values = np.array([(k.x, k.y, k.score) for k in person.keypoints])
        assert np.isfinite(values).all()
        assert (values[:, 2] >= 0).all() and (values[:, 2] <= 1).all()
        x, y, width, height = person.bbox
        assert width > 10 and height > 10
        assert (values[:, 0] >= x - 0.1).all() and (values[:, 0] <= x + width + 0.1).all()
        assert (values[:, 1] >= y - 0.1).all() and (values[:, 1] <= y + height + 0.1).all()
