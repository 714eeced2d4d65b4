"""Text of motion capture files: decoded, split into lines, with its numbers checked."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import FormatError

#: Largest magnitude of a number in a motion capture file, in the file's unit or in degrees.
MAX_NUMBER = 1e9

#: Number of bytes at the start of a file by which binary files are recognised.
_SNIFFED_BYTES = 1024

#: Number of characters of a file that a message quotes.
_QUOTED_CHARACTERS = 40

#: Byte order marks and their encodings. UTF-32 comes first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: What a file is by its first bytes, and what the user can do about it.
_SIGNATURES = (
    (b"Kaydara FBX Binary", "a binary FBX; export it as BVH"),
    (b"; FBX", "an FBX; export it as BVH"),
    (b"glTF", "a glTF model; export it as BVH"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"PK\x03\x04", "a zip archive or an npz; unpack it, or name it .npz"),
    (b"\x1f\x8b", "compressed by gzip; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"\x93NUMPY", "one array of numpy (.npy)"),
    (b"\x80\x04", "a Python pickle, which is not opened"),
    (b"\x80\x03", "a Python pickle, which is not opened"),
    (b"\x80\x02", "a Python pickle, which is not opened"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch it with git lfs pull"),
    (b"HIERARCHY", "a BVH; name it .bvh"),
    (b"#!OML:ASF", "an AMC; name it .amc"),
    (b":version", "an Acclaim skeleton; name it .asf"),
)

_POINT_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+)(e[+-]?\d+)?", re.I)
_COMMA_NUMBER = re.compile(r"(?<!\S)([+-]?\d*),(\d+(?:e[+-]?\d+)?)(?!\S)", re.I)


@dataclass(frozen=True)
class Text:
    """The text of a file.

    Attributes:
        lines: the lines; the first has the number 1 in messages.
        ends_with_newline: False where the last line may have been cut.
        notes: what the reader had to assume, for the user.
    """

    lines: tuple[str, ...]
    ends_with_newline: bool
    notes: tuple[str, ...] = ()

    def words(self) -> Iterator[tuple[int, list[str]]]:
        """The number and the words of each line that has any, without comments (#)."""
        for number, line in enumerate(self.lines, 1):
            words = line.split()
            for i, word in enumerate(words):
                # '-1.#IND' is a bad number, not a number and a comment.
                if word.startswith("#"):
                    words = words[:i]
                    break
            if words:
                yield number, words


#: Maximum size of a text file, bytes: an hour of 60 joints at 120 Hz.
MAX_BYTES = 1_000_000_000


def describe_content(data: bytes) -> str:
    """What a file is by its first bytes, such as 'a PNG image'; empty where unknown."""
    start = data[:_SNIFFED_BYTES].removeprefix(codecs.BOM_UTF8).lstrip()
    for signature, description in _SIGNATURES:
        if start.lower().startswith(signature.lower()):
            return description
    if re.match(rb"(<!doctype\s+)?<?html", start, re.I):
        return "a web page; download the file itself"
    if data[1:2] == b"\x50" and data[:1] and data[0] < 10:
        return "a C3D; export it as BVH"
    return ""


def quote(text: str) -> str:
    """The start of a piece of a file for a message."""
    short = text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + "..."
    return repr(short)


def read_text(path: str | Path) -> Text:
    """Read a text file of any usual encoding and line ends.

    Encodings: UTF-8, UTF-16 and UTF-32 with a byte order mark, UTF-8 and UTF-16 without one; other
    files are read as Latin-1, whose special characters can only be in names. Numbers with a decimal
    comma get a point where no number of the file has a point.

    Raises:
        FormatError: the file cannot be read, is empty or is no text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise FormatError(f"is larger than {MAX_BYTES / 1e9:g} GB: split it")
    # Programs pad files with zeros, or end them with the DOS end-of-file character.
    text = _decode(data).rstrip("\0\x1a")
    if not text.strip():
        raise FormatError("is empty")
    lines = re.split(r"\r\n|\r|\n", text)
    ends_with_newline = not lines[-1].strip()
    lines, notes = _with_points(lines)
    return Text(tuple(lines), ends_with_newline, notes)


def _decode(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            # A file that was cut may end within a character.
            return data.decode(encoding, errors="replace")
    start = data[:_SNIFFED_BYTES]
    if b"\0" in start.rstrip(b"\0"):
        # Of UTF-16, every other byte of numbers and keywords is zero.
        for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
            if not any(start[first::2]) and all(start[1 - first :: 2]):
                return data.decode(encoding, errors="replace")
        raise FormatError(f"is {describe_content(data) or 'a binary file, no text'}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _with_points(lines: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """The lines with points in place of decimal commas, and a note where there are any."""
    if not any("," in line and _COMMA_NUMBER.search(line) for line in lines):
        return lines, ()
    # A version number such as ':version 1.10' has a point in any language.
    numbers = (line for line in lines if not line.lstrip().startswith((":", "#")))
    if any(_POINT_NUMBER.fullmatch(word) for line in numbers for word in line.split()):
        return lines, ()
    lines = [_COMMA_NUMBER.sub(r"\1.\2", line) for line in lines]
    return lines, ("numbers have decimal commas: read as points",)


def read_number(word: str, line: int, missing: bool = False) -> float:
    """A number of a file.

    Args:
        word: the text.
        line: its line, from 1.
        missing: whether 'nan' and 'inf' may stand for a missing value.

    Returns:
        the number; NaN where it is missing.

    Raises:
        FormatError: the text is no number, or too large to be in a motion capture file.
    """
    try:
        # Python takes 1_000 for a number.
        number = float("" if "_" in word else word)
    except ValueError:
        hint = "; decimals need a point" if "," in word else ""
        raise FormatError(f"{quote(word)} on line {line} is no number{hint}") from None
    if abs(number) <= MAX_NUMBER:
        return number
    if missing and not 0 <= abs(number) < float("inf"):
        return float("nan")
    raise FormatError(f"{quote(word)} on line {line} is no number that motion capture can have")


def read_numbers(words: Sequence[str], line: int, missing: bool = False) -> list[float]:
    """Several numbers of one line; see `read_number`."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if numbers and all(abs(n) <= MAX_NUMBER for n in numbers) and "_" not in "".join(words):
        return numbers
    return [read_number(word, line, missing) for word in words]


def cut_within_number(last: str, before: str) -> bool:
    """Whether the last number of a file without a last newline may lack digits.

    Args:
        last: the number's text.
        before: the text of the same number one frame earlier.
    """
    return len(last) < len(before)


def joined(names: Iterable[str], most: int = 5) -> str:
    """Names for a message, at most `most` of them."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
