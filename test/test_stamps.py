"""One rule on stamps: the filter itself, the tracker and the lifter that use it, and the nodes."""

from __future__ import annotations

import numpy as np
import pytest
from test_pipeline import STEP, by_id, engine, frame_of, pipeline_of  # noqa: F401
from test_swaps import walker
from test_tracker import ids, person

from emf_ros.stamps import EQUAL_IN_A_ROW, StampFilter, StampVerdict
from emf_ros.track import Tracker
from emf_ros.types import TrackState

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
UNIX = 1_790_000_000 * SECOND

#: First stamps of cameras whose clocks began at other times, ns.
EPOCHS = {"unix": UNIX, "boot": 5 * HOUR, "zero": 0, "negative": -3 * HOUR, "across zero": -SECOND}

#: What an odd stamp is, as a function of the right one, ns.
ODD = {
    "zero": lambda right: 0,
    "minus one": lambda right: -1,
    "0.7 s late": lambda right: right - 7 * SECOND // 10,
    "5 s late": lambda right: right - 5 * SECOND,
    "2 s ahead": lambda right: right + 2 * SECOND,
    "an hour ahead": lambda right: right + HOUR,
    "the largest": lambda right: (2**31 - 1) * SECOND,
    "the smallest": lambda right: -(2**31) * SECOND,
}


def regular(count: int, rate_hz: float = 30.0, first_ns: int = UNIX) -> list[int]:
    return [first_ns + round(i * SECOND / rate_hz) for i in range(count)]


def verdicts(stamps: list[int]) -> list[StampVerdict]:
    stamp_filter = StampFilter()
    return [stamp_filter.take(stamp) for stamp in stamps]


def names(stamps: list[int]) -> dict[str, int]:
    """Number of images by verdict, without those that simply continue."""
    found = [v.name for v in verdicts(stamps) if v is not StampVerdict.CONTINUES]
    return {name: found.count(name) for name in set(found)}


class TestFilter:
    @pytest.mark.parametrize("first_ns", EPOCHS.values(), ids=EPOCHS)
    @pytest.mark.parametrize("rate_hz", [1.0, 5.0, 30.0, 240.0, 1000.0])
    def test_a_regular_camera_is_accepted_whole(self, rate_hz, first_ns):
        assert names(regular(60, rate_hz, first_ns)) == {}

    @pytest.mark.parametrize("rate_hz", [1.2, 10.0, 30.0, 240.0])
    def test_jitter_and_lost_images_are_accepted(self, rate_hz):
        random = np.random.default_rng(3)
        times = np.arange(400) + random.uniform(-0.3, 0.3, 400)
        # Every other image may be lost.
        lost = (random.uniform(size=400) < 0.5) & (np.arange(400) % 2 == 1)
        found = verdicts([UNIX + round(t / rate_hz * SECOND) for t in times[~lost]])
        # At 1.2 Hz the camera's step has to become known first.
        assert sum(not v.accepted for v in found) <= (1 if rate_hz < 2 else 0)

    @pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
    @pytest.mark.parametrize("at", [1, 7, 30])
    @pytest.mark.parametrize("first_ns", [UNIX, 5 * HOUR, -3 * HOUR], ids=["unix", "boot", "neg"])
    def test_one_odd_stamp_is_dropped_and_nothing_else(self, first_ns, at, odd):
        stamps = regular(60, first_ns=first_ns)
        stamps.insert(at, odd(stamps[at]))
        found = verdicts(stamps)
        assert found.pop(at) is StampVerdict.OUTLIER
        assert set(found) == {StampVerdict.CONTINUES}

    @pytest.mark.parametrize("late_ns", [1, SECOND // 30, SECOND // 2 - 40_000_000])
    def test_a_late_or_repeated_stamp_is_not_newer(self, late_ns):
        stamps = regular(60)
        for stamp in (stamps[29], stamps[29] - late_ns):
            with_it = [*stamps[:30], stamp, *stamps[30:]]
            assert names(with_it) == {"NOT_NEWER": 1}

    def test_pairs_in_the_wrong_order_and_duplicates(self):
        stamps = regular(60)
        swapped = [stamps[i ^ 1] for i in range(60)]
        assert names(swapped).keys() == {"NOT_NEWER"}
        assert names([s for s in stamps for _ in range(2)]) == {"NOT_NEWER": 60}

    @pytest.mark.parametrize("rate_hz", [1.0, 2.0])
    def test_pairs_in_the_wrong_order_of_a_slow_camera(self, rate_hz):
        stamps = regular(40, rate_hz)
        swapped = stamps[:6] + [stamps[i ^ 1] for i in range(6, 40)]
        assert names(swapped).keys() == {"NOT_NEWER"}

    @pytest.mark.parametrize(
        "pair",
        [
            (0, 0),
            (0, UNIX + HOUR),
            (UNIX + HOUR, 0),
            (UNIX + HOUR, UNIX + 2 * HOUR),
            (UNIX + HOUR, UNIX + HOUR),
        ],
    )
    def test_two_odd_stamps_in_a_row_that_do_not_confirm_each_other(self, pair):
        stamps = regular(60)
        found = verdicts([*stamps[:20], *pair, *stamps[20:]])
        assert found[20:22] == [StampVerdict.OUTLIER] * 2
        assert set(found[:20] + found[22:]) == {StampVerdict.CONTINUES}

    def test_a_first_stamp_that_is_odd_costs_two_images(self):
        for odd in (0, UNIX + HOUR, -1):
            found = verdicts([odd, *regular(30)])
            assert [v.accepted for v in found[:4]] == [True, False, True, True]
            assert set(found[3:]) == {StampVerdict.CONTINUES}

    @pytest.mark.parametrize("rate_hz", [1.0, 10.0, 30.0, 240.0])
    @pytest.mark.parametrize("to_ns", [0, UNIX - HOUR, UNIX + HOUR, -HOUR])
    def test_a_clock_that_jumps_is_accepted_with_the_second_image(self, rate_hz, to_ns):
        found = verdicts(regular(20, rate_hz) + regular(20, rate_hz, to_ns))
        jump = StampVerdict.JUMPED_AHEAD if to_ns > UNIX else StampVerdict.JUMPED_BACK
        assert found[20:22] == [StampVerdict.OUTLIER, jump]
        assert set(found[:20] + found[22:]) == {StampVerdict.CONTINUES}

    def test_a_bag_that_loops(self):
        assert names(regular(90) * 4) == {"OUTLIER": 3, "JUMPED_BACK": 3}

    def test_a_pause_of_five_seconds_is_no_jump_back(self):
        stamps = regular(30) + regular(30, first_ns=UNIX + 6 * SECOND)
        assert names(stamps) == {"OUTLIER": 1, "JUMPED_AHEAD": 1}
        # A shorter one costs nothing.
        assert names(regular(30) + regular(30, first_ns=UNIX + 19 * SECOND // 10)) == {}

    @pytest.mark.parametrize("odd_ns", [60 * SECOND, HOUR])
    def test_a_gap_that_the_known_next_stamp_confirms_costs_no_image(self, odd_ns):
        stamps = regular(20) + regular(20, first_ns=UNIX + 30 * SECOND)
        stamp_filter = StampFilter()
        found = [
            stamp_filter.take(stamp, after)
            for stamp, after in zip(stamps, [*stamps[1:], None], strict=True)
        ]
        assert all(verdict.accepted for verdict in found)
        assert found.count(StampVerdict.JUMPED_AHEAD) == 1
        # An odd stamp is no gap: the next one goes on from before it.
        odd = regular(40)
        odd[20] += odd_ns
        stamp_filter = StampFilter()
        found = [
            stamp_filter.take(stamp, after)
            for stamp, after in zip(odd, [*odd[1:], None], strict=True)
        ]
        assert [i for i, v in enumerate(found) if not v.accepted] == [20]

    @pytest.mark.parametrize("rates", [(30.0, 0.7), (30.0, 0.2), (0.5, 60.0), (240.0, 1.0)])
    def test_a_camera_that_changes_its_rate_goes_on(self, rates):
        stamps = regular(30, rates[0])
        stamps += regular(30, rates[1], stamps[-1] + round(SECOND / rates[1]))
        assert sum(not v.accepted for v in verdicts(stamps)) <= 1

    @pytest.mark.parametrize("step_s", [4, 60, 86400])
    def test_an_image_a_minute(self, step_s):
        """The rate is not known yet when the second image comes; later all are accepted."""
        assert names(regular(30, 1 / step_s)).get("OUTLIER", 0) == 1
        slower = [*regular(30), *(UNIX + step_s * i * SECOND for i in range(1, 20))]
        assert sum(not v.accepted for v in verdicts(slower)) <= 4

    @pytest.mark.parametrize("stamp", [0, -5, UNIX])
    def test_stamps_that_are_all_equal_are_reported_until_they_are_not(self, stamp):
        stamp_filter = StampFilter()
        for _ in range(EQUAL_IN_A_ROW - 1):
            assert stamp_filter.take(stamp) is not StampVerdict.ALL_EQUAL
            assert not stamp_filter.trouble
        for _ in range(50):
            assert stamp_filter.take(stamp) is StampVerdict.ALL_EQUAL
        assert "does not stamp its images" in stamp_filter.trouble
        stamp_filter.take(UNIX + HOUR)
        assert not stamp_filter.trouble
        assert stamp_filter.take(UNIX + HOUR + SECOND // 30).accepted

    def test_a_driver_that_ceases_to_stamp_is_reported(self):
        assert names(regular(30) + [0] * 40).keys() == {"OUTLIER", "ALL_EQUAL"}

    def test_images_of_another_clock_among_those_of_a_camera_are_dropped(self):
        stamps = [
            s for pair in zip(regular(60), regular(60, first_ns=7), strict=True) for s in pair
        ]
        assert names(stamps) == {"OUTLIER": 60}


def track_ids(stamps: list[int]) -> tuple[set[int], list[int]]:
    """Ids of two people who stand, and the number of images in which each number of them is."""
    tracker = Tracker()
    found = [tracker.update([person(300), person(700)], stamp) for stamp in stamps]
    return {i for people in found for i in ids(people)}, [len(people) for people in found]


class TestTracker:
    @pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
    @pytest.mark.parametrize("first_ns", [UNIX, -3 * HOUR], ids=["unix", "negative"])
    def test_one_odd_stamp_costs_no_id(self, odd, first_ns):
        stamps = regular(40, first_ns=first_ns)
        stamps.insert(20, odd(stamps[20]))
        found, counts = track_ids(stamps)
        assert found == {1, 2}
        assert counts[20] == 0 and set(counts[5:20] + counts[21:]) == {2}

    @pytest.mark.parametrize("back", [1, 4, 12])
    def test_a_late_image_costs_no_id(self, back):
        stamps = regular(40)
        stamps.insert(20, stamps[20 - back] - 1)
        assert track_ids(stamps)[0] == {1, 2}

    def test_a_bag_that_loops_begins_anew_one_image_late(self):
        found, counts = track_ids(regular(40) * 2)
        assert found == {1, 2, 3, 4}
        begin = counts.index(2)
        assert counts[40:].index(2) == begin + 1

    def test_images_that_the_caller_has_asked_about_are_judged_once(self):
        tracker, seen = Tracker(), set()
        for stamp in [*regular(20), 0, *regular(20, first_ns=UNIX + 21 * SECOND // 30)]:
            if tracker.stamps.take(stamp).accepted:
                seen |= set(ids(tracker.update([person(300)], stamp)))
        assert seen == {1}

    def test_a_jump_back_deletes_all_tracks_even_if_its_image_was_lost(self):
        tracker, seen = Tracker(), []
        for index, stamp in enumerate([*regular(20), *regular(20, first_ns=0)]):
            # The image that confirms the jump is a damaged one.
            if tracker.stamps.take(stamp).accepted and index != 21:
                seen += ids(tracker.update([person(300)], stamp))
        assert set(seen) == {1, 2}


def states_of(pipeline, stamps: list[int]) -> list[list[tuple[int, int]]]:
    """(id, state) of everyone, for each image that is answered."""
    rays, out = walker(len(stamps) + 1), []
    for t, stamp in enumerate(stamps):
        result = pipeline.update(frame_of([rays[t]], stamp))
        if result is not None:
            assert result.stamp_ns == stamp
            out.append([(p.track_id, p.state) for p in result.people])
    return out


class TestPipeline:
    @pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
    def test_one_odd_stamp_costs_no_id(self, engine, odd):  # noqa: F811
        stamps = regular(20)
        stamps.insert(10, odd(stamps[10]))
        pipeline = pipeline_of(engine)
        found = states_of(pipeline, stamps)
        assert len(found) == 20 and found[5:] == [[(1, TrackState.TRACKED)]] * 15
        assert pipeline.counts == {"stamp_outlier": 1}

    @pytest.mark.parametrize("first_ns", EPOCHS.values(), ids=EPOCHS)
    def test_any_epoch_gives_the_same_poses(self, engine, first_ns):  # noqa: F811
        rays = walker(40)
        people = []
        for begin in (first_ns, UNIX):
            pipeline = pipeline_of(engine)
            for t, stamp in enumerate(regular(40, first_ns=begin)):
                result = pipeline.update(frame_of([rays[t]], stamp))
            people.append(result.people[0])
            assert not pipeline.counts
        assert people[0].state == TrackState.TRACKED and people[0].root_valid
        assert np.array_equal(people[0].joints, people[1].joints)
        assert np.isfinite(people[0].joints).all()

    def test_a_bag_that_loops_begins_anew_one_image_late(self, engine):  # noqa: F811
        pipeline = pipeline_of(engine)
        found = states_of(pipeline, regular(15) * 2 + regular(15, first_ns=UNIX - 5 * SECOND))
        # The first loop is shorter than half a second: all of it is late.
        assert len(found) == 15 + 14
        assert found[15] == [(1, TrackState.WARMING_UP), (1, TrackState.ENDED)]
        assert pipeline.counts["stamp_jumped_back"] == 1 == pipeline.counts["stamp_outlier"]

    @pytest.mark.parametrize("lag", [0, 4])
    def test_tracks_end_by_coasting_in_a_pause(self, engine, lag):  # noqa: F811
        pipeline = pipeline_of(engine, lag=lag)
        rays, states = walker(60), []
        for t, stamp in enumerate(regular(40) + regular(20, first_ns=UNIX + 6 * SECOND)):
            result = pipeline.update(frame_of([rays[t]], stamp))
            states += [] if result is None else [p.state for p in result.people]
        assert states.count(TrackState.ENDED) == 1
        end = states.index(TrackState.ENDED)
        assert TrackState.TRACKED in states[:end] and TrackState.TRACKED in states[end:]
        if not lag:
            assert states[end - 1] == TrackState.WARMING_UP
        assert pipeline.counts == {"stamp_outlier": 1}

    def test_a_slow_camera_keeps_its_track(self, engine):  # noqa: F811
        pipeline = pipeline_of(engine, max_gap_s=2.0)
        found = states_of(pipeline, regular(12, 1.0))
        assert not pipeline.counts and found[-1] == [(1, TrackState.TRACKED)]

    def test_an_image_of_another_camera_with_another_clock_restarts_nothing(
        self,
        engine,  # noqa: F811
    ):
        pipeline, rays = pipeline_of(engine), walker(30)
        for t, stamp in enumerate(regular(30)):
            assert pipeline.update(frame_of([rays[t]], stamp, frame_id="front")) is not None
            assert pipeline.update(frame_of([rays[t]], t * SECOND, frame_id="rear")) is None
        assert pipeline.counts == {"frame_id_mismatch": 30}

    def test_stamps_that_the_detector_has_judged_are_not_judged_again(self, engine):  # noqa: F811
        """In one process a looped bag costs one image, not one in each node."""
        stamps, rays = StampFilter(), walker(61)
        pipeline, answered = pipeline_of(engine), []
        for t, stamp in enumerate(regular(30) + regular(30, first_ns=0)):
            frame = frame_of([rays[t]], stamp)
            frame.stamp_verdict = stamps.take(stamp)
            if frame.stamp_verdict.accepted:
                answered.append(pipeline.update(frame))
        assert len(answered) == 59 and None not in answered
        assert by_id(answered[-1])[1].state == TrackState.TRACKED
        assert pipeline.counts == {"stamp_jumped_back": 1}
