"""Types of arguments, and arguments that several commands share.

A number out of its range is refused in one line.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ..io.formats.catalog import READABLE, WRITABLE
from ..io.paths import share_folder

#: Maximum seed: the least of numpy's and torch's maxima, with room for the ranks.
_MAX_SEED = 2**32 - 1

#: Maximum number of CPU threads; not every system can start more.
_MAX_THREADS = 1024

#: Maximum number of people, as in the nodes' parameter max_people.
_MAX_PEOPLE = 256


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """A type for `add_argument`: a whole number from `low` to `high`, both included."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            upto = "" if high is None else f" to {high}"
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {low}{upto}, not {text!r}"
            )
        return value

    return read


def number(low: float, high: float = math.inf, above: bool = False) -> Callable[[str], float]:
    """A type for `add_argument`: a finite number from `low` to `high`, both included.

    Args:
        above: `low` itself is refused.
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        # Comparisons with NaN are false.
        if not (low < value if above else low <= value) or not value <= high or math.isinf(value):
            upto = "" if math.isinf(high) else f" {'and ' if above else ''}up to {high:g}"
            raise argparse.ArgumentTypeError(
                f"must be a number {'above' if above else 'from'} {low:g}{upto}, not {text!r}"
            )
        return value

    return read


positive_int = whole_number(1)
count_of_people = whole_number(1, _MAX_PEOPLE)
count_of_threads = whole_number(1, _MAX_THREADS)
frames_of_lag = whole_number(0)
seed = whole_number(0, _MAX_SEED)
positive_number = number(0.0, above=True)
#: Field of view, degrees: the range of `Camera.from_fov`, here so that a command starts fast.
field_of_view = number(1.0, 170.0)


def lag_or_auto(text: str) -> str:
    """A lag in frames, or the word 'auto', as text: the type of the lifter's parameter."""
    if text == "auto":
        return text
    try:
        return str(frames_of_lag(text))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from 0, or auto, not {text!r}"
        ) from None


def add_weights(command: argparse.ArgumentParser) -> None:
    """Add the choice of the weights."""
    command.add_argument("--preset", default="lite", help="size of the lifting model (lite)")
    command.add_argument(
        "--weights", metavar="FILE", help="file of weights in place of the preset's"
    )


def weights_path(args: argparse.Namespace) -> Path:
    """The weights file that the arguments of `add_weights` choose."""
    return Path(args.weights or share_folder("models") / f"{args.preset}.safetensors")


def add_device(command: argparse.ArgumentParser) -> None:
    """Add the device that the model runs on."""
    command.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cuda", "cpu"),
        help="where the model runs (auto: a GPU where one works)",
    )


def add_threads(command: argparse.ArgumentParser, description: str) -> None:
    """Add the number of CPU threads."""
    command.add_argument("--threads", type=count_of_threads, help=description)


def add_lag(command: argparse.ArgumentParser) -> None:
    """Add the lag of the poses of a video."""
    command.add_argument(
        "--lag",
        type=frames_of_lag,
        default=0,
        metavar="FRAMES",
        help="number of later frames that a pose takes into account: more is more accurate (0)",
    )


def add_variant(command: argparse.ArgumentParser) -> None:
    """Add the size of the 2D detector."""
    command.add_argument(
        "--variant", default="full", help="2D detector: lite, full or heavy (full)"
    )


#: Units of length: `io.mocap.body.UNITS`, here so that the command starts without numpy.
UNITS = ("auto", "m", "cm", "mm", "inch", "foot", "cmu")


def add_skeleton(command: argparse.ArgumentParser, of: str = "", up_of: str = "") -> None:
    """Add what a file of motion capture may not tell.

    Args:
        command: to add to.
        of: which files the joints and the unit are for, put after the descriptions.
        up_of: which files the axis is for.
    """
    command.add_argument(
        "--joints", metavar="YAML", help=f"joints of h36m17 to the files' names{of}"
    )
    command.add_argument(
        "--unit", default="auto", choices=UNITS, help=f"unit of lengths{of} (auto)"
    )
    command.add_argument(
        "--up", default="auto", choices=("auto", "y", "z"), help=f"vertical axis{up_of} (auto)"
    )


def readable() -> str:
    """The endings of the recordings that can be read, in words."""
    return ", ".join(READABLE)


def writable() -> str:
    """The endings of the recordings that can be written, in words."""
    return ", ".join(WRITABLE)


def add_outputs(command: argparse.ArgumentParser, endings: str, required: bool = True) -> None:
    """Add the files that a command writes."""
    command.add_argument(
        "--out",
        required=required,
        action="append",
        metavar="FILE",
        help="file to write, in a folder that exists; give it once for each file; "
        f"ends in {endings}",
    )


def add_topic(command: argparse.ArgumentParser, of: str) -> None:
    """Add the topic of a bag."""
    command.add_argument(
        "--topic", default="", help=f"topic of the {of} in a bag (the only one of its type)"
    )
