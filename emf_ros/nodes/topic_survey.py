"""Facts about live topics, as JSON on stdout: for `emf-ros doctor`, which judges them.

It subscribes to images and to camera_info for some seconds. It publishes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..cli.arguments import positive_number
from ..doctor.topics import is_of_a_camera
from ..geometry.camera import CameraError
from ..io.camera_info import camera_from_info, delivered_size
from ..io.images import compressed_size
from .conversions import stamp_ns
from .qos import SENSOR_QOS, is_kept, kept

#: Types of the topics that are heard, by their name in the graph.
HEARD = {
    "sensor_msgs/msg/Image": Image,
    "sensor_msgs/msg/CompressedImage": CompressedImage,
    "sensor_msgs/msg/CameraInfo": CameraInfo,
}

#: Maximum number of topics that are heard; more would slow each other down.
MAX_HEARD = 16

#: Time without a new topic or publisher after which discovery is taken for complete, s.
DISCOVERY_S = 2.0

#: Maximum time for discovery, s.
MAX_DISCOVERY_S = 15.0

#: Period in which the executor looks at the clock, s.
SPIN_S = 0.1

#: Topics of each node that say nothing about cameras.
_COMMON = ("/rosout", "/parameter_events")


class Heard:
    """What arrives on one topic.

    Attributes:
        facts: for the JSON; see `doctor.topics`.
    """

    def __init__(self, node: Node, topic: str, kind: str) -> None:
        self.facts: dict[str, Any] = {"messages": 0, "frame_ids": [], "offset_s": None}
        self._first_s = self._last_s = 0.0
        self._stamps: set[int] = set()
        self._describe: Callable[[Any], dict[str, Any]] = {
            "sensor_msgs/msg/Image": _image,
            "sensor_msgs/msg/CompressedImage": _compressed,
            "sensor_msgs/msg/CameraInfo": _camera_info,
        }[kind]
        publishers = node.get_publishers_info_by_topic(topic)
        all_kept = all(is_kept(publisher.qos_profile) for publisher in publishers)
        qos = kept(SENSOR_QOS) if all_kept else SENSOR_QOS
        node.create_subscription(HEARD[kind], topic, self._take, qos)

    def _take(self, message: Any) -> None:
        facts, now_s = self.facts, time.monotonic()
        self._first_s = self._first_s or now_s
        self._last_s = now_s
        facts["messages"] += 1
        if message.header.frame_id not in facts["frame_ids"]:
            facts["frame_ids"].append(message.header.frame_id)
        self._stamps.add(stamp_ns(message.header.stamp))
        facts["offset_s"] = time.time() - stamp_ns(message.header.stamp) / 1e9
        facts |= self._describe(message)

    def ended(self) -> dict[str, Any]:
        """The facts, with rate and number of different stamps."""
        count, span_s = self.facts["messages"], self._last_s - self._first_s
        self.facts["rate_hz"] = (count - 1) / span_s if count > 1 and span_s > 0 else None
        self.facts["stamps"] = len(self._stamps)
        return self.facts


def _image(message: Image) -> dict[str, Any]:
    return {"size": [message.width, message.height], "encoding": message.encoding}


def _compressed(message: CompressedImage) -> dict[str, Any]:
    import numpy as np

    size = compressed_size(np.frombuffer(message.data, np.uint8))
    return {"size": list(size) if size else None, "encoding": message.format}


def _camera_info(message: CameraInfo) -> dict[str, Any]:
    problem = doubts = ""
    calibrated = False
    try:
        camera = camera_from_info(message)
        calibrated = camera is not None
        doubts = camera.doubts() if camera else ""
    except (CameraError, ValueError) as error:
        problem = str(error)
    return {
        "size": list(delivered_size(message)),
        "calibrated": calibrated,
        "problem": problem,
        "doubts": doubts,
        "model": message.distortion_model,
    }


def _incompatible(node: Node, topic: str) -> list[dict[str, str]]:
    """Pairs of a publisher and a subscriber whose QoS does not match, and why."""
    found = []
    for publisher in node.get_publishers_info_by_topic(topic):
        for subscriber in node.get_subscriptions_info_by_topic(topic):
            state, reason = qos_check_compatible(publisher.qos_profile, subscriber.qos_profile)
            if state == QoSCompatibility.ERROR:
                found.append(
                    {
                        "publisher": _full_name(publisher),
                        "subscriber": _full_name(subscriber),
                        "reason": " ".join(reason.split()),
                    }
                )
    return found


def _full_name(endpoint: Any) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"


def survey(seconds: float) -> dict[str, Any]:
    """List the topics, hear those of cameras, and give the facts.

    Args:
        seconds: for which they are heard.
    """
    node = rclpy.create_node("emf_ros_doctor")
    own = node.get_fully_qualified_name()
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin(period_s: float) -> None:
        end_s = time.monotonic() + period_s
        while time.monotonic() < end_s:
            executor.spin_once(timeout_sec=SPIN_S)

    known, new_s = 0, time.monotonic()
    end_s = new_s + MAX_DISCOVERY_S
    # A busy machine discovers slowly.
    while time.monotonic() < min(end_s, new_s + DISCOVERY_S):
        spin(SPIN_S)
        topics_now = node.get_topic_names_and_types()
        count = len(topics_now) + sum(node.count_publishers(topic) for topic, _ in topics_now)
        if count != known:
            known, new_s = count, time.monotonic()
    listed = [(t, kinds) for t, kinds in node.get_topic_names_and_types() if t not in _COMMON]
    wanted = [
        (topic, kinds[0])
        for topic, kinds in listed
        if len(kinds) == 1 and kinds[0] in HEARD and node.count_publishers(topic)
        # A subscription costs its publisher an encoding.
        if is_of_a_camera(topic)
    ]
    # By namespace: images are heard together with their camera_info.
    wanted.sort(key=lambda pair: pair[0].rpartition("/")[0])
    heard = {topic: Heard(node, topic, kind) for topic, kind in wanted[:MAX_HEARD]}
    spin(seconds)
    topics = []
    for topic, kinds in listed:
        subscribers = [_full_name(e) for e in node.get_subscriptions_info_by_topic(topic)]
        topics.append(
            {
                "name": topic,
                "types": kinds,
                "publishers": [_full_name(e) for e in node.get_publishers_info_by_topic(topic)],
                "subscribers": [name for name in subscribers if name != own],
                "incompatible": [
                    pair for pair in _incompatible(node, topic) if pair["subscriber"] != own
                ],
                "heard": heard[topic].ended() if topic in heard else None,
            }
        )
    node.destroy_node()
    return {"rmw": get_rmw_implementation_identifier(), "topics": topics}


def main(args: list[str] | None = None) -> int:
    """Print the facts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=positive_number, default=3.0, help="of listening (3)")
    options = parser.parse_args(args)
    rclpy.init(args=[])
    try:
        print(json.dumps(survey(options.seconds)))
    except (KeyboardInterrupt, ExternalShutdownException):
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
