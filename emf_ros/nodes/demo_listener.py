"""The node of the demo that collects the messages of the others."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import MarkerArray

from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray

from ..geometry.camera import Camera
from ..io.recordings import Recording
from ..lift.offline import PoseCollector
from ..skeletons import get_layout
from ..types import Frame3D, Pose2D, TrackState
from . import conversions
from .qos import RELIABLE_QOS, SENSOR_QOS


class Listener(Node):
    """Collects the messages of the nodes and measures their times.

    Args:
        namespace: of the nodes.
        layout: name of the keypoints' layout.
        camera: the intrinsics.
        times_s: (N,) times of the video's frames since the first one, s, rising; None where they
            are not known.

    Attributes:
        first_ns: stamp of the first image, ns; None before it.
        latencies_ms: time from the stamp of an image to the arrival of its skeletons, ms.
        stages_ms: times of detection, queue and lifting, ms, one row per message.
        people: number of people in the newest message.
        frames_of_id: number of messages by track id.
    """

    def __init__(
        self, namespace: str, layout: str, camera: Camera, times_s: np.ndarray | None
    ) -> None:
        super().__init__("demo_listener", namespace=namespace)
        self._times_s = times_s
        self.collector = PoseCollector(get_layout(layout), camera.size, camera)
        self.first_ns: int | None = None
        self.latencies_ms: list[float] = []
        self.stages_ms: list[tuple[float, float, float]] = []
        self.messages = self.keypoint_messages = self.marker_messages = 0
        self._stamps_ns: set[int] = set()
        # Of the images whose keypoints have come, and the poses that wait for theirs, by stamp.
        self._known_ns: set[int] = set()
        self._waiting: dict[int, Frame3D] = {}
        self.people = 0
        self.frames_of_id: Counter[int] = Counter()
        self.first_at = self.last_at = 0.0
        self.create_subscription(CameraInfo, "camera_info", self._on_info, RELIABLE_QOS)
        self.create_subscription(Skeleton2DArray, "keypoints", self._on_keypoints, SENSOR_QOS)
        self.create_subscription(Skeleton3DArray, "skeletons", self._on_skeletons, RELIABLE_QOS)
        self.create_subscription(MarkerArray, "markers", self._on_markers, RELIABLE_QOS)

    @property
    def images(self) -> int:
        """Number of images of which any message has arrived."""
        return len(self._stamps_ns)

    def _on_info(self, message: CameraInfo) -> None:
        self._since_first(conversions.stamp_ns(message.header.stamp))

    def _on_keypoints(self, message: Skeleton2DArray) -> None:
        self.keypoint_messages += 1
        frame = conversions.keypoint_frame(message)
        self._take_people(frame.stamp_ns, frame.people)

    def _take_people(self, stamp_ns: int, people: list[Pose2D]) -> None:
        """Take the people of an image, and the poses that have come before them."""
        number = self._number_at(self._since_first(stamp_ns) / 1e9)
        self.collector.keypoints(stamp_ns, number, people)
        self._known_ns.add(stamp_ns)
        if stamp_ns in self._waiting:
            self.collector.poses(self._waiting.pop(stamp_ns))

    def recording(self) -> Recording:
        """All poses that have come; those whose keypoints were lost are without them."""
        for stamp_ns in list(self._waiting):
            self._take_people(stamp_ns, [])
        return self.collector.writer.recording()

    def _number_at(self, time_s: float) -> int:
        """Number of the video's frame nearest to a time; -1 where the times are not known."""
        return -1 if self._times_s is None else int(np.abs(self._times_s - time_s).argmin())

    def _since_first(self, stamp_ns: int) -> int:
        """Time since the first image, ns.

        The camera_info of the first image may be lost, as the source discovers this node later than
        the detector. The keypoints of that image arrive then first.
        """
        self._stamps_ns.add(stamp_ns)
        if self.first_ns is None:
            self.first_ns = stamp_ns
        return stamp_ns - self.first_ns

    def _on_skeletons(self, message: Skeleton3DArray) -> None:
        now_ns = self.get_clock().now().nanoseconds
        result = conversions.skeletons_from_msg(message)
        self.last_at = time.monotonic()
        self.first_at = self.first_at or self.last_at
        if not message.images_arrive:
            # It describes no image.
            return
        self.messages += 1
        self.latencies_ms.append((now_ns - result.stamp_ns) / 1e6)
        self.stages_ms.append((message.detect_ms, message.queue_ms, message.lift_ms))
        ids = [person.track_id for person in result.people if person.state != TrackState.ENDED]
        self.people = len(ids)
        self.frames_of_id.update(ids)
        if result.stamp_ns in self._known_ns:
            self.collector.poses(result)
        else:
            # Its keypoints were published in another thread, and come on another topic.
            self._waiting[result.stamp_ns] = result

    def _on_markers(self, message: MarkerArray) -> None:
        self.marker_messages += 1
