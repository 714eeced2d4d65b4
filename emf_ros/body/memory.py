"""What a tracker keeps of each person from image to image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..stamps import NANOSECONDS

_M = TypeVar("_M", bound="Memory")


@dataclass
class Memory:
    """Base of the values of people in one image: arrays with a row for each person.

    Attributes:
        BLANK: for each array its shape without people, and the value of a person who was not there.
        stamp_ns: of the image, ns.
        ids: of the people, in the order of the rows.
    """

    BLANK: ClassVar[dict[str, tuple[tuple[int, ...], Any]]]

    stamp_ns: int
    ids: list[int]

    @classmethod
    def of_nobody(cls: type[_M]) -> _M:
        """A memory without people."""
        values = (np.full((0, *shape), blank) for shape, blank in cls.BLANK.values())
        return cls(0, [], *values)

    def age_s(self, stamp_ns: int) -> float:
        """Time from this image to another one, s."""
        return (stamp_ns - self.stamp_ns) / NANOSECONDS

    def of(self: _M, ids: Sequence[int]) -> _M:
        """The memory of these people, in their order."""
        if self.ids == ids:
            return self
        places = {number: row for row, number in enumerate(self.ids)}
        rows = np.array([places.get(number, -1) for number in ids], dtype=np.intp)
        new = rows < 0
        values = []
        for field in fields(self)[2:]:
            shape, blank = self.BLANK[field.name]
            value = np.full((len(rows), *shape), blank)
            if not new.all():
                value[~new] = getattr(self, field.name)[rows[~new]]
            values.append(value)
        return type(self)(self.stamp_ns, list(ids), *values)
