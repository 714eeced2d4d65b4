"""The files in the cache folder: checksums, atomic writes, and files built from others."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path


class DownloadError(RuntimeError):
    """A file is not available; the message says why, and what to do about it."""


def file_sha256(path: Path) -> str | None:
    """SHA-256 of a file; None when there is no such file or it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file in one step: an interrupted run, or two at once, leave no half file.

    Raises:
        DownloadError: the file cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.write_bytes(data)
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise DownloadError(
            f"Could not write {path}: {error.strerror or error}.\n"
            "Free some space or fix the permissions there, or set EMF_ROS_CACHE to another folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def build_record(path: Path) -> Path:
    """Path of the record (.json) beside a file that was built here."""
    return path.with_suffix(".json")


def ensure_built(path: Path, recipe: Mapping[str, object], build: Callable[[], bytes]) -> Path:
    """Build a file, unless it is there, undamaged and built by the same recipe.

    Args:
        path: of the file.
        recipe: what the file is made of, as JSON keeps it; it is recorded with the file's SHA-256.
        build: makes the content.

    Raises:
        DownloadError: the file cannot be written.
    """
    record = build_record(path)
    try:
        recorded = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        recorded = None
    if recorded is not None and recorded == {**recipe, "sha256": file_sha256(path)}:
        return path
    data = build()
    text = json.dumps({**recipe, "sha256": hashlib.sha256(data).hexdigest()}, indent=1)
    # The record first: a file without one is the user's own.
    write_atomically(record, f"{text}\n".encode())
    write_atomically(path, data)
    return path
