"""A part of a person: what is not seen widens the spreads, or is unknown."""

import numpy as np
import pytest
from test_swaps import walker

from emf_ros.geometry.camera import Camera
from emf_ros.lift.bones import BoneMemory
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import make_engine
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.lift.visibility import MIN_VISIBLE_SHARE, distance_spread, seen_share, with_unseen
from emf_ros.lift.window import NANOSECONDS
from emf_ros.skeletons import H36M17
from emf_ros.types import Frame2D, Pose2D

CAMERA = Camera.from_fov(1280, 720, 70.0)
WHOLE = np.ones(17, dtype=bool)


def seen(*names):
    return np.array([any(name in joint for name in names) for joint in H36M17.joints])


BUST = seen("nose", "head", "thorax", "shoulder", "elbow")
UPPER = BUST | seen("wrist", "spine", "pelvis", "hip")


@pytest.fixture(scope="module")
def engine():
    return make_engine("lite", None, "cpu", threads=1)


def lifted(engine, *parts, score=0.0):
    """The last pose of a person of whom `parts` (17,) are seen, 40 images each."""
    pipeline = LiftPipeline(engine, PipelineConfig())
    pipeline.set_camera(CAMERA)
    rays = walker(40 * len(parts), turned=0.4)
    for t, points in enumerate(rays):
        pixels = CAMERA.project(np.concatenate([points, np.ones((17, 1))], axis=-1))
        scores = np.where(parts[t // 40], 1.0, score)
        keypoints = np.concatenate([pixels, scores[:, None]], axis=-1)
        if not score:
            keypoints[scores == 0] = (np.nan, np.nan, 0.0)
        stamp_ns = round((1 + t / 30) * NANOSECONDS)
        pipeline.observe(
            Frame2D(stamp_ns, "", "h36m17", CAMERA.size, [Pose2D(keypoints, track_id=1)])
        )
        if t % 10 == 9:
            (person,) = pipeline.lift().people
    return person, pipeline.counts


def relative_spread(person):
    ray = person.root / np.linalg.norm(person.root)
    return np.sqrt(ray @ person.root_covariance @ ray) / np.linalg.norm(person.root)


def test_stddev_grows_with_the_number_of_missing_joints():
    shares = seen_share(np.stack([WHOLE, UPPER, BUST, seen("nose", "head"), ~WHOLE]))
    assert shares[0] == pytest.approx(1.0) and shares[-1] == 0.0
    assert (np.diff(shares) < 0).all()
    spreads = distance_spread(shares)
    assert spreads[0] == pytest.approx(0.0, abs=1e-6) and (np.diff(spreads) > 0).all()
    stated = with_unseen(np.full((3, 17), 0.05), np.stack([WHOLE, UPPER, BUST]))
    assert (stated[0] == 0.05).all()
    assert (np.diff(stated, axis=0) > 0).all()


def test_an_unseen_pelvis_has_the_stddev_of_a_seen_joint():
    stddev = np.full((1, 17), 0.08)
    stddev[0, 0] = 0.0
    stated = with_unseen(stddev, BUST[None])
    assert stated[0, 0] == stated[0, H36M17.index("thorax")] > 0.08
    assert with_unseen(stddev, WHOLE[None])[0, 0] == 0.0


@pytest.mark.parametrize("score", [0.0, 0.05], ids=["missing", "guessed"])
def test_a_bust_has_a_wide_distance_and_no_legs(engine, score):
    whole, _ = lifted(engine, WHOLE)
    bust, counts = lifted(engine, BUST, score=score)
    assert bust.root_valid and counts["too_little_visible"] == 0
    assert relative_spread(bust) > 0.16 > relative_spread(whole)
    # The pelvis is not seen: its place across the ray is as unsure as among the joints.
    assert bust.root_covariance[1, 1] > bust.stddev[0] ** 2 > whole.root_covariance[1, 1]
    known = np.isfinite(bust.joints).all(axis=-1)
    assert np.array_equal(known, BUST | seen("pelvis"))
    assert np.isnan(bust.stddev[~known]).all()


def test_a_person_with_too_few_visible_joints_has_no_root(engine):
    little = seen("nose", "head", "ankle", "wrist")
    assert little.sum() == 6 and seen_share(little) < MIN_VISIBLE_SHARE
    person, counts = lifted(engine, little)
    assert not person.root_valid and counts["too_little_visible"] > 0
    for value in (person.root, person.velocity, person.root_covariance):
        assert np.isnan(value).all()


def test_bones_seen_before_keep_the_distance_known(engine):
    alone, _ = lifted(engine, BUST)
    before, _ = lifted(engine, WHOLE, BUST)
    assert relative_spread(before) < 0.8 * relative_spread(alone)


def test_windows_of_a_part_weigh_less_in_the_bones():
    rng = np.random.default_rng(0)
    lengths = rng.uniform(0.1, 0.5, size=16)
    memory = BoneMemory(10.0)
    whole = memory.add(lengths, 0)
    assert memory.share == 1.0
    mixed = memory.add(2.0 * lengths, 1, share=0.3)
    assert (mixed < 1.1 * whole).all() and 0.9 < memory.share < 1.0
