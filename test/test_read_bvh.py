"""BVH as recordings: our own files come back, and those of other programs are read by names."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mocap_samples import CROWN, NAMES, PLAIN, T_POSE, angles, bvh_text, truth, walk, z_up
from mocap_samples import RATE_HZ as FIGURE_RATE_HZ
from recordings_of_people import RATE_HZ, two_people
from test_formats import ROOM, one, refused, same

from emf_ros.cli.main import main
from emf_ros.io.formats import bvh
from emf_ros.io.formats.registry import read_recording, write_recording
from emf_ros.io.recordings import Recording, RecordingError
from emf_ros.skeletons import H36M17


def whole(person: int) -> Recording:
    """The images in which all joints of a person are known, at a constant rate."""
    recording = one(two_people(), person)
    recording = recording.rows(np.isfinite(recording.joints_3d).all(axis=(1, 2)))
    return replace(recording, stamp=np.arange(len(recording)) / RATE_HZ)


@pytest.mark.parametrize("person", [1, 2])
def test_our_own_file_comes_back_with_the_mean_lengths_of_the_bones(
    person: int, tmp_path: Path
) -> None:
    recording = whole(person)
    (path,) = write_recording(recording, tmp_path / "one.bvh")
    read = read_recording(path)
    wanted = bvh.constant_lengths(recording.joints_3d * ROOM) * ROOM
    assert same(read.joints_3d, wanted) and same(read.root, recording.root)
    assert same(read.stamp, recording.stamp) and read.root_valid.all() and read.notes == []
    (again,) = write_recording(read, tmp_path / "again.bvh")
    assert same(read_recording(again).joints_3d, wanted)


def test_a_file_of_one_frame_comes_back(tmp_path: Path) -> None:
    recording = whole(1).rows(np.array([3]))
    (path,) = write_recording(recording, tmp_path / "one.bvh")
    assert same(read_recording(path).joints_3d, recording.joints_3d)


def test_our_own_file_that_a_program_wrote_in_another_unit_comes_back(tmp_path: Path) -> None:
    recording = whole(2)
    (path,) = write_recording(recording, tmp_path / "one.bvh")

    def larger(match: re.Match[str]) -> str:
        return match[1] + " ".join(f"{100 * float(word):.6f}" for word in match[2].split())

    head, motion = path.read_text().split("Frame Time:")
    head = re.sub(r"(OFFSET )(.*)", larger, head)
    motion = re.sub(r"(?m)^()(\S+ \S+ \S+)(?= )", larger, motion)
    path.write_text(head + "Frame Time:" + motion)
    read = read_recording(path)
    assert same(read.joints_3d, bvh.constant_lengths(recording.joints_3d * ROOM) * ROOM)
    assert "the unit is cm, and y is up" in read.notes[0]


@pytest.mark.parametrize("up", ["y", "z"])
def test_the_joints_of_another_program_are_found_by_their_names(up: str, tmp_path: Path) -> None:
    turns, root = angles(20), walk(20)
    places, _ = truth(turns, root)
    path = tmp_path / "mixamo.bvh"
    figure = {"turns": turns, "root": root}
    if up == "z":
        # Turns about z, x and y are turns about -y, x and z.
        figure = {"turns": turns * [-1, 1, 1], "root": z_up(root), "order": "YXZ"}
        figure |= {"rest": z_up(T_POSE), "crown": z_up(CROWN)}
    path.write_text(bvh_text(**figure, scale=100, rename=lambda n: f"mixamorig:{n}"))
    read = read_recording(path)
    for joint, name in PLAIN.items():
        assert same(read.joints_3d[:, H36M17.index(joint)], places[name] * ROOM), joint
    pelvis = 0.5 * (places["LeftUpLeg"] + places["RightUpLeg"])
    assert same(read.root, pelvis * ROOM)
    assert np.isfinite(read.joints_3d).all()
    assert read.stamp == pytest.approx(np.arange(20) / FIGURE_RATE_HZ, abs=1e-6)
    assert f"the unit is cm, and {up} is up" in read.notes[0]


def test_unknown_names_are_refused_with_the_names_there_are_and_a_map_helps(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    turns, root = angles(), walk()
    path, out = tmp_path / "odd.bvh", tmp_path / "odd.npz"
    path.write_text(bvh_text(turns, root, rename=lambda n: {"LeftLeg": "Zog"}.get(n, n)))
    line = refused(tmp_path, capfd, "convert", path, "--out", out)
    assert "no joint was found for left_knee" in line and "odd.bvh" in line
    assert all(name in line for name in ["Zog", *NAMES] if name != "LeftLeg")
    (tmp_path / "map.yaml").write_text("left_knee: Zog\n")
    words = ["convert", str(path), "--out", str(out), "--joints", str(tmp_path / "map.yaml")]
    assert main(words) == 0
    knee = read_recording(out).joints_3d[:, H36M17.index("left_knee")]
    assert same(knee, truth(turns, root)[0]["LeftLeg"] * ROOM)


def test_a_size_that_is_no_persons_is_refused_unless_the_unit_is_given(tmp_path: Path) -> None:
    path = tmp_path / "giant.bvh"
    path.write_text(bvh_text(angles(), walk(), scale=7.0))
    with pytest.raises(RecordingError, match="none fits. Give --unit of emf-ros convert"):
        read_recording(path)
    with pytest.raises(RecordingError, match="m long"):
        # The unit is wrong: the bones are no person's.
        read_recording(path, unit="inch")


def test_the_choices_of_a_bvh_are_refused_for_other_files(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    two_people().save(tmp_path / "two.npz")
    words = ["convert", tmp_path / "two.npz", "--unit", "cm", "--out", tmp_path / "two.csv"]
    assert "leave out --joints and --unit" in refused(tmp_path, capfd, *words)
