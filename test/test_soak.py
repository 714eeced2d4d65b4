"""The soak's checks: growth with its doubt, skipped frames, and frames that nobody has counted."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from frame_account import LEFT_OUT, account, skipped_frames
from process_health import grows, trend

#: Times of the frames of a video of eight frames, s.
TIMES_S = np.arange(8) / 30


def stamps(*rounds: tuple[float, list[int]]) -> list[int]:
    """Stamps, ns, of frames of a looping video: begin of each round, s, and numbers of frames."""
    return [round(1e9 * (begin + TIMES_S[i])) for begin, frames in rounds for i in frames]


@pytest.mark.parametrize("slope", [0.0, 0.002])
def test_a_slope_is_found_within_its_doubt(slope: float) -> None:
    random, times = np.random.default_rng(3), np.arange(0.0, 720.0, 10.0)
    line = trend(times.tolist(), (200 + slope * times + 0.2 * random.normal(size=72)).tolist())
    assert abs(line.per_second - slope) < 3 * line.doubt
    assert line.surely_over(0.0) == (slope > 0) and line.surely_under(0.004)


def test_numbers_that_go_up_and_down_do_not_grow() -> None:
    assert not grows([24, 26, 24, 26, 25, 26, 24, 26])
    assert grows([24, 24, 25, 25, 25, 26, 26, 27])


def test_skipped_frames_of_a_loop_are_counted_by_their_stamps() -> None:
    assert skipped_frames(stamps((5.0, list(range(8))), (5.31, list(range(8)))), TIMES_S) == 0
    # 2 and 3; 6 and 7 at the end of the round; 1.
    assert skipped_frames(stamps((5.0, [0, 1, 4, 5]), (5.31, [0, 2, 3])), TIMES_S) == 2 + 2 + 1


@pytest.mark.parametrize("node", LEFT_OUT)
def test_a_frame_that_no_node_has_counted_is_unexplained(node: str) -> None:
    published = stamps((5.0, [0, 1, 2, 4, 5, 7]))
    listener: Any = SimpleNamespace(
        published=published,
        detected=published[:5],
        lifted=[(stamp, 0) for stamp in published[:3]],
        unheard=0,
    )
    before = {name: {LEFT_OUT[name][0].value: "10"} for name in LEFT_OUT}
    counts = {"video_source": 2, "keypoint_detector": 1, "skeleton_lifter": 2}
    for uncounted in (0, 1):
        after = {
            name: {LEFT_OUT[name][0].value: str(10 + count - uncounted * (name == node))}
            for name, count in counts.items()
        }
        found = account(listener, before, after, TIMES_S, after_last=0)
        assert found.unexplained == ({node: 1} if uncounted else {})
        assert found.published + found.skipped == 8
