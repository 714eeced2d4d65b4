"""A folder of sources lifted to a folder of files; what was done before is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import __version__
from ..io.outputs import OutputError, check_folder, write_text
from ..io.progress import Progress
from .jobs import Job, Outcome
from .lifting import LiftSettings
from .sources import find_sources

#: Name of the file that has the settings of a folder's results.
SETTINGS_NAME = "lift.json"

#: Settings that do not change the results.
_NO_RESULT = ("device", "threads")

#: Lifts jobs, wherever; yields an outcome for each.
Runner = Callable[[Sequence[Job]], Iterator[Outcome]]


@dataclass
class Report:
    """What came of a batch.

    Attributes:
        before: number of sources that were done before.
        done: number of sources that were lifted.
        failed: outcomes of the others.
        left: number of sources that were not reached.
    """

    before: int = 0
    done: int = 0
    failed: list[Outcome] = field(default_factory=list)
    left: int = 0


def plan(
    paths: list[str], folder: str, formats: Sequence[str], settings: LiftSettings
) -> list[Job]:
    """The sources and their files; nothing is written.

    Raises:
        VideoError: there is no source, see `sources.find_sources`.
        OutputError: the folder cannot be written, or holds results of other settings.
    """
    check_folder(folder, (), paths)
    path = Path(folder) / SETTINGS_NAME
    if path.exists():
        try:
            before = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot read {path}: {error}") from None
        now = _described(settings, formats)
        other = [name for name in now if before.get(name) != now[name]]
        if other:
            changes = ", ".join(f"{n} {before.get(n)!r}, not {now[n]!r}" for n in other)
            raise OutputError(
                f"{folder} has results of other settings ({changes}): choose another folder"
            )
    return [
        Job(name, str(source.absolute()), str((Path(folder) / name).absolute()), tuple(formats))
        for name, source in find_sources(paths, folder).items()
    ]


def run(
    jobs: Sequence[Job],
    folder: str,
    settings: LiftSettings,
    runner: Runner,
    tell: Callable[[str], None],
    stopping: Callable[[], bool] = lambda: False,
) -> Report:
    """Lift the sources that are not done.

    Args:
        jobs: of `plan`.
        folder: of the results; it is made.
        settings: how.
        runner: does the work.
        tell: called with a line for each source.
        stopping: asked after each source; true ends the batch.

    Raises:
        OutputError: the settings cannot be written.
    """
    formats = jobs[0].formats if jobs else ()
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_text(
        Path(folder) / SETTINGS_NAME, json.dumps(_described(settings, formats), indent=1) + "\n"
    )
    due = [job for job in jobs if not job.is_done()]
    report = Report(before=len(jobs) - len(due), left=len(due))
    if not due:
        return report
    results = runner(due)
    with Progress("lifting", len(jobs), "source", done=report.before) as progress:
        for outcome in results:
            report.left -= 1
            if outcome.error:
                report.failed.append(outcome)
                tell(f"{outcome.name}: failed: {outcome.error}")
            else:
                report.done += 1
                for sentence in outcome.sentences:
                    tell(f"{outcome.name}: {sentence}")
                if not outcome.again:
                    tell(f"{outcome.name}: {outcome.poses} poses of {outcome.people} people")
            progress.update()
            if outcome.fatal or stopping():
                break
    # The generator ends its workers.
    close = getattr(results, "close", None)
    if close is not None:
        close()
    return report


def _described(settings: LiftSettings, formats: Sequence[str]) -> dict[str, object]:
    """The settings that the results depend on."""
    described: dict[str, object] = {"emf_ros": __version__, "formats": sorted(formats)}
    for name, value in asdict(settings).items():
        if name not in _NO_RESULT:
            described[name] = value
    return described
