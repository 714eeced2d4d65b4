"""Verdicts on curves of rate and latency over load, and their plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

#: Minimum height of a bend above the chord of its neighbours, share of the curve's highest rate.
MIN_BEND = 0.1
#: Maximum fall of the rate behind its best while the camera gets faster, share of the best.
MAX_COLLAPSE = 0.15
#: Maximum p95 of the latency, multiples of p50.
MAX_SPREAD = 3.0
#: Half width of the band around the mean rate that an oscillation leaves on both sides, share.
BAND = 0.2
#: Least half width of that band, messages a second: a rate that is no whole number changes by one.
MIN_BAND_HZ = 1.5
#: Minimum number of crossings of the band that is called an oscillation.
MIN_CROSSINGS = 3


def bends_down(x: Sequence[float], rates: Sequence[float]) -> int:
    """Number of times that a curve bends down.

    A point is in a bend where it is above the chord of its neighbours by `MIN_BEND` of the highest
    rate. Two such points side by side are one bend: it lies between them.

    Args:
        x: (N,) ascending.
        rates: (N,) Hz.
    """
    at, hz = np.asarray(x, float), np.asarray(rates, float)
    bends = run = 0
    for i in range(1, len(at) - 1):
        chord = np.interp(at[i], at[[i - 1, i + 1]], hz[[i - 1, i + 1]])
        run = run + 1 if hz[i] - chord > MIN_BEND * hz.max() else 0
        bends += run % 2
    return bends


def collapse(rates: Sequence[float]) -> float:
    """How far a rate falls behind the best one before it, share of the best."""
    hz = np.asarray(rates, float)
    best = np.maximum.accumulate(hz)
    return float(np.max(1 - hz / np.maximum(best, 1e-9)))


def crossings(per_second: Sequence[float]) -> int:
    """How many times a rate goes from below a band around its mean to above it, or back.

    Args:
        per_second: (N,) messages in each second.
    """
    rates = np.asarray(per_second, float)
    half = max(BAND * rates.mean(), MIN_BAND_HZ)
    sides = [np.sign(r) for r in rates - rates.mean() if abs(r) > half]
    return int(sum(a != b for a, b in zip(sides, sides[1:], strict=False)))


def oscillates(per_second: Sequence[float]) -> bool:
    return crossings(per_second) >= MIN_CROSSINGS


def verdict(name: str, rows: list[dict[str, Any]]) -> str:
    """One line on a curve.

    Args:
        name: of what changes along it.
        rows: of the points, in their order; keys as `overload.Row`.
    """
    rates = [row["rate_hz"] for row in rows]
    bends = bends_down([row["x"] for row in rows], rates)
    spread = max(row["p95_ms"] / row["p50_ms"] for row in rows)
    swinging = [f"{row['x']:g}" for row in rows if oscillates(row["per_second"])]
    said = [
        f"bends down {bends} times ({_word(bends <= 1)})",
        f"p95 at most {spread:.1f} times p50 ({_word(spread < MAX_SPREAD)})",
        f"oscillates at {', '.join(swinging) or 'no point'} ({_word(not swinging)})",
    ]
    if name == "rate":
        fall = collapse(rates)
        said.append(f"falls {100 * fall:.0f} % behind its best ({_word(fall < MAX_COLLAPSE)})")
    return "; ".join(said)


def _word(good: bool) -> str:
    return "good" if good else "BAD"


def plot(curves: dict[str, dict[str, list[dict[str, Any]]]], units: dict[str, str], path: Path):
    """Draw a row of plots for each curve.

    Args:
        curves: by the name of what changes, then by the name of the graph; rows of the points.
        units: text of the horizontal axis, by the name of what changes.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(curves), 4, figsize=(20, 4 * len(curves)), squeeze=False, layout="constrained"
    )
    for line, (name, graphs) in zip(axes, curves.items(), strict=True):
        rate, latency, cpu, series = line
        for number, (graph, rows) in enumerate(graphs.items()):
            color = f"C{number}"
            x = [row["x"] for row in rows]
            rate.plot(x, [row["rate_hz"] for row in rows], "o-", color=color, label=graph)
            for key, style in (("p50_ms", "o-"), ("p95_ms", "s--"), ("oldest_ms", "^:")):
                label = f"{graph}, {key[:-3]}"
                latency.plot(x, [row[key] for row in rows], style, color=color, label=label)
            cpu.plot(x, [sum(row["cpu"].values()) for row in rows], "o-", color=color, label=graph)
            for place, row in enumerate(rows):
                shade = 1 - 0.7 * place / max(len(rows) - 1, 1)
                label = f"{graph}, {row['x']:g}"
                series.plot(row["per_second"], color=color, alpha=shade, label=label)
        rate.set_ylabel("skeleton messages/s")
        latency.set_ylabel("latency, and age of the oldest, ms")
        cpu.set_ylabel("CPU of all processes, % of a core")
        series.set_ylabel("skeleton messages in each second")
        series.set_xlabel("s")
        for plotted in (rate, latency, cpu):
            plotted.set_xlabel(units[name])
        for plotted in line:
            plotted.set_ylim(0, 1.05 * plotted.get_ylim()[1])
            plotted.grid(alpha=0.3)
            plotted.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)
