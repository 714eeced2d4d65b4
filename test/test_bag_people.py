"""The people in a bag: those without ids, the frames of poses, and whose intrinsics they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from recordings_of_people import CAMERA, two_people

from emf_ros.cli.main import main
from emf_ros.io.bags import BagReader, message_types
from emf_ros.io.formats.registry import read_recording, write_recording
from emf_ros.io.recordings import RecordingError, load_recording

START_S = 1.7e9


def rewritten(
    folder: Path,
    topics: dict[str, tuple[str, str]],
    change: Callable[[str, Any], None] = lambda topic, message: None,
) -> Path:
    """A bag of two people.

    Args:
        folder: for it.
        topics: that are kept: the new name of each, and the frame of its messages.
        change: called with each old topic and message.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer

    (whole,) = write_recording(two_people(START_S), folder / "whole.mcap")
    store = message_types()
    out = folder / "bag"
    with (
        BagReader(whole) as bag,
        Writer(out, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        connections = {
            topic: writer.add_connection(name, bag.topics[topic], typestore=store)
            for topic, (name, _) in topics.items()
        }
        for topic, time_ns, message in bag.messages(set(topics)):
            message.header.frame_id = topics[topic][1]
            change(topic, message)
            data = store.serialize_cdr(message, bag.topics[topic])
            writer.write(connections[topic], time_ns, data)
    return out


def without_ids(topic: str, message: Any) -> None:
    if topic == "/keypoints":
        for person in message.skeletons:
            person.track_id = 0


ALL = {topic: (topic, "cam") for topic in ("/keypoints", "/camera_info", "/skeletons")}
KEYPOINTS = {topic: ALL[topic] for topic in ("/keypoints", "/camera_info")}


def test_people_without_ids_are_all_read_from_a_bag_and_tracked(tmp_path: Path) -> None:
    bag = rewritten(tmp_path, KEYPOINTS, without_ids)
    read, whole = read_recording(bag), two_people(START_S)
    assert len(read) == len(whole) and set(read.track_id.tolist()) == {0}
    assert np.allclose(read.keypoints_2d, whole.keypoints_2d, atol=1e-3, equal_nan=True)
    out = tmp_path / "out.npz"
    assert main(["lift", str(bag), "--device", "cpu", "--out", str(out)]) == 0
    lifted = load_recording(out)
    assert set(lifted.track_id.tolist()) == {1, 2}
    # One person at a time has no id, either.
    for name, number in (("first", 1), ("second", 2)):
        rows = two_people(START_S).rows(whole.track_id == number)
        rows.track_id[:] = 0
        (path,) = write_recording(rows, tmp_path / f"{name}.mcap")
        assert main(["lift", str(path), "--device", "cpu", "--out", str(out)]) == 0
        assert set(load_recording(out).track_id.tolist()) == {1}


def test_keypoints_without_ids_are_no_person_beside_skeletons(tmp_path: Path, capfd) -> None:
    bag = rewritten(tmp_path, ALL, without_ids)
    read, whole = read_recording(bag), two_people(START_S)
    assert set(read.track_id.tolist()) == {1, 2} and len(read) == len(whole)
    (note,) = read.notes
    assert note.startswith(f"{len(whole)} sets of keypoints have no id")
    assert len(read_recording(bag, topic="/keypoints")) == len(whole)
    # Of these two the keypoints are what is lifted.
    out = tmp_path / "out.npz"
    assert main(["lift", str(bag), "--device", "cpu", "--out", str(out)]) == 0
    assert np.isfinite(load_recording(out).keypoints_2d[..., 0]).any()
    # A recording whose people have the id 0 keeps the poses with their keypoints.
    whole.track_id[:] = 0
    (path,) = write_recording(whole, tmp_path / "zero.mcap")
    again = read_recording(path)
    assert len(again) == len(whole) and not again.notes
    assert np.allclose(again.joints_3d, whole.joints_3d, atol=1e-4, equal_nan=True)
    assert np.allclose(again.keypoints_2d, whole.keypoints_2d, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [("distortion_model", "omni", "'omni'"), ("height", 1440, "aspect ratio")],
)
def test_useless_intrinsics_beside_keypoints_are_refused_only_where_they_are_needed(
    field: str, value: object, why: str, tmp_path: Path, capfd
) -> None:
    def useless(topic: str, message: Any) -> None:
        if topic == "/camera_info":
            setattr(message, field, value)

    bag, out = rewritten(tmp_path, KEYPOINTS, useless), tmp_path / "out.npz"
    read = read_recording(bag)
    assert read.camera is None and len(read) == len(two_people())
    (note,) = read.notes
    assert note.startswith("/camera_info: ") and why in note and "left out" in note
    lift = ["lift", str(bag), "--device", "cpu", "--out", str(out)]
    assert main(lift) == 1 and not out.exists()
    (line,) = capfd.readouterr().err.splitlines()
    assert str(bag) in line and why in line and "--camera-info, --fov" in line
    assert main([*lift, "--fov", "70"]) == 0
    assert load_recording(out).root_valid.any()


def test_a_repeated_id_in_a_bag_is_counted_and_not_merged(tmp_path: Path, capfd) -> None:
    def all_one(topic: str, message: Any) -> None:
        for person in message.skeletons if topic == "/keypoints" else ():
            person.track_id = 1

    bag = rewritten(tmp_path, KEYPOINTS, all_one)
    assert len(read_recording(bag)) == len(two_people())
    assert main(["lift", str(bag), "--device", "cpu", "--out", str(tmp_path / "out.npz")]) == 0
    assert "repeated_track_id" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("frames", "refused"),
    [
        ({"/skeletons": "odom", "/camera_info": "cam"}, "'odom'.*of the camera, 'cam'"),
        ({"/skeletons": "odom", "/keypoints": "cam"}, "'odom'.*of the camera, 'cam'"),
        ({"/skeletons": "cam", "/camera_info": "cam", "/keypoints": "cam"}, ""),
        ({"/skeletons": "robot/base_link"}, "'robot/base_link'"),
        ({"/skeletons": "hall", "/camera_info": "cam"}, "'hall'"),
        ({"/skeletons": "odom", "/camera_info": "odom"}, ""),
        ({"/skeletons": "", "/camera_info": "cam"}, ""),
        ({"/skeletons": "cam_optical_frame"}, ""),
    ],
)
def test_poses_in_another_frame_than_the_cameras_are_refused(
    frames: dict[str, str], refused: str, tmp_path: Path
) -> None:
    bag = rewritten(tmp_path, {topic: (topic, frame) for topic, frame in frames.items()})
    if refused:
        with pytest.raises(RecordingError, match=f"the poses are in the frame {refused}"):
            read_recording(bag)
        return
    read = read_recording(bag)
    assert not read.notes and np.isfinite(read.joints_3d).any()
    assert (read.camera is not None) == ("/camera_info" in frames)


def test_a_frame_that_nothing_explains_is_named(tmp_path: Path, capfd) -> None:
    bag = rewritten(tmp_path, {"/skeletons": ("/skeletons", "webcam")})
    (note,) = read_recording(bag).notes
    assert "'webcam'" in note and "z forward" in note
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "0.png"), np.zeros((48, 64, 3), np.uint8))
    # The images are not those of the poses, which render then refuses.
    for code, command, name in (
        (0, ["convert", str(bag)], "out.npz"),
        (1, ["render", str(bag), str(images)], "out.mp4"),
    ):
        assert main([*command, "--out", str(tmp_path / name)]) == code
        assert f"note: {bag}: {note}" in capfd.readouterr().err


def test_intrinsics_of_another_camera_are_left_out(tmp_path: Path) -> None:
    def bag(name: str, topic: str, frame: str, people: str = "/keypoints") -> Any:
        folder = tmp_path / name
        folder.mkdir()
        topics = {people: (people, "color_optical"), "/camera_info": (topic, frame)}
        return read_recording(rewritten(folder, topics))

    depth = bag("depth", "/depth/camera_info", "depth_optical")
    assert depth.camera is None and "'depth_optical'" in depth.notes[0]
    poses = bag("poses", "/depth/camera_info", "depth_optical", "/skeletons")
    assert poses.camera is None and "'depth_optical'" in poses.notes[0]
    # A driver may name two frames of one camera, or none.
    for name, topic, frame in (
        ("own", "/camera_info", "other"),
        ("same", "/color/camera_info", "color_optical"),
        ("unnamed", "/color/camera_info", ""),
    ):
        read = bag(name, topic, frame)
        assert read.camera is not None and np.allclose(read.camera.matrix, CAMERA.matrix)
        assert not read.notes


def test_keypoints_of_two_detectors_are_not_mixed(tmp_path: Path) -> None:
    # The skeletons' topic has the type of the keypoints' here: both are copies of one topic.
    from rosbags.rosbag2 import StoragePlugin, Writer

    (whole,) = write_recording(two_people(START_S), tmp_path / "whole.mcap")
    store, out = message_types(), tmp_path / "bag"
    with (
        BagReader(whole) as bag,
        Writer(out, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        kind = bag.topics["/keypoints"]
        both = [writer.add_connection(name, kind, typestore=store) for name in ("/a", "/b")]
        for number, (_, time_ns, message) in enumerate(bag.messages({"/keypoints"})):
            writer.write(both[number % 2], time_ns, store.serialize_cdr(message, kind))
    images = len(set(two_people().stamp.tolist()))
    for name in ("/a", "/b"):
        assert len(set(read_recording(out, topic=name).stamp.tolist())) == images // 2
