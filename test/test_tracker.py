"""Ids over time."""

from itertools import permutations

import numpy as np
import pytest

from emf_ros.detect.protocol import Detection
from emf_ros.skeletons import BLAZEPOSE33, COCO17
from emf_ros.track import Tracker
from emf_ros.track.appearance import (
    colour_histograms,
    likeness,
    ranks_of,
    thigh_quads,
    trunk_quad,
)
from emf_ros.track.assignment import assign

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
        # The first image after a gap of seconds waits for the next one to confirm its stamp.
        found = track(tracker, [[100 + 40 * visit]] * 4, start_frame=visit * 100)
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
    assert track(tracker, [[]] * 31, 5) == []
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
        tracker = Tracker(min_hits=hits, min_age_s=0.0)
        counts = [len(tracker.update([person(300)], i * FRAME_NS)) for i in range(6)]
        assert counts == [0] * (hits - 1) + [1] * (7 - hits)


def test_a_jump_back_of_the_stamps_forgets_everyone():
    tracker = Tracker(min_age_s=0.0)
    (known,) = ids(track(tracker, [[300]] * 5, start_frame=1000))
    # The second image confirms the jump of the first, and begins a track of its own.
    for again in (14, 15):
        assert tracker.update([person(300)], again * FRAME_NS) == []
    (new,) = ids(tracker.update([person(300)], 16 * FRAME_NS))
    assert new > known


def test_someone_far_from_where_the_track_was_is_someone_else():
    tracker = Tracker(min_hits=1, min_age_s=0.0)
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


@pytest.mark.parametrize("rate", [5, 30, 120])
def test_nobody_is_reported_before_the_least_age(rate):
    tracker = Tracker(min_age_s=0.1)
    first = next(
        i / rate
        for i in range(rate)
        if tracker.update([person(300)], round(i / rate * 1e9)) and i >= 0
    )
    assert 0.1 <= first + 1e-9 and first <= max(0.1, 1 / rate) + 1.5 / rate


def test_a_ghost_that_flickers_is_never_reported():
    tracker = Tracker(young_age_s=0.1)
    for i in range(60):
        people = [person(300)] + ([person(900)] if i % 10 == 0 else [])
        assert len(tracker.update(people, i * FRAME_NS)) <= 1


def crossing(tracker, times, hidden=(), image=None, turn_s=np.inf):
    """Two who walk towards each other at 150 px/s and cross after 2 s; ids before and after.

    The left one is not found in the time span `hidden`, and walks back from `turn_s` on.
    """
    known, found = None, {}
    for t in times:
        right = 200 + 150 * min(t, 2 * turn_s - t)
        left = 800 - 150 * t
        seen = [person(left, score=0.95)]
        if not (hidden and hidden[0] <= t <= hidden[1]):
            seen.append(person(right))
        out = tracker.update(seen, round(1e9 * t), None if image is None else image(right, left))
        found = {i: ("right" if d.score < 0.92 else "left") for i, d in out}
        if t < 1:
            known = found
    return known, found


@pytest.mark.parametrize("rate", [5, 10, 30, 120])
def test_a_crossing_with_half_a_second_hidden(rate):
    times = np.arange(0, 4, 1 / rate)
    known, found = crossing(Tracker(), times, hidden=(1.75, 2.25))
    assert len(known) == 2 and found == known


@pytest.mark.parametrize("seed", range(5))
def test_a_crossing_at_irregular_stamps(seed):
    times = np.cumsum(np.random.default_rng(seed).uniform(1 / 120, 1 / 6, 60))
    known, found = crossing(Tracker(), times[times < 4], hidden=(1.8, 2.2))
    assert len(known) == 2 and found == known


def test_who_turns_around_while_hidden_is_the_same():
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
    (known,) = ids(track(tracker, [[300]] * 4, 10))
    for i in range(14, 60):
        found = tracker.update([person(300, score=0.4), person(900, score=0.4)], i * FRAME_NS)
        assert ids(found) == [known]


def test_a_good_detection_is_not_given_up_for_a_weak_one():
    tracker = Tracker(birth_score=0.5)
    (known,) = ids(track(tracker, [[300]] * 4))
    found = tracker.update([person(300, score=0.4), person(304)], 4 * FRAME_NS)
    assert places(found) == {known: pytest.approx(304)}


def test_left_and_right_exchanged_do_not_part_a_track_nor_throw_it():
    tracker = Tracker()
    for i in range(40):
        seen = person(300 + 4 * i)
        if i % 7 == 3:
            seen.keypoints = seen.keypoints[list(BLAZEPOSE33.mirror)]
        found = tracker.update([seen], i * FRAME_NS)
    assert ids(found) == [1]
    assert ids(track(tracker, [[]] * 10, 40)) == []
    assert ids(track(tracker, [[300 + 4 * 50]], 50)) == [1]


def test_missing_keypoints():
    tracker, random = Tracker(), np.random.default_rng(4)
    for i in range(60):
        seen = person(300 + 3 * i)
        seen.keypoints[random.random(33) < 0.3] = np.nan
        seen.keypoints[random.random(33) < 0.2, 2] = 0.0
        found = tracker.update([seen, person(900)], i * FRAME_NS)
        assert i < 6 or ids(found) == [1, 2]


def test_a_detection_without_keypoints_is_nobody():
    tracker = Tracker(min_hits=1, min_age_s=0.0)
    nothing = person(300)
    nothing.keypoints[:] = np.nan
    assert tracker.update([nothing], 0) == []
    assert len(tracker.update([nothing, person(300)], FRAME_NS)) == 1


def test_keypoints_of_another_layout_are_an_error():
    with pytest.raises(ValueError, match="coco17"):
        Tracker(COCO17).update([person(300)], 0)


def test_the_same_input_gives_the_same_ids():
    def run():
        tracker, random = Tracker(), np.random.default_rng(5)
        out = []
        for i in range(80):
            seen = [person(x, jitter=random) for x in random.uniform(0, 1500, 6)]
            out.append(ids(tracker.update(seen, i * FRAME_NS)))
        return out

    assert run() == run()


def test_no_id_is_used_for_two_stays_however_people_come_and_go():
    tracker, random = Tracker(max_age_s=0.2), np.random.default_rng(6)
    last_seen = {}
    for i in range(300):
        seen = [person(x, jitter=random) for x in (300, 800, 1300) if (i // 20 + x) % 3]
        for number in ids(tracker.update(seen, i * FRAME_NS)):
            assert i - last_seen.get(number, i) <= 7
            last_seen[number] = i
    assert sorted(last_seen) == list(range(1, len(last_seen) + 1))


# ---------------------------------------------------------------------------------- colours


RED, BLUE, GREEN = (180, 30, 30), (30, 30, 180), (30, 150, 30)


def painted(people):
    """A picture of people (x, colour), the last in front."""
    image = np.full((600, 1200, 3), 128, np.uint8)
    for x, colour in people:
        image[:, max(int(x) - 60, 0) : max(int(x) + 60, 0)] = colour
    return image


def dressed(red, blue):
    """A picture of one in red at x = `red` and one in blue, who is in front."""
    return painted([(red, RED), (blue, BLUE)])


def watch(tracker, scene, seconds, rate=30):
    """Names -> ids in the order of their first appearance.

    `scene(t)` gives (name, x, y, colour) of everybody, the farthest first; who is nearer than 75 px
    behind somebody is not found.
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


def test_colours_tell_who_has_turned_around_after_a_crossing_from_who_has_not():
    # Both turn around behind a column, where neither is seen: by their motion they have crossed.
    def run(with_colours):
        tracker, found = Tracker(), []
        for t in np.arange(0, 3, 1 / 30):
            far = 300 - 150 * (t if t < 1.5 else 3 - t)
            seen = [person(600 - far, score=0.9), person(600 + far, score=0.95)]
            image = dressed(600 - far, 600 + far) if with_colours else None
            if 1.3 < t < 1.9:
                seen = []
            found.append({i: d.score for i, d in tracker.update(seen, round(1e9 * t), image)})
        return found[20], found[-1]

    before, after = run(with_colours=True)
    assert len(before) == 2 and after == before


@pytest.mark.parametrize("rate", [5, 10, 30])
@pytest.mark.parametrize("clothes", [RED, BLUE])
def test_one_who_stands_while_another_passes_in_front_and_then_behind(rate, clothes):
    def scene(t):
        walker = 150 + 150 * t if t < 6 else 1050 - 150 * (t - 6)
        people = [("stands", 600, 300, BLUE), ("walks", walker, 320 if t < 6 else 280, clothes)]
        return people if t < 6 else people[::-1]

    assert watch(Tracker(), scene, 12, rate) == {"stands": [1], "walks": [2]}


@pytest.mark.parametrize("rate", [5, 10, 30])
def test_two_in_the_same_clothes_cross(rate):
    def scene(t):
        return [("far", 150 + 150 * t, 290, RED), ("near", 1050 - 150 * t, 310, RED)]

    assert watch(Tracker(), scene, 6, rate) == {"far": [1], "near": [2]}


@pytest.mark.parametrize("rate", [5, 10, 30])
def test_one_who_turns_around_behind_another(rate):
    def scene(t):
        far = 150 + 150 * min(t, 6 - t)
        return [("far", far, 290, RED), ("near", 600, 310, BLUE), ("other", 800, 300, GREEN)]

    assert watch(Tracker(), scene, 6, rate) == {"far": [1], "near": [2], "other": [3]}


@pytest.mark.parametrize("rate", [5, 30])
def test_who_comes_out_where_another_went_behind_is_told_by_the_clothes(rate):
    # The green one stood behind the blue one all the time, and goes when the red one comes there.
    def scene(t):
        red, green = min(150 + 150 * t, 600), 600 + 150 * max(t - 3.5, 0)
        return [
            ("green", green, 280, GREEN),
            ("red", red if t < 7 else 600 - 150 * (t - 7), 290, RED),
            ("blue", 600, 310, BLUE),
        ]

    assert watch(Tracker(), scene, 9, rate) == {"red": [1], "blue": [2], "green": [3]}


@pytest.mark.parametrize(
    "away_s,clothes,same", [(8, RED, True), (8, GREEN, False), (12, RED, False)]
)
def test_who_comes_back_after_seconds_is_known_by_colours_alone(away_s, clothes, same):
    def scene(t):
        others = [("blue", 900, 300, BLUE)]
        if 2 < t < 2 + away_s:
            return others
        return [*others, ("back" if t > 2 else "red", 200, 300, RED if t < 2 else clothes)]

    ids = watch(Tracker(), scene, 4 + away_s, 10)
    assert (ids["back"] == ids["red"]) == same and len(ids["back"]) == 1


def test_of_two_in_the_same_clothes_who_were_lost_none_takes_the_others_id():
    def scene(t):
        if 2 < t < 6:
            return []
        x = (400, 800) if t < 2 else (600,)
        return [(str(n), n, 300, RED) for n in x]

    ids = watch(Tracker(), scene, 8)
    assert ids["600"] == [3]


def test_thighs():
    keypoints = np.zeros((33, 3))
    for side, x in (("left", 120), ("right", 80)):
        for joint, y in (("hip", 200), ("knee", 300)):
            keypoints[BLAZEPOSE33.index(f"{side}_{joint}")] = (x, y, 0.9)
    quads = thigh_quads(keypoints, BLAZEPOSE33, 0.3)
    assert quads.mean(axis=1) == pytest.approx(np.array([(120, 250), (80, 250)]))
    assert np.ptp(quads[0], axis=0) == pytest.approx([25, 70])
    keypoints[BLAZEPOSE33.index("left_knee"), 2] = 0.1
    assert len(thigh_quads(keypoints, BLAZEPOSE33, 0.3)) == 1
    assert thigh_quads(np.full((33, 3), 300.0), BLAZEPOSE33, 0.3) is None


def test_who_stands_lower_is_in_front():
    poses = np.array([person(300, 320).keypoints, person(340, 300).keypoints])
    in_front, ranks = ranks_of(poses, (600, 800), 0.3)
    assert ranks.tolist() == [2, 1]
    assert in_front[320, 300] == 2 and in_front[0, 0] == 0 and (in_front == 1).any()


def test_likeness_of_colours():
    quad = np.array([[(320.0, 100), (280, 100), (320, 300), (280, 300)]])
    image = dressed(300, 900)
    quads = np.concatenate([quad, quad + (600, 0)])
    red, blue = colour_histograms(image, quads, np.arange(2))
    (darker,) = colour_histograms((0.8 * image).astype(np.uint8), quad, np.zeros(1, int))
    assert red.sum() == pytest.approx(1)
    (same, other, dark) = likeness(red[None], np.stack([red, blue, darker]))[0]
    assert same == pytest.approx(1) and other < 0.1 and dark > 0.5
    assert np.isnan(likeness(red[None], np.full((1, len(red)), np.nan))).all()


def test_colours_that_cannot_be_seen_are_none():
    image, layout = dressed(300, 900), BLAZEPOSE33
    quad = np.array([[(320.0, 100), (280, 100), (320, 300), (280, 300)]])
    in_front = np.zeros(image.shape[:2], np.uint8)

    def known(quad, rank):
        whose = np.zeros(len(quad), int)
        return np.isfinite(colour_histograms(image, quad, whose, in_front, whose + rank)).all()

    assert known(quad, 1) and not known(quad + (-320, 0), 1) and not known(quad + (-900, 0), 1)
    in_front[:150] = 2
    assert known(quad, 1)
    in_front[:250] = 2
    assert known(quad, 2) and not known(quad, 1)
    seen = person(300)
    seen.keypoints[layout.index("left_hip"), 2] = 0.1
    assert trunk_quad(seen.keypoints, layout, 0.3) is None
    assert trunk_quad(np.full((33, 3), 300.0), layout, 0.3) is None


def test_a_trunk_from_the_side_has_a_width():
    keypoints = np.zeros((33, 3))
    for joint, y in (("shoulder", 100), ("hip", 200)):
        for side in ("left", "right"):
            keypoints[BLAZEPOSE33.index(f"{side}_{joint}")] = (300, y, 0.9)
    quad = trunk_quad(keypoints, BLAZEPOSE33, 0.3)
    assert np.ptp(quad[0, :, 0]) > 15 and np.ptp(quad[0, :, 1]) == pytest.approx(70)


# ---------------------------------------------------------------------------------- assignment


def test_the_assignment_is_the_best_there_is():
    random = np.random.default_rng(7)
    for _ in range(300):
        rows, columns = (int(n) for n in random.integers(0, 4, 2))
        gain = random.random((rows, columns)).round(1)
        gain[random.random((rows, columns)) < 0.3] = np.nan
        worth = np.zeros((rows, columns + rows))
        worth[:, :columns] = np.nan_to_num(gain - 0.3, nan=0.0).clip(0)
        best = max(
            worth[range(rows), list(p)].sum() for p in permutations(range(columns + rows), rows)
        )
        pairs = assign(gain, 0.3)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        assert all(gain[pair] >= 0.3 for pair in pairs)
        assert sum(gain[pair] - 0.3 for pair in pairs) == pytest.approx(best)
