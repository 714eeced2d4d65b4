"""Intrinsics that are wrong, missing or of another size, in the real skeleton_lifter process."""

from __future__ import annotations

import math
import uuid
from typing import Any

import numpy as np
import pytest
from inputs import FRAME_SIZE, camera_info_message
from lifter_process import (
    Lifter,
    by_id,
    joints,
    root,
    states,
    tracking_state,
)
from ros_session import poll, wait_for


def _info(**values: Any) -> Any:
    message = camera_info_message()
    for name, value in values.items():
        setattr(message, name, value)
    return message


def _matrix(index: int, value: float) -> list[float]:
    matrix = list(camera_info_message().k)
    matrix[index] = value
    return matrix


@pytest.mark.parametrize(
    ("values", "counter"),
    [
        pytest.param({"k": _matrix(0, math.nan)}, "bad_camera_info", id="NaN in K"),
        pytest.param({"d": [math.nan] * 5}, "bad_camera_info", id="NaN in D"),
        pytest.param({"k": _matrix(0, math.inf)}, "bad_camera_info", id="inf"),
        pytest.param({"k": _matrix(4, -700.0)}, "bad_camera_info", id="negative focal length"),
        pytest.param({"d": [0.0] * 3}, "bad_camera_info", id="3 coefficients"),
        pytest.param({"distortion_model": "magic"}, "bad_camera_info", id="unknown model"),
        pytest.param({"width": 0}, "bad_camera_info", id="no width"),
        pytest.param({"k": [0.0] * 9}, None, id="K all zero"),
    ],
)
def test_without_usable_intrinsics_poses_have_no_place(
    lifter: Lifter, values: dict[str, Any], counter: str | None
) -> None:
    wait_for(lifter.diagnostics.last, "diagnostics")
    before = lifter.diagnostics.count(counter) if counter else 0
    ids = lifter.new_ids()
    answer = lifter.feed_until(
        ids,
        lambda a: all(i in by_id(a) and not by_id(a)[i].root_valid for i in ids),
        "poses without a root",
        _info(**values),
    )
    for track_id in ids:
        assert_relative(by_id(answer)[track_id])
    wait_for(lambda: lifter.diagnostics.level("camera_info") == b"\2", "an error in diagnostics")
    assert "poses have no position" in lifter.diagnostics.last().tasks["camera_info"].message
    if counter:
        wait_for(lambda: lifter.diagnostics.count(counter) > before, f"count of {counter}")
    lifter.with_known_camera().assert_goes_on()


@pytest.mark.parametrize(
    "values",
    [{"k": [0.0] * 9}, {"d": [math.nan] * 5}, {"k": [2 * v for v in _matrix(8, 0.5)]}],
    ids=["K all zero", "NaN in D", "another focal length"],
)
def test_single_wrong_intrinsics_restart_nothing(
    synchronous_lifter: Lifter, values: dict[str, Any]
) -> None:
    lifter = synchronous_lifter
    ids = lifter.new_ids()
    lifter.feed(ids, 10)
    # Counts that were published before that may lack what an earlier test did.
    lifter.diagnostics.wait_for_next()
    before = {k: lifter.diagnostics.count(k) for k in ("camera_info_outlier", "camera_changed")}
    first = len(lifter.skeletons)
    for info in (_info(**values), camera_info_message()) * 5:
        lifter.send_info(info)
        lifter.feed(ids)
    outlier = "camera_info_outlier"
    wait_for(lambda: lifter.diagnostics.count(outlier) >= before[outlier] + 4, "the count")
    lifter.diagnostics.wait_for_next()
    assert lifter.diagnostics.count("camera_changed") == before["camera_changed"]
    for answer in lifter.skeletons.messages[first:]:
        for track_id in ids:
            assert by_id(answer)[track_id].tracking_state == tracking_state("TRACKED")
            assert by_id(answer)[track_id].root_valid


def test_people_before_an_uncalibrated_camera_are_tracked(
    ros, start_node, diagnostics, demo_keypoints
) -> None:
    process = start_node("skeleton_lifter", device="cpu", threads=1, synchronous=True)
    lifter = Lifter(ros, process, diagnostics, demo_keypoints)
    unknown = _info(k=[0.0] * 9)
    lifter.send_info(unknown)
    lifter.connect(info=False)
    ids = lifter.new_ids()
    for _ in range(12):
        lifter.send_info(unknown)
        answer = lifter.feed(ids)
    for track_id in ids:
        assert states(lifter, track_id).count(tracking_state("ENDED")) == 0
        assert by_id(answer)[track_id].tracking_state == tracking_state("TRACKED")
        assert_relative(by_id(answer)[track_id])
    lifter.diagnostics.wait_for_next()
    assert lifter.diagnostics.count("camera_changed") == 0
    assert "run camera_calibration" in lifter.diagnostics.last().message
    assert process.log.count("K is zero") == 1
    # Calibrated at last, everyone begins anew, once.
    for _ in range(12):
        lifter.send_info(camera_info_message())
        answer = lifter.feed(ids)
    wait_for(lambda: lifter.diagnostics.count("camera_changed") == 1, "the count")
    for track_id in ids:
        assert states(lifter, track_id).count(tracking_state("ENDED")) == 1
        assert by_id(answer)[track_id].root_valid


@pytest.mark.parametrize("synchronous", [False, True])
def test_intrinsics_that_were_sent_once_are_heard_later_and_outlive_a_pause(
    ros, start_node, diagnostics, demo_keypoints, synchronous: bool
) -> None:
    from rclpy.qos import DurabilityPolicy
    from sensor_msgs.msg import CameraInfo
    from std_srvs.srv import SetBool

    from emf_ros.nodes.qos import LATCHED_QOS, RELIABLE_QOS, PublisherEventCallbacks

    topic = f"/camera_{uuid.uuid4().hex}/camera_info"
    once = ros.node.create_publisher(CameraInfo, topic, LATCHED_QOS)
    once.publish(camera_info_message())
    process = start_node(
        "skeleton_lifter", remappings=(f"camera_info:={topic}",), threads=1, synchronous=synchronous
    )
    lifter = Lifter(ros, process, diagnostics, demo_keypoints).connect(info=False)
    lifter.assert_goes_on()
    ros.node.destroy_publisher(once)
    assert lifter.diagnostics.count("incompatible_qos") == 0
    if synchronous:
        return

    for wanted in (False, True):
        request = SetBool.Request(data=wanted)
        assert ros.call(SetBool, process.topic("skeleton_lifter/enable"), request).success
    lifter.connect(info=False).assert_goes_on()
    lifter.diagnostics.wait_for_next()
    assert "intrinsics" not in lifter.diagnostics.last().message

    # A driver that keeps nothing is not bothered.
    def heard() -> list[Any]:
        found = ros.node.get_subscriptions_info_by_topic(topic)
        return [subscription.qos_profile.durability for subscription in found]

    wait_for(lambda: heard() == [DurabilityPolicy.VOLATILE], "the subscription")
    complaints: list[Any] = []
    events = PublisherEventCallbacks(incompatible_qos=complaints.append)
    driver = ros.node.create_publisher(CameraInfo, topic, RELIABLE_QOS, event_callbacks=events)
    wait_for(driver.get_subscription_count, "the lifter")
    lifter.diagnostics.wait_for_next()
    assert not complaints and heard() == [DurabilityPolicy.VOLATILE]
    ros.node.destroy_publisher(driver)


def test_two_publishers_of_intrinsics_get_a_warning(ros, lifter: Lifter) -> None:
    from sensor_msgs.msg import CameraInfo

    topic = lifter.process.topic("camera_info")
    second = ros.publisher(CameraInfo, topic)
    wait_for(lifter.diagnostics.last, "diagnostics")
    # Nobody sends any: intrinsics are needed once, and the warning is not of a silent topic.
    wait_for(lambda: f"2 publishers on {topic}" in lifter.diagnostics.last().message, "a warning")
    for _ in range(2):
        lifter.diagnostics.wait_for_next()
    assert f"2 publishers on {topic}" in lifter.diagnostics.last().message
    assert lifter.diagnostics.level("camera_info") == b"\1"
    ros.node.destroy_publisher(second)
    wait_for(lambda: lifter.diagnostics.level("camera_info") == b"\0", "all is well again")


def assert_relative(skeleton: Any) -> None:
    """A pose around its pelvis, and no place."""
    assert not skeleton.root_valid
    assert np.isnan(root(skeleton)).all()
    assert np.isnan(skeleton.root_covariance).all()
    assert math.isnan(skeleton.velocity.x)
    where = joints(skeleton)
    assert np.abs(where[0]).max() < 1e-6
    known = where[np.isfinite(where).all(axis=-1)]
    assert len(known) >= 12 and np.linalg.norm(known, axis=-1).max() < 1.5


def test_intrinsics_of_another_size_are_counted(lifter: Lifter) -> None:
    wait_for(lifter.diagnostics.last, "diagnostics")
    before = lifter.diagnostics.count("camera_info_size_mismatch")
    ids = lifter.new_ids()

    def counted() -> bool:
        lifter.send_info(camera_info_message((640, 640)))
        lifter._keypoints.publish(lifter.make(ids))
        return poll(lambda: lifter.diagnostics.count("camera_info_size_mismatch") > before, 0.1)

    wait_for(counted, "the count")
    # Until the right intrinsics are in use, keypoints go unanswered.
    lifter.feed_until_answered(camera_info_message())
    lifter.assert_goes_on()


def test_intrinsics_of_another_resolution_fit(synchronous_lifter: Lifter) -> None:
    lifter, roots = synchronous_lifter, []
    for factor in (1, 2):
        lifter.send_info(camera_info_message((factor * FRAME_SIZE[0], factor * FRAME_SIZE[1])))
        ids, lifter.index = lifter.new_ids(), 0
        roots.append(root(by_id(lifter.feed(ids, 15))[ids[0]]))
    assert np.linalg.norm(roots[0] - roots[1]) < 0.01 * np.linalg.norm(roots[0])


def test_poses_have_no_place_without_camera_info(
    ros, start_node, diagnostics, demo_keypoints
) -> None:
    lifter = Lifter(
        ros, start_node("skeleton_lifter", device="cpu", threads=1), diagnostics, demo_keypoints
    )
    lifter.connect(info=False)
    ids = lifter.new_ids()
    answer = lifter.feed_until(
        ids, lambda a: by_id(a)[ids[0]].tracking_state == tracking_state("TRACKED"), "TRACKED"
    )
    for track_id in ids:
        assert_relative(by_id(answer)[track_id])
    wait_for(lifter.diagnostics.last, "diagnostics")
    wait_for(lambda: lifter.diagnostics.level("camera_info") == b"\3", "no intrinsics")
    # The remedy is named once its publishers are discovered, which may be after the first STALE.
    words = "poses have no position; a publisher that sends it once needs durability"
    wait_for(lambda: words in lifter.diagnostics.last().message, "what it means")
    assert not any(m.action == m.ADD for a in lifter.markers.messages for m in a.markers)
