"""What commands print, and the errors that end them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence


class CommandError(RuntimeError):
    """The command cannot be carried out; the message says why."""


class Interrupted(RuntimeError):
    """A signal ended the command early; the message says what was kept.

    Args:
        signal_number: of the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def say(line: str) -> None:
    """Print a line on stderr: results go to stdout, everything else goes here."""
    print(line, file=sys.stderr, flush=True)


def raise_last(errors: Sequence[Exception]) -> None:
    """Say all errors but the last, and raise the last; return where there is none."""
    if errors:
        for error in errors[:-1]:
            say(str(error))
        raise errors[-1]


def signal_of(interrupt: KeyboardInterrupt) -> int:
    """The number of the signal that interrupted."""
    return int(interrupt.args[0]) if interrupt.args else int(signal.SIGINT)
