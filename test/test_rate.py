"""The limit on the rate of images, by their stamps."""

from __future__ import annotations

import numpy as np
import pytest

from emf_ros.nodes.rate import RateLimiter

MS = 1_000_000


def used(limiter: RateLimiter, stamps_ms: list[float]) -> list[float]:
    return [stamp for stamp in stamps_ms if limiter.is_due(round(stamp * MS))]


def test_no_limit_uses_every_image() -> None:
    assert used(RateLimiter(0.0), [0, 1, 1, 0]) == [0, 1, 1, 0]


@pytest.mark.parametrize("max_rate_hz", [5.0, 10.0, 12.0, 30.0])
def test_mean_rate_is_the_limit_under_jitter(max_rate_hz: float) -> None:
    rng = np.random.default_rng(0)
    stamps = (np.arange(900) * 1000 / 30 + rng.uniform(-3, 3, 900)).tolist()
    taken = used(RateLimiter(max_rate_hz), stamps)
    assert len(taken) == pytest.approx(30 * max_rate_hz, rel=0.02)


def test_late_image_does_not_shift_those_after_it() -> None:
    # The image due at 100 ms comes at 150 ms; the next one is due at 200 ms all the same.
    assert used(RateLimiter(10.0), [0, 50, 150, 200, 250, 300]) == [0, 150, 200, 300]


def test_image_a_tenth_of_the_period_early_is_used_and_earlier_ones_are_not() -> None:
    assert used(RateLimiter(10.0), [0, 89, 91]) == [0, 91]


def test_images_after_a_long_pause_are_not_used_in_a_burst() -> None:
    assert used(RateLimiter(10.0), [0, 5000, 5033, 5067, 5100]) == [0, 5000, 5100]


def test_restart_uses_the_next_image_whatever_its_stamp() -> None:
    limiter = RateLimiter(10.0)
    assert used(limiter, [5000, 0]) == [5000]
    limiter.restart()
    assert used(limiter, [0]) == [0]
