"""Fixtures: a ROS domain for each test process, real nodes, and images of two people."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase
from inputs import FIRST_FRAME, FRAME_COUNT, FRAME_NS, FRAME_SIZE
from ros_session import Diagnostics, NodeProcess, Ros, claim_domain, wait_for

if TYPE_CHECKING:
    from lifter_process import Lifter

# So that pytest explains their assertions, too.
pytest.register_assert_rewrite("lifter_process", "detector_process")

# The same examples in each run, on a machine of any speed.
settings.register_profile(
    "emf_ros",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Other examples in each run, for `make fuzz`.
settings.register_profile(
    "fuzz",
    settings.get_profile("emf_ros"),
    derandomize=False,
    database=DirectoryBasedExampleDatabase(".hypothesis"),
)
settings.load_profile("fuzz" if os.environ.get("EMF_ROS_FUZZ") else "emf_ros")

NOT_RUN = pytest.StashKey[list]()

#: Number of test processes; 1 without pytest-xdist.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if WORKERS > 1:
    # Before torch is imported: each worker, and its child processes, on its share of the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // WORKERS)))

# Here, and not in a fixture: before any test module can import rclpy. A worker of pytest-xdist
# claims a domain as any other test process does.
DOMAIN, _DOMAIN_LOCK = claim_domain()
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


def pytest_sessionfinish(session: pytest.Session) -> None:
    # A worker of pytest-xdist has an output, which goes to the process that prints the report.
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["not_run"] = session.config.stash[NOT_RUN]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[NOT_RUN].extend(getattr(node, "workeroutput", {}).get("not_run", []))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """List what was read and not executed."""
    lines = sorted(config.stash[NOT_RUN])
    if lines:
        terminalreporter.section("not run here: needs another machine or a real ROS 2 install")
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
    """Add a line to the summary's list of what was not run."""
    return pytestconfig.stash[NOT_RUN].append


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
        parameters.setdefault("namespace", f"/test{next(_numbers)}")
        process = NodeProcess(module, **parameters)
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


@pytest.fixture(scope="module")
def shared_lifter(ros, start_shared_node, diagnostics, demo_keypoints) -> Lifter:
    """A lifter process for a module's tests."""
    from lifter_process import Lifter

    # One thread: two wait for each other where the machine is busy.
    process = start_shared_node("skeleton_lifter", threads=1)
    return Lifter(ros, process, diagnostics, demo_keypoints).connect()


@pytest.fixture
def lifter(shared_lifter: Lifter) -> Lifter:
    """The module's lifter process, with the right intrinsics and rising stamps."""
    return shared_lifter.with_known_camera()


@pytest.fixture(scope="module")
def shared_synchronous_lifter(ros, start_shared_node, diagnostics, demo_keypoints) -> Lifter:
    """A lifter process for a module's tests, in which no track ends while the test waits."""
    from lifter_process import Lifter

    process = start_shared_node("skeleton_lifter", threads=1, synchronous=True)
    return Lifter(ros, process, diagnostics, demo_keypoints).connect()


@pytest.fixture
def synchronous_lifter(shared_synchronous_lifter: Lifter) -> Lifter:
    """The module's synchronous lifter, with the right intrinsics and rising stamps.

    Its tracks depend on the stamps alone. Those of the default lifter end after a second without
    keypoints, which a busy machine takes now and then.
    """
    return shared_synchronous_lifter.with_known_camera()


@pytest.fixture(scope="session")
def demo_video() -> Path:
    """The real video of two people."""
    from emf_ros.downloads.videos import ensure_demo_video

    return ensure_demo_video()


@pytest.fixture(scope="session")
def demo_frames(demo_video: Path) -> list[np.ndarray]:
    """BGR images of two people, 3 s at 30 Hz, `FRAME_SIZE`."""
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
    """What the default detector and tracker find: per frame (id, keypoints (33, 3), score), about a
    second of frames in which two people are tracked."""
    import cv2

    from emf_ros.people import PeopleTracker

    tracker, frames = PeopleTracker.make(max_people=2, device="cpu"), []
    for index, picture in enumerate(demo_frames[:45]):
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
        found = tracker.update(rgb, index * FRAME_NS)
        frames.append([(p.track_id, p.keypoints, p.score) for p in found])
    tracker.close()
    frames = [people for people in frames if len(people) == 2]
    assert len(frames) >= 25
    return frames


@pytest.fixture
def bvh(tmp_path: Path) -> Callable[..., Path]:
    """Write a figure with known joints as a BVH file, see `mocap_samples.bvh_writer`."""
    from mocap_samples import bvh_writer

    return bvh_writer(tmp_path)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one ONNX model of each form of `onnx_models`, and its settings."""
    from onnx_models import FORMS, make

    folder = tmp_path_factory.mktemp("models")
    for form in FORMS:
        make(folder, form)
    return folder
