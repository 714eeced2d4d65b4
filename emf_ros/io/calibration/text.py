"""The text of a calibration file: its encoding, its syntax (YAML, JSON, XML) and its format.

Values stay text until they are needed: the types that YAML guesses (octal numbers, dates) are
wrong here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from ...geometry.camera import CameraError
from ..plain_yaml import PlainTextLoader

#: Maximum size of a calibration file, bytes.
MAX_FILE_BYTES = 2_000_000

FORMATS_READ = (
    "camera_calibration's YAML, OpenCV's FileStorage, the output of 'ros2 topic echo' of a "
    "camera_info, and Kalibr's camchain are read"
)

#: First bytes of files that are no calibration file, and the remedy.
_OTHER_FILES = (
    (b"\x1f\x8b", "a gzip archive: unpack it and give the ost.yaml in it"),
    (
        b"PK\x03\x04",
        "a zip or npz archive: write its values as YAML, see docs/reference/calibration.md",
    ),
    (b"\x93NUMPY", "a numpy array: write its values as YAML, see docs/reference/calibration.md"),
    (b"# oST", "the INI file of camera_calibration: give the ost.yaml beside it"),
    (b"[image]", "the INI file of camera_calibration: give the ost.yaml beside it"),
    (
        b"# Camera list with one line of data per camera",
        "COLMAP's cameras.txt, which is not read: write its values as YAML, see "
        "docs/reference/calibration.md",
    ),
)


def read_text(file: Path) -> str:
    """The text of a file in UTF-8, UTF-16 or an old code page.

    Raises:
        CameraError: the file is no text, empty, too large, or of a known other kind.
        OSError: it cannot be read.
    """
    with open(file, "rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    for begin, description in _OTHER_FILES:
        if data.startswith(begin):
            raise CameraError(f"this is {description}")
    if len(data) > MAX_FILE_BYTES:
        raise CameraError(f"larger than {MAX_FILE_BYTES / 1e6:g} MB; {FORMATS_READ}")
    if not data.strip():
        raise CameraError(f"the file is empty; {FORMATS_READ}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    # UTF-16 without a byte order mark: every second byte of ASCII is zero.
    for zeros, encoding in ((data[1:200:2], "utf-16-le"), (data[0:200:2], "utf-16-be")):
        if zeros and not any(zeros):
            return data.decode(encoding)
    if b"\0" in data:
        raise CameraError(f"this is no text; {FORMATS_READ}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # An old code page: characters beyond ASCII are only in comments and names.
        return data.decode("latin-1")


def _read_yaml(text: str) -> list[Any]:
    # OpenCV writes '%YAML:1.0', which is not valid YAML. The base loader ignores tags, such as
    # '!!opencv-matrix', and makes no objects.
    text = re.sub(r"\A\s*%YAML.*", "", text)
    return list(yaml.load_all(text, PlainTextLoader))


def _read_json(text: str) -> list[Any]:
    try:
        return [json.loads(text, parse_int=str, parse_float=str, parse_constant=str)]
    except json.JSONDecodeError:
        return _read_yaml(text)  # a mapping of YAML in braces


def _read_xml(text: str) -> list[Any]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise CameraError("XML with a document type is not read; give OpenCV's FileStorage")
    try:
        # Without its declaration: the text is decoded already, whatever encoding it declares.
        root = ElementTree.fromstring(re.sub(r"\A\s*<\?xml[^>]*\?>", "", text))
    except ElementTree.ParseError as error:
        raise CameraError(f"broken XML: {error}") from None

    def value(element: ElementTree.Element) -> Any:
        if len(element):
            return {child.tag: value(child) for child in element}
        return (element.text or "").strip()

    return [value(root)]


#: Reader of each syntax, by the first character that is no blank; the empty text is any.
_SYNTAXES: tuple[tuple[str, Callable[[str], list[Any]]], ...] = (
    ("<", _read_xml),
    ("{", _read_json),
    ("", _read_yaml),
)


def read_documents(text: str) -> list[dict]:
    """The mappings of a file, most often one.

    Raises:
        CameraError: there is none.
        yaml.YAMLError: the text is no YAML.
    """
    start = text.lstrip()[:1]
    reader = next(read for first, read in _SYNTAXES if start.startswith(first))
    mappings = [document for document in reader(text) if isinstance(document, dict)]
    if not mappings:
        raise CameraError(f"there are no named values in it; {FORMATS_READ}")
    return mappings


#: Name of each format, for messages, and how its text and its outermost names show it.
_FORMATS: tuple[tuple[str, Callable[[str, set[str]], bool]], ...] = (
    (
        "Python objects as YAML; write plain lists, as of array.tolist()",
        lambda text, names: "!!python/object" in text,
    ),
    (
        "OpenCV FileStorage",
        lambda text, names: (
            "opencv-matrix" in text or "opencv_storage" in text or text.startswith("%YAML:")
        ),
    ),
    ("DepthAI calibration", lambda text, names: "cameraData" in names),
    (
        "Kalibr camchain",
        lambda text, names: any(re.fullmatch(r"cam\d+", name) for name in names),
    ),
    (
        "camera_info message",
        lambda text, names: bool(
            {"k", "K"} & names and {"distortion_model", "d", "D", "binning_x"} & names
        ),
    ),
    (
        "camera_calibration file",
        lambda text, names: (
            "camera_matrix" in names and bool({"image_width", "image_height"} & names)
        ),
    ),
)


def format_name(text: str, documents: list[dict]) -> str:
    """The name of a file's format, for messages."""
    names = {str(key) for document in documents for key in document}
    for name, matches in _FORMATS:
        if matches(text, names):
            return name
    return "calibration file"
