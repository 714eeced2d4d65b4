"""Biovision hierarchies (.bvh)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import FormatError
from .rate import check_rate
from .skeleton import MAX_JOINTS, Motion, Skeleton, euler_rotation, refuse_too_large
from .text import (
    Text,
    cut_within_number,
    describe_content,
    quote,
    read_number,
    read_numbers,
    read_text,
)

_AXES = {"x": 0, "y": 1, "z": 2}

#: Number of lines within which Frames and Frame Time stand, blank lines not counted.
_HEAD_LINES = 6

#: Maximum number of channels of a joint: a position and a rotation are six.
MAX_CHANNELS = 12


@dataclass
class _Hierarchy:
    """The first half of a file: joints, and which channel of a frame is whose."""

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[list[float]] = field(default_factory=list)
    #: Per channel of a frame: joint, 'position' or 'rotation', axis.
    channels: list[tuple[int, str, int]] = field(default_factory=list)

    def add(self, name: str, parent: int) -> int:
        refuse_too_large([name])
        self.names.append(name)
        self.parents.append(parent)
        self.offsets.append([np.nan] * 3)
        if len(self.names) > MAX_JOINTS:
            raise FormatError(f"has over {MAX_JOINTS} joints")
        return len(self.names) - 1

    def of(self, joint: int, kind: str) -> tuple[list[int], list[int]]:
        """The columns and the axes of a joint's channels of one kind, in the file's order."""
        found = [(c, a) for c, (j, k, a) in enumerate(self.channels) if (j, k) == (joint, kind)]
        return [c for c, _ in found], [a for _, a in found]


def read_bvh(path: str | Path, cut: bool = True) -> Motion:
    """Read a .bvh file.

    Position channels give a joint's place in its parent's frame. They stand in for its OFFSET,
    unless all of them are zero throughout: then the program that wrote them meant additions. A
    first frame in which nothing is rotated is the rest pose that some programs put in front; it is
    no part of the motion and is left out. A last frame that was cut is left out with a note.

    Args:
        path: of the file.
        cut: whether a file with fewer frames than it says is read, with a note.

    Returns:
        the joints, and the end sites as `<joint>_End`, in the file's unit and axes.

    Raises:
        FormatError: the file is damaged, or holds no frame; names the line.
    """
    text = read_text(path)
    words = _Words(text)
    first = words.next("HIERARCHY")
    if first.upper() != "HIERARCHY":
        what = describe_content(text.lines[words.line - 1].encode())
        found = f"; it is {what}" if what else ""
        raise FormatError(
            f"is no BVH: it begins with {quote(first)} on line {words.line}, not with "
            f"HIERARCHY{found}"
        )
    tree = _read_hierarchy(words)
    values, rate_hz, notes, said = _read_frames(words, len(tree.channels), text.ends_with_newline)
    if len(values) < said and not cut:
        may_be_whole = len(values) == said - 1 and not text.ends_with_newline
        remedy = " (end its last line if it is whole)" if may_be_whole else ""
        raise FormatError(f"has {len(values)} of its {said} frames: it was cut{remedy}")
    return _motion(tree, values, rate_hz, (*text.notes, *notes))


class _Words:
    """The words of a file one after another; braces are words, wherever they stand.

    Attributes:
        line: the number of the line of the last word, from 1.
    """

    def __init__(self, text: Text) -> None:
        self._lines = text.lines
        self._left: deque[str] = deque()
        self.line = 0

    def next(self, wanted: str) -> str:
        """The next word.

        Raises:
            FormatError: the file ends; `wanted` says before what.
        """
        while not self._left:
            if self.line == len(self._lines):
                raise FormatError(f"ends on line {self.line} before its {wanted}: it was cut")
            self._left = deque(re.findall(r"[{}]|[^\s{}]+", self._lines[self.line]))
            self.line += 1
        return self._left.popleft()

    def rest_of_line(self) -> str:
        """The words up to the next brace or the end of the line, with one blank between."""
        rest = []
        while self._left and self._left[0] not in "{}":
            rest.append(self._left.popleft())
        return " ".join(rest)

    def following(self) -> Iterator[tuple[int, list[str]]]:
        """The number and the words of what is left of this line and of each line after it."""
        yield self.line, list(self._left)
        for number, line in enumerate(self._lines[self.line :], self.line + 1):
            yield number, line.split()


def _read_hierarchy(words: _Words) -> _Hierarchy:
    """The joints; the next word afterwards is the first after MOTION."""
    tree = _Hierarchy()
    open_joints: list[int] = []
    #: The joint whose brace has to come next, or -1.
    begun = -1
    while True:
        inside = f"end of joint {tree.names[open_joints[-1]]}" if open_joints else "MOTION"
        word = words.next(inside)
        key = word.upper()
        if begun >= 0:
            if word != "{":
                raise FormatError(f"has {quote(word)} on line {words.line} in place of a brace {{")
            open_joints.append(begun)
            begun = -1
        elif key in ("ROOT", "JOINT"):
            begun = tree.add(words.rest_of_line(), open_joints[-1] if open_joints else -1)
        elif key == "END":
            if not open_joints:
                raise FormatError(f"has an End Site outside of any joint on line {words.line}")
            words.rest_of_line()
            begun = tree.add(f"{tree.names[open_joints[-1]]}_End", open_joints[-1])
        elif word == "}":
            if not open_joints:
                raise FormatError(f"closes more braces than it opens, on line {words.line}")
            open_joints.pop()
        elif key == "MOTION":
            if open_joints:
                raise FormatError(
                    f"its HIERARCHY ends on line {words.line} inside of joint "
                    f"{tree.names[open_joints[-1]]}: a closing brace is missing"
                )
            return tree
        elif key == "OFFSET" and open_joints:
            where = f"OFFSET of {tree.names[open_joints[-1]]}"
            try:
                offset = [read_number(words.next(where), words.line) for _ in "xyz"]
            except FormatError as error:
                raise FormatError(f"{where}: {error}") from None
            tree.offsets[open_joints[-1]] = offset
        elif key == "CHANNELS" and open_joints:
            _add_channels(tree, open_joints[-1], words)
        else:
            where = f"within joint {tree.names[open_joints[-1]]}" if open_joints else "outside"
            raise FormatError(
                f"has {quote(word)} on line {words.line} {where}, where a HIERARCHY cannot have it"
            )


def _add_channels(tree: _Hierarchy, joint: int, words: _Words) -> None:
    name = tree.names[joint]
    count = words.next(f"CHANNELS of {name}")
    if not re.fullmatch(r"\d{1,3}", count):
        raise FormatError(f"CHANNELS of {name} has {quote(count)} on line {words.line}: no count")
    if int(count) > MAX_CHANNELS:
        raise FormatError(
            f"CHANNELS of {name} on line {words.line} are {count}, over {MAX_CHANNELS}"
        )
    for _ in range(int(count)):
        word = words.next(f"CHANNELS of {name}")
        match = re.fullmatch(r"([xyz])(position|rotation)", word.lower())
        if match is None:
            raise FormatError(
                f"CHANNELS of {name} has the unknown channel {quote(word)} on line {words.line}"
            )
        tree.channels.append((joint, match[2], _AXES[match[1]]))


def _read_frames(
    words: _Words, channels: int, whole: bool
) -> tuple[np.ndarray, float, tuple[str, ...], int]:
    """The frames (N, channels) as they stand in the file, their rate, notes, the stated number."""
    if not channels:
        raise FormatError("has no CHANNELS, no motion")
    lines = [(number, line) for number, line in words.following() if line]
    head = " ".join(word for _, line in lines[:_HEAD_LINES] for word in line)
    found = re.match(r"frames?\s*:?\s*(\S+)\s+frame\s*time\s*:?\s*(\S+)", head, re.I)
    if found is None:
        raise FormatError(
            f"has {quote(head)} on line {lines[0][0] if lines else words.line} after MOTION, in "
            "place of Frames: and Frame Time:"
        )
    left = len(found[0].split())
    line_of_time = 0
    while left:
        line_of_time, line = lines.pop(0)
        left, line = max(left - len(line), 0), line[left:]
        if line:
            lines.insert(0, (line_of_time, line))
    if not re.fullmatch(r"\d{1,9}", found[1]):
        raise FormatError(f"Frames: is {quote(found[1])}, no count, above line {line_of_time}")
    frame_time = read_number(found[2], line_of_time)
    if not frame_time > 0:
        raise FormatError(f"Frame Time is {quote(found[2])} on line {line_of_time}; it must be > 0")
    check_rate(
        1.0 / frame_time,
        f"Frame Time on line {line_of_time} is in seconds; {found[2]} s",
        f"{frame_time:g} ms are {frame_time / 1000:.6g} s",
    )
    values, notes = _read_rows(lines, channels, whole)
    frames = len(values)
    if not frames:
        raise FormatError(f"has {frames} frames, no motion")
    if frames != int(found[1]):
        notes += (f"it says {found[1]} frames and holds {frames}: these are read",)
    return values, 1.0 / frame_time, notes, int(found[1])


def _read_rows(
    lines: list[tuple[int, list[str]]], channels: int, whole: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The frames (N, channels). A frame may fill several lines, and a line several frames."""
    if lines and not whole:
        number, line = lines[-1]
        try:
            read_number(line[-1], number, missing=True)
        except FormatError:
            # Such as '-' or '1.5e', of which the rest is missing.
            lines[-1] = (number, line[:-1])
    values: list[float] = []
    start = 0
    for number, line in lines:
        begun = len(values) % channels
        start = start if begun else number
        values += read_numbers(line, number, missing=True)
        if begun and begun + len(line) > channels:
            words = dict(lines)[start]
            raise FormatError(
                f"line {start} has {len(words)} numbers in place of {channels}, one for each "
                f"channel: {quote(' '.join(words))}"
            )
    cut = len(values) % channels
    frames = np.array(values[: len(values) - cut]).reshape(-1, channels)
    if cut:
        note = f"the last frame is cut on line {lines[-1][0]}: left out"
        return frames, (note,)
    if not whole and len(frames) > 1:
        words = [word for _, line in lines[-2 * channels :] for word in line]
        if cut_within_number(words[-1], words[-1 - channels]):
            note = (
                f"{quote(words[-1])} on line {lines[-1][0]} may be cut: the last frame is left out"
            )
            return frames[:-1], (note,)
    return frames, ()


def _motion(tree: _Hierarchy, values: np.ndarray, rate_hz: float, notes: tuple[str, ...]) -> Motion:
    skeleton = Skeleton(tuple(tree.names), tuple(tree.parents), np.array(tree.offsets))
    is_rotation = np.array([kind == "rotation" for _, kind, _ in tree.channels])
    if not values[0, is_rotation].any() and values[1:2, is_rotation].any():
        values = values[1:]
    frames, joints = len(values), len(tree.names)
    refuse_too_large(tree.names, frames)
    rotations = np.broadcast_to(np.eye(3), (frames, joints, 3, 3)).copy()
    translations = np.broadcast_to(skeleton.offsets, (frames, joints, 3)).copy()
    for joint in range(joints):
        columns, axes = tree.of(joint, "rotation")
        if columns:
            rotations[:, joint] = euler_rotation(axes, np.deg2rad(values[:, columns]))
        columns, axes = tree.of(joint, "position")
        if columns and values[:, columns].any():
            translations[:, joint, axes] = values[:, columns]
    return Motion.posed(skeleton, rotations, translations, rate_hz, notes=notes)
