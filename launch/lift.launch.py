"""Lift people from one camera: 2D keypoints, then metric 3D skeletons.

ros2 launch emf_ros lift.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
"""

import tempfile
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

BOOLEAN = ["true", "false"]


def generate_launch_description() -> LaunchDescription:
    share = Path(get_package_share_directory("emf_ros"))
    arguments = [
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the nodes and their topics"
        ),
        DeclareLaunchArgument(
            "image",
            default_value="image",
            description="Topic of the camera's images (sensor_msgs/Image)",
        ),
        DeclareLaunchArgument(
            "camera_info",
            default_value="camera_info",
            description="Topic of the camera's intrinsics (sensor_msgs/CameraInfo)",
        ),
        DeclareLaunchArgument(
            "image_transport",
            default_value="raw",
            choices=["raw", "compressed"],
            description="compressed: CompressedImage on <image>/compressed",
        ),
        DeclareLaunchArgument(
            "detector", default_value="mediapipe", description="2D keypoint detector"
        ),
        DeclareLaunchArgument(
            "variant",
            default_value="full",
            choices=["lite", "full"],
            description="Size of the detector's model",
        ),
        DeclareLaunchArgument(
            "max_people", default_value="2", description="How many people are looked for, 1 to 10"
        ),
        DeclareLaunchArgument(
            "preset", default_value="lite", description="Size of the lifting model"
        ),
        DeclareLaunchArgument(
            "device",
            default_value="auto",
            choices=["auto", "cuda", "cpu"],
            description="Where the lifting model runs; auto takes a GPU if there is one",
        ),
        DeclareLaunchArgument(
            "lag",
            default_value="0",
            description="Frames (at 30 Hz) that the pose is behind the newest image, 0 to 26",
        ),
        DeclareLaunchArgument(
            "composed",
            default_value="false",
            choices=BOOLEAN,
            description="Detector and lifter in one process, which saves the messages between",
        ),
        DeclareLaunchArgument(
            "rviz", default_value="false", choices=BOOLEAN, description="Start RViz"
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=BOOLEAN,
            description="Take the time from /clock, as with a bag",
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(share / "config" / "lift.yaml"),
            description="YAML file of parameters; the arguments above win over it",
        ),
    ]

    def typed(name: str, kind: type) -> ParameterValue:
        return ParameterValue(LaunchConfiguration(name), value_type=kind)

    sim_time = {"use_sim_time": typed("use_sim_time", bool)}
    detector = {
        "detector": typed("detector", str),
        "variant": typed("variant", str),
        "image_transport": typed("image_transport", str),
        "max_people": typed("max_people", int),
    }
    lifter = {
        "preset": typed("preset", str),
        "device": typed("device", str),
        "lag": typed("lag", int),
    }
    params_file = LaunchConfiguration("params_file")
    image, camera_info = LaunchConfiguration("image"), LaunchConfiguration("camera_info")
    image_remaps = [("image", image), ("image/compressed", [image, "/compressed"])]
    common = {"package": "emf_ros", "namespace": LaunchConfiguration("namespace")}
    composed = LaunchConfiguration("composed")
    return LaunchDescription(
        [
            *arguments,
            Node(
                **common,
                executable="keypoint_detector",
                parameters=[params_file, detector, sim_time],
                remappings=image_remaps,
                condition=UnlessCondition(composed),
                output="screen",
            ),
            Node(
                **common,
                executable="skeleton_lifter",
                parameters=[params_file, lifter, sim_time],
                remappings=[("camera_info", camera_info)],
                condition=UnlessCondition(composed),
                output="screen",
            ),
            OpaqueFunction(
                function=_composed,
                kwargs={
                    "parameters_of": dict(keypoint_detector=detector, skeleton_lifter=lifter),
                    "node": dict(
                        **common,
                        remappings=[*image_remaps, ("camera_info", camera_info)],
                        output="screen",
                    ),
                    "first_parameters": [params_file, sim_time],
                },
                condition=IfCondition(composed),
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", str(share / "config" / "emf_ros.rviz")],
                parameters=[sim_time],
                condition=IfCondition(LaunchConfiguration("rviz")),
                output="screen",
            ),
        ]
    )


def _composed(
    context: LaunchContext,
    parameters_of: dict[str, dict[str, ParameterValue]],
    node: dict,
    first_parameters: list,
) -> list[Node]:
    """One process, two nodes.

    Parameters given as a dictionary would go to both, and each refuses what it does not know; so
    the arguments go into a file that says whose they are, in any namespace.
    """
    owned = {
        f"/**/{name}": {
            "ros__parameters": {key: value.evaluate(context) for key, value in mine.items()}
        }
        for name, mine in parameters_of.items()
    }
    with tempfile.NamedTemporaryFile("w", prefix="emf_ros_", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(owned, file)
    return [Node(**node, executable="composed", parameters=[*first_parameters, file.name])]
