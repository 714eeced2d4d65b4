"""Which motion is a person's: units, axes, the floor, bones, gaps, jumps and rates."""

import math

import numpy as np
import pytest
from mocap_samples import (
    NAMES,
    RATE_HZ,
    T_POSE,
    J,
    angles,
    assert_same_pose,
    bvh_text,
    imported,
    person,
    scrambled,
    truth,
    walk,
    z_up,
)

from emf_ros.cli.arguments import UNITS as COMMAND_UNITS
from emf_ros.io.mocap import FormatError
from emf_ros.io.mocap.body import UNITS, check_bones, find_unit, put_on_floor
from emf_ros.skeletons import H36M17
from emf_ros.train.formats.clips import cut, fill_gaps, recentre, resample

# -------------------------------------------------------------------------- units, axes, the floor


def test_the_command_offers_the_units_there_are():
    assert set(COMMAND_UNITS) == {"auto", *UNITS}


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_found_by_the_size_of_the_person(bvh, tmp_path, unit):
    (clip,), _ = imported(bvh(scale=1 / UNITS[unit]), tmp_path)
    assert_same_pose(clip.positions, truth(angles(), walk())[0])


def test_a_unit_that_is_said_is_accepted_and_checked(bvh, tmp_path):
    (clip,), _ = imported(bvh(scale=100), tmp_path, unit="cm")
    assert_same_pose(clip.positions, truth(angles(), walk())[0])
    with pytest.raises(FormatError, match=r"pelvis to right_hip is 9\d\.?\d* m long"):
        imported(bvh(scale=1000), tmp_path, unit="m")
    with pytest.raises(FormatError, match="unknown unit 'ell'"):
        imported(bvh(), tmp_path, unit="ell")


def test_sizes_that_fit_no_unit_or_two_are_errors_with_the_measure():
    with pytest.raises(FormatError, match="7.1 units.*none fits.*--unit"):
        find_unit(7.1)
    with pytest.raises(FormatError, match="inch or cmu"):
        find_unit(1.74 / UNITS["cmu"])


@pytest.mark.parametrize("lies", [False, True])
@pytest.mark.parametrize("up", ["y", "z"])
def test_up_is_found_though_the_person_may_lie(bvh, tmp_path, up, lies):
    turns = angles(size=5)
    turns[:, 0] = [0, 85, 0] if lies else [0, 5, 0]
    rest = T_POSE if up == "y" else z_up(T_POSE)
    root = walk(height=0.3 if lies else 0.95)
    if up == "z":
        # ZXY about the axes of a figure that stands along z: x stays, y is z, z is -y.
        turns = turns * (-1, 1, 1)
        text = bvh_text(turns, z_up(root), rest=rest, order="YXZ")
        path = tmp_path / "in" / "anna" / "z.bvh"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        turns = turns * (-1, 1, 1)
    else:
        path = bvh(turns=turns, root=root)
    (clip,), _ = imported(path, tmp_path)
    assert_same_pose(clip.positions, truth(turns, root)[0])
    trunk = clip.positions[:, J("thorax")] - clip.positions[:, 0]
    assert (trunk[:, 2] > 0.4).all() != lies


def test_an_axis_that_is_said_is_accepted(bvh, tmp_path):
    (clip,), _ = imported(bvh(turns=angles(size=5)), tmp_path, up="z")
    trunk = clip.positions[:, J("thorax")] - clip.positions[:, 0]
    assert (trunk[:, 1] > 0.4).all()
    with pytest.raises(FormatError, match="'x'"):
        imported(bvh(), tmp_path, up="x")


def test_no_axis_that_could_be_up_is_an_error(bvh, tmp_path):
    turns = angles(12, size=5)
    turns[:, 0] = [85, 0, 0]
    rest, same = scrambled(turns)
    with pytest.raises(FormatError, match="Give --up"):
        imported(bvh(turns=same, rest=rest, root=walk(12)), tmp_path)


def test_the_floor_is_under_the_feet_and_nothing_is_tilted(bvh, tmp_path):
    (clip,), _ = imported(bvh(turns=angles() * 0, root=walk(height=5.0)), tmp_path)
    ankles = clip.positions[:, [J("left_ankle"), J("right_ankle")], 2]
    assert ankles == pytest.approx(np.full((8, 2), 0.08), abs=0.005)
    spread = put_on_floor(person()[None] + np.arange(50)[:, None, None] * (0, 0, 0.02))
    assert np.diff(spread[:, 0, 2]) == pytest.approx(np.full(49, 0.02))


# -------------------------------------------------------------------------------- what is a person


def test_people_of_all_sizes_pass():
    for size in (0.62, 1.0, 1.25):
        check_bones(size * person(4))


def test_a_skeleton_of_animal_proportions_is_refused(bvh, tmp_path):
    dog = T_POSE.copy()
    thighs = [NAMES.index(f"{s}Leg") for s in ("Left", "Right")]
    feet = [NAMES.index(f"{s}Foot") for s in ("Left", "Right")]
    dog[thighs, 1], dog[feet, 1] = 0.78, 0.60
    with pytest.raises(FormatError, match=r"(hip to \w+_knee).*0\.15.*m on a person"):
        imported(bvh(rest=dog), tmp_path)


def test_bones_of_two_lengths_or_of_changing_length_are_refused():
    uneven = person(4)
    uneven[:, J("left_wrist"), 0] += 0.08
    with pytest.raises(FormatError, match=r"wrist is 0\.33\d m long on the left"):
        check_bones(uneven)
    growing = person(20)
    growing[:, J("right_wrist"), 0] -= np.linspace(0, 0.05, 20)
    with pytest.raises(FormatError, match="right_elbow to right_wrist changes its length"):
        check_bones(growing)


@pytest.mark.parametrize("joint", [j for j in H36M17.joints if j != "pelvis"])
def test_each_joint_that_is_far_off_is_refused(joint):
    far = person(3)
    far[:, J(joint)] += (0.0, 0.9, 0.0)
    with pytest.raises(FormatError, match=joint.split("_")[-1]):
        check_bones(far)


# ------------------------------------------------------------------------------ gaps, jumps, rates


def test_short_gaps_are_filled_and_long_ones_cut():
    motion = person(60) + np.arange(60)[:, None, None] * (0.01, 0, 0)
    whole = motion.copy()
    motion[10:15, J("left_wrist")] = np.nan
    motion[30:37, J("nose")] = np.inf
    motion[:2, 0] = np.nan
    filled = fill_gaps(motion, RATE_HZ)
    assert filled[2:30] == pytest.approx(whole[2:30])
    assert cut(filled, RATE_HZ) == [(2, 30), (37, 60)]
    # At twice the rate the gap of seven frames lasts half as long.
    assert cut(fill_gaps(motion, 2 * RATE_HZ), RATE_HZ) == [(2, 60)]


def test_jumps_are_cut():
    motion = person(20)
    motion[8:] += (0.5, 0, 0)
    assert cut(motion, RATE_HZ) == [(0, 8), (8, 20)]
    motion[8:] -= (0.15, 0, 0)
    assert cut(motion, RATE_HZ) == [(0, 20)]
    # A T-pose in front of the motion.
    motion[0, J("left_wrist")] += (0, 0.3, 0.0)
    assert cut(motion, RATE_HZ) == [(0, 20)]
    assert cut(motion, 120.0) == [(0, 1), (1, 8), (8, 20)]


@pytest.mark.parametrize("rate", [24.0, 30.0, 59.94, 120.0])
def test_resampled_motion_is_at_its_times(rate):
    motion = person(91) + np.arange(91)[:, None, None] / rate * (1.3, 0, 0)
    found = resample(motion, rate)
    assert len(found) == math.floor(90 / rate * 30 + 1e-6) + 1
    assert found[:, 0, 0] == pytest.approx(np.arange(len(found)) / 30 * 1.3)


def test_far_walks_are_cut_and_begin_over_the_origin_again():
    motion = person(900) + np.arange(900)[:, None, None] * (0.1, 0, 0) + (50, 7, 0)
    pieces = recentre(motion)
    assert sum(map(len, pieces)) == 900 and len(pieces) == 3
    for piece in pieces:
        assert piece[0, 0, :2] == pytest.approx([0, 0]) and np.abs(piece).max() <= 32
        assert piece[0, 0, 2] == pytest.approx(0.93)
    with pytest.raises(FormatError, match="above"):
        recentre(person(2) + (0, 0, 40))


def test_a_file_is_cut_at_gaps_and_its_scraps_are_counted(bvh, tmp_path):
    turns = angles(60)
    turns[20:40, NAMES.index("LeftArm")] = np.nan
    turns[41:55, NAMES.index("LeftArm")] = np.nan
    clips, report = imported(bvh(turns=turns), tmp_path)
    assert [(c.name, len(c.positions)) for c in clips] == [("clip#0", 20), ("clip#1", 5)]
    assert report.scraps == 1


def test_a_file_of_gaps_alone_is_refused(bvh, tmp_path):
    turns = angles(30)
    turns[:, NAMES.index("LeftArm")] = np.nan
    with pytest.raises(FormatError, match="no frame|wrist|all joints"):
        imported(bvh(turns=turns), tmp_path)
