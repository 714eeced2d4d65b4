"""Left stays left."""

import numpy as np
import pytest

from emf_ros.lift.swaps import SwapCorrector, correct_swaps
from emf_ros.lift.window import NANOSECONDS, KeypointHistory
from emf_ros.skeletons import H36M17

MIRROR = list(H36M17.mirror)
LEGS = [H36M17.index(f"{s}_{j}") for s in ("left", "right") for j in ("knee", "ankle")]


def walker(frames, rate_hz=30.0, turned=0.6):
    """(T, 17, 2): someone a few metres away who walks in place, seen at an angle."""
    pose = np.zeros((17, 3))
    heights = {"hip": 0.0, "knee": 0.45, "ankle": 0.9, "shoulder": -0.5, "elbow": -0.2}
    breadths = {"hip": 0.13, "knee": 0.13, "ankle": 0.13, "shoulder": 0.19, "elbow": 0.25}
    out = np.zeros((frames, 17, 3))
    for t in range(frames):
        swing = 0.3 * np.sin(2 * np.pi * t / rate_hz)
        for i, joint in enumerate(H36M17.joints):
            kind = joint.split("_")[-1]
            side = {"left": 1, "right": -1}.get(joint.split("_")[0], 0)
            x = side * breadths.get(kind, 0.25 if kind == "wrist" else 0.0)
            y = heights.get(kind, 0.05 if kind == "wrist" else -0.3 - 0.05 * i)
            far = {"knee": 0.5, "ankle": 1.0, "elbow": -0.5, "wrist": -1.0}.get(kind, 0.0)
            pose[i] = (x, y, side * far * swing)
        turn = np.array([[np.cos(turned), 0, np.sin(turned)], [0, 1, 0], [0, 0, 1]])
        out[t] = pose @ turn.T + (0, 0, 4)
    return out[..., :2] / out[..., 2:]


#: Frames per second that the correction has to give the same result at, and the share of a person's
#: size that a keypoint may be off.
RATES_HZ = (10.0, 15.0, 30.0, 60.0, 120.0)
CLOSE = 0.03


def feed(corrector, points, rate_hz=30.0, scores=None):
    """The kept points (T, 17, 2) as they came, then as revised, and whether each was swapped."""
    scores = np.ones(points.shape[:2]) if scores is None else scores
    history = KeypointHistory(60.0, 0.4)
    live, swapped, stamps = [], [], []
    for t, (p, s) in enumerate(zip(points, scores, strict=True)):
        stamps.append(round(t / rate_hz * NANOSECONDS))
        kept = corrector.correct(stamps[-1], p, s)
        for stamp_ns, order in kept.revised:
            history.reorder(stamp_ns, order)
        history.add(stamps[-1], kept.rays, kept.scores)
        live.append(kept.rays)
        swapped.append(kept.swapped)
    return np.stack(live), history.resample(np.array(stamps))[0], swapped


def exchange(points, frames, joints=range(17)):
    """The points with the sides of these frames' joints exchanged."""
    out = points.copy()
    for t in frames:
        for j in joints:
            out[t, j] = points[t, MIRROR[j]]
    return out


def size(points):
    return np.linalg.norm(np.ptp(points[0], axis=0))


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(scale=0.002, size=shape)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("joints", [range(17), LEGS], ids=["body", "legs"])
@pytest.mark.parametrize("seconds", [0.03, 0.3])
def test_a_swap_is_corrected_at_any_frame_rate(rate_hz, joints, seconds):
    truth = walker(round(2 * rate_hz), rate_hz)
    # The legs are apart in the image then.
    first = round(1.2 * rate_hz)
    wrong = range(first, first + max(1, round(seconds * rate_hz)))
    live, revised, swapped = feed(
        SwapCorrector(), exchange(truth + noise(truth.shape), wrong, joints), rate_hz
    )
    for kept in (live, revised):
        assert np.linalg.norm(kept - truth, axis=-1).max() < CLOSE * size(truth)
    assert swapped == [t in wrong for t in range(len(truth))]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_detector_that_alternates_is_corrected_at_any_frame_rate(rate_hz):
    """Sides that change several times within a second, and an image between whose arms and legs
    are half way: the failure of the four cameras' second one at 60 Hz."""
    truth = walker(round(2 * rate_hz), rate_hz)
    t = np.arange(len(truth)) / rate_hz
    wrong = ((t >= 0.8) & (t < 0.9)) | ((t >= 1.0) & (t < 1.25)) | ((t >= 1.3) & (t < 1.4))
    seen = exchange(truth + noise(truth.shape), np.flatnonzero(wrong))
    half = int(np.flatnonzero((t >= 1.0) & wrong)[0]) + 1
    arms = [j for j, name in enumerate(H36M17.joints) if name.split("_")[-1] in ("elbow", "wrist")]
    seen[half, arms] = 0.5 * (truth[half, arms] + truth[half][MIRROR][arms])
    seen[half, LEGS] = truth[half, LEGS]
    live, _, _ = feed(SwapCorrector(), seen, rate_hz)
    off = np.linalg.norm(live - truth, axis=-1).mean(axis=-1) > 0.5 * CLOSE * size(truth)
    assert set(np.flatnonzero(off)) <= {half}


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("turned", [0.0, 0.6, 1.5, 2.5])
def test_correct_sides_are_not_swapped_at_any_frame_rate(rate_hz, turned):
    truth = walker(round(3 * rate_hz), rate_hz, turned)
    noisy = truth + 3 * noise(truth.shape, 1)
    live, revised, swapped = feed(SwapCorrector(), noisy, rate_hz)
    assert np.array_equal(live, noisy) and np.allclose(revised, noisy) and not any(swapped)


def flailing(rate_hz, seed, seconds=4):
    """Someone whose arms and legs leave and are back at once, as of keypoints that go astray."""
    rng = np.random.default_rng(seed)
    truth = walker(round(seconds * rate_hz), rate_hz, rng.uniform(0, 1.2))
    t = np.arange(len(truth)) / rate_hz
    out = truth + noise(truth.shape, seed)
    for side in ("left", "right"):
        for limb in (("knee", "ankle"), ("elbow", "wrist")):
            joints = [H36M17.index(f"{side}_{joint}") for joint in limb]
            for start in np.cumsum(rng.uniform(0.2, 0.8, 12)):
                away = (t >= start) & (t < start + rng.uniform(0.05, 0.3))
                velocity = rng.normal(scale=1.5, size=2) * size(truth)
                out[:, joints] += (away * (t - start))[:, None, None] * velocity
    return out


@pytest.mark.parametrize("rate_hz", [10.0, 30.0, 60.0])
def test_outlier_limbs_are_rarely_swapped(rate_hz):
    swapped = [feed(SwapCorrector(), flailing(rate_hz, seed), rate_hz)[2] for seed in range(5)]
    assert np.mean([np.mean(s) for s in swapped]) < 0.05 and sum(map(any, swapped)) <= 1


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_person_who_turns_round_is_not_swapped(rate_hz):
    """The sides cross in the image, as they do in the world."""
    angles = np.linspace(0, np.pi, round(rate_hz))
    truth = np.stack([walker(1, turned=a)[0] for a in angles])
    live, _, swapped = feed(SwapCorrector(), truth, rate_hz)
    assert np.array_equal(live, truth) and not any(swapped)


def test_a_lasting_contradiction_is_accepted_after_the_same_time_at_any_frame_rate():
    lasted = []
    for rate_hz in RATES_HZ:
        truth = walker(round(3 * rate_hz), rate_hz)
        first = round(rate_hz)
        live, revised, swapped = feed(
            SwapCorrector(), exchange(truth, range(first, len(truth))), rate_hz
        )
        assert swapped[first] and not swapped[-1]
        lasted.append(sum(swapped) / rate_hz)
        assert np.array_equal(live[-1], truth[-1, MIRROR])
        # The window that the model sees has one sense throughout.
        recent = slice(round(2.5 * rate_hz) - round(rate_hz), None)
        assert np.allclose(revised[recent], truth[recent][:, MIRROR])
    assert min(lasted) > 0.3 and max(lasted) < 1.0
    assert max(lasted) - min(lasted) < 0.25


def test_a_swap_at_the_start_is_found_and_revised():
    truth = walker(60)
    live, revised, _ = feed(SwapCorrector(), exchange(truth, range(3)))
    assert np.array_equal(live[12:], truth[12:])
    assert np.allclose(revised, truth)


def test_a_long_gap_is_no_evidence_of_a_swap():
    truth = walker(30)
    corrector = SwapCorrector()
    feed(corrector, truth)
    kept = corrector.correct(3 * NANOSECONDS, truth[-1, MIRROR], np.ones(17))
    assert not kept.swapped and np.array_equal(kept.rays, truth[-1, MIRROR])


def test_missing_joints_say_nothing_and_scores_move_with_their_joints():
    truth = walker(31)
    scores = np.tile(np.linspace(0.5, 1.0, 17), (31, 1))
    scores[:, H36M17.index("left_wrist")] = 0.0
    corrector = SwapCorrector()
    feed(corrector, truth[:30], scores=scores[:30])
    kept = corrector.correct(NANOSECONDS, truth[30, MIRROR], scores[30, MIRROR])
    assert kept.swapped
    assert np.allclose(kept.rays, truth[30]) and np.allclose(kept.scores, scores[30])
    kept = corrector.correct(NANOSECONDS + 33_000_000, 0 * truth[30], np.zeros(17))
    assert not kept.scores.any()


def test_unseen_keypoints_are_returned_unchanged():
    kept = SwapCorrector().correct(0, np.zeros((17, 2)), np.zeros(17))
    assert not kept.swapped and not kept.scores.any() and np.isfinite(kept.rays).all()


def test_two_people_do_not_share_a_memory():
    truth = walker(60)
    first, second = SwapCorrector(), SwapCorrector()
    feed(first, exchange(truth, range(30, 60)))
    live, _, swapped = feed(second, exchange(truth, [30]))
    assert swapped[30] and np.allclose(live, truth)


def test_people_corrected_together_are_corrected_as_each_alone():
    """One is swapped for a while, one comes later, one is not seen at first, one misses images.

    Their order changes.
    """
    noise = np.random.default_rng(0).normal(0, 0.002, (4, 60, 17, 2))
    points = np.stack([walker(60, turned=0.5 * k) for k in range(4)]) + noise
    points[0] = exchange(points[0], range(20, 26))
    points[1] = exchange(points[1], [40], LEGS)
    scores = np.ones(points.shape[:3])
    scores[2, :5] = 0.0
    scores[3, :, LEGS] = 0.3
    seen = {t: [0, *([1] * (t >= 10)), 2, *([3] * (t % 3 > 0))] for t in range(60)}
    alone = [SwapCorrector() for _ in range(4)]
    together = [SwapCorrector() for _ in range(4)]
    swapped = 0
    for t, people in seen.items():
        stamp_ns = round(t / 30 * NANOSECONDS)
        people = people[::-1] if t % 5 == 0 else people
        joint = correct_swaps(
            [together[k] for k in people], stamp_ns, points[people, t], scores[people, t]
        )
        for k, ours in zip(people, joint, strict=True):
            single = alone[k].correct(stamp_ns, points[k, t], scores[k, t])
            assert np.array_equal(ours.rays, single.rays)
            assert np.array_equal(ours.scores, single.scores)
            assert [r[0] for r in ours.revised] == [r[0] for r in single.revised]
            swapped += ours.swapped
    assert swapped >= 6
