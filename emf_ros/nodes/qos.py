"""Quality of service of publishers and subscriptions."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # its name up to Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

#: For reading sensors: the newest counts, a lost one is not sent again.
SENSOR_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.BEST_EFFORT
)
#: For what we publish: readers of either kind can take it.
RELIABLE_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
)
#: For what is said once and must reach those who come later.
LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

#: For replaying in full: every message, in its order.
EVERY_QOS = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)

#: For images: only the newest one, so that who has been busy does not get an old one.
IMAGE_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)

#: For a subscription whose publishers may well be of a kind that it can't hear.
SAY_NOTHING = SubscriptionEventCallbacks(use_default_callbacks=False)


def policies_text(qos: QoSProfile) -> str:
    """A profile's two policies that others trip over, in the words of `ros2 topic`."""
    return (
        f"reliability {qos.reliability.name.lower()}, durability {qos.durability.name.lower()} "
        "and neither deadline nor lifespan"
    )
