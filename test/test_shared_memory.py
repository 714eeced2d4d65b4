"""Shared memory for images: only where there is enough, and without the segments of the dead."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from emf_ros.runtime import shared_memory
from emf_ros.runtime.shared_memory import MIN_AGE_S, remove_dead_segments, use_large_shared_memory


def segment(folder: Path, name: str, now_s: float, age_s: float = MIN_AGE_S + 1) -> Path:
    """A segment of 1000 bytes and its lock file, of an age at a time, s."""
    path = folder / name
    path.write_bytes(b"\0" * 1000)
    lock = folder / f"{name}_el"
    lock.touch()
    os.utime(lock, (now_s - age_s, now_s - age_s))
    return path


@pytest.mark.parametrize("kind", ["fastdds", "fastrtps"])
def test_segments_of_dead_processes_are_removed_and_those_of_the_living_stay(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The young one must not age where the machine is busy.
    now = time.time()
    monkeypatch.setattr(shared_memory.time, "time", lambda: now)
    dead = segment(tmp_path, f"{kind}_0123456789abcdef", now)
    living = segment(tmp_path, f"{kind}_fedcba9876543210", now)
    young = segment(tmp_path, f"{kind}_1111111111111111", now, age_s=MIN_AGE_S - 1)
    other = segment(tmp_path, f"{kind}_port7411", now)
    with open(f"{living}_el") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_dead_segments(tmp_path) == 1000
    assert not dead.exists() and not Path(f"{dead}_el").exists()
    assert living.exists() and young.exists() and other.exists()
    assert remove_dead_segments(tmp_path) == 1000  # the formerly living one


def usage(monkeypatch: pytest.MonkeyPatch, free_mb: int) -> None:
    found = shutil.disk_usage("/")._replace(free=free_mb * 2**20)
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda folder: found)


def test_the_profile_is_used_where_there_is_enough_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage(monkeypatch, 64)
    for distribution, name in (("humble", "FASTRTPS"), ("jazzy", "FASTRTPS"), ("", "FASTDDS")):
        variables: dict[str, Any] = {"ROS_DISTRO": distribution}
        assert use_large_shared_memory(variables, tmp_path) == ""
        assert variables[f"{name}_DEFAULT_PROFILES_FILE"].endswith("config/fastdds.xml")


def test_without_enough_space_the_profile_is_left_out_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage(monkeypatch, 30)
    variables: dict[str, Any] = {}
    assert "30 MB free" in (said := use_large_shared_memory(variables, tmp_path))
    assert "--shm-size" in said and "\n" not in said
    assert variables == {}


def test_a_profile_that_the_user_names_is_kept(tmp_path: Path) -> None:
    for name in shared_memory.PROFILE_VARIABLES:
        variables = {name: "mine.xml"}
        assert use_large_shared_memory(variables, tmp_path) == ""
        assert variables == {name: "mine.xml"}


def test_without_shared_memory_nothing_fails(tmp_path: Path) -> None:
    assert "has 0 MB free" in use_large_shared_memory({}, tmp_path / "none")


def test_a_segment_of_fast_dds_has_such_a_name_and_lock(ros: Any) -> None:
    held = [p for p in shared_memory.SHM.glob("*_el") if shared_memory._SEGMENT.match(p.name)]
    assert held
    remove_dead_segments()
    # The test's own participant lives.
    own = [p for p in shared_memory.SHM.glob("*_el") if shared_memory._SEGMENT.match(p.name)]
    assert own


def test_fast_dds_reads_the_profile(ros: Any, not_run: Any) -> None:
    named = {os.environ.get(name, "") for name in shared_memory.PROFILE_VARIABLES}
    if not any(name.endswith("config/fastdds.xml") for name in named):
        not_run("large shared memory of Fast DDS: /dev/shm is too small, or another profile is set")
        pytest.skip("no profile")
    # This process keeps the locks of its own segments open.
    opened = []
    for path in glob.glob("/proc/self/fd/*"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            opened.append(os.readlink(path))
    own = [Path(name.removesuffix("_el")) for name in opened if name.endswith("_el")]
    sizes = [path.stat().st_size for path in own if shared_memory._SEGMENT.fullmatch(path.name)]
    assert max(sizes) >= shared_memory.SEGMENT_SIZE
