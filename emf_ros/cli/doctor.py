"""`emf-ros doctor`: what does not work on this machine, and how to mend it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..doctor.report import Section, as_json, run_checks, summary, text_lines
from ..doctor.result import Level
from . import arguments


def run(args: argparse.Namespace) -> int:
    """Check and print; 1 where there is an error, 0 otherwise."""
    sections: list[Section] = []
    for section in run_checks(args.seconds):
        sections.append(section)
        if not args.json:
            print("\n".join(text_lines(section)), flush=True)
    results = [result for _, found in sections for result in found]
    print(json.dumps(as_json(sections), indent=1) if args.json else f"\n{summary(results)}")
    return int(any(result.level is Level.ERROR for result in results))


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    doctor = commands.add_parser(
        "doctor",
        help="check Python, GPU, weights, ROS and live topics; each problem with its fix",
        description="Exit status 0: no error (there may be warnings); 1: an error.",
        epilog="Example: emf-ros doctor --seconds 10",
    )
    doctor.add_argument(
        "--seconds",
        type=arguments.number(0.0, 600.0),
        default=3.0,
        help="time for which live topics are heard; 0: do not look at topics (3)",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    doctor.set_defaults(run=run)
