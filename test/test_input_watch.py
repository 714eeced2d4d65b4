"""When a topic that a node needs is said to be without a publisher, silent, or refused."""

from __future__ import annotations

import pytest

from emf_ros.nodes.diagnostics import Level
from emf_ros.nodes.input_watch import REMAINS_S, InputWatch, PublisherId

CAMERA, AGAIN, OTHER = (
    PublisherId("/camera", b"1"),
    PublisherId("/camera", b"2"),
    PublisherId("/other", b"3"),
)
UNKNOWN = PublisherId("", b"2")


class Topic:
    """A topic, a clock, and what the log says."""

    def __init__(self) -> None:
        self.now_s, self.publishers, self.said = 100.0, [CAMERA], list[str]()
        self.watch = InputWatch(
            "/image",
            "images",
            "start the camera's driver",
            lambda: self.publishers,
            self.said.append,
            lambda: self.now_s,
        )

    def pass_seconds(self, seconds: int, rate_hz: int = 0, used: bool = True, wanted: bool = True):
        """Let time pass; the last reading of the readings once a second."""
        task = None
        for _ in range(seconds):
            for _ in range(rate_hz):
                self.now_s += 1 / rate_hz
                self.watch.arrived()
                if used:
                    self.watch.used()
            if not rate_hz:
                self.now_s += 1
            task = self.watch.read(wanted)
        return task


def test_messages_that_are_used_are_well():
    task = Topic().pass_seconds(5, rate_hz=30)
    assert task.level is Level.OK and task.text == "30.0 images/s"
    assert task.values["publishers"] == "1" and task.values["topic"] == "/image"


def test_no_publisher_is_stale_and_logged_once_with_the_remedy():
    topic = Topic()
    topic.publishers = []
    assert topic.pass_seconds(4).level is Level.STALE
    assert not topic.said
    task = topic.pass_seconds(20)
    assert task.level is Level.STALE
    assert task.text == "no publisher on /image: start the camera's driver"
    assert topic.said == [task.text]
    # It is said again when the publisher has come and gone.
    topic.publishers = [CAMERA]
    topic.pass_seconds(2, rate_hz=10)
    topic.publishers = []
    topic.pass_seconds(10)
    assert len(topic.said) == 2


def test_silent_publisher_is_stale_unless_nothing_is_wanted():
    topic = Topic()
    topic.pass_seconds(5, rate_hz=30)
    assert topic.pass_seconds(2).level is Level.OK
    task = topic.pass_seconds(3)
    assert task.level is Level.STALE and "nothing on /image for 5 s" in task.text
    resting = topic.pass_seconds(60, wanted=False)
    assert resting.level is Level.OK and "at rest" in resting.text
    # The time counts from when messages are wanted again.
    assert topic.pass_seconds(2).level is Level.OK
    assert topic.pass_seconds(10, rate_hz=5).level is Level.OK


def test_slow_camera_is_not_silent():
    topic = Topic()
    for _ in range(4):
        topic.now_s += 10
        topic.watch.arrived()
        topic.watch.used()
        topic.watch.read()
    assert topic.pass_seconds(25).level is Level.OK
    assert topic.pass_seconds(10).level is Level.STALE


def test_refused_messages_are_an_error_until_one_is_used():
    topic = Topic()
    topic.pass_seconds(2, rate_hz=30)
    task = topic.pass_seconds(2, rate_hz=30, used=False)
    assert task.level is Level.ERROR and "the last 60 messages on /image were refused" in task.text
    assert topic.pass_seconds(1, rate_hz=30).level is Level.OK


@pytest.mark.parametrize("publishers", [[CAMERA, OTHER], [CAMERA, CAMERA], [CAMERA, AGAIN, OTHER]])
def test_two_publishers_are_a_warning(publishers):
    topic = Topic()
    topic.publishers = publishers
    task = topic.pass_seconds(1, rate_hz=30)
    assert task.level is Level.WARN
    assert task.text.startswith(f"{len(publishers)} publishers on /image")


def test_a_killed_publisher_and_its_successor_are_no_two_publishers():
    topic = Topic()
    # DDS still knows the killed one, and not yet the node of its successor.
    topic.publishers = [CAMERA, UNKNOWN]
    assert topic.pass_seconds(3, rate_hz=10).level is Level.OK
    topic.publishers = [CAMERA, AGAIN]
    assert topic.pass_seconds(20, rate_hz=10).level is Level.OK
    # It is killed again and again.
    for number in range(3, 9):
        topic.publishers = [*topic.publishers[-1:], PublisherId("/camera", b"%d" % number)]
        assert topic.pass_seconds(15, rate_hz=10).level is Level.OK


def test_two_nodes_of_one_name_are_a_warning_after_the_time_of_a_killed_one():
    topic = Topic()
    topic.publishers = [CAMERA, AGAIN]
    assert topic.pass_seconds(round(REMAINS_S), rate_hz=10).level is Level.OK
    assert topic.pass_seconds(2, rate_hz=10).level is Level.WARN
