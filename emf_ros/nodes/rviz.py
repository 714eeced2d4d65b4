"""Starts RViz when the frame of the images is known: RViz cannot change its fixed frame itself."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo

from emf_ros_msgs.msg import Skeleton3DArray

from .qos import SENSOR_QOS

#: Time between two lines of the log that say what RViz waits for, s.
PATIENCE_S = 5.0


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
        self._topics = []
        for kind, name in ((CameraInfo, "camera_info"), (Skeleton3DArray, "skeletons")):
            topic = f"{camera}/{name}" if camera else name
            heard = self.create_subscription(kind, topic, self._take, SENSOR_QOS)
            self._topics.append(heard.topic_name)
        self.create_timer(PATIENCE_S, self._say)

    def _take(self, message: Any) -> None:
        self.frame_id = self.frame_id or message.header.frame_id

    def _say(self) -> None:
        self.get_logger().info(
            f"RViz starts with the first message that has a frame_id on {self._topics[0]} or "
            f"{self._topics[1]}"
        )


def main(args: list[str] | None = None) -> int:
    """Wait for the frame, and become RViz."""
    given = sys.argv if args is None else args
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--camera", default="", help="name of the camera whose frame is taken")
    parser.add_argument("-d", dest="config", required=True, help="configuration of RViz")
    options = parser.parse_args(remove_ros_args(given)[1:])
    try:
        program = Path(get_package_prefix("rviz2")) / "lib" / "rviz2" / "rviz2"
    except PackageNotFoundError:
        print("emf_ros: RViz needs the package rviz2, which is not installed", file=sys.stderr)
        return 1
    rclpy.init(args=args)
    node = FrameOfImages(options.camera)
    try:
        while rclpy.ok() and not node.frame_id:
            rclpy.spin_once(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    found, sim_time = node.frame_id, bool(node.get_parameter("use_sim_time").value)
    node.destroy_node()
    rclpy.try_shutdown()
    if not found:
        return 0
    command = [str(program), "-d", options.config, "-f", found]
    command += ["--ros-args", "-p", f"use_sim_time:={str(sim_time).lower()}"]
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
