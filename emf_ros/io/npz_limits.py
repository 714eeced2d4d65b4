"""Bounds of .npz files from others, checked before their arrays are unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

#: Maximum size of all arrays of a file, unpacked, bytes. An hour of eight people takes 0.7 GB.
MAX_UNPACKED_BYTES = 4_000_000_000


def refuse_too_large_npz(file: str | Path | BinaryIO) -> None:
    """Raise ValueError where a zip archive unpacks to more than `MAX_UNPACKED_BYTES`.

    A kilobyte may unpack to a megabyte. A file that is no zip archive passes: its reader refuses
    it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile:
        return
    finally:
        if not isinstance(file, (str, Path)):
            file.seek(0)
    if size > MAX_UNPACKED_BYTES:
        raise ValueError(
            f"its arrays take {size / 1e9:.1f} GB, and at most "
            f"{MAX_UNPACKED_BYTES / 1e9:g} GB are read"
        )
