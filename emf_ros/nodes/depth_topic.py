"""The topic of one camera's depth images, for a lifter."""

from __future__ import annotations

from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image

from ..io.images import ImageError
from ..lift.dispatch import Dispatcher
from ..lift.feed import Feed
from ..reasons import Reason
from . import conversions
from .base import BaseNode
from .counted_log import CameraLog
from .diagnostics import Level, Task
from .params import SkeletonLifterParams


class DepthTopic:
    """Subscribes to depth images, hands them on, and tells whether they come.

    Args:
        node: subscribes.
        feed: of the camera.
        dispatcher: takes the images.
        log: counts of the camera.
        qos: of the subscription.
    """

    def __init__(
        self,
        node: BaseNode[SkeletonLifterParams],
        feed: Feed,
        dispatcher: Dispatcher,
        log: CameraLog,
        qos: QoSProfile,
    ) -> None:
        self._node, self._feed, self._dispatcher = node, feed, dispatcher
        self._log, self._qos = log, qos
        self._topic = feed.topic("depth")
        self._subscription: Subscription | None = None
        self._watch = node.watch(
            self._topic,
            "depth images",
            "distances come from the size of people; start the depth camera, or remap the topic "
            "to its registered depth images",
        )

    def subscribe(self) -> None:
        """Subscribe, where it is not done."""
        if self._subscription is None:
            self._subscription = self._node.listen_to(
                Image, self._topic, self._take, self._qos, max_bytes=None
            )

    def unsubscribe(self) -> None:
        """End the subscription."""
        if self._subscription is not None:
            self._node.forget(self._subscription)
            self._subscription = None

    def task(self, wanted: bool) -> Task:
        """The state of the topic.

        Args:
            wanted: whether poses have subscribers.
        """
        task = self._watch.read(wanted)
        task.worsen(Level.ERROR, self._feed.pipeline.depths.stamps.trouble)
        return task

    def _take(self, message: Image) -> None:
        self._watch.arrived()
        try:
            image = conversions.depth_image(message)
        except ImageError as error:
            self._log.refuse(Reason.BAD_DEPTH, f"{self._topic} refused: {error}")
            return
        self._watch.used()
        stamp_ns = conversions.stamp_ns(message.header.stamp)
        self._dispatcher.submit_depth(self._feed, stamp_ns, image)
