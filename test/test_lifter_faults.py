"""A lifter process outlives faults around it: of memory, files, disk, clock and subscribers."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lifter_process import SECOND, Lifter, assert_ended, by_id, tracking_state
from ros_session import change, poll, stamp_ns, wait_for

from emf_ros.io.paths import share_folder

PROGRAM = str(Path(__file__).with_name("failing_engine.py"))

#: Number of messages that a subscriber does not read: far more than the lifter keeps.
UNREAD = 60


class Clock:
    """Publishes /clock."""

    def __init__(self, ros: Any) -> None:
        from rosgraph_msgs.msg import Clock

        self._ros, self._message = ros, Clock
        self._publisher = ros.publisher(Clock, "/clock")

    def close(self) -> None:
        """Publish no more: other nodes look for a clock, too."""
        self._ros.node.destroy_publisher(self._publisher)

    def set(self, nanoseconds: int) -> None:
        message = self._message()
        message.clock.sec, message.clock.nanosec = divmod(nanoseconds, SECOND)
        self._publisher.publish(message)


class HurtLifter(Lifter):
    """A lifter in simulated time, whose engine and weights can be hurt.

    Attributes:
        fault: while this file exists, the engine is out of memory.
        weights: the files of the model.
    """

    def __init__(self, ros: Any, process: Any, diagnostics: Any, keypoints: list, folder: Path):
        super().__init__(ros, process, diagnostics, keypoints)
        self.clock = Clock(ros)
        self.fault = folder / "fault"
        self.weights = [folder / "lite.onnx", folder / "lite.safetensors"]

    def make(self, *given: Any, **named: Any) -> Any:
        message = super().make(*given, **named)
        # The images are taken, and then the clock goes on.
        self.clock.set(self.now + SECOND // 20)
        return message

    def wait_for_the_time(self) -> None:
        """Wait until the node's clock is that of the last image; /clock may be late, or lost."""
        now = self.now + SECOND // 20

        def known() -> bool:
            self.clock.set(now)
            return poll(lambda: stamp_ns(self.diagnostics.all[-1][0]) == now, 2.0)

        wait_for(known, "the time")


@pytest.fixture(scope="module")
def hurt(
    ros, start_shared_node, diagnostics, demo_keypoints, tmp_path_factory
) -> Iterator[HurtLifter]:
    folder = tmp_path_factory.mktemp("hurt")
    for name in ("lite.onnx", "lite.safetensors"):
        shutil.copy(share_folder("models") / name, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAULT_FILE", str(folder / "fault"))
        process = start_shared_node(
            PROGRAM,
            expect=False,
            threads=1,
            use_sim_time=True,
            weights=str(folder / "lite.safetensors"),
        )
    node = process.topic("skeleton_lifter")
    wait_for(lambda: ros.has_node(node) or not process.alive, "the node")
    assert process.alive, process.log
    lifter = HurtLifter(ros, process, diagnostics, demo_keypoints, folder)
    lifter.connect()
    yield lifter
    lifter.clock.close()


def test_an_engine_out_of_memory_is_counted_and_recovers(hurt: HurtLifter) -> None:
    ids = hurt.new_ids()
    hurt.feed(ids, 8)
    before = len(hurt.skeletons)
    hurt.fault.touch()
    try:
        for _ in range(5):
            hurt.send_refused(hurt.make(ids), "lifter_failed")
        hurt.diagnostics.wait_for_next(simulated=True)
        assert hurt.diagnostics.level("keypoints") in (b"\2", b"\3")
    finally:
        hurt.fault.unlink()
    # Meanwhile nothing was made up.
    assert not any(by_id(m) for m in hurt.skeletons.messages[before:])
    hurt.assert_goes_on()
    assert "lifting failed" in hurt.process.log and "Available memory" in hurt.process.log


def test_a_subscriber_that_never_reads_holds_nobody_up(hurt: HurtLifter, ros) -> None:
    import rclpy
    from rclpy.qos import HistoryPolicy, QoSProfile
    from visualization_msgs.msg import MarkerArray

    from emf_ros_msgs.msg import Skeleton3DArray

    # It is never spun, keeps all, and asks for each message again.
    lazy = rclpy.create_node("lazy")
    profile = QoSProfile(history=HistoryPolicy.KEEP_ALL)
    for kind, collector in ((Skeleton3DArray, hurt.skeletons), (MarkerArray, hurt.markers)):
        lazy.create_subscription(kind, collector.topic, lambda message: None, profile)
    try:
        ros.connect(hurt.process.topic("skeleton_lifter"))
        ids = hurt.new_ids()
        for _ in range(UNREAD):
            answer = hurt.feed(ids)
        assert set(by_id(answer)) >= set(ids)
        hurt.diagnostics.wait_for_next(simulated=True)
        assert hurt.diagnostics.count("keypoints_overrun") == 0
    finally:
        lazy.destroy_node()
    hurt.assert_goes_on()


def test_a_full_disk_under_the_log_stops_no_poses(hurt: HurtLifter) -> None:
    pid = hurt.process._process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    # From now on no file of the process grows: neither its log nor what it prints.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        message = hurt.make(hurt.new_ids())
        message.layout = "no layout"
        hurt.send_refused(message, "unknown_layout")
        hurt.assert_goes_on()
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def test_simulated_time_may_jump_back_and_ahead(hurt: HurtLifter) -> None:
    for jump_ns in (-100 * SECOND, 1000 * SECOND):
        ids = hurt.new_ids()
        hurt.feed(ids)
        hurt.slowest_s = 0.0
        hurt.feed(ids, 7)
        # The rest takes longer than a second: it waits for diagnostics.
        slowest_s = hurt.slowest_s
        hurt.now += jump_ns
        hurt.send_refused(hurt.make(ids), "stamp_outlier")
        hurt.wait_for_the_time()
        answer = hurt.send(hurt.make(ids))
        hurt.slowest_s = slowest_s
        # By the new clock the images are new, and the people begin anew, once.
        assert 0 < answer.total_ms < 60_000
        for track_id in ids:
            assert by_id(answer)[track_id].tracking_state == tracking_state("WARMING_UP")
            assert_ended(hurt, track_id)
        hurt.assert_goes_on()


def test_weights_that_are_replaced_or_deleted_change_nothing_before_the_next_configure(
    hurt: HurtLifter, ros
) -> None:
    node, kept = hurt.process.topic("skeleton_lifter"), {}
    for path in hurt.weights:
        kept[path] = path.read_bytes()
        # In place, as a copy of a new file over the old one does it.
        with path.open("r+b") as file:
            file.truncate(0)
            file.write(b"no model")
    hurt.assert_goes_on()
    for path in hurt.weights:
        path.unlink()
    hurt.assert_goes_on()
    assert change(ros, node, "deactivate") and change(ros, node, "cleanup")
    assert not change(ros, node, "configure")
    wait_for(lambda: "cannot configure: there is no weights file" in hurt.process.log, "the reason")
    for path, content in kept.items():
        path.write_bytes(content)
    assert change(ros, node, "configure") and change(ros, node, "activate")
    hurt.connect().assert_goes_on()
    assert "Traceback" not in hurt.process.log
