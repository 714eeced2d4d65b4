"""Images to 2D keypoints of everyone in sight."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from emf_ros_msgs.msg import Skeleton2DArray, SkeletonLayout

from ..detect.protocol import DetectorError
from ..io.images import Excerpts, ImageError
from ..io.render.overlay import draw_keypoints
from ..people import PeopleTracker
from ..reasons import Reason
from ..stamps import StampVerdict
from ..types import Frame2D, Pose2D
from . import conversions
from .base import BaseNode, NodeError
from .params import KeypointDetectorParams
from .qos import EVERY_QOS, IMAGE_QOS, LATCHED_QOS, RELIABLE_QOS
from .rate import RateMeter
from .running import run
from .when_idle import WhenIdle


class KeypointDetector(BaseNode[KeypointDetectorParams]):
    """Detects and tracks off the executor's thread, always in the newest image.

    Args:
        on_keypoints: takes each image's keypoints without a message, in composed mode, and
        lifter_wants: says whether it would have any use for them.
    """

    #: None until the node is built: one that could not be is destroyed all the same.
    _worker: threading.Thread | None = None
    _tracker: PeopleTracker

    def __init__(
        self,
        on_keypoints: Callable[[Frame2D], None] | None = None,
        lifter_wants: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(KeypointDetectorParams)
        self._on_keypoints, self._lifter_wants = on_keypoints, lifter_wants
        if len(self.params.roi) != 4:
            raise NodeError(
                f"parameter 'roi' is {list(self.params.roi)}; it must be x, y, width, height, px"
            )
        x, y, width, height = self.params.roi
        self._excerpts = Excerpts((x, y, width, height), self.params.max_side)
        self._due_ns: int | None = None
        try:
            self._tracker = PeopleTracker.make(
                self.params.detector,
                self.params.variant,
                self.params.max_people,
                self.params.min_score,
                self.params.appearance,
                self.counts,
                model=self.params.model,
                device=self.params.device,
                detection_interval=self.params.detection_interval,
                say=self._device_says,
            )
        except DetectorError as error:
            raise NodeError(str(error)) from None
        self._rate = RateMeter()
        self._people = 0
        self._decode_ms = self._detect_ms = float("nan")

        synchronous = self.params.synchronous
        self._keypoints = self.publish_on(
            Skeleton2DArray, "keypoints", EVERY_QOS if synchronous else RELIABLE_QOS
        )
        self._overlay = self.publish_on(Image, "overlay", RELIABLE_QOS)
        self._layout = self.publish_on(SkeletonLayout, "keypoint_layout", LATCHED_QOS)
        self._layout.publish(conversions.layout_msg(self._tracker.layout))

        self._slot: Image | CompressedImage | None = None
        self._arrived = threading.Condition()
        self._stopping = False
        self._gate = WhenIdle(self._is_wanted)
        compressed = self.params.image_transport == "compressed"
        self.listen_to(
            CompressedImage if compressed else Image,
            "image/compressed" if compressed else "image",
            # In the executor's own thread the next image waits for this one.
            self._look if synchronous else self._take,
            EVERY_QOS if synchronous else IMAGE_QOS,
            callback_group=self._gate,
        )
        if not synchronous:
            self._worker = threading.Thread(target=self._work, name="detect", daemon=True)
            self._worker.start()
        self.get_logger().info(
            f"{self._tracker.description}, up to "
            f"{self.params.max_people} people, {self.params.image_transport} images"
        )

    def _device_says(self, text: str) -> None:
        self.get_logger().error(text)

    def _take(self, message: Image | CompressedImage) -> None:
        with self._arrived:
            self._gate.busy = True
            self._slot = message
            self._arrived.notify()

    def _is_wanted(self) -> bool:
        return (
            self._lifter_wants()
            or self._keypoints.get_subscription_count() > 0
            or self._overlay.get_subscription_count() > 0
        )

    def _work(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._slot is not None or self._stopping)
                if self._stopping:
                    return
                message, self._slot = self._slot, None
            assert message is not None
            self._look(message)
            self._gate.busy = False
            if self.executor is not None:
                self.executor.wake()

    def _look(self, message: Image | CompressedImage) -> None:
        try:
            self._process(message)
        except ImageError as error:
            self.refuse(Reason.BAD_IMAGE, f"image refused: {error}")
        except Exception as error:
            # Whatever one image does to a library, the next one must still be looked at.
            if not (self._stopping or self.shutting_down):
                self.refuse(Reason.DETECTOR_FAILED, f"the detector failed on an image: {error!r}")

    def _process(self, message: Image | CompressedImage) -> None:
        stamp_ns = conversions.stamp_ns(message.header.stamp)
        verdict = self._tracker.stamps.take(stamp_ns)
        if verdict.reason is not None:
            self.counts[verdict.reason] += 1
            self.log_refused_stamp(verdict.reason, "image", self._tracker.stamps)
            return
        if not self._is_due(stamp_ns, verdict):
            self.counts[Reason.OVER_MAX_RATE] += 1
            return
        begin = time.perf_counter()
        excerpt = conversions.excerpt(message, self._excerpts)
        picture = excerpt.picture
        self._decode_ms = 1000 * (time.perf_counter() - begin)
        people = self._tracker.update(picture, stamp_ns)
        self._detect_ms = 1000 * (time.perf_counter() - begin)
        self._people = len(people)
        self._rate.tick()
        in_whole = [
            replace(person, keypoints=excerpt.in_whole(person.keypoints)) for person in people
        ]
        if self._on_keypoints is not None:
            self._on_keypoints(
                Frame2D(
                    stamp_ns,
                    message.header.frame_id,
                    self._tracker.layout.name,
                    excerpt.size,
                    in_whole,
                    self._detect_ms,
                    verdict,
                )
            )
        if self._keypoints.get_subscription_count() > 0:
            self._keypoints.publish(
                conversions.keypoints_msg(
                    message.header,
                    self._tracker.layout.name,
                    excerpt.size,
                    in_whole,
                    self._detect_ms,
                )
            )
        if self._overlay.get_subscription_count() > 0:
            self._overlay.publish(self._draw(picture, people, message.header))

    def _is_due(self, stamp_ns: int, verdict: StampVerdict) -> bool:
        """Whether an image of this stamp is to be looked at; its rate stays under the limit."""
        rate_hz = self.params.max_rate_hz
        if rate_hz <= 0:
            return True
        period_ns = round(1e9 / rate_hz)
        # An image that comes a little early is the one that was meant.
        early_ns = period_ns // 10
        due_ns = self._due_ns
        if due_ns is None or verdict is StampVerdict.JUMPED_BACK:
            due_ns = stamp_ns
        after_ns = stamp_ns - due_ns
        if after_ns < -early_ns:
            return False
        # Counted from when it was due, or those that come late would slow all that follow.
        self._due_ns = period_ns + (due_ns if after_ns < period_ns else stamp_ns)
        return True

    def _draw(self, picture: np.ndarray, people: list[Pose2D], header: Header) -> Image:
        count = len(self._tracker.layout)
        drawn = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        draw_keypoints(
            drawn,
            np.array([found.keypoints for found in people]).reshape(-1, count, 3),
            np.array([found.track_id for found in people], dtype=int),
            self._tracker.layout,
        )
        return conversions.image_msg(drawn, "bgr8", header)

    def diagnose(self) -> tuple[bool, str, dict[str, str]]:
        rate = self._rate.read()
        values = {
            "rate_hz": f"{rate:.1f}",
            "detector": self._tracker.description,
            "people": str(self._people),
            "decode_ms": f"{self._decode_ms:.2f}",
            "detect_ms": f"{self._detect_ms:.1f}",
        }
        trouble = self._tracker.stamps.trouble
        if trouble:
            return False, trouble, values
        return True, f"{rate:.1f} images/s" if rate > 0 else "no images", values

    def destroy_node(self) -> None:
        if self._worker is not None:
            with self._arrived:
                self._stopping = True
                self._arrived.notify()
            self._worker.join(timeout=5.0)
        if hasattr(self, "_tracker"):
            self._tracker.close()
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    return run(lambda: [KeypointDetector()], args)


if __name__ == "__main__":
    sys.exit(main())
