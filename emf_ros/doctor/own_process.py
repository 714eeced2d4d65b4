"""Runs a module of this package as a process, so that a crash in it is a finding."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: exit code; negative for a signal; None where it did not end in time.
        out: what it wrote to stdout.
        errors: what it wrote to stderr.
    """

    code: int | None
    out: str
    errors: str

    @property
    def reason(self) -> str:
        """Why it failed, one line."""
        if self.code is None:
            return "it did not end in time"
        if self.code < 0:
            return f"it was ended by signal {-self.code}"
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"it ended with code {self.code}"


def run_module(module: str, *words: str, timeout_s: float) -> Ended:
    """Run a module of emf_ros, whether it is installed or in a checkout.

    Args:
        module: its name, below emf_ros.
        words: of the command line.
        timeout_s: after which the process is killed, s.
    """
    folder = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), folder])
    command = [sys.executable, "-m", f"emf_ros.{module}", *words]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            env={**os.environ, "PYTHONPATH": path},
        )
    except subprocess.TimeoutExpired:
        return Ended(None, "", "")
    return Ended(done.returncode, done.stdout, done.stderr)
