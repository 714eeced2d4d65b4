"""Read a lifter's skeletons as numpy arrays in a ROS node: python3 subscriber.py"""

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data

from emf_ros.nodes.conversions import skeletons_from_msg
from emf_ros.skeletons import get_layout
from emf_ros_msgs.msg import Skeleton3DArray


class Subscriber(Node):
    def __init__(self) -> None:
        super().__init__("skeleton_subscriber")
        self.create_subscription(
            Skeleton3DArray, "skeletons", self.on_skeletons, qos_profile_sensor_data
        )

    def on_skeletons(self, message: Skeleton3DArray) -> None:
        left_wrist = get_layout(message.layout).index("left_wrist")
        for person in skeletons_from_msg(message).people:
            state = person.state.name
            # (3,) m in the frame of the message; NaN where unknown.
            print(person.track_id, state, person.root, person.joints[left_wrist], flush=True)


rclpy.init()
try:
    rclpy.spin(Subscriber())
except (KeyboardInterrupt, ExternalShutdownException):
    pass
