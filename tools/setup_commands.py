"""Runs the commands of the set-up, with their output in a log, and ends it with a clear message."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

#: Folder of the checkout.
ROOT = Path(__file__).resolve().parent.parent
#: File with the output of all commands of the last set-up.
LOG = ROOT / "log" / "setup_env.log"
#: Maximum number of lines of a failed command's output that are printed.
MAX_ERROR_LINES = 5
#: Time between the lines that say what a command is at, s.
PROGRESS_S = 15.0
#: Maximum length of such a line, characters.
PROGRESS_WIDTH = 90


def stop(problem: str, *remedies: str) -> NoReturn:
    """End the set-up with the problem, and what to do about it, a line each."""
    lines = [f"\nemf_ros set-up stopped: {problem}", *remedies, f"Full output: {LOG}"]
    sys.exit("\n  ".join(lines))


def run(command: list[str], env: dict[str, str], problem: str, remedy: str) -> str:
    """Run a command, and return its output, which is in the log, too.

    While it runs, the last line of its output is printed now and then: downloads take minutes.
    Stops with the problem, the end of the output and the remedy when the command fails.
    """
    with LOG.open("ab+") as log:
        log.write(f"\n$ {' '.join(command)}\n".encode())
        log.flush()
        start = log.tell()
        code = _wait(
            subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            ),
            start,
        )
        log.seek(start)
        output = log.read().decode(errors="replace")
    if code == 0:
        return output
    end = [line for line in output.splitlines() if line.strip()][-MAX_ERROR_LINES:]
    if code < 0:
        end.append(f"Signal {-code} ended it (9: most likely out of memory).")
    stop(problem, *end, remedy)


def _wait(process: subprocess.Popen, start: int) -> int:
    """Wait for a command, and print what it is at. Its output begins at this byte of the log."""
    began = time.monotonic()
    try:
        while True:
            try:
                return process.wait(PROGRESS_S)
            except subprocess.TimeoutExpired:
                with LOG.open("rb") as log:
                    log.seek(start)
                    lines = log.read().decode(errors="replace").split("\n")
                last = next((line.strip() for line in reversed(lines) if line.strip()), "")
                if last:
                    seconds = time.monotonic() - began
                    print(f"    {seconds:4.0f} s  {last[:PROGRESS_WIDTH]}", flush=True)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
