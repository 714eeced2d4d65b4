"""What the real nodes say on /diagnostics and in the log, fault by fault."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import yaml
from inputs import FRAME_NS, camera_info_message, image_message
from lifter_process import Lifter
from ros_session import poll, wait_for

OK, WARN, ERROR, STALE = b"\0", b"\1", b"\2", b"\3"


def task_of(said: Any, name: str) -> Any:
    last = said.last()
    return last.tasks.get(name) if last else None


def wait_for_task(said: Any, name: str, level: bytes, words: str) -> Any:
    """Wait until a task has a level and its message has some words; its status."""

    def found() -> Any:
        status = task_of(said, name)
        return status is not None and status.level == level and words in status.message and status

    return wait_for(found, f"{name} {level!r} {words!r}, last {task_of(said, name)}")


def test_names_are_of_the_form_node_colon_task_and_the_hardware_is_the_camera(
    synchronous_lifter: Lifter,
) -> None:
    lifter = synchronous_lifter
    lifter.feed(lifter.new_ids(), 3)
    lifter.diagnostics.wait_for_next()
    tasks = lifter.diagnostics.last().tasks
    assert list(tasks) == ["skeletons", "keypoints", "camera_info", "model", "node"]
    node = lifter.process.topic("skeleton_lifter").lstrip("/")
    assert {status.name for status in tasks.values()} == {f"{node}: {name}" for name in tasks}
    assert tasks["skeletons"].hardware_id == tasks["keypoints"].hardware_id
    assert tasks["skeletons"].hardware_id == "head_camera_optical_frame"
    assert tasks["node"].message == "active"


def test_detector_without_a_camera_says_so(ros, start_node, diagnostics) -> None:
    from sensor_msgs.msg import Image

    process = start_node("keypoint_detector", variant="lite")
    said = diagnostics(process.topic("keypoint_detector"))
    topic = process.topic("image")
    wait_for_task(said, "images", STALE, f"no publisher on {topic}")
    wait_for(lambda: f"no publisher on {topic}: start the camera's driver" in process.log, "log")
    publisher = ros.publisher(Image, topic)
    wait_for_task(said, "images", OK, "at rest")
    ros.node.destroy_publisher(publisher)
    wait_for_task(said, "images", STALE, "no publisher")


def test_silent_and_refused_images_are_told_apart(ros, start_node, diagnostics) -> None:
    from sensor_msgs.msg import Image

    from emf_ros_msgs.msg import Skeleton2DArray

    process = start_node("keypoint_detector", variant="lite")
    said = diagnostics(process.topic("keypoint_detector"))
    ros.listen(Skeleton2DArray, process.topic("keypoints"))
    images = ros.publisher(Image, process.topic("image"))
    ros.connect(process.topic("keypoint_detector"))
    wait_for_task(said, "images", STALE, "though it has a publisher")
    picture = np.zeros((480, 640, 3), np.uint8)
    wrong = image_message(picture, time.time_ns())
    wrong.encoding = "no_such_encoding"

    def refused() -> bool:
        images.publish(wrong)
        status = task_of(said, "images")
        return poll(lambda: status.level == ERROR and "were refused" in status.message, 0.1)

    wait_for(refused, "all images refused")

    def well() -> bool:
        images.publish(image_message(picture, time.time_ns()))
        return poll(lambda: task_of(said, "images").level == OK, 0.1)

    wait_for(well, "images again")
    assert said.count("bad_image") >= 1


def test_lifter_warns_where_half_of_the_images_have_no_keypoints(lifter: Lifter) -> None:
    ids, sent = lifter.new_ids(), 0

    def lossy() -> bool:
        nonlocal sent
        # One in four images has keypoints.
        lifter.send_info(camera_info_message())
        if sent % 4 == 0:
            lifter._keypoints.publish(lifter.make(ids, 4 * FRAME_NS))
        sent += 1
        status = task_of(lifter.diagnostics, "keypoints")
        return poll(
            lambda: (
                status is not None
                and status.level == WARN
                and "images/s have keypoints" in status.message
            ),
            0.03,
        )

    wait_for(lossy, "a warning")
    lifter.assert_goes_on()


def test_lifter_without_keypoints_or_intrinsics_says_so(ros, start_node, diagnostics) -> None:
    process = start_node("skeleton_lifter", threads=1, use_depth=True)
    said = diagnostics(process.topic("skeleton_lifter"))
    topic = process.topic("keypoints")
    wait_for_task(said, "keypoints", STALE, f"no publisher on {topic}: start the detector")
    status = wait_for_task(said, "camera_info", STALE, "poses have no position")
    assert "run camera_calibration" in status.message
    status = wait_for_task(said, "depth images", STALE, "no publisher")
    assert "distances come from the size of people" in status.message
    for name in ("keypoints", "camera_info", "depth"):
        wait_for(lambda name=name: process.log.count(f"no publisher on {process.topic(name)}"), "")
    said.wait_for_next()
    assert process.log.count(f"no publisher on {topic}") == 1


def test_simulated_time_without_a_clock_is_said_once(ros, start_node, diagnostics) -> None:
    process = start_node("skeleton_lifter", threads=1, use_sim_time=True)
    said = diagnostics(process.topic("skeleton_lifter"))
    wait_for_task(said, "node", ERROR, "nothing publishes /clock")
    wait_for(lambda: "play the bag with --clock" in process.log, "the remedy in the log")
    said.wait_for_next(simulated=True)
    assert process.log.count("nothing publishes /clock") == 1


def test_empty_frame_id_is_said_once(synchronous_lifter: Lifter) -> None:
    lifter = synchronous_lifter
    before = lifter.process.log.count("frame_id is empty")
    for _ in range(3):
        message = lifter.make(lifter.new_ids())
        message.header.frame_id = ""
        lifter._keypoints.publish(message)
    wait_for(lambda: lifter.process.log.count("frame_id is empty") == before + 1, "the warning")
    lifter.assert_goes_on()
    assert lifter.process.log.count("frame_id is empty") == before + 1


def test_failed_configure_is_an_error_in_the_diagnostics(ros, start_node, diagnostics) -> None:
    from std_srvs.srv import SetBool

    process = start_node("skeleton_lifter", autostart=False, weights="/no/such.onnx")
    node = process.topic("skeleton_lifter")
    wait_for_task(diagnostics(node), "node", OK, "unconfigured")
    ros.call(SetBool, f"{node}/enable", SetBool.Request(data=True))
    wait_for_task(diagnostics(node), "node", ERROR, "/no/such.onnx")


def test_missing_video_is_an_error(ros, start_node, diagnostics) -> None:
    process = start_node("video_source", source="/no/such.mp4")
    status = wait_for_task(
        diagnostics(process.topic("video_source")), "source", ERROR, "/no/such.mp4"
    )
    assert status.hardware_id == "camera_optical_frame"


@pytest.mark.parametrize(
    "nodes",
    [
        ["video_source", "keypoint_detector", "skeleton_lifter"],
        ["keypoint_detector", "skeleton_lifter"],
        ["skeleton_lifter"],
    ],
    ids=["own camera", "camera driver", "third-party keypoints"],
)
def test_aggregator_file_takes_each_task_once_and_has_no_analyzer_without_one(
    nodes: list[str],
) -> None:
    """An analyzer without a task is stale, and a group with it is an error for ever."""
    from emf_ros.io.paths import share_folder

    content = yaml.safe_load((share_folder("config") / "diagnostics.yaml").read_text("utf-8"))
    (parameters,) = [section["ros__parameters"] for section in content.values()]

    def analyzers(found: dict[str, Any]) -> list[dict[str, Any]]:
        if found["type"] == "diagnostic_aggregator/AnalyzerGroup":
            return [one for child in found["analyzers"].values() for one in analyzers(child)]
        assert found["type"] == "diagnostic_aggregator/GenericAnalyzer" and found["path"]
        return [found]

    takes = [one["contains"] for one in analyzers(parameters["emf_ros"])]
    tasks = [f"robot/front/{node}: any task" for node in nodes]
    matrix = [[any(text in task for text in texts) for task in tasks] for texts in takes]
    assert all(any(row) for row in matrix)
    assert all(sum(column) == 1 for column in zip(*matrix, strict=True))
