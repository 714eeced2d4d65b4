"""Sources lifted on many machines by Ray, an optional package.

The machines share the file system with the sources and the results, under the same paths, and have
this package installed.
"""

from __future__ import annotations

import importlib.util
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from .jobs import Job, Outcome, do
from .lifting import LiftSettings
from .workers import MAX_ATTEMPTS

#: Share of a GPU that a source takes where a GPU is asked for: numpy and the decoding of the video
#: take most of the time.
GPU_SHARE = 0.25

#: Time in which a cluster must answer, s.
_ANSWER_S = 5.0


class ClusterError(RuntimeError):
    """Ray is not installed, or does not answer; one line with the remedy."""


def outcomes(jobs: Sequence[Job], settings: LiftSettings, address: str) -> Iterator[Outcome]:
    """Lift sources on a cluster; what a lost worker or machine has worked on is tried again.

    Args:
        jobs: the sources.
        settings: how.
        address: of the cluster, such as '10.0.0.1:6379', or 'auto'.

    Yields:
        the outcome of each source, once, in the order in which they end.

    Raises:
        ClusterError: Ray is not installed, or does not answer at the address.
    """
    if importlib.util.find_spec("ray") is None:
        raise ClusterError("--cluster needs ray, which is not installed; pip install ray")
    _check_answer(address)
    import ray

    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray's errors have no common base class
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ClusterError(
            f"no Ray cluster answers at {address}: {why}; start one by: ray start --head"
        ) from None
    if threading.current_thread() is threading.main_thread() and before is not None:
        # Ray takes the signal for itself, and would end this process with an odd status.
        signal.signal(signal.SIGTERM, before)
    options: dict[str, Any] = {"num_cpus": 1, "max_retries": MAX_ATTEMPTS - 1}
    if settings.device == "cuda":
        options["num_gpus"] = GPU_SHARE
    task = ray.remote(**options)(do)
    waiting: dict[Any, Job] = {}
    try:
        for job in jobs:
            waiting[task.remote(job, settings)] = job
        while waiting:
            ready, _ = ray.wait(list(waiting), num_returns=1)
            for reference in ready:
                job = waiting.pop(reference)
                try:
                    outcome: Outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    why = next(iter(str(error).strip().splitlines()), type(error).__name__)
                    outcome = Outcome(job.name, f"{job.source}: the cluster gave it up: {why}")
                yield outcome
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _check_answer(address: str) -> None:
    """Refuse an address at which nothing answers: Ray itself would try for minutes.

    Raises:
        ClusterError: there is no answer.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error}; start one by: ray start --head"
        ) from None
