"""Each program in examples/, run as a reader would run it."""

from __future__ import annotations

import importlib.util
import itertools
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from bodies import Body
from inputs import write_clip
from ros_session import REPEAT_S, TIMEOUT_S, poll, wait_for

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

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
        "stop_for_people.py",
        "turn_to_wave.py",
        "drive_to_point.py",
    }


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("stop_for_people.py", r"[\d.]+ (go|stop: .*)"),
        ("turn_to_wave.py", r"[\d.]+ turn at [+-][\d.]+ rad/s"),
        ("drive_to_point.py", r"[\d.]+ goal (None|\[[^]]*\])"),
    ],
)
def test_an_example_of_a_robot_decides_for_each_image(name: str, line: str, clip: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, clip], capture_output=True, text=True, timeout=800
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 20
    assert all(re.fullmatch(line, text) for text in lines), done.stdout


def example(name: str) -> ModuleType:
    """The functions of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def people_of(bodies: list[Body], places: list[np.ndarray]) -> Iterator[list[Any]]:
    """A body at places in the camera's frame, lifted."""
    joints = [body.seen(0.0, tuple(place)) for body, place in zip(bodies, places, strict=True)]
    return lifted(joints)


def lifted(images: Iterable[np.ndarray]) -> Iterator[list[Any]]:
    """The keypoints of a person, an image each at 30 Hz, lifted by the real lifter."""
    from emf_ros import Camera, SkeletonTracker
    from emf_ros.lift.config import PipelineConfig
    from emf_ros.lift.ground import GroundPlane

    camera = Camera.from_fov(1280, 960, 60)
    config = PipelineConfig(ground=GroundPlane(0.9, 0.0))
    with SkeletonTracker(camera, config=config) as tracker:
        for tick, joints in enumerate(images):
            keypoints = np.ones((17, 3))
            keypoints[:, :2] = camera.project(joints)
            yield tracker.from_keypoints([keypoints], 1 + tick / 30, "h36m17", (1280, 960), ids=[1])


def test_the_robot_stops_for_a_person_who_comes_here() -> None:
    command = example("stop_for_people").command
    # 1.2 m/s towards the camera, from 6 m.
    places = [np.array([0.1, 0.0, 6.0 - 0.04 * tick]) for tick in range(100)]
    said = [command(people) for people in people_of([Body()] * 100, places)]
    assert said[10] == "go" and said[-1].startswith("stop: person 1 is here in")
    away = [command(people) for people in people_of([Body()] * 100, places[::-1])]
    assert not any(text.startswith("stop") for text in away[30:])
    # Who stands near, or comes slowly, does not approach, and is in the way.
    stands = [np.array([0.1, 0.0, 0.8])] * 60
    near = [command(people) for people in people_of([Body()] * 60, stands)]
    assert all(text.startswith("stop") for text in near)
    # From behind a corner, 1.6 m before the camera: who may come is not waited for.
    (found,) = (command(people) for people in people_of([Body()], [np.array([0.1, 0.0, 1.6])]))
    assert found == "stop: person 1 has just come"


def lies_down(seconds: float, falls: bool) -> np.ndarray:
    """(N, 17, 3) m in the camera's frame: a built person stands, lies down and stays there."""
    from built_motion import Course, Skeleton, posture

    rng = np.random.default_rng(1)
    x, y, z = Body().seen().T
    course = Course(rng, posture("standing", rng))
    course.stay(1.5, 0)
    course.go(posture("lying", rng), seconds, 0, falls)
    course.stay(1.0, 0)
    skeleton = Skeleton.of(np.array([np.stack([-z, x, -y], axis=-1)]))
    ahead, right, up = course.motion(skeleton, "built", "", "").joints.T
    # The camera is 0.9 m over the floor, and the person stands 4.5 m before it.
    return np.stack([right, 0.9 - up, 4.5 - ahead]).T


def test_the_robot_stops_for_a_person_who_falls_not_for_one_who_lies_down() -> None:
    command = example("stop_for_people").command
    said = [command(people) for people in lifted(lies_down(0.6, falls=True))]
    # Standing, and on the way down, nobody has fallen.
    assert said[-1] == "stop: person 1 has fallen" and "fallen" not in " ".join(said[:50])
    slow = [command(people) for people in lifted(lies_down(3.0, falls=False))]
    assert not any("fallen" in text for text in slow)


def test_the_robot_turns_to_a_person_who_waves() -> None:
    turn = example("turn_to_wave").turn
    still = Body().bend("left_elbow", "x", 90).bend("left_shoulder", "x", 80)
    swings = [30 * np.sin(2 * np.pi * 1.5 * tick / 30) for tick in range(120)]
    waving = [
        Body().bend("left_elbow", "x", 90 + swing).bend("left_shoulder", "x", 80)
        for swing in swings
    ]
    place = [np.array([1.0, 0.0, 4.0])] * 120
    turned = [turn(people) for people in people_of(waving, place)]
    # The person stands to the right.
    assert min(turned) < -0.1 and turned[5] == 0
    assert not any(turn(people) for people in people_of([still] * 120, place))


def test_the_robot_drives_to_where_a_person_points() -> None:
    goal = example("drive_to_point").goal
    pointing = Body().bend("left_shoulder", "x", 55)
    place = [np.array([-0.5, 0.0, 4.0])] * 90
    goals = [goal(people) for people in people_of([pointing] * 90, place)]
    assert goals[5] is None and goals[-1] is not None
    # On the floor, to the right in the image, which is the person's left.
    assert goals[-1][1] == pytest.approx(0.9, abs=0.01) and goals[-1][0] > 0.2
    assert not any(g is not None for g in map(goal, people_of([Body()] * 90, place)))


def test_the_robot_does_not_drive_to_a_person_who_says_stop() -> None:
    goal = example("drive_to_point").goal
    stop = Body().bend("right_shoulder", "z", 85)
    place = [np.array([0.0, 0.0, 4.0])] * 60
    images = list(people_of([stop] * 60, place))
    (person,) = images[-1]
    assert [gesture.name for gesture in person.body.gestures] == ["stop"]
    assert person.body.pointing is not None
    assert not any(g is not None for g in map(goal, images))


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
    others = itertools.count(100)
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

    def last_is_printed() -> bool:
        number = next(others)
        last = Frame3D(5, 0, [Pose3D.unknown(number, TrackState.TRACKED)], 1.0)
        publisher.publish(conversions.skeletons_msg(last, "camera", "h36m17", 1.0, 1.0, 1.0))
        return bool(poll(lambda: f"\n{number} TRACKED" in out.read_text(), REPEAT_S))

    try:
        wait_for(printed, "the subscriber's lines")
        # A signal in the middle of rclpy's take of a message is an error of its own.
        wait_for(last_is_printed, "the line of the last message")
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
