"""lift.launch.py with a video in place of the camera.

ros2 launch emf_ros demo.launch.py video:=/path/to/video.mp4
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

from emf_ros.nodes.launch_arguments import write_parameters
from emf_ros.nodes.params import VideoSourceParams

LIFT = PythonLaunchDescriptionSource(str(Path(__file__).with_name("lift.launch.py")))


def generate_launch_description() -> LaunchDescription:
    arguments = {
        "video": "Video file, folder of images or webcam number. Empty: a video of two people, "
        "downloaded once.",
        "loop": "Start the video again at its end. Allowed: true, false. Default: true.",
    }
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value="", description=text)
                for name, text in arguments.items()
            ),
            OpaqueFunction(function=_choose_video),
            IncludeLaunchDescription(LIFT),
        ]
    )


def _choose_video(context: LaunchContext) -> None:
    arguments = context.launch_configurations
    video = arguments["video"]
    if not video:
        # Imported here: `--show-args` must not download a video.
        from emf_ros.downloads.videos import ensure_demo_video

        video = str(ensure_demo_video())
    arguments["source"] = video
    # The parameters file and arguments win over the demo's own defaults.
    arguments["defaults_file"] = write_parameters(
        {VideoSourceParams: {"loop": True, "start_when_subscribed": True}}, namespace="/**"
    )
