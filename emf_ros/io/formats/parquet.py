"""Apache Parquet (.parquet): the table of `table`, compressed and typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..one_line import one_line
from ..outputs import replacing
from ..recordings import FORMAT, Recording, RecordingError, refuse_too_many_rows
from .table import columns_of, recording_of


def write(recording: Recording, path: Path) -> list[str]:
    """Write a file; unknown numbers are NaN.

    Raises:
        OutputError: it cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    columns = {name: pyarrow.array(values) for name, values in columns_of(recording).items()}
    table = pyarrow.table(columns).replace_schema_metadata({"format": FORMAT})
    with replacing(path) as part:
        parquet.write_table(table, part)
    return []


def read(path: Path) -> Recording:
    """Read a file that `write` wrote; nulls count as NaN.

    Raises:
        RecordingError: it cannot be read; the message has the column and the reason.
    """
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            refuse_too_many_rows(file.metadata.num_rows)
            return recording_of(_Columns(file))
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None
    except Exception as error:  # a damaged file leads to errors of any type
        raise RecordingError(f"{path}: it is no readable Parquet: {one_line(error)}") from None


class _Columns(Mapping[str, np.ndarray]):
    """The columns of a file, each read when it is asked for: others may hold anything."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._names: list[str] = list(file.schema_arrow.names)
        repeated = sorted({name for name in self._names if self._names.count(name) > 1})
        if repeated:
            raise RecordingError(f"it has the column {repeated[0]} twice")

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return np.asarray(self._file.read(columns=[name])[name].to_numpy())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
