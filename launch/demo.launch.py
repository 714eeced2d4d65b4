"""A video in place of the camera, then everything that lift.launch.py starts.

ros2 launch emf_ros demo.launch.py video:=/path/to/video.mp4
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue


def _video_source(context) -> list[Node]:  # type: ignore[no-untyped-def]
    video = LaunchConfiguration("video").perform(context)
    if not video:
        # Imported here: `--show-args` should not fetch a video.
        from emf_ros.detect.weights import ensure_demo_video

        video = str(ensure_demo_video())
    return [
        Node(
            package="emf_ros",
            executable="video_source",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                {
                    "source": ParameterValue(video, value_type=str),
                    "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
                    "rate_hz": ParameterValue(LaunchConfiguration("rate_hz"), value_type=float),
                    # A number or a word.
                    "fov_deg": ParameterValue(LaunchConfiguration("fov_deg"), value_type=None),
                    "rectified": ParameterValue(LaunchConfiguration("rectified"), value_type=bool),
                    "camera_info_file": ParameterValue(
                        LaunchConfiguration("camera_info_file"), value_type=str
                    ),
                    "start_when_subscribed": True,
                }
            ],
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    share = Path(get_package_share_directory("emf_ros"))
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "video",
                default_value="",
                description="Video file, folder of images, or a webcam's number where no path has "
                "that name; empty: a video of two people, fetched once",
            ),
            DeclareLaunchArgument(
                "loop",
                default_value="true",
                choices=["true", "false"],
                description="Start the video again at its end",
            ),
            DeclareLaunchArgument(
                "rate_hz",
                default_value="0.0",
                description="Mean number of images a second; 0: the file's own times, a folder "
                "at 30 Hz",
            ),
            DeclareLaunchArgument(
                "fov_deg",
                default_value="auto",
                description="Horizontal field of view, degrees, where no file is given; 0: "
                "unknown; auto: a guess, 60 across the longer side",
            ),
            DeclareLaunchArgument(
                "camera_info_file",
                default_value="",
                description="Calibration file with the intrinsics (docs/calibration.md)",
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(share / "launch" / "lift.launch.py"))
            ),
            OpaqueFunction(function=_video_source),
        ]
    )
