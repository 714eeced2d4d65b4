"""OpenSim's text format of markers (.trc): the joints of one person, m, y up."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ...skeletons import H36M17
from ..mocap.text import cut_within_number
from ..outputs import replacing
from ..recordings import Recording, RecordingError
from .motion import motion_of, recording_of

#: Metres per unit of length.
UNITS = {"m": 1.0, "meters": 1.0, "cm": 0.01, "mm": 0.001, "millimeters": 0.001}
#: Maximum number of points of a file, over all frames: an hour of 83 markers at 100 Hz. A short
#: line stands for as many points as the file names.
MAX_POINTS = 30_000_000

_HEAD = (
    "DataRate",
    "CameraRate",
    "NumFrames",
    "NumMarkers",
    "Units",
    "OrigDataRate",
    "OrigDataStartFrame",
    "OrigNumFrames",
)


def write(recording: Recording, path: Path) -> list[str]:
    """Write the one person of a recording; unknown joints are empty fields.

    Returns:
        sentences on what is not as recorded.

    Raises:
        RecordingError: the person is nowhere known.
        OutputError: the file cannot be written.
    """
    motion = motion_of(recording)
    count, joints, rate = len(motion.joints), len(H36M17), f"{motion.rate_hz:.6g}"
    names = [cell for joint in H36M17.joints for cell in (joint, "", "")]
    axes = [f"{axis}{number}" for number in range(1, joints + 1) for axis in "XYZ"]
    head: list[list[object]] = [
        ["PathFileType", "4", "(X/Y/Z)", path.name],
        list(_HEAD),
        [rate, rate, count, joints, "m", rate, 1, count],
        ["Frame#", "Time", *names],
        ["", "", *axes],
        [],
    ]
    with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows(head)
        frames = zip(motion.time_s, motion.joints.reshape(count, -1), strict=True)
        for number, (time_s, values) in enumerate(frames, start=1):
            cells = ("" if value != value else f"{value:.6f}" for value in values)
            writer.writerow([number, f"{time_s:.6f}", *cells])
    return motion.notes


def read(path: Path, up: str = "auto") -> Recording:
    """Read the person of a file; `motion.recording_of` says which names of points are known.

    Args:
        path: of the file.
        up: the axis that points up: "auto", "y" or "z".

    Raises:
        RecordingError: it cannot be read, none of its points is known, or its axes cannot be told.
    """
    try:
        time_s, points, names = read_points(path)
        with path.open(encoding="utf-8-sig") as file:
            head = [line.split("\t") for line, _ in zip(file, range(3), strict=False)]
        stated = dict(zip(head[1], head[2], strict=False)).get("NumFrames", "")
        if stated.strip().isdecimal() and int(stated) > len(points):
            raise RecordingError(f"it has {len(points)} of its {stated} frames: it was cut")
        if up == "auto" and names == list(H36M17.joints):
            # Written here: the people may lie.
            up = "y"
        return recording_of(time_s, points, names, up=up)
    except (ValueError, csv.Error) as error:
        raise RecordingError(f"{path}: {error}") from None


def read_points(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """All points of a file, in its own axes.

    Returns:
        stamps (N,) s, points (N, K, 3) m and K names.

    Raises:
        RecordingError: the file is no TRC, or a number cannot be read; the message has the line.
        csv.Error, UnicodeDecodeError: it is no text.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        time_s, points, names = _read_points(csv.reader(file, delimiter="\t"))
    _check_end(path, 2 + 3 * len(names))
    return time_s, points, names


def _check_end(path: Path, cells: int) -> None:
    """Refuse a file that may end within a number or before the last one.

    Raises:
        RecordingError: it may.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        before, last = deque(file, maxlen=2)
    if not last.strip() or last.endswith(("\n", "\r")):
        return
    was, now = before.rstrip("\r\n").split("\t"), last.split("\t")
    if len(now) < cells or cut_within_number(now[-1].strip(), was[-1].strip()):
        raise RecordingError(
            "its last line may be cut: end that line with a newline if the file is whole"
        )


def _read_points(rows: Iterator[list[str]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """As `read_points`, of the lines of a file."""
    begin = list(islice(rows, 4))
    if len(begin) < 4:
        begin = [[]] * 4
    title, keys, values_of, columns = begin
    if not title or not title[0].startswith("PathFileType"):
        raise RecordingError("it does not begin as a TRC file does, with PathFileType")
    head = dict(zip((cell.strip() for cell in keys), values_of, strict=False))
    unit = head.get("Units", "").strip().lower()
    if unit not in UNITS:
        raise RecordingError(f"its unit is {unit!r}; known: {', '.join(UNITS)}")
    names = [cell.strip() for cell in columns[2:] if cell.strip()]
    stamps: list[float] = []
    points: list[np.ndarray] = []
    for number, row in enumerate(rows, start=5):
        cells = [cell.strip() for cell in row]
        if not re.fullmatch(r"\d+", cells[0] if cells else ""):
            continue  # the names of the axes, or a blank line
        if len(points) * len(names) > MAX_POINTS:
            raise RecordingError(f"it has over {MAX_POINTS} points: split it")
        cells = (cells + [""] * (2 + 3 * len(names)))[: 2 + 3 * len(names)]
        try:
            values = [float(cell) if cell else np.nan for cell in cells[1:]]
        except ValueError as error:
            raise RecordingError(f"line {number}: {error}") from None
        stamps.append(values[0])
        points.append(np.array(values[1:]))
    return (
        np.array(stamps),
        UNITS[unit] * np.array(points).reshape(len(points), len(names), 3),
        names,
    )
