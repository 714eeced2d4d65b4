"""Results of `gpu.py`: what is right, how long it takes, and the file of all that is printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emf_ros.runtime.gpu_errors import first_line

#: Time for which each pass is measured, s, and the same where the CPU stands in for the GPU.
MEASURED_S = 0.5
REHEARSED_S = 0.02


class Log:
    """stdout that also goes to a file."""

    def __init__(self, path: Path) -> None:
        self._file, self._stdout = path.open("w", encoding="utf-8", buffering=1), sys.stdout

    def write(self, text: str) -> int:
        self._file.write(text)
        return self._stdout.write(text)

    def flush(self) -> None:
        self._file.flush()
        self._stdout.flush()


class Checks:
    """The results of the checks.

    Args:
        rehearsal: whether the CPU stands in for the GPU.
    """

    def __init__(self, rehearsal: bool = False) -> None:
        self.failed: list[str] = []
        self.rehearsal = rehearsal

    def median_ms(self, run: Callable[[], Any]) -> float:
        """Median time of a call that waits for its result, ms."""
        run()
        times: list[float] = []
        end = time.perf_counter() + (REHEARSED_S if self.rehearsal else MEASURED_S)
        while len(times) < (1 if self.rehearsal else 5) or time.perf_counter() < end:
            began = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - began))
        return float(np.median(times))

    def say(self, name: str, good: bool, text: str = "") -> None:
        """Print a result, and remember a failure."""
        print("ok  " if good else "FAIL", f"{name}: {text}", flush=True)
        self.failed += [name] * (not good)

    def part(self, name: str, run: Callable[[], None]) -> None:
        """Run a part; an error is a failure of the part, and the next one follows."""
        print(f"\n{name}", flush=True)
        began = time.monotonic()
        try:
            run()
        except Exception as error:
            self.say(name, False, f"{type(error).__name__}: {first_line(error)}")
        print(f"({time.monotonic() - began:.0f} s)", flush=True)
