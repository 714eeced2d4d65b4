"""What the URDF of a person and the positions of its joints give back of the lifted joints.

python benchmarks/urdf.py RECORDING [...]

A recording is what `emf-ros lift` has written. The joints are rebuilt by forward kinematics from
the text of the URDF, as the lifter publishes it, the positions and the frame of the pelvis. Their
distance from the lifted joints comes from lengths that are not constant in lifted poses.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from emf_ros.body.chain import CHAIN, chain_positions, lengths_of
from emf_ros.body.orientation import OrientationTracker
from emf_ros.body.rotations import matrices
from emf_ros.body.size import BodySize
from emf_ros.body.urdf import LINK_OF, limits_of, urdf_of
from emf_ros.skeletons import H36M17
from emf_ros.stamps import NANOSECONDS

sys.path.append(str(Path(__file__).resolve().parents[1] / "test"))
from urdf_forward import Urdf

#: Number of images per image that is measured.
EVERY = 5
#: Number of images of a person before the first that is measured.
FIRST = 15


def rebuilt(
    stamp_ns: np.ndarray, joints: np.ndarray, stddev: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Errors (N, 17) m and positions (N, 31) of one person, and how many URDFs there were."""
    tracker, size, text, count = OrientationTracker(), BodySize(), "", 0
    errors, positions = [], []
    for number, stamp in enumerate(stamp_ns.tolist()):
        own = joints[number][None]
        turned = tracker.update(stamp, [1], own, stddev[number][None])
        if size.take(lengths_of(turned.quaternion, own)[0]):
            text, count = urdf_of("b1", size.described), count + 1
        if number < FIRST or number % EVERY or not np.isfinite(turned.quaternion[0, 0]).all():
            continue
        found = chain_positions(turned.quaternion, own, np.array([size.trunk_m]))[0]
        positions.append(found)
        known = {f"{n}_b1": p for n, p in zip(CHAIN, found.tolist(), strict=True) if p == p}
        # From the axes of ISB to those of REP-103.
        x, y, z = matrices(turned.quaternion[0, 0]).T
        links = Urdf(text).forward(known, own[0, 0], np.stack([x, -z, y], axis=-1))
        row = np.full(len(H36M17), np.nan)
        for joint, link in LINK_OF.items():
            if f"{link}_b1" in links:
                at = H36M17.index(joint)
                row[at] = np.linalg.norm(links[f"{link}_b1"][0] - own[0, at])
        errors.append(row)
    return np.array(errors).reshape(-1, 17), np.array(positions).reshape(-1, len(CHAIN)), count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", nargs="+", type=Path)
    args = parser.parse_args()
    print("recording        person  images  URDFs   median mm   95 %   max")
    every, all_positions = [], []
    for path in args.recording:
        with np.load(path) as file:
            ids, joints = file["track_id"], file["joints_3d"].astype(np.float64)
            stddev, stamps = file["joint_stddev"].astype(np.float64), file["stamp"]
        for number in np.unique(ids).tolist():
            own = ids == number
            stamp_ns = np.round(stamps[own] * NANOSECONDS).astype(np.int64)
            errors, positions, count = rebuilt(stamp_ns, joints[own], stddev[own])
            if not len(errors):
                continue
            every.append(errors)
            all_positions.append(positions)
            row = 1000 * np.nanpercentile(errors, [50, 95, 100])
            print(
                f"{path.stem:16s} {number:6d} {len(errors):7d} {count:6d}   "
                f"{row[0]:9.1f} {row[1]:6.1f} {row[2]:5.1f}"
            )
    errors, positions = np.concatenate(every), np.concatenate(all_positions)
    print("\njoint            median mm   95 %")
    for joint, column in zip(H36M17.joints, errors.T, strict=True):
        row = 1000 * np.nanpercentile(column, [50, 95])
        print(f"{joint:16s} {row[0]:9.1f} {row[1]:6.1f}")
    limits = np.array([limits_of(joint) for joint in CHAIN]).T
    known = np.isfinite(positions)
    outside = known & ((positions < limits[0]) | (positions > limits[1]))
    print(f"\noutside of the limits: {outside.sum()} of {known.sum()} positions")


if __name__ == "__main__":
    main()
