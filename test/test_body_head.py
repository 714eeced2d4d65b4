"""Where a head is turned, by the lifted joints and by the nose and the ears in the image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bodies import Body, stddevs, turn

from emf_ros import Camera, SkeletonTracker
from emf_ros.body.rotations import matrices
from emf_ros.body.state import BodyState
from emf_ros.body.tracker import BodyTracker
from emf_ros.geometry.transforms import Transform
from emf_ros.skeletons import BLAZEPOSE33, COCO17, H36M17, Layout
from emf_ros.types import Frame3D, Pose3D, Scene, TrackState

#: Nose, left and right ear from the middle of the ears of an adult: forward, up, right, m.
FACE = np.array([(0.085, -0.01, 0.0), (0.0, 0.0, -0.07), (0.0, 0.0, 0.07)])
#: The pelvis: the head is at the height of a level camera.
PLACE = (0.3, 0.65, 3.0)
UP = np.array([0.0, -1.0, 0.0])


def face_of(yaw_deg: float, joints: np.ndarray) -> np.ndarray:
    """(3, 3) rays and scores of a face that is turned to the person's left."""
    points = FACE @ turn("y", yaw_deg).T
    points = np.stack([-points[:, 2], -points[:, 1], -points[:, 0]], axis=-1)
    points = points + joints[H36M17.index("nose")] * (0, 1, 0)
    points = points + joints[H36M17.index("head_top")] * (1, 0, 1)
    return np.concatenate([points[:, :2] / points[:, 2:], np.ones((3, 1))], axis=-1)


def seen(
    joints: np.ndarray, face: np.ndarray, scene: Scene | None = None, images: int = 10
) -> BodyState:
    """The state after several images at 30 Hz."""
    tracker = BodyTracker(UP, 0.9)
    for tick in range(images):
        pose = Pose3D.unknown(1, TrackState.TRACKED)
        # As unsure as lifted heads are: 12 degrees about the neck.
        pose.joints, pose.stddev, pose.face = joints, 2.3 * stddevs()[0], face
        pose.root, pose.root_valid, pose.velocity = joints[0].copy(), True, np.zeros(3)
        states = tracker.update(Frame3D(tick * 33_333_333, 0, [pose], math.nan, scene))
    return states[0]


def yaw_of(state: BodyState) -> float:
    """Degrees to the person's left, against a person who looks along the optical axis."""
    forward = matrices(state.segment("head"))[:, 0]
    return math.degrees(math.atan2(forward[0], -forward[2]))


NOT_SEEN = np.full((3, 3), np.nan)


@pytest.mark.parametrize("body_deg", [0.0, 60.0, -90.0])
def test_nose_and_ears_correct_the_turn_of_the_lifted_head(body_deg: float) -> None:
    joints = Body().seen(body_deg, PLACE)
    lifted = seen(joints, NOT_SEEN)
    assert (yaw_of(lifted) - body_deg + 180) % 360 - 180 == pytest.approx(0, abs=0.1)
    for aside in (-15.0, 15.0):
        state = seen(joints, face_of(body_deg + aside, joints))
        off = (yaw_of(state) - body_deg + 180) % 360 - 180
        assert 0.35 * 15 < off * np.sign(aside) < 1.3 * 15, (body_deg, aside, off)
        assert state.head_stddev_rad[0] < lifted.head_stddev_rad[0]
        assert (state.head_yaw_rad - lifted.head_yaw_rad) * off > 0


def test_a_face_is_used_in_a_target_frame_as_in_that_of_the_camera() -> None:
    joints = Body().seen(20, PLACE)
    face = face_of(45, joints)
    own = seen(joints, face)
    # From the optical frame to one with z up, and away from it.
    turned = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    camera = Transform(turned, np.array([0.4, -2.0, 1.2]))
    scene = Scene(camera, np.array([0.0, 0.0, 1.0]), math.nan, camera.translation)
    state = seen(camera.points(joints), face, scene)
    assert state.head_yaw_rad == pytest.approx(own.head_yaw_rad, abs=1e-9)
    assert state.head_yaw_rad != pytest.approx(seen(joints, NOT_SEEN).head_yaw_rad, abs=0.05)


def test_without_ears_the_head_is_the_lifted_one_and_one_ear_helps() -> None:
    joints = Body().seen(0, PLACE)
    lifted, whole = seen(joints, NOT_SEEN), face_of(25, joints)
    hidden = whole.copy()
    hidden[1:] = (np.nan, np.nan, 0.0)
    assert seen(joints, hidden).head_yaw_rad == lifted.head_yaw_rad
    one = whole.copy()
    one[1] = (np.nan, np.nan, 0.0)
    state = seen(joints, one)
    assert yaw_of(lifted) + 5 < yaw_of(state) < 30
    assert state.head_stddev_rad[0] > seen(joints, whole).head_stddev_rad[0]


def test_the_points_of_a_head_that_looks_away_are_guesses_and_not_used() -> None:
    joints = Body().seen(180, PLACE)
    lifted = seen(joints, NOT_SEEN)
    assert seen(joints, face_of(165, joints)).head_yaw_rad == lifted.head_yaw_rad


def test_a_face_that_no_turn_explains_is_not_used() -> None:
    joints = Body().seen(0, PLACE)
    swapped = face_of(0, joints)[[0, 2, 1]]
    state, lifted = seen(joints, swapped), seen(joints, NOT_SEEN)
    assert state.head_yaw_rad == lifted.head_yaw_rad
    np.testing.assert_array_equal(state.head_stddev_rad, lifted.head_stddev_rad)


@pytest.mark.parametrize("layout", [H36M17, COCO17, BLAZEPOSE33])
def test_the_pipeline_gives_the_face_of_the_described_image(layout: Layout) -> None:
    camera = Camera.from_fov(1280, 960, 60)
    joints = Body().seen(0, (0.2, 0.0, 4.0))
    pixels = camera.project(joints)
    points = np.zeros((len(layout), 3))
    for row, name in enumerate(layout.joints):
        source = name if name in H36M17.joints else "nose"
        points[row] = (*pixels[H36M17.index(source)], 0.9)
    with SkeletonTracker(camera, lag=2) as tracker:
        for tick in range(12):
            # The head moves to the right: the described image is older than the newest one.
            points[:, 0] += 2.0
            people = tracker.from_keypoints(
                [points], 1 + tick / 30, layout.name, camera.size, ids=[1]
            )
    face = people[0].face
    if layout is H36M17:
        assert np.isnan(face).all()
        return
    described = people[0].keypoints
    assert described is not None and described[0, 0] < points[0, 0]
    rows = [layout.index(name) for name in ("nose", "left_ear", "right_ear")]
    np.testing.assert_allclose(camera.project(_ahead(face)), described[rows, :2], atol=1e-6)
    assert (face[:, 2] == 0.9).all()


def _ahead(face: np.ndarray) -> np.ndarray:
    """(3, 3) m, points at 1 m on the rays."""
    return np.concatenate([face[:, :2], np.ones((3, 1))], axis=-1)
