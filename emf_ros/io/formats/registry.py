"""Reading and writing of recordings in the formats of `catalog`, by the endings of the files."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..outputs import check_file
from ..recordings import Recording, RecordingError
from .catalog import FORMATS, READABLE, WRITABLE, Format


def format_of(path: str | os.PathLike[str], to_write: bool = False) -> Format:
    """The format of a file by its ending.

    Args:
        path: of the file.
        to_write: whether it is to be written; otherwise it is to be read.

    Raises:
        RecordingError: the ending is unknown, the format is only written or only read, or a package
            that it needs is missing.
    """
    suffix = Path(path).suffix.lower()
    known = WRITABLE if to_write else READABLE
    verb = "written" if to_write else "read"
    found = next((f for f in FORMATS if f.suffix == suffix), None)
    if found is None or suffix not in known:
        why = f"ends in {suffix!r}" if suffix else "has no ending"
        if found is not None:
            why = f"is {found.name}, which is not {verb}"
        raise RecordingError(f"{path} {why}; recordings that are {verb} end in {', '.join(known)}")
    missing = [name for name in found.packages if importlib.util.find_spec(name) is None]
    if missing:
        raise RecordingError(
            f"{path}: {found.name} needs {', '.join(missing)}, which is not installed; "
            f"pip install {found.pip}"
        )
    return found


def read_recording(path: str | os.PathLike[str], **options: Any) -> Recording:
    """Read a recording of any format.

    Args:
        path: of the file; of a folder with metadata.yaml it is a bag of ROS 2.
        options: more arguments of the format's `read`.

    Raises:
        RecordingError: it cannot be read; the message has its name and the reason.
    """
    path = Path(path)
    found = format_of(path / "bag.mcap" if path.is_dir() else path)
    if not path.exists():
        raise RecordingError(f"{path}: there is no such file")
    try:
        recording: Recording = _module(found).read(path, **options)
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from None
    return recording


def check_output(
    path: str | os.PathLike[str], sources: Iterable[str | os.PathLike[str] | None] = ()
) -> Format:
    """The format of a file that is to be written, after the checks of `outputs.check_file`.

    Raises:
        RecordingError: as `format_of`.
        OutputError: the file cannot be written.
    """
    check_file(path, sources)
    return format_of(path, to_write=True)


def write_recording(
    recording: Recording,
    path: str | os.PathLike[str],
    sources: Iterable[str | os.PathLike[str] | None] = (),
    tell: Callable[[str], None] = lambda sentence: None,
) -> list[Path]:
    """Write a recording in the format of the file's ending.

    A format that holds one person gets a file for each person where there are several:
    `NAME_personID.ENDING`. Each file is complete or absent. A person that the format cannot hold is
    told, and the other people are written.

    Args:
        recording: the people.
        path: of the file; an existing one is replaced.
        sources: files that must not be replaced.
        tell: called with each sentence on what the file does not hold as recorded.

    Returns:
        the files that were written.

    Raises:
        RecordingError: the format cannot hold this recording, or none of its people.
        OutputError: a file cannot be written.
    """
    found = format_of(path, to_write=True)
    path, module = Path(path), _module(found)
    people = np.unique(recording.track_id).tolist() if found.one_person else []
    if found.one_person and not people:
        raise RecordingError(f"{path} was not written: there is no person in the recording")
    parts = {path: recording}
    if len(people) > 1:
        parts = {
            path.with_name(f"{path.stem}_person{person}{path.suffix}"): recording.rows(
                recording.track_id == person
            )
            for person in people
        }
    for one in parts:
        check_file(one, sources)
    refusals: dict[Path, str] = {}
    for one, rows in parts.items():
        try:
            sentences = module.write(rows, one)
        except RecordingError as error:
            refusals[one] = f"cannot write {one}: {error}"
            continue
        for sentence in sentences:
            tell(f"{one}: {sentence}")
    if len(refusals) == len(parts):
        raise RecordingError(next(iter(refusals.values())))
    for refusal in refusals.values():
        tell(refusal)
    return [one for one in parts if one not in refusals]


def _module(found: Format) -> ModuleType:
    return importlib.import_module(f"{__package__}.{found.module}")
