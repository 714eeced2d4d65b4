"""Biovision hierarchies (.bvh)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import FormatError
from .skeleton import Motion, Skeleton, euler_rotation

_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass
class _Hierarchy:
    """The first half of a file: joints, and which channel of a frame is whose."""

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[list[float]] = field(default_factory=list)
    #: Per channel of a frame: joint, 'position' or 'rotation', axis.
    channels: list[tuple[int, str, int]] = field(default_factory=list)

    def add(self, name: str, parent: int) -> int:
        self.names.append(name)
        self.parents.append(parent)
        self.offsets.append([np.nan] * 3)
        return len(self.names) - 1

    def of(self, joint: int, kind: str) -> tuple[list[int], list[int]]:
        """The columns and the axes of a joint's channels of one kind, in the file's order."""
        found = [(c, a) for c, (j, k, a) in enumerate(self.channels) if (j, k) == (joint, kind)]
        return [c for c, _ in found], [a for _, a in found]


def read_bvh(path: str | Path) -> Motion:
    """Read a .bvh file.

    Position channels give a joint's place in its parent's frame. They stand in for its OFFSET,
    unless all of them are zero throughout: then the program that wrote them meant additions. A
    first frame in which nothing is rotated is the rest pose that some programs put in front; it is
    no part of the motion and is left out.

    Returns:
        the joints, and the end sites as `<joint>_End`, in the file's unit and axes.

    Raises:
        FormatError: the file is damaged, or holds fewer than two frames.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise FormatError(f"cannot be read: {error}") from None
    # Braces stand on lines of their own in most files, but need not.
    lines = [line.strip() for line in re.sub(r"([{}])", r"\n\1\n", text).splitlines()]
    lines = [line for line in lines if line]
    if not lines or lines[0].upper() != "HIERARCHY":
        raise FormatError("is no BVH: it does not begin with HIERARCHY")
    motion = next((i for i, line in enumerate(lines) if line.upper() == "MOTION"), None)
    if motion is None:
        raise FormatError("has no MOTION")
    tree = _read_hierarchy(iter(lines[1:motion]))
    values, rate_hz = _read_frames(lines[motion + 1 :], len(tree.channels))
    return _motion(tree, values, rate_hz)


def _numbers(words: list[str], what: str) -> list[float]:
    try:
        return [float(w) for w in words]
    except ValueError:
        raise FormatError(f"{what} holds {' '.join(words)[:60]!r}, which are no numbers") from None


def _read_hierarchy(lines: Iterator[str]) -> _Hierarchy:
    tree = _Hierarchy()
    open_joints: list[int] = []
    current = -1
    for line in lines:
        word, _, rest = line.partition(" ") if "\t" not in line else line.partition("\t")
        word, rest = word.upper(), rest.strip()
        if word in ("ROOT", "JOINT"):
            current = tree.add(rest, open_joints[-1] if open_joints else -1)
        elif word == "END":
            if not open_joints:
                raise FormatError("has an End Site outside of any joint")
            current = tree.add(f"{tree.names[open_joints[-1]]}_End", open_joints[-1])
        elif word == "{":
            open_joints.append(current)
        elif word == "}":
            if not open_joints:
                raise FormatError("its HIERARCHY closes more braces than it opens")
            open_joints.pop()
        elif current < 0:
            raise FormatError(f"has {line[:60]!r} before its ROOT")
        elif word == "OFFSET":
            offset = _numbers(rest.split(), f"OFFSET of {tree.names[current]}")
            if len(offset) != 3:
                raise FormatError(f"OFFSET of {tree.names[current]} has {len(offset)} numbers")
            tree.offsets[current] = offset
        elif word == "CHANNELS":
            _add_channels(tree, current, rest.split())
        else:
            raise FormatError(f"its HIERARCHY has the unknown line {line[:60]!r}")
    if open_joints:
        raise FormatError(f"its HIERARCHY ends inside of joint {tree.names[open_joints[-1]]}")
    return tree


def _add_channels(tree: _Hierarchy, joint: int, words: list[str]) -> None:
    name = tree.names[joint]
    if not words or words[0] != str(len(words) - 1):
        raise FormatError(f"CHANNELS of {name} does not list as many as it says")
    for word in words[1:]:
        match = re.fullmatch(r"([xyz])(position|rotation)", word.lower())
        if match is None:
            raise FormatError(f"CHANNELS of {name} has the unknown channel {word!r}")
        tree.channels.append((joint, match[2], _AXES[match[1]]))


def _read_frames(lines: list[str], channels: int) -> tuple[np.ndarray, float]:
    """The frames (N, channels) as they stand in the file, and the frames a second."""
    head = " ".join(lines[:2])
    found = re.match(r"Frames:\s*(\d+)\s+Frame\s+Time:\s*(\S+)", head, re.IGNORECASE)
    if found is None:
        raise FormatError(f"its MOTION does not begin with Frames and Frame Time: {head[:80]!r}")
    frames = int(found[1])
    frame_time = _numbers([found[2]], "Frame Time")[0]
    if not (np.isfinite(frame_time) and frame_time > 0):
        raise FormatError(f"Frame Time is {found[2]}, no time")
    values = np.array(_numbers(" ".join(lines[2:]).split(), "MOTION"))
    if values.size != frames * channels:
        raise FormatError(
            f"{frames} frames of {channels} channels are {frames * channels} numbers; its MOTION "
            f"has {values.size}"
        )
    if frames < 2:
        raise FormatError(f"has {frames} frames, no motion")
    return values.reshape(frames, channels), 1.0 / frame_time


def _motion(tree: _Hierarchy, values: np.ndarray, rate_hz: float) -> Motion:
    skeleton = Skeleton(tuple(tree.names), tuple(tree.parents), np.array(tree.offsets))
    is_rotation = np.array([kind == "rotation" for _, kind, _ in tree.channels])
    if not values[0, is_rotation].any() and values[1, is_rotation].any():
        values = values[1:]
    frames, joints = len(values), len(tree.names)
    rotations = np.broadcast_to(np.eye(3), (frames, joints, 3, 3)).copy()
    translations = np.broadcast_to(skeleton.offsets, (frames, joints, 3)).copy()
    for joint in range(joints):
        columns, axes = tree.of(joint, "rotation")
        if columns:
            rotations[:, joint] = euler_rotation(axes, np.deg2rad(values[:, columns]))
        columns, axes = tree.of(joint, "position")
        if columns and values[:, columns].any():
            translations[:, joint, axes] = values[:, columns]
    positions, orientations = skeleton.pose(rotations, translations)
    rest = skeleton.rest()
    return Motion(skeleton.names, skeleton.parents, positions, orientations, rest, rate_hz)
