"""Quality of service of publishers and subscriptions."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # its name up to Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = [
    "EVERY_BEST_EFFORT_QOS",
    "EVERY_QOS",
    "IMAGE_QOS",
    "LATCHED_QOS",
    "RELIABLE_QOS",
    "SENSOR_QOS",
    "PublisherEventCallbacks",
    "SubscriptionEventCallbacks",
    "is_kept",
    "kept",
    "policies_text",
    "requests_something",
]

#: QoS of subscriptions to sensors: best effort; a lost message is not sent again.
SENSOR_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.BEST_EFFORT
)
#: QoS of publishers: subscribers of either reliability receive it.
RELIABLE_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
)
#: QoS of messages that are published once and reach later subscribers, too.
LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

#: QoS of a replay in full: every message, in order.
EVERY_QOS = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)

#: The same for publishers with best effort: what arrives is kept until it is processed.
EVERY_BEST_EFFORT_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.BEST_EFFORT
)

#: QoS of subscriptions to images: only the newest image, so that a busy node gets no old one.
IMAGE_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)


def policies_text(qos: QoSProfile) -> str:
    """The policies of a profile that often do not match, in the words of `ros2 topic`."""
    return (
        f"reliability {qos.reliability.name.lower()} and durability {qos.durability.name.lower()}"
    )


def requests_something(qos: QoSProfile) -> bool:
    """Whether a subscription with this profile does not hear every publisher."""
    return (
        qos.reliability == ReliabilityPolicy.RELIABLE
        or qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    )


def is_kept(offered: QoSProfile) -> bool:
    """Whether a publisher keeps its last messages for later subscribers."""
    return (
        offered.durability == DurabilityPolicy.TRANSIENT_LOCAL
        and offered.reliability == ReliabilityPolicy.RELIABLE
    )


def kept(qos: QoSProfile) -> QoSProfile:
    """The profile of a subscription that also gets what publishers have kept for it."""
    return QoSProfile(
        history=qos.history,
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
