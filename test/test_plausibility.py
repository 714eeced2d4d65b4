"""Plausibility of detections, duplicates and merged poses."""

import numpy as np
import pytest

from emf_ros.reasons import Reason
from emf_ros.skeletons import BLAZEPOSE33, COCO17, get_layout
from emf_ros.track import QualityGate
from emf_ros.track.duplicates import is_duplicate, is_merged_pose, without_duplicates
from emf_ros.types import Pose2D

SIZE = (1280, 720)
#: Joint positions of a standing person 1.7 m tall who faces the camera, m from the midpoint of the
#: feet, y down. x is that of the left side.
POSITIONS = {
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
    """A detection; `depth` is the factor on the width: 0 shows the person from the side."""
    points = np.zeros((len(layout), 3))
    for i, joint in enumerate(layout.joints):
        kind = joint.split("_")[-1] if joint.split("_")[-1] in POSITIONS else "nose"
        right = -1 if joint.startswith("right") else 1
        across, down = POSITIONS[kind]
        points[i] = (x + depth * right * across * height / 1.7, y + down * height / 1.7, score)
    return Pose2D(points, score)


@pytest.fixture
def gate():
    return QualityGate(BLAZEPOSE33)


def move(person, joint, x, y):
    person.keypoints[BLAZEPOSE33.index(joint), :2] = (x, y)


@pytest.mark.parametrize("name", ["blazepose33", "coco17", "halpe26"])
@pytest.mark.parametrize("depth", [1.0, 0.3, 0.0, -1.0])
def test_standing_people_pass_in_each_layout_and_from_each_side(name, depth):
    layout = get_layout(name)
    people = [standing(layout, depth=depth), standing(layout, x=300, height=80, depth=depth)]
    found, rejected = QualityGate(layout).select(people, SIZE)
    assert found == people and not rejected


def test_truncated_person_passes_while_half_of_the_body_is_in_the_image(gate):
    assert gate.reason(standing(x=20), SIZE) is None
    # From the knees up.
    assert gate.reason(standing(y=800), SIZE) is None


def test_person_truncated_beyond_half_is_rejected_as_truncated(gate):
    assert gate.reason(standing(x=-25), SIZE) == "truncated"
    assert gate.reason(standing(x=1310), SIZE) == "truncated"


@pytest.mark.parametrize("name", ["blazepose33", "coco17"])
def test_head_and_chest_that_fill_the_image_pass(name):
    # Elbows and all below are guessed outside the image, with low scores.
    layout = get_layout(name)
    person = standing(layout, y=2050, height=1900)
    outside = person.keypoints[:, 1] > SIZE[1]
    person.keypoints[outside, 2] = 0.05
    assert not outside[layout.index("left_shoulder")] and outside[layout.index("left_elbow")]
    assert QualityGate(layout).reason(person, SIZE) is None
    # A face without both shoulders does not pass.
    person.keypoints[layout.index("left_shoulder"), 2] = 0.05
    assert QualityGate(layout, min_score=0.2).reason(person, SIZE) in ("trunk_missing", "truncated")


def test_person_with_many_missing_keypoints_is_rejected_as_low_score():
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
def test_low_or_unknown_scores_are_rejected_as_low_score(gate, spoil, reason):
    person = standing()
    spoil(person.keypoints)
    assert gate.reason(person, SIZE) == reason


def test_limbs_without_a_trunk_are_rejected_as_trunk_missing(gate):
    person = standing()
    for joint in ("left_shoulder", "right_shoulder", "left_hip"):
        person.keypoints[BLAZEPOSE33.index(joint), 2] = 0.1
    assert gate.reason(person, SIZE) == "trunk_missing"


def test_tiny_person_is_rejected_as_too_small(gate):
    assert gate.reason(standing(height=20), SIZE) == "too_small"


def test_two_bones_that_are_too_long_are_rejected_as_implausible_bones(gate):
    person = standing()
    move(person, "left_wrist", 850, 250)
    # One may be a guess.
    assert gate.reason(person, SIZE) is None
    move(person, "right_ankle", 350, 650)
    assert gate.reason(person, SIZE) == "implausible_bones"


def test_foreshortened_limbs_pass(gate):
    person = standing()
    for side, x in (("left", 640), ("right", 560)):
        move(person, f"{side}_elbow", x, 330)
        move(person, f"{side}_wrist", x, 335)
        move(person, f"{side}_knee", x, 420)
    assert gate.reason(person, SIZE) is None


def test_duplicate_with_the_lower_score_is_rejected(gate):
    better, weaker = standing(score=0.9), standing(x=605, score=0.7)
    other = standing(x=800)
    found, rejected = gate.select([weaker, better, other], SIZE)
    assert found == [better, other] and rejected == {"duplicate": 1}


def test_duplicate_with_left_and_right_swapped_is_rejected(gate):
    duplicate = standing(score=0.7)
    duplicate.keypoints = duplicate.keypoints[list(BLAZEPOSE33.mirror)]
    found, rejected = gate.select([standing(), duplicate], SIZE)
    assert len(found) == 1 and rejected == {"duplicate": 1}


def test_occluded_person_is_no_duplicate(gate):
    found, rejected = gate.select([standing(), standing(x=630, y=580, height=310)], SIZE)
    assert len(found) == 2 and not rejected


@pytest.mark.parametrize("lift", [0.0, 0.2])
def test_merged_pose_with_the_legs_of_another_person_is_rejected(gate, lift):
    # The head is the sun; the feet are on the feet or the shins of a person.
    person = standing(score=0.95)
    merged = standing(height=720.0, y=600.0 - lift * 340 * 0.6, score=0.8)
    found, rejected = gate.select([merged, person], SIZE)
    assert found == [person] and rejected == {"merged_pose": 1}


@pytest.mark.parametrize(
    ("which", "joint"), [(0, "nose"), (0, "right_knee"), (1, "left_wrist"), (1, "right_elbow")]
)
def test_a_merged_pose_is_rejected_while_any_joint_but_the_shins_is_missing(gate, which, joint):
    poses = [standing(height=720.0, score=0.8), standing(score=0.95)]
    poses[which].keypoints[BLAZEPOSE33.index(joint)] = (np.nan, np.nan, 0.0)
    found, rejected = gate.select(poses, SIZE)
    assert [pose is poses[1] for pose in found] == [True] and rejected == {"merged_pose": 1}


def test_without_the_shins_nothing_tells_a_merged_pose(gate):
    for which, joint in ((0, "left_ankle"), (1, "left_ankle"), (1, "left_knee")):
        poses = [standing(height=720.0, score=0.8), standing(score=0.95)]
        poses[which].keypoints[BLAZEPOSE33.index(joint)] = (np.nan, np.nan, 0.0)
        with np.errstate(all="raise"):
            assert not is_merged_pose(*poses, BLAZEPOSE33)


#: Time between two images, ns.
FRAME_NS = 33_333_333


def images(gate, pairs, first=0):
    """How many people pass in each image of (the larger one, the smaller one)."""
    return [
        len(gate.select(pair, SIZE, (first + number) * FRAME_NS)[0])
        for number, pair in enumerate(pairs)
    ]


def adult_and_child(child_x):
    """The child's legs hide those of the adult, who has the lower score therefore."""
    return standing(height=620.0, score=0.8), standing(x=child_x, score=0.95)


IN_FRONT = adult_and_child(605.0)


def test_an_adult_behind_a_child_is_no_merged_pose_where_the_two_were_seen_apart(gate):
    assert images(gate, [IN_FRONT]) == [1]
    beside = [adult_and_child(x) for x in np.linspace(1000.0, 720.0, 30)]
    behind = [adult_and_child(x) for x in np.linspace(720.0, 605.0, 12)] + [IN_FRONT] * 60
    assert set(images(gate, beside + behind, first=1)) == {2}
    # In an image by itself, after a gap and after a restart nothing is known of earlier images.
    assert len(gate.select(IN_FRONT, SIZE)[0]) == 1
    assert images(gate, [IN_FRONT], first=103) == [2]
    assert images(gate, [IN_FRONT], first=203) == [1]
    images(gate, beside + behind, first=300)
    gate.restart()
    assert images(gate, [IN_FRONT], first=402) == [1]


def test_people_who_were_apart_for_a_moment_may_be_merged(gate):
    beside = [adult_and_child(x) for x in np.linspace(800.0, 720.0, 10)]
    behind = [adult_and_child(x) for x in np.linspace(720.0, 605.0, 12)]
    assert images(gate, beside + behind + [IN_FRONT])[-1] == 1


@pytest.mark.parametrize("steps", [1, 4, 30])
def test_a_pose_that_takes_the_legs_of_the_person_below_is_merged(gate, steps):
    below = standing(y=690.0, height=330.0, score=0.95)
    apart = [(standing(y=340.0, height=330.0, score=0.8), below)] * 40
    grown = [
        (standing(y=340 + 350 * share, height=330 + 340 * share, score=0.8), below)
        for share in np.linspace(0, 1, steps + 1)[1:]
    ]
    passed = images(gate, apart + grown + grown[-1:] * 20)
    assert set(passed[:40]) == {2} and set(passed[-20:]) == {1}


def test_near_tall_person_is_no_merged_pose(gate):
    child = standing(height=240.0, score=0.95)
    near = standing(height=600.0, y=720.0, score=0.8)
    beside = standing(height=500.0, x=720.0, score=0.8)
    for other in (near, beside):
        found, rejected = gate.select([child, other], SIZE)
        assert len(found) == 2 and not rejected
    # While two people of one size cross, one may stand at the other's feet.
    crossing = standing(x=630.0, height=380.0, score=0.8)
    assert len(gate.select([standing(score=0.95), crossing], SIZE)[0]) == 2


def test_no_detections_are_no_error(gate):
    assert gate.select([], SIZE) == ([], {})


def test_rejections_are_counted_by_listed_reasons(gate):
    crowd = [standing(height=20), standing(x=-25), standing(), standing()]
    _, rejected = gate.select(crowd, SIZE)
    assert sum(rejected.values()) == 3 and set(rejected) <= set(Reason)


def test_keypoints_of_another_layout_raise_value_error(gate):
    with pytest.raises(ValueError, match="blazepose33"):
        gate.select([standing(COCO17)], SIZE)


def test_people_of_the_demo_video_pass(gate, demo_keypoints):
    from inputs import FRAME_SIZE

    for people in demo_keypoints:
        found, rejected = gate.select([Pose2D(k, s) for _, k, s in people], FRAME_SIZE)
        assert len(found) == len(people), rejected


def test_a_gate_without_a_minimum_trunk_rejects_a_body_without_visible_joints():
    gate = QualityGate(BLAZEPOSE33, min_score=0.1, min_trunk=0)
    assert gate.reason(standing(score=0.2), SIZE) == "too_small"


def test_duplicate_by_distance_with_the_best_score_is_kept():
    best, weaker, other = (
        standing(score=0.9),
        standing(x=605, score=0.7),
        standing(x=800, score=0.8),
    )
    assert is_duplicate(best, weaker) and not is_duplicate(best, other)
    assert without_duplicates([weaker, other, best]) == [best, other]
