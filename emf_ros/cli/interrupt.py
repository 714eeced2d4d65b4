"""Ctrl-C and termination signals: work stops between two units, so that its state can be saved."""

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
        signal: number of the signal; 0 before any.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        return self.signal != 0


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does, so that cleanup runs.

    The exception's argument is the number of the signal. An ignored signal stays ignored.
    """

    def interrupt(number: int, _: _Frame) -> None:
        raise KeyboardInterrupt(number)

    with _handling((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield


@contextmanager
def stop_request(unit: str) -> Iterator[StopRequest]:
    """SIGINT and SIGTERM request a stop. The work checks the request between two units.

    A second signal has the effect that it would have without this function.

    Args:
        unit: name of the unit of work that is finished before the stop, for the message.
    """
    request = StopRequest()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def ask(number: int, _: _Frame) -> None:
        request.signal = number
        for each in numbers:
            if signal.getsignal(each) is ask:
                signal.signal(each, before[each])
        # os.write, because the signal may have interrupted a print().
        os.write(2, f"\nstopping after this {unit}; once more to stop at once\n".encode())

    with _handling(numbers, ask) as before:
        yield request


@contextmanager
def _handling(numbers: tuple[signal.Signals, ...], handler: object) -> Iterator[dict]:
    """Install a handler for signals that are not ignored; yields the former handlers."""
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
