"""Damaged files for tests of readers: a few changes of text, of bytes or of binary numbers."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

#: What hand-edited, cut or damaged text files contain.
ODD_WORDS = [
    *("nan", "inf", "-", "1e999", "-1", "0", "9" * 400, ".inf", "null", "~", "true"),
    *("[", "]", "{", "}", "- ", ":", "#", "'", '"', "&a", "*a", "<<: *a", "!!python/object:os.x"),
    *("\0", "\t", "\n", "\r", "\ufeff", "\ud7ff", "---\n", "%YAML:1.0", "!!binary |", "|", ">"),
]


@st.composite
def damage(draw: st.DrawFn, data: bytes) -> bytes:
    """A file's bytes after a few changes of bytes, words and lines."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["cut", "byte", "insert", "delete", "repeat a line", "bytes"]))
        if kind == "cut":
            data = data[:at]
        elif kind == "byte":
            data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        elif kind == "insert":
            word = draw(st.sampled_from(ODD_WORDS)).encode("utf-8", "surrogatepass")
            data = data[:at] + word + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + draw(st.integers(1, 60)) :]
        elif kind == "repeat a line":
            lines = data.split(b"\n")
            lines.insert(at % len(lines), lines[draw(st.integers(0, len(lines) - 1))])
            data = b"\n".join(lines)
        else:
            data = data[:at] + draw(st.binary(max_size=20)) + data[at:]
    return data


def read_or_refused(
    read: Callable[[Path], Any], data: bytes, error: type[Exception], name: str
) -> Any:
    """What is read of a file of these bytes; None after one line of an error that names the file.

    Any other exception fails the test.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            return read(path)
        except error as refusal:
            message = str(refusal)
            assert path.stem in message and len(message.splitlines()) == 1, message
            return None


#: Counts, sizes and offsets that a binary file may claim.
ODD_COUNTS = [0, 1, 2, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
ODD_COUNTS += [2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
#: Numbers that a binary file may hold.
ODD_FLOATS = [float("nan"), float("inf"), -float("inf"), 1e300, 1e30, -1.0, 0.0, 1e-30]


@st.composite
def lies(draw: st.DrawFn, data: bytes) -> bytes:
    """A binary file's bytes after a few changes of numbers, mostly where its structure is: at the
    beginning and at the end."""
    for _ in range(draw(st.integers(1, 3))):
        last = max(len(data) - 1, 0)
        at = draw(st.integers(0, last) | st.integers(0, min(last, 600)))
        at = draw(st.sampled_from([at, last - min(at, 600)]))
        kind = draw(st.sampled_from(["count", "count", "float", "bit", "cut", "repeat", "varint"]))
        if kind == "count":
            size = draw(st.sampled_from([1, 2, 4, 8]))
            order: Any = draw(st.sampled_from(["little", "big"]))
            count = draw(st.sampled_from(ODD_COUNTS)) % 256**size
            data = data[:at] + count.to_bytes(size, order) + data[at + size :]
        elif kind == "float":
            number = draw(st.sampled_from(ODD_FLOATS))
            wide = draw(st.booleans()) or abs(number) == 1e300
            value = struct.pack("<d" if wide else "<f", number)
            data = data[:at] + value + data[at + len(value) :]
        elif kind == "bit" and data:
            data = data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]
        elif kind == "cut":
            data = data[: at + 1]
        elif kind == "repeat":
            length = draw(st.sampled_from([1, 4, 8, 60, 600]))
            data = data[:at] + data[at : at + length] + data[at:]
        elif kind == "varint":
            # A length of protocol buffers and of Parquet's header.
            data = (
                data[:at]
                + draw(st.sampled_from([b"\xff" * 4 + b"\x0f", b"\xff" * 9 + b"\1"]))
                + data[at + 1 :]
            )
    return data
