"""Ctrl-C and termination: work stops where its state is whole, and says what is kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_Frame = FrameType | None


class StopRequest:
    """Whether a signal has asked the program to stop.

    Attributes:
        signal: number of the signal; 0 while there was none.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        return self.signal != 0


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does, so that cleanup runs.

    The exception's argument is the signal's number. A signal that is ignored stays so.
    """

    def interrupt(number: int, _: _Frame) -> None:
        raise KeyboardInterrupt(number)

    with _handling((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextmanager
def stop_request(unit: str) -> Iterator[StopRequest]:
    """SIGINT and SIGTERM ask to stop; the work looks at the request between two units of it.

    A second signal ends the program as it would have done without this.

    Args:
        unit: the piece of work that is still finished, for the message.
    """
    request = StopRequest()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def ask(number: int, _: _Frame) -> None:
        request.signal = number
        for each in numbers:
            if signal.getsignal(each) is ask:
                signal.signal(each, before[each])
        # Not by print(): the signal may have come in the middle of one.
        os.write(2, f"\nstopping after this {unit}; once more to stop at once\n".encode())

    with _handling(numbers, ask) as before:
        yield request


@contextmanager
def _handling(numbers: tuple[signal.Signals, ...], handler: object) -> Iterator[dict]:
    """Install a handler for signals that are not ignored; yields the handlers before it."""
    before: dict = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            old = signal.getsignal(number)
            # None is a handler that was not installed from Python.
            if old not in (signal.SIG_IGN, None):
                before[number] = old
                signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield before
    finally:
        for number, old in before.items():
            signal.signal(number, old)
