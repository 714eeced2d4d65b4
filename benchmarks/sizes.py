"""How much each size of the lifter learns in the same processor time.

python benchmarks/sizes.py --mocap DIR --out DIR [--footage DIR] [--sizes 3,96,2 ...]

Trains every size from random weights for the same minutes on the same motion capture, and evaluates
it on the subjects held back and on recordings of real people. Runs that are there already are not
repeated, and one that was interrupted goes on, so that the command may be stopped at any time. Two
calls with other --sizes may run beside each other, in one --out, on a core each. What a pass of
each size costs: docs/experiments/training.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from ablations import trained

from emf_ros.lift.engine import make_engine
from emf_ros.runtime.machine import machine
from emf_ros.train.comparison import Errors
from emf_ros.train.footage import Footage, all_footage, evaluate_footage, method_name
from emf_ros.train.settings import TrainConfig

#: frame_stride, dim and layers of each size.
SIZES = [
    "1,64,2",
    "3,64,2",
    "3,80,2",
    "3,96,2",
    "3,112,2",
    "3,128,2",
    "3,160,2",
    "3,64,4",
    "3,96,3",
]


def run(args: argparse.Namespace, size: str, footage: list[Footage]) -> dict[str, Any]:
    """The report of one size, trained if need be."""
    folder = Path(args.out) / f"{size}, {args.minutes:g} minutes, seed {args.seed}"
    done = folder / "report.json"
    if done.is_file():
        report: dict[str, Any] = json.loads(done.read_text())
        return report
    stride, dim, layers = size.split(",")
    config = TrainConfig(
        "lite",
        args.mocap,
        str(folder),
        budget_minutes=args.minutes,
        seed=args.seed,
        validate_minutes=1e6,
        # The validation at the end is this report; the trainer's own may be small.
        validate_windows=64,
    ).changed([f"lifter.frame_stride={stride}", f"lifter.dim={dim}", f"lifter.layers={layers}"])
    report = trained(config, "cpu", args.windows)
    engine = make_engine("lite", folder / "lite.safetensors", "cpu")
    rows = evaluate_footage(footage, engine)
    real = Errors.mean([errors for (_, method), errors in rows.items() if method == method_name(0)])
    report |= {
        "real_mpjpe_mm": real.mpjpe_mm,
        "real_p_mpjpe_mm": real.p_mpjpe_mm,
    }
    done.write_text(json.dumps(report, indent=1))
    return report


def pair(report: dict[str, Any]) -> str:
    """MPJPE / P-MPJPE at lag 0."""
    newest = report["lag"]["0"]
    return f"{newest['mpjpe_mm']:.1f} / {newest['p_mpjpe_mm']:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mocap", required=True, metavar="DIR")
    parser.add_argument("--out", required=True, metavar="DIR", help="for runs and their reports")
    parser.add_argument("--footage", metavar="DIR", help="recordings of keypoints with truth")
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="frame_stride,dim,layers each")
    parser.add_argument("--minutes", type=float, default=40.0, help="of processor time (40)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument("--windows", type=int, default=1536, help="evaluated on (1536)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    footage = list(all_footage(args.footage))
    reports = {size: run(args, size, footage) for size in args.sizes}
    print(
        f"{machine()}, torch {torch.__version__}, one thread; {args.minutes:g} minutes, "
        f"seed {args.seed}; {len(footage)} recordings; MPJPE / P-MPJPE at lag 0, mm\n"
    )
    head = "frame_stride | d | layers | parameters | clips | exact keypoints | simulated detector"
    print(f"| {head} | real people |\n|{' --- |' * 8}")
    for size, report in reports.items():
        cells = [
            *size.split(","),
            f"{report['parameters']:,}",
            f"{report['clips']:,}",
            pair(report["exact"]),
            pair(report["noisy"]),
            f"{report['real_mpjpe_mm']:.1f} / {report['real_p_mpjpe_mm']:.1f}",
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
