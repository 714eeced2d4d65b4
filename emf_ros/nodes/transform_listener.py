"""Hears /tf and /tf_static, and keeps what they say in a `TransformTree`.

tf2_ros is not used: its Python part is not on PyPI, where ROS 2 itself is, and the messages alone
are enough. So all machines run the same lookups, which the tests cover.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from ..geometry.transform_tree import KEEP_S, TransformTree
from ..reasons import Reason
from . import conversions
from .base import BaseNode, NodeError
from .qos import EVERY_QOS

#: Time for which a replay keeps transforms, s: a slow detector falls behind a bag.
REPLAY_KEEP_S = 120.0

#: QoS of the subscription to /tf: publishers of either reliability are heard.
_TF_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.BEST_EFFORT
)
#: QoS of the subscription to /tf_static: its publishers keep their last message for latecomers.
_STATIC_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


def tf_message_type(parameter: str) -> Any:
    """tf2_msgs/TFMessage.

    Args:
        parameter: that needs it.

    Raises:
        NodeError: the package is not installed.
    """
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        raise NodeError(
            f"{parameter} needs the package tf2_msgs, which is not installed: "
            "sudo apt install ros-$ROS_DISTRO-tf2-msgs"
        ) from None
    return TFMessage


class TransformListener:
    """Subscribes while the node is active.

    Args:
        node: subscribes, counts and logs.
        parameter: that needs transforms.
        every: whether all transforms of a replay are kept for its images.
        changed: called after each message.

    Attributes:
        tree: the transforms.

    Raises:
        NodeError: the package tf2_msgs is not installed.
    """

    def __init__(
        self, node: BaseNode[Any], parameter: str, every: bool, changed: Callable[[], None]
    ) -> None:
        self.tree = TransformTree(REPLAY_KEEP_S if every else KEEP_S)
        self._node, self._changed = node, changed
        kind = tf_message_type(parameter)
        self._heard = [
            node.listen_to(kind, "/tf", self._take, EVERY_QOS if every else _TF_QOS),
            node.listen_to(kind, "/tf_static", self._take_static, _STATIC_QOS),
        ]

    def close(self) -> None:
        """End the subscriptions before the node is deactivated."""
        for subscription in self._heard:
            self._node.forget(subscription)

    def _take(self, message: Any) -> None:
        self._add(message, static=False)

    def _take_static(self, message: Any) -> None:
        self._add(message, static=True)

    def _add(self, message: Any, static: bool) -> None:
        for each in message.transforms:
            place, turn = each.transform.translation, each.transform.rotation
            try:
                self.tree.add(
                    each.header.frame_id,
                    each.child_frame_id,
                    conversions.stamp_ns(each.header.stamp),
                    (place.x, place.y, place.z),
                    (turn.x, turn.y, turn.z, turn.w),
                    static,
                )
            except ValueError as error:
                self._node.refuse(Reason.BAD_TRANSFORM, f"/tf: {error}")
        self._changed()
