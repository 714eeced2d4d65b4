"""The topic body_states and the markers of a real skeleton_lifter over DDS."""

from __future__ import annotations

import numpy as np
from lifter_process import Lifter, by_id, root, tracking_state
from ros_session import wait_for


def test_body_states_come_with_the_skeletons_of_the_same_image(synchronous_lifter: Lifter) -> None:
    from emf_ros_msgs.msg import BodyState, BodyStateArray

    lifter = synchronous_lifter
    states = lifter.ros.listen(BodyStateArray, lifter.process.topic("body_states"))
    ids = lifter.new_ids()
    wait_for(lambda: lifter.feed(ids, 1) and len(states), "the first body_states")
    answer = lifter.feed(ids, 20)
    message = wait_for(
        lambda: next((m for m in states.messages if m.header == answer.header), None),
        "the states of the last image",
    )
    assert {person.track_id for person in message.people} == {
        s.track_id for s in answer.skeletons if s.tracking_state != tracking_state("ENDED")
    }
    for person in message.people:
        if person.track_id not in ids:
            continue
        facing = np.array([person.facing.x, person.facing.y, person.facing.z])
        assert abs(np.linalg.norm(facing) - 1) < 1e-6 and abs(facing[1]) < 1e-6
        assert person.posture in (BodyState.STANDING, BodyState.WALKING), person.posture
        assert abs(sum(person.posture_probability) - 1) < 1e-5
        assert 0.5 < person.head_height < 2.5
        assert len(person.orientations) == 11 and len(person.angles) == 19
        place = root(by_id(answer)[person.track_id])
        closest = np.hypot(place[0], place[2])
        assert person.closest_distance < closest + 1e-3
    lifter.ros.unlisten(states)


def test_markers_show_where_people_face_and_their_posture(synchronous_lifter: Lifter) -> None:
    from visualization_msgs.msg import Marker

    lifter = synchronous_lifter
    ids, before = lifter.new_ids(), len(lifter.markers)
    shown: dict[int, Marker] = {}

    def complete() -> bool:
        lifter.feed(ids, 1)
        for message in list(lifter.markers.messages)[before:]:
            for marker in message.markers:
                if marker.ns == f"person_{ids[0]}" and marker.action == Marker.ADD:
                    shown[marker.type] = marker
        return {Marker.ARROW, Marker.TEXT_VIEW_FACING} <= shown.keys()

    wait_for(complete, "the arrow and the words")
    start, end = shown[Marker.ARROW].points
    length = np.linalg.norm([end.x - start.x, end.y - start.y, end.z - start.z])
    assert abs(length - 0.5) < 1e-6
    assert shown[Marker.TEXT_VIEW_FACING].text in ("standing", "walking")


def test_the_words_are_over_the_head_or_over_a_hand_that_is_raised() -> None:
    from bodies import Body, stddevs
    from std_msgs.msg import Header
    from visualization_msgs.msg import Marker

    from emf_ros.body.tracker import BodyTracker
    from emf_ros.nodes.body_messages import BodyMarkers
    from emf_ros.types import Frame3D, Pose3D, TrackState

    up = np.array([0.0, -1.0, 0.0])
    for body in (Body(), Body().bend("left_shoulder", "z", 165), Body().bend_trunk("z", -80)):
        pose = Pose3D.unknown(1, TrackState.TRACKED)
        pose.joints, pose.stddev = body.seen(0.0, (0.0, 0.0, 4.0)), stddevs()[0]
        # One joint is not known.
        pose.joints[1] = np.nan
        pose.root, pose.root_valid, pose.velocity = pose.joints[0].copy(), True, np.zeros(3)
        tracker = BodyTracker(up, 0.9)
        for tick in range(30):
            states = tracker.update(Frame3D(tick * 33_000_000, 0, [pose], 0.0))
        made = BodyMarkers().update(states, {1: pose}, up, Header())
        (text,) = (marker for marker in made if marker.type == Marker.TEXT_VIEW_FACING)
        over = np.nanmin(pose.joints[:, 1]) - text.pose.position.y
        assert 0.5 * text.scale.z < over < 0.4, (text.text, over)
