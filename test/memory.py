"""The memory that a piece of code takes at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def _peak_mb() -> float:
    """Largest resident memory of this process since the last reset, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


@contextmanager
def grown_mb() -> Iterator[Callable[[], float]]:
    """Gives a function that says by how many MB the memory grew at most within the block."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_mb()
    yield lambda: _peak_mb() - before
