"""Which axis is up in TRC and C3D of other programs: people who stand must not lie."""

from __future__ import annotations

from pathlib import Path

import ezc3d
import numpy as np
import pytest
from recordings_of_people import two_people
from test_formats import ROOM, one, same

from emf_ros.cli.main import main
from emf_ros.io.formats.registry import read_recording, write_recording
from emf_ros.io.recordings import Recording, RecordingError
from emf_ros.skeletons import H36M17

#: The joints of the limbs, and their names in a file of another program.
LIMBS = {
    f"{side}_{joint}": f"{side[0].upper()}{joint.capitalize()}"
    for side in ("left", "right")
    for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
}
LEGS = tuple(joint for joint in LIMBS if joint.partition("_")[2] in ("hip", "knee", "ankle"))


def standing() -> Recording:
    return one(two_people(), 2)


def with_z_up(recording: Recording, joints: tuple[str, ...] = tuple(LIMBS)) -> np.ndarray:
    """(N, K, 3) m, some joints in a room with z up."""
    points = recording.joints_3d[:, [H36M17.index(joint) for joint in joints]] * ROOM
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def write_points(
    path: Path, points: np.ndarray, joints: tuple[str, ...] = tuple(LIMBS), y_screen: str = ""
) -> Path:
    """A file as of another program, at 30 Hz; of a C3D `y_screen` is its statement, if any."""
    names = [LIMBS[joint] for joint in joints]
    if path.suffix == ".trc":
        head = [
            "PathFileType\t4\t(X/Y/Z)\tclip.trc",
            "DataRate\tNumFrames\tNumMarkers\tUnits",
            f"30\t{len(points)}\t{len(names)}\tm",
            "Frame#\tTime\t" + "\t\t\t".join(names),
            "",
        ]
        rows = [
            "\t".join([str(i + 1), f"{i / 30:.6f}", *(f"{v:.6f}" for v in row.ravel())])
            for i, row in enumerate(points)
        ]
        path.write_text("\n".join([*head, *rows]) + "\n")
        return path
    file = ezc3d.c3d()
    file.add_parameter("POINT", "RATE", [30.0])
    file.add_parameter("POINT", "LABELS", names)
    file.add_parameter("POINT", "UNITS", ["mm"])
    if y_screen:
        file.add_parameter("POINT", "X_SCREEN", ["+X"])
        file.add_parameter("POINT", "Y_SCREEN", [y_screen])
    out = np.ones((4, len(names), len(points)))
    out[:3] = 1000 * points.transpose(2, 1, 0)
    file["data"]["points"] = out
    file.write(str(path))
    return path


def stands(read: Recording, truth: Recording, joints: tuple[str, ...] = tuple(LIMBS)) -> bool:
    at = [H36M17.index(joint) for joint in joints]
    return same(read.joints_3d[:, at], truth.joints_3d[:, at])


@pytest.mark.parametrize(
    ("name", "y_screen", "why"),
    [
        ("a.c3d", "+Z", "z is up, by its Y_SCREEN"),
        ("a.c3d", "", "z is up, as the people's trunk or legs show"),
        ("a.trc", "", "z is up, as the people's trunk or legs show"),
    ],
)
def test_people_of_a_file_with_z_up_stand(
    name: str, y_screen: str, why: str, tmp_path: Path
) -> None:
    truth = standing()
    read = read_recording(write_points(tmp_path / name, with_z_up(truth), y_screen=y_screen))
    assert stands(read, truth) and why in read.notes


def test_legs_alone_show_which_axis_is_up(tmp_path: Path) -> None:
    truth = standing()
    path = write_points(tmp_path / "a.trc", with_z_up(truth, LEGS), LEGS)
    assert stands(read_recording(path), truth, LEGS)


@pytest.mark.parametrize(
    ("name", "y_screen", "turned", "message"),
    [
        ("a.c3d", "+Y", False, "y is up by its Y_SCREEN, and z by the people's trunk or legs"),
        ("a.c3d", "-Z", False, "'-Z' is up by its Y_SCREEN, and only y or z are read"),
        ("a.c3d", "a\nb" * 30, False, r"'A\\nBA.*\.\.\.' is up by its Y_SCREEN, and only y"),
        ("a.trc", "", True, r"does not say which axis is up, and .* along \(-?[01].\d\d, "),
        ("a.c3d", "", True, "does not say which axis is up"),
    ],
)
def test_a_file_whose_up_cannot_be_told_is_refused_without_the_option(
    name: str,
    y_screen: str,
    turned: bool,
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
) -> None:
    truth, out = standing(), tmp_path / "out.npz"
    if turned:
        # A person who lies along x.
        truth.joints_3d = truth.joints_3d[..., [1, 0, 2]] * (-1.0, 1.0, 1.0)
    path = write_points(tmp_path / name, with_z_up(truth), y_screen=y_screen)
    with pytest.raises(RecordingError, match=f"{message}.*give --up y or --up z of emf-ros"):
        read_recording(path)
    assert main(["view", str(path)]) == 1 and "give --up" in capfd.readouterr().err
    assert main(["convert", str(path), "--up", "z", "--out", str(out)]) == 0
    assert stands(read_recording(out), truth)


def test_points_without_trunk_and_legs_need_the_option(tmp_path: Path) -> None:
    joints = ("left_hip", "right_hip", "left_wrist")
    path = write_points(tmp_path / "a.trc", with_z_up(standing(), joints), joints)
    with pytest.raises(RecordingError, match="neither trunk nor legs: give --up"):
        read_recording(path)
    assert stands(read_recording(path, up="z"), standing(), joints)


@pytest.mark.parametrize("suffix", [".trc", ".c3d"])
def test_people_who_lie_in_our_own_files_still_lie(suffix: str, tmp_path: Path) -> None:
    lying = standing()
    # The trunk points towards the camera, which is z in the room.
    lying.joints_3d = lying.joints_3d[..., [0, 2, 1]] * (1.0, -1.0, 1.0) + (0.0, 0.0, 6.0)
    lying.root = lying.joints_3d[:, H36M17.index("pelvis")]
    (path,) = write_recording(lying, tmp_path / f"lying{suffix}")
    read = read_recording(path)
    assert same(read.joints_3d, lying.joints_3d) and not read.notes


def test_up_is_no_choice_of_a_recording(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    standing().save(tmp_path / "a.npz")
    words = ["convert", str(tmp_path / "a.npz"), "--up", "z", "--out", str(tmp_path / "a.csv")]
    assert main(words) == 1
    assert "is no BVH, TRC or C3D: leave out --up" in capfd.readouterr().err
