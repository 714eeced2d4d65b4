"""The order of the work of a live detector, besides the landmarks of the tracked people.

Each piece of work is one inference, or the two of a verification. The kinds take turns, so that a
kind that is always due does not keep the others from their share of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum, auto

from ...geometry.crops import Roi

#: Time for which the ROI of a new person waits for its landmarks, ns. Then the person has moved.
CANDIDATE_MEMORY_NS = 300_000_000


class Work(Enum):
    """The kinds of work; at the start, and after a pause, an earlier one comes first."""

    #: Verification of a person that is not confirmed and therefore not reported yet.
    VERIFY_NEW = auto()
    #: Landmarks of a person that the person detection has detected.
    CANDIDATE = auto()
    #: Person detection around a lost person.
    LOST_TILE = auto()
    #: Person detection in the next tile of the image.
    TILE = auto()
    #: Verification of a confirmed person.
    VERIFY_AGAIN = auto()


class Turns:
    """Chooses the kind of work whose last turn is the longest ago."""

    def __init__(self) -> None:
        self._order = list(Work)

    def take(self, due: Collection[Work]) -> Work:
        """Choose one of the kinds that are due, and end its turn.

        Args:
            due: at least one.
        """
        kind = next(kind for kind in self._order if kind in due)
        self._order.remove(kind)
        self._order.append(kind)
        return kind


class Candidates:
    """ROIs of detected people that wait for their landmarks, the oldest first."""

    def __init__(self) -> None:
        #: Of each ROI the stamp, ns, until which it waits.
        self._waiting: list[tuple[int, Roi]] = []

    def clear(self) -> None:
        """Forget all ROIs."""
        self._waiting = []

    def add(self, roi: Roi, stamp_ns: int) -> None:
        """Add an ROI of the image with this stamp."""
        self._waiting.append((stamp_ns + CANDIDATE_MEMORY_NS, roi))

    def drop(self, stamp_ns: int, is_known: Callable[[Roi], bool]) -> None:
        """Drop the ROIs that have waited too long, and those of known people."""
        self._waiting = [
            (until_ns, roi)
            for until_ns, roi in self._waiting
            if stamp_ns < until_ns and not is_known(roi)
        ]

    def take(self, count: int) -> list[Roi]:
        """The next ROIs, at most this number."""
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [roi for _, roi in taken]

    def __len__(self) -> int:
        return len(self._waiting)
