"""lift.launch.py with a video in place of the camera.

ros2 launch emf_ros demo.launch.py video:=/path/to/video.mp4

An empty argument is not given: the parameters file, or else the node's default, decides.
"""

from launch import LaunchDescription
from launch.actions import OpaqueFunction

from emf_ros.nodes.launch_actions import declare, start_demo
from emf_ros.nodes.launch_arguments import demo_arguments


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*declare(demo_arguments()), OpaqueFunction(function=start_demo)])
