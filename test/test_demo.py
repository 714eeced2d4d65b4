"""The demo as users start it: every node a process, the real video, DDS between them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from emf_ros.io.recordings import load_recording


def test_demo_turns_the_video_into_skeletons(tmp_path):
    """Exit code, closing line, recording, picture and summary of a run over the whole video."""
    # At a third of its rate, so that a busy machine keeps up too.
    command = [sys.executable, "-m", "emf_ros.nodes.demo", "--out", str(tmp_path), "--rate", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "skeleton messages" in done.stdout.splitlines()[-1]

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["skeleton_messages"] > 10
    assert summary["marker_messages"] > 0
    assert summary["latency_ms"]["p50"] > 0
    # Each frame is accounted for, where it was dropped if it was.
    assert summary["images"] + summary["dropped"]["source"] == 230
    later = summary["dropped"]["detector"] + summary["dropped"]["lifter"]
    assert summary["skeleton_messages"] + later == pytest.approx(summary["images"], abs=3)
    assert "by the detector, which takes the newest" in done.stdout

    recording = load_recording(tmp_path / "skeletons.npz")
    assert len(set(recording.track_id.tolist())) >= 2
    placed = recording.root_valid
    assert placed.sum() > 10
    distance = np.linalg.norm(recording.root[placed], axis=-1)
    assert 1.0 < np.median(distance) < 15.0
    # People stand or jump with the head above the feet for most of this video; y points down.
    joints = recording.joints_3d[placed]
    assert np.nanmean(joints[:, 10, 1] < joints[:, [3, 6], 1].mean(axis=1)) > 0.7
    assert (tmp_path / "overlay.mp4").stat().st_size > 100_000


def test_images_are_counted_from_the_first_although_its_camera_info_is_not_heard(ros):
    """The source publishes to whoever it has found, which may be the detector alone."""
    from sensor_msgs.msg import CameraInfo
    from std_msgs.msg import Header

    from emf_ros.geometry.camera import Camera
    from emf_ros.nodes.conversions import time_msg
    from emf_ros.nodes.demo_listener import Listener
    from emf_ros_msgs.msg import Skeleton2DArray

    camera, times_s = Camera.from_fov(640, 480, 60.0), np.array([0.0, 0.1, 0.2, 0.3, 0.9])
    listener = Listener("/counting", "coco17", camera, times_s)
    numbers = []
    listener.collector.keypoints = lambda stamp_ns, frame, people: numbers.append(frame)
    begin = 5 * 10**9
    try:
        for number in (0, 3, 4):
            header = Header(stamp=time_msg(begin + round(times_s[number] * 1e9)))
            if number:
                listener._on_info(CameraInfo(header=header))
            listener._on_keypoints(Skeleton2DArray(header=header, layout="coco17"))
    finally:
        listener.destroy_node()
    assert numbers == [0, 3, 4] and listener.first_ns == begin
    # Nor is one counted as dropped by the source, whose keypoints have come.
    assert listener.images == 3


def test_demo_plays_a_file_of_any_name(tmp_path, demo_frames):
    """A name with what YAML and shells read as their own reaches the node."""
    from inputs import write_clip

    path = write_clip(tmp_path / 'it\'s "clip" #1: ü.mp4', demo_frames[:20])
    out = tmp_path / "out"
    command = [sys.executable, "-m", "emf_ros.nodes.demo", "--out", str(out), "--rate", "5"]
    done = subprocess.run(
        [*command, "--video", str(path), "--lag", "1"], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((out / "summary.json").read_text())["images"] > 10
    recording = load_recording(out / "skeletons.npz")
    assert len(recording) and recording.frame.max() >= 15
    assert (out / "overlay.mp4").stat().st_size > 10_000


def test_demo_names_a_video_that_is_not_there(tmp_path):
    """A wrong path ends with one line and a code, before any node is started."""
    command = [sys.executable, "-m", "emf_ros.nodes.demo", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--video", "/no/such.mp4"], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 1
    assert "/no/such.mp4" in done.stderr
