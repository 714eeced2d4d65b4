"""Values of a calibration file as numbers. A value is text, or lists and mappings of text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ...geometry.camera import CameraError

#: Maximum number of values in one list; no list of intrinsics is longer.
MAX_NUMBERS = 64


def read_matrix(value: Any, name: str, columns: int) -> np.ndarray:
    """(3, columns) of a list, of a list of lists, or of a mapping with rows, cols and data.

    Args:
        name: of the value, for error messages; likewise below.

    Raises:
        CameraError: it is no such matrix.
    """
    if isinstance(value, dict) and {"rows", "cols"} <= set(value):
        shape = read_whole_number(value["rows"], "rows"), read_whole_number(value["cols"], "cols")
        if shape != (3, columns):
            raise CameraError(f"the {name} is {shape[0]}x{shape[1]}, not 3x{columns}")
    numbers = read_numbers(value, name)
    if len(numbers) == 6 * columns:
        raise CameraError(
            f"the {name} has {len(numbers)} values in place of {3 * columns}: are there decimal "
            "commas? Write 914.5, not 914,5"
        )
    if len(numbers) != 3 * columns:
        raise CameraError(f"the {name} has {len(numbers)} values in place of {3 * columns}")
    return numbers.reshape(3, columns)


def read_numbers(value: Any, name: str) -> np.ndarray:
    """(N,) of a list, of a list of lists, of text with blanks, or of a mapping with data.

    Raises:
        CameraError: it is none of these, or it is longer than `MAX_NUMBERS`.
    """
    if isinstance(value, dict):
        if "data" not in value:
            raise CameraError(f"the {name} has no data")
        value = value["data"]
    if is_null(value):
        return np.zeros(0)
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list):
        raise CameraError(f"the {name} is no list of numbers")
    flat: list[Any] = []
    for item in value:
        flat += item if isinstance(item, list) else [item]
        if len(flat) > MAX_NUMBERS:
            raise CameraError(f"the {name} has more than {MAX_NUMBERS} values")
    return np.array([read_number(item, name) for item in flat])


def read_number(value: Any, name: str) -> float:
    """A number, also in YAML's spellings .nan and .inf.

    Raises:
        CameraError: it is no number.
    """
    text = str(value)[:40] if isinstance(value, (str, float, int)) else type(value).__name__
    try:
        return float(re.sub(r"\A([+-]?)\.(?=[ni])", r"\1", text.strip().lower()))
    except ValueError:
        pass
    if re.fullmatch(r"\s*[+-]?\d+,\d+\s*", text):
        raise CameraError(
            f"the {name} has a decimal comma: write {text.replace(',', '.')}, not {text}"
        )
    raise CameraError(f"the {name} has {text!r}, which is no number")


def read_whole_number(value: Any, name: str) -> int:
    """A whole number.

    Raises:
        CameraError: it is no whole number.
    """
    number = read_number(value, name)
    if not np.isfinite(number) or number != round(number):
        raise CameraError(f"the {name} is {number:g}, which is no whole number")
    return int(number)


def is_null(value: Any) -> bool:
    """Whether the file says that there is no value."""
    return value is None or (isinstance(value, str) and value.lower() in ("", "~", "null"))


def is_true(value: Any) -> bool:
    """Whether the file says yes."""
    return str(value).lower() in ("1", "true", "yes")
