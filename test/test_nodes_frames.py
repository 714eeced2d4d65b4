"""A real skeleton_lifter with /tf and /tf_static: target frame, floor, base, frames of people."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from inputs import set_stamp
from lifter_process import SECOND, Lifter, by_id, root, tracking_state
from moving_camera import CAMERA, PERSON, Robot, numbers, seen, standing
from ros_session import Ros, poll, stamp_ns, wait_for
from test_pipeline import CAMERA as LENS

from emf_ros.geometry.transforms import Transform
from emf_ros.nodes.base import NodeError
from emf_ros.nodes.conversions import camera_info_msg
from emf_ros.nodes.params import ParamError, SkeletonLifterParams
from emf_ros.nodes.transform_listener import tf_message_type

#: The base drives at 0.4 m/s and the head turns by up to 1.1 rad/s.
ROBOT = Robot(pan_rad=lambda t: 0.35 * math.sin(3.2 * t), place_m=lambda t: (0.4 * t, 0.0))


class Seen(Lifter):
    """A lifter that is fed with a person who stands still, seen by a robot that moves."""

    def __init__(self, ros: Ros, process: Any, diagnostics: Any) -> None:
        from rclpy.qos import DurabilityPolicy, QoSProfile
        from tf2_msgs.msg import TFMessage

        from emf_ros_msgs.msg import BodyStateArray

        self._tf = ros.publisher(TFMessage, "/tf")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._tf_static = ros.node.create_publisher(TFMessage, "/tf_static", latched)
        self.frames = ros.listen(TFMessage, "/tf")
        self.bodies = ros.listen(BodyStateArray, process.topic("body_states"))
        self.begin_ns = 0
        super().__init__(ros, process, diagnostics, [])
        self.begin_ns = self.now

    def close(self) -> None:
        for publisher in (self._tf, self._tf_static):
            self.ros.node.destroy_publisher(publisher)
        for heard in (self.frames, self.bodies):
            self.ros.unlisten(heard)

    @property
    def seconds(self) -> float:
        return (self.now - self.begin_ns) / SECOND

    def tell_static(self, *more: tuple[str, str, Transform]) -> None:
        self._tf_static.publish(self._message(0, [ROBOT.static(), *more]))

    def tell(self) -> None:
        """Publish where the robot is at the time of the image."""
        self._tf.publish(self._message(self.now, ROBOT.transforms(self.seconds)))

    def _message(self, nanoseconds: int, transforms: Any) -> Any:
        from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
        from std_msgs.msg import Header
        from tf2_msgs.msg import TFMessage

        made = []
        for parent, child, transform in transforms:
            (x, y, z), (qx, qy, qz, qw) = numbers(transform)
            one = TransformStamped(header=Header(frame_id=parent), child_frame_id=child)
            set_stamp(one, nanoseconds)
            one.transform.translation = Vector3(x=x, y=y, z=z)
            one.transform.rotation = Quaternion(x=qx, y=qy, z=qz, w=qw)
            made.append(one)
        return TFMessage(transforms=made)

    def send_info(self, message: Any = None) -> None:
        from std_msgs.msg import Header

        self._info.publish(camera_info_msg(LENS, Header(frame_id=CAMERA)))

    def make(self, ids: tuple[int, ...], step_ns: int = SECOND // 30) -> Any:
        from emf_ros_msgs.msg import Keypoint2D, Skeleton2D, Skeleton2DArray

        self.now += step_ns
        pixels = LENS.project(seen(ROBOT, self.seconds, standing()))
        message = Skeleton2DArray(
            layout="h36m17", image_width=LENS.size[0], image_height=LENS.size[1]
        )
        message.header.frame_id = CAMERA
        set_stamp(message, self.now)
        for track_id in ids[:1]:
            points = [Keypoint2D(x=x, y=y, score=1.0) for x, y in pixels.tolist()]
            message.skeletons.append(Skeleton2D(track_id=track_id, score=1.0, keypoints=points))
        return message


@pytest.fixture
def lifter_with(ros, start_node, diagnostics) -> Iterator[Any]:
    made: list[Seen] = []

    def start(**parameters: Any) -> Seen:
        process = start_node("skeleton_lifter", device="cpu", threads=1, **parameters)
        made.append(Seen(ros, process, diagnostics))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_a_person_stands_still_in_the_room_before_a_robot_that_moves(lifter_with) -> None:
    from visualization_msgs.msg import Marker

    lifter = lifter_with(
        synchronous=True,
        target_frame="odom",
        ground_frame="base_footprint",
        base_frame="base_footprint",
        publish_tf=True,
    )
    lifter.tell_static()
    person = lifter.new_ids()[:1]

    def placed() -> bool:
        lifter.send_info()
        message = lifter.make(person)
        # The keypoints come first, and wait for the transform of their image.
        lifter._keypoints.publish(message)
        lifter.tell()
        answer = poll(lambda: lifter.answer_to(message), 1.0)
        return answer is not None and by_id(answer)[person[0]].root_valid

    wait_for(placed, "a skeleton in the room")
    sent = []
    for _ in range(45):
        sent.append(lifter.make(person))
        lifter._keypoints.publish(sent[-1])
        lifter.tell()
    answers = [wait_for(lambda m=m: lifter.answer_to(m), "an answer") for m in sent]
    assert {a.header.frame_id for a in answers} == {"odom"}
    skeletons = [by_id(a)[person[0]] for a in answers]
    assert {s.tracking_state for s in skeletons[10:]} == {tracking_state("TRACKED")}
    places = np.array([root(s) for s in skeletons])
    # The velocity of a newcomer is not known yet.
    speeds = np.array([np.hypot(s.velocity.x, s.velocity.y) for s in skeletons[10:]])
    assert np.ptp(places, axis=0).max() < 0.08 and np.abs(places - PERSON).max() < 0.15
    assert speeds.max() < 0.05
    covariance = np.array(skeletons[-1].root_covariance).reshape(3, 3)
    assert covariance[0, 0] > 5 * covariance[1, 1]

    # All that is published is in that frame.
    wanted = stamp_ns(answers[-1])
    body = wait_for(
        lambda: [m for m in lifter.bodies.messages if stamp_ns(m) == wanted], "body states"
    )[0]
    state = body.people[0]
    assert body.header.frame_id == "odom" and abs(state.facing.z) < 0.02 and state.facing.x < -0.8
    assert state.speed < 0.05 and abs(state.head_height - 1.68) < 0.2
    # The robot comes closer: the person is half a metre beside its way.
    left_m = PERSON[0] - 0.4 * lifter.seconds
    assert abs(state.closest_time - left_m / 0.4) < 0.25 * left_m / 0.4
    assert abs(state.closest_distance - 0.5) < 0.2
    markers = wait_for(
        lambda: [m for a in lifter.markers.messages for m in a.markers if stamp_ns(m) == wanted],
        "markers",
    )
    assert {m.header.frame_id for m in markers} == {"odom"}
    (words,) = [m for m in markers if m.type == Marker.TEXT_VIEW_FACING]
    assert 1.5 < words.pose.position.z < 2.2
    name = f"{lifter.process.namespace.strip('/')}_person_{person[0]}"
    child = wait_for(
        lambda: [
            t
            for m in lifter.frames.messages
            for t in m.transforms
            if t.child_frame_id == name and stamp_ns(t) == wanted
        ],
        f"the frame {name}",
    )[0]
    assert child.header.frame_id == "odom"
    assert abs(child.transform.translation.x - places[-1][0]) < 1e-9


def test_poses_wait_for_a_connection_and_are_refused_without(lifter_with) -> None:
    lifter = lifter_with(
        synchronous=False, target_frame="map", publish_tf=True, tf_prefix="robot1/"
    )
    lifter.tell_static()
    person = lifter.new_ids()[:1]
    wait_for(lambda: lifter._keypoints.get_subscription_count() == 1, "the lifter listens")

    def step(patience_s: float = 0.3) -> Any:
        """The answer to the next image, None where it is refused, or not answered in time."""
        lifter.send_info()
        lifter.tell()
        message = lifter.make(person)
        lifter._keypoints.publish(message)
        lifter.now += 1
        lifter.tell()
        return poll(lambda: lifter.answer_to(message), patience_s)

    def refused() -> bool:
        answer = step()
        assert answer is None or not answer.skeletons
        status = lifter.diagnostics.last()
        return status and lifter.diagnostics.level("transforms") == b"\2"

    wait_for(refused, "an error in the diagnostics")
    wait_for(lambda: refused() and lifter.diagnostics.count("transform_missing") > 3, "counts")
    text = lifter.diagnostics.last().tasks["transforms"].message
    assert "no transform has the frame 'map'" in text
    assert lifter.process.log.count("tf2_echo map camera_optical") == 1
    # Subscribers hear that nothing is known.
    wait_for(
        lambda: refused() and any(not m.images_arrive for m in lifter.skeletons.messages),
        "no images",
    )
    assert all(m.header.frame_id == "map" for m in lifter.skeletons.messages)
    # The connection appears.
    lifter.tell_static(("map", "odom", Transform(np.eye(3), np.array([10.0, 0.0, 0.0]))))
    found = []

    def placed() -> bool:
        answer = step(2.0)
        found[:] = [s for s in answer.skeletons if s.root_valid] if answer else []
        return bool(found)

    wait_for(placed, "a skeleton on the map")
    assert abs(root(found[0])[0] - PERSON[0] - 10.0) < 0.3
    wait_for(lambda: step(2.0) and lifter.diagnostics.level("transforms") == b"\0", "no fault")
    wait_for(
        lambda: any(
            t.child_frame_id == f"robot1/person_{person[0]}" and t.header.frame_id == "map"
            for m in lifter.frames.messages
            for t in m.transforms
        ),
        "the frame of the person",
    )


def test_static_transforms_that_are_not_kept_are_counted_with_the_remedy(
    ros, start_node, diagnostics
) -> None:
    from tf2_msgs.msg import TFMessage

    process = start_node("skeleton_lifter", threads=1, target_frame="odom")
    lifter = diagnostics(process.topic("skeleton_lifter"))
    volatile = ros.publisher(TFMessage, "/tf_static")
    wait_for(lambda: lifter.count("incompatible_qos") >= 1, "the count")
    ros.node.destroy_publisher(volatile)
    (line,) = [line for line in process.log.splitlines() if "incompatible_qos" in line]
    assert "/tf_static: its QoS does not match (durability)" in line
    assert "publish with reliability reliable and durability transient_local" in line


def test_two_sources_of_the_floor_are_refused(start_node) -> None:
    params = SkeletonLifterParams(ground_frame="base_footprint", camera_height_m=(1.2,))
    with pytest.raises(ParamError, match="leave one of them out"):
        params.check_floor()
    SkeletonLifterParams(ground_frame="base_footprint").check_floor()
    process = start_node(
        "skeleton_lifter", expect=False, ground_frame="base_footprint", camera_height_m=[1.2]
    )
    assert process.wait() == 1
    assert "both tell the floor" in process.log and "Traceback" not in process.log


def test_a_missing_package_is_named_with_the_remedy(monkeypatch) -> None:
    for name in ("tf2_msgs", "tf2_msgs.msg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NodeError, match="target_frame needs the package tf2_msgs.*apt install"):
        tf_message_type("target_frame")
