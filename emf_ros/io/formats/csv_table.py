"""Comma-separated values (.csv), for spreadsheets: the table of `table`."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ..outputs import replacing
from ..recordings import Recording, RecordingError
from .table import TEXTS, columns_of, recording_of


def write(recording: Recording, path: Path) -> list[str]:
    """Write a file; unknown numbers are empty fields, true and false are 1 and 0.

    Raises:
        OutputError: it cannot be written.
    """
    columns = columns_of(recording)
    texts = [_cells(name, values) for name, values in columns.items()]
    with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*texts, strict=True))
    return []


def read(path: Path) -> Recording:
    """Read a file that `write` wrote.

    Raises:
        RecordingError: it cannot be read; the message has the column and the reason.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path}: it is no CSV: {error}") from None
    if not rows:
        raise RecordingError(f"{path}: it is empty")
    names = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise RecordingError(
                f"{path}: line {number} has {len(row)} fields, not {len(names)} as line 1"
            )
    try:
        cells = list(zip(*rows[1:], strict=True)) or [()] * len(names)
        return recording_of(
            {
                name: np.array(values) if name in TEXTS else _values(name, values)
                for name, values in zip(names, cells, strict=True)
            }
        )
    except ValueError as error:
        raise RecordingError(f"{path}: {error}") from None


def _cells(name: str, values: np.ndarray) -> list[str]:
    """The fields of a column."""
    if name in TEXTS:
        return [str(value) for value in values]
    if values.dtype.kind == "f":
        # The shortest text that gives the same number back.
        return ["" if value != value else str(value) for value in values]
    return [str(int(value)) for value in values]


def _values(name: str, cells: tuple[str, ...]) -> np.ndarray:
    """The numbers of a column; an empty field is NaN, and text stays text."""
    try:
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return np.array(cells)
