"""Batches: how many inputs go through a network in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Split items into batches of a size; the last one may be smaller."""
    return (items[start : start + size] for start in range(0, len(items), size))
