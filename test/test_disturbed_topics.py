"""Real nodes on topics whose messages are corrupted, lost, delayed, reordered and repeated."""

from __future__ import annotations

import copy
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from detector_process import Detector, assert_sane
from inputs import camera_info_message
from lifter_process import Lifter, assert_plausible, by_id, root
from ros_session import stamp_ns, wait_for

#: Rate of the disturbed topics, Hz.
RATE_HZ = 30.0
#: Number of images of a disturbed stream: five seconds.
IMAGES = 150
#: Share of the messages that one kind of disturbance hits.
SHARE = 0.12
#: Maximum number of messages that overtake a delayed one.
MAX_DELAY = 6
#: Maximum distance of a person from the places of the same person without disturbance, m.
MAX_OFF_M = 0.5


def disturbed(
    messages: list[Any], spoil: list[Callable[[Any], None]], random: np.random.Generator
) -> Iterator[Any]:
    """The messages as they arrive over a bad wire; those that are spoilt are copies.

    Args:
        messages: in their order.
        spoil: the kinds of corruption, which take turns.
        random: decides which message is hit.
    """
    late: list[tuple[int, Any]] = []
    for index, message in enumerate(messages):
        fate = random.random()
        if fate < SHARE:
            late.append((index + int(random.integers(1, MAX_DELAY)), message))
        elif fate < 2 * SHARE:
            yield from (message, message)
        elif fate < 3 * SHARE:
            bad = copy.deepcopy(message)
            spoil[index % len(spoil)](bad)
            yield bad
        elif fate > SHARE / 2 + 0.9:
            continue
        else:
            yield message
        for due in [entry for entry in late if entry[0] <= index]:
            late.remove(due)
            yield due[1]


def at_rate(messages: Iterator[Any], publish: Callable[[Any], None]) -> None:
    """Publish messages at `RATE_HZ`."""
    begin_s = time.monotonic()
    for index, message in enumerate(messages):
        time.sleep(max(0.0, begin_s + index / RATE_HZ - time.monotonic()))
        publish(message)


def set_first(message: Any, name: str, value: Any) -> None:
    """Set a field of the first person, or of that person's keypoints."""
    person = message.skeletons[0]
    for part in person.keypoints if name in ("x", "y", "score") else [person]:
        setattr(part, name, value)


SPOILT_KEYPOINTS: list[Callable[[Any], None]] = [
    lambda m: set_first(m, "x", float("nan")),
    lambda m: set_first(m, "y", 1e30),
    lambda m: set_first(m, "score", -1.0),
    lambda m: set_first(m, "keypoints", m.skeletons[0].keypoints[:20]),
    lambda m: setattr(m, "layout", "\x7fno layout"),
    lambda m: setattr(m, "image_width", 0),
    lambda m: setattr(m, "skeletons", []),
    lambda m: setattr(m.header, "frame_id", "other"),
    lambda m: setattr(m.header.stamp, "sec", -(2**31)),
    lambda m: setattr(m.header.stamp, "sec", 2**31 - 1),
]

SPOILT_INFO: list[Callable[[Any], None]] = [
    lambda m: setattr(m, "k", [0.0] * 9),
    lambda m: setattr(m, "k", [float("nan")] * 9),
    lambda m: setattr(m, "k", (2 * np.array(m.k)).tolist()),
    lambda m: setattr(m, "d", [1e9] * 5),
    lambda m: setattr(m, "distortion_model", "\x7f"),
    lambda m: setattr(m, "width", 7),
]

SPOILT_IMAGES: list[Callable[[Any], None]] = [
    lambda m: setattr(m, "encoding", "\x7f"),
    lambda m: setattr(m, "data", m.data[: len(m.data) // 2]),
    lambda m: setattr(m, "data", array("B")),
    lambda m: setattr(m, "height", 2**32 - 1),
    lambda m: setattr(m, "step", 1),
    lambda m: setattr(m, "width", 0),
    lambda m: setattr(m.header.stamp, "sec", -(2**31)),
]


def test_on_a_bad_wire_no_person_is_placed_wrongly(ros, start_node, diagnostics, demo_keypoints):
    process = start_node("skeleton_lifter", threads=1)
    lifter = Lifter(ros, process, diagnostics, demo_keypoints).connect()
    ids = lifter.new_ids()
    # The recording is played back and forth: these are all places of the two people.
    places: dict[int, list[np.ndarray]] = {track_id: [] for track_id in ids}
    for _ in range(2 * len(demo_keypoints)):
        people = by_id(lifter.feed(ids))
        for track_id in people.keys() & set(ids):
            places[track_id].append(root(people[track_id]))
    before = len(lifter.skeletons)
    random = np.random.default_rng(1)
    infos = disturbed([camera_info_message() for _ in range(IMAGES)], SPOILT_INFO, random)
    keypoints = [lifter.make(ids) for _ in range(IMAGES)]

    def publish(message: Any) -> None:
        info = next(infos, None)
        if info is not None:
            lifter.send_info(info)
        lifter._keypoints.publish(message)

    at_rate(disturbed(keypoints, SPOILT_KEYPOINTS, random), publish)
    # The last intrinsics may have been bad ones.
    lifter.connect().assert_goes_on()
    lifter.diagnostics.wait_for_next()
    answers = [m for m in lifter.skeletons.messages[before:] if by_id(m).keys() & set(ids)]
    assert answers
    assert (np.diff([stamp_ns(m) for m in answers]) > 0).all()
    for answer in answers:
        for track_id in by_id(answer).keys() & set(ids):
            person = by_id(answer)[track_id]
            if person.root_valid:
                assert_plausible(person)
                off = np.linalg.norm(np.array(places[track_id]) - root(person), axis=-1)
                assert off.min() < MAX_OFF_M
    for counter in (
        "bad_keypoint",
        "stamp_not_newer",
        "stamp_outlier",
        "bad_camera_info",
    ):
        assert lifter.diagnostics.count(counter) > 0, counter
    assert "Traceback" not in process.log


@pytest.fixture(scope="module")
def detector(ros, start_shared_node, diagnostics, demo_frames) -> Detector:
    process = start_shared_node("keypoint_detector", max_people=2, variant="lite", device="cpu")
    return Detector(ros, process, diagnostics, demo_frames)


def test_on_a_bad_wire_the_detector_answers_the_good_images(detector: Detector) -> None:
    frames = [*detector.frames, *detector.frames[::-1]][:IMAGES]
    images = [detector.make(picture) for picture in frames]
    before = len(detector.keypoints)
    random = np.random.default_rng(2)
    at_rate(disturbed(images, SPOILT_IMAGES, random), detector._images.publish)
    detector.assert_goes_on()
    answers = detector.keypoints.messages[before:]
    assert (np.diff([stamp_ns(m) for m in answers]) > 0).all()
    for answer in answers:
        assert_sane(answer)
    wait_for(lambda: detector.diagnostics.count("bad_image") > 0, "the count of bad images")
    assert "Traceback" not in detector.process.log


def test_each_image_is_answered_or_counted_as_missed(detector: Detector, not_run) -> None:
    from emf_ros.nodes.missed_messages import HAS_NUMBERS

    if not HAS_NUMBERS:
        not_run("the counters of missed messages: rclpy up to Humble gives messages no numbers")
        pytest.skip("messages have no numbers")
    detector.diagnostics.wait_for_next()
    missed, answered = detector.diagnostics.count("image_missed"), len(detector.keypoints)
    # Far faster than the detector: newer ones replace those that wait.
    for picture in detector.frames[:40]:
        detector._images.publish(detector.make(picture))
    newest = detector.now
    wait_for(lambda: detector.keypoints.of_stamp(newest), "the answer to the newest image")
    detector.diagnostics.wait_for_next()
    missed = detector.diagnostics.count("image_missed") - missed
    assert missed > 0 and missed + len(detector.keypoints) - answered == 40
