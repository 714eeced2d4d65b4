"""One source of a batch: whether it is done, and doing it, in whichever process."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..geometry.camera import CameraError
from ..io.bags import BagError
from ..io.formats.catalog import FORMATS
from ..io.formats.registry import write_recording
from ..io.frame_source import VideoError
from ..io.outputs import OutputError, files_read
from ..io.recordings import RecordingError
from ..io.render.video import RenderError
from ..lift.engine import Engine, EngineError
from .lifting import LiftSettings, lift_source, write_outputs

#: Ending of the file that every source gets. It is written last: its presence means "done".
DONE_SUFFIX = ".npz"

#: Formats that hold no empty recording.
_ONE_PERSON = {f.suffix for f in FORMATS if f.one_person}


@dataclass(frozen=True)
class Job:
    """One source.

    Attributes:
        name: of the source in the batch.
        source: its path.
        base: path of its files without their endings.
        formats: endings of the files beside `DONE_SUFFIX`.
    """

    name: str
    source: str
    base: str
    formats: tuple[str, ...]

    @property
    def result(self) -> Path:
        """The file that is written last."""
        return Path(self.base + DONE_SUFFIX)

    def is_done(self) -> bool:
        """Whether the files are complete, and made of the source as it is now."""
        try:
            with np.load(self.result, allow_pickle=False) as made:
                return str(made["source_state"]) == state_of(self.source)
        except Exception:  # a damaged file leads to errors of any type
            return False


def check_no_source_is_replaced(jobs: Sequence[Job]) -> None:
    """Refuse jobs of which one would write over a file that another one reads.

    Raises:
        OutputError: there is such a file.
    """
    read: dict[tuple[int, int], str] = {}
    for job in jobs:
        for file in files_read(job.source):
            found = os.stat(file)
            read[found.st_dev, found.st_ino] = file
    for path in (job.base + suffix for job in jobs for suffix in (*job.formats, DONE_SUFFIX)):
        try:
            found = os.stat(path)
        except OSError:  # it is not there, or `do` says why it cannot be
            continue
        same = read.get((found.st_dev, found.st_ino))
        if same is not None:
            raise OutputError(
                f"cannot write {path}: it is the input {same}, which would be lost; give "
                "--out-folder another folder"
            )


def state_of(source: str) -> str:
    """A hash that differs when a source is another one: of its files' names, sizes and times.

    A file that replaces another may be older, and the time of a folder does not change when a file
    in it is overwritten. So all times are compared, and for equality.

    Returns:
        the hash; empty where the source cannot be read.
    """
    path = Path(source)
    files = [path]
    try:
        if path.is_dir():
            shown = (each for each in path.iterdir() if not each.name.startswith("."))
            files = sorted(each for each in shown if each.is_file())
        states = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in files]
    except OSError:
        return ""
    return hashlib.sha256(repr(states).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What came of a source.

    Attributes:
        name: of the source.
        error: why it failed; empty where it did not.
        fatal: whether all other sources would fail, too.
        again: whether it was found to be done already, by a worker that was lost later.
        sentences: for the user.
        poses, people: numbers of what was found.
    """

    name: str
    error: str = ""
    fatal: bool = False
    again: bool = False
    sentences: tuple[str, ...] = ()
    poses: int = 0
    people: int = 0


#: The model of this process, by its settings.
_ENGINES: dict[LiftSettings, Engine] = {}


def do(job: Job, settings: LiftSettings) -> Outcome:
    """Lift a source and write its files; an error is part of the outcome."""
    if job.is_done():
        return Outcome(job.name, again=True)
    sentences: list[str] = []
    try:
        job.result.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (*job.formats, DONE_SUFFIX):
            # A name may be too long. The other sources have other names.
            with suppress(FileNotFoundError):
                os.lstat(job.base + suffix)
    except OSError as error:
        return Outcome(job.name, f"cannot write {error.filename}: {error.strerror}")
    try:
        # A source that changes while it is lifted is lifted again.
        state = state_of(job.source)
        lifted = lift_source(
            job.source, settings, lambda: _engine(settings), sentences.append, progress=False
        )
        recording = lifted.recording
        recording.source_state = state
        sentences += [*lifted.rejections(), *lifted.sentences]
        formats = [f for f in job.formats if len(recording) or f not in _ONE_PERSON]
        outputs = [job.base + suffix for suffix in formats]
        written, errors = write_outputs(
            recording, outputs, job.source, settings, sentences.append, progress=False
        )
        for refusal in errors:
            if isinstance(refusal, OutputError):
                raise refusal
            # Another attempt would end in the same way: the source is done without this format.
            sentences.append(str(refusal))
        _remove_others(job, written)
        write_recording(recording, job.result, [job.source], sentences.append)
    except (EngineError, OutputError) as error:
        return Outcome(job.name, str(error), fatal=True)
    except (BagError, CameraError, RecordingError, RenderError, VideoError) as error:
        return Outcome(job.name, str(error))
    except Exception as error:  # one source must not end the others
        return Outcome(job.name, f"{type(error).__name__}: {' '.join(str(error).split())}")
    people = len(set(recording.track_id.tolist()))
    return Outcome(job.name, sentences=tuple(sentences), poses=len(recording), people=people)


def _remove_others(job: Job, written: Sequence[Path]) -> None:
    """Remove the files of people of this source as it was before, who would pass for those of now.

    Raises:
        OutputError: one cannot be removed.
    """
    base, suffixes = Path(job.base), set(job.formats) & _ONE_PERSON
    if not suffixes or not job.result.exists():
        return
    of_people = re.compile(rf"{re.escape(base.name)}(_person\d+)?({'|'.join(suffixes)})")
    for path in base.parent.iterdir():
        found = of_people.fullmatch(path.name)
        if found is None or path in written:
            continue
        # Another source may have the name of a person's file.
        if found[1] and Path(f"{base}{found[1]}{DONE_SUFFIX}").exists():
            continue
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(f"cannot remove {path}: {error.strerror}") from None


def _engine(settings: LiftSettings) -> Engine:
    """The model, loaded once in a process. All sources with the same model share it."""
    key = replace(settings, topic="", rate_hz=None, camera_info=None, fov_deg=None)
    if key not in _ENGINES:
        _ENGINES[key] = settings.engine()
    return _ENGINES[key]
