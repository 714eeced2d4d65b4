"""Processes on this machine that lift sources. One that dies loses only the source it works on."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from .jobs import Job, Outcome, do
from .lifting import LiftSettings

#: Maximum number of workers that one source may lose, before it is given up.
MAX_ATTEMPTS = 3


class _Worker:
    """A process, and the source that it works on."""

    def __init__(self, context: Any, settings: LiftSettings, cores: Sequence[int]) -> None:
        self.cores = cores
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, settings, cores), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None

    def give(self, job: Job) -> None:
        """Let it work on a source."""
        self.job = job
        # A worker that has just died is noticed when its answer is read.
        with suppress(OSError):
            self.connection.send(job)

    def end(self) -> None:
        """End the process; a file that it is writing is removed."""
        self.process.terminate()
        self.process.join()
        self.connection.close()


def outcomes(jobs: Sequence[Job], settings: LiftSettings, count: int) -> Iterator[Outcome]:
    """Lift sources in processes; what a process that dies has worked on is tried again.

    Args:
        jobs: the sources.
        settings: how.
        count: number of processes. Each gets its share of the cores.

    Yields:
        the outcome of each source, once, in the order in which they end.
    """
    context = multiprocessing.get_context("spawn")
    left = deque(jobs)
    attempts: dict[str, int] = {}
    cores = sorted(os.sched_getaffinity(0))
    count = min(count, len(jobs))
    shares = [cores[k::count] or [cores[k % len(cores)]] for k in range(count)]
    workers = [_Worker(context, settings, share) for share in shares]
    try:
        for worker in workers:
            worker.give(left.popleft())
        while busy := [worker for worker in workers if worker.job is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection not in ready:
                    continue
                job = worker.job
                assert job is not None
                worker.job = None
                outcome: Outcome | None = None
                try:
                    outcome = worker.connection.recv()
                except (EOFError, OSError):
                    worker.end()
                    attempts[job.name] = attempts.get(job.name, 0) + 1
                    if attempts[job.name] < MAX_ATTEMPTS:
                        left.appendleft(job)
                    else:
                        why = f"{MAX_ATTEMPTS} processes have died on it"
                        outcome = Outcome(job.name, f"{job.source}: {why}")
                    workers.remove(worker)
                    worker = _Worker(context, settings, worker.cores)
                    workers.append(worker)
                if left:
                    worker.give(left.popleft())
                if outcome is not None:
                    yield outcome
    finally:
        for worker in workers:
            worker.end()


def _work(connection: Connection, settings: LiftSettings, cores: Sequence[int]) -> None:
    """Lift one source after the other, until the other end of the connection is closed."""

    def end(number: int, _: FrameType | None) -> None:
        # As an exception, it lets the file that is being written be removed.
        raise SystemExit(128 + number)

    # Ctrl-C reaches all processes of the terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    # The models take as many threads as there are cores.
    os.sched_setaffinity(0, cores)
    with suppress(EOFError, OSError):
        while True:
            job = connection.recv()
            connection.send(do(job, settings))
