"""One source of a batch: whether it is done, and doing it, in whichever process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..geometry.camera import CameraError
from ..io.bags import BagError
from ..io.formats.catalog import FORMATS
from ..io.frame_source import VideoError
from ..io.outputs import OutputError
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
        """Whether the files are complete, and not older than the source."""
        try:
            return self.result.stat().st_mtime >= Path(self.source).stat().st_mtime
        except OSError:
            return False


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
        lifted = lift_source(
            job.source, settings, lambda: _engine(settings), sentences.append, progress=False
        )
        recording = lifted.recording
        sentences += lifted.sentences
        formats = [f for f in job.formats if len(recording) or f not in _ONE_PERSON]
        job.result.parent.mkdir(parents=True, exist_ok=True)
        outputs = [job.base + suffix for suffix in (*formats, DONE_SUFFIX)]
        write_outputs(recording, outputs, job.source, settings, sentences.append, progress=False)
    except (EngineError, OutputError) as error:
        return Outcome(job.name, str(error), fatal=True)
    except (BagError, CameraError, RecordingError, RenderError, VideoError) as error:
        return Outcome(job.name, str(error))
    except Exception as error:  # one source must not end the others
        return Outcome(job.name, f"{type(error).__name__}: {' '.join(str(error).split())}")
    people = len(set(recording.track_id.tolist()))
    return Outcome(job.name, sentences=tuple(sentences), poses=len(recording), people=people)


def _engine(settings: LiftSettings) -> Engine:
    """The model, loaded once in a process. All sources with the same model share it."""
    key = replace(settings, topic="", rate_hz=None, camera_info=None, fov_deg=None)
    if key not in _ENGINES:
        _ENGINES[key] = settings.engine()
    return _ENGINES[key]
