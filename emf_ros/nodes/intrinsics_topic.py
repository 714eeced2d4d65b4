"""camera_info: a subscription to it, which hears those sent once, too, and its content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from ..geometry.camera import CameraError
from ..io.camera_info import camera_from_info, delivered_size
from ..lift.feed import CameraReport
from ..reasons import Reason
from .base import BaseNode
from .qos import is_kept, kept

#: What to do about a camera whose intrinsics are not known.
CALIBRATE = (
    "run camera_calibration and give its file to the camera's driver, or set fov_deg or "
    "camera_info_file of video_source"
)

#: Period of `IntrinsicsTopic.follow`, s.
FOLLOW_PERIOD_S = 0.2


class IntrinsicsTopic:
    """Hears camera_info, also what was sent once before this node was there.

    Only a subscription with transient local durability gets that. From other publishers it gets
    nothing, and their drivers warn about it. So the durability follows the publishers.

    Args:
        node: looks at the graph.
        topic: as it is subscribed to.
        qos: of the subscription to publishers that keep nothing.
        subscribe: subscribes with a profile.
        forget: ends a subscription.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        qos: QoSProfile,
        subscribe: Callable[[QoSProfile], Subscription],
        forget: Callable[[Subscription], Any],
    ) -> None:
        self.topic = node.resolve_topic_name(topic)
        self._node, self._subscribe, self._forget = node, subscribe, forget
        self._profiles = {False: qos, True: kept(qos)}
        # By whether they hear publishers that keep their messages.
        self._heard: dict[bool, Subscription] = {}
        self.follow()

    @classmethod
    def of(
        cls,
        node: BaseNode[Any],
        topic: str,
        callback: Callable[[CameraInfo], None],
        qos: QoSProfile,
    ) -> IntrinsicsTopic:
        """The topic of a managed node, which ends all subscriptions when it is deactivated."""
        return cls(
            node,
            topic,
            qos,
            lambda profile: node.listen_to(CameraInfo, topic, callback, profile, alone=False),
            node.forget,
        )

    def follow(self) -> None:
        """Subscribe as the publishers need it; call it every `FOLLOW_PERIOD_S`."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        # Without a publisher a volatile one may come: all that it sends is to be heard.
        wanted = {is_kept(publisher.qos_profile) for publisher in publishers} or {False}
        for keeps in wanted - self._heard.keys():
            self._heard[keeps] = self._subscribe(self._profiles[keeps])
        for keeps in self._heard.keys() - wanted:
            self._forget(self._heard.pop(keeps))

    def close(self) -> None:
        """End the subscriptions before the node is deactivated."""
        while self._heard:
            self._forget(self._heard.popitem()[1])


def camera_report(
    message: CameraInfo, topic: str, rectified: bool, counts: Counter[Reason]
) -> CameraReport:
    """The intrinsics in a message.

    Args:
        message: camera_info.
        topic: in the text of a fault.
        rectified: whether they are those of rectified images.
        counts: of what is refused.
    """
    camera, fault = None, ""
    try:
        camera = camera_from_info(message, rectified)
    except CameraError as error:
        counts[Reason.BAD_CAMERA_INFO] += 1
        fault = f"{topic} refused: {error}"
    else:
        if camera is None:
            zero = "P, which rectified images need," if rectified else "K"
            fault = f"{topic} has no intrinsics ({zero} is zero)"
    if fault:
        fault += f": poses have no position; {CALIBRATE}"
    return CameraReport(camera, delivered_size(message), fault)
