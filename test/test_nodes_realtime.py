"""The real skeleton_lifter process in time: several cameras, overload, replay, clocks, QoS."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from inputs import FRAME_SIZE, camera_info_message, set_stamp
from lifter_process import SECOND, Lifter, assert_plausible, by_id, joints
from ros_session import REPEAT_S, poll, stamp_ns, wait_for

from emf_ros.lift.dispatch import SILENCE_S

HOURS = 3600 * SECOND


@pytest.fixture
def start_lifter(ros, start_node, diagnostics, demo_keypoints):
    """A lifter process of one's own, on one thread."""

    def start(camera: str = "", process: Any = None, **parameters: Any) -> Lifter:
        process = process or start_node("skeleton_lifter", device="cpu", threads=1, **parameters)
        return Lifter(ros, process, diagnostics, demo_keypoints, camera)

    return start


def publish_all(lifter: Lifter, messages: list) -> None:
    """Publish keypoints all at once; a synchronous lifter gets each of them."""
    for message in messages:
        lifter._keypoints.publish(message)


def wait_until_waiting(lifter: Lifter, count: int) -> None:
    """Until this number of keypoints has come to the lifter and waits for intrinsics."""
    wait_for(lambda: lifter.diagnostics.count("waiting") == count, f"{count} keypoints wait")


# --- several cameras -----------------------------------------------------------------------------


def test_cameras_share_a_lifter_and_no_tracks(start_lifter) -> None:
    front = start_lifter("front", cameras=["front", "rear"])
    rear = start_lifter("rear", process=front.process)
    # Only one of them is calibrated, and only its people have a place.
    front.connect()
    rear.connect(info=False)
    ids = front.new_ids()
    fed_s = []

    def feed_front() -> Any:
        fed_s.append(time.monotonic())
        return front.feed(ids)

    for _ in range(8):
        here = feed_front()
        there = rear.feed(ids)
    for track_id in ids:
        assert_plausible(by_id(here)[track_id])
        assert not by_id(there)[track_id].root_valid
    wait_for(
        lambda: feed_front() and rear.feed(ids) and front.diagnostics.value("rear.people") == "2",
        "two people at the rear",
    )
    assert "front.latency_ms_p50" in {v.key for v in front.diagnostics.last().values}
    wait_for(
        lambda: (
            feed_front() and rear.feed(ids) and front.diagnostics.level("rear camera_info") == b"\3"
        ),
        "no intrinsics at the rear",
    )
    # One falls silent: its people end, the other's stay.
    wait_for(
        lambda: feed_front() and front.diagnostics.value("rear.people") == "0",
        "the rear's people have ended",
    )
    ended = [
        s.track_id for m in rear.skeletons.messages for s in m.skeletons if s.tracking_state == 3
    ]
    assert set(ids) <= set(ended)
    # On a busy machine the front may have been silent for a second, too.
    was_silent = np.diff(fed_s).max() > SILENCE_S / 2
    assert was_silent or not any(
        s.track_id in ids and s.tracking_state == 3
        for m in front.skeletons.messages
        for s in m.skeletons
    )
    assert set(ids) <= by_id(feed_front()).keys()


def test_a_single_camera_needs_no_name(start_lifter) -> None:
    lifter = start_lifter(cameras=[""])
    lifter.connect().assert_goes_on()


# --- overload and replay -------------------------------------------------------------------------


def test_under_overload_the_newest_is_lifted_and_the_rest_counted(start_lifter) -> None:
    lifter = start_lifter().connect()
    ids = lifter.new_ids()
    lifter.diagnostics.wait_for_next()
    merged, before = lifter.diagnostics.count("coalesced"), len(lifter.skeletons)
    sent = 0

    def newest_answered() -> Any:
        nonlocal sent
        # Our own side's five are kept by the lifter's reader; more would get lost on the wire.
        for _ in range(5):
            lifter._keypoints.publish(lifter.make(ids))
        sent += 5
        return poll(lambda: lifter.skeletons.of_stamp(lifter.now), REPEAT_S)

    for _ in range(12):
        wait_for(newest_answered, "the newest's answer")
    lifter.diagnostics.wait_for_next()
    answers = sum(bool(by_id(m)) for m in lifter.skeletons.messages[before:])
    # Those that are neither answered nor merged were lost on the way to the node.
    assert 12 <= answers < sent
    assert 0 < lifter.diagnostics.count("coalesced") - merged <= sent - answers
    # What tells of an end when the images have stopped has the last one's stamp.
    living = [m for m in lifter.skeletons.messages if by_id(m)]
    assert (np.diff([stamp_ns(m) for m in living]) > 0).all()
    assert_plausible(by_id(living[-1])[ids[0]])


def replay(lifter: Lifter, messages: list) -> list:
    """All skeletons that a synchronous lifter makes of them, without the times they took."""
    publish_all(lifter, messages)
    # However late the intrinsics come, the first keypoints wait for them.
    wait_until_waiting(lifter, len(messages))
    lifter._info.publish(camera_info_message())
    wait_for(lambda: len(lifter.skeletons) >= len(messages), "an answer to each")
    for message in lifter.skeletons.messages:
        message.detect_ms = message.queue_ms = message.lift_ms = message.total_ms = 0.0
    return lifter.skeletons.messages


def test_a_replay_gives_the_same_bits_whatever_the_load(start_lifter) -> None:
    first = start_lifter(synchronous=True)
    ids = first.new_ids()
    messages = [first.make(ids) for _ in range(90)]
    calm = replay(first, messages)
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        busy = replay(start_lifter(synchronous=True), messages)
    finally:
        for process in spinning:
            process.kill()
    assert len(calm) == 90
    # As text, in which NaN is like NaN and every digit of a float is there.
    assert [repr(m) for m in calm] == [repr(m) for m in busy]
    assert [stamp_ns(m) for m in first.skeletons.messages] == [stamp_ns(m) for m in messages]
    assert_plausible(by_id(first.skeletons.messages[-1])[ids[0]])
    assert first.diagnostics.count("coalesced") == 0


#: Prints the stamp of each message that it hears on a topic, in nanoseconds.
LISTENER = """
import sys, rclpy
from emf_ros.runtime.shared_memory import use_large_shared_memory
from emf_ros.nodes.conversions import stamp_ns
from emf_ros_msgs.msg import Skeleton3DArray

use_large_shared_memory()
rclpy.init()
node = rclpy.create_node("listener")
node.create_subscription(
    Skeleton3DArray, sys.argv[1], lambda m: print(stamp_ns(m.header.stamp), flush=True), 100
)
rclpy.spin(node)
"""


def test_a_stopped_listener_gets_every_answer_of_a_replay(start_lifter, tmp_path) -> None:
    lifter = start_lifter(synchronous=True)
    ids, out = lifter.new_ids(), tmp_path / "heard"
    with out.open("w") as file:
        listener = subprocess.Popen(
            [sys.executable, "-c", LISTENER, lifter.skeletons.topic], stdout=file
        )

    def heard() -> set[int]:
        return set(map(int, out.read_text().split()))

    try:
        lifter._info.publish(camera_info_message())
        probes = []

        def listener_hears_the_last() -> bool:
            # Until the lifter has discovered the listener, its answers reach this test alone.
            probes.append(lifter.make(ids))
            lifter.send(probes[-1])
            return poll(lambda: stamp_ns(probes[-1]) in heard(), 0.5)

        wait_for(listener_hears_the_last, "the listener hears the lifter")
        listener.send_signal(signal.SIGSTOP)
        # More than a default reader's ten, and few: DDS gives up a process that is silent for 20 s.
        messages = [lifter.make(ids) for _ in range(25)]
        publish_all(lifter, messages)
        wait_for(lambda: len(lifter.skeletons) == len(probes) + 25, "an answer to each")
        listener.send_signal(signal.SIGCONT)
        sent = {stamp_ns(m) for m in messages}
        wait_for(lambda: sent <= heard(), "the answers that were sent meanwhile")
    finally:
        listener.kill()
        listener.wait()


def test_keypoints_wait_ten_seconds_of_stamps_for_announced_intrinsics(start_lifter) -> None:
    lifter = start_lifter(synchronous=True)
    ids = lifter.new_ids()
    publish_all(lifter, [lifter.make(ids) for _ in range(5)])
    wait_until_waiting(lifter, 5)
    assert len(lifter.skeletons) == 0
    publish_all(lifter, [lifter.make(ids, SECOND // 5) for _ in range(60)])
    wait_for(lambda: len(lifter.skeletons) == 65, "an answer to each")
    assert not any(s.root_valid for m in lifter.skeletons.messages for s in m.skeletons)
    assert "without a position" in lifter.process.log


def test_an_odd_stamp_does_not_end_the_wait_for_intrinsics(start_lifter) -> None:
    lifter = start_lifter(synchronous=True)
    ids = lifter.new_ids()
    odd, *messages = [lifter.make(ids) for _ in range(12)]
    set_stamp(odd, 0)
    publish_all(lifter, [odd, *messages])
    wait_until_waiting(lifter, 12)
    lifter._info.publish(camera_info_message())
    # The first right one has to be confirmed by the next.
    wait_for(lambda: len(lifter.skeletons) == 11, "an answer to each")
    assert all(s.root_valid for m in lifter.skeletons.messages[1:] for s in by_id(m).values())
    assert "without a position" not in lifter.process.log


def test_the_wait_for_intrinsics_ends_when_their_publisher_has_gone(ros, start_lifter) -> None:
    lifter = start_lifter(synchronous=True)
    ids = lifter.new_ids()
    publish_all(lifter, [lifter.make(ids) for _ in range(5)])
    wait_until_waiting(lifter, 5)
    assert len(lifter.skeletons) == 0
    ros.node.destroy_publisher(lifter._info)
    wait_for(lambda: len(lifter.skeletons) == 5, "an answer to each")


@pytest.mark.parametrize("reliability", ["RELIABLE", "BEST_EFFORT"])
def test_a_replay_takes_intrinsics_of_either_reliability(
    ros, start_lifter, reliability: str
) -> None:
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import CameraInfo

    lifter = start_lifter(synchronous=True)
    ids = lifter.new_ids()
    ros.node.destroy_publisher(lifter._info)
    lifter._info = ros.node.create_publisher(
        CameraInfo,
        lifter.process.topic("camera_info"),
        QoSProfile(depth=1, reliability=ReliabilityPolicy[reliability]),
    )
    ros.connect(lifter.process.topic("skeleton_lifter"))
    answers = replay(lifter, [lifter.make(ids) for _ in range(20)])
    assert any(s.root_valid for m in answers for s in m.skeletons)


# --- the lag -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget_ms", "lags"), [(2000.0, range(1, 14)), (1.0, range(1))])
def test_the_lag_follows_the_budget(start_lifter, budget_ms: float, lags: range) -> None:
    lifter = start_lifter(lag="auto", latency_budget_ms=budget_ms).connect()
    ids = lifter.new_ids()
    fed = 0

    def chosen() -> bool:
        """Whether the lag is one of those expected, after two seconds of a live camera."""
        nonlocal fed
        lifter.now = max(lifter.now, time.time_ns() - 33_000_000)
        lifter._keypoints.publish(lifter.make(ids))
        time.sleep(1 / 30)
        fed += 1
        if fed <= 60 or int(lifter.diagnostics.value("lag_frames") or 0) not in lags:
            return False
        # The first pose with a lag comes some images after its choice.
        return 0 in lags or behind_ns(lifter.skeletons.messages[-1]) > 0

    def behind_ns(message: Any) -> int:
        return message.lag.sec * SECOND + message.lag.nanosec

    wait_for(chosen, "the lag")
    living = [m for m in lifter.skeletons.messages if by_id(m)]
    assert 0 not in lags or max(map(behind_ns, living)) == 0
    # A growing lag describes no image twice.
    assert (np.diff([stamp_ns(m) for m in living]) > 0).all()


# --- clocks, wires -------------------------------------------------------------------------------


@pytest.mark.parametrize("off_ns", [-5 * HOURS, 5 * HOURS], ids=["behind", "ahead"])
def test_the_latency_of_a_camera_with_another_clock_is_nan(start_lifter, off_ns: int) -> None:
    lifter = start_lifter()
    lifter.now += off_ns
    lifter.connect()
    ids = lifter.new_ids()
    answer = lifter.feed(ids, 8)
    assert_plausible(by_id(answer)[ids[0]])
    assert math.isnan(answer.total_ms) and answer.lift_ms > 0
    wait_for(
        lambda: (
            lifter.feed(ids)
            and lifter.diagnostics.value("latency_ms_p50") == "nan"
            and lifter.diagnostics.value("rate_hz") != "0.0"
        ),
        "an unknown age of skeletons",
    )


def test_a_subscriber_with_incompatible_qos_is_counted_with_the_remedy(ros, start_lifter) -> None:
    from rclpy.qos import DurabilityPolicy, QoSProfile

    from emf_ros_msgs.msg import Skeleton3DArray

    lifter = start_lifter()
    profile = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    asking = ros.node.create_subscription(
        Skeleton3DArray, lifter.skeletons.topic, lambda message: None, profile
    )
    wait_for(lambda: lifter.diagnostics.count("incompatible_qos") >= 1, "the count")
    ros.node.destroy_subscription(asking)
    log = lifter.process.log
    assert lifter.skeletons.topic in log and "durability" in log and "volatile" in log
    lifter.connect().assert_goes_on()


def test_a_synchronous_lifter_hears_every_message_of_a_best_effort_publisher(
    ros, start_lifter
) -> None:
    from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

    from emf_ros_msgs.msg import Skeleton2DArray

    lifter = start_lifter(synchronous=True)
    topic = lifter.process.topic("keypoints")
    wait_for(lambda: ros.node.count_subscribers(topic) == 1, "the subscription")
    profile = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.BEST_EFFORT)
    best_effort = ros.node.create_publisher(Skeleton2DArray, topic, profile)
    # The second subscription follows when the lifter has discovered the publisher.
    wait_for(lambda: best_effort.get_subscription_count() == 1, "the second subscription")
    ids = lifter.new_ids()
    messages = [lifter.make(ids) for _ in range(20)]
    for message in messages:
        best_effort.publish(message)
    wait_until_waiting(lifter, len(messages))
    lifter._info.publish(camera_info_message())
    wait_for(lambda: len(lifter.skeletons) >= len(messages), "an answer to each message")
    ros.node.destroy_publisher(best_effort)
    assert by_id(lifter.skeletons.messages[-1])[ids[0]].root_valid
    assert lifter.diagnostics.count("incompatible_qos") == 0


def test_two_publishers_of_keypoints_get_a_warning_and_are_not_mixed(ros, start_lifter) -> None:
    from emf_ros_msgs.msg import Skeleton2DArray

    lifter = start_lifter().connect()
    lifter.diagnostics.wait_for_next()
    topic = lifter.process.topic("keypoints")
    second = ros.node.create_publisher(Skeleton2DArray, topic, 5)
    wait_for(lambda: f"2 publishers on {topic}" in lifter.diagnostics.last().message, "a warning")
    assert lifter.diagnostics.level("keypoints") != b"\0"
    # The other one's images are those of another camera: one window would hold both.
    ids = lifter.new_ids()
    lifter.feed(ids, 6)
    other = lifter.make(ids)
    other.header.frame_id = "another_camera"
    for skeleton in other.skeletons:
        for keypoint in skeleton.keypoints:
            keypoint.x += 300.0

    def refused() -> Any:
        second.publish(other)
        return poll(lambda: lifter.diagnostics.count("frame_id_mismatch") >= 1, REPEAT_S)

    wait_for(refused, "the count")
    answer = lifter.feed(ids)
    assert_plausible(by_id(answer)[ids[0]])
    assert answer.header.frame_id != "another_camera"
    ros.node.destroy_publisher(second)
    wait_for(lambda: "2 publishers" not in lifter.diagnostics.last().message, "no warning any more")


def test_swapped_track_ids_do_not_mix_two_people(start_lifter) -> None:
    lifter = start_lifter(synchronous=True).connect()
    first, second = lifter.new_ids()
    lifter.feed((first, second), 12)
    # Standing apart, they exchange their ids from one image to the next.
    swapped = lifter.feed((second, first))
    fresh = lifter.new_ids()
    lifter.index -= 1
    alone = lifter.feed(fresh)
    for old, new in zip((second, first), fresh, strict=True):
        apart = joints(by_id(swapped)[old]) - joints(by_id(alone)[new])
        assert np.nanmax(np.linalg.norm(apart, axis=-1)) < 0.1
    wait_for(lambda: lifter.diagnostics.count("track_jumped") == 2, "the count")


# --- what fixes the distance ---------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_a_depth_image_corrects_the_distance(ros, start_lifter, encoding) -> None:
    from array import array

    from sensor_msgs.msg import Image

    lifter = start_lifter(use_depth=True).connect()
    ids = lifter.new_ids()
    answer = lifter.feed(ids, 10)
    topic = lifter.process.topic("depth")
    depths = ros.publisher(Image, topic)
    wait_for(lambda: depths.get_subscription_count() == 1, "the lifter listens to depths")
    before = by_id(answer)[ids[0]].root.z
    # Without any depth image each pose says so.
    wait_for(lambda: lifter.diagnostics.count("depth_image_missing") >= 5, "the count")
    surface = 0.9 * before - 0.12
    kind, scale = {"16UC1": (np.uint16, 1000), "32FC1": (np.float32, 1)}[encoding]
    pixels = np.full((FRAME_SIZE[1] // 2, FRAME_SIZE[0] // 2), scale * surface).astype(kind)

    def moved() -> bool:
        message = lifter.make(ids)
        image = Image(
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            step=pixels.shape[1] * pixels.itemsize,
            data=array("B", pixels.tobytes()),
        )
        image.header = message.header
        depths.publish(image)
        time.sleep(0.1)
        return 0.85 < by_id(lifter.send(message))[ids[0]].root.z / before < 0.95

    wait_for(moved, "the first person a tenth nearer")
    # One that is no depth image at all is refused, and the people stay where the model has them.
    bad = Image(height=4, width=4, encoding="bgr8", step=12, data=array("B", bytes(48)))

    def refused() -> Any:
        depths.publish(bad)
        lifter.feed(ids)
        return poll(lambda: lifter.diagnostics.count("bad_depth") >= 1, REPEAT_S)

    wait_for(refused, "the count")
    lifter.assert_goes_on()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"camera_height_m": [0.05]}, "camera"),
        ({"camera_height_m": [1.0], "camera_pitch_deg": [120.0]}, "pitch"),
        ({"camera_height_m": [1.0, 1.2]}, "2 values"),
    ],
)
def test_an_impossible_floor_ends_the_process(start_node, parameters, said) -> None:
    process = start_node("skeleton_lifter", expect=False, **parameters)
    assert process.wait() == 1
    assert "Traceback" not in process.log and said in process.log
