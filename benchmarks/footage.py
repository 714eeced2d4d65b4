"""Real people with truth: the errors of several weights files, and where joints lie.

python benchmarks/footage.py [--footage DIR] [--weights FILE ...] [--lags 0 4] [--differences]

The recordings are those of `emf-ros eval`: four cameras, and the recordings of keypoints in DIR.
--projected adds the four cameras with exact keypoints: the projections of the truth. --differences
adds the mean difference of each joint from the truth, in the body's frame, after the best
similarity transform of each pose. A difference that all recordings share is a convention.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from emf_ros.lift.engine import Engine, make_engine
from emf_ros.runtime.machine import machine
from emf_ros.skeletons import H36M17
from emf_ros.train.comparison import Errors, Poses, align, error_table
from emf_ros.train.footage import (
    Footage,
    KeypointFootage,
    all_footage,
    evaluate_footage,
    projected_truth,
)
from emf_ros.train.truth import Truth

KINDS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


def similar(moved: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """(K, 3) -> (K, 3), one pose after its best similarity transform to another (Umeyama 1991)."""
    a, b = moved - moved.mean(axis=0), fixed - fixed.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return (s * sign).sum() / (a**2).sum() * a @ (u * sign) @ vt + fixed.mean(axis=0)


def mean_differences(poses: Poses, truth: Truth) -> list[str]:
    """Per kind of joint 'out up forward', mm, mean over both sides and all frames."""
    _, true, own = align(poses, truth)
    own = np.stack([similar(a, b) for a, b in zip(own, true, strict=True)])
    at = {H36M17.joints[j]: i for i, j in enumerate(truth.known)}

    def middle(kind: str) -> np.ndarray:
        return 0.5 * (true[:, at[f"left_{kind}"]] + true[:, at[f"right_{kind}"]])

    up = middle("shoulder") - middle("hip")
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    left = true[:, at["left_hip"]] - true[:, at["right_hip"]]
    left -= (left * up).sum(axis=-1, keepdims=True) * up
    left /= np.linalg.norm(left, axis=-1, keepdims=True)
    axes = np.stack([left, up, np.cross(left, up)], axis=1)
    differences = 1000 * np.einsum("nij,nkj->nki", axes, own - true).mean(axis=0)
    cells = []
    for kind in KINDS:
        left_side, right_side = differences[at[f"left_{kind}"]], differences[at[f"right_{kind}"]]
        values = 0.5 * (left_side + right_side * [-1, 1, 1])
        cells.append(" ".join(f"{v:+.0f}" for v in values))
    return cells


def differences(footage: list[Footage], engine: Engine, lag: int) -> Iterator[str]:
    """Lines of a Markdown table, a row per recording of keypoints."""
    yield f"| out, up, forward, mm | {' | '.join(KINDS)} |"
    yield "|" + " --- |" * (1 + len(KINDS))
    for recording in footage:
        if isinstance(recording, KeypointFootage):
            cells = mean_differences(recording.poses(engine, lag), recording.truth)
            name = f"{recording.name}{', exact keypoints' if recording.exact else ''}, lag {lag}"
            yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--footage", metavar="DIR", help="recordings of keypoints with truth")
    parser.add_argument("--weights", nargs="*", default=[None], help="in place of the preset's")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--variant", default="full", help="of BlazePose (full)")
    parser.add_argument("--lags", type=int, nargs="*", default=[0], help="(0)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--projected", action="store_true", help="exact keypoints as well")
    parser.add_argument("--differences", action="store_true", help="of joints from the truth")
    args = parser.parse_args()
    print(f"{machine()}; BlazePose {args.variant}\n")
    footage = list(all_footage(args.footage, args.variant))
    if args.projected or args.differences:
        footage += projected_truth()
    rows: dict[tuple[str, str], Errors] = {}
    for weights in args.weights:
        engine = make_engine(args.preset, weights, args.device)
        found = evaluate_footage(footage, engine, tuple(args.lags), args.variant)
        for (recording, method), errors in found.items():
            # BlazePose's own landmarks do not depend on the weights.
            name = f"{weights}, {method}" if weights and "lag" in method else method
            rows.setdefault((recording, name), errors)
        if args.differences:
            print(f"{weights or args.preset}\n")
            for lag in args.lags:
                print(*differences(footage, engine, lag), sep="\n", end="\n\n")
    print(*error_table(rows), sep="\n")


if __name__ == "__main__":
    main()
