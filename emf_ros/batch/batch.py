"""A folder of sources lifted to a folder of files; what was done before is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..io.outputs import check_folder
from ..io.progress import Progress
from .jobs import Job, Outcome, check_no_source_is_replaced
from .lifting import LiftSettings
from .same_settings import check_same, write_settings
from .sources import find_sources

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
    paths: list[str],
    folder: str,
    formats: Sequence[str],
    settings: LiftSettings,
    tell: Callable[[str], None] = lambda sentence: None,
) -> list[Job]:
    """The sources and their files; nothing is written.

    Args:
        paths: files and folders with sources.
        folder: of the results.
        formats: endings of the files beside the npz.
        settings: how the sources are to be lifted.
        tell: called with a sentence on what is left out.

    Raises:
        VideoError: there is no source, see `sources.find_sources`, or no such detector.
        OutputError: the folder cannot be written, holds results of other settings, or a source
            would be replaced.
        EngineError: there are no such weights.
    """
    check_folder(folder, (), paths)
    check_same(folder, settings, formats)
    jobs = [
        Job(name, str(source.absolute()), str((Path(folder) / name).absolute()), tuple(formats))
        for name, source in find_sources(paths, folder, tell).items()
    ]
    check_no_source_is_replaced(jobs)
    return jobs


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
    write_settings(folder, settings, formats)
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
