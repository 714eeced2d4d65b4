"""The keypoints of images that are not described yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

import numpy as np

from ..types import Pose2D
from .timeline import MAX_STAMPS

Note = TypeVar("Note")


class KeypointMemory(Generic[Note]):
    """Remembers the keypoints of each image, and a note on it, until its poses come.

    Poses describe an image `lag` frames behind the newest one.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Note, dict[int, np.ndarray]]] = {}

    def add(self, stamp_ns: int, note: Note, people: Iterable[Pose2D]) -> None:
        """Remember an image, by its stamp, ns. Scores over 1 count as 1, as in the pipeline."""
        one = np.array((np.inf, np.inf, 1.0))
        seen = {p.track_id: np.minimum(p.keypoints, one) for p in reversed(list(people))}
        self._seen[stamp_ns] = (note, seen)
        while len(self._seen) > MAX_STAMPS:
            del self._seen[next(iter(self._seen))]

    def at(self, stamp_ns: int, otherwise: Note) -> tuple[Note, dict[int, np.ndarray]]:
        """The note on an image and the keypoints (K, 3) by id.

        Args:
            stamp_ns: of the image, ns.
            otherwise: the note where the image is unknown; there are no keypoints then.
        """
        return self._seen.get(stamp_ns, (otherwise, {}))

    def forget_before(self, stamp_ns: int) -> None:
        """Forget the images before a stamp, ns: they are described."""
        for stamp in [stamp for stamp in self._seen if stamp < stamp_ns]:
            del self._seen[stamp]
