"""Real nodes on topics whose messages are corrupted, lost, delayed, reordered and repeated."""

from __future__ import annotations

import copy
import itertools
import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from detector_process import Detector, assert_sane
from inputs import camera_info_message
from lifter_process import Lifter, assert_plausible, by_id, root
from ros_session import REPEAT_S, poll, stamp_ns, wait_for

#: Wrong stamps, s, in the past and in the future. They fall: two that rise are a jump of the clock.
PAST_S = itertools.count(-1_000_000_000, -1000)
FUTURE_S = itertools.count(2_000_000_000, -1000)
#: Rate of the disturbed topics, Hz.
RATE_HZ = 30.0
#: Time of a disturbed stream, s; `make test-wire` takes a minute.
STREAM_S = float(os.environ.get("EMF_ROS_WIRE_S", "5"))
#: Number of images of a disturbed stream.
IMAGES = round(RATE_HZ * STREAM_S)
#: What a bad wire does to messages. They take turns, each in its own part of the stream.
KINDS = ("corrupted", "delayed", "reordered", "repeated")
#: Share of the messages that are hit.
HIT_SHARE = 0.4
#: Share of the messages that are lost.
LOST_SHARE = 0.04
#: Maximum number of messages that overtake a delayed one.
MAX_DELAY = 6
#: Maximum distance of a person from the places of the same person without disturbance, m.
MAX_OFF_M = 0.5


def disturbed(
    messages: Iterable[Any],
    kind: str,
    spoil: list[Callable[[Any], None]],
    random: np.random.Generator,
) -> Iterator[Any]:
    """The messages as they arrive over a bad wire; those that are spoilt are copies.

    Args:
        messages: in their order.
        kind: one of `KINDS`.
        spoil: the kinds of corruption, which take turns.
        random: decides which message is hit.
    """
    corruptions = itertools.cycle(spoil)
    late: list[tuple[int, Any]] = []
    for index, message in enumerate(messages):
        hit = random.random() < HIT_SHARE
        if random.random() < LOST_SHARE:
            continue
        if hit and kind == "corrupted":
            bad = copy.deepcopy(message)
            next(corruptions)(bad)
            yield bad
        elif hit and kind == "delayed":
            late.append((index + int(random.integers(2, MAX_DELAY)), message))
        elif hit and kind == "reordered":
            late.append((index + 1, message))
        else:
            yield from [message] * (2 if hit and kind == "repeated" else 1)
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
    lambda m: setattr(m.header.stamp, "sec", next(PAST_S)),
    lambda m: setattr(m.header.stamp, "sec", next(FUTURE_S)),
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
    lambda m: setattr(m.header.stamp, "sec", next(PAST_S)),
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
    for kind in KINDS:
        part = IMAGES // len(KINDS)

        def stream(kind: str = kind, part: int = part) -> None:
            infos = disturbed(
                (camera_info_message() for _ in range(part)), kind, SPOILT_INFO, random
            )

            def publish(message: Any) -> None:
                info = next(infos, None)
                if info is not None:
                    lifter.send_info(info)
                lifter._keypoints.publish(message)

            keypoints = (lifter.make(ids) for _ in range(part))
            at_rate(disturbed(keypoints, kind, SPOILT_KEYPOINTS, random), publish)

        def all_counted(stream: Callable[[], None] = stream) -> bool:
            lifter.diagnostics.wait_for_next()
            counters = ("bad_keypoint", "stamp_outlier", "bad_camera_info")
            if all(lifter.diagnostics.count(counter) > 0 for counter in counters):
                return True
            # A process that had no core for a second has heard of few of them.
            stream()
            return False

        stream()
        if kind == "corrupted":
            wait_for(all_counted, "the counts")
        # The last intrinsics may have been bad ones.
        lifter.connect().assert_goes_on()
        if kind != "corrupted":
            # On a busy machine all that were hit may have been replaced by newer ones.
            late, newest = lifter.make(ids), lifter.make(ids)
            lifter.send(newest)
            lifter.send_refused(newest if kind == "repeated" else late, "stamp_not_newer")
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
    assert "Traceback" not in process.log


@pytest.fixture(scope="module")
def detector(ros, start_shared_node, diagnostics, demo_frames) -> Detector:
    process = start_shared_node("keypoint_detector", max_people=2, variant="lite", device="cpu")
    return Detector(ros, process, diagnostics, demo_frames)


def test_on_a_bad_wire_the_detector_answers_the_good_images(detector: Detector) -> None:
    frames = itertools.cycle([*detector.frames, *detector.frames[::-1]])
    before = len(detector.keypoints)
    random = np.random.default_rng(2)
    for kind in KINDS:
        part = itertools.islice(frames, IMAGES // len(KINDS))
        images = (detector.make(picture) for picture in part)
        at_rate(disturbed(images, kind, SPOILT_IMAGES, random), detector._images.publish)

        def ask() -> Any:
            image = detector.make(next(frames))
            detector._images.publish(image)
            return poll(lambda: detector.keypoints.of_stamp(stamp_ns(image)), 5.0)

        # The first image after several bad stamps may be refused as an outlier.
        wait_for(ask, "an answer")
        detector.assert_goes_on()
        if kind == "corrupted":
            counter, bad = "bad_image", detector.make(next(frames))
            SPOILT_IMAGES[0](bad)
            refused = 0
        else:
            # On a busy machine all that were hit may have been replaced by newer ones.
            late, newest = (detector.make(next(frames)) for _ in range(2))
            detector.send(newest)
            counter, bad = "stamp_not_newer", newest if kind == "repeated" else late
            refused = detector.diagnostics.count(counter)
            detector._images.publish(bad)

        def counted(counter: str = counter, bad: Any = bad, refused: int = refused) -> bool:
            if poll(lambda: detector.diagnostics.count(counter) > refused, REPEAT_S):
                return True
            # Best effort may have lost it.
            detector._images.publish(bad)
            return False

        wait_for(counted, "the count")
    answers = detector.keypoints.messages[before:]
    assert (np.diff([stamp_ns(m) for m in answers]) > 0).all()
    for answer in answers:
        assert_sane(answer)
    assert "Traceback" not in detector.process.log


def test_each_image_is_answered_or_counted_as_missed(detector: Detector, not_run) -> None:
    from emf_ros.nodes.missed_messages import HAS_NUMBERS

    if not HAS_NUMBERS:
        not_run("the counters of missed messages: rclpy up to Humble gives messages no numbers")
        pytest.skip("messages have no numbers")
    detector.diagnostics.wait_for_next()
    missed, answered = detector.diagnostics.count("image_missed"), len(detector.keypoints)
    # Far faster than the detector: newer ones replace those that wait. The stamps of all are within
    # a second, so that none is an outlier.
    images = [detector.make(picture) for picture in detector.frames[:25]]
    for image in images:
        detector._images.publish(image)
    sent = len(images)

    def newest_answered() -> Any:
        nonlocal sent
        if poll(lambda: detector.keypoints.of_stamp(detector.now), REPEAT_S):
            return True
        # It got lost. By the number of the next one that is counted, too.
        detector._images.publish(detector.make(detector.frames[0]))
        sent += 1
        return False

    wait_for(newest_answered, "the answer to the newest image")
    detector.diagnostics.wait_for_next()
    missed = detector.diagnostics.count("image_missed") - missed
    assert missed > 0 and missed + len(detector.keypoints) - answered == sent
