"""The command `emf-ros`: the package without ROS."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..io.mocap import FormatError
from ..io.outputs import OutputError
from . import calibrate, convert, doctor, evaluate, lift, mocap, render, train, view, weights
from .arguments import OneLineParser
from .console import CommandError, Interrupted, say, signal_of
from .interrupt import signals_as_interrupts

#: Modules for training and for files of weights. Other commands and the nodes do without.
_TRAINING_MODULES = ("torch", "onnx", "safetensors")

#: Exit status of a process whose reader closed the pipe (128 + SIGPIPE).
_BROKEN_PIPE_STATUS = 141


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        "emf-ros",
        description="Metric 3D human skeletons from videos and bags, without ROS.",
        epilog="start with:\n"
        "  emf-ros lift video.mp4 --fov 70 --out skeletons.npz --out skeletons.mp4\n"
        "  emf-ros view skeletons.npz --video video.mp4\n\n"
        "emf-ros COMMAND --help explains a command, with an example.",
        # The lines of the commands stay as they are: they are to be copied.
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (lift, convert, render, view, mocap, train, evaluate, calibrate, doctor):
        command.add_parser(commands)
    weights.add_parsers(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: words after the program's name; None: those of the process.

    Returns:
        the exit status: 0; 1 for an error, which is one line on stderr; 128 and the number of the
        signal that interrupted.

    Raises:
        SystemExit: the words are wrong (status 2), or ask for help or the version (0).
    """
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:
        # The shell asks for completions: docs/use/recordings.md. Then it has the package.
        import argcomplete

        argcomplete.autocomplete(parser)
    args = parser.parse_args(argv)
    try:
        with signals_as_interrupts():
            # Some commands have an exit status of their own.
            return int(args.run(args) or 0)
    except (CommandError, FormatError, OutputError) as error:
        say(f"emf-ros: {error}")
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _TRAINING_MODULES:
            raise
        say(
            f"emf-ros: {args.command} needs {error.name}, which is not installed; "
            f"pip install {' '.join(_TRAINING_MODULES)}"
        )
        return 1
    except Interrupted as interrupt:
        say(f"emf-ros: {interrupt}")
        return 128 + interrupt.signal_number
    except KeyboardInterrupt as interrupt:
        out = getattr(args, "out", None)
        if isinstance(out, list):
            # The first of several files may be complete.
            out = f"{'what was not finished of ' if len(out) > 1 else ''}{', '.join(out)}"
        if getattr(args, "out_folder", None):
            out = f"what was not finished in {args.out_folder}"
        say("emf-ros: interrupted" + (f": {out} is as it was before" if out else ""))
        return 128 + signal_of(interrupt)
    except BrokenPipeError:
        # The reader of stdout has ended, as `head` does; Python must not write to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE_STATUS
