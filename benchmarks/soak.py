"""The real graph for a long time, with outages: does anything grow, drift, or get lost uncounted?

python benchmarks/soak.py --minutes 30

The demo video is played in a loop through real nodes in processes of their own. Half of the time
nodes are killed and started again, after the second that the launch files wait, too. In the other
half no node ends: then handles, threads and latency are judged. All the time the camera falls
silent, the lifter is disabled and enabled, and subscribers come, are killed, or never read.

Between two outages each frame is accounted for, see `frame_account.py`. Before and after it the
camera is disabled and all frames have passed. Then the memory is read: while frames pass, it goes
up and down by far more than the growth that is looked for. The exit code is not 0 where something
grows, drifts, is unaccounted for, or does not come back. The time until skeletons are back depends
on the machine, and is compared with a goal.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from frame_account import FrameListener, account
from graph import LISTENER_QOS, Graph, GraphError, percentiles, resident_mib
from process_health import read
from soak_report import WARM_FRAMES, Findings, Outage, Window, report
from std_srvs.srv import SetBool
from visualization_msgs.msg import MarkerArray

from emf_ros.detect.weights import ensure_onnx
from emf_ros.downloads.cache import DownloadError
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.io.video import open_source
from emf_ros.nodes.video_source import MAX_SKIP_S
from emf_ros.runtime.machine import load, machine
from emf_ros_msgs.msg import BodyStateArray

NODES = ("video_source", "keypoint_detector", "skeleton_lifter")

#: Time between two readings, s.
PERIOD_S = 10.0
#: Time after which the launch files start a killed node again, s.
RESPAWN_S = 1.0
#: Time from one outage to the next, s.
CYCLE_S = 75.0
#: Minimum number of outages, however short the run.
MIN_CYCLES = 6
#: Time for which the camera is silent in an outage, s.
SILENCE_S = 4.0
#: Time without a message after which all frames have passed, s.
DRAIN_S = 3.0
#: Time from the end of the outages that end nodes to the readings that are judged: share of the
#: time that is left, and maximum, s.
WARM_UP_SHARE, MAX_WARM_UP_S = 0.2, 180.0

#: Words of a warning that no outage explains.
FALSE_WARNING = "publishers on"

#: A subscriber in a process of its own.
SUBSCRIBER = """
import sys, rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from emf_ros_msgs.msg import Skeleton3DArray
rclpy.init()
node = rclpy.create_node("passer_by", namespace=sys.argv[1])
node.create_subscription(Skeleton3DArray, "skeletons", lambda message: None, 5)
node.create_subscription(Image, "image", lambda message: None, qos_profile_sensor_data)
rclpy.spin(node)
"""


class Soak:
    """One run.

    Args:
        graph: empty.
        seconds: time of the run, s.
    """

    def __init__(self, graph: Graph, seconds: float, variant: str) -> None:
        self.graph, self.found = graph, Findings()
        self._seconds = seconds
        self._next_reading_s = math.inf
        self._windowed = 0
        #: Number of frames that each process has handled before the listener forgot them.
        self._handled = dict.fromkeys(NODES, 0)
        video = ensure_demo_video()
        source = open_source(video)
        rate_hz, times_s, count = source.rate_hz, source.times(), source.count
        source.close()
        self._rate_hz = rate_hz
        self._times_s = np.arange(count) / rate_hz if times_s is None else times_s - times_s[0]
        self._listener = FrameListener(graph)
        graph.node.create_subscription(
            DiagnosticArray, "/diagnostics", self._note_warnings, LISTENER_QOS
        )
        detector: dict[str, object] = {"variant": variant}
        graph.play("separate", video, rate_hz, detector, others=1)
        self._await_skeletons(time.time_ns())

    def run(self) -> Findings:
        begin_s = time.monotonic()
        cycles = max(MIN_CYCLES, round(self._seconds / CYCLE_S))
        killed: list[Callable[[], Outage]] = [
            lambda: self._kill("keypoint_detector"),
            lambda: self._kill("skeleton_lifter"),
            lambda: self._kill("video_source"),
        ]
        gentle = [self._silence_camera, self._disable_lifter, self._hold_subscriber]
        self._next_reading_s = begin_s + PERIOD_S
        for cycle in range(cycles):
            outages = killed + gentle if cycle < cycles // 2 else gentle
            if cycle == cycles // 2:
                left_s = begin_s + self._seconds - time.monotonic()
                warm_up_s = min(WARM_UP_SHARE * left_s, MAX_WARM_UP_S)
                self.found.judged_s = time.monotonic() + warm_up_s
            self.found.outages.append(outages[cycle % len(outages)]())
            end_s = begin_s + (cycle + 1) * self._seconds / cycles
            self._account_until(end_s, cycle)
            done = self.found.outages[-1]
            print(
                f"{time.monotonic() - begin_s:5.0f} s: {done.name}, back after {done.back_s:.1f} s",
                file=sys.stderr,
                flush=True,
            )
        return self.found

    # ------------------------------------------------------------------ outages

    def _kill(self, node: str) -> Outage:
        process = self.graph.processes[node]
        begin_s, begin_ns = time.monotonic(), time.time_ns()
        process.kill()
        process.wait()
        self._spin_for(RESPAWN_S)
        self.graph.start_again(node)
        self.found.memory.pop(node, None)
        self._handled[node] = -self._numbers()[node]
        self._await_skeletons(begin_ns)
        return Outage(f"{node} killed", time.monotonic() - begin_s)

    def _silence_camera(self) -> Outage:
        process = self.graph.processes["video_source"]
        process.send_signal(signal.SIGSTOP)
        self._spin_for(SILENCE_S)
        process.send_signal(signal.SIGCONT)
        return self._back("camera silent")

    def _disable_lifter(self) -> Outage:
        self._enable("skeleton_lifter", False)
        self._spin_for(SILENCE_S)
        self._enable("skeleton_lifter", True)
        return self._back("lifter disabled")

    def _hold_subscriber(self) -> Outage:
        with self._subscriber() as process:
            self._spin_for(SILENCE_S)
            process.send_signal(signal.SIGSTOP)
            # The others go on: skeletons of new images come while it does not read.
            outage = self._back("subscriber that never reads")
            self._spin_for(SILENCE_S)
            process.kill()
        return outage

    def _subscriber(self) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", SUBSCRIBER, self.graph.namespace], stderr=subprocess.DEVNULL
        )

    def _back(self, name: str) -> Outage:
        begin_s = time.monotonic()
        self._await_skeletons(time.time_ns())
        return Outage(name, time.monotonic() - begin_s)

    def _await_skeletons(self, after_ns: int) -> None:
        """Listen until there are skeletons of images that were taken after a time."""
        lifted = self._listener.lifted
        self._spin_until(
            lambda: bool(lifted) and lifted[-1][0] > after_ns, "skeletons of new images"
        )

    def _enable(self, node: str, on: bool) -> None:
        client: Any = self.graph.node.create_client(SetBool, f"{node}/enable")
        self._spin_until(client.service_is_ready, f"service enable of {node}")
        answers: list[tuple[float, Any]] = []

        def answered() -> bool:
            # An answer is lost where the node has not discovered the client yet.
            if not answers or time.monotonic() - answers[-1][0] > 2.0:
                answers.append((time.monotonic(), client.call_async(SetBool.Request(data=on))))
            return any(future.done() for _, future in answers)

        self._spin_until(answered, f"an answer of {node}/enable")
        self.graph.node.destroy_client(client)

    # ------------------------------------------------------------------ frames

    def _account_until(self, end_s: float, cycle: int) -> None:
        """Account for the frames until a time; subscribers come and go meanwhile."""
        self._enable("video_source", False)
        before = self._counters()
        self._read_memory()
        self._handled = {node: self._handled[node] + n for node, n in self._numbers().items()}
        self._listener.forget()
        self._windowed = 0
        self._enable("video_source", True)
        half_s = (time.monotonic() + end_s) / 2
        node = self.graph.node
        others = [
            node.create_subscription(MarkerArray, "markers", lambda message: None, 5),
            node.create_subscription(BodyStateArray, "body_states", lambda message: None, 5),
        ]
        process = self._subscriber()
        try:
            self._spin_for(half_s - time.monotonic())
            for subscription in others:
                node.destroy_subscription(subscription)
            process.send_signal(signal.SIGKILL if cycle % 2 else signal.SIGINT)
            self._spin_for(end_s - time.monotonic())
        finally:
            process.kill()
            process.wait()
        self._enable("video_source", False)
        stopped_ns = time.time_ns()
        after = self._counters()
        self._read_memory()
        last_ns = max(self._listener.published, default=stopped_ns)
        after_last = math.ceil((stopped_ns - last_ns) / 1e9 * self._rate_hz)
        before_first = math.ceil(MAX_SKIP_S * self._rate_hz)
        self.found.frames += account(
            self._listener, before, after, self._times_s, after_last, before_first
        )
        resumed_ns = time.time_ns()
        self._enable("video_source", True)
        self._await_skeletons(resumed_ns)

    def _counters(self) -> dict[str, dict[str, str]]:
        """The values of the diagnostics when all frames have passed."""
        numbers, since_s = self._listener.numbers(), time.monotonic()

        def drained() -> bool:
            nonlocal numbers, since_s
            if numbers != self._listener.numbers():
                numbers, since_s = self._listener.numbers(), time.monotonic()
            return time.monotonic() - since_s > DRAIN_S

        self._spin_until(drained, "the end of the frames")
        heard = {node: len(self.graph.diagnostics[node]) for node in NODES}
        # The first that comes may have been on its way.
        self._spin_until(
            lambda: all(len(self.graph.diagnostics[n]) >= heard[n] + 3 for n in NODES),
            "diagnostics of all nodes",
        )
        return {node: self.graph.diagnostics[node][-1][1] for node in NODES}

    def _numbers(self) -> dict[str, int]:
        """The number of frames that came from each process since the listener forgot them."""
        return dict(zip(NODES, self._listener.numbers(), strict=True))

    def _read_memory(self) -> None:
        now_s, numbers = time.monotonic(), self._numbers()
        for name, process in self.graph.processes.items():
            if self._handled[name] + numbers[name] >= WARM_FRAMES:
                self.found.memory[name].append((now_s, resident_mib(process.pid)))

    def _note_warnings(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if f"/{status.name}".startswith(f"{self.graph.namespace}/"):
                text = f"{status.name}: {status.message}"
                if FALSE_WARNING in text:
                    self.found.warnings.add(text)

    # ------------------------------------------------------------------ readings

    def _spin_for(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self.graph.spin_for(min(left_s, 0.5))
            self._read_when_due()

    def _spin_until(self, wanted: Callable[[], bool], what: str) -> None:
        def so() -> bool:
            self._read_when_due()
            return wanted()

        self.graph.spin_until(so, what)

    def _read_when_due(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_reading_s:
            return
        self._next_reading_s += PERIOD_S
        pids = {name: process.pid for name, process in self.graph.processes.items()}
        for name, pid in pids.items():
            try:
                self.found.readings[name].append(read(pid, now_s))
            except OSError:
                # Killed a moment ago.
                continue
        ages_ms = np.array([age for _, age in self._listener.lifted[self._windowed :]]) / 1e6
        self._windowed = len(self._listener.lifted)
        p50_ms, p95_ms, _ = percentiles(ages_ms)
        self.found.windows.append(Window(now_s, p50_ms, p95_ms, len(ages_ms)))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--variant", default="lite", help="of the detector")
    args = parser.parse_args()
    print(f"{machine()}, {load()}, process {os.getpid()}\n{args.minutes:g} minutes, {args.variant}")
    try:
        ensure_onnx(args.variant)
        with Graph() as graph:
            found = Soak(graph, 60 * args.minutes, args.variant).run()
    except (GraphError, DownloadError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    wrong = report(found)
    print("\n" + ("\n".join(f"WRONG: {line}" for line in wrong) or "all is well"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
