"""The node skeleton_viewer: skeletons, image and diagnostics in a web browser.

It subscribes to nothing while no browser is connected. So detector and lifter can rest, too.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray

from ..geometry.camera import Camera, CameraError
from ..geometry.transforms import Transform
from ..io.camera_info import camera_from_info, delivered_size
from ..io.images import ImageError, decode_compressed
from ..io.render.overlay import small_overlay
from ..lift.feed import MAX_AGE_MS
from ..reasons import Reason
from ..skeletons import get_layout
from ..types import Frame2D, Frame3D, TrackState
from ..viewer.frustum import MAX_IMAGE_SIDE_PX
from ..viewer.history import History
from ..viewer.panel import Status
from ..viewer.server import ViewerError
from ..viewer.viewer import Viewer
from . import conversions
from .adapters import ThirdPartyKeypoints
from .base import BaseNode, NodeError
from .camera_place import CameraPlace
from .diagnostics import Level, Task
from .intrinsics_topic import IntrinsicsTopic
from .params import SkeletonViewerParams
from .qos import IMAGE_QOS, RELIABLE_QOS, SENSOR_QOS
from .rate import RateLimiter
from .running import run

#: Period of the check whether browsers are connected, s.
WATCHERS_PERIOD_S = 0.2

#: Maximum rate of raw images that are shown, Hz.
MAX_IMAGE_RATE_HZ = 10.0

#: Time without a message after which people are no longer shown, s. Without images the lifter sends
#: a message a second.
SILENT_S = 3.0

#: Maximum number of tasks whose diagnostics are shown.
MAX_STATUSES = 200

#: Time since the last keypoints in which images wait for theirs, s.
KEYPOINTS_S = 1.0

#: Maximum number of images that wait for their keypoints: 1 s at the rate above.
MAX_RAW_IMAGES = 10

#: Time after which the diagnostics of a task that is silent are no longer shown, s.
FORGET_DIAGNOSTICS_S = 10.0


class SkeletonViewer(BaseNode[SkeletonViewerParams]):
    """Shows what the other nodes publish, to the browsers that are connected.

    Args:
        viewer: shows it; None: the node opens one while it is configured.
    """

    def __init__(self, viewer: Viewer | None = None, **kwargs: Any) -> None:
        super().__init__(SkeletonViewerParams, **kwargs)
        #: None while the node is not configured.
        self._viewer = viewer
        self._is_mine = viewer is None
        self._heard: list[Subscription] = []
        self._infos: IntrinsicsTopic | None = None
        #: The newest camera_info; kept while the node is inactive.
        self._info: CameraInfo | None = None
        #: The frames of people and camera where they differ, and what places the camera then.
        self._frames: tuple[str, str] | None = None
        self._place: CameraPlace | None = None
        #: Keypoints of third-party messages; None with those of emf_ros.
        self._third_party: ThirdPartyKeypoints | None = None
        #: Time of the last keypoints, s, monotonic, and the images whose keypoints may come.
        self._keypoints_s = -math.inf
        self._raw: dict[int, tuple[Header, np.ndarray]] = {}
        #: Why the camera is not shown; empty where it is.
        self._camera_trouble = ""
        #: Time of the last skeletons, s, monotonic.
        self._heard_s = 0.0
        self._stamp_ns = 0
        self._images: Subscription | None = None
        self._history = History()

    # ------------------------------------------------------------------ life cycle

    def load(self) -> None:
        self._third_party, self._info = None, None
        if self.params.keypoints_type != "emf_ros":
            self._third_party = ThirdPartyKeypoints(
                self,
                self.params.keypoints_type,
                lambda topic: topic,
                lambda: None if self._info is None else delivered_size(self._info),
                self._take_keypoints,
                self.refuse,
            )
        if not self._is_mine:
            return
        # Each camera of a robot has a page of its own.
        title = f"emf_ros {self.get_namespace().strip('/')}".strip()
        try:
            self._viewer = Viewer(self.params.host, self.params.port, title)
        except ViewerError as error:
            raise NodeError(str(error)) from None
        if self.params.port not in (0, self._viewer.port):
            self.get_logger().warning(
                f"port {self.params.port} is taken: the viewer has port {self._viewer.port}"
            )
        self.get_logger().info(f"open {self._viewer.address} in a browser")

    def start(self) -> None:
        self._history = History()
        self._statuses: dict[str, tuple[float, Status]] = {}
        self._limiter = RateLimiter(MAX_IMAGE_RATE_HZ)
        self.every(WATCHERS_PERIOD_S, self._follow_watchers)
        self.every(1.0, self._tell)

    def stop(self) -> None:
        self._unsubscribe()

    def unload(self) -> None:
        if self._viewer is not None and self._is_mine:
            self._viewer.close()
            self._viewer = None

    # ------------------------------------------------------------------ subscriptions

    @property
    def viewer(self) -> Viewer:
        """The viewer of the configured node."""
        assert self._viewer is not None
        return self._viewer

    def _follow_watchers(self) -> None:
        """Subscribe while a browser is connected."""
        if not self.viewer.watchers:
            self._unsubscribe()
            return
        if not self._heard:
            self._history = History()
            self._heard_s = time.monotonic()
            self._heard = [
                self.listen_to(Skeleton3DArray, "skeletons", self._take_skeletons, SENSOR_QOS),
                self.listen_to(
                    DiagnosticArray, "/diagnostics", self._take_diagnostics, RELIABLE_QOS
                ),
            ]
            self._infos = IntrinsicsTopic.of(self, "camera_info", self._take_info, SENSOR_QOS)
            self._listen_to_keypoints()
        elif self._infos is not None:
            self._infos.follow()
        self._follow_images()

    def _listen_to_keypoints(self) -> None:
        if self._third_party is None:
            self._heard.append(
                self.listen_to(
                    Skeleton2DArray,
                    "keypoints",
                    lambda message: self._take_keypoints(conversions.keypoint_frame(message)),
                    SENSOR_QOS,
                )
            )
        else:
            self._heard.append(self._third_party.subscribe(SENSOR_QOS))

    def _follow_images(self) -> None:
        """Subscribe to the small overlay of our detector, or else to the camera's images."""
        if not self.viewer.scene.camera.wants_image or self.viewer.paused:
            self._forget_images()
            return
        overlay, image = "overlay/compressed", "image"
        wanted = overlay
        if not self.count_publishers(self.resolve_topic_name(overlay)):
            wanted = image
        full = self.resolve_topic_name(wanted)
        if self._images is not None and self._images.topic_name == full:
            return
        self._forget_images()
        if wanted == overlay:
            self._images = self.listen_to(
                CompressedImage, overlay, self._take_overlay, IMAGE_QOS, max_bytes=None
            )
        elif self.count_publishers(full):
            self._images = self.listen_to(Image, image, self._take_image, IMAGE_QOS, max_bytes=None)

    def _forget_images(self) -> None:
        if self._images is not None:
            self.forget(self._images)
            self._images = None
        self._raw.clear()

    def _unsubscribe(self) -> None:
        self._forget_images()
        self._leave_fixed_frame()
        if self._third_party is not None:
            self._third_party.unsubscribe()
        for subscription in self._heard:
            self.forget(subscription)
        self._heard = []
        if self._infos is not None:
            self._infos.close()
            self._infos = None

    # ------------------------------------------------------------------ messages

    def _take_skeletons(self, message: Skeleton3DArray) -> None:
        result = conversions.skeletons_from_msg(message)
        self._stamp_ns = result.stamp_ns
        # An image of another clock has no age.
        age_ms = (self.get_clock().now().nanoseconds - result.stamp_ns) / 1e6
        age_ms = age_ms if 0 <= age_ms < MAX_AGE_MS else float("nan")
        people = sum(person.state != TrackState.ENDED for person in result.people)
        if message.images_arrive:
            times_ms = (message.detect_ms, message.queue_ms, message.lift_ms)
            self._history.add(age_ms, times_ms, people)
        self._heard_s = time.monotonic()
        self._follow_frame(message.header.frame_id)
        if self._frames is None:
            self.viewer.show(result)
            return
        self.viewer.show_unrecorded(result)
        if self._place is not None:
            self._place.put(result.stamp_ns, lambda camera: self._take_place(result, camera))

    def _follow_frame(self, frame_id: str) -> None:
        """Hear where the camera stands while people are in another frame than its own."""
        camera = frame_id if self._info is None else self._info.header.frame_id
        frames = None if camera == frame_id else (frame_id, camera)
        if frames == self._frames:
            return
        self._leave_fixed_frame()
        self._frames = frames
        self.viewer.set_up("-y" if frames is None else "+z")
        if frames is None:
            return
        try:
            self._place = CameraPlace(self, *frames)
        except NodeError as error:
            self._camera_trouble = str(error)
            self.get_logger().warning(f"the camera is not shown: {error}")

    def _leave_fixed_frame(self) -> None:
        self._frames, self._camera_trouble = None, ""
        if self._place is not None:
            self._place.close()
            self._place = None

    def _take_place(self, result: Frame3D, camera: Transform | None) -> None:
        """Take where the camera stood at the time of these people; None where it is not known."""
        if camera is not None:
            self.viewer.record(result, camera)
        if camera is None or self._images is None:
            # Otherwise the camera moves with its images.
            self.viewer.place_camera(camera)
        self._camera_trouble = ""
        if camera is None and self._place is not None:
            self._camera_trouble = self._place.trouble(result.stamp_ns)

    def _take_keypoints(self, frame: Frame2D) -> None:
        """Record keypoints, and draw them on the image of their time where no detector does."""
        self._keypoints_s = time.monotonic()
        if self.viewer.recording:
            self.viewer.take_keypoints(frame)
        if frame.stamp_ns not in self._raw:
            return
        header, image = self._raw[frame.stamp_ns]
        self._raw = {stamp: raw for stamp, raw in self._raw.items() if stamp > frame.stamp_ns}
        drawn = image
        # The lifter refuses and counts keypoints that fit no layout.
        with contextlib.suppress(ValueError):
            layout = get_layout(frame.layout)
            keypoints = np.array([person.keypoints for person in frame.people], np.float64)
            keypoints = keypoints.reshape(-1, len(layout), 3)
            keypoints[..., :2] *= np.array(image.shape[1::-1]) / np.maximum(frame.image_size, 1)
            ids = np.array([person.track_id for person in frame.people], np.int64)
            drawn = small_overlay(image, keypoints, ids, layout, MAX_IMAGE_SIDE_PX)
        self._show_image(header, drawn)

    def _take_info(self, message: CameraInfo) -> None:
        before, self._info = self._info, message
        if before is not None and _same_camera(before, message):
            return
        camera: Camera | None = None
        try:
            camera = camera_from_info(message, self.params.rectified)
        except CameraError as error:
            self.refuse(Reason.BAD_CAMERA_INFO, f"camera_info refused: {error}")
        self.viewer.set_camera(camera)

    def _take_overlay(self, message: CompressedImage) -> None:
        try:
            image = decode_compressed(np.frombuffer(message.data, np.uint8))
        except ImageError as error:
            self.refuse(Reason.BAD_IMAGE, f"image on overlay/compressed refused: {error}")
            return
        self._show_image(message.header, np.ascontiguousarray(image[..., ::-1]))

    def _show_image(self, header: Header, image: np.ndarray) -> None:
        """Show an image (H, W, 3) uint8 BGR where the camera was when it was taken."""
        if self._frames is None:
            self.viewer.show_image(image)
        if self._place is None:
            return

        def show(camera: Transform | None) -> None:
            if camera is not None:
                self.viewer.place_camera(camera)
                self.viewer.show_image(image)

        self._place.put(conversions.stamp_ns(header.stamp), show)

    def _take_image(self, message: Image) -> None:
        # By the time of arrival: stamps may step back, as in a bag that is played in a loop.
        if not self._limiter.is_due(time.monotonic_ns()):
            return
        try:
            image = conversions.image_to_rgb(message)
        except ImageError as error:
            self.refuse(Reason.BAD_IMAGE, f"image refused: {error}")
            return
        image = np.ascontiguousarray(image[..., ::-1])
        if time.monotonic() - self._keypoints_s > KEYPOINTS_S:
            self._show_image(message.header, image)
            return
        # The keypoints of this image come later.
        self._raw[conversions.stamp_ns(message.header.stamp)] = (message.header, image)
        while len(self._raw) > MAX_RAW_IMAGES:
            del self._raw[next(iter(self._raw))]

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        now = time.monotonic()
        for status in message.status:
            level = Level(status.level[0]).name if status.level[0] in iter(Level) else "?"
            values = [(value.key, value.value) for value in status.values]
            found = Status(status.name, level, status.message, values)
            if status.name in self._statuses or len(self._statuses) < MAX_STATUSES:
                self._statuses[status.name] = (now, found)

    # ------------------------------------------------------------------ once a second

    def _tell(self) -> None:
        """Show rates and diagnostics."""
        if not self._heard:
            return
        now = time.monotonic()
        self._statuses = {
            name: (heard_s, status)
            for name, (heard_s, status) in self._statuses.items()
            if now - heard_s < FORGET_DIAGNOSTICS_S
        }
        self._say_what_is_missing(now)
        self._history.close_second()
        self.viewer.show_history(self._history)
        self.viewer.show_diagnostics([status for _, status in self._statuses.values()])

    def _say_what_is_missing(self, now_s: float) -> None:
        """Say in the page why nothing moves, and forget people of whom nothing is heard."""
        silent_s = now_s - self._heard_s
        text = f"The camera is not shown: {self._camera_trouble}" if self._camera_trouble else ""
        if silent_s > SILENT_S:
            topic = self.resolve_topic_name("skeletons")
            text = f"No message on {topic} for {silent_s:.0f} s."
            if not self.count_publishers(topic):
                text = f"Nothing publishes {topic}. Is the lifter running?"
            if self.viewer.scene.people:
                self.viewer.show_unrecorded(Frame3D(self._stamp_ns, 0, [], float("nan")))
        self.viewer.tell(text)

    def diagnose(self) -> list[Task]:
        viewer = self.viewer
        count = viewer.watchers
        browsers = "1 browser" if count == 1 else f"{count} browsers"
        text = f"{browsers} at {viewer.address}" if count else f"rests: {viewer.address}"
        return [Task("viewer", text=text, values={"browsers": str(count)})]


def _same_camera(a: CameraInfo, b: CameraInfo) -> bool:
    """Whether two messages have the same intrinsics."""

    def content(message: CameraInfo) -> tuple[Any, ...]:
        return (
            message.width,
            message.height,
            message.distortion_model,
            list(message.k),
            list(message.d),
            list(message.p),
            message.roi,
            message.binning_x,
            message.binning_y,
        )

    return content(a) == content(b)


def main(args: list[str] | None = None) -> int:
    return run(lambda: [SkeletonViewer()], args)


if __name__ == "__main__":
    sys.exit(main())
