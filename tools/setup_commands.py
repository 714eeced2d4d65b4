"""Runs the commands of the set-up, with their output in a log, and ends it with a clear message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NoReturn

#: Folder of the checkout.
ROOT = Path(__file__).resolve().parent.parent
#: File with the output of all commands of the last set-up.
LOG = ROOT / "log" / "setup_env.log"
#: Maximum number of lines of a failed command's output that are printed.
MAX_ERROR_LINES = 5


def stop(problem: str, *remedies: str) -> NoReturn:
    """End the set-up with the problem, and what to do about it, a line each."""
    lines = [f"\nemf_ros set-up stopped: {problem}", *remedies, f"Full output: {LOG}"]
    sys.exit("\n  ".join(lines))


def run(command: list[str], env: dict[str, str], problem: str, remedy: str) -> str:
    """Run a command, and return its output, which is in the log, too.

    Stops with the problem, the end of the output and the remedy when the command fails.
    """
    with LOG.open("ab+") as log:
        log.write(f"\n$ {' '.join(command)}\n".encode())
        log.flush()
        start = log.tell()
        done = subprocess.run(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.seek(start)
        output = log.read().decode(errors="replace")
    if done.returncode == 0:
        return output
    end = [line for line in output.splitlines() if line.strip()][-MAX_ERROR_LINES:]
    if done.returncode < 0:
        end.append(f"Signal {-done.returncode} ended it (9: most likely out of memory).")
    stop(problem, *end, remedy)
