"""The memory that the heap and the threads of a process hold."""

from __future__ import annotations

from pathlib import Path


def resident_heap_mib(pid: int | str) -> float:
    """Resident memory without files and shared memory, MiB.

    Args:
        pid: number of the process, or "self".
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status has no RssAnon")
