"""Left stays left."""

import numpy as np
import pytest

from emf_ros.lift import sides
from emf_ros.lift.sides import SideKeeper
from emf_ros.lift.window import NANOSECONDS
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


def feed(keeper, points, rate_hz=30.0, scores=None):
    scores = np.ones(points.shape[:2]) if scores is None else scores
    kept = [
        keeper.keep(round(t / rate_hz * NANOSECONDS), p, s)
        for t, (p, s) in enumerate(zip(points, scores, strict=True))
    ]
    return np.stack([k[0] for k in kept]), [k[2] for k in kept]


def exchange(points, frames, joints=range(17)):
    """The points with the sides of these frames' joints exchanged."""
    out = points.copy()
    for t in frames:
        for j in joints:
            out[t, j] = points[t, MIRROR[j]]
    return out


@pytest.mark.parametrize("joints", [range(17), LEGS], ids=["body", "legs"])
@pytest.mark.parametrize("length", [1, 2, 11])
def test_sides_are_put_back(joints, length):
    truth = walker(60)
    wrong = range(30, 30 + length)
    noise = np.random.default_rng(0).normal(scale=0.002, size=truth.shape)
    kept, exchanged = feed(SideKeeper(), exchange(truth + noise, wrong, joints))
    off = np.linalg.norm(kept - truth, axis=-1)
    assert off.max() < 0.015
    assert exchanged == [t in wrong for t in range(60)]


def test_what_is_right_is_left_alone():
    rng = np.random.default_rng(1)
    for turned in (0.0, 0.6, 1.5, 2.5):
        truth = walker(90, turned=turned)
        noisy = truth + rng.normal(scale=0.008, size=truth.shape)
        kept, exchanged = feed(SideKeeper(), noisy)
        assert np.array_equal(kept, noisy) and not any(exchanged)


def test_someone_who_turns_round_is_followed():
    """The sides cross in the picture, as they do in the world."""
    angles = np.linspace(0, np.pi, 30)
    truth = np.stack([walker(1, turned=a)[0] for a in angles])
    kept, exchanged = feed(SideKeeper(), truth)
    assert np.array_equal(kept, truth) and not any(exchanged)


def test_a_detector_that_insists_is_believed():
    truth = walker(90)
    kept, exchanged = feed(SideKeeper(), exchange(truth, range(30, 90)))
    last = max(t for t, e in enumerate(exchanged) if e)
    assert exchanged[30] and (last - 29) / 30 == pytest.approx(sides.PATIENCE_S, abs=0.05)
    assert np.array_equal(kept[60:], truth[60:, MIRROR])


def test_who_was_wrong_from_the_start_is_not_held_to_it():
    truth = walker(60)
    kept, exchanged = feed(SideKeeper(), exchange(truth, range(3)))
    assert sum(exchanged[3:]) <= 2
    assert np.array_equal(kept[6:], truth[6:])


def test_after_a_gap_nothing_is_foretold():
    truth = walker(30)
    keeper = SideKeeper()
    feed(keeper, truth)
    late = round((1.0 + sides.MAX_STEP_S) * NANOSECONDS)
    points, _, exchanged = keeper.keep(late, truth[-1, MIRROR], np.ones(17))
    assert not exchanged and np.array_equal(points, truth[-1, MIRROR])


def test_missing_joints_say_nothing_and_scores_move_with_their_joints():
    truth = walker(31)
    scores = np.tile(np.linspace(0.5, 1.0, 17), (31, 1))
    scores[:, H36M17.index("left_wrist")] = 0.0
    keeper = SideKeeper()
    feed(keeper, truth[:30], scores=scores[:30])
    points, kept, exchanged = keeper.keep(NANOSECONDS, truth[30, MIRROR], scores[30, MIRROR])
    assert exchanged
    assert np.allclose(points, truth[30]) and np.allclose(kept, scores[30])
    lost = np.zeros(17)
    points, kept, exchanged = keeper.keep(NANOSECONDS + 33_000_000, 0 * truth[30], lost)
    assert not exchanged and not kept.any()


def test_two_people_do_not_share_a_memory():
    truth = walker(60)
    first, second = SideKeeper(), SideKeeper()
    feed(first, exchange(truth, range(30, 60)))
    kept, exchanged = feed(second, exchange(truth, [30]))
    assert exchanged[30] and np.allclose(kept, truth)
