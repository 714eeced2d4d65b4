"""The tracker: ids over time."""

import numpy as np
import pytest
from tracked_people import BLUE, BODY, FRAME_NS, GREEN, RED, dressed, painted, person

from emf_ros.skeletons import BLAZEPOSE33, COCO17
from emf_ros.track import Tracker


def ids(reported):
    return [track_id for track_id, _ in reported]


def positions(reported):
    """Id -> x of the body's centre, px."""
    centre = BODY[:, 0].mean()
    return {track_id: float(d.keypoints[:, 0].mean() - centre) for track_id, d in reported}


def track(tracker, frames, start_frame=0):
    """Feed images of people at x positions, px; returns what the last one reports."""
    out = []
    for i, frame in enumerate(frames):
        out = tracker.update([person(x) for x in frame], (start_frame + i) * FRAME_NS)
    return out


def test_one_person_keeps_one_id():
    tracker, jitter = Tracker(), np.random.default_rng(1)
    seen = set()
    for i in range(100):
        found = tracker.update([person(200 + 3 * i, jitter=jitter)], i * FRAME_NS)
        seen.update(ids(found))
    assert len(seen) == 1


def test_ids_survive_a_crossing_by_motion_alone():
    tracker = Tracker()
    for i in range(60):
        right, left = 100.0 + 12 * i, 800.0 - 12 * i
        # A detector lists people in any order.
        people = [person(right), person(left)][:: 1 if i % 2 else -1]
        found = tracker.update(people, i * FRAME_NS)
        if i == 5:
            before = positions(found)
    after = positions(found)
    assert set(before) == set(after) and len(before) == 2
    walker = min(before, key=before.get)
    assert after[walker] == pytest.approx(100 + 12 * 59)


def test_each_id_is_reported_with_the_detection_of_its_track():
    tracker = Tracker()
    track(tracker, [[100, 500, 900]] * 3)
    found = positions(tracker.update([person(905), person(98), person(502)], 3 * FRAME_NS))
    assert [found[i] for i in sorted(found)] == pytest.approx([98, 502, 905])


def test_ids_are_never_reused():
    tracker = Tracker(motion_memory_s=0.1)
    seen = []
    for visit in range(20):
        # The first image after a gap of seconds waits for the next one to confirm its stamp.
        found = track(tracker, [[100 + 40 * visit]] * 4, start_frame=visit * 100)
        seen += ids(found)
    assert len(seen) == 20 and seen == sorted(set(seen))


def test_lost_track_is_reidentified_within_the_motion_memory():
    tracker = Tracker(motion_memory_s=1.0)
    (known,) = ids(track(tracker, [[300]] * 5))
    assert track(tracker, [[]] * 20, 5) == []
    assert ids(track(tracker, [[310]], 25)) == [known]


def test_person_gets_a_new_id_after_the_motion_memory_without_appearance():
    tracker = Tracker(motion_memory_s=1.0)
    (known,) = ids(track(tracker, [[300]] * 5))
    assert track(tracker, [[]] * 31, 5) == []
    (new,) = ids(track(tracker, [[300]] * 3, start_frame=5 + 31))
    assert new > known


def test_false_positive_of_one_image_is_not_reported():
    tracker = Tracker()
    track(tracker, [[300]] * 5)
    reported = [
        len(track(tracker, [frame], 5 + i)) for i, frame in enumerate([[300, 900], [300], [300]])
    ]
    assert reported == [1, 1, 1]


def test_track_is_confirmed_after_min_hits_detections():
    for hits in (1, 2, 4):
        tracker = Tracker(min_hits=hits, min_age_s=0.0)
        counts = [len(tracker.update([person(300)], i * FRAME_NS)) for i in range(6)]
        assert counts == [0] * (hits - 1) + [1] * (7 - hits)


def test_clock_jump_back_deletes_all_tracks():
    tracker = Tracker(min_age_s=0.0)
    (known,) = ids(track(tracker, [[300]] * 5, start_frame=1000))
    # The second image confirms the jump of the first, and begins a track of its own.
    for again in (14, 15):
        assert tracker.update([person(300)], again * FRAME_NS) == []
    (new,) = ids(tracker.update([person(300)], 16 * FRAME_NS))
    assert new > known


def test_detection_far_from_the_track_gets_a_new_id():
    tracker = Tracker(min_hits=1, min_age_s=0.0)
    (known,) = ids(track(tracker, [[100]] * 5))
    (other,) = ids(track(tracker, [[900]], 5))
    assert other != known


def test_low_score_keypoints_do_not_break_association():
    tracker = Tracker()
    track(tracker, [[300]] * 3)
    moved = person(300)
    moved.keypoints[:24, :2] += 800  # most of the body is occluded, and guessed anywhere
    moved.keypoints[:24, 2] = 0.05
    assert ids(tracker.update([moved], 3 * FRAME_NS)) == [1]


def test_image_without_detections_is_accepted():
    tracker = Tracker()
    assert tracker.update([], 0) == [] and tracker.update([], FRAME_NS) == []


def test_repeated_stamp_is_accepted():
    tracker = Tracker()
    track(tracker, [[300]] * 3)
    found = tracker.update([person(301)], 2 * FRAME_NS)
    assert ids(found) == [1]
    assert ids(tracker.update([person(303)], 3 * FRAME_NS)) == [1]


@pytest.mark.parametrize("rate", [5, 15, 120])
def test_ids_are_kept_at_any_frame_rate(rate):
    tracker, jitter = Tracker(), np.random.default_rng(rate)
    seen = set()
    for i in range(2 * rate):
        t = i / rate
        people = [person(200 + 90 * t, jitter=jitter), person(700 - 60 * t, jitter=jitter)]
        seen.update(ids(tracker.update(people, int(t * 1e9))))
    assert len(seen) == 2


@pytest.mark.parametrize("rate", [5, 30, 120])
def test_track_is_not_confirmed_before_min_age(rate):
    tracker = Tracker(min_age_s=0.1)
    first = next(
        i / rate for i in range(rate) if tracker.update([person(300)], round(i / rate * 1e9))
    )
    assert 0.1 <= first + 1e-9 and first <= max(0.1, 1 / rate) + 1.5 / rate


def test_flickering_false_positive_is_never_confirmed():
    tracker = Tracker(max_tentative_gap_s=0.1)
    for i in range(60):
        people = [person(300)] + ([person(900)] if i % 10 == 0 else [])
        assert len(tracker.update(people, i * FRAME_NS)) <= 1


def crossing(tracker, times, occluded=(), turn_s=np.inf):
    """Two people walk towards each other at 150 px/s and cross after 2 s; ids before and after.

    The one from the left has no detection in the time span `occluded`, and walks back from `turn_s`
    on.
    """
    known, found = None, {}
    for t in times:
        right = 200 + 150 * min(t, 2 * turn_s - t)
        left = 800 - 150 * t
        seen = [person(left, score=0.95)]
        if not (occluded and occluded[0] <= t <= occluded[1]):
            seen.append(person(right))
        out = tracker.update(seen, round(1e9 * t))
        found = {i: ("right" if d.score < 0.92 else "left") for i, d in out}
        if t < 1:
            known = found
    return known, found


@pytest.mark.parametrize("rate", [5, 10, 30, 120])
def test_ids_survive_a_crossing_with_half_a_second_of_occlusion(rate):
    times = np.arange(0, 4, 1 / rate)
    known, found = crossing(Tracker(), times, occluded=(1.75, 2.25))
    assert len(known) == 2 and found == known


@pytest.mark.parametrize("seed", range(5))
def test_ids_survive_a_crossing_at_irregular_stamps(seed):
    times = np.cumsum(np.random.default_rng(seed).uniform(1 / 120, 1 / 6, 60))
    known, found = crossing(Tracker(), times[times < 4], occluded=(1.8, 2.2))
    assert len(known) == 2 and found == known


def test_person_who_turns_around_while_occluded_keeps_the_id():
    known, found = crossing(Tracker(), np.arange(0, 4, 1 / 30), (1.6, 2.2), turn_s=1.9)
    assert len(known) == 2 and found == known


@pytest.mark.parametrize("seed", range(3))
def test_twenty_people_keep_their_ids_through_eight_crossings(seed):
    tracker, jitter = Tracker(), np.random.default_rng(seed)
    before, after = {}, {}
    for i in range(120):
        people = []
        for n in range(20):
            walked = (2.0 + 0.1 * n) * i * (-1) ** n
            people.append(person(200 + 300 * (n % 5) + walked, 300 + 500 * (n // 5), jitter=jitter))
            people[-1].world = np.array([n])
        shown = [people[k] for k in jitter.permutation(20) if jitter.random() > 0.05]
        found = tracker.update(shown, i * FRAME_NS)
        now = {number: int(d.world[0]) for number, d in found}
        if i < 20:
            before |= now
        elif i >= 110:
            after |= now
    assert len(before) == 20 and after == before


def test_weak_detections_continue_a_track_and_begin_none():
    tracker = Tracker(birth_score=0.5)
    assert [track(tracker, [[]]), tracker.update([person(300, score=0.4)], FRAME_NS)] == [[], []]
    for i in range(2, 10):
        assert tracker.update([person(300, score=0.4)], i * FRAME_NS) == []
    assert tracker.counts == {"low_score": 9}
    (known,) = ids(track(tracker, [[300]] * 4, 10))
    for i in range(14, 60):
        found = tracker.update([person(300, score=0.4), person(900, score=0.4)], i * FRAME_NS)
        assert ids(found) == [known]
    # Of the two that are weak, one has a track.
    assert tracker.counts == {"low_score": 9 + 46}


def test_strong_detection_is_associated_before_a_weak_one():
    tracker = Tracker(birth_score=0.5)
    (known,) = ids(track(tracker, [[300]] * 4))
    found = tracker.update([person(300, score=0.4), person(304)], 4 * FRAME_NS)
    assert positions(found) == {known: pytest.approx(304)}


def test_left_right_swap_breaks_neither_association_nor_velocity():
    tracker = Tracker()
    for i in range(40):
        seen = person(300 + 4 * i)
        if i % 7 == 3:
            seen.keypoints = seen.keypoints[list(BLAZEPOSE33.mirror)]
        found = tracker.update([seen], i * FRAME_NS)
    assert ids(found) == [1]
    assert ids(track(tracker, [[]] * 10, 40)) == []
    assert ids(track(tracker, [[300 + 4 * 50]], 50)) == [1]


def test_ids_are_kept_with_missing_keypoints():
    tracker, random = Tracker(), np.random.default_rng(4)
    for i in range(60):
        seen = person(300 + 3 * i)
        seen.keypoints[random.random(33) < 0.3] = np.nan
        seen.keypoints[random.random(33) < 0.2, 2] = 0.0
        found = tracker.update([seen, person(900)], i * FRAME_NS)
        assert i < 6 or ids(found) == [1, 2]


def test_detection_without_finite_keypoints_is_not_reported():
    tracker = Tracker(min_hits=1, min_age_s=0.0)
    nothing = person(300)
    nothing.keypoints[:] = np.nan
    assert tracker.update([nothing], 0) == []
    assert len(tracker.update([nothing, person(300)], FRAME_NS)) == 1


def test_keypoints_of_another_layout_raise_value_error():
    with pytest.raises(ValueError, match="coco17"):
        Tracker(COCO17).update([person(300)], 0)


def test_id_is_not_reused_when_people_come_and_go():
    tracker, random = Tracker(motion_memory_s=0.2), np.random.default_rng(6)
    last_seen = {}
    for i in range(300):
        seen = [person(x, jitter=random) for x in (300, 800, 1300) if (i // 20 + x) % 3]
        for number in ids(tracker.update(seen, i * FRAME_NS)):
            # The motion memory of 0.2 s is 6 images.
            assert i - last_seen.get(number, i) <= 7
            last_seen[number] = i
    assert sorted(last_seen) == list(range(1, len(last_seen) + 1))


# ------------------------------------------------------------------------------- appearance


def watch(tracker, scene, seconds, rate=30):
    """Name -> ids in the order of their first report.

    `scene(t)` gives (name, x, y, colour) of each person, the farthest first. A person less than 75
    px beside a nearer one is occluded and has no detection.
    """
    ids = {}
    for t in np.arange(0, seconds, 1 / rate):
        people = scene(t)
        seen, names = [], []
        for i, (name, x, y, _) in enumerate(people):
            if all(abs(x - other[1]) > 75 for other in people[i + 1 :]):
                seen.append(person(x, y))
                names.append(name)
        image = painted([(x, colour) for _, x, _, colour in people])
        for number, d in tracker.update(seen, round(1e9 * t), image):
            name = names[next(i for i, other in enumerate(seen) if other is d)]
            if number not in ids.setdefault(name, []):
                ids[name].append(number)
    return ids


def test_appearance_resolves_a_crossing_where_both_turned_around():
    # Both turn around behind a column. By their motion alone they have crossed.
    def run(with_image):
        tracker, found = Tracker(), []
        for t in np.arange(0, 3, 1 / 30):
            far = 300 - 150 * (t if t < 1.5 else 3 - t)
            seen = [person(600 - far, score=0.9), person(600 + far, score=0.95)]
            image = dressed(600 - far, 600 + far) if with_image else None
            if 1.3 < t < 1.9:
                seen = []
            found.append({i: d.score for i, d in tracker.update(seen, round(1e9 * t), image)})
        return found[20], found[-1]

    before, after = run(with_image=True)
    assert len(before) == 2 and after == before


@pytest.mark.parametrize("rate", [5, 10, 30])
@pytest.mark.parametrize("colour", [RED, BLUE])
def test_standing_person_keeps_the_id_when_another_passes_in_front_and_behind(rate, colour):
    def scene(t):
        walker = 150 + 150 * t if t < 6 else 1050 - 150 * (t - 6)
        people = [("stands", 600, 300, BLUE), ("walks", walker, 320 if t < 6 else 280, colour)]
        return people if t < 6 else people[::-1]

    assert watch(Tracker(), scene, 12, rate) == {"stands": [1], "walks": [2]}


@pytest.mark.parametrize("rate", [5, 10, 30])
def test_ids_survive_a_crossing_with_equal_appearance(rate):
    def scene(t):
        return [("far", 150 + 150 * t, 290, RED), ("near", 1050 - 150 * t, 310, RED)]

    assert watch(Tracker(), scene, 6, rate) == {"far": [1], "near": [2]}


@pytest.mark.parametrize("rate", [5, 10, 30])
def test_person_who_turns_around_behind_another_keeps_the_id(rate):
    def scene(t):
        far = 150 + 150 * min(t, 6 - t)
        return [("far", far, 290, RED), ("near", 600, 310, BLUE), ("other", 800, 300, GREEN)]

    assert watch(Tracker(), scene, 6, rate) == {"far": [1], "near": [2], "other": [3]}


@pytest.mark.parametrize("rate", [5, 30])
def test_appearance_tells_which_occluded_person_reappears(rate):
    # The green person stands behind the blue one all the time, and leaves when the red one arrives.
    def scene(t):
        red, green = min(150 + 150 * t, 600), 600 + 150 * max(t - 3.5, 0)
        return [
            ("green", green, 280, GREEN),
            ("red", red if t < 7 else 600 - 150 * (t - 7), 290, RED),
            ("blue", 600, 310, BLUE),
        ]

    assert watch(Tracker(), scene, 9, rate) == {"red": [1], "blue": [2], "green": [3]}


@pytest.mark.parametrize(
    "away_s,colour,same", [(8, RED, True), (8, GREEN, False), (12, RED, False)]
)
def test_appearance_reidentifies_a_person_within_the_appearance_memory(away_s, colour, same):
    def scene(t):
        others = [("blue", 900, 300, BLUE)]
        if 2 < t < 2 + away_s:
            return others
        return [*others, ("back" if t > 2 else "red", 200, 300, RED if t < 2 else colour)]

    ids = watch(Tracker(), scene, 4 + away_s, 10)
    assert (ids["back"] == ids["red"]) == same and len(ids["back"]) == 1


def test_ambiguous_reidentification_gives_a_new_id():
    def scene(t):
        if 2 < t < 6:
            return []
        x = (400, 800) if t < 2 else (600,)
        return [(str(n), n, 300, RED) for n in x]

    ids = watch(Tracker(), scene, 8)
    assert ids["600"] == [3]
