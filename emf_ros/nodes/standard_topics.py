"""Topics of one camera in messages of the common packages: poses, joint_points, joint_angles."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState, PointCloud2
from std_msgs.msg import Header

from ..body.state import BodyState
from ..lift.feed import topic_of
from ..types import Pose3D
from .life_cycle import ManagedNode
from .standard_messages import joint_angles_msg, joint_points_msg, poses_msg


class StandardTopics:
    """Publishes what has a subscriber, and computes nothing else.

    Args:
        node: publishes.
        camera: name of the camera, in front of its topics; may be empty.
        qos: of the publishers.
    """

    def __init__(self, node: ManagedNode, camera: str, qos: QoSProfile) -> None:
        self._poses = node.publish_on(PoseArray, topic_of(camera, "poses"), qos)
        self._points = node.publish_on(PointCloud2, topic_of(camera, "joint_points"), qos)
        self._angles = node.publish_on(JointState, topic_of(camera, "joint_angles"), qos)

    def is_wanted(self) -> bool:
        """Whether there are subscribers."""
        return self._points.get_subscription_count() > 0 or self.needs_states()

    def needs_states(self) -> bool:
        """Whether there are subscribers of what is made of people's states."""
        return self._poses.get_subscription_count() > 0 or self._angles.get_subscription_count() > 0

    def publish(
        self, people: list[Pose3D], states: list[BodyState], up: np.ndarray | None, header: Header
    ) -> None:
        """Publish the people of one image.

        Args:
            people: the poses.
            states: of the people; empty unless `needs_states`.
            up: (3,) the floor's normal; None where it is not known.
            header: of the skeletons.
        """
        if self._poses.get_subscription_count() > 0:
            self._poses.publish(poses_msg(people, states, up, header))
        if self._points.get_subscription_count() > 0:
            self._points.publish(joint_points_msg(people, header))
        if self._angles.get_subscription_count() > 0:
            self._angles.publish(joint_angles_msg(states, header))
