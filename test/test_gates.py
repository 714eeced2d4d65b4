"""Which detections pass for people."""

import numpy as np
import pytest

from emf_ros.detect.protocol import Detection
from emf_ros.skeletons import BLAZEPOSE33, COCO17, get_layout
from emf_ros.track import QualityGate
from emf_ros.track.gates import REASONS
from emf_ros.track.similarity import areas_of, box_iou, boxes_of, coco_sigmas, oks

SIZE = (1280, 720)
#: Of a person 1.7 m tall who stands and faces the camera, m from the middle of the feet, y down;
#: x of the left side.
PLACES = {
    "nose": (0.0, -1.55),
    "eye": (0.03, -1.58),
    "ear": (0.07, -1.57),
    "shoulder": (0.18, -1.38),
    "elbow": (0.25, -1.1),
    "wrist": (0.28, -0.85),
    "hip": (0.1, -0.9),
    "knee": (0.11, -0.48),
    "ankle": (0.11, -0.08),
}


def standing(layout=BLAZEPOSE33, x=600.0, y=600.0, height=340.0, score=0.9, depth=1.0):
    """`depth` narrows the person: 0 is from the side."""
    points = np.zeros((len(layout), 3))
    for i, joint in enumerate(layout.joints):
        kind = joint.split("_")[-1] if joint.split("_")[-1] in PLACES else "nose"
        right = -1 if joint.startswith("right") else 1
        across, down = PLACES[kind]
        points[i] = (x + depth * right * across * height / 1.7, y + down * height / 1.7, score)
    return Detection(points, score)


@pytest.fixture
def gate():
    return QualityGate(BLAZEPOSE33)


def move(person, joint, x, y):
    person.keypoints[BLAZEPOSE33.index(joint), :2] = (x, y)


@pytest.mark.parametrize("name", ["blazepose33", "coco17", "halpe26"])
@pytest.mark.parametrize("depth", [1.0, 0.3, 0.0, -1.0])
def test_people_pass(name, depth):
    layout = get_layout(name)
    people = [standing(layout, depth=depth), standing(layout, x=300, height=80, depth=depth)]
    found, refused = QualityGate(layout).select(people, SIZE)
    assert found == people and not refused


def test_people_at_the_edge_pass_while_half_of_them_is_seen(gate):
    assert gate.reason(standing(x=20), SIZE) is None
    # From the knees up.
    assert gate.reason(standing(y=800), SIZE) is None


def test_half_people_at_the_edge_are_refused(gate):
    assert gate.reason(standing(x=-25), SIZE) == "cut_off"
    assert gate.reason(standing(x=1310), SIZE) == "cut_off"


@pytest.mark.parametrize("name", ["blazepose33", "coco17"])
def test_head_and_chest_that_fill_the_picture_pass(name):
    """Elbows and all below are guessed beyond the picture, with scores that say so."""
    layout = get_layout(name)
    person = standing(layout, y=2050, height=1900)
    beyond = person.keypoints[:, 1] > SIZE[1]
    person.keypoints[beyond, 2] = 0.05
    assert not beyond[layout.index("left_shoulder")] and beyond[layout.index("left_elbow")]
    assert QualityGate(layout).reason(person, SIZE) is None
    # Without the shoulders a face is a face.
    person.keypoints[layout.index("left_shoulder"), 2] = 0.05
    assert QualityGate(layout, min_score=0.2).reason(person, SIZE) in ("no_trunk", "cut_off")


def test_unreported_keypoints_speak_against_a_person():
    person = standing()
    for joint in ("elbow", "wrist", "hip", "knee", "ankle"):
        for side in ("left", "right"):
            person.keypoints[BLAZEPOSE33.index(f"{side}_{joint}")] = np.nan
    assert QualityGate(BLAZEPOSE33).reason(person, SIZE) == "low_score"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda k: k.__setitem__((slice(None), 2), 0.2), "low_score"),
        (lambda k: k.__setitem__((slice(None), 2), np.nan), "low_score"),
        (lambda k: k.__setitem__(slice(None), np.nan), "low_score"),
    ],
)
def test_a_low_score(gate, spoil, reason):
    person = standing()
    spoil(person.keypoints)
    assert gate.reason(person, SIZE) == reason


def test_limbs_without_a_trunk_are_nobody(gate):
    person = standing()
    for joint in ("left_shoulder", "right_shoulder", "left_hip"):
        person.keypoints[BLAZEPOSE33.index(joint), 2] = 0.1
    assert gate.reason(person, SIZE) == "no_trunk"


def test_who_is_tiny(gate):
    assert gate.reason(standing(height=20), SIZE) == "too_small"


def test_bones_longer_than_anyone_has(gate):
    person = standing()
    move(person, "left_wrist", 850, 250)
    # One may be a guess.
    assert gate.reason(person, SIZE) is None
    move(person, "right_ankle", 350, 650)
    assert gate.reason(person, SIZE) == "impossible_bones"


def test_a_foreshortened_limb_is_no_long_one(gate):
    person = standing()
    for side, x in (("left", 640), ("right", 560)):
        move(person, f"{side}_elbow", x, 330)
        move(person, f"{side}_wrist", x, 335)
        move(person, f"{side}_knee", x, 420)
    assert gate.reason(person, SIZE) is None


def test_of_a_person_found_twice_the_better_stays(gate):
    better, weaker = standing(score=0.9), standing(x=605, score=0.7)
    other = standing(x=800)
    found, refused = gate.select([weaker, better, other], SIZE)
    assert found == [better, other] and refused == {"double": 1}


def test_a_double_seen_from_behind_is_one(gate):
    double = standing(score=0.7)
    double.keypoints = double.keypoints[list(BLAZEPOSE33.mirror)]
    found, refused = gate.select([standing(), double], SIZE)
    assert len(found) == 1 and refused == {"double": 1}


def test_two_who_stand_behind_one_another_are_two(gate):
    found, refused = gate.select([standing(), standing(x=630, y=580, height=310)], SIZE)
    assert len(found) == 2 and not refused


@pytest.mark.parametrize("lift", [0.0, 0.2])
def test_a_giant_on_somebody_elses_legs_is_none(gate, lift):
    """The sun as its head, a person's feet or shins as its feet."""
    person = standing(score=0.95)
    giant = standing(height=720.0, y=600.0 - lift * 340 * 0.6, score=0.8)
    found, refused = gate.select([giant, person], SIZE)
    assert found == [person] and refused == {"double": 1}


def test_who_is_near_and_tall_stands_lower_and_is_there(gate):
    child = standing(height=240.0, score=0.95)
    near = standing(height=600.0, y=720.0, score=0.8)
    beside = standing(height=500.0, x=720.0, score=0.8)
    for other in (near, beside):
        found, refused = gate.select([child, other], SIZE)
        assert len(found) == 2 and not refused
    # And of two the same size one may have the other's feet while they cross.
    crossing = standing(x=630.0, height=380.0, score=0.8)
    assert len(gate.select([standing(score=0.95), crossing], SIZE)[0]) == 2


def test_nobody(gate):
    assert gate.select([], SIZE) == ([], {})


def test_reasons_are_listed(gate):
    crowd = [standing(height=20), standing(x=-25), standing(), standing()]
    _, refused = gate.select(crowd, SIZE)
    assert sum(refused.values()) == 3 and set(refused) <= set(REASONS)


def test_another_layout_is_an_error(gate):
    with pytest.raises(ValueError, match="blazepose33"):
        gate.select([standing(COCO17)], SIZE)


def test_the_people_of_the_demo_pass(gate, demo_keypoints):
    from conftest import FRAME_SIZE

    for people in demo_keypoints:
        found, refused = gate.select([Detection(k, s) for _, k, s in people], FRAME_SIZE)
        assert len(found) == len(people), refused


# ---------------------------------------------------------------------------------- similarity


def test_object_keypoint_similarity_is_that_of_coco():
    first, second = standing(COCO17).keypoints, standing(COCO17).keypoints
    sigmas = coco_sigmas(COCO17)
    areas = areas_of(boxes_of(second[None], 0.3))
    assert oks(first[None], second[None], areas, sigmas)[0, 0] == pytest.approx(1)
    second[:, 0] += 10
    expected = np.exp(-100 / (2 * areas[0] * (2 * sigmas) ** 2)).mean()
    assert oks(first[None], second[None], areas, sigmas)[0, 0] == pytest.approx(expected)
    assert oks(first[None], second[None], areas, sigmas, spread=50.0)[0, 0] > expected


def test_what_cannot_be_compared_has_no_similarity():
    first, second = standing().keypoints[None], standing().keypoints[None]
    first[0, :20] = np.nan
    second[0, 20:, 2] = 0.0
    assert np.isnan(oks(first, second, np.ones(1), coco_sigmas(BLAZEPOSE33))).all()
    assert oks(first[:0], second, np.ones(1), coco_sigmas(BLAZEPOSE33)).shape == (0, 1)


def test_overlap_of_boxes():
    boxes = np.array([(0.0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30), (np.nan,) * 4])
    overlap = box_iou(boxes, boxes)
    assert overlap[0] == pytest.approx([1, 1 / 3, 0, 0])
    assert overlap[3] == pytest.approx([0, 0, 0, 0])
