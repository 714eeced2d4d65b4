"""The real nodes as processes, and what is read off them; for the benchmarks of the graph."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.io.video import frames_of, open_source
from emf_ros.runtime.shared_memory import use_large_shared_memory

TICKS = os.sysconf("SC_CLK_TCK")
READY_TIMEOUT_S = 90.0
MIB = 2**20

#: How detector and lifter run: each in its process; both in one; both in one with the camera.
MODES = ("separate", "composed", "composed-camera")

#: Numbers of the demo video's images in which exactly one person is inside the cut-out below.
ONE_PERSON_FRAMES = range(14, 150)
#: Left edge of the cut-out, px; its upper edge is the image's.
ONE_PERSON_LEFT = 380
#: Size (width, height) of the cut-out, px.
ONE_PERSON_SIZE = (640, 480)

#: QoS of a listener that must not lose messages while it is busy.
LISTENER_QOS = QoSProfile(depth=200)


class GraphError(RuntimeError):
    """The nodes did not do what was to be measured."""


def one_person_clip(folder: Path) -> Path:
    """A video of one person, 640x480 at 30 Hz, forwards and backwards: it loops without a jump."""
    source = open_source(ensure_demo_video())
    width, height = ONE_PERSON_SIZE
    pictures = [
        picture[:height, ONE_PERSON_LEFT : ONE_PERSON_LEFT + width]
        for index, _, picture in frames_of(source)
        if index in ONE_PERSON_FRAMES
    ]
    source.close()
    path = folder / "one_person.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30.0, ONE_PERSON_SIZE)
    if not writer.isOpened():
        raise GraphError("this OpenCV cannot write MPEG-4 video")
    for picture in [*pictures, *pictures[-2:0:-1]]:
        writer.write(picture)
    writer.release()
    return path


# ------------------------------------------------------------------------------ processes


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


class Usage:
    """CPU and memory of processes from now on.

    Args:
        pids: by name.
    """

    def __init__(self, pids: dict[str, int]) -> None:
        self.pids = pids
        self.begin = time.monotonic()
        self.before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        self.first_mib = {name: resident_mib(pid) for name, pid in pids.items()}

    def percent(self) -> dict[str, float]:
        """Of a core, by name."""
        seconds = time.monotonic() - self.begin
        return {
            name: 100 * (cpu_seconds(pid) - self.before[name]) / seconds
            for name, pid in self.pids.items()
        }

    def mib(self) -> dict[str, tuple[float, float]]:
        """Resident memory by name: at first, and now."""
        return {name: (self.first_mib[name], resident_mib(pid)) for name, pid in self.pids.items()}


class Graph:
    """Nodes as processes in a namespace of their own, and a node here that listens to them.

    Attributes:
        namespace: of all.
        node: what listens.
        diagnostics: of each node by its name: when it was heard, s (wall clock), and its values.
        processes: by name.
    """

    def __init__(self) -> None:
        # Alone on this machine, whatever else runs, and nothing on the network.
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        use_large_shared_memory()
        self.namespace = f"/emf_bench_{os.getpid()}_{time.monotonic_ns() % 10**9}"
        self.processes: dict[str, subprocess.Popen] = {}
        self._commands: dict[str, list[str]] = {}
        self.diagnostics: dict[str, list[tuple[float, dict[str, str]]]] = defaultdict(list)
        self._folder = tempfile.TemporaryDirectory()

    def __enter__(self) -> Graph:
        rclpy.init()
        self.node: Node = rclpy.create_node("bench_listener", namespace=self.namespace)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.node.create_subscription(
            DiagnosticArray, "/diagnostics", self._on_diagnostics, LISTENER_QOS
        )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()
        self._folder.cleanup()

    def start(self, program: str, *options: str, **parameters: dict[str, object]) -> None:
        """Start a process.

        Args:
            program: a module of emf_ros.nodes.
            options: of its command line.
            parameters: of each node in it, by the node's name.
        """
        # Given in a file they reach the node that they are for, where there are two in a process.
        file = Path(self._folder.name) / f"{program}.yaml"
        content = {f"/**/{node}": {"ros__parameters": own} for node, own in parameters.items()}
        file.write_text(json.dumps(content))
        command = [sys.executable, "-m", f"emf_ros.nodes.{program}", *options, "--ros-args"]
        command += ["-r", f"__ns:={self.namespace}", "--log-level", "error"]
        if parameters:
            command += ["--params-file", str(file)]
        self._commands[program] = command
        self.start_again(program)

    def start_again(self, program: str) -> None:
        """Start a process that has ended, or has not run yet, as it was started before."""
        with open(self._log(program), "ab") as log:
            self.processes[program] = subprocess.Popen(self._commands[program], stderr=log)

    def play(
        self,
        mode: str,
        clip: Path,
        rate_hz: float,
        detector: dict[str, object],
        lifter: dict[str, object] | None = None,
        others: int = 0,
    ) -> None:
        """Start camera, detector and lifter; the clip begins when the others are ready.

        Args:
            mode: one of `MODES`.
            clip: a video, played in a loop.
            rate_hz: at which it is played.
            detector, lifter: parameters.
            others: listeners here to the topic keypoints.
        """
        camera = {"source": str(clip), "rate_hz": rate_hz, "loop": True}
        camera["start_when_subscribed"] = True
        both = {"keypoint_detector": detector, "skeleton_lifter": lifter or {}}
        if mode == "composed-camera":
            self.start("composed", "--camera", **both, video_source=camera)
            return
        if mode == "composed":
            self.start("composed", **both)
        else:
            self.start("keypoint_detector", keypoint_detector=detector)
            self.start("skeleton_lifter", skeleton_lifter=lifter or {})
        self.spin_until(
            lambda: (
                self.node.count_subscribers("image") > 0
                and self.node.count_publishers("skeletons") > 0
                and (mode == "composed" or self.node.count_subscribers("keypoints") > others)
            ),
            "the nodes are ready",
        )
        self.start("video_source", video_source=camera)

    def _log(self, program: str) -> Path:
        return Path(self._folder.name) / f"{program}.log"

    def usage(self, others: dict[str, int] | None = None) -> Usage:
        """Of all processes that run now, this one too, and of others by their pid."""
        pids = {name: process.pid for name, process in self.processes.items()}
        return Usage({**pids, **(others or {}), "(this listener)": os.getpid()})

    # -------------------------------------------------------------------------- listening

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for status in message.status:
            node, _, task = status.name.partition(": ")
            namespace, _, name = node.rpartition("/")
            if namespace == self.namespace.lstrip("/"):
                # The tasks of several cameras begin with the camera's name.
                camera = task.rpartition(" ")[0]
                for value in status.values:
                    key = f"{camera}.{value.key}" if camera else value.key
                    found[name][key] = value.value
        for name, values in found.items():
            self.diagnostics[name].append((time.time(), values))

    def spin_until(self, wanted: Callable[[], bool], what: str) -> None:
        """Listen until something is so.

        Raises:
            GraphError: it never was, or a node has ended.
        """
        left_s, before_s = READY_TIMEOUT_S, time.monotonic()
        while not wanted():
            self.executor.spin_once(timeout_sec=0.05)
            now_s = time.monotonic()
            # Time in which this process was stopped does not count.
            left_s, before_s = left_s - min(now_s - before_s, 1.0), now_s
            if left_s < 0:
                raise GraphError(f"{what}: not within {READY_TIMEOUT_S:g} s")
            for name, process in self.processes.items():
                if process.poll() is not None:
                    said = self._log(name).read_text(errors="replace").strip()[-500:]
                    raise GraphError(f"{name} has ended with {process.returncode}: {said}")

    def spin_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def sampled(self, node: str, key: str, begin_s: float, end_s: float) -> np.ndarray:
        """A diagnostic's values in a stretch of wall time; it comes once a second."""
        values = [v.get(key, "nan") for at, v in self.diagnostics[node] if begin_s <= at <= end_s]
        return np.array([float(value) for value in values])

    def counted(self, node: str, key: str, begin_s: float, end_s: float) -> tuple[int, float]:
        """How much a counter in the diagnostics grew in a stretch of wall time, and the seconds
        between the two readings, which lie just around it."""
        heard = self.diagnostics[node]
        before = [reading for reading in heard if reading[0] <= begin_s]
        after = [reading for reading in heard if reading[0] >= end_s]
        if not before or not after:
            raise GraphError(f"{node} publishes no diagnostics")
        (first_s, first), (last_s, last) = before[-1], after[0]
        return int(last.get(key, 0)) - int(first.get(key, 0)), last_s - first_s


def percentiles(values: np.ndarray) -> tuple[float, float, float]:
    """p50, p95, p99 of what is known; NaN where nothing is."""
    known = values[np.isfinite(values)]
    if not len(known):
        return (float("nan"),) * 3
    p50, p95, p99 = np.percentile(known, [50, 95, 99])
    return float(p50), float(p95), float(p99)
