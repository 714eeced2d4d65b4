"""Ids over time."""

import numpy as np
import pytest

from emf_ros.detect.base import Detection
from emf_ros.track import Tracker

FRAME_NS = 33_333_333
BODY = np.random.default_rng(0).normal(0, (25, 60), (33, 2))  # a person about 350 px tall


def person(x, y=300.0, score=0.9, jitter=None):
    points = BODY + (x, y)
    if jitter is not None:
        points = points + jitter.normal(0, 2, points.shape)
    return Detection(np.concatenate([points, np.full((33, 1), score)], axis=-1), score)


def ids(found):
    return [track for track, _ in found]


def places(found):
    """Id -> x of the middle."""
    return {track: float(d.keypoints[:, 0].mean() - BODY[:, 0].mean()) for track, d in found}


def track(tracker, positions, start_frame=0):
    """Feed frames of x positions; returns the last answer."""
    out = []
    for i, frame in enumerate(positions):
        out = tracker.update([person(x) for x in frame], (start_frame + i) * FRAME_NS)
    return out


def test_one_person_keeps_one_id():
    tracker, jitter = Tracker(), np.random.default_rng(1)
    seen = set()
    for i in range(100):
        found = tracker.update([person(200 + 3 * i, jitter=jitter)], i * FRAME_NS)
        seen.update(ids(found))
    assert len(seen) == 1


def test_two_people_who_cross_keep_their_ids_by_their_motion():
    tracker = Tracker()
    for i in range(60):
        right, left = 100.0 + 12 * i, 800.0 - 12 * i
        # The detector lists whoever it likes first.
        people = [person(right), person(left)][:: 1 if i % 2 else -1]
        found = tracker.update(people, i * FRAME_NS)
        if i == 5:
            before = places(found)
    after = places(found)
    assert set(before) == set(after) and len(before) == 2
    walker = min(before, key=before.get)
    assert after[walker] == pytest.approx(100 + 12 * 59)


def test_the_answer_pairs_ids_with_the_right_detections():
    tracker = Tracker()
    track(tracker, [[100, 500, 900]] * 3)
    found = places(tracker.update([person(905), person(98), person(502)], 3 * FRAME_NS))
    assert [found[i] for i in sorted(found)] == pytest.approx([98, 502, 905])


def test_ids_are_never_used_again():
    tracker = Tracker(max_age_s=0.1)
    seen = []
    for visit in range(20):
        found = track(tracker, [[100 + 40 * visit]] * 3, start_frame=visit * 100)
        seen += ids(found)
    assert len(seen) == 20 and seen == sorted(set(seen))


def test_a_person_gone_for_a_short_while_comes_back_as_the_same():
    tracker = Tracker(max_age_s=1.0)
    (known,) = ids(track(tracker, [[300]] * 5))
    assert track(tracker, [[]] * 20, 5) == []
    assert ids(track(tracker, [[310]], 25)) == [known]


def test_a_person_gone_longer_than_the_age_gets_a_new_id():
    tracker = Tracker(max_age_s=1.0)
    (known,) = ids(track(tracker, [[300]] * 5))
    (new,) = ids(track(tracker, [[300]] * 3, start_frame=5 + 31))
    assert new > known


def test_a_ghost_of_one_frame_is_not_reported():
    tracker = Tracker()
    track(tracker, [[300]] * 5)
    reported = [
        len(track(tracker, [frame], 5 + i)) for i, frame in enumerate([[300, 900], [300], [300]])
    ]
    assert reported == [1, 1, 1]


def test_min_hits_is_the_number_of_detections_before_the_first_report():
    for hits in (1, 2, 4):
        tracker = Tracker(min_hits=hits)
        counts = [len(tracker.update([person(300)], i * FRAME_NS)) for i in range(6)]
        assert counts == [0] * (hits - 1) + [1] * (7 - hits)


@pytest.mark.parametrize("frames_back", [1, 4, 990])
def test_a_jump_back_of_the_stamps_forgets_everyone(frames_back):
    tracker = Tracker()
    (known,) = ids(track(tracker, [[300]] * 5, start_frame=1000))
    again = 1004 - frames_back
    assert tracker.update([person(300)], again * FRAME_NS) == []
    (new,) = ids(tracker.update([person(300)], (again + 1) * FRAME_NS))
    assert new > known


def test_someone_far_from_where_the_track_was_is_someone_else():
    tracker = Tracker(min_hits=1)
    (known,) = ids(track(tracker, [[100]] * 5))
    (other,) = ids(track(tracker, [[900]], 5))
    assert other != known


def test_keypoints_of_low_score_do_not_part_a_track():
    tracker = Tracker()
    track(tracker, [[300]] * 3)
    moved = person(300)
    moved.keypoints[:24, :2] += 800  # most of the body is hidden, and guessed anywhere
    moved.keypoints[:24, 2] = 0.05
    assert ids(tracker.update([moved], 3 * FRAME_NS)) == [1]


def test_no_detections_are_no_error():
    tracker = Tracker()
    assert tracker.update([], 0) == [] and tracker.update([], FRAME_NS) == []


def test_the_same_stamp_twice_is_no_error():
    tracker = Tracker()
    track(tracker, [[300]] * 3)
    found = tracker.update([person(301)], 2 * FRAME_NS)
    assert ids(found) == [1]
    assert ids(tracker.update([person(303)], 3 * FRAME_NS)) == [1]


@pytest.mark.parametrize("rate", [5, 15, 120])
def test_walkers_keep_their_ids_at_any_rate(rate):
    tracker, jitter = Tracker(), np.random.default_rng(rate)
    seen = set()
    for i in range(2 * rate):
        t = i / rate
        people = [person(200 + 90 * t, jitter=jitter), person(700 - 60 * t, jitter=jitter)]
        seen.update(ids(tracker.update(people, int(t * 1e9))))
    assert len(seen) == 2
