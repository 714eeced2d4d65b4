"""Reading of .npz files: only the requested arrays are opened."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...io.mocap import FormatError
from ...io.mocap.text import MAX_NUMBER, describe_content
from ...io.npz_limits import refuse_too_large_npz

#: Maximum number of numbers of an array: 90 hours of our own archives. They become 8 bytes each.
MAX_NUMBERS = 500_000_000

#: Errors that numpy raises for a truncated .npz, another file, or pickles. It parses the header of
#: an array as Python text, so that damage there raises nearly any error.
UNREADABLE = (Exception,)


def array_names(path: str | Path) -> list[str]:
    """The names of a file's arrays, which are not opened.

    Raises:
        FormatError: it is no .npz; says what it is.
    """
    start = b""
    try:
        with open(path, "rb") as file:
            start = file.read(1024)
            if not start:
                raise FormatError("is no readable npz: it is empty")
            refuse_too_large_npz(file)
            with np.load(file, allow_pickle=False) as data:
                return list(data.files)
    except FormatError:
        raise
    except UNREADABLE as error:
        reason = _reason(describe_content(start), error)
        raise FormatError(f"is no readable npz: {reason}") from None


def _reason(what: str, error: BaseException) -> str:
    if what and "npz" not in what:
        return f"it is {what}"
    if "pickle" in str(error):
        return "it is no zip archive of arrays"
    return " ".join(str(error).split()) or type(error).__name__


def load_arrays(
    path: str | Path, required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Read arrays of a file by name. Others are not opened, and pickles never.

    Args:
        path: the .npz.
        required: names that it must have.
        optional: names whose arrays are left out where they are missing or pickled.

    Raises:
        FormatError: it is no .npz, or a required array is missing, pickled or damaged.
    """
    required, names = list(required), array_names(path)
    missing = [name for name in required if name not in names]
    if missing:
        raise FormatError(f"has no {', '.join(missing)}")
    arrays: dict[str, np.ndarray] = {}
    with np.load(path, allow_pickle=False) as data:
        for name in (*required, *(name for name in optional if name in names)):
            try:
                # numpy returns bytes where the member is no array.
                if not isinstance(array := data[name], np.ndarray):
                    raise ValueError("it is no array")
                arrays[name] = array
            except UNREADABLE as error:
                if "pickle" not in str(error) and "Object arrays" not in str(error):
                    raise FormatError(
                        f"is no readable npz: its {name} is damaged: {_reason('', error)}"
                    ) from None
                if name in required:
                    raise FormatError(
                        f"{name} cannot be read: it holds pickled Python objects, which are never "
                        "opened; save it as numbers or text"
                    ) from None
    for name, array in arrays.items():
        if array.size > MAX_NUMBERS:
            raise FormatError(f"has {array.size} numbers in {name}, over {MAX_NUMBERS}: split it")
    return arrays


def checked_numbers(name: str, array: np.ndarray) -> np.ndarray:
    """The array as float64, with NaN in place of infinite values.

    Raises:
        FormatError: it holds no numbers, or one too large to be in a motion capture file.
    """
    if array.dtype.kind not in "iuf":
        raise FormatError(f"{name} is of {array.dtype}, not of numbers")
    numbers = array.astype(np.float64)
    numbers[np.isinf(numbers)] = np.nan
    largest = np.fmax.reduce(np.abs(numbers), axis=None, initial=0.0)
    if largest > MAX_NUMBER:
        raise FormatError(f"{name} holds {largest:.3g}, which motion capture cannot have")
    return numbers
