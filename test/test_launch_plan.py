"""Which processes the launch files start, with which parameters; what they refuse beforehand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from emf_ros.nodes.launch_plan import Plan, Process, plan
from emf_ros.nodes.param_specs import NodeParams, ParamError
from emf_ros.nodes.parameter_files import read_parameters, values_for
from emf_ros.nodes.params import (
    KeypointDetectorParams,
    SkeletonLifterParams,
    SkeletonViewerParams,
    VideoSourceParams,
)
from emf_ros.nodes.topic_names import is_topic_name

ROOT = Path(__file__).resolve().parents[1]
LIFT_YAML = str(ROOT / "config" / "lift.yaml")
VIEWER = SkeletonViewerParams
DETECTOR, LIFTER, SOURCE = KeypointDetectorParams, SkeletonLifterParams, VideoSourceParams


@pytest.fixture
def user_file(tmp_path: Path) -> str:
    """A user's parameters file, with other values than the defaults."""
    return write(
        tmp_path,
        {
            "keypoint_detector": {"max_people": 11, "variant": "lite"},
            "skeleton_lifter": {"max_people": 12, "lag": 7, "latency_budget_ms": 90.0},
        },
    )


@pytest.fixture
def video(tmp_path: Path, people_image: Path) -> str:
    """A folder of one image."""
    (tmp_path / "video").mkdir()
    shutil.copy(people_image, tmp_path / "video")
    return str(tmp_path / "video")


@pytest.fixture
def people_image() -> Path:
    return ROOT / "docs" / "images" / "people.jpg"


def write(folder: Path, content: dict[str, dict[str, Any]]) -> str:
    path = folder / "mine.yaml"
    sections = {f"/**/{name}": {"ros__parameters": own} for name, own in content.items()}
    path.write_text(yaml.safe_dump(sections))
    return str(path)


def names(planned: Plan) -> list[str]:
    return [f"{p.namespace}/{p.executable}".lstrip("/") for p in planned.processes]


def parameters(process: Process, kind: type[NodeParams]) -> Any:
    """The parameters that a node of the process has."""
    full_name = "/" + "/".join(part for part in (process.namespace, kind.node) if part)
    return read_parameters(kind, full_name, process.parameters)


def given(process: Process, kind: type[NodeParams]) -> dict[str, Any]:
    full_name = "/" + "/".join(part for part in (process.namespace, kind.node) if part)
    return values_for(full_name, process.parameters)


@pytest.mark.parametrize("composed", ["false", "true"])
def test_a_parameters_file_is_not_overridden_by_defaults(user_file: str, composed: str) -> None:
    planned = plan({"params_file": user_file, "composed": composed})
    expected = ["composed"] if composed == "true" else ["keypoint_detector", "skeleton_lifter"]
    assert names(planned) == expected
    detector, lifter = planned.processes[0], planned.processes[-1]
    assert parameters(detector, DETECTOR) == DETECTOR(max_people=11, variant="lite")
    assert parameters(lifter, LIFTER) == LIFTER(max_people=12, lag=7, latency_budget_ms=90.0)


@pytest.mark.parametrize("composed", ["false", "true"])
def test_a_given_argument_reaches_every_node_with_the_parameter(
    user_file: str, composed: str
) -> None:
    arguments = {"max_people": "3", "device": "cpu", "lag": "auto", "synchronous": "true"}
    planned = plan(
        {"params_file": user_file, "composed": composed, "use_sim_time": "true", **arguments}
    )
    detector, lifter = planned.processes[0], planned.processes[-1]
    both: dict[str, Any] = {"max_people": 3, "device": "cpu", "synchronous": True}
    assert parameters(detector, DETECTOR) == DETECTOR(variant="lite", **both)
    assert parameters(lifter, LIFTER) == LIFTER(lag="auto", latency_budget_ms=90.0, **both)
    assert given(detector, DETECTOR)["use_sim_time"] is True
    assert given(lifter, LIFTER)["use_sim_time"] is True


def test_without_arguments_every_node_has_its_defaults() -> None:
    planned = plan({"params_file": LIFT_YAML})
    detector, lifter = planned.processes
    assert parameters(detector, DETECTOR) == DETECTOR()
    assert parameters(lifter, LIFTER) == LIFTER()
    assert planned.rviz is None and planned.log_level == ""
    assert detector.respawn and lifter.respawn
    assert not plan({"respawn": "false"}).processes[0].respawn


def test_several_cameras_share_a_lifter() -> None:
    planned = plan(
        {"cameras": "front, rear", "namespace": "/robot/", "image": "image_raw", "max_people": "4"}
    )
    detectors = [f"robot/{name}/keypoint_detector" for name in ("front", "rear")]
    assert names(planned) == [*detectors, "robot/skeleton_lifter"]
    *cameras, lifter = planned.processes
    assert parameters(lifter, LIFTER) == LIFTER(cameras=("front", "rear"), max_people=4)
    for process in cameras:
        assert parameters(process, DETECTOR).max_people == 4
        assert ("image", "image_raw") in process.remappings
    assert ("rear/camera_info", "rear/camera_info") in lifter.remappings


def test_the_cameras_of_a_parameters_file_have_detectors() -> None:
    planned = plan({"params_file": str(ROOT / "config" / "several_cameras.yaml")})
    found = [f"{name}/keypoint_detector" for name in ("front", "rear")]
    assert names(planned) == [*found, "skeleton_lifter"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"keypoints_type": "yolo_msgs"},
        {"lifter_only": "true"},
        {"params_file": str(ROOT / "config" / "third_party_keypoints.yaml")},
    ],
)
def test_keypoints_of_another_node_start_no_detector(arguments: dict[str, str]) -> None:
    assert names(plan(arguments)) == ["skeleton_lifter"]


def test_a_source_is_read_in_the_process_of_detector_and_lifter(video: str) -> None:
    arguments = {"namespace": "robot", "rate_hz": "15", "rectified": "true"}
    (process,) = plan({"source": video, **arguments}).processes
    assert (process.executable, process.namespace) == ("composed", "robot")
    assert process.options == ["--camera"]
    assert parameters(process, SOURCE) == SOURCE(source=video, rate_hz=15.0, rectified=True)
    assert parameters(process, LIFTER).rectified is True
    assert plan({"composed": "true"}).processes[0].options == []
    # A webcam's number stays text. The webcam may be plugged in later.
    (process,) = plan({"source": "0"}).processes
    assert parameters(process, SOURCE).source == "0"


def test_parameters_file_and_arguments_win_over_the_defaults_of_the_demo(
    video: str, tmp_path: Path
) -> None:
    own = {"loop": True, "start_when_subscribed": True}
    path = write(tmp_path, {"video_source": {"loop": False, "rate_hz": 5.0}})
    for rate, expected in (("", 5.0), ("20", 20.0)):
        planned = plan({"source": video, "params_file": path, "rate_hz": rate}, own)
        (process,) = planned.processes
        assert parameters(process, SOURCE) == SOURCE(
            source=video, loop=False, start_when_subscribed=True, rate_hz=expected
        )


def test_a_source_that_ends_is_not_started_again(video: str, tmp_path: Path) -> None:
    path = write(tmp_path, {"video_source": {"exit_at_end": True}})
    assert not plan({"source": video, "params_file": path}).processes[0].respawn
    assert plan({"source": video}).processes[0].respawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cameras": "front", "composed": "true"}, "composed:=true is for one camera"),
        ({"keypoints_type": "yolo_msgs", "composed": "true"}, "composed:=true runs our detector"),
        ({"lifter_only": "true", "composed": "true"}, "lifter_only:=true runs none"),
        ({"source": "0", "cameras": "front"}, "source:=0 is for one camera"),
        ({"source": "0", "keypoints_type": "yolo_msgs"}, "source:=0 runs our detector"),
        ({"source": "0", "image": "/cam/image"}, "image:=/cam/image is refused: source:=0 reads"),
        ({"source": "0", "camera_info": "/cam/info"}, "intrinsics come from camera_info_file"),
        ({"fov_deg": "60"}, "fov_deg:=... is for the camera of source"),
        ({"max_people": "300"}, r"max_people:=300 is refused by keypoint_detector.* 1\.\.20"),
        ({"preset": "huge"}, "preset:=huge .* lite"),
        ({"composed": "maybe"}, "composed:=maybe .* true or false"),
        ({"use_sim_time": "1"}, "use_sim_time:=1 .* true or false"),
        ({"respawn": "often"}, "respawn:=often .* true or false"),
        ({"log_level": "loud"}, "log_level:=loud .* debug, info"),
        ({"cameras": "front,front"}, "names one twice"),
        ({"cameras": "front,2nd"}, "'2nd', which cannot stand in a topic's name"),
        ({"cameras": "front,a__b"}, "'a__b', which cannot stand in a topic's name"),
        ({"image": "image raw"}, "image:=image raw is refused: .* letters, digits"),
        ({"image": "1st", "composed": "true"}, "image:=1st is refused"),
        ({"image": "rostopic://image"}, "image:=rostopic://image is refused"),
        ({"camera_info": "cam//info", "lifter_only": "true"}, "camera_info:=cam//info is refused"),
        ({"camera_info": "cam/"}, "camera_info:=cam/ is refused"),
        ({"namespace": "robot-1"}, "namespace:=robot-1 is refused"),
        ({"namespace": "/robots//one"}, "namespace:=/robots//one is refused"),
        ({"namespace": "a__b", "source": "0"}, "namespace:=a__b is refused"),
        (
            {"cameras": "front,rear", "image": "/cam/image_raw"},
            "image:=/cam/image_raw .* image:=image_raw means front/image_raw, rear/image_raw",
        ),
        ({"cameras": "front,rear", "camera_info": "/cam/info"}, "camera_info:=info means front/in"),
        ({"cameras": "front", "image": "~/image"}, "with cameras the topic is under each one's"),
        ({"cameras": "a,b,c", "camera_height_m": "[1.0, 2.0]"}, "2 values; there must be 1 or 3"),
        ({"weights": "none.onnx"}, "'weights' of skeleton_lifter: there is no file none.onnx"),
        ({"model": "none.onnx"}, "'model' of keypoint_detector: there is no file none.onnx"),
        ({"source": "0", "camera_info_file": "no.yaml#left"}, "there is no file no.yaml"),
        ({"source": "none.mp4"}, "there is no file none.mp4"),
        ({"params_file": "none.yaml"}, "params_file none.yaml: No such file"),
    ],
)
def test_what_cannot_start_is_refused(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ParamError, match=message):
        plan(arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/**: [", "is no YAML"),
        ("just text", "has no ros__parameters"),
        ("/**/skeleton_lifter: {lag: 3}", "has no ros__parameters"),
        ("/**/skeleton_lifter: {ros__parameters: {lagg: 3}}", "unknown parameter 'lagg'"),
        ("/**/skeleton_lifter: {ros__parameters: {lag: 99}}", "'lag' of skeleton_lifter is 99"),
        ("/**/skeleton_lifter: {ros__parameters: {coast_s: 1}}", "with a decimal point"),
        ("/**/skeleton_lifter: {ros__parameters: {engine: x}}", "no longer exists"),
        ("/**/keypoint_detector: {ros__parameters: {variant: big}}", "'variant' of keypoint_det"),
    ],
)
def test_a_parameters_file_that_a_node_would_refuse_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ParamError, match=message) as error:
        plan({"params_file": str(path)})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("/**", True),
        ("/**/node", True),
        ("/**/**/node", True),
        ("/a/b/node", True),
        ("a/b/node", True),
        ("/a/*/node", True),
        ("/*/node", False),
        ("/a/node", False),
        ("node", False),
        ("/**/other", False),
        ("/a/b/nod", False),
    ],
)
def test_sections_match_nodes_as_in_ros(tmp_path: Path, pattern: str, matches: bool) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(yaml.safe_dump({pattern: {"ros__parameters": {"x": {"y": 1}}}}))
    assert values_for("/a/b/node", [str(path)]) == ({"x.y": 1} if matches else {})


def test_rviz_shows_every_camera_by_its_full_topics() -> None:
    planned = plan({"cameras": "front,rear", "namespace": "robot", "rviz": "true"})
    assert planned.rviz is not None and planned.rviz.executable == "rviz"
    assert planned.rviz.namespace == "robot"
    options = planned.rviz.options
    assert options[:2] == ["--camera", "front"]
    config = yaml.safe_load(Path(options[options.index("-d") + 1]).read_text())
    shown = config["Visualization Manager"]["Displays"]
    topics = [d["Topic"]["Value"] for d in shown if "Topic" in d]
    kinds = ("markers", "poses", "joint_points", "overlay")
    assert topics == [f"/robot/{c}/{t}" for t in kinds for c in ("front", "rear")]
    assert len({display["Name"] for display in shown}) == len(shown)


def test_rviz_shows_no_overlay_without_a_detector() -> None:
    planned = plan({"lifter_only": "true", "rviz": "true", "use_sim_time": "true"})
    assert planned.rviz is not None
    options = planned.rviz.options
    config = yaml.safe_load(Path(options[options.index("-d") + 1]).read_text())
    shown = config["Visualization Manager"]["Displays"]
    topics = [d["Topic"]["Value"] for d in shown if "Topic" in d]
    assert topics == ["/markers", "/poses", "/joint_points"]
    assert options[-3:] == ["--ros-args", "-p", "use_sim_time:=true"]


def test_names_of_topics_are_those_that_ros_takes() -> None:
    """As rcl's own parser of remappings says."""
    from rclpy.context import Context

    for name in (
        "image",
        "/cam/image_raw",
        "~/image",
        "_a/b_/c9",
        "~",
        "~a",
        "/",
        "a__b",
        "a-b",
        "é",
    ):
        context = Context()
        try:
            context.init(["--ros-args", "-r", f"image:={name}"])
        except RuntimeError:
            assert not is_topic_name(name), name
        else:
            assert is_topic_name(name), name
            context.try_shutdown()


def test_the_viewer_listens_to_the_topics_of_the_camera() -> None:
    planned = plan({"viewer": "true", "image": "/cam/image_raw", "camera_info": "/cam/info"})
    assert names(planned) == ["keypoint_detector", "skeleton_lifter", "skeleton_viewer"]
    viewer = planned.processes[-1]
    assert parameters(viewer, VIEWER) == VIEWER()
    assert ("image", "/cam/image_raw") in viewer.remappings
    assert ("camera_info", "/cam/info") in viewer.remappings
    assert "skeleton_viewer" not in names(plan({}))


def test_a_depth_topic_is_heard_and_used() -> None:
    planned = plan({"depth": "/cam/depth", "viewer": "true"})
    _, lifter, viewer = planned.processes
    assert ("depth", "/cam/depth") in lifter.remappings
    assert parameters(lifter, LIFTER) == LIFTER(use_depth=True)
    assert all(name != "depth" for name, _ in viewer.remappings)
    (process,) = plan({"depth": "/cam/depth", "composed": "true"}).processes
    assert ("depth", "/cam/depth") in process.remappings
    lifter = plan({"depth": "depth/image", "cameras": "front,rear"}).processes[-1]
    assert ("rear/depth", "rear/depth/image") in lifter.remappings
    assert parameters(plan({}).processes[-1], LIFTER).use_depth is False


def test_the_keypoints_of_another_node_may_have_another_topic() -> None:
    arguments = {"keypoints": "/yolo/tracking", "viewer": "true"}
    for way in ({"keypoints_type": "yolo_msgs"}, {"lifter_only": "true"}):
        lifter, viewer = plan({**arguments, **way}).processes
        assert ("keypoints", "/yolo/tracking") in lifter.remappings
        assert ("keypoints", "/yolo/tracking") in viewer.remappings
    (lifter,) = plan(
        {"keypoints": "yolo/tracking", "keypoints_type": "yolo_msgs", "cameras": "front,rear"}
    ).processes
    assert ("front/keypoints", "front/yolo/tracking") in lifter.remappings


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"keypoints": "/yolo/tracking"}, "give keypoints_type"),
        ({"keypoints": "/tracked", "keypoints_type": "hri_msgs"}, "under humans/bodies"),
        ({"keypoints": "a b", "lifter_only": "true"}, "a name in ROS"),
        ({"depth": "a b"}, "a name in ROS"),
        ({"depth": "/depth", "cameras": "front,rear"}, "depth:=depth means front/depth"),
        ({"depth": "/depth", "source": "VIDEO"}, "one camera without depth images"),
    ],
)
def test_topics_that_nobody_would_hear_are_refused(
    arguments: dict[str, str], said: str, video: str
) -> None:
    if arguments.get("source"):
        arguments = {**arguments, "source": video}
    with pytest.raises(ParamError, match=said):
        plan(arguments)


def test_each_camera_has_a_viewer_with_a_port_of_its_own(user_file: str) -> None:
    planned = plan({"viewer": "true", "viewer_port": "9000", "cameras": "front,rear"})
    viewers = planned.processes[-2:]
    assert [viewer.namespace for viewer in viewers] == ["front", "rear"]
    assert [parameters(viewer, VIEWER).port for viewer in viewers] == [9000, 9001]
    free = plan({"viewer": "true", "viewer_port": "0", "cameras": "front,rear"})
    assert [parameters(viewer, VIEWER).port for viewer in free.processes[-2:]] == [0, 0]


def test_a_parameters_file_sets_address_and_port_of_the_viewer(tmp_path: Path) -> None:
    mine = write(tmp_path, {"skeleton_viewer": {"port": 8123, "host": "0.0.0.0"}})
    viewer = plan({"viewer": "true", "params_file": mine}).processes[-1]
    assert parameters(viewer, VIEWER) == VIEWER(port=8123, host="0.0.0.0")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"viewer": "perhaps"}, "viewer:=perhaps"),
        ({"viewer": "true", "viewer_port": "high"}, "viewer_port:=high"),
        ({"viewer": "true", "viewer_port": "70000"}, "viewer_port:=70000"),
        ({"viewer_port": "8080"}, "viewer:=true"),
    ],
)
def test_a_viewer_that_cannot_start_is_refused(arguments: dict[str, str], named: str) -> None:
    with pytest.raises(ParamError, match=named):
        plan(arguments)
