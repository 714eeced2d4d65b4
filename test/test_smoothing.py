"""Smoothing of positions over time."""

import numpy as np
import pytest

from emf_ros.lift.smoothing import OneEuroFilter, WindowFilter
from emf_ros.lift.window import NANOSECONDS

RATE_HZ = 30.0


def filtered(values, rate_hz=RATE_HZ, **parameters):
    one_euro = OneEuroFilter(**parameters)
    return np.array([one_euro.filter(round(i * 1e9 / rate_hz), v) for i, v in enumerate(values)])


def test_the_filter_equals_the_published_formulas():
    """One element, step by step as the paper's algorithm has it."""
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.integers(10, 80, 60)) * 1_000_000
    values = np.cumsum(rng.normal(0, 0.05, 60))

    def low_pass(last, value, cutoff, step):
        tau = 1 / (2 * np.pi * cutoff)
        alpha = 1 / (1 + tau / step)
        return alpha * value + (1 - alpha) * last

    one_euro = OneEuroFilter(0.7, 3.0, 2.0)
    smooth, speed = values[0], 0.0
    assert one_euro.filter(int(stamps[0]), values[:1]) == pytest.approx(values[:1])
    for i in range(1, 60):
        step = (stamps[i] - stamps[i - 1]) * 1e-9
        speed = low_pass(speed, (values[i] - values[i - 1]) / step, 2.0, step)
        smooth = low_pass(smooth, values[i], 0.7 + 3.0 * abs(speed), step)
        out = one_euro.filter(int(stamps[i]), values[i : i + 1])
        assert out[0] == pytest.approx(smooth, abs=1e-12)


def test_jitter_of_a_standing_person_is_halved():
    noise = np.random.default_rng(1).normal(0, 0.005, (900, 17, 3))
    out = filtered(noise)[30:]
    assert out.std() < 0.45 * 0.005
    # And does not wander off.
    assert np.abs(out.mean(axis=0)).max() < 0.001


@pytest.mark.parametrize("rate_hz", [15.0, 30.0, 60.0])
def test_at_two_metres_a_second_the_delay_is_under_15_ms(rate_hz):
    t = np.arange(int(4 * rate_hz)) / rate_hz
    position = np.where(t < 1, 0.0, 2.0 * (t - 1))
    noise = np.random.default_rng(2).normal(0, 0.005, (200, len(t)))
    out = filtered((position + noise).T, rate_hz).mean(axis=1)
    delay_s = (position - out) / 2.0
    assert 0.005 < delay_s[t > 2].mean() < 0.012
    if rate_hz == RATE_HZ:
        assert delay_s.max() < 0.015  # from the first step on


def test_a_waving_hand_of_two_metres_a_second_is_delayed_by_less_than_15_ms():
    t = np.arange(300) / RATE_HZ
    wave = 2.0 / (2 * np.pi) * np.sin(2 * np.pi * t)
    out = filtered(wave[:, None])[:, 0]
    delays = np.linspace(0, 0.05, 101)
    off = [np.square(np.interp(t - d, t, wave) - out)[60:].mean() for d in delays]
    assert 0 < delays[np.argmin(off)] < 0.015


def test_steps_may_be_irregular():
    """A constant speed's delay does not depend on how it is sampled."""
    rng = np.random.default_rng(3)
    one_euro, stamp, off = OneEuroFilter(), 0, []
    for _ in range(400):
        stamp += int(rng.integers(8, 60)) * 1_000_000
        position = 1.5 * stamp * 1e-9
        off.append(position - one_euro.filter(stamp, np.array([position]))[0])
    expected = 1.5 / (2 * np.pi * (1.0 + 8.0 * 1.5))
    assert np.array(off)[100:] == pytest.approx(expected, rel=0.02)


def test_nan_restarts_only_its_own_element():
    values = np.random.default_rng(4).normal(0, 0.1, (20, 3, 2))
    whole = filtered(values)
    values[8:10, 1, 0] = np.nan
    out = filtered(values)
    assert np.isnan(out[8:10, 1, 0]).all() and np.isnan(out).sum() == 2
    assert out[10, 1, 0] == values[10, 1, 0]
    assert out[12:, 1, 0] == pytest.approx(filtered(values[10:, 1, 0])[2:])
    others = np.ones((3, 2), dtype=bool)
    others[1, 0] = False
    assert np.array_equal(out[:, others], whole[:, others])


def test_leading_nan_delays_the_start_of_the_filter():
    values = np.array([[np.nan], [np.nan], [1.0], [1.2]])
    out = filtered(values)
    assert np.isnan(out[:2]).all() and out[2] == 1.0 and 1.0 < out[3, 0] < 1.2


def test_a_long_gap_starts_anew_and_a_short_one_does_not():
    one_euro = OneEuroFilter(reset_s=0.5)
    one_euro.filter(0, np.zeros(3))
    assert (one_euro.filter(500_000_000, np.ones(3)) < 1.0).all()
    assert (one_euro.filter(1_000_000_001, 2 * np.ones(3)) == 2.0).all()


@pytest.mark.parametrize("stamp", [1000, 999])
def test_stamps_that_do_not_rise_are_an_error(stamp):
    one_euro = OneEuroFilter()
    one_euro.filter(1000, np.zeros(3))
    with pytest.raises(ValueError, match="stamps must rise"):
        one_euro.filter(stamp, np.zeros(3))


def test_another_shape_is_an_error():
    one_euro = OneEuroFilter()
    one_euro.filter(0, np.zeros((17, 3)))
    with pytest.raises(ValueError, match="shape"):
        one_euro.filter(1, np.zeros((16, 3)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_cutoff_hz": 0.0},
        {"beta": -1.0},
        {"derivative_cutoff_hz": 0.0},
        {"reset_s": 0.0},
        {"beta": float("nan")},
    ],
)
def test_invalid_filter_parameters_are_an_error(wrong):
    with pytest.raises(ValueError, match="positive"):
        OneEuroFilter(**wrong)


def test_arrays_are_not_shared_with_the_caller():
    one_euro, values = OneEuroFilter(), np.zeros(3)
    for stamp in (0, 33_000_000):
        one_euro.filter(stamp, values)[:] = 7.0
    values[:] = 7.0
    assert (one_euro.filter(66_000_000, np.zeros(3)) == 0.0).all()


class TestWindowFilter:
    def windows(self, steps_s, noise=0.0, seed=0):
        """A joint that swings, in windows of 27 frames up to each moment, each off by as much."""
        rng, moment = np.random.default_rng(seed), 2.0
        for step in steps_s:
            moment += step
            t = moment + (np.arange(27) - 26) / 30
            yield moment, np.sin(4 * t)[:, None] + noise * rng.standard_normal()

    def run(self, steps_s, noise=0.0, time_constant_s=0.1):
        jitter_filter, out, truth = WindowFilter(time_constant_s), [], []
        for moment, window in self.windows(steps_s, noise):
            out.append(jitter_filter.filter(round(moment * NANOSECONDS), window, 26, 30.0)[0])
            truth.append(np.sin(4 * moment))
        return np.array(out), np.array(truth)

    @pytest.mark.parametrize("rate_hz", [5, 30, 60, 120])
    def test_motion_passes_undelayed(self, rate_hz):
        rng = np.random.default_rng(1)
        steps = (1 + rng.uniform(-0.3, 0.3, 60)) / rate_hz
        out, truth = self.run(steps)
        # Straight lines between the window's frames cost as much as 5 ms do at 4 m/s.
        assert np.abs(out - truth).max() < 0.02

    def test_the_windows_jumps_are_taken_out(self):
        out, truth = self.run(np.full(600, 1 / 30), noise=0.02)
        jumps = np.diff(out - truth).std() / (0.02 * np.sqrt(2))
        # Of a first-order filter that takes the share k of what is new: k / sqrt(1 - k / 2).
        k = 1 - np.exp(-1 / 30 / 0.1)
        assert jumps == pytest.approx(k / np.sqrt(2 - k), rel=0.15)
        assert (out - truth).std() < 0.6 * 0.02

    def test_a_wrong_window_is_forgotten_within_the_time_constant(self):
        jitter_filter = WindowFilter(0.1)
        right, wrong = np.zeros((27, 1)), np.ones((27, 1))
        jitter_filter.filter(0, wrong, 26, 30.0)
        out = [
            jitter_filter.filter(round(i * NANOSECONDS / 30), right, 26, 30.0)[0]
            for i in range(1, 9)
        ]
        assert out[2] == pytest.approx(np.exp(-1.0), abs=1e-6)

    def test_after_a_gap_longer_than_the_window_it_starts_anew(self):
        jitter_filter = WindowFilter(10.0)
        jitter_filter.filter(0, np.ones((27, 1)), 26, 30.0)
        later = jitter_filter.filter(NANOSECONDS, np.zeros((27, 1)), 26, 30.0)
        assert later[0] == 0.0

    def test_the_pose_of_an_earlier_frame(self):
        jitter_filter, window = WindowFilter(0.1), np.arange(27.0)[:, None]
        assert jitter_filter.filter(0, window, 20, 30.0)[0] == 20.0
