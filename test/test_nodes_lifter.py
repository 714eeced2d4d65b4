"""The real skeleton_lifter process over DDS, fed with what a real detector found."""

from __future__ import annotations

import math
import time
from collections import Counter

import numpy as np
from inputs import FRAME_NS, FRAME_SIZE
from lifter_process import (
    FRAME_ID,
    Lifter,
    assert_ended,
    assert_plausible,
    by_id,
    joints,
    root,
    states,
    tracking_state,
)
from ros_session import points, poll, stamp_ns, wait_for


def test_two_people_warm_up_and_are_tracked(synchronous_lifter: Lifter) -> None:
    lifter = synchronous_lifter
    ids = lifter.new_ids()
    sent = lifter.make(ids)
    answer = lifter.send(sent)
    assert answer.header == sent.header
    assert answer.header.frame_id == FRAME_ID
    assert answer.layout == "h36m17"
    assert answer.lag.sec == 0 and answer.lag.nanosec == 0
    assert answer.lift_ms > 0 and answer.queue_ms >= 0
    for track_id in ids:
        assert by_id(answer)[track_id].tracking_state == tracking_state("WARMING_UP")
    done = lifter.feed_until(
        ids,
        lambda a: all(by_id(a)[i].tracking_state == tracking_state("TRACKED") for i in ids),
        "both are TRACKED",
    )
    for track_id in ids:
        assert_plausible(by_id(done)[track_id])
        seen = states(lifter, track_id)
        assert seen[:4] == [tracking_state("WARMING_UP")] * 4
    # Two people who stand apart in the image stand apart in space.
    assert np.linalg.norm(root(by_id(done)[ids[0]]) - root(by_id(done)[ids[1]])) > 0.5


def test_skeletons_project_onto_the_keypoints(synchronous_lifter: Lifter) -> None:
    from emf_ros.geometry.camera import Camera
    from emf_ros.skeletons import convert_keypoints, get_layout

    lifter = synchronous_lifter
    ids, lifter.index = lifter.new_ids(), 0
    lifter.feed(ids, 8)
    sent = lifter.make(ids)
    answer = lifter.send(sent)
    camera = Camera.from_fov(*FRAME_SIZE, 60.0)
    for person in sent.skeletons:
        keypoints = np.array([(k.x, k.y, k.score) for k in person.keypoints])
        keypoints = convert_keypoints(keypoints, get_layout("blazepose33"), get_layout("h36m17"))
        seen = keypoints[:, 2] > 0.5
        projected = camera.project(joints(by_id(answer)[person.track_id]))
        error = np.linalg.norm(projected - keypoints[:, :2], axis=-1)[seen]
        assert np.nanmean(error) < 0.1 * np.ptp(keypoints[seen, 1])


def test_stamps_are_those_of_the_input(lifter: Lifter) -> None:
    ids, before = lifter.new_ids(), len(lifter.skeletons)
    sent = []
    for _ in range(5):
        sent.append(lifter.make(ids))
        lifter.send(sent[-1])
    answered = [stamp_ns(m) for m in lifter.skeletons.messages[before:] if m.images_arrive]
    assert set(map(stamp_ns, sent)) <= set(answered)
    assert len(answered) == len(set(answered))


def test_a_person_who_leaves_ends_once(synchronous_lifter: Lifter) -> None:
    lifter = synchronous_lifter
    stays, leaves = lifter.new_ids()
    lifter.feed((stays, leaves), 3)
    answer = lifter.feed_until(
        (stays,), lambda a: leaves not in by_id(a), "the one who left is no longer reported"
    )
    assert stays in by_id(answer)
    lifter.feed((stays,), 3)
    seen = states(lifter, leaves)
    ended, coasting = tracking_state("ENDED"), tracking_state("COASTING")
    assert seen.count(ended) == 1 and seen[-1] == ended
    assert coasting in seen
    for message in lifter.skeletons.messages:
        for skeleton in message.skeletons:
            if skeleton.track_id == leaves and skeleton.tracking_state in (ended, coasting):
                assert not skeleton.root_valid and math.isnan(skeleton.root.z)
            if skeleton.track_id == leaves and skeleton.tracking_state == ended:
                assert len(skeleton.joints) == 17 and np.isnan(joints(skeleton)).all()


def test_all_tracks_end_once_when_keypoints_stop(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    lifter.feed(ids)
    lifter.slowest_s = 0.0
    lifter.feed(ids, 2)
    ended = tracking_state("ENDED")
    wait_for(lambda: all(states(lifter, i)[-1] == ended for i in ids), "both have ended")
    lifter.diagnostics.wait_for_next()
    for track_id in ids:
        assert_ended(lifter, track_id)
    assert lifter.diagnostics.value("people") == "0"
    lifter.assert_goes_on()


def test_markers_are_added_and_deleted_with_their_person(synchronous_lifter: Lifter) -> None:
    lifter = synchronous_lifter
    from visualization_msgs.msg import Marker

    stays, leaves = lifter.new_ids()
    # Postures are told of people who are TRACKED.
    lifter.feed((stays, leaves), 8)
    ended = tracking_state("ENDED")
    lifter.feed_until((stays,), lambda a: ended in states(lifter, leaves), "one has ended")
    lifter.feed((stays,), 2)
    last = stamp_ns(lifter.skeletons.messages[-1])
    wait_for(
        lambda: any(stamp_ns(m) >= last for a in lifter.markers.messages for m in a.markers),
        "the last markers",
    )
    markers = [m for array in list(lifter.markers.messages) for m in array.markers]
    assert not [m for m in markers if m.action == Marker.DELETEALL]
    mine = [m for m in markers if m.ns == f"person_{leaves}"]
    added = [m for m in mine if m.action == Marker.ADD]
    deleted = Counter(m.id for m in mine if m.action == Marker.DELETE)
    skeleton = [m for m in added if m.type in (Marker.SPHERE_LIST, Marker.LINE_LIST)]
    assert {m.type for m in skeleton} == {Marker.SPHERE_LIST, Marker.LINE_LIST}
    # What is known of the person: where it faces, and its posture.
    assert {m.type for m in added} - {m.type for m in skeleton} == {
        Marker.ARROW,
        Marker.TEXT_VIEW_FACING,
    }
    assert {m.id for m in added} == set(deleted)
    assert set(deleted.values()) == {1}
    assert all(m.action == Marker.DELETE for m in mine[-2:])
    for marker in skeleton:
        assert marker.header.frame_id == FRAME_ID
        assert marker.lifetime.sec + marker.lifetime.nanosec > 0
        assert np.isfinite(points(marker.points)).all()
        assert len(marker.points) == len(marker.colors)
        assert all(0 < c.a <= 1 for c in marker.colors)
        assert marker.scale.x > 0
        if marker.type == Marker.LINE_LIST:
            assert len(marker.points) % 2 == 0
    colors = {(m.colors[0].r, m.colors[0].g, m.colors[0].b) for m in added if m.colors}
    assert len(colors) == 1
    assert any(m.ns == f"person_{stays}" and m.action == Marker.ADD for m in markers)


def test_a_late_subscriber_gets_the_lifters_layout(ros, lifter: Lifter) -> None:
    from emf_ros_msgs.msg import SkeletonLayout

    late = ros.listen(SkeletonLayout, lifter.process.topic("layout"), latched=True)
    message = wait_for(lambda: late.messages, "the layout")[0]
    ros.unlisten(late)
    assert message.name == "h36m17"
    assert len(message.joint_names) == len(set(message.joint_names)) == 17
    assert len(message.parents) == 17 and list(message.parents).count(-1) == 1
    edges = list(message.edges)
    assert len(edges) == 2 * 16 and max(edges) < 17


def test_diagnostics_come_once_a_second(lifter: Lifter) -> None:
    wait_for(lambda: len(lifter.diagnostics.all) >= 5, "five diagnostics")
    stamps = [stamp_ns(message) for message, _ in lifter.diagnostics.all]
    apart = np.diff(stamps) / 1e9
    # Only the lower bound is the node's doing; a busy machine can stretch a second. After a message
    # that is late, the next comes in time: at most every other distance is too short.
    assert 0.9 < np.percentile(apart, 75)
    lifter.feed(lifter.new_ids(), 3)
    status = lifter.diagnostics.last()
    values = {v.key: v.value for v in status.values}
    assert {"rate_hz", "people", "lift_ms", "device", "engine"} <= set(values)
    assert values["device"] == "cpu" and "onnxruntime" in values["engine"]
    ids = lifter.new_ids()

    def fed_by_the_clock() -> bool:
        # Poses of an old stamp are late, which is a warning.
        lifter.now = max(lifter.now, time.time_ns() - FRAME_NS)
        message = lifter.make(ids)
        lifter._keypoints.publish(message)
        # The first after a step of the stamps is dropped: its own may be an odd one.
        poll(lambda: lifter.answer_to(message), 1.0)
        return lifter.diagnostics.last().level == b"\0"

    wait_for(fed_by_the_clock, "no fault")


def test_a_lag_delays_the_described_image(ros, start_node, diagnostics, demo_keypoints) -> None:
    lag = 4
    process = start_node("skeleton_lifter", device="cpu", threads=1, lag=lag, synchronous=True)
    lifter = Lifter(ros, process, diagnostics, demo_keypoints)
    lifter.connect()
    ids = lifter.new_ids()
    sent = [lifter.make(ids) for _ in range(10)]
    for message in sent:
        lifter._keypoints.publish(message)
    last = wait_for(lambda: lifter.answer_to(sent[-1]), "the answer to the last keypoints")
    answers = [m for m in lifter.skeletons.messages if stamp_ns(m) >= stamp_ns(sent[0])]
    assert [stamp_ns(m) for m in answers] == [stamp_ns(m) for m in sent[:-lag]]
    for answer in answers:
        assert answer.lag.sec == 0 and answer.lag.nanosec == lag * FRAME_NS
    assert_plausible(by_id(last)[ids[0]])
