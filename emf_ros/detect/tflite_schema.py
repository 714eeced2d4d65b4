"""Reads the tables of TensorFlow Lite's files; the part of its schema that BlazePose needs.

The files are FlatBuffers. A table begins with the distance to its list of offsets, one for each
field of the schema. A field that is not there has its default.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace

import numpy as np

#: Operators by their number in the schema.
OPERATORS = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    5: "DEPTH_TO_SPACE",
    6: "DEQUANTIZE",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    34: "PAD",
    124: "DENSIFY",
}

#: Fields of each kind of table, by name: position in the schema, format of `struct`, default.
FIELDS: dict[str, dict[str, tuple[int, str, int]]] = {
    "Conv2DOptions": {
        "padding": (0, "b", 0),
        "stride_w": (1, "i", 0),
        "stride_h": (2, "i", 0),
        "activation": (3, "b", 0),
        "dilation_w": (4, "i", 1),
        "dilation_h": (5, "i", 1),
    },
    "DepthwiseConv2DOptions": {
        "padding": (0, "b", 0),
        "stride_w": (1, "i", 0),
        "stride_h": (2, "i", 0),
        "activation": (4, "b", 0),
        "dilation_w": (5, "i", 1),
        "dilation_h": (6, "i", 1),
    },
    "Pool2DOptions": {
        "padding": (0, "b", 0),
        "stride_w": (1, "i", 0),
        "stride_h": (2, "i", 0),
        "filter_width": (3, "i", 0),
        "filter_height": (4, "i", 0),
        "activation": (5, "b", 0),
    },
    "AddOptions": {"activation": (0, "b", 0)},
    "ConcatenationOptions": {"axis": (0, "i", 0), "activation": (1, "b", 0)},
    "ResizeBilinearOptions": {"align_corners": (2, "?", 0), "half_pixel_centers": (3, "?", 0)},
    "DepthToSpaceOptions": {"block_size": (0, "i", 0)},
}


class Table:
    """A table in a file.

    Args:
        data: content of the file.
        position: of the table, byte.

    The methods raise `struct.error`, `ValueError` or `IndexError` where the file is damaged.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        (back,) = struct.unpack_from("<i", data, position)
        self._offsets = position - back
        if self._offsets < 0:
            raise ValueError("a table lies outside of the file")
        (size,) = struct.unpack_from("<H", data, self._offsets)
        self._fields = (size - 4) // 2

    @classmethod
    def root(cls, data: bytes) -> Table:
        """The table of a file that holds all others."""
        return cls(data, *struct.unpack_from("<I", data))

    def _field(self, index: int) -> int:
        """Position of a field, byte; 0 where it is not there."""
        if index >= self._fields:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._offsets + 4 + 2 * index)
        return self._position + offset if offset else 0

    def _target(self, field: int) -> int:
        """Where the reference at a position leads, byte."""
        return field + struct.unpack_from("<I", self._data, field)[0]

    def number(self, index: int, kind: str = "i", default: int = 0) -> int:
        """The number in a field; `kind` is its format of `struct`."""
        field = self._field(index)
        return struct.unpack_from("<" + kind, self._data, field)[0] if field else default

    def table(self, index: int) -> Table | None:
        """The table that a field refers to."""
        field = self._field(index)
        return Table(self._data, self._target(field)) if field else None

    def numbers(self, index: int, kind: str) -> np.ndarray:
        """(N,) the numbers of a vector; `kind` is their type in numpy, little-endian."""
        field = self._field(index)
        if not field:
            return np.empty(0, dtype=kind)
        start = self._target(field)
        (count,) = struct.unpack_from("<I", self._data, start)
        return np.frombuffer(self._data, dtype=kind, count=count, offset=start + 4)

    def tables(self, index: int) -> list[Table]:
        """The tables that a vector refers to."""
        field = self._field(index)
        if not field:
            return []
        start = self._target(field)
        (count,) = struct.unpack_from("<I", self._data, start)
        places = struct.unpack_from(f"<{count}I", self._data, start + 4)
        return [Table(self._data, start + 4 + 4 * i + offset) for i, offset in enumerate(places)]

    def fields(self, kind: str) -> SimpleNamespace:
        """The numbers of a table of this kind, by the names in `FIELDS`."""
        return SimpleNamespace(
            **{name: self.number(*where) for name, where in FIELDS[kind].items()}
        )
