"""Apache Parquet (.parquet): the table of `table`, compressed and typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..outputs import replacing
from ..recordings import FORMAT, Recording, RecordingError
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
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        columns = {name: _values(table[name]) for name in table.column_names}
    except pyarrow.ArrowException as error:
        raise RecordingError(f"{path}: it is no readable Parquet: {error}") from None
    try:
        return recording_of(columns)
    except ValueError as error:
        raise RecordingError(f"{path}: {error}") from None


def _values(column: object) -> np.ndarray:
    return np.asarray(column.to_numpy())  # type: ignore[attr-defined]
