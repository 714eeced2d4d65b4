"""Real people against motion capture: one table over all recordings there are.

python benchmarks/footage.py --footage DIR [--weights FILE ...] [--detectors full] [--lags 0 4]

DIR holds recordings of keypoints with truth (see `emf_ros.train.footage.read_footage`). Each is
lifted as the live system would. Several weights files give a table to choose between them.
--differences adds where the joints lie against the truth's on average, in the body's frame, after
the best similarity transform of each pose: differences that all recordings share are a convention.
"""

from __future__ import annotations

import argparse

import numpy as np

from emf_ros.lift.engine import make_engine
from emf_ros.lift.offline import lift_recording
from emf_ros.runtime.machine import machine
from emf_ros.skeletons import H36M17
from emf_ros.train.footage import Errors, LabTruth, align, compare, read_footage, table

KINDS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")


def similar(moved: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """(K, 3) -> (K, 3): the best similarity transform of one pose onto another (Umeyama 1991)."""
    a, b = moved - moved.mean(axis=0), fixed - fixed.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return (s * sign).sum() / (a**2).sum() * a @ (u * sign) @ vt + fixed.mean(axis=0)


def mean_differences(stamps: np.ndarray, joints: np.ndarray, truth: LabTruth) -> list[str]:
    """Per kind of joint 'out up forward', mm, mean over both sides and all frames."""
    _, true, own = align(stamps, joints, truth)
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
    away = 1000 * np.einsum("nij,nkj->nki", axes, own - true).mean(axis=0)
    cells = []
    for kind in KINDS:
        left_side, right_side = away[at[f"left_{kind}"]], away[at[f"right_{kind}"]]
        values = 0.5 * (left_side + right_side * [-1, 1, 1])
        cells.append(" ".join(f"{v:+.0f}" for v in values))
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--footage", required=True, metavar="DIR")
    parser.add_argument("--weights", nargs="*", default=[None], help="in place of the preset's")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--detectors", nargs="*", default=["full"], help="(full)")
    parser.add_argument("--lags", type=int, nargs="*", default=[0], help="(0)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--differences", action="store_true", help="of the joints' places, too")
    args = parser.parse_args()
    print(f"{machine()}\n")
    for detector in args.detectors:
        rows: dict[str, Errors] = {}
        places: list[str] = []
        for weights in args.weights:
            engine = make_engine(args.preset, weights, args.device)
            for lag in args.lags:
                what = f"{weights or args.preset}, lag {lag}"
                found = []
                for clip in read_footage(args.footage, detector):
                    lifted, _ = lift_recording(clip.keypoints, engine, lag, progress=False)
                    stddev = lifted.joint_stddev.astype(np.float64)
                    joints = lifted.joints_3d.astype(np.float64)
                    found.append(compare(lifted.stamp, joints, stddev, clip.truth))
                    rows[f"{clip.name}, {what}"] = found[-1]
                    if args.differences:
                        cells = mean_differences(lifted.stamp, joints, clip.truth)
                        places.append(f"| {clip.name}, {what} | {' | '.join(cells)} |")
                rows[f"mean, {what}"] = Errors.mean(found)
        print("\n".join(table(f"BlazePose {detector}", rows)), end="\n\n")
        if places:
            print(f"| out, up, forward, mm | {' | '.join(KINDS)} |")
            print("|" + " --- |" * (1 + len(KINDS)), *places, sep="\n", end="\n\n")


if __name__ == "__main__":
    main()
