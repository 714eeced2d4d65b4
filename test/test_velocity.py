"""The velocity of people: at the measured distance, and of those who have just come."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bodies import Body
from moving_camera import CAMERA, HEIGHT_M, OPTICAL, PITCH_RAD, Robot, about, seen
from test_moving_camera import Log, tree_of
from test_pipeline import CAMERA as LENS
from test_pipeline import engine, frame_of  # noqa: F401

from emf_ros.body.tracker import BodyTracker
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.depth import BEHIND_SURFACE_M
from emf_ros.lift.ground import GroundPlane
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.lift.reference_frames import ReferenceFrames
from emf_ros.skeletons import H36M17
from emf_ros.types import Frame3D

SECOND = 1_000_000_000
#: Size of a child against an adult.
CHILD = 0.65
FLOOR = GroundPlane(HEIGHT_M, PITCH_RAD)
ANKLES = [H36M17.index("left_ankle"), H36M17.index("right_ankle")]
STILL = Robot()
#: The base drives to the child at 0.8 m/s, and the head turns.
DRIVES = Robot(place_m=lambda t: (0.8 * t, 0.0), pan_rad=lambda t: 0.2 * math.sin(3.0 * t))


def walk(
    engine: Any,  # noqa: F811
    place: Callable[[float], tuple[float, float]],
    size: float = 1.0,
    measure: str = "",
    robot: Robot = STILL,
    target: str = "",
    frames: int = 40,
    noise_m: float = 0.0,
    unseen: Callable[[int], bool] = lambda index: False,
) -> list[Frame3D]:
    """The poses of a person without a gait, image by image.

    Args:
        engine: runs the model.
        place: (x, y) m in the room by the time in s; the camera looks along x.
        size: of the person against an adult.
        measure: `floor` or `depth`, what the distance is measured by; empty for none.
        robot: carries the camera.
        target: frame of the poses; empty for the camera's.
        frames: number of images.
        noise_m: standard deviation of a keypoint at the person.
        unseen: whether the feet are missing in an image, by its number.
    """
    ground = FLOOR if measure == "floor" else None
    pipeline = LiftPipeline(engine, PipelineConfig(ground=ground))
    pipeline.set_camera(LENS)
    if target:
        pipeline.frames = ReferenceFrames(tree_of(robot), target, "", "", Log())
    body = size * Body().seen(20.0) @ OPTICAL.T
    rng, results = np.random.default_rng(0), []
    for index in range(frames):
        t = 0.5 + index / 30
        joints = seen(robot, t, body + (*place(t), 0.88 * size))
        shaken = joints[:, :2] + noise_m * rng.standard_normal((17, 2))
        stamp_ns = round(t * SECOND)
        if measure == "depth":
            surface_m = np.float32(joints[[11, 14, 1, 4], 2].mean() - BEHIND_SURFACE_M)
            pipeline.add_depth(stamp_ns, np.full((72, 128), surface_m))
        frame = frame_of((shaken / joints[:, 2:])[None], stamp_ns, frame_id=CAMERA)
        if unseen(index):
            frame.people[0].keypoints[ANKLES, 2] = 0.0
        result = pipeline.update(frame)
        assert result is not None
        results.append(result)
    return results


def velocities(results: list[Frame3D]) -> np.ndarray:
    """(N, 3) m/s along the axes of the room, of poses in the frame of a camera at rest."""
    turn = about("y", PITCH_RAD) @ OPTICAL
    return np.array([result.people[0].velocity for result in results]) @ turn.T


def roots(results: list[Frame3D]) -> np.ndarray:
    return np.array([result.people[0].root for result in results])


# ---------------------------------------------------------------------- the measured distance


@pytest.mark.parametrize("measure", ["floor", "depth"])
def test_the_velocity_of_a_child_is_that_at_the_measured_distance(engine, measure: str) -> None:  # noqa: F811
    results = walk(engine, lambda t: (3.0, 1.0 * (t - 1.2)), CHILD, measure)
    assert np.abs(velocities(results)[-1] - (0.0, 1.0, 0.0)).max() < 0.15
    # It is the speed at which the roots of the same messages move.
    moved = np.linalg.norm(roots(results)[-1] - roots(results)[-9]) * 30 / 8
    assert np.linalg.norm(velocities(results)[-1]) == pytest.approx(moved, rel=0.1)
    # Without a measurement all is as much too large as the child is too small.
    blind = walk(engine, lambda t: (3.0, 1.0 * (t - 1.2)), CHILD)
    assert velocities(blind)[-1][1] > 1.3


@pytest.mark.parametrize("measure", ["floor", "depth"])
@pytest.mark.parametrize("speed", [0.0, 0.8])
def test_the_camera_s_own_movement_is_not_scaled(engine, measure: str, speed: float) -> None:  # noqa: F811
    results = walk(
        engine, lambda t: (5.0, speed * (t - 1.2)), CHILD, measure, robot=DRIVES, target="odom"
    )
    # The network itself drifts by 0.16 m/s. A scaled movement of the camera is 0.4 m/s off.
    for result in results[-10:]:
        assert np.abs(result.people[0].velocity - (0.0, speed, 0.0)).max() < 0.2


def test_a_distance_that_is_measured_in_some_images_only_is_no_movement(engine) -> None:  # noqa: F811
    # The feet are behind something in one image of two, so that the root jumps by a metre.
    results = walk(
        engine, lambda t: (3.0, 0.0), CHILD, "floor", unseen=lambda index: index % 2 == 1
    )
    jumps = np.linalg.norm(np.diff(roots(results)[-10:], axis=0), axis=-1)
    assert jumps.min() > 0.5
    assert np.linalg.norm(velocities(results)[-10:], axis=-1).max() < 0.15


# ------------------------------------------------------------------------------- the first images

WAYS = {
    "towards the camera": (-1.4, 0.0),
    "away": (1.4, 0.0),
    "aslant": (-1.0, 1.0),
    "sideways": (0.0, 1.4),
    "runs to the camera": (-3.0, 0.0),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_person_who_comes_into_view_never_seems_to_stand(engine, way: str) -> None:  # noqa: F811
    x, y = WAYS[way]
    results = walk(engine, lambda t: (4.5 + x * (t - 0.5), y * (t - 0.9)), frames=16)
    found = velocities(results)
    assert np.isnan(found[:3]).all()
    first = int(np.argmax(np.isfinite(found[:, 0])))
    # Known within a third of a second, and then for good.
    assert 3 <= first < 10 and np.isfinite(found[first:]).all()
    along = found[first:] @ (x, y, 0.0) / math.hypot(x, y) ** 2
    assert along.min() > 0.4 and along.max() < 1.4
    # After half a second. Where copies of the first image count, it is 0.46.
    assert along[-1] > 0.65


def test_a_person_who_comes_into_view_and_stands_is_not_said_to_run(engine) -> None:  # noqa: F811
    for distance_m in (2.5, 4.5, 8.0):
        results = walk(engine, lambda t, x=distance_m: (x, 0.0), frames=16, noise_m=0.02)
        found = np.linalg.norm(velocities(results), axis=-1)
        assert np.isfinite(found[-1]) and np.nanmax(found) < 0.5


def test_an_unknown_velocity_has_no_time_of_approach_and_no_speed(engine) -> None:  # noqa: F811
    tracker = BodyTracker()
    results = walk(engine, lambda t: (4.5 - 1.4 * (t - 0.5), 0.0), frames=28)
    bodies = [tracker.update(result)[0] for result in results]
    for body, result in zip(bodies, results, strict=True):
        unknown = bool(np.isnan(result.people[0].velocity).any())
        assert math.isnan(body.speed) == unknown == math.isnan(body.closest_s)
        # Today's distance is known meanwhile.
        assert body.closest_m < 5.0
    # After 0.9 s the velocity along the ray is nearly the true one.
    assert bodies[-1].closest_s == pytest.approx((4.5 - 1.4 * 0.9) / 1.4, rel=0.3)
