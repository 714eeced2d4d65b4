"""The real graph: rate and latency of the demo, what idle nodes cost, whether memory grows.

python benchmarks/nodes.py [--memory-minutes 10]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emf_ros.machine import load, machine

TICKS = os.sysconf("SC_CLK_TCK")
NODES = ("video_source", "keypoint_detector", "skeleton_lifter")


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def start(node: str, namespace: str, *parameters: str) -> subprocess.Popen:
    command = [sys.executable, "-m", f"emf_ros.nodes.{node}", "--ros-args", "-r"]
    command += [f"__ns:={namespace}", "--log-level", "error"]
    for parameter in parameters:
        command += ["-p", parameter]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def stop(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.send_signal(signal.SIGINT)
    for process in processes:
        process.wait(timeout=15)


def demo(detector: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "emf_ros.nodes.demo", "--no-render", "--out", folder]
        subprocess.run(
            [*command, "--variant", detector],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        summary = json.loads((Path(folder) / "summary.json").read_text())
    stages = summary["stages_ms_p50"]
    print(
        f"{detector:<10}{summary['skeleton_messages']:>10}{summary['rate_hz']:>8.1f}"
        f"{summary['latency_ms']['p50']:>10.0f}{summary['latency_ms']['p95']:>8.0f}"
        f"{stages['detect']:>11.0f}{stages['lift']:>9.0f}"
    )


def idle(seconds: float) -> None:
    """Nodes without input: a camera that is not there, no images, no keypoints."""
    namespace = f"/emf_bench_{os.getpid()}"
    processes = [start(node, namespace) for node in NODES]
    time.sleep(20)
    before = [cpu_seconds(p.pid) for p in processes]
    time.sleep(seconds)
    for node, process, used in zip(NODES, processes, before, strict=True):
        share = 100 * (cpu_seconds(process.pid) - used) / seconds
        print(f"{node:<20}{share:>8.2f} % of a core{resident_mib(process.pid):>10.0f} MiB")
    stop(processes)


def memory(minutes: float) -> None:
    """Resident memory of the graph on a looped video; growth after the first fifth."""
    from emf_ros.detect.weights import ensure_demo_video

    namespace = f"/emf_bench_{os.getpid()}"
    processes = [
        start("video_source", namespace, f"source:={ensure_demo_video()}", "loop:=true"),
        start("keypoint_detector", namespace),
        start("skeleton_lifter", namespace),
    ]
    # Someone has to listen, or nothing is lifted.
    listener = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, rclpy\n"
            "from emf_ros_msgs.msg import Skeleton3DArray\n"
            "rclpy.init()\n"
            "node = rclpy.create_node('bench_listener', namespace=sys.argv[1])\n"
            "node.create_subscription(Skeleton3DArray, 'skeletons', lambda m: None, 5)\n"
            "rclpy.spin(node)\n",
            namespace,
        ],
        stderr=subprocess.DEVNULL,
    )
    samples: list[list[float]] = []
    begin = time.monotonic()
    while time.monotonic() - begin < 60 * minutes:
        time.sleep(min(10.0, 6 * minutes))
        samples.append([resident_mib(p.pid) for p in processes])
    settled = samples[len(samples) // 5 :]
    for i, node in enumerate(NODES):
        print(
            f"{node:<20}{settled[0][i]:>8.0f} MiB at first{settled[-1][i]:>8.0f} MiB at last"
            f"{settled[-1][i] - settled[0][i]:>+8.1f} MiB"
        )
    stop([*processes, listener])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--memory-minutes", type=float, default=2.0)
    parser.add_argument("--idle-seconds", type=float, default=20.0)
    parser.add_argument("--variants", nargs="+", default=["full"])
    args = parser.parse_args()
    print(f"real graph, {machine()}, {load()}")
    print("\ndemo video, 1768x994 at 30 Hz, two people")
    print(
        f"{'detector':<10}{'messages':>10}{'Hz':>8}{'p50 ms':>10}{'p95':>8}{'detect ms':>11}"
        f"{'lift ms':>9}"
    )
    for variant in args.variants:
        demo(variant)
    print(f"\nidle, over {args.idle_seconds:g} s")
    idle(args.idle_seconds)
    print(f"\nmemory, looped demo video, {args.memory_minutes:g} min")
    memory(args.memory_minutes)


if __name__ == "__main__":
    main()
