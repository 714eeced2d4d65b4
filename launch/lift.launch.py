"""Lift people from one camera or several: 2D keypoints, then metric 3D skeletons.

ros2 launch emf_ros lift.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
ros2 launch emf_ros lift.launch.py source:=0
ros2 launch emf_ros lift.launch.py cameras:=front,rear image:=image_raw
ros2 launch emf_ros lift.launch.py keypoints_type:=yolo_msgs

An empty argument is not given: the parameters file, or else the node's default, decides.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.logging import get_logger
from launch_ros.actions import Node

from emf_ros.io.paths import share_folder
from emf_ros.nodes.launch_arguments import (
    given_parameters,
    ignored_arguments,
    launch_arguments,
    read_switch,
    write_parameters,
)
from emf_ros.nodes.params import KeypointDetectorParams, SkeletonLifterParams, VideoSourceParams

NODES = (KeypointDetectorParams, SkeletonLifterParams)


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "namespace": ("", "Namespace of the nodes and their topics."),
        "cameras": (
            "",
            "Names of several cameras, separated by commas: one detector for each, one lifter for "
            "all, and each camera's topics under its name. Empty: one camera.",
        ),
        "image": (
            "image",
            "Topic of the images (sensor_msgs/Image). With cameras, it is under each one's name.",
        ),
        "camera_info": (
            "camera_info",
            "Topic of the intrinsics (sensor_msgs/CameraInfo). With cameras, it is under each "
            "one's name.",
        ),
        "source": (
            "",
            "Webcam number, video file or folder of images, read in the process of detector and "
            "lifter. Empty: the images are those of a topic.",
        ),
        "composed": (
            "false",
            "Run detector and lifter in one process, as source does. Allowed: true, false.",
        ),
        "rviz": ("false", "Start RViz. Allowed: true, false."),
        "use_sim_time": ("", "Take the time from /clock, as with a bag. Allowed: true, false."),
        "params_file": (
            str(share_folder("config") / "lift.yaml"),
            "YAML file of parameters. Arguments that are given win over it.",
        ),
        **{
            name: ("", text) for name, text in launch_arguments((*NODES, VideoSourceParams)).items()
        },
    }
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in arguments.items()
            ),
            OpaqueFunction(function=_nodes),
        ]
    )


def _nodes(context: LaunchContext) -> list[Node]:
    """The nodes, for one camera or for several."""
    arguments = context.launch_configurations
    for sentence in ignored_arguments(NODES, set(arguments) - {"cameras"}):
        get_logger("emf_ros").warning(sentence)
    cameras = arguments["cameras"].replace(",", " ").split()
    source = arguments["source"]
    composed = read_switch("composed", arguments["composed"]) or bool(source)
    one_process = f"source:={source}" if source else "composed:=true"
    if cameras and composed:
        raise ValueError(f"{one_process} is for one camera; leave it out with cameras:=...")
    third_party = arguments["keypoints_type"] not in ("", "emf_ros")
    if third_party and composed:
        raise ValueError(f"{one_process} runs our detector; leave it out with keypoints_type:=...")

    given = {node: given_parameters(node, arguments) for node in NODES}
    of_source = given_parameters(VideoSourceParams, arguments)
    if source:
        given[VideoSourceParams] = {**of_source, "source": source}
    else:
        for name in of_source.keys() - SkeletonLifterParams.specs().keys():
            raise ValueError(f"{name}:=... is for the camera of source:=..., which is not given")
    if cameras:
        given[SkeletonLifterParams]["cameras"] = cameras
    sim_time = {}
    if arguments["use_sim_time"]:
        sim_time["use_sim_time"] = read_switch("use_sim_time", arguments["use_sim_time"])
    for values in given.values():
        values.update(sim_time)
    # A launch file that includes this one may have defaults of its own.
    files = (arguments.get("defaults_file"), arguments["params_file"], write_parameters(given))
    parameters = [name for name in files if name]

    namespace, image, camera_info = (arguments[n] for n in ("namespace", "image", "camera_info"))
    images = [("image", image), ("image/compressed", f"{image}/compressed")]

    def node(
        executable: str, camera: str, remappings: list[tuple[str, str]], *options: str
    ) -> Node:
        return Node(
            package="emf_ros",
            executable=executable,
            namespace="/".join(part for part in (namespace.rstrip("/"), camera) if part),
            parameters=parameters,
            remappings=remappings,
            arguments=list(options),
            output="screen",
        )

    if composed:
        options = ["--camera"] if source else []
        nodes = [node("composed", "", [*images, ("camera_info", camera_info)], *options)]
    else:
        infos = [(f"{name}/camera_info", f"{name}/{camera_info}") for name in cameras]
        detectors = [] if third_party else [*cameras] or [""]
        nodes = [
            *(node("keypoint_detector", camera, images) for camera in detectors),
            node("skeleton_lifter", "", infos or [("camera_info", camera_info)]),
        ]
    if read_switch("rviz", arguments["rviz"]):
        nodes.append(
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", str(share_folder("config") / "emf_ros.rviz")],
                parameters=[sim_time] if sim_time else [],
                output="screen",
            )
        )
    return nodes
