"""An evaluation report as tables and plots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..io.outputs import replacing

_KINDS = ("exact", "noisy", "dropouts")


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(c) for c in cells) + " |"


def _number(value: float | None, factor: float = 1.0, unit: str = "") -> str:
    return "-" if value is None else f"{factor * value:.1f}{unit}"


def tables(report: dict[str, Any]) -> Iterator[str]:
    """Lines of Markdown tables of a report of `evaluate`."""
    if not report.get("training_known", True):
        yield "It is not known on which subjects these weights were trained. It may be on these."
        yield ""
    kinds = [k for k in _KINDS if k in report]
    metrics = {"MPJPE": "mpjpe_mm", "P-MPJPE": "p_mpjpe_mm", "N-MPJPE": "n_mpjpe_mm"}
    yield _row(["lag, mm", *(f"{k}: {m}" for k in kinds for m in metrics)])
    yield _row(["---"] * (1 + len(kinds) * len(metrics)))
    for lag in report[kinds[0]]["lag"]:
        centre = " (centre)" if int(lag) == report["frames"] // 2 else ""
        cells = [report[k]["lag"][lag][m] for k in kinds for m in metrics.values()]
        yield _row([f"{lag}{centre}", *(f"{c:.1f}" for c in cells)])
    yield ""
    yield _row(["", *kinds])
    yield _row(["---"] * (1 + len(kinds)))
    for name, of in _figures():
        yield _row([name, *(of(report[k]) for k in kinds)])
    yield ""
    kind = "noisy" if "noisy" in kinds else kinds[0]
    yield _row([f"joint, {kind}, lag 0", "MPJPE, mm", "inside one stddev"])
    yield _row(["---"] * 3)
    inside = report[kind]["confidence"]["inside_one_stddev_per_joint"]
    for joint, error in report[kind]["joint_mpjpe_mm"].items():
        if joint in inside:
            yield _row([joint, f"{error:.1f}", f"{100 * inside[joint]:.0f} %"])
    yield ""
    yield _row([f"action, {kind}, lag 0", "windows", "MPJPE, mm", "P-MPJPE, mm"])
    yield _row(["---"] * 4)
    actions = report[kind]["action"].items()
    for action, row in sorted(actions, key=lambda item: -item[1]["windows"]):
        cells = [row["windows"], f"{row['mpjpe_mm']:.1f}", f"{row['p_mpjpe_mm']:.1f}"]
        yield _row([action or "(unnamed)", *cells])
    yield ""


def _figures() -> list[tuple[str, Any]]:
    def baseline(metric: str) -> Any:
        return lambda r: _number((r["baseline_mean_pose"] or {}).get(metric), unit=" mm")

    def root(which: str, part: str) -> Any:
        return lambda r: _number(r[which][part], 100, " %")

    def inside(which: str) -> Any:
        return lambda r: _number(r["confidence"][which], 100, " %")

    return [
        ("velocity error (MPJVE)", lambda r: _number(r["mpjve_mm_per_frame"], unit=" mm/frame")),
        ("acceleration error", lambda r: _number(r["acceleration_error_m_s2"], unit=" m/s²")),
        ("root's error, of its distance, median", root("root", "median")),
        ("the same, 90th percentile", root("root", "p90")),
        ("root's error, true height known, median", root("root_of_known_height", "median")),
        ("roots that could be solved", root("root", "solved")),
        ("errors inside one `stddev`", inside("inside_one_stddev")),
        ("errors inside two `stddev`", inside("inside_two_stddev")),
        ("baseline: mean pose, trunk's turn given, MPJPE", baseline("mpjpe_mm")),
        ("baseline: mean pose, P-MPJPE", baseline("p_mpjpe_mm")),
    ]


#: Names of the plots.
PLOTS = ("lag", "joints", "reliability")


def plots(report: dict[str, Any], folder: Path) -> list[Path]:
    """Draw a report: errors by lag and by joint, and the calibration of `stddev`.

    Returns:
        the PNG files that were written, see `PLOTS`.

    Raises:
        OutputError: a file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = [k for k in _KINDS if k in report]
    colours = dict(zip(_KINDS, ("tab:green", "tab:blue", "tab:orange"), strict=True))
    written = []

    def save(figure: Any, name: str) -> None:
        path = folder / f"{name}.png"
        with replacing(path) as part:
            figure.savefig(part, dpi=110)
        plt.close(figure)
        written.append(path)

    figure, axis = plt.subplots(figsize=(7, 4.2), constrained_layout=True)
    for kind in kinds:
        lags = report[kind]["lag"]
        at = [int(lag) for lag in lags]
        for metric, style in (("mpjpe_mm", "o-"), ("p_mpjpe_mm", "s--")):
            name = "MPJPE" if metric == "mpjpe_mm" else "P-MPJPE"
            values = [lags[lag][metric] for lag in lags]
            axis.plot(at, values, style, color=colours[kind], label=f"{name}, {kind}")
    axis.set(xlabel="lag, frames behind the newest", ylabel="mm")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, ncols=max(1, len(kinds)))
    save(figure, "lag")

    figure, axis = plt.subplots(figsize=(9, 4.2), constrained_layout=True)
    joints = [j for j in report[kinds[0]]["joint_mpjpe_mm"] if j != "pelvis"]
    width = 0.8 / len(kinds)
    for i, kind in enumerate(kinds):
        values = [report[kind]["joint_mpjpe_mm"][j] for j in joints]
        places = [n + width * (i - (len(kinds) - 1) / 2) for n in range(len(joints))]
        axis.bar(places, values, width, color=colours[kind], label=kind)
    axis.set_xticks(range(len(joints)), [j.replace("_", " ") for j in joints], rotation=45)
    for label in axis.get_xticklabels():
        label.set_horizontalalignment("right")
    axis.set(ylabel="MPJPE at lag 0, mm")
    axis.grid(alpha=0.3, axis="y")
    axis.legend(fontsize=8)
    save(figure, "joints")

    figure, axis = plt.subplots(figsize=(5, 4.8), constrained_layout=True)
    most = 0.0
    for kind in kinds:
        bins = report[kind]["confidence"]["reliability"]
        x, y = [b["stddev_mm"] for b in bins], [b["error_68_mm"] for b in bins]
        axis.plot(x, y, "o-", color=colours[kind], label=kind)
        most = max(most, *x, *y)
    axis.plot([0, most], [0, most], color="0.6", lw=1, label="calibrated")
    axis.set(
        xlabel="stddev as given, mm (medians of ten equal bins)",
        ylabel="68 % of the errors along an axis are under, mm",
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    save(figure, "reliability")
    return written
