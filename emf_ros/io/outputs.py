"""Output files: checked before the work, and complete or absent after it."""

from __future__ import annotations

import errno
import itertools
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .bags import BAG_FILES, is_bag
from .paths import IMAGE_SUFFIXES, from_home

#: Number of bytes that are written to test whether a device is full.
_PROBE_BYTES = 1 << 20

#: Maximum number of characters of the output's name in the name of its temporary file.
_STEM_CHARACTERS = 40

#: Error numbers of a device or a quota without free space.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

_Source = str | os.PathLike[str] | None


class OutputError(OSError):
    """A file or folder that cannot be written; one line with its name and the reason."""


def check_file(
    target: str | os.PathLike[str],
    sources: Iterable[_Source] = (),
    suffix: str = "",
    read_in_folders: tuple[str, ...] = (),
) -> Path:
    """Refuse an output file that cannot be written, before the work.

    The check leaves no file behind.

    Args:
        target: the file to write; an existing one will be replaced.
        sources: files and folders that the command reads; missing ones are ignored.
        suffix: required ending of the file, such as '.npz'; empty: any.
        read_in_folders: see `files_read`.

    Returns:
        the target.

    Raises:
        OutputError: the target has no name, is a folder or a device, has another ending, is in a
            folder that does not exist, is one of the sources (by any name or link), or there is no
            permission to write it.
    """
    text = _name(target)
    if os.path.isdir(text):
        raise OutputError(f"cannot write {text}: it is a folder, and a file is wanted")
    if text.endswith(os.sep):
        raise OutputError(f"cannot write {text}: this names a folder, and a file is wanted")
    path = Path(text)
    # A link stays a link: its target is replaced.
    real = Path(os.path.realpath(path))
    try:
        found = os.lstat(real)
    except FileNotFoundError:
        if not real.parent.is_dir():
            raise OutputError(
                f"cannot write {text}: there is no folder {path.parent}; make it first"
            ) from None
    except OSError as error:
        raise OutputError(f"cannot write {text}: {_reason(error, real)}") from None
    else:
        if not stat.S_ISREG(found.st_mode):
            raise OutputError(f"cannot write {text}: it is no ordinary file")
        same = _same_file(found, sources, read_in_folders)
        if same is not None:
            raise OutputError(
                f"cannot write {text}: it is the input {same}, which would be lost; "
                "give --out another name"
            )
        effective = os.access in os.supports_effective_ids
        if not os.access(real, os.W_OK, effective_ids=effective):
            raise OutputError(f"cannot write {text}: no permission to replace it")
    if suffix and path.suffix.lower() != suffix:
        raise OutputError(f"cannot write {text}: the name must end in {suffix}")
    _try_part(real, f"cannot write {text}")
    return path


def check_folder(
    target: str | os.PathLike[str], names: Iterable[str], sources: Iterable[_Source] = ()
) -> Path:
    """Refuse an output folder in which files cannot be written, before the work.

    Args:
        target: the folder; it and its parents may be missing.
        names: of the files that will be written in it.
        sources: see `check_file`.

    Returns:
        the target; it is not created.

    Raises:
        OutputError: the target has no name, is a file, there is no permission to write in it, or
            `check_file` refuses one of the files.
    """
    text = _name(target)
    path = Path(text)
    if os.path.isdir(text):
        sources = tuple(sources)
        for name in names:
            check_file(path / name, sources)
        _try_part(path / "file", f"cannot write {text}")
        return path
    try:
        os.lstat(text)
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise OutputError(f"cannot write {text}: a part of this path is a file") from None
    except OSError as error:
        raise OutputError(f"cannot write {text}: {_reason(error, path)}") from None
    else:
        raise OutputError(f"cannot write {text}: it is a file, and a folder is wanted")
    existing = Path(os.path.realpath(path)).parent
    while not os.path.isdir(existing):
        existing = existing.parent
    _try_part(existing / "folder", f"cannot write {text}")
    return path


@contextmanager
def replacing(target: str | os.PathLike[str], suffix: str | None = None) -> Iterator[Path]:
    """Write a file under a temporary name, and rename it when it is complete.

    The temporary file is beside the target and has `.part` in its name. When the body of the
    `with` statement fails or is interrupted, the temporary file is removed and the target is
    unchanged. The next call for the same target removes the temporary file of a killed process.
    Missing parent folders are created.

    Args:
        target: the file to write or replace; for a link, its target is replaced.
        suffix: ending of the temporary name, for a library that chooses the format by it; None: the
            target's.

    Yields:
        the temporary file, which exists and is empty.

    Raises:
        OutputError: the file could not be written. A full device is recognised, however a library
            reports it.
    """
    real = Path(os.path.realpath(target))
    ending = real.suffix if suffix is None else suffix
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        _remove_old_parts(real, ending)
        part = _new_part(real, ending)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {_reason(error, real)}") from None
    try:
        yield part
        with open(part, "rb+") as file:
            # Without this, the renamed file may be empty after a power cut.
            os.fsync(file.fileno())
        os.replace(part, real)
    except BaseException as error:
        reason = _why_not_written(error, part, real)
        with suppress(OSError):
            part.unlink(missing_ok=True)
        if reason:
            raise OutputError(f"cannot write {target}: {reason}") from None
        raise


def write_text(target: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8; an existing one is replaced when the new one is complete.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(target) as part:
        part.write_text(text, encoding="utf-8")


def _name(target: str | os.PathLike[str]) -> str:
    text = os.fspath(target)
    if not text.strip():
        raise OutputError("cannot write the output: its name is empty")
    return text


def _part_name(real: Path, tag: str, ending: str) -> str:
    return f"{real.stem[:_STEM_CHARACTERS]}.{tag}.part{ending}"


def _new_part(real: Path, ending: str) -> Path:
    """An empty temporary file beside a file, under an unused name."""
    for number in itertools.count():
        tag = f"{os.getpid()}-{number}" if number else str(os.getpid())
        part = real.with_name(_part_name(real, tag, ending))
        with suppress(FileExistsError):
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return part
    raise AssertionError("counting does not end")


def _remove_old_parts(real: Path, ending: str) -> None:
    """Remove temporary files of the same target whose processes were killed."""
    before, after = _part_name(real, "\0", ending).split("\0")
    pattern = re.compile(f"{re.escape(before)}([0-9]+)(-[0-9]+)?{re.escape(after)}")
    with suppress(OSError), os.scandir(real.parent) as entries:
        for entry in entries:
            found = pattern.fullmatch(entry.name)
            if found is None:
                continue
            try:
                os.kill(int(found[1]), 0)
            except (ProcessLookupError, OverflowError):
                os.unlink(entry)
            except PermissionError:  # the process runs and belongs to another user
                pass


def _try_part(real: Path, beginning: str) -> None:
    """Create and remove a temporary file; on failure raise OutputError with this beginning."""
    try:
        _new_part(real, real.suffix).unlink()
    except OSError as error:
        raise OutputError(f"{beginning}: {_reason(error, real)}") from None


def files_read(source: str | os.PathLike[str], endings: tuple[str, ...] = ()) -> Iterator[str]:
    """The existing files that a command reads of a source.

    Args:
        source: a file, or a folder, which is searched with the folders in it.
        endings: of the files that the command reads in a folder, beside images and the files of
            bags.
    """
    source = from_home(os.fspath(source))
    if not os.path.isdir(source):
        if os.path.exists(source):
            yield os.fspath(source)
        return
    for folder, _, names in os.walk(source):
        read = (*endings, *IMAGE_SUFFIXES, *(BAG_FILES if is_bag(folder) else ()))
        for name in names:
            file = os.path.join(folder, name)
            # A link may lead to nothing.
            if name.lower().endswith(read) and os.path.exists(file):
                yield file


def _same_file(
    found: os.stat_result, sources: Iterable[_Source], endings: tuple[str, ...]
) -> str | None:
    """The source, or the file in a folder among the sources, that is the same file."""
    for source in sources:
        if source is None:
            continue
        for file in files_read(source, endings):
            if os.path.samestat(os.stat(file), found):
                return file
    return None


def _reason(error: OSError, real: Path) -> str:
    """The meaning of an error of the operating system, in a few words."""
    if error.errno in _NO_SPACE:
        return f"no space left on the device holding {real.parent}"
    if error.errno == errno.EFBIG:
        return "the file is larger than is allowed here"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission to write into {real.parent}"
    if error.errno == errno.EROFS:
        return f"{real.parent} is on a device that is mounted read-only"
    return error.strerror or str(error)


def _why_not_written(error: BaseException, part: Path, real: Path) -> str:
    """Why writing the temporary file failed; empty where the error has another cause."""
    if isinstance(error, OutputError) or not isinstance(error, Exception):
        return ""
    if isinstance(error, OSError) and error.errno is not None:
        about = error.filename
        return _reason(error, real) if about is None or Path(about) == part else ""
    # Libraries report a full device in different ways, or not at all. Another write shows it.
    try:
        with open(part, "ab") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as full:
        if full.errno in (*_NO_SPACE, errno.EFBIG):
            return _reason(full, real)
    return ""
