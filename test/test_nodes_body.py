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
