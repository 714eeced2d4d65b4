"""Keypoints and stamps that the real skeleton_lifter process refuses, counts and survives."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from inputs import FRAME_NS, set_stamp
from lifter_process import (
    SECOND,
    Lifter,
    assert_plausible,
    by_id,
    joints,
    states,
    tracking_state,
)
from ros_session import poll, stamp_ns, wait_for


def _all(**values: float) -> Callable[[Any], None]:
    def spoil(message: Any) -> None:
        for skeleton in message.skeletons:
            for keypoint in skeleton.keypoints:
                for name, value in values.items():
                    setattr(keypoint, name, value)

    return spoil


def _drop_keypoints(message: Any) -> None:
    for skeleton in message.skeletons:
        skeleton.keypoints = skeleton.keypoints[:17]


@pytest.mark.parametrize(
    ("spoil", "counter", "times"),
    [
        pytest.param(_all(x=math.nan), "bad_keypoint", 66, id="NaN"),
        pytest.param(_all(y=math.inf), "bad_keypoint", 66, id="inf"),
        pytest.param(_all(x=1e30), "bad_keypoint", 66, id="far outside the image"),
        pytest.param(_all(score=-0.5), "bad_keypoint", 66, id="score under 0"),
        pytest.param(_all(score=math.nan), "bad_keypoint", 66, id="score NaN"),
        pytest.param(_all(score=0.0), "too_few_keypoints", 2, id="all missing"),
        pytest.param(_drop_keypoints, "wrong_keypoint_count", 2, id="wrong count"),
    ],
)
def test_people_with_bad_keypoints_get_no_pose(
    lifter: Lifter, spoil: Callable[[Any], None], counter: str, times: int
) -> None:
    ids = lifter.new_ids()
    message = lifter.make(ids)
    spoil(message)
    lifter.send_refused(message, counter, times)
    lifter.assert_goes_on()
    assert not any(states(lifter, i) for i in ids)


def test_a_message_of_a_thousand_people_and_one_is_refused(lifter: Lifter) -> None:
    message = lifter.make(lifter.new_ids())
    message.skeletons = message.skeletons[:1] * 1001
    lifter.send_refused(message, "message_too_large")
    lifter.assert_goes_on()


def test_scores_over_one_are_taken_as_one_and_counted(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    message = lifter.make(ids)
    _all(score=1.5)(message)
    lifted = by_id(lifter.send(message))
    for track_id in ids:
        assert np.isfinite(joints(lifted[track_id])).all()
        assert max(joint.confidence for joint in lifted[track_id].joints) == pytest.approx(1.0)
    wait_for(lambda: lifter.diagnostics.count("score_over_1") >= 66, "the count")


def test_one_bad_joint_is_left_out_and_the_rest_lifted(lifter: Lifter) -> None:
    from emf_ros.skeletons import get_layout

    ids = lifter.new_ids()
    wrist = get_layout("blazepose33").joints.index("left_wrist")
    message = lifter.make(ids)
    message.skeletons[0].keypoints[wrist].x = math.nan
    answer = lifter.send(message)
    lifted = by_id(answer)
    names = get_layout("h36m17").joints
    left = names.index("left_wrist")
    assert np.isnan(joints(lifted[ids[0]])[left]).all()
    assert lifted[ids[0]].joints[left].confidence == 0
    assert np.isfinite(joints(lifted[ids[0]])).all(axis=-1).sum() >= 12
    wait_for(lambda: lifter.diagnostics.count("bad_keypoint") >= 1, "the count")


def test_a_missing_joint_is_no_fault(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    lifter.diagnostics.wait_for_next()
    before = lifter.diagnostics.count("bad_keypoint")
    message = lifter.make(ids)
    keypoint = message.skeletons[0].keypoints[15]
    keypoint.x = keypoint.y = math.nan
    keypoint.score = 0.0
    lifter.send(message)
    lifter.diagnostics.wait_for_next()
    assert lifter.diagnostics.count("bad_keypoint") == before


def test_a_repeated_track_id_is_one_person(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    message = lifter.make((ids[0], ids[0]))
    lifter.send_refused(message, "repeated_track_id")
    answer = wait_for(lambda: lifter.skeletons.of_stamp(lifter.now), "the answer")
    assert list(by_id(answer)).count(ids[0]) == 1
    lifter.assert_goes_on()


def send_until(lifter: Lifter, make: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    """Send messages, each answered, until an answer is as wanted; that answer."""
    for _ in range(60):
        answer = lifter.send(make())
        if done(answer):
            return answer
    raise AssertionError(f"never so in 60 answers; the last: {answer}")


def test_people_with_track_id_0_are_tracked_by_the_lifter(
    start_node, ros, diagnostics, demo_keypoints
) -> None:
    """Their track_id is 0. A publisher that begins to leave it out is tracked from there on."""
    process = start_node("skeleton_lifter", threads=1, synchronous=True)
    lifter = Lifter(ros, process, diagnostics, demo_keypoints).connect()
    known = lifter.new_ids()
    lifter.send(lifter.make(known))

    def seen(answer: Any) -> set[int]:
        return {i for i, s in by_id(answer).items() if s.tracking_state == 1 and s.root_valid}

    first = send_until(
        lifter, lambda: lifter.make((0, 0)), lambda a: len(seen(a) - set(known)) == 2
    )
    own = seen(first) - set(known)
    assert min(own) > max(known)
    for _ in range(10):
        assert seen(lifter.send(lifter.make((0, 0)))) - set(known) == own
    # Theirs stay, whether the publisher gives ids to all, to one or to none.
    for ids in (known, (0, known[1]), (0, 0)):
        assert seen(lifter.send(lifter.make(ids))) - set(known) == own
    wait_for(lambda: lifter.diagnostics.count("track_id_replaced") == 3, "the counter")
    assert lifter.diagnostics.count("repeated_track_id") == 0


def test_people_over_max_people_are_refused(lifter: Lifter) -> None:
    first = lifter.new_ids()[0] * 1000
    message = lifter.make(lifter.new_ids())
    crowd = [copy.deepcopy(message.skeletons[0]) for _ in range(30)]
    for number, skeleton in enumerate(crowd):
        skeleton.track_id = first + number
    message.skeletons = crowd
    lifter.send_refused(message, "over_max_people", 22)
    answer = wait_for(lambda: lifter.skeletons.of_stamp(lifter.now), "the answer")
    assert sum(i >= first for i in by_id(answer)) == 8
    lifter.assert_goes_on()


@pytest.mark.parametrize(
    ("values", "counter"),
    [
        pytest.param({"layout": "centaur"}, "unknown_layout", id="unknown layout"),
        pytest.param({"layout": ""}, "unknown_layout", id="no layout"),
        pytest.param({"image_width": 0}, "image_size_not_positive", id="no width"),
        pytest.param(
            {"image_width": 0, "image_height": 0}, "image_size_not_positive", id="no size"
        ),
        pytest.param({"image_width": 400}, "camera_info_size_mismatch", id="other aspect"),
    ],
)
def test_an_array_with_a_bad_layout_or_size_is_refused(
    lifter: Lifter, values: dict[str, Any], counter: str
) -> None:
    message = lifter.make(lifter.new_ids())
    for name, value in values.items():
        setattr(message, name, value)
    lifter.send_refused(message, counter)
    lifter.assert_goes_on()
    assert lifter.skeletons.of_stamp(stamp_ns(message)) is None


# --- stamps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_ns", [0, FRAME_NS, SECOND // 3], ids=["repeat", "frame", "third"])
def test_a_stamp_that_is_not_newer_is_refused(lifter: Lifter, back_ns: int) -> None:
    ids = lifter.new_ids()
    lifter.feed(ids, 2)
    message = lifter.make(ids)
    set_stamp(message, lifter.now - FRAME_NS - back_ns)
    before = len(lifter.skeletons)
    lifter.now -= FRAME_NS
    lifter.send_refused(message, "stamp_not_newer")
    lifter.assert_goes_on()
    # What tells of a second without images has the stamp of the last one.
    answers = [m for m in lifter.skeletons.messages[before:] if m.images_arrive]
    assert stamp_ns(message) not in map(stamp_ns, answers)


def test_a_long_jump_back_starts_anew_when_the_next_image_confirms_it(
    synchronous_lifter: Lifter,
) -> None:
    lifter = synchronous_lifter
    ids = lifter.new_ids()
    lifter.feed(ids, 6)
    lifter.now -= 3600 * SECOND
    lifter.send_refused(lifter.make(ids), "stamp_outlier")
    message = lifter.make(ids)
    lifter.send_refused(message, "stamp_jumped_back")
    answer = wait_for(lambda: lifter.skeletons.of_stamp(stamp_ns(message)), "the answer")
    ended = tracking_state("ENDED")
    assert {s.track_id for s in answer.skeletons if s.tracking_state == ended} >= set(ids)
    for track_id in ids:
        assert by_id(answer)[track_id].tracking_state == tracking_state("WARMING_UP")
    lifter.assert_goes_on()


def test_a_long_jump_ahead_ends_all_tracks_when_the_next_image_confirms_it(
    synchronous_lifter: Lifter,
) -> None:
    lifter = synchronous_lifter
    stays, leaves = lifter.new_ids()
    lifter.feed((stays, leaves), 3)
    lifter.send_refused(lifter.make((stays,), 3600 * SECOND), "stamp_outlier")
    answer = lifter.send(lifter.make((stays,)))
    assert stamp_ns(answer) == lifter.now
    assert_plausible(by_id(answer)[stays])
    assert by_id(answer)[stays].tracking_state == tracking_state("WARMING_UP")
    assert leaves not in by_id(answer)
    for track_id in (stays, leaves):
        assert states(lifter, track_id).count(tracking_state("ENDED")) == 1
    lifter.assert_goes_on()


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda now: 0, id="zero"),
        pytest.param(lambda now: now - 10 * SECOND, id="10 s late"),
        pytest.param(lambda now: now + 3600 * SECOND, id="an hour ahead"),
        pytest.param(lambda now: -now, id="negative"),
    ],
)
def test_one_odd_stamp_costs_no_id(synchronous_lifter: Lifter, odd: Callable[[int], int]) -> None:
    lifter = synchronous_lifter
    ids = lifter.new_ids()
    tracked = tracking_state("TRACKED")
    lifter.feed_until(
        ids, lambda a: all(by_id(a)[i].tracking_state == tracked for i in ids), "both TRACKED"
    )
    before = len(lifter.skeletons)
    message = lifter.make(ids)
    set_stamp(message, odd(lifter.now))
    lifter.send_refused(message, "stamp_outlier")
    lifter.feed(ids, 5)
    after = lifter.skeletons.messages[before:]
    assert len(after) == 5
    for answer in after:
        found = [(s.track_id, s.tracking_state) for s in answer.skeletons if s.track_id in ids]
        assert sorted(found) == [(i, tracked) for i in ids]


def test_stamps_that_are_all_zero_are_reported(ros, start_node, diagnostics, demo_keypoints):
    process = start_node("skeleton_lifter", device="cpu", threads=1)
    lifter = Lifter(ros, process, diagnostics, demo_keypoints)
    ids = lifter.new_ids()

    def said() -> bool:
        counted = lifter.diagnostics.count("stamps_all_equal") >= 5
        return counted and lifter.diagnostics.has_error("keypoints", "set header.stamp")

    def reported() -> bool:
        message = lifter.make(ids)
        set_stamp(message, 0)
        lifter._keypoints.publish(message)
        return poll(said, 0.05)

    # While images come: when they have stopped, that is said.
    wait_for(reported, "the count, and an error with the remedy")
    assert process.log.count("does not stamp its images") == 1
    # Once the driver stamps them, all is well.
    lifter.now = time.time_ns()
    lifter.connect().assert_goes_on()
    wait_for(lambda: lifter.diagnostics.level("keypoints") != b"\2", "no error any more")
