"""The shared memory of Fast DDS, through which images reach other processes of the same machine."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from ..io.paths import share_folder

#: Variables that name a profile of Fast DDS: of version 3 (Kilted), and of version 2 (up to Jazzy).
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

#: Folder of shared memory.
SHM = Path("/dev/shm")

#: Size of the segment that config/fastdds.xml gives to a process, bytes.
SEGMENT_SIZE = 32 * 2**20

#: Free shared memory that remains for other processes, bytes. Each takes half a megabyte.
RESERVE = 16 * 2**20

#: Minimum age of a segment that is removed, s. A younger one may not be locked by its owner yet.
MIN_AGE_S = 10.0

#: Names of the segments of processes; the file with `_el` is locked while the process lives.
_SEGMENT = re.compile(r"(?:fastrtps|fastdds)_[0-9a-f]{16}")


def dead_segments(folder: Path = SHM) -> Iterator[tuple[Path, int]]:
    """Segments of processes that were killed, each with its size in bytes.

    A process that is killed cannot remove its segment. Segments of other users are left out. While
    the caller looks at a segment, its lock is held.
    """
    for lock in folder.glob("*_el"):
        segment = lock.with_name(lock.name.removesuffix("_el"))
        if not _SEGMENT.fullmatch(segment.name):
            continue
        try:
            if time.time() - lock.stat().st_mtime < MIN_AGE_S or lock.stat().st_uid != os.getuid():
                continue
            with lock.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield segment, segment.stat().st_size if segment.exists() else 0
        except OSError:
            # A living process holds the lock, or another process removes the same.
            continue


def remove_dead_segments(folder: Path = SHM) -> int:
    """Remove the segments of processes that were killed; the number of bytes that this frees."""
    freed = 0
    for segment, size in dead_segments(folder):
        try:
            segment.unlink(missing_ok=True)
            segment.with_name(f"{segment.name}_el").unlink()
            freed += size
        except OSError:
            # Another process removes the same.
            continue
    return freed


def use_large_shared_memory(
    environment: MutableMapping[str, str] = os.environ, folder: Path = SHM
) -> str:
    """Give Fast DDS shared memory for whole images, in a process that sends images.

    Call it before `rclpy.init`. A profile that the environment names is kept. Only senders need it:
    readers map the sender's segment.

    Args:
        environment: variables of the process, which are changed.
        folder: of shared memory.

    Returns:
        why it is not given, in one line; empty where it is, or where a profile was named.
    """
    profile = share_folder("config") / "fastdds.xml"
    if any(environment.get(name) for name in PROFILE_VARIABLES) or not profile.is_file():
        return ""
    if environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp") != "rmw_fastrtps_cpp":
        return ""
    try:
        remove_dead_segments(folder)
        free = shutil.disk_usage(folder).free
    except OSError:
        free = 0
    if free < SEGMENT_SIZE + RESERVE:
        needed = (SEGMENT_SIZE + RESERVE) // 2**20
        return (
            f"{folder} has {free // 2**20} MB free: large images go through UDP, which is slower "
            f"and loses some; {needed} MB are needed (Docker: --shm-size=256m, or --ipc=host)"
        )
    name = PROFILE_VARIABLES[environment.get("ROS_DISTRO") in ("humble", "iron", "jazzy")]
    environment[name] = str(profile)
    return ""
