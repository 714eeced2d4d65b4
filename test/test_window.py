"""A person's recent keypoints, resampled by time."""

import numpy as np
import pytest

from emf_ros.lift.window import CAPACITY, NANOSECONDS, KeypointHistory, Observations

START = 1_700_000_000 * NANOSECONDS + 123_456_789  # as a camera stamps today
JOINTS = 3


def ns(seconds):
    return START + np.rint(np.asarray(seconds) * NANOSECONDS).astype(np.int64)


def straight(seconds):
    """Rays (J, 2) of joints that move evenly, each at its own speed."""
    speed = np.array([[1.0, 0.0], [0.0, -2.0], [0.5, 0.25]])
    return np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]) + speed * seconds


def history(seconds, scores=None, span=1.0, gap=0.25):
    out = KeypointHistory(span, gap)
    for i, t in enumerate(seconds):
        given = np.full(JOINTS, 0.8) if scores is None else np.array(scores[i], dtype=float)
        out.add(int(ns(t)), straight(t), given)
    return out


def test_resampling_is_linear_between_two_stamps():
    rays, scores = history([0, 0.1], [[0.4] * 3, [0.8] * 3]).resample(ns([0.025, 0.05, 0.075]))
    assert rays.shape == (3, JOINTS, 2) and scores.shape == (3, JOINTS)
    for i, t in enumerate((0.025, 0.05, 0.075)):
        assert rays[i] == pytest.approx(straight(t))
        assert scores[i] == pytest.approx(0.4 + 4 * t)


def test_an_exact_stamp_gives_the_observation_itself():
    taken = history([0, 0.1, 0.2], [[0.5] * 3, [0.7] * 3, [0.9] * 3])
    rays, scores = taken.resample(ns([0, 0.1, 0.2]))
    assert (rays == [straight(t) for t in (0, 0.1, 0.2)]).all()
    assert scores[:, 0].tolist() == [0.5, 0.7, 0.9]


@pytest.mark.parametrize("seed", range(10))
def test_any_rate_and_any_jitter_give_the_same_straight_motion(seed):
    rng = np.random.default_rng(seed)
    rate = 5 * 24 ** rng.random()  # 5..120 Hz
    seconds = np.cumsum(rng.uniform(0.5, 1.2, int(1.2 * rate) + 3) / rate)
    taken = history(seconds, span=3.0)
    times = seconds[-1] - np.arange(27)[::-1] / 30
    rays, scores = taken.resample(ns(times))
    expected = np.array([straight(max(t, seconds[0])) for t in times])
    assert rays == pytest.approx(expected, abs=1e-7)
    assert scores == pytest.approx(np.full((27, JOINTS), 0.8))


def test_samples_inside_a_gap_are_missing():
    taken = history([0, 0.1, 0.6, 0.7], gap=0.25)
    rays, scores = taken.resample(ns([0.05, 0.11, 0.3, 0.59, 0.65]))
    assert (scores[:, 0] > 0).tolist() == [True, False, False, False, True]
    assert (rays[scores == 0] == 0).all()


def test_a_gap_as_long_as_allowed_is_bridged():
    assert (history([0, 0.25], gap=0.25).resample(ns([0.1]))[1] > 0).all()
    assert (history([0, 0.2501], gap=0.25).resample(ns([0.1]))[1] == 0).all()


def test_observations_at_the_edges_of_a_gap_stay():
    scores = history([0, 1.0], span=3).resample(ns([0, 1.0]))[1]
    assert (scores > 0).all()


def test_samples_before_the_first_observation_repeat_it():
    rays, scores = history([0, 0.1]).resample(ns([-5, -0.3, 0]))
    assert (rays == straight(0)).all() and (scores == 0.8).all()


def test_samples_after_the_newest_observation_are_missing():
    rays, scores = history([0, 0.1]).resample(ns([0.1, 0.100001, 0.2]))
    assert (scores > 0)[:, 0].tolist() == [True, False, False]
    assert (rays[1:] == 0).all()


def test_one_observation_alone_is_repeated_backwards_only():
    rays, scores = history([0]).resample(ns([-1, 0, 0.01]))
    assert (scores > 0)[:, 0].tolist() == [True, True, False]
    assert (rays[:2] == straight(0)).all()


def test_a_joint_missing_at_one_neighbour_is_missing_between():
    taken = history([0, 0.1, 0.2], [[0.8, 0.8, 0.8], [0.8, 0.0, 0.8], [0.8, 0.8, 0.8]])
    scores = taken.resample(ns([0, 0.05, 0.1, 0.15, 0.2]))[1]
    assert (scores[:, 1] > 0).tolist() == [True, False, False, False, True]
    assert (scores[:, [0, 2]] > 0).all()


def test_values_with_score_zero_are_never_returned():
    taken = KeypointHistory(1.0, 0.25)
    spoilt = straight(0)
    spoilt[1] = np.nan
    for t in (0, 0.1):
        taken.add(int(ns(t)), spoilt, np.array([0.8, 0, 0.8]))
    rays, scores = taken.resample(ns([-1, 0, 0.05, 0.1, 0.2]))
    assert np.isfinite(rays).all() and (rays[:, 1] == 0).all() and (scores[:, 1] == 0).all()


def test_memory_is_bounded_and_still_covers_the_span():
    taken = KeypointHistory(0.5, 0.25)
    for i in range(5000):
        taken.add(int(ns(i / 100)), straight(0), np.ones(JOINTS))
    remembered_s = (taken.newest_ns - taken.first_ns) / NANOSECONDS
    assert 0.5 <= remembered_s <= 0.52
    assert taken.observed == 5000


def test_the_oldest_sample_of_the_span_is_interpolated_not_repeated():
    taken = history(np.arange(0, 3, 0.07), span=0.8)
    oldest = taken.newest_ns - int(0.8 * NANOSECONDS)
    rays, _ = taken.resample(np.array([oldest]))
    assert rays[0] == pytest.approx(straight((oldest - START) / NANOSECONDS), abs=1e-6)


@pytest.mark.parametrize("step", [0, -1])
def test_stamps_must_rise(step):
    taken = history([0])
    with pytest.raises(ValueError, match="rise"):
        taken.add(START + step, straight(0), np.ones(JOINTS))


def test_seen_within_finds_joints_of_a_score_within_a_time():
    taken = history(
        [0, 0.1, 0.2, 0.3], [[0.9, 0.1, 0.0], [0.9, 0.5, 0.0], [0.1, 0.1, 0], [0.9, 0.9, 0.9]]
    )
    other = history([0, 0.1], [[0.9, 0.9, 0.9]] * 2)
    seen = Observations.of([taken, other]).seen_within
    assert seen(0.5, int(ns(0.2)), 0.15).tolist() == [[True, True, False], [True, True, True]]
    assert seen(0.5, int(ns(0.2)), 0.05).tolist() == [[False] * 3] * 2
    assert seen(0.5, int(ns(0.3)), 0.05).tolist() == [[True] * 3, [False] * 3]


def test_fast_cameras_have_as_much_memory_as_the_span_needs():
    taken = history(np.arange(5 * CAPACITY) / 1000, span=0.25)
    assert (taken.newest_ns - taken.first_ns) / NANOSECONDS == pytest.approx(0.25, abs=0.002)
    rays, scores = taken.resample(ns([0.1, 0.2]))
    assert rays[0] == pytest.approx(straight(0.1)) and rays[1] == pytest.approx(straight(0.2))
    assert scores == pytest.approx(0.8)


def test_a_past_observation_is_reordered_after_the_memory_has_moved():
    taken = history(np.arange(3 * CAPACITY) / 100, span=0.5)
    newest_s = (3 * CAPACITY - 1) / 100
    past_s = newest_s - 0.3
    taken.reorder(int(ns(past_s)), np.array([2, 1, 0]))
    taken.reorder(int(ns(0.0)), np.array([2, 1, 0]))
    taken.reorder(int(ns(past_s + 0.005)), np.array([2, 1, 0]))
    rays, _ = taken.resample(ns([past_s - 0.01, past_s, past_s + 0.01]))
    assert rays[0] == pytest.approx(straight(past_s - 0.01))
    assert rays[1] == pytest.approx(straight(past_s)[::-1])
    assert rays[2] == pytest.approx(straight(past_s + 0.01))


def test_windows_of_several_people_are_those_of_each_alone():
    people = [
        history([0.0]),
        history([0.0, 0.1, 0.2], [[0.9, 0.0, 0.5], [0.9, 0.4, 0.0], [0.9, 0.4, 0.5]]),
        history([0.05, 0.5]),
        history([0.0, 0.4], gap=0.4),
        history([0.1, 0.13, 0.2]),
    ]
    times = ns(np.arange(-0.1, 0.3, 0.033))
    observations = Observations.of(people)
    points = observations.resample(times)
    assert points.shape == (5, len(times), JOINTS, 3)
    for person, own in zip(people, points, strict=True):
        rays, scores = person.resample(times)
        assert np.array_equal(own[..., :2], rays) and np.array_equal(own[..., 2], scores)
    assert (points[1, -1:, 0, 2] == 0).all() and (points[2, :, :, 2] > 0).any()
    # Only one may be bridged.
    assert (points[2, 8, :, 2] == 0).all() and (points[3, 8, :, 2] > 0).all()
