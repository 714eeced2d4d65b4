"""A real keypoint_detector process, shown image after image, and checks of what it publishes."""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from inputs import FRAME_NS, FRAME_SIZE, image_message, set_stamp
from ros_session import REPEAT_S, poll, stamp_ns, wait_for

#: Numbers of the first frame with two people, and of the one after the last that is shown again.
FIRST_WITH_TWO = 12
LAST_WITH_TWO = 45


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
        self._live = not process.parameters.get("synchronous")
        self.now = time.time_ns()
        # Back and forth through those with two people, so that no person jumps.
        two = frames[FIRST_WITH_TWO:LAST_WITH_TWO]
        self._pictures = itertools.chain(
            frames[:FIRST_WITH_TWO], itertools.cycle([*two, *two[-2:0:-1]])
        )
        ros.connect(process.topic("keypoint_detector"))
        # That it has discovered our side says nothing about ours.
        wait_for(self._images.get_subscription_count, "the detector listens")
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
        """Publish an image that must be answered; the answer.

        Where it or its answer got lost, it is published again, as the next image.
        """

        def asked() -> Any:
            self._images.publish(message)
            answer = poll(lambda: self.keypoints.of_stamp(stamp_ns(message)), REPEAT_S)
            if answer is None:
                self.now += FRAME_NS
                set_stamp(message, self.now)
            return answer

        if self._live:
            return wait_for(asked, "keypoints")
        self._images.publish(message)
        return wait_for(lambda: self.keypoints.of_stamp(stamp_ns(message)), "keypoints")

    def show(self, frames: list[np.ndarray]) -> list[Any]:
        """The keypoints of some images."""
        return [self.send(self.make(picture)) for picture in frames]

    def show_on(self, count: int) -> list[Any]:
        """The keypoints of the next images."""
        return self.show(list(itertools.islice(self._pictures, count)))

    def show_until(self, condition: Callable[[Any], Any], what: str) -> Any:
        """The first answer that meets the condition; a busy machine detects new people late."""
        for _ in range(300):
            (answer,) = self.show_on(1)
            if condition(answer):
                return answer
        pytest.fail(f"300 images and not once: {what}")

    def show_until_two(self) -> None:
        self.show_until(lambda answer: len(answer.skeletons) == 2, "two people")

    def send_refused(self, message: Any) -> None:
        """Publish an image that must be counted as bad."""
        wait_for(self.diagnostics.last, "diagnostics")
        before = self.diagnostics.count("bad_image")

        def counted() -> Any:
            self._images.publish(message)
            return poll(lambda: self.diagnostics.count("bad_image") > before, REPEAT_S)

        wait_for(counted, "the count")
        assert self.keypoints.of_stamp(stamp_ns(message)) is None

    def assert_goes_on(self) -> None:
        """The next good image is answered, and people are found."""
        assert self.process.alive
        assert_sane(self.show_until(lambda answer: answer.skeletons, "anyone"))


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
