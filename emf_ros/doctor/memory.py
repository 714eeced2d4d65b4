"""Check of the shared memory that Fast DDS sends images through."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..runtime.shared_memory import RESERVE, SEGMENT_SIZE, SHM, dead_segments
from .result import Result, ok, warning


def shared_memory(folder: Path = SHM) -> list[Result]:
    """Free shared memory, and segments of killed processes.

    Args:
        folder: of shared memory.
    """
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return [
            warning(
                "shared memory",
                f"there is no {folder}: images go through UDP, which is slower and loses some",
                f"mount a tmpfs on {folder} (Docker: --shm-size=256m)",
            )
        ]
    results = []
    free, needed = usage.free // 2**20, (SEGMENT_SIZE + RESERVE) // 2**20
    if free < needed:
        results.append(
            warning(
                "shared memory",
                f"{folder} has {free} of {usage.total // 2**20} MB free, {needed} MB are needed: "
                "images go through UDP, which is slower and loses some",
                "Docker: --shm-size=256m or --ipc=host; else remove unused files there",
            )
        )
    else:
        results.append(ok("shared memory", f"{folder} has {free} MB free"))
    sizes = [size for _, size in dead_segments(folder)]
    if sizes:
        results.append(
            warning(
                "shared memory",
                f"{len(sizes)} segments of killed processes hold {sum(sizes) / 2**20:.1f} MB",
                "run: fastdds shm clean (video_source also removes them when it starts)",
            )
        )
    return results
