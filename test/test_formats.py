"""Files of other programs: opened by readers that are not ours, they hold the same poses."""

from __future__ import annotations

import csv
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recordings_of_people import AWAY, CAMERA, IMAGES, RATE_HZ, UNKNOWN, two_people

from emf_ros.cli.main import main
from emf_ros.io.formats import bvh
from emf_ros.io.formats.catalog import FORMATS, READABLE
from emf_ros.io.formats.motion import motion_of
from emf_ros.io.formats.registry import format_of, read_recording, write_recording
from emf_ros.io.outputs import OutputError
from emf_ros.io.recordings import Recording, RecordingError
from emf_ros.skeletons import H36M17

ROOT = Path(__file__).resolve().parents[1]
#: Maximum difference between a joint of a file and of the recording, m.
SAME_M = 1e-4
#: From the camera's optical frame to the room of TRC, C3D and BVH: y up, z towards the camera.
ROOM = (1.0, -1.0, -1.0)


def one(recording: Recording, person: int) -> Recording:
    return recording.rows(recording.track_id == person)


def in_frames(recording: Recording) -> np.ndarray:
    """(IMAGES, 17, 3) m in the room, NaN in images without the person."""
    out = np.full((IMAGES, 17, 3), np.nan)
    out[recording.frame] = recording.joints_3d * ROOM
    return out


def same(a: np.ndarray, b: np.ndarray, within: float = SAME_M) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=within, equal_nan=True))


# ------------------------------------------------------------------ files that hold everything


@pytest.mark.parametrize("suffix", [f.suffix for f in FORMATS if f.reads and not f.one_person])
def test_everything_comes_back(suffix: str, tmp_path: Path) -> None:
    start_s = 1.7e9 if suffix == ".mcap" else 12.0
    recording = two_people(start_s)
    (path,) = write_recording(recording, tmp_path / f"two{suffix}")
    read = read_recording(path)
    assert np.allclose(read.stamp, recording.stamp, rtol=0, atol=1e-6)
    assert np.array_equal(read.track_id, recording.track_id)
    assert np.array_equal(read.root_valid, recording.root_valid)
    for name in ("joints_3d", "root", "joint_stddev"):
        assert same(getattr(read, name), getattr(recording, name)), name
    assert same(read.keypoints_2d, recording.keypoints_2d, 1e-3)
    assert np.isnan(read.joints_3d).any()
    assert read.layout is recording.layout and read.image_size == recording.image_size
    assert read.camera is not None and same(read.camera.matrix, CAMERA.matrix, 1e-9)
    assert read.notes == []


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_answers_about_people_come_back(suffix: str, tmp_path: Path) -> None:
    recording = two_people(body_names=("fallen", "posture"))
    (path,) = write_recording(recording, tmp_path / f"two{suffix}")
    read = read_recording(path)
    assert read.body_names == ("fallen", "posture")
    assert same(read.body, recording.body)


def test_pyarrow_opens_the_parquet(tmp_path: Path) -> None:
    from pyarrow import parquet

    recording = two_people()
    (path,) = write_recording(recording, tmp_path / "two.parquet")
    table = parquet.read_table(path)
    for axis, name in enumerate("xyz"):
        column = table[f"left_knee_{name}"].to_numpy()
        assert same(column, recording.joints_3d[:, H36M17.index("left_knee"), axis])
    assert table["track_id"].to_pylist() == recording.track_id.tolist()


def test_an_unknown_number_is_an_empty_field_of_the_csv(tmp_path: Path) -> None:
    recording = two_people()
    (path,) = write_recording(recording, tmp_path / "two.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    (empty,) = [row for row in rows if row["left_wrist_x"] == ""]
    assert (int(empty["frame"]), int(empty["track_id"])) == (UNKNOWN[0], 1)
    assert "nan" not in path.read_text()
    knee = np.array([float(row["left_knee_z"]) for row in rows])
    assert same(knee, recording.joints_3d[:, H36M17.index("left_knee"), 2])


@pytest.mark.parametrize(
    ("start_s", "why"), [(-5.0, "no times before 1970"), (2.0**31, "from 2038 on")]
)
def test_stamps_that_messages_cannot_hold_are_refused(start_s, why, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=why):
        write_recording(two_people(start_s), tmp_path / "two.mcap")
    assert not list(tmp_path.iterdir())


def test_the_mcap_reader_finds_our_messages_and_markers(tmp_path: Path) -> None:
    from mcap.reader import make_reader
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    recording = two_people()
    (path,) = write_recording(recording, tmp_path / "two.mcap")
    store, found = get_typestore(Stores.EMPTY), {}
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
            # The types are those that the file itself describes.
            types = get_types_from_msg(schema.data.decode(), schema.name)
            store.register({k: v for k, v in types.items() if k not in store.fielddefs})
            read = store.deserialize_cdr(message.data, schema.name)
            found.setdefault(channel.topic, []).append((message.log_time, read))
    assert {name: len(messages) for name, messages in found.items()} == {
        "/keypoint_layout": 1,
        "/layout": 1,
        **dict.fromkeys(("/keypoints", "/skeletons", "/camera_info", "/markers"), IMAGES),
    }
    foxglove = (ROOT / "config" / "foxglove_layout.json").read_text("utf-8")
    assert all(f'"{topic}"' in foxglove for topic in ("/markers", "/camera_info"))
    assert found["/layout"][0][1].joint_names == list(H36M17.joints)
    rows = 0
    for time_ns, message in found["/skeletons"]:
        stamp = message.header.stamp
        assert stamp.sec * 10**9 + stamp.nanosec == time_ns
        for person in message.skeletons:
            joints = [(j.position.x, j.position.y, j.position.z) for j in person.joints]
            assert person.track_id == recording.track_id[rows]
            assert same(np.array(joints), recording.joints_3d[rows])
            rows += 1
    assert rows == len(recording)
    marker = found["/markers"][0][1].markers[0]
    points = np.array([(p.x, p.y, p.z) for p in marker.points])
    assert (marker.ns, marker.header.frame_id) == ("person_1", "camera_optical_frame")
    assert same(points, recording.joints_3d[0])
    # The person who is away is deleted once.
    deleted = [m for _, array in found["/markers"] for m in array.markers if m.action == 2]
    assert {m.ns for m in deleted} == {"person_2"} and len(deleted) == 2


def test_rerun_reads_the_rrd(tmp_path: Path) -> None:
    (path,) = write_recording(two_people(), tmp_path / "two.rrd")
    rerun = [sys.executable, "-m", "rerun", "rrd"]
    subprocess.run([*rerun, "verify", str(path)], check=True, capture_output=True, timeout=800)
    words = [*rerun, "print", str(path)]
    printed = subprocess.run(words, check=True, capture_output=True, text=True, timeout=800).stdout
    for entity in ("/camera/people/1/joints", "/camera/people/2/bones", "/camera/image/people/1"):
        assert entity in printed


def test_an_rrd_without_intrinsics_says_what_it_lacks(tmp_path: Path) -> None:
    recording, said = two_people(), []
    recording.camera = None
    write_recording(recording, tmp_path / "two.rrd", tell=said.append)
    assert "keypoints are not in rrd without intrinsics" in " ".join(said)
    recording.root_valid[:] = False
    with pytest.raises(RecordingError, match="it would be empty"):
        write_recording(recording, tmp_path / "none.rrd")


# ------------------------------------------------------------------ files of one person


@pytest.mark.parametrize("suffix", [f.suffix for f in FORMATS if f.one_person])
def test_a_file_for_each_person(suffix: str, tmp_path: Path) -> None:
    paths = write_recording(two_people(), tmp_path / f"two{suffix}")
    assert [path.name for path in paths] == [f"two_person{n}{suffix}" for n in (1, 2)]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    (alone,) = write_recording(one(two_people(), 2), tmp_path / f"alone{suffix}")
    assert alone.name == f"alone{suffix}"


def first_without_place() -> Recording:
    """Two people, the first of whom no format of one person can hold."""
    recording = two_people()
    first = recording.track_id == 1
    recording.root_valid[first], recording.root[first] = False, np.nan
    return recording


@pytest.mark.parametrize("suffix", [f.suffix for f in FORMATS if f.one_person])
def test_a_person_that_a_format_cannot_hold_does_not_stop_the_others(
    suffix: str, tmp_path: Path
) -> None:
    told: list[str] = []
    (path,) = write_recording(first_without_place(), tmp_path / f"two{suffix}", tell=told.append)
    assert path.name == f"two_person2{suffix}" and list(tmp_path.iterdir()) == [path]
    assert f"two_person1{suffix}: the place of the person is not known" in told[-1]


def test_an_output_that_cannot_be_written_does_not_stop_the_others(tmp_path: Path, capfd) -> None:
    first_without_place().save(tmp_path / "in.npz")
    outs = [tmp_path / name for name in ("a.bvh", "b.csv", "c.trc", "d.npz")]
    words = [word for out in outs for word in ("--out", str(out))]
    assert main(["convert", str(tmp_path / "in.npz"), "--person", "1", *words]) == 1
    printed = capfd.readouterr()
    assert printed.out.splitlines() == [str(outs[1]), str(outs[3])]
    assert [line.split(":")[0].split("/")[-1] for line in printed.err.splitlines()] == [
        "a.bvh",
        "emf-ros",
    ]
    assert len(read_recording(outs[1])) == len(read_recording(outs[3])) == IMAGES


@pytest.mark.parametrize("start_s", [0.0, 12.5, 1.7e9])
@pytest.mark.parametrize("suffix", [".trc", ".c3d"])
@pytest.mark.parametrize("person", [1, 2])
def test_poses_of_one_person_come_back(
    suffix: str, person: int, start_s: float, tmp_path: Path
) -> None:
    recording = one(two_people(start_s), person)
    (path,) = write_recording(recording, tmp_path / f"one{suffix}")
    read = read_recording(path)
    assert same(read.joints_3d, recording.joints_3d) and same(read.root, recording.root)
    assert np.allclose(read.stamp, recording.stamp, rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".trc", ".c3d"])
def test_points_with_other_programs_names_are_the_joints_of_the_limbs(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = one(two_people(), 2)
    names = tuple(
        {"left": "L", "right": "R"}[joint.split("_")[0]] + joint.split("_")[1].capitalize()
        if joint.startswith(("left_", "right_"))
        else f"the_{joint}"
        for joint in H36M17.joints
    )
    assert names[H36M17.index("left_knee")] == "LKnee"
    with monkeypatch.context() as changed:
        changed.setattr(f"emf_ros.io.formats.{suffix[1:]}.H36M17", replace(H36M17, joints=names))
        (path,) = write_recording(recording, tmp_path / f"one{suffix}")
    read = read_recording(path)
    limbs = [i for i, joint in enumerate(H36M17.joints) if "_" in joint and joint != "head_top"]
    assert len(limbs) == 12 and same(read.joints_3d[:, limbs], recording.joints_3d[:, limbs])
    assert same(read.root, recording.joints_3d[:, [1, 4]].mean(axis=1))
    assert np.isnan(read.joints_3d[:, H36M17.index("nose")]).all()
    assert "not read: the_pelvis" in read.notes[0]


def test_another_reader_opens_the_trc(tmp_path: Path) -> None:
    import trc

    recording = one(two_people(), 2)
    (path,) = write_recording(recording, tmp_path / "two.trc")
    data = trc.TRCData()
    data.load(str(path))
    assert (data["NumFrames"], data["Units"], data["DataRate"]) == (IMAGES, "m", RATE_HZ)
    assert data["Markers"] == list(H36M17.joints)
    points = np.array([data[joint] for joint in H36M17.joints]).transpose(1, 0, 2)
    wanted = in_frames(recording)
    present = np.isfinite(wanted[:, 0, 0])
    assert same(points[present], wanted[present])
    lines = path.read_text().splitlines()[6:]
    assert [i for i, line in enumerate(lines) if not line.split("\t")[2]] == list(AWAY)


def test_ezc3d_opens_the_c3d(tmp_path: Path) -> None:
    import ezc3d

    recording = one(two_people(), 2)
    (path,) = write_recording(recording, tmp_path / "two.c3d")
    file = ezc3d.c3d(str(path))
    point = file["parameters"]["POINT"]
    assert point["UNITS"]["value"] == ["mm"] and point["RATE"]["value"][0] == RATE_HZ
    assert point["LABELS"]["value"] == list(H36M17.joints)
    points = file["data"]["points"][:3].transpose(2, 1, 0) / 1000
    residual = file["data"]["meta_points"]["residuals"][0].T
    wanted = in_frames(recording)
    known = np.isfinite(wanted).all(axis=2)
    assert same(points[known], wanted[known])
    assert (residual[~known] == -1).all() and (residual[known] == 0).all()
    assert (~known).sum() == 17 * len(AWAY)


@pytest.mark.parametrize("stamps", [[0, 1 / 30, 0.2], [0, 1 / 30, 2 / 30, 0.5, 0.9], [0.0]])
@pytest.mark.parametrize("suffix", [f.suffix for f in FORMATS if f.one_person])
def test_a_person_of_few_images_with_gaps_has_a_file(suffix, stamps, tmp_path: Path) -> None:
    recording = one(two_people(), 1)
    recording = recording.rows(np.arange(len(recording.stamp)) < len(stamps))
    recording.stamp = np.array(stamps, float)
    (path,) = write_recording(recording, tmp_path / f"one{suffix}")
    assert len(read_recording(path)) >= 1


@pytest.mark.parametrize("taken", [1, 3, 8, 100, 200])
def test_a_trc_that_ends_within_its_last_line_is_refused(taken: int, tmp_path: Path) -> None:
    (path,) = write_recording(one(two_people(), 1), tmp_path / "one.trc")
    whole = path.read_bytes()
    path.write_bytes(whole[: -1 - taken])
    with pytest.raises(RecordingError, match="may be cut: end that line with a newline|convert"):
        read_recording(path)
    # Some programs end no last line.
    path.write_bytes(whole[:-1])
    assert len(read_recording(path)) == IMAGES


def test_a_bvh_whose_last_number_may_be_cut_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (path,) = write_recording(one(two_people(), 1), tmp_path / "one.bvh")
    path.write_text(path.read_text().rstrip()[:-2])
    with pytest.raises(RecordingError, match="it was cut .end its last line if it is whole"):
        read_recording(path)


def test_a_c3d_of_over_255_points_is_read(tmp_path: Path) -> None:
    import ezc3d

    (path,) = write_recording(one(two_people(), 1), tmp_path / "one.c3d")
    file = ezc3d.c3d(str(path))
    names = file["parameters"]["POINT"]["LABELS"]["value"]
    points = file["data"]["points"]
    more = [f"marker{number}" for number in range(300)]
    made = ezc3d.c3d()
    made["parameters"]["POINT"]["RATE"]["value"] = [RATE_HZ]
    made["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    made["parameters"]["POINT"]["LABELS"]["value"] = [*more, *names]
    made["data"]["points"] = np.concatenate([np.zeros((4, 300, points.shape[2])), points], axis=1)
    made.write(str(tmp_path / "lab.c3d"))
    read, alone = read_recording(tmp_path / "lab.c3d", up="y"), read_recording(path)
    assert same(read.joints_3d, alone.joints_3d, 1e-3)


def test_up_is_up_in_a_room(tmp_path: Path) -> None:
    (path,) = write_recording(one(two_people(), 1), tmp_path / "one.trc")
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    names = rows[3][2::3]
    y = dict(zip(names, map(float, rows[6][3::3]), strict=False))
    assert y["head_top"] > y["pelvis"] > y["left_ankle"]


# ------------------------------------------------------------------ bvh


def positions(path: Path) -> tuple[np.ndarray, dict[str, int], np.ndarray]:
    """World positions by pybvh: (N, nodes, 3), the nodes' numbers by name, the rest pose."""
    import pybvh

    file = pybvh.read_bvh_file(str(path))
    names = {node.name: number for number, node in enumerate(file.nodes)}
    return file.node_positions(), names, file.rest_pose_positions()


def test_another_reader_gets_the_joints_of_the_bvh(tmp_path: Path) -> None:
    """Forward kinematics of the file gives the skeleton with the mean lengths of its bones."""
    recording = one(two_people(), 1)
    recording = recording.rows(np.isfinite(recording.joints_3d).all(axis=(1, 2)))
    recording = replace(recording, stamp=np.arange(len(recording)) / RATE_HZ)
    (path,) = write_recording(recording, tmp_path / "one.bvh")
    found, names, _ = positions(path)
    joints = recording.joints_3d * ROOM
    wanted = bvh.constant_lengths(joints)
    for bone in bvh.BONES:
        at = found[:, names[bone.name]]
        assert same(at, wanted[:, H36M17.index(bone.begins)]), bone.name
    for end in ("Head", "LeftForeArm", "RightForeArm", "LeftLeg", "RightLeg"):
        (bone,) = [bone for bone in bvh.BONES if bone.name == end]
        at = found[:, names[f"EndSite{end}"]]
        assert same(at, wanted[:, H36M17.index(bone.ends)]), end
    # Only the changes of the bones' lengths are lost.
    assert np.linalg.norm(wanted - joints, axis=2).max() < 0.3


def test_a_body_of_constant_lengths_is_the_same_in_the_bvh(tmp_path: Path) -> None:
    recording = one(two_people(), 1)
    recording = recording.rows(np.isfinite(recording.joints_3d).all(axis=(1, 2)))
    constant = bvh.constant_lengths(recording.joints_3d * ROOM)
    recording = replace(
        recording, joints_3d=constant * ROOM, stamp=np.arange(len(recording)) / RATE_HZ
    )
    (path,) = write_recording(recording, tmp_path / "one.bvh")
    found, names, _ = positions(path)
    at = found[:, [names[bone.name] for bone in bvh.BONES]]
    assert same(at, constant[:, [H36M17.index(bone.begins) for bone in bvh.BONES]])


def test_the_rest_pose_of_the_bvh_is_a_t_pose(tmp_path: Path) -> None:
    (path,) = write_recording(one(two_people(), 2), tmp_path / "two.bvh")
    _, names, rest = positions(path)
    at = {name: rest[number] for name, number in names.items()}
    lengths = bvh.bone_lengths(in_frames(one(two_people(), 2)))
    length = {bone.name: lengths[number] for number, bone in enumerate(bvh.BONES)}
    # It stands along y, looks along z, and its left is at +x.
    assert at["EndSiteHead"][1] > at["Neck"][1] > at["Hips"][1] > at["EndSiteLeftLeg"][1]
    assert at["Head"][2] > at["Neck"][2]
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        arm = at[f"{side}ForeArm"] - at[f"{side}Arm"]
        assert same(arm, np.array([sign * length[f"{side}Arm"], 0, 0]), 1e-5)
        leg = at[f"{side}Leg"] - at[f"{side}UpLeg"]
        assert same(leg, np.array([0, -length[f"{side}UpLeg"], 0]), 1e-5)


def test_angles_of_the_bvh_do_not_jump(tmp_path: Path) -> None:
    import pybvh

    (path,) = write_recording(one(two_people(), 1), tmp_path / "one.bvh")
    turn = np.abs(np.diff(pybvh.read_bvh_file(str(path)).joint_angles, axis=0))
    assert turn.max() < 45
    rest = {bone.name for bone in bvh.BONES}
    assert len(rest) == len(bvh.BONES) == 16


def test_an_unknown_bone_keeps_its_direction_in_the_bvh_and_a_note_says_so(tmp_path: Path) -> None:
    notes: list[str] = []
    (path,) = write_recording(one(two_people(), 1), tmp_path / "one.bvh", tell=notes.append)
    found, names, _ = positions(path)
    (note,) = notes
    assert f"1 of {IMAGES} frames have an unknown joint" in note
    hand, elbow = (found[:, names[n]] for n in ("EndSiteLeftForeArm", "LeftForeArm"))
    frame = UNKNOWN[0]
    assert same((hand - elbow)[frame], (hand - elbow)[frame - 1], 1e-5)


# ------------------------------------------------------------------ times


def test_stamps_of_milliseconds_are_a_constant_rate() -> None:
    recording = one(two_people(), 2)
    rounded = replace(recording, stamp=np.round(recording.stamp, 3))
    motion = motion_of(rounded)
    assert motion.rate_hz == pytest.approx(RATE_HZ, rel=1e-3) and motion.notes == []
    assert same(motion.joints, in_frames(recording))


def test_uneven_stamps_are_interpolated_and_gaps_are_not() -> None:
    recording = one(two_people(), 2)
    rng = np.random.default_rng(0)
    moved = recording.stamp + rng.uniform(-0.3, 0.3, len(recording)) / RATE_HZ
    late = moved > 1.0
    motion = motion_of(replace(recording, stamp=moved + 0.5 * late))
    assert "interpolated" in motion.notes[0]
    gap = (motion.time_s > moved[~late][-1]) & (motion.time_s < moved[late][0] + 0.5)
    assert np.isnan(motion.joints[gap]).all() and gap.sum() > 10
    # The five images without the person are a gap, too.
    assert np.isfinite(motion.joints[~gap]).mean() > 0.8


# ------------------------------------------------------------------ documentation


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    page = ROOT / "docs" / "reference" / "formats.md"
    rows = [
        f"| `{f.suffix}` | {f.name} | {'yes' if f.reads else 'no'} | "
        f"{'yes' if f.writes else 'no'} | {'one' if f.one_person else 'all'} | {f.holds} | "
        f"{', '.join(f.pip.split())} |".replace("|  |", "| |")
        for f in FORMATS
    ]
    assert "\n".join(rows) in page.read_text("utf-8")


# ------------------------------------------------------------------ refusals


def refused(tmp_path: Path, capfd: pytest.CaptureFixture, *words: object) -> str:
    """The one line with which a command refuses."""
    before = sorted(tmp_path.rglob("*"))
    assert main([str(word) for word in words]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert sorted(tmp_path.rglob("*")) == before
    return line


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    path = tmp_path / "two.npz"
    two_people().save(path)
    return path


def test_convert_writes_several_files(npz: Path, tmp_path: Path, capfd) -> None:
    outs = [tmp_path / name for name in ("a.csv", "b.trc", "c.parquet")]
    words = [word for out in outs for word in ("--out", str(out))]
    assert main(["convert", str(npz), *words, "--person", "2"]) == 0
    assert capfd.readouterr().out.splitlines() == [str(out) for out in outs]
    for out in outs:
        assert len(read_recording(out)) == IMAGES - len(AWAY)


def test_an_unknown_ending_is_refused_with_those_that_are_known(npz, tmp_path, capfd) -> None:
    line = refused(tmp_path, capfd, "convert", npz, "--out", tmp_path / "x.fbx")
    assert "'.fbx'" in line and all(f.suffix in line for f in FORMATS)
    line = refused(tmp_path, capfd, "convert", npz, "--out", tmp_path / "x")
    assert "has no ending" in line
    (tmp_path / "x.rrd").write_text("RRF2")
    line = refused(tmp_path, capfd, "convert", tmp_path / "x.rrd", "--out", tmp_path / "x.npz")
    assert "rerun, which is not read" in line and all(suffix in line for suffix in READABLE)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    extras = (ROOT / "setup.py").read_text("utf-8")
    for found in FORMATS:
        if not found.packages:
            assert format_of(f"x{found.suffix}", to_write=True) is found
            continue
        # A name on PyPI works where colcon has installed emf_ros, and pip knows no extra.
        assert all(f'"{name}>=' in extras for name in found.pip.split())
        with pytest.raises(RecordingError, match=rf"pip install {found.pip}$"):
            format_of(f"x{found.suffix}", to_write=True)


@pytest.mark.parametrize("suffix", [f.suffix for f in FORMATS if f.one_person])
def test_nobody_in_a_recording_is_refused(suffix: str, tmp_path: Path, capfd) -> None:
    empty = two_people().rows(np.zeros(0, dtype=np.int64))
    empty.save(tmp_path / "empty.npz")
    line = refused(
        tmp_path, capfd, "convert", tmp_path / "empty.npz", "--out", tmp_path / f"x{suffix}"
    )
    assert "there is no person" in line


@pytest.mark.parametrize("suffix", [f.suffix for f in FORMATS if f.one_person])
def test_poses_without_a_place_are_refused(suffix: str, tmp_path: Path, capfd) -> None:
    recording = one(two_people(), 1)
    recording.root_valid[:], recording.root[:], recording.camera = False, np.nan, None
    recording.save(tmp_path / "one.npz")
    line = refused(
        tmp_path, capfd, "convert", tmp_path / "one.npz", "--out", tmp_path / f"x{suffix}"
    )
    assert "--camera-info or --fov" in line


def test_a_person_who_is_not_there_is_refused(npz, tmp_path, capfd) -> None:
    line = refused(tmp_path, capfd, "convert", npz, "--person", 7, "--out", tmp_path / "x.csv")
    assert "no person 7; it has 1, 2" in line


def test_damaged_files_are_refused_by_name(tmp_path: Path, capfd) -> None:
    for suffix in READABLE:
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(b"\x00garbage" * 50)
        line = refused(tmp_path, capfd, "convert", path, "--out", tmp_path / "x.npz")
        assert path.name in line, suffix
        path.write_bytes(b"")
        line = refused(tmp_path, capfd, "convert", path, "--out", tmp_path / "x.npz")
        assert path.name in line, suffix
        whole = write_recording(one(two_people(), 1), tmp_path / f"whole{suffix}")[0]
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        try:
            read = read_recording(path)
        except RecordingError as error:
            assert path.name in str(error) and "\n" not in str(error)
        else:
            raise AssertionError(f"half a {suffix} was read as {len(read)} rows")


@pytest.mark.parametrize("suffix", [f.suffix for f in FORMATS])
def test_a_full_disk_is_reported_and_leaves_no_file(suffix: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OutputError, match="larger than is allowed"):
            write_recording(two_people(), tmp_path / f"x{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []
