"""The real graph, from an image's stamp to its skeleton: stage times, drops, CPU, memory.

python benchmarks/latency.py                   # separate processes and composed, a minute each
python benchmarks/latency.py --minutes 5       # does memory grow, is anything dropped?
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from graph import Graph, GraphError, one_person_clip, percentiles
from listener import STAGES, Listener

from emf_ros.detect.weights import available_variants, ensure_onnx
from emf_ros.downloads.cache import DownloadError
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.io.video import open_source
from emf_ros.runtime.machine import load, machine

MODES = ("separate", "composed")

#: Time from the first skeleton to the measurement, s.
SETTLE_S = 5.0
#: Time from the end of the measurement until the last answer must be there, s.
DRAIN_S = 2.0

#: Maximum median latency of the lite models, ms: two cores, no GPU, one person, 640x480 at 30 Hz.
GOAL_P50_MS = 45.0
#: Maximum 95th percentile of that latency, ms.
GOAL_P95_MS = 70.0
#: Maximum median of the lifter's part of that latency, ms.
GOAL_LIFTER_MS = 15.0


@dataclass
class Clip:
    """A video, its rate in images a second, and the number of people in it."""

    path: Path
    rate_hz: float
    people: int
    variant: str

    def __str__(self) -> str:
        source = open_source(self.path)
        width, height = source.size
        source.close()
        people = "one person" if self.people == 1 else f"up to {self.people} people"
        return f"{width}x{height} at {self.rate_hz:g} Hz, {people}, detector {self.variant}"


@dataclass
class Outcome:
    """Of one run.

    Attributes:
        stages: (N, 7) ms, as `STAGES` names them, in the order of the images.
        unanswered: images without a skeleton message.
        cpu: of all processes, % of a core.
    """

    stages: np.ndarray
    unanswered: int
    cpu: float


def run(mode: str, clip: Clip, seconds: float) -> Outcome:
    """Play a clip through the graph, and print what was measured."""
    ensure_onnx(clip.variant)
    with Graph() as graph:
        listener = Listener(graph)
        detector = {"variant": clip.variant, "max_people": clip.people}
        if mode == "composed":
            graph.start("composed", keypoint_detector=detector)
        else:
            graph.start("keypoint_detector", keypoint_detector=detector)
            graph.start("skeleton_lifter")
        node = graph.node
        graph.spin_until(
            lambda: (
                node.count_subscribers("image") > 0
                and node.count_publishers("skeletons") > 0
                and (mode == "composed" or node.count_subscribers("keypoints") > 0)
            ),
            "the nodes are ready",
        )
        player = {"source": str(clip.path), "rate_hz": clip.rate_hz, "loop": True}
        graph.start("video_source", video_source={**player, "start_when_subscribed": True})
        graph.spin_until(lambda: listener.people > 0, "a first skeleton")
        graph.spin_for(SETTLE_S)
        begin_ns, usage = time.time_ns(), graph.usage()
        graph.spin_for(seconds)
        end_ns = time.time_ns()
        print(f"\n{mode}: {clip}, {seconds:g} s", flush=True)
        cpu = sum(usage.percent().values())
        usage.print()
        graph.spin_for(DRAIN_S)
        stages = listener.stages(begin_ns, end_ns)
        images, unanswered = listener.unanswered(begin_ns, end_ns)
        wall_s = (begin_ns / 1e9, end_ns / 1e9)
        print_stages(stages, graph.sampled("keypoint_detector", "decode_ms", *wall_s))
        print(
            f"skeletons {len(stages) / seconds:.1f} Hz; images {images}, without a skeleton "
            f"{unanswered} ({100 * unanswered / max(images, 1):.2f} %)"
        )
        skipped, _ = graph.counted("video_source", "late_frame_skipped", *wall_s)
        coalesced, _ = graph.counted("skeleton_lifter", "coalesced", *wall_s)
        print(f"late_frame_skipped of the source {skipped}, coalesced of the lifter {coalesced}")
    return Outcome(stages, unanswered, cpu)


def print_stages(stages: np.ndarray, decode_ms: np.ndarray) -> None:
    print(f"{'ms':<32}{'p50':>8}{'p95':>8}{'p99':>8}")
    for name, values in zip(STAGES, stages.T, strict=True):
        print(f"{name:<32}" + "".join(f"{value:>8.1f}" for value in percentiles(values)))
        if name == "detect":
            # Once a second, by the diagnostics.
            cells = "".join(f"{value:>8.1f}" for value in percentiles(decode_ms))
            print(f"{'  of it decode':<32}{cells}")


def print_goals(outcome: Outcome) -> None:
    p50, p95, _ = percentiles(outcome.stages[:, STAGES.index("stamp to skeleton received")])
    lifter, _, _ = percentiles(outcome.stages[:, STAGES.index("of it the lifter")])
    for name, value, goal in (
        ("p50", p50, GOAL_P50_MS),
        ("p95", p95, GOAL_P95_MS),
        ("the lifter's p50", lifter, GOAL_LIFTER_MS),
    ):
        print(f"goal, two cores: {name} under {goal:g} ms: {'yes' if value < goal else 'no'}")
    print(f"goal: no image without a skeleton: {'no' if outcome.unanswered else 'yes'}")


def print_thirds(outcome: Outcome) -> None:
    """Whether images pile up: then the last third is later than the first."""
    age = outcome.stages[:, STAGES.index("stamp to skeleton received")]
    thirds = [percentiles(part)[:2] for part in np.array_split(age, 3)]
    print("p50, p95 by thirds: " + "; ".join(f"{p50:.0f}, {p95:.0f} ms" for p50, p95 in thirds))


def idle(seconds: float) -> None:
    """Nodes without input: a camera that is not there, no images, no keypoints."""
    with Graph() as graph:
        nodes = ("video_source", "keypoint_detector", "skeleton_lifter")
        for name in nodes:
            graph.start(name)
        graph.spin_until(lambda: set(nodes) <= set(graph.diagnostics), "the nodes are ready")
        graph.spin_for(SETTLE_S)
        usage = graph.usage()
        graph.spin_for(seconds)
        print(f"\nidle, {seconds:g} s")
        usage.print()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="of each mode, one person")
    parser.add_argument("--modes", nargs="*", default=MODES, choices=MODES)
    variant = "lite" if "lite" in available_variants() else "full"
    parser.add_argument("--variant", default=variant, help="of the detector, one person")
    parser.add_argument(
        "--rates",
        nargs="*",
        type=float,
        default=(1.0, 3.0),
        help="multiples of its rate at which the demo video is played",
    )
    parser.add_argument("--rate-seconds", type=float, default=30.0)
    parser.add_argument("--idle-seconds", type=float, default=20.0, help="0: not measured")
    args = parser.parse_args()
    print(f"real graph, {machine()}, {load()}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            clip = Clip(one_person_clip(Path(folder)), 30.0, 1, args.variant)
            outcomes = {}
            for mode in args.modes:
                outcomes[mode] = run(mode, clip, 60 * args.minutes)
                print_goals(outcomes[mode])
        if len(outcomes) == len(MODES):
            separate, composed = (outcomes[mode] for mode in MODES)
            ages = [percentiles(o.stages[:, -2]) for o in (composed, separate)]
            p50, p95, _ = (a / b for a, b in zip(*ages, strict=True))
            print(
                f"\ncomposed / separate: p50 {p50:.2f}, p95 {p95:.2f}, CPU "
                f"{composed.cpu / separate.cpu:.2f}"
            )
        demo = ensure_demo_video()
        for factor in args.rates:
            outcome = run("separate", Clip(demo, 30.0 * factor, 2, "full"), args.rate_seconds)
            print_thirds(outcome)
        if args.idle_seconds:
            idle(args.idle_seconds)
    except (GraphError, DownloadError) as error:
        print(f"latency: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
