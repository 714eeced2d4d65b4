"""The real graph, from an image's stamp to its skeleton: stage times, drops, CPU, memory.

python benchmarks/latency.py                   # separate and composed, a minute each
python benchmarks/latency.py --minutes 5       # does memory grow, is anything dropped?
python benchmarks/latency.py --minutes 0.5 --rates --busy-seconds 20      # two minutes
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from busy import Busy, calibration
from graph import MODES, Graph, GraphError, one_person_clip, percentiles
from listener import STAGES, Listener

from emf_ros.detect.weights import available_variants, ensure_onnx
from emf_ros.downloads.cache import DownloadError
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.io.video import open_source
from emf_ros.runtime.machine import load, machine

#: Time from the first skeleton to the measurement, s.
SETTLE_S = 5.0
#: Time from the end of the measurement until the last answer must be there, s.
DRAIN_S = 2.0

#: Maximum median latency of the lite models, ms: two cores, no GPU, one person, 640x480 at 30 Hz.
GOAL_P50_MS = 35.0
#: Maximum 95th percentile of that latency, ms.
GOAL_P95_MS = 60.0
#: Maximum 95th percentile of that latency while another process takes a whole core, ms.
GOAL_BUSY_P95_MS = 150.0
#: Minimum rate of the skeleton messages meanwhile, Hz.
GOAL_BUSY_HZ = 15.0
#: Maximum CPU of an idle node, % of a core.
GOAL_IDLE_PERCENT = 0.6
#: Maximum median of the lifter's part of that latency, ms.
GOAL_LIFTER_MS = 15.0


#: Name of the run while another process takes a whole core.
BUSY = "separate, a core taken"


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
        decode_ms: (M,) of the detector, once a second.
        rate_hz: skeleton messages a second.
        images, unanswered: number of images, and of those without a skeleton message.
        skipped, coalesced: counters `late_frame_skipped` and `coalesced`.
        cpu: of each process, % of a core.
        mib: memory of each process, at first and at last.
        busy: names of the processes that are no part of the graph.
    """

    stages: np.ndarray
    decode_ms: np.ndarray
    rate_hz: float
    images: int
    unanswered: int
    skipped: int
    coalesced: int
    cpu: dict[str, float]
    mib: dict[str, tuple[float, float]]
    busy: list[str]

    @property
    def age_ms(self) -> np.ndarray:
        """(N,) from the stamp to the skeleton."""
        return self.stages[:, STAGES.index("stamp to skeleton received")]

    @property
    def graph_cpu(self) -> float:
        """Of the nodes and the listener here, % of a core."""
        return sum(share for name, share in self.cpu.items() if name not in self.busy)


def run(mode: str, clip: Clip, seconds: float, busy_cores: float = 0.0) -> Outcome:
    """Play a clip through the graph.

    Args:
        mode: one of `MODES`.
        clip: that is played.
        seconds: of the measurement.
        busy_cores: CPU that other processes take meanwhile.
    """
    ensure_onnx(clip.variant)
    beside = f", {busy_cores:g} busy cores beside" if busy_cores else ""
    print(f"measuring {mode}: {clip}, {seconds:g} s{beside}", file=sys.stderr, flush=True)
    with Busy(busy_cores) as busy, Graph() as graph:
        listener = Listener(graph)
        detector = {"variant": clip.variant, "max_people": clip.people}
        graph.play(mode, clip.path, clip.rate_hz, detector)
        graph.spin_until(lambda: listener.people > 0, "a first skeleton")
        graph.spin_for(SETTLE_S)
        begin_ns, usage = time.time_ns(), graph.usage(busy.pids)
        graph.spin_for(seconds)
        end_ns, cpu, mib = time.time_ns(), usage.percent(), usage.mib()
        graph.spin_for(DRAIN_S)
        stages = listener.stages(begin_ns, end_ns)
        wall_s = (begin_ns / 1e9, end_ns / 1e9)
        return Outcome(
            stages,
            graph.sampled("keypoint_detector", "decode_ms", *wall_s),
            len(stages) / seconds,
            *listener.unanswered(begin_ns, end_ns),
            graph.counted("video_source", "late_frame_skipped", *wall_s)[0],
            graph.counted("skeleton_lifter", "coalesced", *wall_s)[0],
            cpu,
            mib,
            list(busy.pids),
        )


# ------------------------------------------------------------------------------ tables


def print_stages(outcomes: dict[str, Outcome]) -> None:
    """A column for each outcome."""

    def row(name: str, cell: Callable[[Outcome], str]) -> None:
        print(f"| {name} | " + " | ".join(cell(o) for o in outcomes.values()) + " |")

    def each(values: dict[str, float], digits: int) -> str:
        return ", ".join(f"{name} {value:.{digits}f}" for name, value in values.items())

    print(
        "\n| ms, p50 / p95 / p99 | " + " | ".join(outcomes) + " |\n|" + "---|" * (len(outcomes) + 1)
    )
    for index, name in enumerate(STAGES):

        def stage(outcome: Outcome, index: int = index) -> str:
            return slashed(outcome.stages[:, index])

        row(name, stage)
        if name == "detect":
            # Once a second, by the diagnostics.
            row("of it decoding the message", lambda o: slashed(o.decode_ms))
    row("skeleton messages, Hz", lambda o: f"{o.rate_hz:.1f}")
    row("images without a skeleton", lambda o: f"{o.unanswered} of {o.images}")
    row("late_frame_skipped, coalesced", lambda o: f"{o.skipped}, {o.coalesced}")
    row("CPU, % of a core", lambda o: each(o.cpu, 1))
    row("memory at first, MiB", lambda o: each({name: mib[0] for name, mib in o.mib.items()}, 0))
    row("memory at last, MiB", lambda o: each({name: mib[1] for name, mib in o.mib.items()}, 0))
    print(flush=True)


def slashed(values: np.ndarray) -> str:
    return " / ".join(f"{value:.1f}" for value in percentiles(values))


def print_goals(mode: str, outcome: Outcome) -> None:
    p50, p95, _ = percentiles(outcome.age_ms)
    lifter, _, _ = percentiles(outcome.stages[:, STAGES.index("of it the lifter")])
    print(
        f"goals, {mode}: p50 under {GOAL_P50_MS:g} ms: {word(p50 < GOAL_P50_MS)}; p95 under "
        f"{GOAL_P95_MS:g} ms: {word(p95 < GOAL_P95_MS)}; the lifter's p50 under "
        f"{GOAL_LIFTER_MS:g} ms: {word(lifter < GOAL_LIFTER_MS)}; no image without a skeleton: "
        f"{word(not outcome.unanswered)}"
    )


def print_busy_goals(outcome: Outcome) -> None:
    _, p95, _ = percentiles(outcome.age_ms)
    print(
        f"goals, a core taken: {GOAL_BUSY_HZ:g} Hz: {word(outcome.rate_hz >= GOAL_BUSY_HZ)}; p95 "
        f"under {GOAL_BUSY_P95_MS:g} ms: {word(p95 < GOAL_BUSY_P95_MS)}"
    )


def print_beside(mode: str, outcome: Outcome, separate: Outcome) -> None:
    ages = [percentiles(o.age_ms) for o in (outcome, separate)]
    p50, p95, _ = (a / b for a, b in zip(*ages, strict=True))
    cpu = outcome.graph_cpu / separate.graph_cpu
    print(f"{mode} / separate: p50 {p50:.2f}, p95 {p95:.2f}, CPU {cpu:.2f}")


def word(reached: bool) -> str:
    return "yes" if reached else "no"


def print_thirds(outcomes: dict[float, Outcome]) -> None:
    """Whether images pile up: then the last third is later than the first."""
    print(
        "\n| demo video at | skeletons/s | p50, p95 ms of the first third | of the last "
        "| late_frame_skipped | coalesced | images without a skeleton | CPU, % of a core |\n"
        + "|---" * 8
        + "|"
    )
    for rate_hz, outcome in outcomes.items():
        thirds = [percentiles(part)[:2] for part in np.array_split(outcome.age_ms, 3)]
        first, _, last = (f"{p50:.0f}, {p95:.0f}" for p50, p95 in thirds)
        print(
            f"| {rate_hz:g} Hz | {outcome.rate_hz:.1f} | {first} | {last} | {outcome.skipped} "
            f"| {outcome.coalesced} | {outcome.unanswered} of {outcome.images} "
            f"| {outcome.graph_cpu:.0f} |"
        )


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
        shares = {name: share for name, share in usage.percent().items() if name in nodes}
    print("\n| idle node | CPU, % of a core |\n|---|---|")
    for name, share in shares.items():
        print(f"| {name} | {share:.2f} |")
    print(
        f"goal: an idle node takes at most {GOAL_IDLE_PERCENT:g} % of a core: "
        f"{word(max(shares.values()) <= GOAL_IDLE_PERCENT)}"
    )


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
    parser.add_argument(
        "--busy-seconds",
        type=float,
        default=60.0,
        help="one person while another process takes a core; 0: not measured",
    )
    parser.add_argument("--idle-seconds", type=float, default=20.0, help="0: not measured")
    args = parser.parse_args()
    print(f"real graph, {machine()}, {load()}\n{calibration()}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            clip = Clip(one_person_clip(Path(folder)), 30.0, 1, args.variant)
            outcomes = {mode: run(mode, clip, 60 * args.minutes) for mode in args.modes}
            if args.busy_seconds:
                outcomes[BUSY] = run("separate", clip, args.busy_seconds, busy_cores=1.0)
            print(clip)
            print_stages(outcomes)
        for mode in args.modes:
            print_goals(mode, outcomes[mode])
        if args.busy_seconds:
            print_busy_goals(outcomes[BUSY])
        for mode in args.modes:
            if mode != "separate" and "separate" in outcomes:
                print_beside(mode, outcomes[mode], outcomes["separate"])
        demo = ensure_demo_video()
        clips = [Clip(demo, 30.0 * factor, 2, "full") for factor in args.rates]
        if clips:
            print_thirds({clip.rate_hz: run("separate", clip, args.rate_seconds) for clip in clips})
        if args.idle_seconds:
            idle(args.idle_seconds)
    except (GraphError, DownloadError) as error:
        print(f"latency: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
