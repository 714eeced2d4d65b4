"""A description of the machine, for tables of measurements."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """One line with processor, number of cores, operating system and Python version."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def load() -> str:
    """The load average of the machine. A high load slows measurements down."""
    return f"load average {os.getloadavg()[0]:.2f}"
