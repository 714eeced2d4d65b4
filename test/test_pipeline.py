"""The core of the lifter on one walking person: what is put right on the way to the skeleton."""

import numpy as np
import pytest
from test_sides import exchange, walker

from emf_ros.camera import Camera
from emf_ros.lift.bones import bone_lengths
from emf_ros.lift.engine import make_engine
from emf_ros.lift.pipeline import KeypointFrame, LiftPipeline, Person2D, PipelineConfig
from emf_ros.lift.window import NANOSECONDS

CAMERA = Camera.from_fov(1280, 720, 70.0)


@pytest.fixture(scope="module")
def engine():
    return make_engine("lite", None, "cpu", threads=1)


def lift(engine, rays, **settings):
    """The last 30 poses (30, 17, 3) m, their roots (30, 3) m, and the counts."""
    pipeline = LiftPipeline(engine, PipelineConfig(**settings))
    pipeline.set_camera(CAMERA)
    people = []
    for t, points in enumerate(rays):
        flat = np.concatenate([points, np.ones((17, 1))], axis=-1)
        keypoints = np.concatenate([CAMERA.project(flat), np.ones((17, 1))], axis=-1)
        frame = KeypointFrame(
            round((1 + t / 30) * NANOSECONDS), "", "h36m17", CAMERA.size, [Person2D(1, keypoints)]
        )
        people += pipeline.update(frame).people
    assert all(person.root_valid for person in people)
    joints = np.stack([person.joints for person in people[-30:]])
    return joints, np.stack([person.root for person in people[-30:]]), pipeline.counts


def test_what_the_detector_exchanged_does_not_reach_the_skeleton(engine):
    rays = walker(75, turned=0.4)
    wrong = exchange(rays, range(50, 58))
    right, _, counts = lift(engine, rays)
    assert counts["sides_exchanged"] == 0
    kept, _, counts = lift(engine, wrong)
    assert np.allclose(kept, right) and counts["sides_exchanged"] == 8
    taken, _, counts = lift(engine, wrong, keep_sides=False)
    assert np.abs(taken - right).max() > 0.05 and counts["sides_exchanged"] == 0


def test_bones_keep_their_lengths_and_the_distance_its_calm(engine):
    noise = np.random.default_rng(0).normal(scale=0.006, size=(75, 17, 2))
    rays = walker(75, turned=0.4) + noise

    def variation(joints):
        lengths = bone_lengths(joints)
        return (lengths.std(axis=0) / lengths.mean(axis=0)).mean()

    remembered, roots, _ = lift(engine, rays)
    forgotten, _, _ = lift(engine, rays, bone_memory_s=0.0)
    assert variation(remembered) < 0.5 * variation(forgotten)
    # The pose itself is hardly another one.
    relative = [joints - joints[:, :1] for joints in (remembered, forgotten)]
    assert np.linalg.norm(relative[0] - relative[1], axis=-1).mean() < 0.06
    assert np.ptp(np.linalg.norm(roots, axis=-1)) < 0.15 * np.linalg.norm(roots, axis=-1).mean()


def test_the_same_input_gives_the_same_output(engine):
    rays = walker(45)
    first, second = (lift(engine, rays)[0] for _ in range(2))
    assert np.array_equal(first, second)
