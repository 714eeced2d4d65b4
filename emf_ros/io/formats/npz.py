"""Arrays of numpy (.npz): the format of `emf_ros.io.recordings`, which holds everything."""

from __future__ import annotations

from pathlib import Path

from ..recordings import Recording, load_recording


def read(path: Path) -> Recording:
    """As `load_recording`."""
    return load_recording(path)


def write(recording: Recording, path: Path) -> list[str]:
    """As `Recording.save`; nothing is lost."""
    recording.save(path)
    return []
