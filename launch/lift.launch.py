"""Lift people from a camera, or from several: 2D keypoints, then metric 3D skeletons.

ros2 launch emf_ros lift.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch emf_ros lift.launch.py cameras:=front,rear image:=image_raw
"""

import tempfile
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from emf_ros.model.presets import presets_with_weights

BOOLEAN = ["true", "false"]


def generate_launch_description() -> LaunchDescription:
    share = Path(get_package_share_directory("emf_ros"))
    arguments = [
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the nodes and their topics"
        ),
        DeclareLaunchArgument(
            "cameras",
            default_value="",
            description="Names of several cameras, with commas between: a detector for each, one "
            "lifter for all, and each one's topics under its name; empty: one camera",
        ),
        DeclareLaunchArgument(
            "image",
            default_value="image",
            description="Topic of the camera's images (sensor_msgs/Image); with several cameras "
            "under each one's name",
        ),
        DeclareLaunchArgument(
            "camera_info",
            default_value="camera_info",
            description="Topic of the camera's intrinsics (sensor_msgs/CameraInfo); with several "
            "cameras under each one's name",
        ),
        DeclareLaunchArgument(
            "image_transport",
            default_value="raw",
            choices=["raw", "compressed"],
            description="compressed: CompressedImage on <image>/compressed",
        ),
        DeclareLaunchArgument(
            "detector", default_value="blazepose", description="2D keypoint detector"
        ),
        DeclareLaunchArgument(
            "model",
            default_value="",
            description="With detector:=onnx: path of a .onnx file, its settings in the .yaml "
            "beside it",
        ),
        DeclareLaunchArgument(
            "variant",
            default_value="full",
            choices=["lite", "full"],
            description="Size of the detector's model",
        ),
        DeclareLaunchArgument(
            "max_people", default_value="8", description="How many people are looked for, 1 to 20"
        ),
        DeclareLaunchArgument(
            "preset",
            default_value="lite",
            choices=list(presets_with_weights()),
            description="Size of the lifting model",
        ),
        DeclareLaunchArgument(
            "device",
            default_value="auto",
            choices=["auto", "cuda", "cpu"],
            description="Where the models run, the lifter's and, but for detector:=mediapipe, the "
            "detector's; auto takes a GPU if there is one",
        ),
        DeclareLaunchArgument(
            "lag",
            default_value="0",
            description="Frames (at 30 Hz) that the pose is behind the newest image, 0 to 26; "
            "auto: as many as latency_budget_ms allows",
        ),
        DeclareLaunchArgument(
            "latency_budget_ms",
            default_value="150.0",
            description="With lag auto: the age that poses may have when they are published",
        ),
        DeclareLaunchArgument(
            "rectified",
            default_value="false",
            choices=BOOLEAN,
            description="The images are rectified (image_rect): take P of camera_info in place of "
            "K, and no distortion",
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

    def typed(name: str, kind: type | None) -> ParameterValue:
        return ParameterValue(LaunchConfiguration(name), value_type=kind)

    sim_time = {"use_sim_time": typed("use_sim_time", bool)}
    detector = {
        "detector": typed("detector", str),
        "variant": typed("variant", str),
        "model": typed("model", str),
        "device": typed("device", str),
        "image_transport": typed("image_transport", str),
        "max_people": typed("max_people", int),
    }
    lifter = {
        "preset": typed("preset", str),
        "device": typed("device", str),
        "lag": typed("lag", None),  # a number or a word
        "latency_budget_ms": typed("latency_budget_ms", float),
        "rectified": typed("rectified", bool),
    }
    return LaunchDescription(
        [
            *arguments,
            OpaqueFunction(
                function=_nodes,
                kwargs={
                    "of_the_detector": detector,
                    "of_the_lifter": lifter,
                    "of_both": [LaunchConfiguration("params_file"), sim_time],
                },
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


def _nodes(
    context: LaunchContext,
    of_the_detector: dict[str, ParameterValue],
    of_the_lifter: dict[str, ParameterValue],
    of_both: list,
) -> list[Node]:
    """The nodes, for one camera or for several; their parameters are given."""

    def text(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    namespace, image, camera_info = text("namespace"), text("image"), text("camera_info")
    cameras = [name for name in text("cameras").replace(",", " ").split() if name]
    images = [("image", image), ("image/compressed", f"{image}/compressed")]
    composed = IfCondition(LaunchConfiguration("composed")).evaluate(context)
    if not cameras and composed:
        owned = {"keypoint_detector": of_the_detector, "skeleton_lifter": of_the_lifter}
        return [
            Node(
                package="emf_ros",
                executable="composed",
                namespace=namespace,
                parameters=[*of_both, _parameters_file(context, owned)],
                remappings=[*images, ("camera_info", camera_info)],
                output="screen",
            )
        ]
    if composed:
        raise RuntimeError("composed:=true is for one camera; leave it out with cameras:=...")
    infos = [(f"{name}/camera_info", f"{name}/{camera_info}") for name in cameras]
    lifter = Node(
        package="emf_ros",
        executable="skeleton_lifter",
        namespace=namespace,
        parameters=[*of_both, of_the_lifter, *([{"cameras": cameras}] if cameras else [])],
        remappings=infos or [("camera_info", camera_info)],
        output="screen",
    )
    detectors = [
        Node(
            package="emf_ros",
            executable="keypoint_detector",
            namespace="/".join(part for part in (namespace.rstrip("/"), name) if part),
            parameters=[*of_both, of_the_detector],
            remappings=images,
            output="screen",
        )
        for name in cameras or [""]
    ]
    return [*detectors, lifter]


def _parameters_file(context: LaunchContext, owned: dict[str, dict[str, ParameterValue]]) -> str:
    """Parameters of two nodes in one process, as a file.

    Given as a dictionary they would go to both, and each refuses what it does not know; so the file
    says whose they are, in any namespace.
    """
    content = {
        f"/**/{node}": {
            "ros__parameters": {key: value.evaluate(context) for key, value in mine.items()}
        }
        for node, mine in owned.items()
    }
    with tempfile.NamedTemporaryFile("w", prefix="emf_ros_", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(content, file)
    return file.name
