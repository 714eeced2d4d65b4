"""What a listener to the real graph notes: images, keypoints and skeletons, and what became of each
image."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

import numpy as np
from graph import LISTENER_QOS, Graph
from sensor_msgs.msg import CameraInfo

from emf_ros.nodes.conversions import stamp_ns
from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray

#: Format of the stamp in a serialized message that begins with a header.
STAMP = struct.Struct("<iI")
#: Offset of that stamp, bytes: it follows the four bytes of CDR.
STAMP_OFFSET = 4


def raw_stamp_ns(message: bytes) -> int:
    """The stamp of a serialized message that begins with a header."""
    seconds, nanoseconds = STAMP.unpack_from(message, STAMP_OFFSET)
    return int(seconds * 1_000_000_000 + nanoseconds)


#: Names of the measured parts of the latency. "Before the detector" is reading and publishing the
#: image, its transport, and waiting for the detector. In separate processes it has the keypoints'
#: transport too. "Publish" is building the message, its transport, and receiving it here. The
#: lifter's part is queue, lift and publish.
STAGES = (
    "before the detector, transport",
    "detect",
    "queue",
    "lift",
    "publish",
    "stamp to skeleton received",
    "of it the lifter",
)


@dataclass
class Fate:
    """What became of the images of a stretch of time, as their stamps tell.

    Attributes:
        due: images that the camera should have given.
        skipped: of these, not published by the source.
        not_detected: of the published ones, a newer one replaced them before the detector was free.
        not_lifted: of the detected ones, no skeleton message tells of them.
        answered: with a skeleton message.
    """

    due: int
    skipped: int
    not_detected: int
    not_lifted: int
    answered: int


class Listener:
    """Notes every image and every skeleton message of a graph.

    Args:
        graph: that is listened to.
        keypoints: note the keypoint messages, too. A composed graph publishes them only to
            listeners.

    Attributes:
        image_ns, keypoints_ns: stamps, in the order of arrival.
        rows: of each skeleton message: stamp of the newest image, ns; when it was received, ns;
            detect, queue, lift and total, ms.
        people: in the last skeleton message.
    """

    def __init__(self, graph: Graph, keypoints: bool = False) -> None:
        self.image_ns: list[int] = []
        self.keypoints_ns: list[int] = []
        self.rows: list[tuple[float, ...]] = []
        self.people = 0
        node = graph.node
        node.create_subscription(CameraInfo, "camera_info", self._on_info, LISTENER_QOS)
        node.create_subscription(Skeleton3DArray, "skeletons", self._on_skeletons, LISTENER_QOS)
        if keypoints:
            node.create_subscription(
                Skeleton2DArray, "keypoints", self._on_keypoints, LISTENER_QOS, raw=True
            )

    def _on_info(self, message: CameraInfo) -> None:
        self.image_ns.append(stamp_ns(message.header.stamp))

    def _on_keypoints(self, message: bytes) -> None:
        self.keypoints_ns.append(raw_stamp_ns(message))

    def _on_skeletons(self, message: Skeleton3DArray) -> None:
        received_ns = time.time_ns()
        newest_ns = stamp_ns(message.header.stamp) + stamp_ns(message.lag)
        self.people = len(message.skeletons)
        times = (message.detect_ms, message.queue_ms, message.lift_ms, message.total_ms)
        self.rows.append((newest_ns, received_ns, *times))

    def stages(self, begin_ns: int, end_ns: int) -> np.ndarray:
        """(N, 7) ms, as `STAGES` names them, of the images of a stretch of time."""
        rows = [row for row in self.rows if begin_ns <= row[0] < end_ns]
        newest, received, detect, queue, lift, total = np.array(rows).reshape(-1, 6).T
        age = (received - newest) / 1e6
        return np.stack(
            [
                total - detect - queue - lift,
                detect,
                queue,
                lift,
                age - total,
                age,
                queue + lift + age - total,
            ],
            axis=1,
        )

    def unanswered(self, begin_ns: int, end_ns: int) -> tuple[int, int]:
        """How many images there were, and how many of them no skeleton message tells of."""
        images = {ns for ns in self.image_ns if begin_ns <= ns < end_ns}
        return len(images), len(images - {int(row[0]) for row in self.rows})

    def fate(self, begin_ns: int, end_ns: int, rate_hz: float) -> Fate:
        """What became of the images of a stretch of time.

        Args:
            begin_ns, end_ns: of their stamps.
            rate_hz: of the camera. A video's stamps keep its time steps: a longer step tells how
                many images were skipped.
        """
        images = sorted(set(self.image_ns))
        steps = zip(images, images[1:], strict=False)
        skipped = sum(
            round((after - before) * rate_hz / 1e9) - 1
            for before, after in steps
            if begin_ns <= before < end_ns
        )
        published = {ns for ns in images if begin_ns <= ns < end_ns}
        answered = published & {int(row[0]) for row in self.rows}
        detected = published & set(self.keypoints_ns) | answered
        return Fate(
            due=len(published) + skipped,
            skipped=skipped,
            not_detected=len(published) - len(detected),
            not_lifted=len(detected) - len(answered),
            answered=len(answered),
        )
