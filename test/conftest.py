"""A ROS domain of the session's own, real nodes as processes, and pictures of two people."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

#: For conditions that only a broken node misses; far above what a slow machine takes.
TIMEOUT_S = 60.0

#: 3 s of the demo video at half its size: one person, and from a third of a second on two.
FIRST_FRAME, FRAME_COUNT, FRAME_SIZE = 50, 90, (884, 496)
FRAME_NS = 33_333_333

NOT_RUN = pytest.StashKey[list]()


def _claim_domain() -> tuple[int, Any]:
    """A domain id that no other test session on this machine holds, and the lock that says so."""
    for domain in range(1, 101):
        path = Path(tempfile.gettempdir()) / f"emf_ros_test_domain_{domain}.lock"
        try:
            lock = open(path, "a")  # noqa: SIM115 - held until the process ends
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return domain, lock
        except OSError:
            # Held by another session, or another user's file.
            continue
    raise pytest.UsageError("the ROS domain ids 1..100 are all in use by other test sessions")


# Here, and not in a fixture: before any test module can import rclpy.
DOMAIN, _DOMAIN_LOCK = _claim_domain()
os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOT_RUN] = []
    # Started in the background or by nohup, the tests and their child processes would ignore the
    # signals that tests of Ctrl-C and of a lost terminal send.
    for number, default in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)


def pytest_report_header() -> str:
    return f"ROS_DOMAIN_ID {DOMAIN}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say plainly what was only read and not executed."""
    lines = config.stash[NOT_RUN]
    if lines:
        terminalreporter.section("not run: needs a real ROS 2 install")
        for line in lines:
            terminalreporter.line(f"- {line}")


@pytest.fixture(scope="module")
def one_torch_thread():
    """Networks as small as the tests' gain nothing from more, and lose much on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def not_run(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Note something for the summary's list of what was not run."""
    return pytestconfig.stash[NOT_RUN].append


def wait_for(condition: Callable[[], Any], what: str = "", timeout: float = TIMEOUT_S) -> Any:
    """The condition's first true value; fails the test when none comes in time."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout:g} s in vain{': ' if what else ''}{what}")
        time.sleep(0.01)


def stamp_ns(message: Any) -> int:
    """A message's header stamp, ns."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def points(messages: Any) -> np.ndarray:
    """(N, 3) of geometry_msgs/Point."""
    return np.array([(p.x, p.y, p.z) for p in messages], dtype=float).reshape(-1, 3)


class Collector:
    """Everything that arrives on a topic, in order."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.messages: list[Any] = []

    def __len__(self) -> int:
        return len(self.messages)

    def of_stamp(self, nanoseconds: int) -> Any:
        """The message with this stamp, or None."""
        found = [m for m in self.messages if stamp_ns(m) == nanoseconds]
        return found[0] if found else None


class Ros:
    """This session's side of the wire: one node, spun in a thread."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from emf_ros.nodes.running import use_large_shared_memory

        use_large_shared_memory()
        # Ctrl-C belongs to pytest.
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("test_session")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException

        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def close(self) -> None:
        import rclpy

        rclpy.try_shutdown()
        self._thread.join(timeout=TIMEOUT_S)
        self.node.destroy_node()

    def listen(self, kind: type, topic: str, latched: bool = False) -> Collector:
        """Collect a topic from now on, reliably."""
        from rclpy.qos import DurabilityPolicy, QoSProfile

        profile = QoSProfile(depth=100)
        if latched:
            profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
        collector = Collector(topic)
        collector.subscription = self.node.create_subscription(
            kind, topic, collector.messages.append, profile
        )
        return collector

    def unlisten(self, collector: Collector) -> None:
        self.node.destroy_subscription(collector.subscription)

    def publisher(self, kind: type, topic: str) -> Any:
        return self.node.create_publisher(kind, topic, 5)

    def call(self, kind: type, name: str, request: Any) -> Any:
        """A service's answer."""
        client = self.node.create_client(kind, name)
        wait_for(client.service_is_ready, f"service {name}")
        future = client.call_async(request)
        wait_for(future.done, f"answer of {name}")
        self.node.destroy_client(client)
        return future.result()

    def has_node(self, full_name: str) -> bool:
        names = self.node.get_node_names_and_namespaces()
        return full_name in [f"{space.rstrip('/')}/{name}" for name, space in names]


class Diagnostics:
    """What one node says on /diagnostics."""

    def __init__(self, collector: Collector, node: str) -> None:
        self._collector, self._node = collector, node.lstrip("/")

    @property
    def all(self) -> list[Any]:
        """(message, status) of the node, oldest first."""
        return [
            (message, status)
            for message in list(self._collector.messages)
            for status in message.status
            if status.name == self._node
        ]

    def last(self) -> Any:
        """The newest status, or None."""
        return self.all[-1][1] if self.all else None

    def value(self, key: str) -> str | None:
        last = self.last()
        return {v.key: v.value for v in last.values}.get(key) if last else None

    def count(self, key: str) -> int:
        """A counter; 0 while the node does not mention it."""
        return int(self.value(key) or 0)


class NodeProcess:
    """A node started as users start it; its log is kept.

    Args:
        module: in `emf_ros.nodes`.
        namespace: of the node.
        params_file: YAML file of parameters.
        remappings: of topics, as FROM:=TO.
        parameters: by name.
    """

    def __init__(
        self,
        module: str,
        namespace: str = "/",
        params_file: Path | None = None,
        remappings: tuple[str, ...] = (),
        **parameters: Any,
    ) -> None:
        self.namespace = namespace
        command = [sys.executable, "-m", f"emf_ros.nodes.{module}", "--ros-args"]
        command += ["-r", f"__ns:={namespace}"]
        for remapping in remappings:
            command += ["-r", remapping]
        if params_file:
            command += ["--params-file", str(params_file)]
        for name, value in parameters.items():
            if isinstance(value, bool):
                value = str(value).lower()
            elif isinstance(value, (str, Path)):
                # Quoted, or "0" would be a number.
                value = f"'{value}'"
            command += ["-p", f"{name}:={value}"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # No GPU: what is tested must not depend on the machine having one.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"},
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def topic(self, name: str) -> str:
        return f"{self.namespace.rstrip('/')}/{name}"

    def wait(self) -> int:
        """The exit code of a process that should end by itself."""
        try:
            return self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the process did not end by itself; its log:\n{self.log}")

    def kill(self) -> None:
        if self.alive:
            self._process.kill()
        self._process.wait()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """Ctrl-C, upon which a healthy node ends with code 0 and without a traceback."""
        assert self.alive, f"the node has died; its log:\n{self.log}"
        self.interrupt()
        code = self.wait()
        assert code == 0, f"exit code {code} after an interrupt; the log:\n{self.log}"
        assert "Traceback" not in self.log, self.log


@pytest.fixture(scope="session")
def ros() -> Iterator[Ros]:
    """The session's node; starts rclpy once."""
    session = Ros()
    yield session
    session.close()


@pytest.fixture(scope="session")
def diagnostics(ros: Ros) -> Callable[[str], Diagnostics]:
    """What a node, given by its full name, says on /diagnostics."""
    from diagnostic_msgs.msg import DiagnosticArray

    collector = ros.listen(DiagnosticArray, "/diagnostics")
    return lambda node: Diagnostics(collector, node)


_numbers = itertools.count()


def _starter(ros: Ros) -> Iterator[Callable[..., NodeProcess]]:
    started: list[NodeProcess] = []

    def start(module: str, expect: bool = True, **parameters: Any) -> NodeProcess:
        process = NodeProcess(module, f"/test{next(_numbers)}", **parameters)
        started.append(process)
        if expect:
            node = "skeleton_lifter" if module == "composed" else module
            name = process.topic(node)
            wait_for(lambda: ros.has_node(name) or not process.alive, f"node {name}")
            assert process.alive, f"the node did not start; its log:\n{process.log}"
        return process

    try:
        yield start
        for process in started:
            if process.alive:
                process.stop()
    finally:
        for process in started:
            process.kill()


@pytest.fixture
def start_node(ros: Ros) -> Iterator[Callable[..., NodeProcess]]:
    """Start a node in a namespace of its own; interrupted after the test, which it must survive
    until then unless it ended by itself."""
    yield from _starter(ros)


@pytest.fixture(scope="module")
def start_shared_node(ros: Ros) -> Iterator[Callable[..., NodeProcess]]:
    """Like `start_node`, for a node that serves a module's tests."""
    yield from _starter(ros)


@pytest.fixture(scope="session")
def demo_video() -> Path:
    """The real video of two people."""
    from emf_ros.downloads.videos import ensure_demo_video

    return ensure_demo_video()


@pytest.fixture(scope="session")
def demo_frames(demo_video: Path) -> list[np.ndarray]:
    """BGR pictures of two people, 3 s at 30 Hz, `FRAME_SIZE`."""
    import cv2

    capture = cv2.VideoCapture(str(demo_video))
    for _ in range(FIRST_FRAME):
        assert capture.grab()
    frames = []
    for _ in range(FRAME_COUNT):
        ok, picture = capture.read()
        assert ok
        frames.append(cv2.resize(picture, FRAME_SIZE, interpolation=cv2.INTER_AREA))
    capture.release()
    return frames


@pytest.fixture(scope="session")
def demo_keypoints(demo_frames: list[np.ndarray]) -> list[list[tuple[int, np.ndarray, float]]]:
    """What the real detector and tracker find: per frame (id, keypoints (33, 3), score), a second
    of frames that all show two people."""
    import cv2

    from emf_ros.detect.factory import make_detector
    from emf_ros.track import Tracker

    detector, tracker = make_detector("mediapipe", "full", 2, 0.4), Tracker()
    frames = []
    for index, picture in enumerate(demo_frames[:45]):
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        found = tracker.update(detector.detect(rgb, index * FRAME_NS), index * FRAME_NS)
        frames.append([(i, d.keypoints, d.score) for i, d in found])
    detector.close()
    frames = [people for people in frames if len(people) == 2]
    assert len(frames) >= 25
    return frames


def image_message(picture: np.ndarray, nanoseconds: int, frame_id: str = "test_camera") -> Any:
    """A sensor_msgs/Image in bgr8."""
    from array import array

    from sensor_msgs.msg import Image

    height, width = picture.shape[:2]
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
    message.header.frame_id = frame_id
    set_stamp(message, nanoseconds)
    message.data = array("B", picture.tobytes())
    return message


def set_stamp(message: Any, nanoseconds: int) -> None:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 1_000_000_000)


def camera_info_message(size: tuple[int, int] = FRAME_SIZE, fov_deg: float = 60.0) -> Any:
    """An ideal camera's sensor_msgs/CameraInfo."""
    from sensor_msgs.msg import CameraInfo

    from emf_ros.geometry.camera import Camera

    camera = Camera.from_fov(*size, fov_deg)
    return CameraInfo(
        width=size[0],
        height=size[1],
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=camera.matrix.ravel().tolist(),
    )


def write_clip(path: Path, frames: list[np.ndarray], rate_hz: float = 30.0) -> Path:
    """A video file of pictures of one size."""
    import cv2

    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate_hz, (width, height))
    assert writer.isOpened()
    for picture in frames:
        writer.write(picture)
    writer.release()
    return path


def write_y4m(path: Path, size: tuple[int, int], pixel_aspect: str, count: int = 8) -> Path:
    """An uncompressed video that states the shape of its pixels, such as 4:3; 10 Hz, grey."""
    width, height = size
    with open(path, "wb") as file:
        head = f"YUV4MPEG2 W{width} H{height} F10:1 Ip A{pixel_aspect} C420jpeg\n"
        file.write(head.encode())
        for index in range(count):
            file.write(b"FRAME\n" + bytes([100 + index]) * (width * height * 3 // 2))
    return path


def camera_yaml(width: int, height: int, focal: float) -> str:
    """Intrinsics as camera_calibration writes them."""
    return f"""image_width: {width}
image_height: {height}
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [{focal}, 0.0, {(width - 1) / 2}, 0.0, {focal}, {(height - 1) / 2}, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.0, 0.0, 0.0, 0.0, 0.0]
"""
