"""Each program in examples/, run as a reader would run it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from inputs import write_clip
from ros_session import TIMEOUT_S, wait_for

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
#: Time, id, state, root and nose.
LINE = re.compile(r"([\d.]+) (\d+) ([A-Z_]+) \[([^]]*)\] \[([^]]*)\]")


@pytest.fixture(scope="module")
def clip(tmp_path_factory, demo_frames) -> Path:
    """Two thirds of a second with two people."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", demo_frames[30:50])


def test_every_example_has_a_test() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "track_video.py",
        "custom_detector.py",
        "subscriber.py",
    }


@pytest.mark.parametrize("name", ["track_video.py", "custom_detector.py"])
def test_an_example_tracks_the_two_people_of_a_video(name: str, clip: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, clip], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr
    rows = [LINE.fullmatch(line) for line in done.stdout.splitlines()]
    assert all(rows), done.stdout
    last = [row for row in rows if row and row[1] == rows[-1][1]]
    assert sorted(row[2] for row in last) == ["1", "2"]
    assert all(row[3] == "TRACKED" for row in last)
    for row in last:
        root, nose = (np.array(row[i].split(), dtype=float) for i in (4, 5))
        assert 1 < root[2] < 20 and 0.3 < np.linalg.norm(nose - root) < 1.2


def test_skeletons_as_numpy_are_what_was_published() -> None:
    """There and back through the message."""
    from emf_ros.nodes import conversions
    from emf_ros.types import Frame3D, Pose3D, TrackState

    rng = np.random.default_rng(0)
    known = Pose3D(
        3,
        TrackState.TRACKED,
        0.5,
        rng.normal(size=(17, 3)),
        rng.integers(0, 5, 17) / 4,
        rng.integers(0, 9, 17) / 8,
        rng.normal(size=3),
        True,
        rng.normal(size=(3, 3)),
        rng.normal(size=3),
    )
    sent = Frame3D(
        -1_500_000_001, 133_333_332, [known, Pose3D.unknown(4, TrackState.COASTING)], 2.5
    )
    message = conversions.skeletons_msg(sent, "camera", "h36m17", 1.0, 1.0, 1.0)
    read = conversions.skeletons_from_msg(message)
    assert (read.stamp_ns, read.lag_ns, read.lift_ms) == (sent.stamp_ns, sent.lag_ns, 2.5)
    for before, after in zip(sent.people, read.people, strict=True):
        for name, value in vars(before).items():
            np.testing.assert_array_equal(getattr(after, name), value, err_msg=name)


def test_the_subscriber_prints_what_a_lifter_publishes(ros, tmp_path: Path) -> None:
    from emf_ros.nodes import conversions
    from emf_ros.skeletons import H36M17
    from emf_ros.types import Frame3D, Pose3D, TrackState
    from emf_ros_msgs.msg import Skeleton3DArray

    seen = Pose3D.unknown(7, TrackState.TRACKED)
    seen.root[:] = (0.5, 0.25, 3.0)
    seen.joints[H36M17.index("left_wrist")] = (1.5, -0.25, 2.5)
    result = Frame3D(5, 0, [seen, Pose3D.unknown(8, TrackState.ENDED)], 1.0)
    message = conversions.skeletons_msg(result, "camera", "h36m17", 1.0, 1.0, 1.0)
    publisher = ros.publisher(Skeleton3DArray, "/test_subscriber_example/skeletons")
    out = tmp_path / "out.txt"
    with open(out, "w") as file:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / "subscriber.py"]
            + ["--ros-args", "-r", "__ns:=/test_subscriber_example"],
            stdout=file,
            stderr=subprocess.STDOUT,
        )

    def printed() -> bool:
        assert process.poll() is None, out.read_text()
        publisher.publish(message)
        return len(out.read_text().splitlines()) >= 2

    try:
        wait_for(printed, "the subscriber's lines")
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 0, out.read_text()
    finally:
        process.kill()
        process.wait()
    lines = out.read_text().splitlines()
    assert lines[0].split()[:2] == ["7", "TRACKED"] and lines[1].split()[:2] == ["8", "ENDED"]
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d*", lines[0])]
    assert numbers == [0.5, 0.25, 3.0, 1.5, -0.25, 2.5]
    assert lines[1].count("nan") == 6
