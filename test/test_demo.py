"""The demo as users start it: every node a process, the real video, DDS between them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import bodies
import numpy as np
import pytest
from inputs import write_clip
from ros_session import wait_for
from viewer_client import Browser

from emf_ros.cli.main import _parser
from emf_ros.geometry.camera import Camera
from emf_ros.io.recording_writer import RecordingWriter
from emf_ros.io.recordings import load_recording
from emf_ros.io.video import open_source
from emf_ros.nodes.demo_view import DemoView
from emf_ros.skeletons import BLAZEPOSE33
from emf_ros.viewer.server import LOOPBACK
from emf_ros.viewer.viewer import Viewer


def run_demo(out: Path, *options: object) -> tuple[dict, str]:
    """Play the demo to its end: its summary, and what it printed."""
    command = [sys.executable, "-m", "emf_ros.nodes.demo", "--out", out, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((out / "summary.json").read_text()), done.stdout


def test_demo_plays_the_whole_video_and_accounts_for_each_image(tmp_path):
    """The number of skeletons depends on the machine. Dropped images are counted by place."""
    summary, printed = run_demo(tmp_path, "--rate", 10)
    assert "skeleton messages" in printed.splitlines()[-2]
    # The command of the last line shows the recording: the words after it are its arguments.
    _, _, command = printed.splitlines()[-1].partition("see it in 3D: ")
    args = _parser().parse_args(shlex.split(command)[1:])
    assert Path(args.recording) == tmp_path / "skeletons.npz" and Path(args.video).is_file()
    assert summary["skeleton_messages"] > 0 and summary["latency_ms"]["p50"] > 0
    assert summary["images"] + summary["dropped"]["source"] == 230
    later = summary["dropped"]["detector"] + summary["dropped"]["lifter"]
    # The end of a track has a message, too, without an image of its own.
    assert later <= summary["images"] <= summary["skeleton_messages"] + later + 3
    assert "by the detector, which takes the newest" in printed
    assert load_recording(tmp_path / "skeletons.npz").layout.name == "blazepose33"
    assert (tmp_path / "overlay.mp4").stat().st_size > 100_000


def test_frames_are_numbered_from_the_first_image_without_its_camera_info(ros):
    """The source publishes to all that it has discovered, which may be the detector alone."""
    from sensor_msgs.msg import CameraInfo
    from std_msgs.msg import Header

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


def test_poses_that_overtake_their_keypoints_get_them_and_lost_keypoints_cost_no_number(ros):
    """Both come on topics of their own, from threads of their own."""
    from emf_ros.nodes.conversions import keypoints_msg, skeletons_msg
    from emf_ros.nodes.demo_listener import Listener
    from emf_ros.types import Frame2D, Frame3D, Pose2D, Pose3D, TrackState

    camera, times_s = Camera.from_fov(640, 480, 60.0), np.arange(4) / 10
    listener = Listener("/overtaking", "blazepose33", camera, times_s)
    begin_ns = 5 * 10**9

    def keypoints(number: int) -> None:
        person = Pose2D(np.full((len(BLAZEPOSE33), 3), 0.5), track_id=1)
        stamp_ns = begin_ns + number * 10**8
        frame = Frame2D(stamp_ns, "camera", "blazepose33", camera.size, [person])
        listener._on_keypoints(keypoints_msg(frame))

    def poses(number: int) -> None:
        person = Pose3D.unknown(1, TrackState.TRACKED)
        result = Frame3D(begin_ns + number * 10**8, 0, [person], 1.0)
        listener._on_skeletons(
            skeletons_msg(result, "camera", "h36m17", 1.0, 1.0, 1.0, images_arrive=True)
        )

    try:
        keypoints(0)
        poses(0)
        poses(1)
        poses(2)
        keypoints(1)
        recording = listener.recording()
    finally:
        listener.destroy_node()
    assert recording.frame.tolist() == [0, 1, 2]
    assert np.isfinite(recording.keypoints_2d).all(axis=(1, 2)).tolist() == [True, True, False]


def test_demo_tracks_two_people_of_a_file_with_special_characters_in_its_name(
    tmp_path, demo_frames, not_run
):
    """Two people, nearly all of whose poses have a place and stand upright."""
    # What YAML and shells read as their own must reach the node.
    path = write_clip(tmp_path / 'it\'s "clip" #1: ü.mp4', demo_frames[30:60])
    out = tmp_path / "out"
    # How many images get skeletons depends on the machine; what the skeletons are does not.
    summary, _ = run_demo(out, "--rate", 3, "--video", path, "--lag", "1")
    recording = load_recording(out / "skeletons.npz")
    assert (out / "overlay.mp4").stat().st_size > 10_000
    if summary["images"] - summary["dropped"]["detector"] < 20:
        # The machine cannot follow 3 images a second: people are found late, or not at all.
        not_run("people of the demo: the machine was too busy for three images a second")
        return
    assert summary["marker_messages"] > 0
    assert len(set(recording.track_id.tolist())) >= 2
    assert recording.frame.min() >= 0 and recording.frame.max() < 30
    placed = recording.root_valid
    assert placed.mean() > 0.8
    distance = np.linalg.norm(recording.root[placed], axis=-1)
    assert (1.0 < distance).all() and (distance < 15.0).all()
    # In the camera's frame y points down.
    joints = recording.joints_3d[placed]
    assert (joints[:, 10, 1] < joints[:, [3, 6], 1].mean(axis=1)).mean() > 0.9


@pytest.fixture
def shown(tmp_path, demo_frames, monkeypatch):
    """A demo in a terminal that shows its recording, and the thread in which it does."""
    nan = np.full((17, 3), np.nan)
    writer = RecordingWriter(BLAZEPOSE33, (884, 496), Camera.from_fov(884, 496, 60.0))
    pose = bodies.Body().seen(0.0, (0.0, 0.0, 4.0))
    writer.add(0.0, 0, 7, np.full((33, 3), 0.5), pose, nan[:, 0], pose[0], True)
    path = tmp_path / "skeletons.npz"
    writer.recording().save(path)
    clip = write_clip(tmp_path / "clip.mp4", demo_frames[:3])
    controller, terminal = os.openpty()
    with open(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        viewer = Viewer(LOOPBACK, 0)

        def show(open_video=lambda: open_source(clip)):
            view = DemoView(viewer, None)
            arguments = path, open_video, "emf-ros view"
            thread = threading.Thread(target=view.show_recording, args=arguments, daemon=True)
            thread.start()
            return thread

        yield viewer, show, clip
    os.close(controller)


def test_a_demo_in_a_terminal_waits_for_a_browser_after_its_video(shown, capsys):
    """A video may be over before anybody has typed the address."""
    viewer, show, _ = shown
    thread = show()
    printed = []
    wait_for(lambda: printed.append(capsys.readouterr().out) or "later" in "".join(printed))
    said = "".join(printed).splitlines()
    assert said[0].startswith("see it in 3D: open")
    assert (port := re.search(r"http://127.0.0.1:(\d+)", said[0])), said
    assert said[1] == "later: emf-ros view"
    assert thread.is_alive() and int(port[1]) == viewer.port
    browser = Browser(int(port[1]))
    wait_for(browser.labels, "the ids of people")
    assert thread.is_alive()
    browser.close()
    wait_for(lambda: not thread.is_alive(), "the end of the demo")


def test_the_demo_ends_where_its_page_was_closed_at_once(shown):
    """A busy demo may not look at its browsers while one comes and goes."""
    viewer, show, clip = shown

    def come_and_go():
        browser = Browser(viewer.port)
        wait_for(lambda: viewer.visits, "a visit")
        browser.close()
        wait_for(lambda: not viewer.watchers, "the end of the visit")
        return open_source(clip)

    thread = show(come_and_go)
    wait_for(lambda: not thread.is_alive(), "the end of the demo")


def test_missing_video_is_named(tmp_path):
    """A wrong path ends with one line and a code, before any node is started."""
    command = [sys.executable, "-m", "emf_ros.nodes.demo", "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, "--video", "/no/such.mp4"], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 1
    assert "/no/such.mp4" in done.stderr
