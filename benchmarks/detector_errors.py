"""How the 2D detectors err on real video: the measurements behind emf_ros/train/detector_model.py.

python benchmarks/detector_errors.py --cache /tmp/errors            # some five minutes
python benchmarks/detector_errors.py --cache /tmp/errors            # again: at once, from the cache
python benchmarks/detector_errors.py --cache /tmp/errors --plot errors.png --mocap FOLDER

The detector runs on a video as it is and degraded. What it finds is held against a reference: the
heaviest variant on the original and on the mirrored image, averaged and low-pass filtered without
phase. Errors are in shares of the person's size: the diagonal of the box around the keypoints, mean
over a window, as in training. Since the variants share their training data, what is wrong with all
of them alike, the clips' constant offsets above all, is seen only in part.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from degraded_pictures import CONDITIONS, MIRRORED, Condition, cached_detections
from error_reference import KINDS, Reference, reference
from error_statistics import (
    ASTRAY,
    LAGS,
    NEIGHBOURS,
    SCORE_EDGES,
    Statistics,
    observe,
    observe_model,
    statistics,
    windows_of_motion,
)
from error_strips import STRIP_FRAMES, draw_strips, model_strips, real_strips

from emf_ros.detect.weights import available_variants
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.io.video import open_source
from emf_ros.runtime.machine import load, machine
from emf_ros.skeletons import BLAZEPOSE33

# ---------------------------------------------------------------------------------- proportions


def proportions(truth: Reference) -> Iterator[str]:
    """The reference's own proportions, per person, for the layouts' constant offsets."""
    row = {name: i for i, name in enumerate(BLAZEPOSE33.joints)}

    def between(pose: np.ndarray, a: str, b: str) -> np.ndarray:
        return np.linalg.norm(pose[:, row[a]] - pose[:, row[b]], axis=-1)

    def middle(pose: np.ndarray, joint: str) -> np.ndarray:
        return 0.5 * (pose[:, row[f"left_{joint}"]] + pose[:, row[f"right_{joint}"]])

    for person, pose in enumerate(truth.poses[..., :2]):
        shoulders, hips, ears = (middle(pose, j) for j in ("shoulder", "hip", "ear"))
        trunk = float(np.nanpercentile(np.linalg.norm(shoulders - hips, axis=-1), 75))
        wide = between(pose, "left_shoulder", "right_shoulder")
        # Where the shoulders look widest the person faces the camera, or shows it the back.
        facing = wide > np.nanpercentile(wide, 75)
        narrow = between(pose, "left_hip", "right_hip")
        leg = [between(pose, "left_hip", "left_knee"), between(pose, "left_knee", "left_ankle")]
        sizes_ = {
            "shoulders": np.nanmedian(wide[facing]),
            "hips": np.nanmedian(narrow[facing]),
            "thigh": np.nanpercentile(leg[0], 90),
            "shank": np.nanpercentile(leg[1], 90),
            "ears over shoulders": np.nanpercentile(np.linalg.norm(ears - shoulders, axis=-1), 75),
            "nose to ears": np.nanpercentile(
                np.linalg.norm(pose[:, row["nose"]] - ears, axis=-1), 90
            ),
        }
        shares = ", ".join(f"{name} {value / trunk:.2f}" for name, value in sizes_.items())
        yield f"person {person + 1}, in trunks: {shares}"


# ---------------------------------------------------------------------------------- the output


def mean_of(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


def print_tables(rows: list[tuple[str, Statistics]]) -> None:
    """Markdown; lengths in percent of the person's size, stretches as share x mean frames."""
    print("| condition | " + " | ".join(KINDS) + " | mean | bias | tails | x / y | lag |")
    print("|---|" + "---|" * (len(KINDS) + 5))
    for name, s in rows:
        spread = " | ".join(f"{s.spread[k]:.2f}" for k in KINDS)
        print(
            f"| {name} | {spread} | {mean_of(s.spread):.2f} | {mean_of(s.bias):.2f} | "
            f"{s.tails:.1f} | {s.anisotropy:.2f} | {s.lag:.2f} |"
        )
    print(
        "\n| condition | autocorrelation at lags " + ", ".join(map(str, LAGS)) + " | slow | fast |"
    )
    print("|---|---|---|---|")
    for name, s in rows:
        lags = ", ".join(f"{a:.2f}" for a in s.autocorrelation)
        slow, slow_rho, fast, fast_rho = s.processes
        print(
            f"| {name} | {lags} | {100 * slow:.2f} %, {slow_rho:.2f} | "
            f"{100 * fast:.2f} %, {fast_rho:.2f} |"
        )
    bins = [
        f"{low:g} to {high:g}" for low, high in zip(SCORE_EDGES[:-1], SCORE_EDGES[1:], strict=True)
    ]
    print("\n| median, 90th percentile of the error at scores of | " + " | ".join(bins) + " |")
    print("|---|" + "---|" * len(bins))
    for name, s in rows:
        cells = [f"{half:.1f}, {most:.1f}" if n > 20 else "-" for n, half, most in s.by_score]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| correlation of the noise | " + " | ".join(NEIGHBOURS) + " |")
    print("|---|" + "---|" * len(NEIGHBOURS))
    for name, s in rows:
        cells = [f"{s.correlation[pair]:.2f}" for pair in NEIGHBOURS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(
        f"\n| condition | over {100 * ASTRAY:g} % off | score < 0.5 | legs swapped | arms | both "
        "| lost |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, s in rows:
        swaps = " | ".join(s.swaps[limb] for limb in ("legs", "arms", "both"))
        print(f"| {name} | {s.astray} | {s.low_score} | {swaps} | {s.lost} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, help="video of moving people; default: the demo's")
    parser.add_argument("--cache", type=Path, help="folder for what the detector finds")
    parser.add_argument("--mocap", type=Path, help="folder of motion capture: adds the noise model")
    parser.add_argument(
        "--plot", type=Path, help="PNG of real and synthetic keypoints; --mocap too"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the plot's synthetic half")
    args = parser.parse_args()
    if args.plot and not args.mocap:
        parser.error("--plot needs --mocap")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN, as wanted
    video = args.video or ensure_demo_video()
    source = open_source(video)
    rate_hz = source.rate_hz
    source.close()
    variants = available_variants()
    heavy = variants[-1]

    def found(variant: str, condition: Condition) -> np.ndarray:
        return cached_detections(video, variant, condition, rate_hz, args.cache)

    truth = reference(found(heavy, CONDITIONS[0]), found(heavy, MIRRORED), rate_hz)
    print(f"{machine()}, {load()}; {video.name}, {truth.size.shape[1]} frames at {rate_hz:g} Hz")
    print(
        f"reference: {heavy}, {len(truth.poses)} people, "
        f"{np.nanmean(truth.size):.0f} px, {100 * truth.unsure:.0f} % of the points left out\n"
    )
    rows = [(f"{heavy}, native", statistics(observe(found(heavy, CONDITIONS[0]), truth)))]
    for variant in [v for v in variants if v != heavy] or [heavy]:
        for condition in CONDITIONS:
            observed = observe(found(variant, condition), truth)
            if np.isfinite(observed.error).any():
                rows.append((f"{variant}, {condition.name}", statistics(observed)))
    if args.mocap:
        filmed = windows_of_motion(args.mocap, 300, STRIP_FRAMES, rate_hz)
        for spread in (0.0104, 0.015, 0.022):
            observed = observe_model(filmed, spread)
            rows.append((f"model, spread {100 * spread:.2f} %", statistics(observed)))
    print_tables(rows)
    print()
    for line in proportions(truth):
        print(line)
    if args.plot:
        light = variants[0]
        chosen = (("full", 0), ("full", 1), (light, 0), (light, 1), ("full", 2), (light, 5))
        shown = {
            f"{variant}, {CONDITIONS[i].name}": found(variant, CONDITIONS[i])
            for variant, i in chosen
        }
        spreads = [0.0104, 0.0106, 0.0135, 0.014, 0.0122, 0.02]
        real = real_strips(shown, truth)
        synthetic = model_strips(args.mocap, rate_hz, spreads, args.seed)
        draw_strips([real, synthetic], args.plot)
        print(f"\nreal and synthetic keypoints: {args.plot}")


if __name__ == "__main__":
    main()
