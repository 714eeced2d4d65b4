"""What each choice of the lifter brings: the same budget and the same data in the same order.

python benchmarks/ablations.py --mocap DIR --out DIR

Trains every variant from random weights, over some seeds, and evaluates it on the subjects held
back. A seed fixes the windows, cameras and detector errors that all its variants see, step by step.
Runs that are there already are not repeated, and one that was interrupted goes on, so that the
command may be stopped at any time; --variants and --seeds choose a part. Runs of another preset or
number of steps have folders of their own. Another DIR of motion capture needs another --out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emf_ros.lift.engine import default_threads
from emf_ros.runtime.machine import machine
from emf_ros.train.evaluate import evaluate, lags_of
from emf_ros.train.settings import TrainConfig
from emf_ros.train.trainer import Trainer

#: What the weights that ship have besides their size.
SHIPPED = ["lifter.temporal_position=true", "lifter.motion.dropout=0"]
VARIANTS: dict[str, list[str]] = {
    "keypoints alone": ["lifter.features=none"],
    "with x[t] - x[t-1]": ["lifter.features=difference"],
    "with EMF": [],
    "keypoints alone, temporal embedding": [
        "lifter.features=none",
        "lifter.temporal_position=true",
    ],
    "with EMF, temporal embedding": ["lifter.temporal_position=true"],
    "with EMF, MPJPE + velocity": ["loss.acceleration=0", "loss.smoothness=0"],
    "with EMF, MPJPE": ["loss.velocity=0", "loss.acceleration=0", "loss.smoothness=0"],
    # As the weights that ship are trained: with a temporal embedding and without dropout.
    "keypoints alone, as shipped": ["lifter.features=none", *SHIPPED],
    "with x[t] - x[t-1], as shipped": ["lifter.features=difference", *SHIPPED],
    "with EMF, as shipped": SHIPPED,
    "with EMF, as shipped, without the last ReLUs": [*SHIPPED, "lifter.motion.final_relu=false"],
    "with EMF, no dropout": ["lifter.motion.dropout=0"],
    "with EMF, AdamW": ["optimizer=adamw"],
    "with EMF, layer scale 0.1": ["lifter.layer_scale=0.1"],
    "with EMF, no synthetic motion": [
        f"diversity.{name}=0"
        for name in ("limbs", "halves", "keys", "rotations", "lengths", "tilt")
    ],
}
#: What all have in common, whatever the defaults are.
BASE = [
    "optimizer=muon",
    "learning_rate=2e-3",
    "short_share=0.5",
    "lifter.layer_scale=1.0",
    "lifter.temporal_position=false",
    "lifter.motion.dropout=0.1",
]


def run(args: argparse.Namespace, name: str, settings: list[str], seed: int) -> dict[str, Any]:
    """The report of `evaluate` of one variant and seed, trained if need be."""
    # A run of another length or size is another run: it goes on from its own state alone.
    kind = f"{args.preset}, {args.steps} steps, seed {seed}"
    folder = Path(args.out) / f"{name.replace('/', ' ')}, {kind}"
    done = folder / "report.json"
    if done.is_file():
        report: dict[str, Any] = json.loads(done.read_text())
        if report["windows"] >= args.windows:
            return report
    config = TrainConfig(
        args.preset,
        args.mocap,
        str(folder),
        steps=args.steps,
        seed=seed,
        validate_minutes=1e6,
        # The validation at the end is this report; the trainer's own may be small.
        validate_windows=64,
    ).changed([*BASE, *settings])
    report = trained(config, args.device, args.windows) | {"steps": args.steps}
    done.write_text(json.dumps(report, indent=1))
    return report


def trained(config: TrainConfig, device: str, windows: int) -> dict[str, Any]:
    """Train a whole run: the report of `evaluate`, and the numbers of parameters and of clips."""
    trainer = Trainer(config, device)
    trainer.train(float("inf"))
    report = evaluate(
        trainer.averaged, trainer.validation, trainer.device, windows, ("exact", "noisy")
    )
    parameters = sum(p.numel() for p in trainer.lifter.parameters() if p.requires_grad)
    return report | {"parameters": parameters, "clips": trainer.clips}


def cell(values: list[float]) -> str:
    """Mean, and half the range between the seeds."""
    spread = f" ± {np.ptp(values) / 2:.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def table(reports: dict[str, list[dict[str, Any]]]) -> None:
    lags = [str(lag) for lag in lags_of(next(iter(reports.values()))[0]["frames"])]
    head = [
        "variant",
        *(f"MPJPE, lag {lag}" for lag in lags),
        "P-MPJPE, lag 0",
        "exact keypoints: MPJPE, lag 0",
        "acceleration error, m/s²",
        "parameters",
    ]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for name, seeds in reports.items():
        noisy = [r["noisy"] for r in seeds]
        cells = [
            name,
            *(cell([r["lag"][lag]["mpjpe_mm"] for r in noisy]) for lag in lags),
            cell([r["lag"]["0"]["p_mpjpe_mm"] for r in noisy]),
            cell([r["exact"]["lag"]["0"]["mpjpe_mm"] for r in seeds]),
            cell([r["acceleration_error_m_s2"] for r in noisy]),
            f"{seeds[0]['parameters']:,}",
        ]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mocap", required=True, metavar="DIR")
    parser.add_argument("--out", required=True, metavar="DIR", help="for runs and their reports")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--steps", type=int, default=2000, help="of each run (2000)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1], help="(0 1)")
    parser.add_argument("--windows", type=int, default=1536, help="evaluated on (1536)")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=default_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reports: dict[str, list[dict[str, Any]]] = {}
    # Seed by seed, so that an interrupted comparison is of everyone over fewer seeds.
    for seed in args.seeds:
        for name in args.variants:
            reports.setdefault(name, []).append(run(args, name, VARIANTS[name], seed))
    print(
        f"{machine()}, torch {torch.__version__}; {args.preset}, {args.steps} steps a run, "
        f"seeds {', '.join(map(str, args.seeds))}\n"
    )
    table(reports)


if __name__ == "__main__":
    main()
