"""People in the frame of the room, seen by a camera that turns and drives."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moving_camera import (
    CAMERA,
    HEIGHT_M,
    OPTICAL,
    PERSON,
    PITCH_RAD,
    Robot,
    about,
    numbers,
    seen,
    standing,
)
from test_pipeline import CAMERA as LENS
from test_pipeline import engine, frame_of  # noqa: F401

from emf_ros.body.tracker import BodyTracker
from emf_ros.geometry.transform_tree import TransformTree
from emf_ros.geometry.transforms import Transform
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.ground import GroundPlane
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.lift.reference_frames import ReferenceFrames
from emf_ros.reasons import Reason
from emf_ros.types import Frame3D, Pose3D

SECOND = 1_000_000_000
STILL = Robot()
#: The head turns to and fro by 40 degrees, at up to 1.1 rad/s.
TURNS = Robot(pan_rad=lambda t: 0.35 * math.sin(3.2 * t))
#: The base drives towards the person at 0.5 m/s, and turns a little.
DRIVES = Robot(place_m=lambda t: (0.5 * t, 0.0), yaw_rad=lambda t: 0.1 * t)


class Log:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.counts: Counter[Reason] = Counter()
        self.lines: dict[str, str] = {}

    def warn_once(self, key: str, text: str) -> None:
        self.lines.setdefault(key, text)


def tell(tree: TransformTree, robot: Robot, t: float) -> None:
    for parent, child, transform in robot.transforms(t):
        tree.add(parent, child, round(t * SECOND), *numbers(transform))


def tree_of(robot: Robot, seconds: float = 3.0, rate_hz: float = 50.0) -> TransformTree:
    tree = TransformTree()
    parent, child, transform = robot.static()
    tree.add(parent, child, 0, *numbers(transform), static=True)
    for step in range(round(seconds * rate_hz) + 1):
        tell(tree, robot, step / rate_hz)
    return tree


def watch(
    engine: Any,  # noqa: F811
    robot: Robot,
    target: str = "odom",
    ground: str = "",
    base: str = "",
    frames: int = 50,
    tree: TransformTree | None = None,
    person: np.ndarray | None = None,
    ground_plane: GroundPlane | None = None,
) -> tuple[list[Frame3D], LiftPipeline, Log]:
    """The poses of the person of `standing`, image by image."""
    log = Log()
    pipeline = LiftPipeline(engine, PipelineConfig(ground=ground_plane), log.counts)
    pipeline.set_camera(LENS)
    if target or ground or base:
        tree = tree_of(robot) if tree is None else tree
        pipeline.frames = ReferenceFrames(tree, target, ground, base, log)
    results = []
    for index in range(frames):
        t = 0.5 + index / 30
        joints = seen(robot, t, standing() if person is None else person)
        rays = (joints[:, :2] / joints[:, 2:])[None]
        result = pipeline.update(frame_of(rays, t * SECOND, frame_id=CAMERA))
        if result is not None:
            results.append(result)
    return results, pipeline, log


def people(results: list[Frame3D]) -> list[Pose3D]:
    """The person in all images but the first few."""
    found = [result.people[0] for result in results[10:]]
    assert all(pose.root_valid for pose in found)
    return found


def roots(results: list[Frame3D]) -> np.ndarray:
    return np.array([pose.root for pose in people(results)])


def speeds(results: list[Frame3D]) -> np.ndarray:
    return np.array([np.linalg.norm(pose.velocity) for pose in people(results)])


@pytest.fixture(scope="module")
def of_still(engine) -> list[Frame3D]:  # noqa: F811
    """The poses that a camera at rest gives, in the room."""
    return watch(engine, STILL)[0]


@pytest.mark.parametrize("robot", [TURNS, DRIVES], ids=["turns", "drives"])
def test_a_still_person_stands_still_in_the_room(engine, of_still, robot: Robot) -> None:  # noqa: F811
    results, _, log = watch(engine, robot)
    assert log.counts == Counter() and log.lines == {}
    assert np.ptp(roots(results), axis=0).max() < 0.08
    # The network's own drift; the camera moves at 0.5 m/s.
    assert speeds(results).max() < 0.1
    assert np.abs(roots(results) - PERSON).max() < 0.15
    for one, other in zip(people(results), people(of_still), strict=True):
        relative = [pose.joints - pose.root for pose in (one, other)]
        assert np.linalg.norm(relative[0] - relative[1], axis=-1).max() < 0.1
        # The distance is known least, and the camera sees the person along x.
        spread = np.sqrt(np.diag(one.root_covariance))
        assert spread[0] > 3 * spread[1:].max()
    # What the camera itself sees is a person who runs.
    own, _, _ = watch(engine, robot, target="")
    assert speeds(own).max() > 0.3 and own[-1].scene.camera.translation.tolist() == [0, 0, 0]


def test_velocity_is_the_person_s_own_and_not_the_camera_s(engine) -> None:  # noqa: F811
    def velocities(robot: Robot) -> np.ndarray:
        """(30, 3) m/s, of a person who moves sideways at 0.8 m/s."""
        log, tree = Log(), tree_of(robot)
        pipeline = LiftPipeline(engine, PipelineConfig(), log.counts)
        pipeline.set_camera(LENS)
        pipeline.frames = ReferenceFrames(tree, "odom", "", "", log)
        found = []
        for index in range(60):
            t = 0.5 + index / 30
            joints = seen(robot, t, standing() + (0.0, 0.8 * t - 1.2, 0.0))
            rays = (joints[:, :2] / joints[:, 2:])[None]
            found.append(pipeline.update(frame_of(rays, t * SECOND, frame_id=CAMERA)).people[0])
        return np.array([pose.velocity for pose in found[-30:]])

    turning, still = velocities(TURNS), velocities(STILL)
    assert np.abs(turning - (0.0, 0.8, 0.0)).max() < 0.25
    # Across the camera's axis. Along it the network's own error counts, of a camera at rest, too.
    assert np.abs(turning.mean(axis=0) - (0.0, 0.8, 0.0))[1:].max() < 0.1
    assert np.abs(turning - still).max() < 0.02


def test_a_person_who_is_lost_stays_at_the_last_place_in_the_room(engine) -> None:  # noqa: F811
    results, pipeline, _ = watch(engine, TURNS)
    last = people(results)[-1].last_root
    nobody = frame_of([], 0, ())
    for index in range(50, 65):
        nobody.stamp_ns, nobody.frame_id = round((0.5 + index / 30) * SECOND), CAMERA
        (pose,) = pipeline.update(nobody).people
        assert not pose.root_valid
        np.testing.assert_array_equal(pose.last_root, last)


# --------------------------------------------------------------------------- missing transforms


def test_poses_without_a_transform_are_refused_and_counted(engine) -> None:  # noqa: F811
    results, pipeline, log = watch(engine, STILL, target="map", frames=10)
    assert results == []
    assert log.counts == Counter({Reason.TRANSFORM_MISSING: 10})
    (line,) = log.lines.values()
    assert "'map' and 'camera_optical'" in line and "tf2_echo map camera_optical" in line
    assert "no transform has the frame 'map'" in line
    assert pipeline.frames.missed.keys() == {Reason.TRANSFORM_MISSING}
    assert pipeline.frames.faults(CAMERA, SECOND).keys() == {Reason.TRANSFORM_MISSING}
    # Where nobody is, there is nothing to place.
    assert pipeline.end_all()[0].state.name == "ENDED"
    nobody = frame_of([], 5 * SECOND, (), frame_id=CAMERA)
    pipeline.update(nobody)
    nobody.stamp_ns += SECOND // 30
    assert pipeline.update(nobody).people == []


def test_a_track_that_ends_without_transforms_is_told_later(engine) -> None:  # noqa: F811
    tree = tree_of(TURNS, seconds=1.5)
    results, pipeline, log = watch(engine, TURNS, tree=tree, frames=36)
    assert len(results) == 31 and log.counts[Reason.TRANSFORM_MISSING] == 5
    assert "too old" in next(iter(log.lines.values()))
    # The track ends meanwhile, and the transforms come back.
    for step in range(200):
        tell(tree, TURNS, 2.0 + step / 50)
    found = []
    for index in range(40):
        t = 4.0 + index / 30
        joints = seen(TURNS, t, standing())
        rays = (joints[:, :2] / joints[:, 2:])[None]
        result = pipeline.update(frame_of(rays, t * SECOND, track_ids=(2,), frame_id=CAMERA))
        # The first stamp after the gap is taken for an odd one.
        found += [
            (pose.track_id, pose.state.name, pose.root_valid)
            for pose in (result.people if result else [])
        ]
    assert (1, "ENDED", False) in found and found[-1] == (2, "TRACKED", True)


# ------------------------------------------------------------------------------------ the floor


def test_the_floor_by_transforms_is_that_of_the_settings(engine) -> None:  # noqa: F811
    child = 0.7 * (standing() - (*PERSON[:2], 0)) + (*PERSON[:2], 0)
    plane = GroundPlane(HEIGHT_M, PITCH_RAD)
    known, _, _ = watch(engine, STILL, target="", person=child, ground_plane=plane)
    told, _, _ = watch(engine, STILL, target="", ground="base_footprint", person=child)
    blind, _, _ = watch(engine, STILL, target="", person=child)
    assert np.allclose(roots(known), roots(told), atol=1e-6)
    truth = np.linalg.norm(seen(STILL, 0, child)[0])
    off = [abs(np.linalg.norm(roots(found)[-1]) - truth) for found in (told, blind)]
    assert off[0] < 0.15 < 0.5 < off[1]


def test_the_floor_follows_a_head_that_nods(engine) -> None:  # noqa: F811
    tree, nods = TransformTree(), [0.15 * math.sin(3.0 * t) for t in np.arange(0, 3, 0.02)]
    for step, angle in enumerate(nods):
        camera = Transform(about("y", PITCH_RAD + angle) @ OPTICAL, np.array([0, 0, HEIGHT_M]))
        tree.add("floor", CAMERA, step * SECOND // 50, *numbers(camera))
    log = Log()
    frames = ReferenceFrames(tree, "", "floor", "", log)
    for step in (10, 60, 110):
        view = frames.view(CAMERA, np.array([step * SECOND // 50]), 0, np.zeros(0, int), None)
        assert view.ground.height_m == pytest.approx(HEIGHT_M)
        assert view.ground.pitch_rad == pytest.approx(PITCH_RAD + nods[step], abs=1e-6)
        assert view.ground.roll_rad == pytest.approx(0.0, abs=1e-6)
        np.testing.assert_allclose(view.scene.up, view.ground.up, atol=1e-9)


@given(st.floats(-1.5, 1.5), st.floats(-3.1, 3.1), st.floats(0.1, 5.0))
def test_the_floor_of_a_normal_has_that_normal(pitch, roll, height_m) -> None:
    plane = GroundPlane(height_m, pitch, roll)
    again = GroundPlane.of_normal(height_m, plane.up)
    np.testing.assert_allclose(again.up, plane.up, atol=1e-9)


def test_without_the_floor_s_transform_bodies_have_no_state(engine) -> None:  # noqa: F811
    results, _, log = watch(engine, STILL, ground="nowhere", frames=40)
    assert log.counts == Counter({Reason.GROUND_TRANSFORM_MISSING: 40})
    assert len(log.lines) == 1 and people(results)[-1].root_valid
    assert BodyTracker().update(results[-1]) == []
    # A frame at the height of the camera is not on the floor.
    _, _, log = watch(engine, STILL, ground="head", frames=2)
    assert "is not on the floor" in next(iter(log.lines.values()))
    assert log.counts[Reason.GROUND_TRANSFORM_MISSING] == 2


# ------------------------------------------------------------------------------- what is told


def test_facing_and_heights_are_those_in_the_room_while_the_camera_turns(engine) -> None:  # noqa: F811
    expected = None
    for robot in (STILL, TURNS):
        results, _, _ = watch(engine, robot, ground="base_footprint")
        tracker = BodyTracker()
        body = [tracker.update(result) for result in results][-1][0]
        assert abs(body.facing[2]) < 0.01 and body.posture == "standing"
        assert body.head_height_m == pytest.approx(1.68, abs=0.15)
        assert body.speed < 0.05 and math.isnan(body.closest_s)
        expected = body.facing if expected is None else expected
        assert np.degrees(np.arccos(min(1.0, float(body.facing @ expected)))) < 6.0
    # It looks at the start of the robot, turned by 20 degrees.
    assert expected[0] < -0.8


def test_the_closest_approach_is_that_of_the_base_that_drives(engine) -> None:  # noqa: F811
    """The base drives ahead at 0.5 m/s, and the person stands 0.5 m beside its way."""
    straight = Robot(place_m=lambda t: (0.5 * t, 0.0), pan_rad=lambda t: 0.2 * math.sin(3 * t))
    for target in ("odom", "base_footprint"):
        results, _, _ = watch(
            engine, straight, target, ground="base_footprint", base="base_footprint"
        )
        tracker = BodyTracker()
        body = [tracker.update(result) for result in results][-1][0]
        left_m = PERSON[0] - 0.5 * (0.5 + 49 / 30)
        assert body.closest_m == pytest.approx(0.5, abs=0.15)
        assert body.closest_s == pytest.approx(left_m / 0.5, rel=0.2)
        assert (body.speed < 0.1) == (target == "odom")


def test_an_unknown_base_gives_no_time_of_approach(engine) -> None:  # noqa: F811
    results, _, log = watch(engine, DRIVES, base="nowhere", frames=40)
    tracker = BodyTracker()
    body = [tracker.update(result) for result in results][-1][0]
    assert math.isnan(body.closest_s) and math.isnan(body.closest_m) and body.posture
    assert log.counts == Counter({Reason.BASE_TRANSFORM_MISSING: 40})
