"""`emf-ros train`: motion capture to weights."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from typing import Any

from ..io.outputs import check_folder
from . import arguments
from .console import CommandError, Interrupted, say, signal_of
from .interrupt import stop_request


def run(args: argparse.Namespace) -> None:
    """Train, and finish the weights when the budget is used up.

    Raises:
        CommandError: a setting or an input cannot be used.
        Interrupted: a signal ended it; the state of the run is saved.
    """
    from ..model.checkpoint import WeightsError
    from ..model.export import ExportError, require_packages
    from ..train.card import finish
    from ..train.mocap import MocapError
    from ..train.processes import only_run_in
    from ..train.trainer import TrainConfig, Trainer, TrainingError

    inits = [path.strip() for path in args.init.split(",") if path.strip()]
    names = [f"{args.preset}{ending}" for ending in Trainer.ENDINGS]
    check_folder(args.out, names, [args.mocap, *inits])
    finishing = False
    exclusive = ExitStack()
    try:
        config = TrainConfig(
            preset=args.preset,
            mocap=args.mocap,
            out=args.out,
            validation=tuple(s for s in args.validation.split(",") if s),
            budget_minutes=args.budget,
            steps=args.steps,
            init=args.init,
            seed=args.seed,
        ).changed(args.set)
        # `finish` needs them, hours later.
        require_packages()
        exclusive.enter_context(only_run_in(args.out))
        trainer = Trainer(config, args.device, args.threads)
        first = trainer.processes.first
        if first:
            say(trainer.summary())
        with stop_request("step") as stop:
            done = trainer.train(args.minutes or float("inf"), stop)
        trainer.processes.leave()
        if not first:
            # Some of these processes abort at exit after gloo was used (torch 2.13). torchrun then
            # kills the first process, which still has the weights to write.
            sys.stderr.flush()
            os._exit(0)
        progress = f"{100 * trainer.progress():.0f} % done; run the same command to go on"
        if done:
            finishing = True
            say("calibrating, exporting and evaluating the weights; this takes minutes")
            finish(trainer)
            print(f"weights and model card in {args.out}")
        elif stop():
            raise Interrupted(
                f"interrupted: step {trainer.step} is saved in {trainer.state_path}; {progress}",
                stop.signal,
            )
        else:
            print(progress)
    except (ExportError, MocapError, TrainingError, WeightsError, ValueError) as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt as interrupt:
        if finishing:
            kept = f"all training is saved in {trainer.state_path}; run the same command to finish"
        else:
            kept = f"what was saved in {args.out} before is kept; run the same command to go on"
        raise Interrupted(f"interrupted: {kept}", signal_of(interrupt)) from None
    finally:
        exclusive.close()


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    train = commands.add_parser(
        "train",
        help="motion capture to weights; continues an interrupted run",
        epilog="Example: emf-ros train --mocap mocap --out run --budget 60",
    )
    train.add_argument(
        "--mocap", required=True, metavar="DIR", help="folder of npz files, of emf-ros mocap import"
    )
    train.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    train.add_argument("--preset", default="lite", help="size of the model (lite)")
    train.add_argument(
        "--budget",
        type=arguments.positive_number,
        default=60.0,
        help="minutes of the whole run (60)",
    )
    train.add_argument(
        "--steps",
        type=arguments.whole_number(0),
        default=0,
        help="length of the run in steps; 0 leaves it to --budget (0)",
    )
    train.add_argument(
        "--minutes", type=arguments.positive_number, help="minutes to train now, then stop"
    )
    train.add_argument(
        "--validation", default="", metavar="SUBJECT,...", help="hold these subjects back"
    )
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help="any other setting: learning_rate=1e-3, diversity.tilt=0, lifter.layers=4, ...",
    )
    arguments.add_device(train)
    arguments.add_threads(train, "CPU threads")
    train.add_argument(
        "--init",
        default="",
        metavar="FILE[,FILE...]",
        help="weights to start from; of several files, their mean",
    )
    train.add_argument(
        "--seed", type=arguments.seed, default=0, help="seed of all random numbers (0)"
    )
    train.set_defaults(run=run)
