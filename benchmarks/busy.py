"""Busy loops that take a share of a core away, and how fast a core is.

python benchmarks/busy.py 0.5             # half a core, until it is stopped
python benchmarks/busy.py 1 --core 0      # all of core 0
python benchmarks/busy.py --calibrate     # figures to compare this machine with another one
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

#: Period of the duty cycle, s: short beside an image's period.
PERIOD_S = 0.01
#: Time that a busy loop may be behind its duty cycle and still make up for, s.
MAX_DEBT_S = 0.05
#: Niceness of the loops that hold the machine down: other processes must not outvote them.
HOLD_NICENESS = -15

#: Number of landmark inferences of the calibration.
CALIBRATION_RUNS = 40
#: Number of additions of the calibration.
CALIBRATION_ADDITIONS = 1_000_000


def work(share: float) -> None:
    """Use `share` of a core until the parent process ends."""
    parent = os.getppid()
    begin, idle_s = time.monotonic(), 0.0
    used = time.process_time()
    while os.getppid() == parent:
        wanted = share * (time.monotonic() - begin - idle_s)
        behind = wanted - (time.process_time() - used)
        if behind > MAX_DEBT_S:
            # Others had the core. The loop does not make up for all of it later.
            idle_s += (behind - MAX_DEBT_S) / share
        end = time.process_time() + min(behind, MAX_DEBT_S)
        while time.process_time() < end:
            pass
        if share < 1:
            time.sleep((1 - share) * PERIOD_S)


class Busy:
    """Processes that use a number of cores, a share of one, or both; a context.

    Args:
        cores: of CPU time, 1.5 for one and a half.
        each_core: use this share of each core that this process may use, pinned and with high
            priority where that is allowed. The machine is then as slow as a slower one.

    Attributes:
        pids: of the processes, by name.
    """

    def __init__(self, cores: float, each_core: bool = False) -> None:
        self._commands = []
        if each_core:
            for core in sorted(os.sched_getaffinity(0)) if cores > 0 else ():
                self._commands.append([str(cores), "--core", str(core)])
        else:
            whole, rest = divmod(cores, 1.0)
            shares = [1.0] * int(whole) + [rest] * (rest > 0)
            self._commands = [[str(share)] for share in shares]
        self._each_core = each_core
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> Busy:
        for command in self._commands:
            started = subprocess.Popen([sys.executable, str(Path(__file__).resolve()), *command])
            self._processes.append(started)
            if self._each_core:
                try:
                    os.setpriority(os.PRIO_PROCESS, started.pid, HOLD_NICENESS)
                except PermissionError:
                    print("no right to raise the priority: the machine may be held down less")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    @property
    def pids(self) -> dict[str, int]:
        name = "held down" if self._each_core else "busy"
        return {f"{name} {i}": process.pid for i, process in enumerate(self._processes)}


def calibration() -> str:
    """Times of one core as it is now: one landmark inference, and a million additions in Python.

    The landmark network is the published one of variant `full`, float32, on one thread. CPU time
    tells how fast the core is. Wall time tells how much of the core is left by others.
    """
    import numpy as np

    from emf_ros.detect.weights import ensure_onnx
    from emf_ros.runtime.onnx import make_session

    session = make_session(ensure_onnx("full"), 1)
    (entry,) = session.get_inputs()
    picture = np.zeros((1, *entry.shape[1:]), np.uint8)
    cpu, wall = [], []
    for _ in range(CALIBRATION_RUNS):
        at, used = time.perf_counter(), time.thread_time()
        session.run(None, {entry.name: picture})
        cpu.append(time.thread_time() - used)
        wall.append(time.perf_counter() - at)
    used, total = time.thread_time(), 0
    for number in range(CALIBRATION_ADDITIONS):
        total += number
    python_ms = 1000 * (time.thread_time() - used)
    return (
        f"calibration: landmark inference (full, one thread) {1000 * np.median(cpu):.1f} ms of "
        f"CPU, {1000 * np.median(wall):.1f} ms of wall time; a million additions in Python "
        f"{python_ms:.0f} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("share", type=float, nargs="?", help="of a core, 0 to 1")
    parser.add_argument("--core", type=int, help="run on this core only")
    parser.add_argument("--calibrate", action="store_true", help="print how fast a core is")
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    if args.calibrate:
        print(calibration())
    if args.share is not None:
        if not 0 < args.share <= 1:
            parser.error("the share of a core must be above 0 and at most 1")
        try:
            work(args.share)
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
