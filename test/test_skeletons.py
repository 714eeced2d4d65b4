"""Joint layouts and the conversions between them."""

import numpy as np
import pytest

from emf_ros.skeletons import (
    BLAZEPOSE33,
    BODY25,
    COCO17,
    H36M17,
    HALPE26,
    HRI18,
    LAYOUTS,
    Layout,
    conversion_matrix,
    convert_keypoints,
    get_layout,
)

#: All that people's keypoints come in.
SOURCES = [COCO17, BLAZEPOSE33, HALPE26, BODY25, HRI18]

EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


@EVERY_LAYOUT
def test_joint_names_are_unique(layout):
    assert len(set(layout.joints)) == len(layout)


def test_layouts_have_the_number_of_joints_that_their_names_say():
    assert {name: len(layout) for name, layout in LAYOUTS.items()} == {
        "h36m17": 17,
        "coco17": 17,
        "blazepose33": 33,
        "halpe26": 26,
        "body25": 25,
        "hri18": 18,
    }


@EVERY_LAYOUT
def test_mirror_is_an_involution(layout):
    mirror = np.array(layout.mirror)
    assert (mirror[mirror] == np.arange(len(layout))).all()


@EVERY_LAYOUT
def test_mirror_exchanges_left_and_right_and_keeps_the_middle(layout):
    other = {"left": "right", "right": "left", "middle": "middle"}
    assert [layout.sides[m] for m in layout.mirror] == [other[side] for side in layout.sides]
    for joint, counterpart in enumerate(layout.mirror):
        if layout.sides[joint] == "middle":
            assert counterpart == joint
        else:
            a, b = layout.joints[joint], layout.joints[counterpart]
            assert a.split("_", 1)[1] == b.split("_", 1)[1] and a != b


@EVERY_LAYOUT
def test_mirrored_edges_are_edges(layout):
    edges = {frozenset(edge) for edge in layout.edges}
    assert len(edges) == len(layout.edges)
    assert {frozenset(layout.mirror[i] for i in edge) for edge in edges} == edges


@EVERY_LAYOUT
def test_edges_are_the_bones_by_index(layout):
    assert [(layout.joints[a], layout.joints[b]) for a, b in layout.edges] == list(layout.bones)
    assert all(a != b for a, b in layout.edges)


def test_h36m_is_one_tree_from_the_pelvis():
    assert [i for i, parent in enumerate(H36M17.parents) if parent < 0] == [H36M17.index("pelvis")]
    for joint, parent in enumerate(H36M17.parents):
        assert parent < joint  # a parent comes first, so that chains can be walked in order
    pairs = {(p, j) for j, p in enumerate(H36M17.parents) if p >= 0}
    assert pairs == set(H36M17.edges)
    assert H36M17.parents[H36M17.index("left_wrist")] == H36M17.index("left_elbow")
    assert H36M17.parents[H36M17.index("right_knee")] == H36M17.index("right_hip")


@pytest.mark.parametrize("layout", SOURCES, ids=lambda layout: layout.name)
def test_point_sets_have_no_parents(layout):
    assert set(layout.parents) == {-1}


def test_h36m_has_the_order_of_the_training_data():
    assert H36M17.joints[:8] == (
        *("pelvis", "right_hip", "right_knee", "right_ankle"),
        *("left_hip", "left_knee", "left_ankle", "spine"),
    )
    assert H36M17.joints[8:] == (
        *("thorax", "nose", "head_top", "left_shoulder", "left_elbow", "left_wrist"),
        *("right_shoulder", "right_elbow", "right_wrist"),
    )


def test_an_unknown_layout_names_those_that_exist():
    with pytest.raises(ValueError, match="'body26'.*h36m17.*coco17.*blazepose33"):
        get_layout("body26")
    assert get_layout("coco17") is COCO17


def standing_person(layout):
    """Keypoints (K, 3) of a person of whom only some joints are anywhere but at (7, 7)."""
    points = np.full((len(layout), 3), 7.0)
    points[:, 2] = 0.9
    places = {
        "left_hip": (110, 200, 0.8),
        "right_hip": (90, 200, 0.6),
        "left_shoulder": (120, 100, 0.7),
        "right_shoulder": (80, 100, 0.5),
        "left_ear": (106, 60, 0.4),
        "right_ear": (94, 60, 0.3),
        "nose": (100, 64, 0.95),
        "left_wrist": (150, 190, 0.85),
    }
    for joint, place in places.items():
        points[layout.index(joint)] = place
    return points


@pytest.mark.parametrize("source", [COCO17, BLAZEPOSE33], ids=lambda layout: layout.name)
def test_conversion_to_h36m_on_known_points(source):
    converted = convert_keypoints(standing_person(source), source, H36M17)

    def joint(name):
        return converted[H36M17.index(name)]

    assert joint("pelvis") == pytest.approx([100, 200, 0.6])
    assert joint("thorax") == pytest.approx([100, 100, 0.5])
    assert joint("spine") == pytest.approx([100, 150, 0.5])
    # The ears' middle is 40 above the shoulders'; the crown another 55 % of that.
    assert joint("head_top") == pytest.approx([100, 60 - 0.55 * 40, 0.3])
    assert joint("nose") == pytest.approx([100, 64, 0.95])
    assert joint("left_wrist") == pytest.approx([150, 190, 0.85])
    assert joint("right_wrist") == pytest.approx([7, 7, 0.9])


def test_halpe_has_the_middle_line_itself():
    points = standing_person(HALPE26)
    for joint, place in (
        ("hip", (102, 195, 0.9)),
        ("neck", (98, 95, 0.7)),
        ("head", (99, 30, 0.6)),
    ):
        points[HALPE26.index(joint)] = place
    converted = convert_keypoints(points, HALPE26, H36M17)

    def joint(name):
        return converted[H36M17.index(name)]

    assert joint("pelvis") == pytest.approx([102, 195, 0.9])
    assert joint("thorax") == pytest.approx([98, 95, 0.7])
    assert joint("spine") == pytest.approx([100, 145, 0.7])
    assert joint("head_top") == pytest.approx([99, 30, 0.6])
    assert joint("left_hip") == pytest.approx([110, 200, 0.8])


@pytest.mark.parametrize("source", SOURCES, ids=lambda layout: layout.name)
def test_conversion_moves_with_the_image(source):
    rng = np.random.default_rng(1)
    points = np.concatenate(
        [rng.normal(300, 80, (5, 4, len(source), 2)), rng.uniform(0.1, 1, (5, 4, len(source), 1))],
        axis=-1,
    )
    moved = points.copy()
    moved[..., :2] = 2.5 * points[..., :2] + (40, -90)
    a = convert_keypoints(points, source, H36M17)
    b = convert_keypoints(moved, source, H36M17)
    assert b[..., :2] == pytest.approx(2.5 * a[..., :2] + (40, -90))
    assert (a[..., 2] == b[..., 2]).all()


@pytest.mark.parametrize("source", SOURCES, ids=lambda layout: layout.name)
def test_conversion_commutes_with_mirroring(source):
    rng = np.random.default_rng(2)
    points = rng.uniform(0.1, 1, (len(source), 3))
    mirrored = convert_keypoints(points[list(source.mirror)], source, H36M17)
    straight = convert_keypoints(points, source, H36M17)
    assert mirrored == pytest.approx(straight[list(H36M17.mirror)])


@pytest.mark.parametrize("how", [(np.nan, 5, 0.9), (5, np.inf, 0.9), (5, 5, 0.0), (5, 5, np.nan)])
def test_a_missing_part_makes_its_joints_missing_and_no_others(how):
    points = standing_person(BLAZEPOSE33)
    points[BLAZEPOSE33.index("left_hip")] = how
    converted = convert_keypoints(points, BLAZEPOSE33, H36M17)
    missing = {H36M17.joints[i] for i in np.flatnonzero(converted[:, 2] == 0)}
    assert missing == {"pelvis", "spine", "left_hip"}
    for joint in missing:
        assert np.isnan(converted[H36M17.index(joint), :2]).all()
    assert np.isfinite(converted[converted[:, 2] > 0]).all()


def test_conversion_to_the_same_layout_is_a_copy():
    points = standing_person(COCO17)
    converted = convert_keypoints(points, COCO17, COCO17)
    assert (converted == points).all() and not np.shares_memory(converted, points)
    assert (conversion_matrix(COCO17, COCO17) == np.eye(17)).all()


def test_conversion_weights_sum_to_one():
    for source in SOURCES:
        assert conversion_matrix(source, H36M17).sum(axis=1) == pytest.approx(np.ones(17))


@pytest.mark.parametrize("source", SOURCES, ids=lambda layout: layout.name)
def test_a_conversion_is_the_matrix_product_with_missing_parts_left_missing(source):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 500, (3, 4, len(source), 3))
    points[..., 2] = rng.uniform(0.1, 1.0, points.shape[:-1])
    lost = rng.random(points.shape[:-1]) < 0.2
    points[lost] = (np.nan, np.nan, 0.0)
    matrix = conversion_matrix(source, H36M17)
    used = matrix != 0
    expected = np.zeros((3, 4, len(H36M17), 3))
    expected[..., :2] = np.einsum("jk,...kc->...jc", matrix, np.nan_to_num(points[..., :2]))
    for row in range(len(H36M17)):
        parts = points[..., used[row], :]
        expected[..., row, 2] = parts[..., 2].min(axis=-1, initial=1.0)
        missing = lost[..., used[row]].any(axis=-1) | (not used[row].any())
        expected[missing, row] = (np.nan, np.nan, 0.0)
    converted = convert_keypoints(points, source, H36M17)
    np.testing.assert_allclose(converted, expected, rtol=1e-12)
    assert np.isnan(converted).any() and np.isfinite(converted).any()


def test_a_matrix_that_a_caller_changes_changes_no_later_conversion():
    before = convert_keypoints(standing_person(COCO17), COCO17, H36M17)
    conversion_matrix(COCO17, H36M17)[:] = 0.0
    assert conversion_matrix(COCO17, H36M17).any()
    np.testing.assert_array_equal(
        convert_keypoints(standing_person(COCO17), COCO17, H36M17), before
    )


def test_layouts_of_one_name_and_other_joints_are_not_mixed_up():
    pair = Layout("pair", ("left_hip", "right_hip"), (), {})
    turned = Layout("pair", ("right_hip", "left_hip"), (), {})
    points = np.array([(1.0, 2.0, 0.5), (3.0, 4.0, 0.9)])
    for layout in (pair, turned):
        converted = convert_keypoints(points, layout, H36M17)
        for index, joint in enumerate(layout.joints):
            np.testing.assert_array_equal(converted[H36M17.index(joint)], points[index])


def test_a_conversion_that_does_not_exist_is_refused():
    hand = Layout("hand", ("palm", "thumb_tip"), (("palm", "thumb_tip"),), {})
    with pytest.raises(ValueError, match="'hand' to 'coco17'"):
        convert_keypoints(np.ones((2, 3)), hand, COCO17)


# ------------------------------------------------------------------------ there and back, mirrored

EVERY_PAIR = pytest.mark.parametrize(
    ("first", "second"),
    [(a, b) for a in LAYOUTS.values() for b in LAYOUTS.values() if a is not b],
    ids=lambda layout: layout.name,
)

#: The joints that mean the same under another name.
SAME = {"pelvis": "hip", "thorax": "neck", "head_top": "head"}


def common(first, second):
    """The joints of the first that the second has too, under this name or another."""
    of_second = {SAME.get(joint, joint) for joint in second.joints}
    return [joint for joint in first.joints if SAME.get(joint, joint) in of_second]


@EVERY_PAIR
def test_what_both_layouts_have_survives_there_and_back(first, second):
    rng = np.random.default_rng(3)
    points = np.concatenate(
        [rng.normal(300, 80, (4, len(first), 2)), rng.uniform(0.1, 1, (4, len(first), 1))], -1
    )
    back = convert_keypoints(convert_keypoints(points, first, second), second, first)
    shared = [first.index(joint) for joint in common(first, second)]
    assert len(shared) >= 13  # nose and limbs
    assert back[:, shared] == pytest.approx(points[:, shared])
    # What was lost on the way is missing or made of what was not, and nothing else.
    made = {"pelvis", "hip", "thorax", "neck", "spine", "head_top", "head"}
    for index in set(range(len(first))) - set(shared):
        if first.joints[index] not in made:
            assert (back[:, index, 2] == 0).all() and np.isnan(back[:, index, :2]).all()


@EVERY_PAIR
def test_every_conversion_commutes_with_mirroring(first, second):
    points = np.random.default_rng(4).uniform(0.1, 1, (len(first), 3))
    mirrored = convert_keypoints(points[list(first.mirror)], first, second)
    straight = convert_keypoints(points, first, second)
    assert mirrored == pytest.approx(straight[list(second.mirror)], nan_ok=True)


@EVERY_PAIR
def test_rows_sum_to_one_or_are_zero(first, second):
    sums = conversion_matrix(first, second).sum(axis=1)
    assert (np.isclose(sums, 1) | (sums == 0)).all()


def test_orders_of_other_projects():
    """Written down from the lists that they publish, by number."""
    assert {i: BODY25.joints[i] for i in (0, 1, 2, 8, 9, 15, 16, 18, 19, 21, 22, 24)} == {
        **{0: "nose", 1: "neck", 2: "right_shoulder", 8: "hip", 9: "right_hip", 15: "right_eye"},
        **{16: "left_eye", 18: "left_ear", 19: "left_big_toe", 21: "left_heel"},
        **{22: "right_big_toe", 24: "right_heel"},
    }
    assert HALPE26.joints[17:22] == ("head", "neck", "hip", "left_big_toe", "right_big_toe")
    assert HALPE26.joints[24:] == ("left_heel", "right_heel")
    assert HRI18.joints[13:] == ("left_ankle", "left_eye", "right_eye", "left_ear", "right_ear")
    assert BLAZEPOSE33.joints[11] == "left_shoulder" and BLAZEPOSE33.joints[32] == (
        "right_foot_index"
    )
