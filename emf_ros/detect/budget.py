"""The time that a live detector spends on new people and on verification.

The landmarks of the tracked people come first. Person detection and verification share what the
machine has to spare. The budget measures it: the time that the detector waits for images, and how
far the time of its work exceeds its CPU time because other programs want the cores. When there is
nothing to spare, a fixed share of the time remains, so that new people are still detected.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")

#: Default share of the time, 0..1, for person detection and verification on a busy machine.
BUSY_SHARE = 0.12
#: Minimum share of the time while no person is confirmed: there are no landmarks to delay.
START_SHARE = 0.5
#: Time at the start, s: the first image gets several tiles, and its people are verified.
START_S = 0.25
#: Weight of the time that the detector waits for images, as it is added to the share. That time
#: falls with the time that is spent: with a weight of 2 two thirds of it are spent in the end.
WAITING_WEIGHT = 2.0
#: Share of its working time, 0..1, that the detector waits for a core when the machine begins to
#: count as busy.
BUSY_FROM = 0.1
#: The same share when the machine counts as wholly busy.
BUSY_TO = 0.3
#: Weight of the time that a piece of work waits for a core, 0..1, beside its CPU time. With 1 new
#: people are detected too late on a very busy machine; with 0 it tracks too slowly.
DELAY_WEIGHT = 0.5
#: Time constant of the measured shares, s.
TIME_CONSTANT_S = 0.5
#: Maximum time, s, for which an unused share is kept.
KEPT_S = 0.1
#: Maximum time, s, that is owed after a slow inference.
MAX_DEBT_S = 0.1
#: Maximum time between two images, s, that counts: a longer one is a pause.
MAX_PERIOD_S = 1.0


@dataclass
class Spent:
    """Time of a thread, s, by the clock and on a core."""

    wall: float = 0.0
    cpu: float = 0.0

    def add(self, other: Spent) -> None:
        """Add another time."""
        self.wall += other.wall
        self.cpu += other.cpu

    @property
    def waiting(self) -> float:
        """Time without a core, s."""
        return min(max(self.wall - self.cpu, 0.0), self.wall)


class DetectionBudget:
    """Time for person detection and verification, in seconds of the detector's thread.

    For each image call `begin`, then `work_done` after the landmarks, and for each piece of person
    detection or verification `allows`, `begin_piece` and `end_piece`. These calls come from the
    thread that runs the detector. If other threads do the work, `timed` measures it there.

    Args:
        busy_share: share of the time, 0..1, on a busy machine.
        wall, cpu: clocks of the time and of the thread's CPU time, s.

    Attributes:
        busy_share: as given; it may be changed.
        share: of the time, 0..1, that is allowed at the moment.
    """

    def __init__(
        self,
        busy_share: float = BUSY_SHARE,
        wall: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self.busy_share, self._wall, self._cpu = busy_share, wall, cpu
        self.share = busy_share
        #: Share of the time that the detector waits for images, and share of its work that it waits
        #: for a core; smoothed.
        self._waiting_share = self._delayed_share = 0.0
        self._level_s = START_S
        #: Time of the detector's thread since the last image: between the work, of the landmarks,
        #: and of the pieces.
        self._outside, self._work, self._pieces = Spent(), Spent(), Spent()
        #: Time of all threads that worked since the last image, and of each run since the last
        #: piece.
        self._worked, self._runs = Spent(), list[Spent]()
        self._mark: Spent | None = None
        #: Since the last reading: the time, s, that of the pieces, the number of images and that
        #: of images in which a piece had to wait.
        self._read_s = self._read_pieces_s = 0.0
        self._images = self._delayed = 0
        self._is_delayed = False

    def restart(self) -> None:
        """Begin as with the first image: after a jump of the time nobody is tracked."""
        self._level_s = START_S

    def begin(self) -> None:
        """An image has come."""
        self._count(self._outside)
        period_s = self._outside.wall + self._work.wall + self._pieces.wall
        if 0 < period_s <= MAX_PERIOD_S:
            self._measure(period_s)
        self._read_s += period_s
        self._read_pieces_s += self._pieces.wall
        self._images += 1
        self._delayed += self._is_delayed
        self._is_delayed = False
        self._outside, self._work, self._pieces = Spent(), Spent(), Spent()
        self._worked = Spent()

    def work_done(self, anyone: bool) -> None:
        """The landmarks of the tracked people are there.

        Args:
            anyone: whether a person is confirmed.
        """
        self._count_work(self._work)
        if not anyone:
            self.share = max(self.share, START_SHARE)

    def allows(self) -> bool:
        """Whether there is time for one more piece; asked only where there is one to do."""
        self._is_delayed = self._level_s <= 0
        return not self._is_delayed

    def begin_piece(self) -> None:
        """A piece of person detection or verification begins."""
        self._count(self._outside)

    def end_piece(self) -> None:
        """The piece has ended."""
        piece = self._count_work(self._pieces)
        cost_s = piece.wall - (1 - DELAY_WEIGHT) * piece.waiting
        self._level_s = max(self._level_s - cost_s, -MAX_DEBT_S)

    def diagnostics(self) -> dict[str, str]:
        """How the budget was used since the last call, in words."""
        spent = self._read_pieces_s / self._read_s if self._read_s > 0 else 0.0
        delayed = self._delayed / self._images if self._images else 0.0
        self._read_s = self._read_pieces_s = 0.0
        self._images = self._delayed = 0
        return {
            "detection_share": f"{spent:.2f}",
            "detection_share_allowed": f"{self.share:.2f}",
            "person_detection": f"slowed down in {100 * delayed:.0f} % of the images: the "
            "computer is busy"
            if delayed
            else "as fast as needed",
        }

    def timed(self, run: Callable[[Given], Result]) -> Callable[[Given], Result]:
        """A function as `run` that adds its time; several threads may call it at once."""

        def run_timed(given: Given) -> Result:
            begin = self._now()
            result = run(given)
            self._runs.append(self._since(begin))
            return result

        return run_timed

    def _now(self) -> Spent:
        return Spent(self._wall(), self._cpu())

    def _since(self, begin: Spent) -> Spent:
        now = self._now()
        return Spent(now.wall - begin.wall, now.cpu - begin.cpu)

    def _count(self, spent: Spent) -> Spent:
        """Add the time since the last call, and return it."""
        now = self._now()
        passed = Spent() if self._mark is None else self._since(self._mark)
        spent.add(passed)
        self._mark = now
        return passed

    def _count_work(self, spent: Spent) -> Spent:
        """Add the time since the last call. Return the time of the threads that worked in it."""
        worked, runs = self._count(spent), self._runs
        if runs:
            # The detector's thread has waited for the others.
            self._runs, worked = [], Spent()
            for run in runs:
                worked.add(run)
        self._worked.add(worked)
        return worked

    def _measure(self, period_s: float) -> None:
        """Follow the load, and add the share of the last period."""
        weight = 1 - math.exp(-period_s / TIME_CONSTANT_S)
        waiting = min(self._outside.waiting / period_s, 1.0)
        self._waiting_share += weight * (waiting - self._waiting_share)
        if self._worked.wall > 0:
            delayed = self._worked.waiting / self._worked.wall
            self._delayed_share += weight * (delayed - self._delayed_share)
        busy = (self._delayed_share - BUSY_FROM) / (BUSY_TO - BUSY_FROM)
        to_spare = (1 - min(max(busy, 0.0), 1.0)) * WAITING_WEIGHT * self._waiting_share
        # The last period ran with the share of before.
        added_s, kept_s = self.share * period_s, self.share * KEPT_S
        self._level_s = max(self._level_s, min(self._level_s + added_s, kept_s))
        self.share = min(self.busy_share + to_spare, 1.0)
