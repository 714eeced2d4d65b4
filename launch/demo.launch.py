"""A video in place of the camera, then everything that lift.launch.py starts.

ros2 launch emf_ros demo.launch.py video:=/path/to/video.mp4
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node

from emf_ros.nodes.launch_arguments import given_parameters, launch_arguments, write_parameters
from emf_ros.nodes.params import VideoSourceParams


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "video": "Video file, folder of images or webcam number. Empty: a video of two people, "
        "downloaded once.",
        **launch_arguments([VideoSourceParams]),
        "loop": "Start the video again at its end. Allowed: true, false. Default: true.",
    }
    lift = Path(__file__).with_name("lift.launch.py")
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value="", description=text)
                for name, text in arguments.items()
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(lift))),
            OpaqueFunction(function=_video_source),
        ]
    )


def _video_source(context: LaunchContext) -> list[Node]:
    arguments = context.launch_configurations
    # The demo's own defaults; the parameters file and arguments win over them.
    defaults = {"loop": True, "start_when_subscribed": True}
    given = given_parameters(VideoSourceParams, arguments)
    given["source"] = arguments["video"]
    if not arguments["video"]:
        # Imported here: `--show-args` must not download a video.
        from emf_ros.downloads.videos import ensure_demo_video

        given["source"] = str(ensure_demo_video())
    files = [
        write_parameters({VideoSourceParams: defaults}, namespace="/**"),
        arguments["params_file"],
        write_parameters({VideoSourceParams: given}),
    ]
    return [
        Node(
            package="emf_ros",
            executable="video_source",
            namespace=arguments["namespace"],
            parameters=[name for name in files if name],
            output="screen",
        )
    ]
