"""How the real graph behaves when there is more to do than the machine can: rates, ages, drops.

python benchmarks/overload.py --quick                   # the standard points, four minutes
python benchmarks/overload.py                           # all curves, half an hour
python benchmarks/overload.py --curves load --modes separate --rows load.json
python benchmarks/overload.py --read load.json rate.json --plot overload.png
python benchmarks/overload.py --cores 2 --hold 40       # as on a slower machine, see below

One quantity changes along a curve: the CPU that other processes take away, the camera's rate, the
number of people, or the size of the images. The other quantities are those of `STANDARD`. Nodes are
real processes over DDS; the clips are composites of the demo video (`clips.py`).

Each image is accounted for: skipped by the source, not taken by the detector, not lifted, or
answered by a skeleton message. The stamps tell it, and the nodes' counters must say the same. Only
the middleware counts nothing: in separate processes a newer image replaces the one that waits.

--hold P takes P % of each core away by busy loops that are pinned to it and have a high priority.
The calibration figures then tell how fast a core is left.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from busy import Busy, calibration
from clips import clip_of
from curves import crossings, plot, verdict
from graph import MODES, Graph, GraphError, percentiles
from listener import STAGES, Fate, Listener

from emf_ros.detect.weights import available_variants, ensure_onnx
from emf_ros.downloads.cache import DownloadError
from emf_ros.runtime.machine import load, machine

#: Maximum number of people that the detector looks for.
MAX_PEOPLE = 10
#: Time from the first skeleton to the measurement, s.
SETTLE_S = 3.0
#: Time from a change of the load to the measurement, s.
CHANGE_S = 2.0
#: Time from the end of the measurement until counters and last answers must be there, s.
DRAIN_S = 2.0


@dataclass(frozen=True)
class Point:
    """What there is to do.

    Attributes:
        load: CPU that other processes take away, % of a core.
        rate: of the camera, Hz.
        people: in each image.
        size: (width, height) px.
    """

    load: float = 0.0
    rate: float = 30.0
    people: int = 2
    size: tuple[int, int] = (1280, 720)


STANDARD = Point()
#: The points of each curve by the quantity that changes; the first ones are enough for a quick run.
CURVES: dict[str, tuple[list[Any], list[Any]]] = {
    "load": ([0.0, 50.0, 100.0, 150.0, 0.0], [0.0, 25.0, 50.0, 75.0, 100.0, 125.0, 150.0, 0.0]),
    "rate": ([10.0, 30.0, 60.0, 120.0], [10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0]),
    "people": ([1, 5, 10], [1, 2, 5, 10]),
    "size": (
        [(640, 480), (1920, 1080), (3840, 2160)],
        [(640, 480), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160)],
    ),
}
#: Text of the horizontal axis of each curve.
UNITS = {
    "load": "taken away, % of a core",
    "rate": "camera, Hz",
    "people": "people",
    "size": "size, megapixels",
}


@dataclass
class Row:
    """What was measured at a point of a curve.

    Attributes:
        curve, graph: names of what changes, and of the graph.
        x: the quantity that changes, as a number.
        point: all quantities, as text.
        rate_hz: skeleton messages a second.
        p50_ms, p95_ms, p99_ms: from an image's stamp to its skeletons here.
        oldest_ms: age of the newest skeletons at its worst.
        gap_ms: longest time between two skeleton messages.
        fate: what became of the images.
        counted: the same by the nodes' counters: skipped by the source, not detected, not lifted.
            In separate processes the middleware replaces images, and counts nothing.
        cpu: of each process, % of a core.
        per_second: skeleton messages in each second.
    """

    curve: str
    graph: str
    x: float
    point: str
    rate_hz: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    oldest_ms: float
    gap_ms: float
    fate: Fate
    counted: tuple[int, int, int]
    cpu: dict[str, float]
    per_second: list[int]


HEADER = (
    "| graph | point | Hz | p50 / p95 / p99 ms | oldest, longest gap ms | images "
    "| skipped by the source (counter) | not taken by the detector (counter) "
    "| not lifted (counter coalesced) | CPU % of a core | band crossings |\n" + "|---" * 11 + "|"
)


def printed(row: Row) -> str:
    fate, (skipped, busy, coalesced) = row.fate, row.counted
    cpu = ", ".join(f"{name} {share:.0f}" for name, share in row.cpu.items())
    return (
        f"| {row.graph} | {row.point} | {row.rate_hz:.1f} "
        f"| {row.p50_ms:.0f} / {row.p95_ms:.0f} / {row.p99_ms:.0f} "
        f"| {row.oldest_ms:.0f}, {row.gap_ms:.0f} | {fate.due} | {fate.skipped} ({skipped}) "
        f"| {fate.not_detected} ({busy}) | {fate.not_lifted} ({coalesced}) | {cpu} "
        f"| {crossings(row.per_second)} |"
    )


def x_of(curve: str, point: Point) -> float:
    value = getattr(point, curve)
    return value[0] * value[1] / 1e6 if curve == "size" else float(value)


def text_of(point: Point) -> str:
    width, height = point.size
    return f"{width}x{height}, {point.rate:g} Hz, {point.people} people, {point.load:g} % taken"


# ------------------------------------------------------------------------------ measuring


def run(curve: str, mode: str, variant: str, points: Sequence[Point], seconds: float) -> list[Row]:
    """Measure points that differ by the load only, one after another in one graph."""
    first = points[0]
    clip = clip_of(first.people, first.size, first.rate)
    rows = []
    with Graph() as graph:
        # A composed graph publishes keypoints only to listeners, which would cost time.
        separate = mode == "separate"
        listener = Listener(graph, keypoints=separate)
        detector: dict[str, object] = {"variant": variant, "max_people": MAX_PEOPLE}
        lifter: dict[str, object] = {"max_people": MAX_PEOPLE}
        graph.play(mode, clip, first.rate, detector, lifter, others=int(separate))
        graph.spin_until(lambda: listener.people > 0, "a first skeleton")
        graph.spin_for(SETTLE_S)
        for point in points:
            with Busy(point.load / 100) as busy:
                if point.load or len(points) > 1:
                    graph.spin_for(CHANGE_S)
                rows.append(measure(graph, listener, busy.pids, curve, mode, point, seconds))
                rows[-1].graph = f"{mode}, {variant}"
                print(printed(rows[-1]), flush=True)
    return rows


def measure(
    graph: Graph,
    listener: Listener,
    others: dict[str, int],
    curve: str,
    mode: str,
    point: Point,
    seconds: float,
) -> Row:
    begin_ns, usage = time.time_ns(), graph.usage(others)
    graph.spin_for(seconds)
    end_ns, cpu = time.time_ns(), usage.percent()
    graph.spin_for(DRAIN_S)
    ages = listener.stages(begin_ns, end_ns)[:, STAGES.index("stamp to skeleton received")]
    if not len(ages):
        raise GraphError(f"no skeletons in {seconds:g} s ({text_of(point)})")
    wall_s = begin_ns / 1e9, end_ns / 1e9

    def counted(node: str, key: str) -> int:
        grown, spanned_s = graph.counted(node, key, *wall_s)
        return round(grown * seconds / spanned_s)

    counters = (
        counted("video_source", "late_frame_skipped"),
        counted("video_source", "detector_busy"),
        counted("skeleton_lifter", "coalesced"),
    )
    fate = listener.fate(begin_ns, end_ns, point.rate)
    if mode != "separate":
        # Keypoints are not seen here: the lifter's counter tells which of the two it was.
        missing = fate.not_detected + fate.not_lifted
        not_lifted = min(counters[2], missing)
        fate = replace(fate, not_lifted=not_lifted, not_detected=missing - not_lifted)
    received = np.array([row[1] for row in listener.rows])
    newest = np.array([row[0] for row in listener.rows])
    within = (received >= begin_ns) & (received < end_ns)
    received, newest = received[within], newest[within]
    bins = np.bincount(((received - begin_ns) // 10**9).astype(int), minlength=int(seconds))
    return Row(
        curve,
        mode,
        x_of(curve, point),
        text_of(point),
        len(received) / seconds,
        *percentiles(ages),
        oldest_ms=float(np.max(received[1:] - newest[:-1], initial=0)) / 1e6,
        gap_ms=float(np.max(np.diff(received), initial=0)) / 1e6,
        fate=fate,
        counted=counters,
        cpu={name: round(share, 1) for name, share in cpu.items()},
        per_second=[int(count) for count in bins[: int(seconds)]],
    )


def measure_curve(curve: str, mode: str, variant: str, quick: bool, seconds: float) -> list[Row]:
    points = [replace(STANDARD, **{curve: value}) for value in CURVES[curve][0 if quick else 1]]
    if curve == "load":
        return run(curve, mode, variant, points, seconds)
    return [row for point in points for row in run(curve, mode, variant, [point], seconds)]


# ------------------------------------------------------------------------------ the report


def report(rows: list[dict[str, Any]], picture: Path | None) -> None:
    """Print a verdict on each curve, and draw the curves."""
    curves: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        curves.setdefault(row["curve"], {}).setdefault(row["graph"], []).append(row)
    print()
    for curve, graphs in curves.items():
        for graph, own in graphs.items():
            said = []
            if curve == "load" and len(own) > 2:
                # The last point has no load again.
                *own, again = own
                graphs[graph] = own
                said = [f"afterwards {again['rate_hz'] / own[0]['rate_hz']:.2f} of the first rate"]
            if len(own) > 1:
                print(f"{curve}, {graph}: " + "; ".join([verdict(curve, own), *said]))
    if picture:
        try:
            plot(curves, UNITS, picture)
        except ImportError as error:
            print(f"no plot: {error}; pip install matplotlib", file=sys.stderr)
        else:
            print(f"curves: {picture}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few points, one mode, one variant")
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES))
    parser.add_argument("--modes", nargs="+", choices=MODES)
    parser.add_argument("--variants", nargs="+", help="of the detector")
    parser.add_argument("--seconds", type=float, help="of each point")
    parser.add_argument("--cores", type=int, help="use the first so many cores only")
    parser.add_argument("--hold", type=float, default=0.0, help="of each core, %% taken away")
    parser.add_argument("--rows", type=Path, help="write the figures to this JSON file")
    parser.add_argument(
        "--read", type=Path, nargs="+", help="report on such files, measure nothing"
    )
    parser.add_argument("--plot", type=Path, help="draw the curves into this PNG file")
    args = parser.parse_args()
    if args.read:
        report([row for path in args.read for row in json.loads(path.read_text())], args.plot)
        return 0
    variants = args.variants or (["lite"] if args.quick else ["lite", "full"])
    modes = args.modes or (MODES[:1] if args.quick else MODES)
    seconds = args.seconds or (6.0 if args.quick else 20.0)
    if args.cores:
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: args.cores]))
    rows: list[Row] = []
    try:
        for variant in variants:
            if variant not in available_variants():
                raise DownloadError(f"variant {variant} is not available here")
            ensure_onnx(variant)
        cores = len(os.sched_getaffinity(0))
        print(f"{machine()}, {cores} used, {load()}\n{calibration()}")
        hold = Busy(args.hold / 100, each_core=True) if args.hold else nullcontext()
        with hold:
            if args.hold:
                print(f"held down by {args.hold:g} % of each core: {calibration()}")
            print(f"{seconds:g} s each\n\n{HEADER}", flush=True)
            for curve in args.curves:
                for variant in variants:
                    for mode in modes:
                        rows += measure_curve(curve, mode, variant, args.quick, seconds)
    except (GraphError, DownloadError, ImportError) as error:
        print(f"overload: {error}", file=sys.stderr)
        return 1
    finally:
        if args.rows and rows:
            args.rows.write_text(json.dumps([asdict(row) for row in rows]))
    report([asdict(row) for row in rows], args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
