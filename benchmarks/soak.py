"""The real graph for a long time, with outages: does anything grow, drift, or get lost uncounted?

python benchmarks/soak.py --minutes 30

The demo video is played in a loop through real nodes in processes of their own. Half of the time
nodes are killed and started again, after the second that the launch files wait, too. In the other
half no node ends: then memory, handles, threads and latency are judged. All the time the camera
falls silent, the lifter is disabled and enabled, and subscribers come, are killed, or never read.

Between two outages each frame is accounted for, see `frame_account.py`. The exit code is not 0
where something grows, drifts, is unaccounted for, or does not come back. The time until skeletons
are back depends on the machine, and is compared with a goal.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from frame_account import Account, FrameListener, account
from graph import LISTENER_QOS, Graph, GraphError, percentiles
from process_health import Reading, grows, read, trend
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
#: Goal for the time from an outage, or from the kill of a node, to skeletons of new images, s.
GOAL_BACK_S = 5.0
#: Time from one outage to the next, s.
CYCLE_S = 75.0
#: Minimum number of outages, however short the run.
MIN_CYCLES = 6
#: Time for which the camera is silent in an outage, s.
SILENCE_S = 4.0
#: Time without a message after which all frames have passed, s.
DRAIN_S = 3.0
#: Maximum growth of the memory of a process, MiB a second: 1 MB in ten minutes.
MAX_GROWTH = 1e6 / 2**20 / 600
#: Minimum time on which the growth of memory is judged, s.
MIN_JUDGED_S = 300.0
#: Maximum median latency of the last third, as a multiple of that of the first third.
MAX_DRIFT = 1.25
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


@dataclass
class Outage:
    """What was done to the graph, and when skeletons were back.

    Attributes:
        back_s: time from its end, or from the kill of a node, to skeletons of new images, s.
    """

    name: str
    back_s: float


@dataclass
class Window:
    """The latency of some seconds, from stamp to skeleton received, ms.

    Attributes:
        at_s: end of it, monotonic, s.
        p50_ms, p95_ms: NaN where there were few skeletons.
        count: number of skeleton messages.
    """

    at_s: float
    p50_ms: float
    p95_ms: float
    count: int


@dataclass
class Findings:
    """All that a run has found.

    Attributes:
        readings: of each process, by name.
        windows: latency.
        frames: what became of the frames between the outages.
        outages: in their order.
        warnings: texts of the diagnostics that no outage explains.
        judged_s: when the readings that are judged begin, monotonic, s.
    """

    readings: dict[str, list[Reading]] = field(default_factory=lambda: defaultdict(list))
    windows: list[Window] = field(default_factory=list)
    frames: Account = field(default_factory=Account)
    outages: list[Outage] = field(default_factory=list)
    warnings: set[str] = field(default_factory=set)
    judged_s: float = math.inf


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
        detector = {"variant": variant}
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
        client = self.graph.node.create_client(SetBool, f"{node}/enable")
        self._spin_until(client.service_is_ready, f"service enable of {node}")
        answers = []

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


# ------------------------------------------------------------------------------ the report


def report(found: Findings) -> list[str]:
    """Print the tables; what is wrong, in sentences."""
    wrong = report_processes(found) + report_latency(found)
    print(f"\n{found.frames}")
    wrong += [
        f"{n}: {count} frames are unexplained" for n, count in found.frames.unexplained.items()
    ]
    if not found.frames.lifted:
        wrong.append("no frame was lifted")
    names = dict.fromkeys(outage.name for outage in found.outages)
    print(f"\n| outage | times | back after, s: median, most | under {GOAL_BACK_S:g} s |")
    print("|---|---|---|---|")
    for name in names:
        times_s = [outage.back_s for outage in found.outages if outage.name == name]
        median_s, most_s = np.median(times_s), max(times_s)
        reached = "yes" if median_s < GOAL_BACK_S else "no"
        print(f"| {name} | {len(times_s)} | {median_s:.1f}, {most_s:.1f} | {reached} |")
    return wrong + sorted(found.warnings)


def report_processes(found: Findings) -> list[str]:
    wrong = []
    print(
        "\n| process | memory MiB, first, last | MB in 10 minutes | handles, first, last "
        "| threads, first, last | readings |\n" + "|---" * 6 + "|"
    )
    for name, all_readings in found.readings.items():
        readings = [reading for reading in all_readings if reading.at_s >= found.judged_s]
        if not readings:
            wrong.append(f"{name}: the run is too short to judge")
            continue
        memory = trend([r.at_s for r in readings], [r.mib for r in readings])
        scale = 1.0 / MAX_GROWTH
        first, last = readings[0], readings[-1]
        print(
            f"| {name} | {first.mib:.1f}, {last.mib:.1f} "
            f"| {memory.per_second * scale:+.2f} ± {2 * memory.doubt * scale:.2f} "
            f"| {first.handles}, {last.handles} | {first.threads}, {last.threads} "
            f"| {len(readings)} |"
        )
        if last.at_s - first.at_s < MIN_JUDGED_S:
            print(f"  {name}: under {MIN_JUDGED_S:g} s of readings: its memory is not judged")
        elif memory.surely_over(MAX_GROWTH):
            wrong.append(f"{name}: memory grows")
        elif not memory.surely_under(MAX_GROWTH):
            print(f"  {name}: the readings do not tell whether its memory grows")
        if grows([reading.handles for reading in readings]):
            wrong.append(f"{name}: file handles grow")
        if grows([reading.threads for reading in readings]):
            wrong.append(f"{name}: threads grow")
    return wrong


def report_latency(found: Findings) -> list[str]:
    windows = [w for w in found.windows if w.at_s >= found.judged_s and math.isfinite(w.p50_ms)]
    if len(windows) < 3:
        return ["latency: the run is too short to judge"]
    thirds = [windows[: len(windows) // 3], windows[-(len(windows) // 3) :]]
    (first, first_p95), (last, last_p95) = (
        (np.median([w.p50_ms for w in part]), np.median([w.p95_ms for w in part]))
        for part in thirds
    )
    line = trend([w.at_s for w in windows], [w.p50_ms for w in windows])
    print(
        f"\nlatency p50, p95 ms: first third {first:.0f}, {first_p95:.0f}; "
        f"last third {last:.0f}, {last_p95:.0f}; "
        f"{600 * line.per_second:+.1f} ± {1200 * line.doubt:.1f} ms in 10 minutes"
    )
    if line.surely_over(0.0) and last > MAX_DRIFT * first:
        return ["latency drifts"]
    return []


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
