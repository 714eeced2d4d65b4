"""What a soak has found: tables, and whether something grows, drifts or is unaccounted for."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from frame_account import LEFT_OUT, Account
from process_health import MIN_READINGS, Reading, grows, trend

#: Goal for the time from an outage, or from the kill of a node, to skeletons of new images, s.
GOAL_BACK_S = 5.0
#: Maximum growth of the memory of a process, MiB a second: 1 MB in ten minutes.
MAX_GROWTH = 1e6 / 2**20 / 600
#: Minimum number of frames that a process has handled before its memory is judged: caches and
#: heaps fill at first.
WARM_FRAMES = 500
#: Maximum median latency of the last third, as a multiple of that of the first third.
MAX_DRIFT = 1.25


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
        readings: handles and threads of each process, by name.
        memory: (monotonic s, resident MiB) of each process without frames on their way, by name.
        windows: latency.
        frames: what became of the frames between the outages.
        outages: in their order.
        warnings: texts of the diagnostics that no outage explains.
        judged_s: when the readings that are judged begin, monotonic, s.
    """

    readings: dict[str, list[Reading]] = field(default_factory=lambda: defaultdict(list))
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    windows: list[Window] = field(default_factory=list)
    frames: Account = field(default_factory=Account)
    outages: list[Outage] = field(default_factory=list)
    warnings: set[str] = field(default_factory=set)
    judged_s: float = math.inf


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
        "\n| process | memory MiB, first, last | over s | MB in 10 minutes "
        "| handles, first, last | threads, first, last |\n" + "|---" * 6 + "|"
    )
    scale = 1.0 / MAX_GROWTH
    for name in LEFT_OUT:
        readings = [r for r in found.readings[name] if r.at_s >= found.judged_s]
        memory = found.memory[name]
        if not readings:
            wrong.append(f"{name}: the run is too short to judge")
            continue
        line = trend([at_s for at_s, _ in memory], [mib for _, mib in memory])
        none = [(math.nan, math.nan)]
        (begin_s, first), (end_s, last) = (memory or none)[0], (memory or none)[-1]
        print(
            f"| {name} | {first:.1f}, {last:.1f} | {end_s - begin_s:.0f} "
            f"| {line.per_second * scale:+.2f} ± {2 * line.doubt * scale:.2f} "
            f"| {readings[0].handles}, {readings[-1].handles} "
            f"| {readings[0].threads}, {readings[-1].threads} |"
        )
        if len(memory) < MIN_READINGS:
            print(f"  {name}: too few readings of its memory after {WARM_FRAMES} frames")
        elif line.surely_over(MAX_GROWTH):
            wrong.append(f"{name}: memory grows")
        elif not line.surely_under(MAX_GROWTH):
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
