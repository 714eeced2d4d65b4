"""Damaged and lying files of other programs: a sound recording or video, or one line."""

from __future__ import annotations

import functools
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import damage, lies, read_or_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import grown_mb
from recordings_of_people import two_people
from test_bags import write_bag

from emf_ros.io import recordings
from emf_ros.io.bag_types import message_types
from emf_ros.io.formats import c3d, trc
from emf_ros.io.formats.registry import read_recording, write_recording
from emf_ros.io.frame_source import VideoError
from emf_ros.io.recordings import Recording, RecordingError
from emf_ros.io.video import frames_of, open_source

#: Maximum memory that reading a small file may take, MB.
MAX_MB = 500

#: Fewer examples of what opens a bag; very few of what starts a process.
FEWER = settings(max_examples=settings.default.max_examples // 4)
FEWEST = settings(max_examples=max(4, settings.default.max_examples // 50))


def short(start_s: float = 1.7e9) -> Recording:
    return two_people(start_s).rows(np.arange(12))


def one(recording: Recording) -> Recording:
    return recording.rows(recording.track_id == 1)


@functools.cache
def written(suffix: str) -> bytes:
    recording = one(short()) if suffix in (".trc", ".c3d", ".bvh") else short()
    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_recording(recording, Path(folder) / f"in{suffix}")
        return path.read_bytes()


def read_checked(path: Path) -> Recording:
    """A recording, which is sound whatever the file says."""
    with grown_mb() as grown:
        recording = read_recording(path)
    assert grown() < MAX_MB
    assert np.isfinite(recording.stamp).all() and np.abs(recording.stamp).max() < 9.3e9
    for name in ("keypoints_2d", "joints_3d", "joint_stddev", "root"):
        assert not np.isinf(getattr(recording, name)).any()
    assert np.isfinite(recording.root[recording.root_valid]).all()
    return recording


@FEWER
@given(st.data(), st.sampled_from([".csv", ".trc", ".bvh"]))
def test_a_damaged_text_of_other_programs_is_read_or_refused(data: Any, suffix: str) -> None:
    changed = data.draw(damage(written(suffix)))
    read_or_refused(read_checked, changed, RecordingError, f"in{suffix}")


@FEWER
@given(st.data())
def test_a_lying_parquet_is_read_or_refused(data: Any) -> None:
    changed = data.draw(lies(written(".parquet")))
    read_or_refused(read_checked, changed, RecordingError, "in.parquet")


@FEWER
@given(st.data())
def test_a_lying_mcap_is_read_or_refused(data: Any) -> None:
    changed = data.draw(lies(written(".mcap")))
    read_or_refused(read_checked, changed, RecordingError, "in.mcap")


@FEWEST
@given(st.data())
def test_a_lying_c3d_is_read_or_refused(data: Any) -> None:
    changed = data.draw(lies(written(".c3d")))
    read_or_refused(read_checked, changed, RecordingError, "in.c3d")


@functools.cache
def bag(part: str) -> tuple[dict[str, bytes], str]:
    """The files of a bag of images, and the name of the one that is changed."""
    with tempfile.TemporaryDirectory() as folder:
        made = write_bag(Path(folder) / ("bag.mcap" if part == ".mcap" else "bag"))
        made = made.parent if made.is_file() else made
        files = {path.name: path.read_bytes() for path in made.iterdir()}
    return files, next(name for name in files if name.endswith(part))


@FEWER
@given(st.data(), st.sampled_from([".db3", ".mcap", ".yaml"]))
def test_a_damaged_bag_of_images_is_read_or_refused(data: Any, part: str) -> None:
    files, name = bag(part)
    changed = {**files, name: data.draw((damage if part == ".yaml" else lies)(files[name]))}

    def read(path: Path) -> int:
        folder = path.parent / "in"
        folder.mkdir()
        for one_name, content in changed.items():
            (folder / one_name).write_bytes(content)
        with grown_mb() as grown:
            video = open_source(folder)
            try:
                count = sum(1 for _ in frames_of(video))
            finally:
                video.close()
        assert grown() < MAX_MB
        return count

    count = read_or_refused(read, b"", VideoError, "in.txt")
    assert count is None or count < 1000


# ------------------------------------------------------------------------------ numbers


def test_infinite_and_absurd_numbers_are_unknown_and_said(tmp_path: Path) -> None:
    recording = short()
    recording.joints_3d[0, 3] = np.inf
    recording.keypoints_2d[1, 2, 0] = 1e30
    recording.root[2] = np.nan
    for suffix in (".npz", ".csv", ".parquet", ".mcap"):
        (path,) = write_recording(recording, tmp_path / f"in{suffix}")
        read = read_checked(path)
        assert np.isnan(read.joints_3d[0, 3]).all() and np.isnan(read.keypoints_2d[1, 2, 0])
        assert not read.root_valid[2] and read.root_valid.sum() == len(read) - 1
        assert len(read.notes) == 3


def trc_of(text: str, folder: Path) -> Path:
    path = folder / "in.trc"
    path.write_text(text)
    return path


def test_a_trc_without_times_is_refused(tmp_path: Path) -> None:
    lines = written(".trc").decode().split("\n")
    cells = lines[6].split("\t")
    lines[6] = "\t".join([cells[0], "", *cells[2:]])
    with pytest.raises(RecordingError, match="stamp is not finite"):
        read_recording(trc_of("\n".join(lines), tmp_path))


def test_a_small_trc_of_many_points_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trc, "MAX_POINTS", 200_000)
    names = "\t\t\t".join(["pelvis", *(f"p{number}" for number in range(20_000))])
    head = "PathFileType\t4\n" + "Units\nm\n" + f"Frame#\tTime\t{names}\n"
    path = trc_of(head + "1\t0\n" * 100, tmp_path)
    with pytest.raises(RecordingError, match="over 200000 points"):
        read_recording(path)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet", ".mcap"])
def test_more_rows_than_memory_holds_are_refused(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_recording(short(), tmp_path / f"in{suffix}")
    monkeypatch.setattr(recordings, "MAX_ROWS", 5)
    with pytest.raises(RecordingError, match="rows, and at most 5 are read: split it"):
        read_recording(path)


def test_ids_that_a_message_cannot_hold_are_refused(tmp_path: Path) -> None:
    for number in (-1, 2**32):
        recording = short()
        recording.track_id[:] = number
        with pytest.raises(RecordingError, match="has ids in 0..4294967295"):
            write_recording(recording, tmp_path / "out.mcap")


# ------------------------------------------------------------------------------ parquet


def parquet(folder: Path, change: Any) -> Path:
    import pyarrow
    from pyarrow import parquet

    (path,) = write_recording(short(), folder / "in.parquet")
    table = parquet.read_table(path)
    names, columns = change(list(table.column_names), list(table.columns))
    parquet.write_table(pyarrow.table(columns, names=names), path)
    return path


def test_a_parquet_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path, lambda names, columns: ([*names, "root_x"], [*columns, columns[4]]))
    with pytest.raises(RecordingError, match="column root_x twice"):
        read_recording(path)


def test_dates_are_no_coordinates(tmp_path: Path) -> None:
    import pyarrow

    def dated(names: list[str], columns: list[Any]) -> tuple[list[str], list[Any]]:
        dates = pyarrow.array(np.arange(len(columns[0])).astype("M8[s]"))
        return names, [dates if n == "root_x" else c for n, c in zip(names, columns, strict=True)]

    with pytest.raises(RecordingError, match="column root_x holds no numbers"):
        read_recording(parquet(tmp_path, dated))


# ------------------------------------------------------------------------------ bags


def mcap(folder: Path, messages: list[Any], definition: Any = lambda text: text) -> Path:
    """A file of messages of keypoints, whose definition may be changed."""
    from mcap.writer import Writer

    kind, store, path = "emf_ros_msgs/msg/Skeleton2DArray", message_types(), folder / "in.mcap"
    with open(path, "wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="test")
        text = definition(store.generate_msgdef(kind, ros_version=2)[0])
        schema = writer.register_schema(kind, "ros2msg", text.encode())
        channel = writer.register_channel("keypoints", "cdr", schema)
        for message in messages:
            writer.add_message(channel, 1, bytes(store.serialize_cdr(message, kind)), 1)
        writer.finish()
    return path


def people(count: int = 17, layout: str = "coco17", second: int = 1) -> Any:
    """A message of one person with some keypoints."""
    types = message_types().types

    def make(name: str, **fields: Any) -> Any:
        return types[f"emf_ros_msgs/msg/{name}"](**fields)

    stamp = types["builtin_interfaces/msg/Time"](sec=second, nanosec=0)
    return make(
        "Skeleton2DArray",
        header=types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera"),
        layout=layout,
        image_width=640,
        image_height=480,
        detect_ms=0.0,
        skeletons=[
            make(
                "Skeleton2D",
                track_id=1,
                score=1.0,
                bbox=np.zeros(4, np.float32),
                keypoints=[make("Keypoint2D", x=1.0, y=2.0, score=1.0)] * count,
            )
        ],
    )


def test_people_of_a_bag_with_other_keypoints_than_their_layout_are_refused(tmp_path: Path) -> None:
    assert len(read_recording(mcap(tmp_path, [people()]))) == 1
    with pytest.raises(RecordingError, match="has 16 keypoints, not 17"):
        read_recording(mcap(tmp_path, [people(16)]))
    with pytest.raises(RecordingError, match="layout changes from coco17 to blazepose33"):
        read_recording(mcap(tmp_path, [people(), people(33, "blazepose33", 2)]))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "emf_ros_msgs/Skeleton2D[] skeletons",
            "",
            "skeletons of its .* is missing",
        ),
        ("emf_ros_msgs/Keypoint2D[] keypoints", "string keypoints", "is of another type"),
        ("string layout", "string[900000000] layout", "is an array of 900000000 values"),
        ("float32 detect_ms", "emf_ros_msgs/Skeleton2DArray itself", "recursion"),
        ("float32 detect_ms", "float32 detect_ms\n#" + "x" * 200_000, "over 200000 characters"),
        ("float32 detect_ms", "float32 = ?", "Could not parse"),
    ],
    ids=["missing", "other type", "long array", "in itself", "long", "damaged"],
)
def test_definitions_of_a_bag_that_cannot_be_used_are_refused(
    old: str, new: str, why: str, tmp_path: Path
) -> None:
    path = mcap(tmp_path, [people()], lambda text: text.replace(old, new))
    with grown_mb() as grown, pytest.raises(RecordingError, match=why) as refusal:
        read_recording(path)
    assert grown() < MAX_MB
    assert len(str(refusal.value).splitlines()) == 1 and len(str(refusal.value)) < 2000


def test_a_bag_of_an_older_version_is_read_by_its_own_definition(tmp_path: Path) -> None:
    """A field that is not read may be missing."""
    import emf_ros.io.bag_types as bag_types

    path = mcap(tmp_path, [], lambda text: text.replace("float32 detect_ms\n", ""))
    from rosbags.rosbag2 import Reader

    with Reader(path) as reader:
        (connection,) = reader.connections
        fields = dict(bag_types.types_of(connection).fielddefs[connection.msgtype][1])
    assert "layout" in fields and "detect_ms" not in fields


# ------------------------------------------------------------------------------ C3D


def test_a_c3d_that_asks_for_more_than_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.c3d"
    data = bytearray(written(".c3d"))
    # The number of dimensions of the array of names, after the offset to the next and the type.
    data[data.index(b"LABELS") + len(b"LABELS") + 3] = 127
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # A child begins with the memory of its parent.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RecordingError, match="no readable C3D"):
        read_recording(path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert after < max(before + 1, own + 400_000, 1_200_000)


def test_a_c3d_of_more_frames_than_it_can_count_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_recording(one(short()), tmp_path / "in.c3d")
    rows = len(one(short()))
    monkeypatch.setattr(c3d, "MAX_FRAMES", rows - 1)
    with pytest.raises(RecordingError, match=f"C3D holds at most {rows - 1} frames, not {rows}"):
        write_recording(one(short()), tmp_path / "long.c3d")
    # Beyond what the header can count, the file holds frames that ezc3d does not give.
    monkeypatch.setattr(c3d, "MAX_FRAMES", rows)
    path.write_bytes(path.read_bytes() + bytes(17 * 16))
    with pytest.raises(RecordingError, match=f"over {rows} frames, and no more are read"):
        read_recording(path)
