"""The node keypoint_detector: people with ids and 2D keypoints from images."""

from __future__ import annotations

import sys
import threading
import time
from array import array
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from emf_ros_msgs.msg import Skeleton2DArray, SkeletonLayout

from ..detect.budget import DetectionBudget
from ..detect.protocol import DetectorError
from ..io.images import ImageError
from ..io.render.overlay import draw_keypoints, small_overlay
from ..io.roi_crops import RoiCrop, RoiCropper
from ..lift.feed import MAX_AGE_MS
from ..people import PeopleTracker, unique_first_id
from ..reasons import Reason
from ..skeletons import Layout
from ..stamps import StampVerdict
from ..types import Frame2D, Pose2D
from . import conversions
from .base import BaseNode, NodeError
from .diagnostics import LATE_MS, Level, Task
from .input_watch import InputWatch
from .missed_messages import MissedMessages
from .params import KeypointDetectorParams
from .qos import EVERY_QOS, IMAGE_QOS, LATCHED_QOS, RELIABLE_QOS
from .rate import RateLimiter, RateMeter
from .running import run
from .when_idle import WhenIdle

#: Maximum time that the end of a run waits for the image at work, s.
STOP_TIMEOUT_S = 5.0

#: Maximum width and height of the small overlay, px.
SMALL_OVERLAY_PX = 720

#: Maximum rate of the small overlay, Hz.
SMALL_OVERLAY_RATE_HZ = 10.0

#: Quality of the small overlay as JPEG, 0..100.
SMALL_OVERLAY_QUALITY = 80


class KeypointDetector(BaseNode[KeypointDetectorParams]):
    """Detects and tracks people in the newest image, in its own thread.

    Args:
        on_keypoints: takes the keypoints of each image, in composed mode.
        lifter_wants: whether the lifter uses keypoints at the moment, in composed mode.
        subscribe: subscribe to images; where the camera is in the same process, it calls `submit`.
    """

    _tracker: PeopleTracker
    #: None while the node is not active, or synchronous.
    _worker: threading.Thread | None = None

    def __init__(
        self,
        on_keypoints: Callable[[Frame2D], None] | None = None,
        lifter_wants: Callable[[], bool] = lambda: False,
        subscribe: bool = True,
    ) -> None:
        super().__init__(KeypointDetectorParams)
        self._on_keypoints, self._lifter_wants = on_keypoints, lifter_wants
        self._subscribes = subscribe
        self._rate = RateMeter()
        self._people_count = 0
        self._decode_ms = self._detect_ms = self._age_ms = float("nan")
        self._frame_id = ""
        #: None where the camera is in the same process.
        self._watch: InputWatch | None = None
        self._arrived = threading.Condition()
        self._newest: Image | CompressedImage | None = None
        self._stopping = False
        # Held while an image is processed.
        self._processing = threading.Lock()

    # ------------------------------------------------------------------ life cycle

    def load(self) -> None:
        if len(self.params.roi) != 4:
            raise NodeError(
                f"parameter 'roi' is {list(self.params.roi)}; it must be x, y, width, height, px"
            )
        if not self._subscribes and self.params.image_transport == "compressed":
            raise NodeError(
                "parameter 'image_transport' is compressed, but the camera in this process gives "
                "raw images"
            )
        x, y, width, height = self.params.roi
        self._cropper = RoiCropper((x, y, width, height), self.params.max_side)
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
                first_id=1 if self.synchronous else unique_first_id(time.time()),
                say=self._log_device,
                budget=self._budget(),
            )
        except DetectorError as error:
            raise NodeError(str(error)) from None
        self._keypoints = self.publish_on(
            Skeleton2DArray, "keypoints", EVERY_QOS if self.synchronous else RELIABLE_QOS
        )
        self._overlay = self.publish_on(Image, "overlay", RELIABLE_QOS)
        self._small_overlay = self.publish_on(CompressedImage, "overlay/compressed", RELIABLE_QOS)
        self._layout = self.publish_on(SkeletonLayout, "keypoint_layout", LATCHED_QOS)
        self._layout.publish(conversions.layout_msg(self._tracker.layout))
        self.get_logger().info(
            f"{self._tracker.description}, up to "
            f"{self.params.max_people} people, {self.params.image_transport} images"
        )

    def start(self) -> None:
        self._limiter = RateLimiter(self.params.max_rate_hz)
        self._small_limiter = RateLimiter(SMALL_OVERLAY_RATE_HZ)
        self._newest, self._stopping = None, False
        self._when_idle = WhenIdle(self.is_wanted)
        self._missed = MissedMessages(self._count_missed)
        compressed = self.params.image_transport == "compressed"
        if self._subscribes:
            topic = "image/compressed" if compressed else "image"
            self._watch = self.watch(
                topic, "images", "start the camera's driver, or remap the topic to the camera's"
            )
            self.listen_to(
                CompressedImage if compressed else Image,
                topic,
                self.submit,
                EVERY_QOS if self.synchronous else IMAGE_QOS,
                self._missed,
                max_bytes=None,
                callback_group=self._when_idle,
            )
        if not self.synchronous:
            self._worker = threading.Thread(target=self._work, name="detect", daemon=True)
            self._worker.start()

    def stop(self) -> None:
        if self._worker is not None:
            with self._arrived:
                self._stopping = True
                self._arrived.notify_all()
            self._worker.join(timeout=STOP_TIMEOUT_S)
            self._worker = None
        self._people_count = 0

    def unload(self) -> None:
        if hasattr(self, "_tracker"):
            self._tracker.close()
            del self._tracker

    def reset(self) -> None:
        with self._processing:
            with self._arrived:
                self._newest, self._when_idle.busy = None, False
                self._arrived.notify_all()
            self._tracker.restart()
            self._limiter.restart()
            self._small_limiter.restart()

    def apply(self, changed: Mapping[str, Any]) -> None:
        with self._processing:
            try:
                self._tracker.configure(
                    self.params.max_people, self.params.min_score, self.params.appearance
                )
            except DetectorError as error:
                raise NodeError(str(error)) from None
            if self._tracker.budget is not None:
                self._tracker.budget.busy_share = self.params.detection_share
            if "max_rate_hz" in changed:
                self._limiter = RateLimiter(self.params.max_rate_hz)

    # ------------------------------------------------------------------ images

    def _budget(self) -> DetectionBudget | None:
        """The limit of the person detection's time; None where each image has its time."""
        if self.params.synchronous:
            return None
        return DetectionBudget(self.params.detection_share)

    def _log_device(self, text: str) -> None:
        self.get_logger().warning(text)

    @property
    def synchronous(self) -> bool:
        """Whether every image is processed, in the thread that brings it."""
        return self.params.synchronous

    def is_wanted(self) -> bool:
        """Whether the node is active, and the results have a subscriber."""
        return self.active and (
            self._lifter_wants()
            or self._keypoints.get_subscription_count() > 0
            or self._overlay.get_subscription_count() > 0
            or self._small_overlay.get_subscription_count() > 0
        )

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until an image would be processed at once.

        Args:
            timeout_s: maximum time to wait, s.

        Returns:
            False where an image is still being processed.
        """
        with self._arrived:
            self._arrived.wait_for(
                lambda: self._stopping or not self._when_idle.busy, max(0.0, timeout_s)
            )
            return not self._when_idle.busy

    def _count_missed(self, images: int) -> None:
        # While the results are not wanted, images are left in the middleware on purpose.
        if not self._when_idle.rested:
            self.counts[Reason.IMAGE_MISSED] += images

    def submit(self, message: Image | CompressedImage) -> None:
        """Process an image: in this thread, or in the worker's, where a newer one replaces it."""
        if not self.active:
            return
        self._when_idle.rested = False
        if self._watch is not None:
            self._watch.arrived()
        if self.synchronous:
            # The next image waits until this one is processed.
            self._process(lambda: message)
            return
        with self._arrived:
            self._when_idle.busy = True
            self._newest = message
            self._arrived.notify_all()

    def _work(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._newest is not None or self._stopping)
                # A thread that was too late for the end of the last run must not go on.
                if self._stopping or self._worker is not threading.current_thread():
                    return
            self._process(self._take_newest)
            with self._arrived:
                if self._worker is not threading.current_thread():
                    return
                self._when_idle.busy = False
                self._arrived.notify_all()
            if self._subscribes and self.executor is not None:
                self.executor.wake()

    def _take_newest(self) -> Image | CompressedImage | None:
        """Empty the slot; None where a reset has emptied it."""
        with self._arrived:
            message, self._newest = self._newest, None
        return message

    def _process(self, take: Callable[[], Image | CompressedImage | None]) -> None:
        """Detect people in an image. An error is counted, and the node goes on.

        Args:
            take: gives the image, or None, once nothing else is at work.
        """
        try:
            with self._processing:
                message = take()
                if message is not None:
                    self._detect(message)
        except ImageError as error:
            self.refuse(Reason.BAD_IMAGE, f"image refused: {error}")
        except Exception as error:  # the libraries' errors share no base of their own
            if not (self._stopping or self.shutting_down):
                self.refuse(Reason.DETECTOR_FAILED, f"the detector failed on an image: {error!r}")

    def _detect(self, message: Image | CompressedImage) -> None:
        stamp_ns = conversions.stamp_ns(message.header.stamp)
        verdict = self._tracker.stamps.take(stamp_ns)
        if verdict.reason is not None:
            self.counts[verdict.reason] += 1
            self.log_refused_stamp(verdict.reason, "image", self._tracker.stamps)
            return
        if verdict is StampVerdict.JUMPED_BACK:
            self._limiter.restart()
            self._small_limiter.restart()
        if not self._limiter.is_due(stamp_ns):
            self.counts[Reason.OVER_MAX_RATE] += 1
            self._mark_used()
            return
        begin = time.perf_counter()
        crop = conversions.roi_crop(message, self._cropper)
        self._decode_ms = 1000 * (time.perf_counter() - begin)
        people = self._tracker.update(crop.image, stamp_ns)
        self._detect_ms = 1000 * (time.perf_counter() - begin)
        self._people_count = len(people)
        self._rate.tick()
        self._mark_used()
        self._frame_id = message.header.frame_id
        if not self._frame_id:
            self.warn_once(
                "frame_id",
                "image: header.frame_id is empty: TF and RViz cannot place people; set frame_id in "
                "the camera's driver",
            )
        # An image of another clock has no age.
        age_ms = (self.get_clock().now().nanoseconds - stamp_ns) / 1e6
        self._age_ms = age_ms if 0 <= age_ms < MAX_AGE_MS else float("nan")
        frame = Frame2D(
            stamp_ns,
            message.header.frame_id,
            self._tracker.layout.name,
            crop.full_size,
            [replace(person, keypoints=crop.in_full_image(person.keypoints)) for person in people],
            self._detect_ms,
            verdict,
        )
        if self._on_keypoints is not None:
            self._on_keypoints(frame)
        if self._keypoints.get_subscription_count() > 0:
            self._keypoints.publish(conversions.keypoints_msg(frame))
        if self._overlay.get_subscription_count() > 0:
            drawn = self._draw(crop, people)
            self._overlay.publish(conversions.image_msg(drawn, "bgr8", message.header))
        if self._small_overlay.get_subscription_count() > 0 and self._small_limiter.is_due(
            stamp_ns
        ):
            self._small_overlay.publish(self._draw_small(crop, people, message.header))
        # The people of this image do not wait for new ones.
        self._tracker.detect_new()

    def _mark_used(self) -> None:
        if self._watch is not None:
            self._watch.used()

    def _draw(self, crop: RoiCrop, people: list[Pose2D]) -> np.ndarray:
        """(H, W, 3) uint8 BGR: the whole view, with keypoints of people in the crop on it."""
        image, keypoints, ids, layout = self._drawn(crop, people)
        drawn = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        draw_keypoints(drawn, keypoints, ids, layout)
        return drawn

    def _draw_small(self, crop: RoiCrop, people: list[Pose2D], header: Header) -> Any:
        """A message of the small overlay; arguments as of `_draw`."""
        image, keypoints, ids, layout = self._drawn(crop, people)
        drawn = small_overlay(image, keypoints, ids, layout, SMALL_OVERLAY_PX, cv2.COLOR_RGB2BGR)
        quality = [cv2.IMWRITE_JPEG_QUALITY, SMALL_OVERLAY_QUALITY]
        _, data = cv2.imencode(".jpg", drawn, quality)
        made = CompressedImage(header=header, format="jpeg")
        made.data = array("B", data.tobytes())
        return made

    def _drawn(
        self, crop: RoiCrop, people: list[Pose2D]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Layout]:
        """The whole view, and in it keypoints, ids and layout, as `draw_keypoints` takes them."""
        image, corner = crop.in_full_view()
        layout = self._tracker.layout
        keypoints = np.array([p.keypoints for p in people]).reshape(-1, len(layout), 3)
        keypoints[..., :2] += corner
        return image, keypoints, np.array([p.track_id for p in people], dtype=int), layout

    def diagnose(self) -> list[Task]:
        rate_hz = self._rate.read()
        task = Task(
            "detector",
            text=f"{rate_hz:.1f} images/s" if rate_hz > 0 else "no images",
            values={
                "rate_hz": f"{rate_hz:.1f}",
                "detector": self._tracker.description,
                "people": str(self._people_count),
                "decode_ms": f"{self._decode_ms:.2f}",
                "detect_ms": f"{self._detect_ms:.1f}",
                "latency_ms": f"{self._age_ms:.0f}",
            },
            hardware=self._frame_id,
        )
        budget = self._tracker.budget
        if budget is not None:
            task.values.update(budget.diagnostics())
        if rate_hz > 0 and self._age_ms > LATE_MS:
            task.worsen(
                Level.WARN,
                f"results are {self._age_ms:.0f} ms late: use a faster device, a smaller variant, "
                "or fewer max_people; compare the clocks of camera and computer",
            )
        if self._watch is None:
            return [task]
        images = self._watch.read(self.is_wanted())
        images.hardware = self._frame_id
        images.worsen(Level.ERROR, self._tracker.stamps.trouble)
        return [task, images]


def main(args: list[str] | None = None) -> int:
    return run(lambda: [KeypointDetector()], args)


if __name__ == "__main__":
    sys.exit(main())
