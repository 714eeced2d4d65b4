"""Properties of the tracker on random input: walks, crossings, misses and damaged detections."""

import warnings

import numpy as np
import pytest
from tracked_people import BODY, FRAME_NS, painted

from emf_ros.skeletons import BLAZEPOSE33
from emf_ros.stamps import NANOSECONDS
from emf_ros.track import QualityGate, Tracker
from emf_ros.types import Pose2D

SEEDS = range(2)
COLOURS = [(180, 30, 30), (30, 30, 180), (30, 150, 30), (200, 200, 40), (90, 90, 90), (180, 40, 40)]
#: What a damaged detector may put into a keypoint.
DAMAGE = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e9, -1.0)


def walks(seed, people=6, images=60, lanes=False, damage=0.0):
    """Random walks of people; (stamp_ns, detections, image) of each image.

    The number of a person is in `world` of the detection, -1 for a false positive.

    Args:
        lanes: people never come near each other, and there are no false positives.
        damage: probability that a detection has damaged keypoints.
    """
    random = np.random.default_rng(seed)
    x, speed = random.uniform(100, 1100, people), random.uniform(-150, 150, people)
    y = 300.0 + (1000.0 * np.arange(people) if lanes else random.uniform(-30, 30, people))
    away_s, stamp_ns = np.zeros(people), 0
    for _ in range(images):
        step_s = random.choice([1 / 30, 1 / 15, 0.2])
        stamp_ns += round(step_s * NANOSECONDS)
        x = x + speed * step_s
        speed = np.where(x < 0, abs(speed), np.where(x > 1200, -abs(speed), speed))
        away_s = np.maximum(away_s - step_s, 0)
        leaves = random.random(people) < 0.2 * step_s
        away_s[leaves] = random.uniform(0.1, 2.0, leaves.sum())
        found = []
        for n in random.permutation(people):
            if away_s[n] or random.random() < 0.05:
                continue
            points = BODY + (x[n], y[n]) + random.normal(0, 2, BODY.shape)
            keypoints = np.column_stack([points, random.uniform(0.2, 1, len(points))])
            if random.random() < damage:
                where = random.random(keypoints.shape) < random.choice([0.05, 0.5, 1.0])
                keypoints[where] = random.choice(DAMAGE, where.sum())
            found.append(Pose2D(keypoints, random.uniform(0.3, 1), world=np.array([n])))
            if not lanes and random.random() < 0.05:
                shift = (random.uniform(-500, 500), random.uniform(-50, 50), 0)
                found.append(Pose2D(keypoints + shift, 0.6, world=np.array([-1])))
        yield stamp_ns, found, painted(list(zip(x, COLOURS, strict=True)))


def run(scene, epoch_ns=0, with_image=True):
    """(stamp, [(id, index of the detection)]) of each image."""
    tracker, out = Tracker(), []
    for stamp_ns, found, image in scene:
        reported = tracker.update(found, epoch_ns + stamp_ns, image if with_image else None)
        index_of = {id(d): i for i, d in enumerate(found)}
        # A KeyError here: a detection was reported that the image does not have.
        out.append((stamp_ns, [(track_id, index_of[id(d)]) for track_id, d in reported]))
    return out


@pytest.mark.parametrize("with_image", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_ids_and_detections_are_unique_within_an_image(seed, with_image):
    reports = [pairs for _, pairs in run(walks(seed), with_image=with_image)]
    assert sum(len(pairs) for pairs in reports) > 50
    for pairs in reports:
        assert len({track_id for track_id, _ in pairs}) == len(pairs)
        assert len({index for _, index in pairs}) == len(pairs)
        assert [track_id for track_id, _ in pairs] == sorted(track_id for track_id, _ in pairs)


@pytest.mark.parametrize("seed", SEEDS)
def test_new_ids_rise_from_one(seed):
    known = []
    for _, pairs in run(walks(seed)):
        known += [track_id for track_id, _ in pairs if track_id not in known]
    assert known == list(range(1, len(known) + 1))


@pytest.mark.parametrize("with_image", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_an_id_is_never_given_to_two_people_who_stay_apart(seed, with_image):
    person_of, tracker = {}, Tracker()
    for stamp_ns, found, image in walks(seed, lanes=True):
        for track_id, detection in tracker.update(found, stamp_ns, image if with_image else None):
            number = int(detection.world[0])
            assert person_of.setdefault(track_id, number) == number
    assert set(person_of.values()) == set(range(6))


@pytest.mark.parametrize("seed", SEEDS)
def test_no_id_without_a_detection(seed):
    random, tracker = np.random.default_rng(seed), Tracker()
    for stamp_ns, found, image in walks(seed):
        shown = found if random.random() < 0.7 else []
        reported = tracker.update(shown, stamp_ns, image)
        assert all(any(d is other for other in shown) for _, d in reported)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_input_gives_the_same_output(seed):
    assert run(walks(seed)) == run(walks(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_output_does_not_depend_on_the_epoch_of_the_stamps(seed):
    expected = run(walks(seed), with_image=False)
    for epoch_ns in (-(10**18), -1, 1_700_000_000_123_456_789, 2**62):
        assert run(walks(seed), epoch_ns, with_image=False) == expected


@pytest.mark.parametrize("seed", range(6))
def test_damaged_keypoints_never_crash_nor_change_the_input(seed):
    gate, tracker, reports = QualityGate(BLAZEPOSE33), Tracker(), 0
    for stamp_ns, found, image in walks(seed, damage=0.3):
        gate.select(found, (1200, 600))
        before = [d.keypoints.copy() for d in found]
        with warnings.catch_warnings():
            # Neither an overflow nor an operation on infinity.
            warnings.simplefilter("error", RuntimeWarning)
            reported = tracker.update(found, stamp_ns, image if seed % 2 else None)
        reports += len(reported)
        assert len({track_id for track_id, _ in reported}) == len(reported)
        for detection, keypoints in zip(found, before, strict=True):
            assert np.array_equal(detection.keypoints, keypoints, equal_nan=True)
    assert reports > 20


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, -1.0])
def test_odd_score_of_a_detection_never_crashes(score):
    tracker = Tracker()
    keypoints = np.column_stack([BODY + (300, 300), np.full(33, 0.9)])
    for i in range(6):
        found = [Pose2D(keypoints, score), Pose2D(keypoints + (600, 0, 0), 0.9)]
        ids = [track_id for track_id, _ in tracker.update(found, i * FRAME_NS)]
    # An infinite score is a strong one; the others are too weak to begin a track.
    assert len(ids) == (2 if score == np.inf else 1)
