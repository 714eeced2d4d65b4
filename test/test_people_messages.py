"""People in messages of other packages: standard ones, and those of REP-155.

The classes of hri_msgs are those of the package where it is installed: `make env` builds one with
its fields. Without it plain objects take their place, and the list of what was not run says so.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bodies import Body, stddevs
from std_msgs.msg import Header

from emf_ros.body.state import BodyState, Gesture
from emf_ros.body.tracker import BodyTracker
from emf_ros.nodes.adapters import hri_person
from emf_ros.nodes.hri_messages import (
    body_id,
    body_transform,
    gesture_msg,
    points_of,
    posture_msg,
    roi_msg,
    rois_of,
    skeleton_2d_msg,
    velocity_msg,
)
from emf_ros.nodes.standard_messages import joint_angles_msg, joint_points_msg, poses_msg
from emf_ros.skeletons import BLAZEPOSE33, COCO17, HRI18, convert_keypoints
from emf_ros.types import Frame2D, Frame3D, Pose2D, Pose3D, TrackState

HEADER = Header(frame_id="camera")
UP = np.array([0.0, -1.0, 0.0])
SIZE = (640, 480)


@pytest.fixture(scope="module")
def types(not_run: Callable[[str], None]) -> Any:
    """hri_msgs.msg, or plain objects with the constants."""
    if importlib.util.find_spec("hri_msgs"):
        import hri_msgs.msg

        return hri_msgs.msg
    not_run("test_people_messages with the real classes of hri_msgs: run make env")
    posture = type(
        "BodyPosture", (SimpleNamespace,), dict(STANDING=1, SITTING=2, LAYING=4, OTHER=0)
    )
    raised = dict(LEFT_HAND_RAISED=3, RIGHT_HAND_RAISED=4, BOTH_HANDS_RAISED=5)
    gesture = type("Gesture", (SimpleNamespace,), dict(**raised, WAVING=6, OTHER=0))
    names = ("NormalizedPointOfInterest2D", "NormalizedRegionOfInterest2D", "Skeleton2D")
    return SimpleNamespace(
        BodyPosture=posture, Gesture=gesture, **dict.fromkeys(names, SimpleNamespace)
    )


def pose(
    track_id: int, place: tuple[float, float, float] = (0.3, 0.2, 4.0), yaw_deg: float = 30.0
) -> Pose3D:
    """A person who stands."""
    made = Pose3D.unknown(track_id, TrackState.TRACKED)
    made.joints = Body().seen(yaw_deg, place)
    made.stddev, made.confidence = stddevs()[0], np.full(17, 0.75)
    made.root, made.root_valid = np.array(place), True
    made.velocity = np.zeros(3)
    return made


def states_of(*people: Pose3D) -> list[BodyState]:
    return BodyTracker().update(Frame3D(0, 0, list(people), math.nan))


def turned(message: Any, vector: tuple[float, float, float]) -> np.ndarray:
    """A vector, turned by a geometry_msgs/Quaternion."""
    u = np.array([message.x, message.y, message.z])
    v = np.array(vector)
    return v + 2 * np.cross(u, np.cross(u, v) + message.w * v)


# ------------------------------------------------------------------------------- standard messages


def test_poses_look_where_people_face_with_z_up() -> None:
    person = pose(3)
    message = poses_msg([person], states_of(person), UP, HEADER)
    assert message.header.frame_id == "camera" and len(message.poses) == 1
    found = message.poses[0]
    assert (found.position.x, found.position.y, found.position.z) == (0.3, 0.2, 4.0)
    angle = math.radians(30)
    forward = (math.sin(angle), 0, -math.cos(angle))
    np.testing.assert_allclose(turned(found.orientation, (1, 0, 0)), forward, atol=1e-6)
    np.testing.assert_allclose(turned(found.orientation, (0, 0, 1)), UP, atol=1e-6)


def test_poses_of_unknown_facing_are_not_turned_and_have_no_nan() -> None:
    sides = [i for i in range(17) if i not in (0, 7, 8, 9, 10)]
    person = pose(3)
    person.joints[sides] = np.nan
    assert np.isnan(states_of(person)[0].facing).all()
    for states, up in ((states_of(person), UP), ([], UP), (states_of(pose(3)), None)):
        turn = poses_msg([person], states, up, HEADER).poses[0].orientation
        assert (turn.x, turn.y, turn.z, turn.w) == (0, 0, 0, 1)


def without_place(track_id: int) -> Pose3D:
    person = pose(track_id)
    person.root_valid, person.root = False, np.full(3, np.nan)
    return person


def test_people_without_a_place_or_whose_tracks_have_ended_are_left_out() -> None:
    people = [without_place(1), Pose3D.unknown(2, TrackState.ENDED), pose(3)]
    assert len(poses_msg(people, [], UP, HEADER).poses) == 1
    assert joint_points_msg(people, HEADER).width == 17
    assert joint_points_msg(people[:2], HEADER).width == 0


def test_joint_points_hold_every_known_joint_with_its_numbers() -> None:
    people = [pose(7), pose(4_000_000_000, (1, 0, 3))]
    people[1].joints[13] = np.nan
    people[1].stddev[2] = 0.125
    message = joint_points_msg(people, HEADER)
    assert (message.height, message.width, message.is_dense) == (1, 33, True)
    assert message.row_step == len(message.data) == 33 * message.point_step
    # As a reader finds them: by the fields.
    kinds = {6: "<u4", 7: "<f4"}
    dtype = np.dtype(
        {
            "names": [field.name for field in message.fields],
            "formats": [kinds[field.datatype] for field in message.fields],
            "offsets": [field.offset for field in message.fields],
            "itemsize": message.point_step,
        }
    )
    points = np.frombuffer(bytes(message.data), dtype)
    wanted = ["x", "y", "z", "confidence", "stddev", "joint_id", "track_id"]
    assert list(points.dtype.names) == wanted
    second = points[points["track_id"] == 4_000_000_000]
    assert second["joint_id"].tolist() == [j for j in range(17) if j != 13]
    at = np.stack([second[axis] for axis in "xyz"], axis=-1)
    np.testing.assert_allclose(at, people[1].joints[second["joint_id"]], atol=1e-6)
    assert (second["confidence"] == 0.75).all() and second["stddev"][2] == 0.125


def test_joint_angles_name_the_person_and_leave_unknown_angles_out() -> None:
    bent = pose(12)
    bent.joints = Body().bend("left_knee", "z", -50).seen(0, (0, 0, 4))
    message = joint_angles_msg(states_of(bent), HEADER)
    found = dict(zip(message.name, message.position, strict=True))
    assert found["left_knee_flexion_12"] == pytest.approx(math.radians(50))
    # The twist of a straight leg shows nowhere.
    assert "left_hip_rotation_12" in found and "right_hip_rotation_12" not in found
    assert all(math.isfinite(angle) for angle in message.position)


# ---------------------------------------------------------------------------------------- REP-155


@pytest.mark.parametrize(
    ("camera", "expected"), [("", "b12"), ("front", "front_b12"), ("robot/rear", "robot_rear_b12")]
)
def test_ids_of_bodies_can_stand_in_a_topic(camera: str, expected: str) -> None:
    assert body_id(camera, 12) == expected and expected.isidentifier()


def image(points: np.ndarray, layout: str = "blazepose33") -> Frame2D:
    return Frame2D(0, "camera", layout, SIZE, [Pose2D(points, 0.9, 12)])


def blazepose(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    xy = rng.uniform(100, 300, (len(BLAZEPOSE33), 2))
    return np.concatenate([xy, rng.uniform(0.5, 1, (len(BLAZEPOSE33), 1))], axis=-1)


def test_skeleton_2d_is_what_the_adapter_reads(types: Any) -> None:
    points = blazepose()
    message = skeleton_2d_msg(types, points_of(image(points))[0], HEADER)
    assert len(message.skeleton) == 18
    read = hri_person(message, "b12", SIZE).keypoints
    expected = convert_keypoints(points, BLAZEPOSE33, HRI18)
    np.testing.assert_allclose(read, expected, atol=1e-3)
    assert np.isfinite(read).all()


@pytest.mark.parametrize("place", [(-20, 50), (640, 50), (50, 480), (math.nan, math.nan)])
def test_points_outside_of_the_image_are_missing_in_skeleton_2d(
    types: Any, place: tuple[float, float]
) -> None:
    points = blazepose()
    points[BLAZEPOSE33.index("left_knee"), :2] = place
    message = skeleton_2d_msg(types, points_of(image(points))[0], HEADER)
    knee = message.skeleton[HRI18.index("left_knee")]
    assert (knee.x, knee.y, knee.c) == (0, 0, 0)
    others = [p for p in message.skeleton if p is not knee]
    assert all(p.c > 0 and 0 <= p.x <= 1 and 0 <= p.y <= 1 for p in others)


def test_roi_is_around_the_keypoints_and_within_the_image(types: Any) -> None:
    points = blazepose()
    points[3, :2], points[5, :2] = (-50, 240), (319.5, 600)
    roi = roi_msg(types, rois_of(image(points))[0], HEADER)
    assert (roi.xmin, roi.ymax) == (0, 1) and roi.c == pytest.approx(0.9)
    np.testing.assert_allclose(roi.xmax, (max(points[:, 0]) + 0.5) / 640, atol=1e-6)
    np.testing.assert_allclose(roi.ymin, (min(points[:, 1]) + 0.5) / 480, atol=1e-6)


@pytest.mark.parametrize("away", [math.nan, 5000.0])
def test_there_is_no_roi_without_keypoints_in_the_image(types: Any, away: float) -> None:
    points = np.full((17, 3), away)
    assert np.isnan(rois_of(image(points, COCO17.name))).all()
    message = skeleton_2d_msg(types, points_of(image(points, COCO17.name))[0], HEADER)
    assert all((p.x, p.y, p.c) == (0, 0, 0) for p in message.skeleton)


@pytest.mark.parametrize(
    ("name", "arm", "expected"),
    [
        ("wave", "left", "WAVING"),
        ("raise_hand", "left", "LEFT_HAND_RAISED"),
        ("raise_hand", "right", "RIGHT_HAND_RAISED"),
        ("hands_up", "both", "BOTH_HANDS_RAISED"),
        ("point", "right", "OTHER"),
        ("stop", "left", "OTHER"),
    ],
)
def test_gestures_have_the_numbers_of_rep_155(
    types: Any, name: str, arm: str, expected: str
) -> None:
    message = gesture_msg(types, Gesture(name, arm, 0.9, 1.0), HEADER)
    assert message.gesture == getattr(types.Gesture, expected)


def test_postures_have_the_numbers_of_rep_155(types: Any) -> None:
    (state,) = states_of(pose(3))
    assert state.posture == "standing"
    assert posture_msg(types, state, HEADER).posture == types.BodyPosture.STANDING == 1
    lying = SimpleNamespace(posture="lying")
    assert posture_msg(types, lying, HEADER).posture == types.BodyPosture.LAYING == 4
    assert posture_msg(types, SimpleNamespace(posture="bending"), HEADER).posture == 0


def test_the_frame_of_a_body_looks_forward_and_stands_on_the_pelvis() -> None:
    person = pose(3)
    (state,) = states_of(person)
    made = body_transform("b3", person, state, HEADER)
    assert made.child_frame_id == "body_b3" and made.header.frame_id == "camera"
    place = made.transform.translation
    assert (place.x, place.y, place.z) == (0.3, 0.2, 4.0)
    angle = math.radians(30)
    forward = (math.sin(angle), 0, -math.cos(angle))
    np.testing.assert_allclose(turned(made.transform.rotation, (1, 0, 0)), forward, atol=1e-6)
    np.testing.assert_allclose(turned(made.transform.rotation, (0, 0, 1)), UP, atol=1e-6)


def test_the_turning_of_a_body_is_not_known() -> None:
    person = pose(3)
    person.velocity = np.array([0.5, 0, -1])
    twist = velocity_msg(person, HEADER).twist
    assert (twist.linear.x, twist.linear.z) == (0.5, -1) and math.isnan(twist.angular.y)
