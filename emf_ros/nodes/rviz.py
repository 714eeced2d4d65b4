"""Starts RViz when the frame of the images is known: RViz cannot change its fixed frame itself.

The views of RViz turn about the z axis of a frame, and z of an optical frame points forward. So
people would lie. While RViz runs, `/tf_static` has a frame that stands upright in the images' one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from geometry_msgs.msg import Quaternion, Transform, TransformStamped
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from emf_ros_msgs.msg import Skeleton3DArray

from .base import NodeError
from .intrinsics_topic import FOLLOW_PERIOD_S, IntrinsicsTopic
from .launch_arguments import write_temporary
from .qos import LATCHED_QOS, SENSOR_QOS, SubscriptionEventCallbacks
from .running import start_ros
from .transform_listener import tf_message_type

#: Time between two lines of the log that say what RViz waits for, s.
PATIENCE_S = 5.0
#: Time between two looks whether RViz has ended, s.
LOOK_S = 0.2
#: Stands for the name of the upright frame in `config/emf_ros.rviz`.
UPRIGHT = "emf_ros_upright"
#: Ending of the upright frame's name, after that of the images' frame.
UPRIGHT_SUFFIX = "_upright"


class FrameOfImages(Node):
    """Finds the frame of a camera's images.

    Args:
        camera: name of the camera; empty for one without a name.

    Attributes:
        frame_id: of the images; empty until a message has told it.
    """

    def __init__(self, camera: str) -> None:
        super().__init__("rviz_start")
        self.frame_id = ""
        info, skeletons = (
            f"{camera}/{name}" if camera else name for name in ("camera_info", "skeletons")
        )
        self.create_subscription(Skeleton3DArray, skeletons, self._take, SENSOR_QOS)
        infos = IntrinsicsTopic(
            self,
            info,
            SENSOR_QOS,
            lambda qos: self.create_subscription(
                CameraInfo,
                info,
                self._take,
                qos,
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            ),
            self.destroy_subscription,
        )
        self._topics = [infos.topic, self.resolve_topic_name(skeletons)]
        # ROS time stands still while /clock is not published.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(FOLLOW_PERIOD_S, infos.follow, clock=steady)
        self.create_timer(PATIENCE_S, self._say, clock=steady)

    def publish_upright(self) -> None:
        """Publish the upright frame: x is the camera's forward, y its left, z its up."""
        kind = tf_message_type("RViz")
        self._static = self.create_publisher(kind, "/tf_static", LATCHED_QOS)
        turn = Transform(rotation=Quaternion(x=0.5, y=-0.5, z=0.5, w=0.5))
        stamped = TransformStamped(
            header=Header(frame_id=self.frame_id, stamp=self.get_clock().now().to_msg()),
            child_frame_id=self.frame_id + UPRIGHT_SUFFIX,
            transform=turn,
        )
        self._static.publish(kind(transforms=[stamped]))

    def _take(self, message: Any) -> None:
        self.frame_id = self.frame_id or message.header.frame_id

    def _say(self) -> None:
        if self.frame_id:
            return
        self.get_logger().info(
            f"RViz starts with the first message that has a frame_id on {self._topics[0]} or "
            f"{self._topics[1]}"
        )


def main(args: list[str] | None = None) -> int:
    """Wait for the frame, and run RViz."""
    try:
        start_ros(args)
    except NodeError as error:
        print(f"emf_ros: {error}", file=sys.stderr)
        return 1
    given = sys.argv if args is None else args
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--camera", default="", help="name of the camera whose frame is taken")
    parser.add_argument("-f", dest="frame", default="", help="frame whose z is up, not waited for")
    parser.add_argument("-d", dest="config", required=True, help="configuration of RViz")
    options = parser.parse_args(remove_ros_args(given)[1:])
    try:
        program = Path(get_package_prefix("rviz2")) / "lib" / "rviz2" / "rviz2"
    except PackageNotFoundError:
        print("emf_ros: RViz needs the package rviz2, which is not installed", file=sys.stderr)
        return 1
    node = FrameOfImages(options.camera)
    window: subprocess.Popen[bytes] | None = None
    try:
        while rclpy.ok() and not (node.frame_id or options.frame):
            rclpy.spin_once(node)
        if node.frame_id and not options.frame:
            node.publish_upright()
        sim_time = bool(node.get_parameter("use_sim_time").value)
        text = Path(options.config).read_text(encoding="utf-8")
        upright = options.frame or node.frame_id + UPRIGHT_SUFFIX
        config = write_temporary(text.replace(UPRIGHT, upright), ".rviz")
        command = [str(program), "-d", config, "-f", options.frame or node.frame_id]
        command += ["--ros-args", "-p", f"use_sim_time:={str(sim_time).lower()}"]
        window = subprocess.Popen(command)
        while rclpy.ok() and window.poll() is None:
            rclpy.spin_once(node, timeout_sec=LOOK_S)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except NodeError as error:
        print(f"emf_ros: {error}", file=sys.stderr)
        return 1
    node.destroy_node()
    rclpy.try_shutdown()
    if window is None:
        return 0
    if window.poll() is None:
        window.terminate()
    return window.wait()


if __name__ == "__main__":
    sys.exit(main())
