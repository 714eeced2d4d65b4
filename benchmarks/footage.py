"""Real people against motion capture: one table over all recordings there are.

python benchmarks/footage.py --footage DIR [--weights FILE ...] [--detectors full] [--lags 0 4]

DIR holds recordings of keypoints with truth (see `emf_ros.train.footage.read_footage`). Each is
lifted as the live system would. Several weights files give a table to choose between them.
"""

from __future__ import annotations

import argparse

import numpy as np

from emf_ros.lift.engine import make_engine
from emf_ros.lift.offline import lift_recording
from emf_ros.machine import machine
from emf_ros.train.footage import Errors, compare, read_footage, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--footage", required=True, metavar="DIR")
    parser.add_argument("--weights", nargs="*", default=[None], help="in place of the preset's")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--detectors", nargs="*", default=["full"], help="(full)")
    parser.add_argument("--lags", type=int, nargs="*", default=[0], help="(0)")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    print(f"{machine()}\n")
    for detector in args.detectors:
        rows: dict[str, Errors] = {}
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
                rows[f"mean, {what}"] = Errors.mean(found)
        print("\n".join(table(f"BlazePose {detector}", rows)), end="\n\n")


if __name__ == "__main__":
    main()
