"""Lift people from one camera or several: 2D keypoints, then metric 3D skeletons.

ros2 launch emf_ros lift.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch emf_ros lift.launch.py source:=0
ros2 launch emf_ros lift.launch.py cameras:=front,rear image:=image_raw
ros2 launch emf_ros lift.launch.py keypoints_type:=yolo_msgs

An empty argument is not given: the parameters file, or else the node's default, decides.
"""

from launch import LaunchDescription
from launch.actions import OpaqueFunction

from emf_ros.nodes.launch_actions import declare, start_lift
from emf_ros.nodes.launch_arguments import lift_arguments


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare(lift_arguments()), OpaqueFunction(function=start_lift)])
