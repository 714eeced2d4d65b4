"""The lag that follows from a latency budget."""

import math

import numpy as np
import pytest

from emf_ros.lift.lag import OUTPUTS_BEFORE_INCREASE, AutoLag

FRAME = 1000 / 30


def settle(auto, delay_ms, period_ms=FRAME, outputs=200):
    for _ in range(outputs):
        auto.update(delay_ms, period_ms)
    return auto.lag


@pytest.mark.parametrize(
    ("budget_ms", "delay_ms", "lag"),
    [(150, 45, 3), (150, 16, 4), (40, 45, 0), (45, 45, 0), (150, 150, 0), (2000, 45, 13)],
)
def test_the_auto_lag_is_the_largest_within_the_budget(budget_ms, delay_ms, lag):
    assert settle(AutoLag(budget_ms, FRAME, 13), delay_ms) == lag


@pytest.mark.parametrize("rate_hz", [5, 15, 30, 60, 120])
def test_the_auto_lag_budget_is_a_time_and_not_a_number_of_frames(rate_hz):
    auto, period = AutoLag(250, FRAME, 13), 1000 / rate_hz
    lag = settle(auto, 40.0, period)
    assert 40 + auto.behind_ms(lag, period) <= 250
    assert lag == 13 or 40 + auto.behind_ms(lag + 1, period) > 250
    # A frame of a slow camera is as old as the image before it.
    assert auto.behind_ms(1, 200.0) == 200.0


def test_the_auto_lag_falls_at_once_and_grows_slowly():
    auto = AutoLag(150, FRAME, 13)
    assert settle(auto, 45) == 3
    assert settle(auto, 130, outputs=8) == 0
    # The slow ones have to be forgotten first, and the calm has to last.
    lags = [auto.update(45.0, FRAME) for _ in range(150)]
    assert lags[OUTPUTS_BEFORE_INCREASE - 1] == 0 and lags[-1] == 3
    assert (np.diff(lags) >= 0).all()


def test_the_auto_lag_stays_without_a_known_latency():
    auto = AutoLag(150, FRAME, 13)
    assert settle(auto, math.nan) == 0
    assert settle(auto, 45, math.nan) == 0
    assert settle(auto, 45, 0.0) == 0


def test_the_auto_lag_ignores_latency_jitter():
    rng, auto = np.random.default_rng(0), AutoLag(150, FRAME, 13)
    lags = [auto.update(45 + 8 * rng.standard_normal(), FRAME) for _ in range(3000)]
    assert np.count_nonzero(np.diff(lags)) <= 4
    assert set(lags[200:]) <= {2, 3}
