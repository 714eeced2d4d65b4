"""Windows of keypoints at any times: resampled rays lie between the observed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from emf_ros.lift.window import KeypointHistory

JOINTS = 3
MAX_GAP_S = 0.25


@st.composite
def observations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rising stamps (N,) ns, rays (N, J, 2) and scores (N, J), some of which are missing."""
    steps = draw(st.lists(st.integers(1, 400_000_000), min_size=1, max_size=12))
    stamps = draw(st.integers(-(10**18), 10**18)) + np.cumsum(np.array(steps, dtype=np.int64))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    rays = rng.normal(size=(len(steps), JOINTS, 2))
    scores = rng.uniform(0.05, 1.0, (len(steps), JOINTS))
    missing = rng.random(scores.shape) < 0.2
    scores[missing], rays[missing] = 0.0, np.nan
    return stamps, rays, scores


def history_of(stamps: np.ndarray, rays: np.ndarray, scores: np.ndarray) -> KeypointHistory:
    history = KeypointHistory(100.0, MAX_GAP_S)
    for stamp, ray, score in zip(stamps.tolist(), rays, scores, strict=True):
        history.add(stamp, ray, score)
    return history


@given(st.data())
def test_resampled_rays_lie_between_their_neighbours(data: Any) -> None:
    stamps, rays, scores = data.draw(observations())
    low, high = int(stamps[0]) - 10**9, int(stamps[-1]) + 10**9
    times = np.array(sorted(data.draw(st.lists(st.integers(low, high), min_size=1, max_size=12))))
    out, out_scores = history_of(stamps, rays, scores).resample(times)
    assert np.isfinite(out).all() and np.isfinite(out_scores).all()
    assert ((out_scores >= 0) & (out_scores <= 1)).all()
    assert (out[out_scores == 0] == 0).all()
    assert (out_scores[times > stamps[-1]] == 0).all()
    for at, found, found_scores in zip(np.maximum(times, stamps[0]), out, out_scores, strict=True):
        before = int(np.searchsorted(stamps, at, side="right")) - 1
        after = before if stamps[before] == at else before + 1
        for joint in range(JOINTS):
            if after >= len(stamps) or stamps[after] - stamps[before] > MAX_GAP_S * 1e9:
                assert found_scores[joint] == 0
                continue
            pair = [before, after]
            if (scores[pair, joint] == 0).any():
                # A joint that one of them lacks is not made up.
                assert found_scores[joint] == 0
                continue
            assert (found[joint] >= rays[pair, joint].min(axis=0) - 1e-12).all()
            assert (found[joint] <= rays[pair, joint].max(axis=0) + 1e-12).all()
            between = np.sort(scores[pair, joint])
            assert between[0] - 1e-12 <= found_scores[joint] <= between[1] + 1e-12


@given(st.data())
def test_resampling_at_the_stamps_gives_the_observations(data: Any) -> None:
    stamps, rays, scores = data.draw(observations())
    out, out_scores = history_of(stamps, rays, scores).resample(stamps)
    np.testing.assert_array_equal(out_scores, scores)
    np.testing.assert_array_equal(out[scores > 0], rays[scores > 0])


@given(st.data())
def test_resampling_does_not_depend_on_the_epoch_of_the_stamps(data: Any) -> None:
    stamps, rays, scores = data.draw(observations())
    span = int(stamps[-1] - stamps[0])
    offsets = np.array(sorted(data.draw(st.lists(st.integers(0, span), min_size=1, max_size=8))))
    shift = data.draw(st.integers(-(10**18), 10**18))
    one = history_of(stamps, rays, scores).resample(stamps[0] + offsets)
    other = history_of(stamps + shift, rays, scores).resample(stamps[0] + shift + offsets)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
