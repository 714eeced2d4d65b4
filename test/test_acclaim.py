"""ASF/AMC files: bones, rates, the skeleton of a motion, damage."""

import re

import numpy as np
import pytest
from mocap_samples import (
    BONES,
    FIXED,
    J,
    acclaim_motion,
    assert_same_pose,
    bone_axis,
    bone_vectors,
    imported,
    turn,
    write_acclaim,
    z_up,
)

from emf_ros.io.mocap import FormatError
from emf_ros.train.formats.acclaim import read_amc
from emf_ros.train.formats.acclaim_skeleton import find_asf


def fixed(angle):
    """About x, then y, then z, which all stay."""
    return turn("z", angle[2]) @ turn("y", angle[1]) @ turn("x", angle[0])


def acclaim_truth(values, root):
    """Where the bones end (N, 3) by joint of the figure, y up."""
    vectors, ends = bone_vectors(), {}
    for n in range(len(root)):
        frame, place = {"root": fixed(root[n, 3:])}, {"root": root[n, :3]}
        for i, (bone, (parent, joint)) in enumerate(BONES.items()):
            axis = fixed(bone_axis(bone))
            moved = np.eye(3) if bone in FIXED else axis @ fixed(values[n, i]) @ axis.T
            frame[bone] = frame[parent] @ moved
            place[bone] = place[parent] + frame[bone] @ vectors[bone]
            ends.setdefault(joint, []).append(place[bone])
    return {joint: np.array(places) for joint, places in ends.items()}


@pytest.mark.parametrize(("length", "unit"), [(0.45, 0.0254), (1.0, 0.0254), (1.0, 0.01)])
def test_acclaim_bones_end_where_explicit_matrices_put_them(tmp_path, length, unit):
    values, root = acclaim_motion()
    path = write_acclaim(tmp_path / "07", values, root, length, unit)
    motion, expected = read_amc(path), acclaim_truth(values, root)
    for bone, (_, joint) in BONES.items():
        found = motion.positions[:, motion.names.index(bone)] * unit
        assert found == pytest.approx(expected[joint], abs=1e-4), bone
    (clip,), report = imported(path, tmp_path, rate_hz=30.0)
    assert_same_pose(clip.positions, expected)
    relative = clip.positions - clip.positions[:, :1]
    pelvis = 0.5 * (expected["LeftUpLeg"] + expected["RightUpLeg"])
    crown = z_up(expected["Crown"] - pelvis)
    assert relative[:, J("head_top")] == pytest.approx(crown, abs=1.2e-3)
    assert clip.subject == "07" and not any("rate" in note for note in report.notes)


def test_amc_files_are_taken_for_120_hz_with_a_note(tmp_path):
    path = write_acclaim(tmp_path / "07", *acclaim_motion(41))
    (clip,), report = imported(path, tmp_path)
    assert len(clip.positions) == 11
    assert any("120 Hz" in note for note in report.notes)


ACCLAIM_BROKEN = {
    "missing bone": ("amc", lambda t: t.replace("lfemur", "#"), "frames lack lfemur"),
    "bone twice": ("amc", lambda t: t.replace("rfemur", "lfemur", 1), "lfemur twice.*line"),
    "unknown bone": ("amc", lambda t: t.replace("lfemur", "tail", 1), "tail"),
    "too few values": ("amc", lambda t: t.replace("lfemur ", "lfemur #", 1), "lfemur has 0"),
    "words": (
        "amc",
        lambda t: re.sub(r"lfemur \S+", "lfemur x", t, count=1),
        "'x' on line 10 is no number",
    ),
    "one frame": ("amc", lambda t: t[: t.index("\n2\n")], "1 frames"),
    "no bones": ("asf", lambda t: t.replace(":bonedata", ":other"), "bonedata"),
    "no length": ("asf", lambda t: t.replace("    length", "    lngth", 1), "bone lowerback"),
    "unknown child": ("asf", lambda t: t.replace("name lfemur", "name xfemur"), "lfemur"),
    "child twice": (
        "asf",
        lambda t: t.replace("    lfemur ltibia", "    lfemur ltibia\n    ltibia lfemur"),
        "bone lfemur a second time on line",
    ),
    "translating": ("asf", lambda t: t.replace("dof rx ry rz", "dof tx ry rz", 1), "tx"),
    "scale": ("asf", lambda t: t.replace("length 0.45", "length 0"), "divides"),
}


@pytest.mark.parametrize("broken", ACCLAIM_BROKEN)
def test_damaged_acclaim_files_are_refused(tmp_path, broken):
    path = write_acclaim(tmp_path / "07", *acclaim_motion())
    suffix, damage, message = ACCLAIM_BROKEN[broken]
    target = path if suffix == "amc" else path.with_name("07.asf")
    target.write_text(damage(target.read_text()))
    with pytest.raises(FormatError, match=message):
        imported(path, tmp_path)


def test_the_skeleton_is_the_one_whose_name_the_motion_has(tmp_path):
    path = tmp_path / "07_01.amc"
    with pytest.raises(FormatError, match="07.asf.*there is no"):
        find_asf(path)
    for name in ("70", "8"):
        (tmp_path / f"{name}.asf").touch()
    with pytest.raises(FormatError, match="there are 70.asf, 8.asf"):
        find_asf(path)
    (tmp_path / "07.asf").touch()
    assert find_asf(path).name == "07.asf"
