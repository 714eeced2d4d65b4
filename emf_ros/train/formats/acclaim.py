"""Acclaim's pairs of files: a skeleton (.asf) and its motion (.amc)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import FormatError
from .clips import LONGEST_GAP_S, check_rate
from .skeleton import Motion, Skeleton, euler_rotation
from .text import (
    Text,
    cut_within_number,
    describe_content,
    joined,
    quote,
    read_number,
    read_numbers,
    read_text,
)

#: Rate of AMC files that do not say theirs, frames a second: that of most of the CMU database.
DEFAULT_RATE_HZ = 120.0

#: Largest angle of a bone in its file, rad; larger ones are degrees. The root may turn further.
_MAX_BONE_TURN = 4 * np.pi


@dataclass
class _Bone:
    """One bone of an ASF file, angles in radians.

    Attributes:
        vector: (3,) from its start to its end in the rest pose, world axes, file units.
        axis: (3, 3) the frame about whose axes it turns.
        dof: the axes of its rotations in the file's order.
    """

    name: str
    vector: np.ndarray
    axis: np.ndarray
    dof: tuple[int, ...] = ()
    parent: str = ""


@dataclass
class _Asf:
    """An ASF file: the bones by name, parents first, and the root.

    Attributes:
        length: what lengths in the file are to be divided by.
        degrees: whether angles are in degrees.
        says_angle: whether the file says the unit of angles.
        root_order: the root's channels, such as 'tx' and 'rz'.
    """

    length: float = 1.0
    degrees: bool = True
    says_angle: bool = False
    root_order: tuple[str, ...] = ("tx", "ty", "tz", "rx", "ry", "rz")
    root_axis: np.ndarray = field(default_factory=lambda: np.eye(3))
    root_position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    bones: dict[str, _Bone] = field(default_factory=dict)


def _fixed_axes(axes: Sequence[int], angles: np.ndarray) -> np.ndarray:
    """Rotations about the fixed axes one after another, as Acclaim writes them: (..., 3, 3)."""
    return euler_rotation(axes[::-1], angles[..., ::-1])


#: A line of a file: its number, from 1, and its words.
_Line = tuple[int, list[str]]

#: What a line gives: the words after the keyword, and the number of the line, from 1.
_Entry = tuple[list[str], int]


def _sections(lines: Iterable[_Line]) -> dict[str, list[_Line]]:
    sections: dict[str, list[_Line]] = {}
    current: list[_Line] = []
    for number, words in lines:
        if words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
            words = words[1:]
        if words:
            current.append((number, words))
    return sections


def _entries(lines: Iterable[_Line]) -> dict[str, _Entry]:
    return {words[0].lower(): (words[1:], number) for number, words in lines}


def _vector(entry: _Entry, what: str, count: int = 3) -> np.ndarray:
    words, line = entry
    numbers = np.array([read_number(word, line) for word in words])
    if len(numbers) != count:
        raise FormatError(f"{what} on line {line} has {len(words)} numbers in place of {count}")
    return numbers


def _angles_axis(angles: _Entry, order: str, degrees: bool, what: str) -> np.ndarray:
    axes = ["xyz".find(c) for c in order.lower()]
    if sorted(axes) != [0, 1, 2]:
        raise FormatError(f"{what} on line {angles[1]} has the order of axes {quote(order)}")
    radians = _vector(angles, what)
    return _fixed_axes(axes, np.deg2rad(radians) if degrees else radians)


def _read_bone(block: list[_Line], degrees: bool, line: int) -> _Bone:
    entries = _entries(block)
    name = " ".join(entries.get("name", ([], 0))[0])
    missing = [key for key in ("name", "direction", "length") if key not in entries]
    if missing or not name:
        raise FormatError(
            f"bone {name or '(unnamed)'}, which ends on line {line}, has no "
            f"{joined(missing or ['name'])}"
        )
    what = f"bone {name}"
    direction = _vector(entries["direction"], f"the direction of {what}")
    length = _vector(entries["length"], f"the length of {what}", 1)
    axis = np.eye(3)
    if "axis" in entries:
        words, number = entries["axis"]
        order = words[-1] if words else ""
        axis = _angles_axis((words[:-1], number), order, degrees, f"the axis of {what}")
    words, number = entries.get("dof", ([], 0))
    dof = [word.lower() for word in words]
    unknown = [word for word in dof if word not in ("rx", "ry", "rz")]
    if unknown:
        raise FormatError(
            f"{what} moves in {quote(unknown[0])} on line {number}; only rotations are known"
        )
    return _Bone(name, direction * length[0], axis, tuple("xyz".index(d[1]) for d in dof))


def _read_asf(path: Path) -> _Asf:
    text = read_text(path)
    sections = _sections(text.words())
    missing = {"root", "bonedata", "hierarchy"} - set(sections)
    if missing:
        what = describe_content(text.lines[0].encode())
        found = f"; it is {what}" if what and "skeleton" not in what else ""
        raise FormatError(f"has no :{', :'.join(sorted(missing))}{found}")
    asf = _Asf()
    for key, entry in _entries(sections.get("units", [])).items():
        if key == "length":
            asf.length = float(_vector(entry, "the unit of length", 1)[0])
            if not asf.length > 0:
                raise FormatError(f"divides lengths by {asf.length:g} on line {entry[1]}")
        elif key == "angle" and entry[0]:
            asf.degrees = not entry[0][0].lower().startswith("rad")
            asf.says_angle = True
    _read_root(asf, _entries(sections["root"]))
    blocks: dict[str, _Bone] = {}
    block: list[_Line] = []
    for number, words in sections["bonedata"]:
        if words[0].lower() == "begin":
            block = []
        elif words[0].lower() == "end":
            bone = _read_bone(block, asf.degrees, number)
            blocks[bone.name] = bone
        else:
            block.append((number, words))
    _order_bones(asf, blocks, sections["hierarchy"])
    return asf


def _read_root(asf: _Asf, root: dict[str, _Entry]) -> None:
    if "order" in root:
        asf.root_order = tuple(word.lower() for word in root["order"][0])
    unknown = set(asf.root_order) - {"tx", "ty", "tz", "rx", "ry", "rz"}
    if unknown or len(set(asf.root_order)) != len(asf.root_order):
        raise FormatError(f"its root has the channels {' '.join(asf.root_order)}")
    order = "".join(root.get("axis", ([], 0))[0]) or "XYZ"
    still = (["0", "0", "0"], 0)
    orientation = root.get("orientation", still)
    asf.root_axis = _angles_axis(orientation, order, asf.degrees, "the root's orientation")
    asf.root_position = _vector(root.get("position", still), "the root's position")


def _order_bones(asf: _Asf, blocks: dict[str, _Bone], hierarchy: list[_Line]) -> None:
    """Put the bones into the skeleton, parents first; the hierarchy is written that way."""
    for line, (parent, *children) in hierarchy:
        if parent.lower() in ("begin", "end") and not children:
            continue
        if parent != "root" and parent not in asf.bones:
            raise FormatError(f"has bones at {quote(parent)} on line {line}, which hangs nowhere")
        for child in children:
            if child not in blocks:
                raise FormatError(f"names the unknown bone {quote(child)} on line {line}")
            if child in asf.bones:
                raise FormatError(f"hangs the bone {child} a second time on line {line}")
            blocks[child].parent = parent
            asf.bones[child] = blocks[child]


@dataclass
class _Amc:
    """An AMC file.

    Attributes:
        numbers: (N,) the frames' numbers as in the file, rising.
        values: (N, channels) per bone, angles in radians, NaN where a frame lacks the bone.
        rate_hz: frames a second, where the file says it.
        notes: what had to be assumed or left out.
    """

    numbers: list[int]
    values: dict[str, np.ndarray]
    rate_hz: float | None
    notes: list[str]


@dataclass
class _Frame:
    """One frame of an AMC file: its number, its line, and the values by bone."""

    number: int
    line: int
    values: dict[str, list[float]] = field(default_factory=dict)


def _read_amc(text: Text, asf: _Asf) -> _Amc:
    widths = {"root": len(asf.root_order)}
    widths.update({b.name: len(b.dof) for b in asf.bones.values() if b.dof})
    frames: list[_Frame] = []
    degrees: bool | None = None
    rate_hz: float | None = None
    notes = list(text.notes)
    cut_line, last_words = 0, [""]
    lines = list(text.words())
    for position, (line, words) in enumerate(lines):
        name, *rest = words
        if name.startswith(":"):
            keyword = name.upper()
            degrees = {":DEGREES": True, ":RADIANS": False}.get(keyword, degrees)
            if keyword == ":SAMPLES-PER-SECOND":
                rate_hz = float(_vector((rest, line), name, 1)[0])
                check_rate(rate_hz, f"{name} on line {line}")
        elif re.fullmatch(r"-?\d{1,9}", name) and not rest:
            frames.append(_Frame(int(name), line))
        else:
            try:
                _add_values(frames, line, words, widths)
            except FormatError:
                if not frames or position < len(lines) - 1:
                    raise
                cut_line = line
            else:
                last_words = words
    if not frames:
        raise FormatError("has no frames")
    _check_end(frames, cut_line, text, last_words, notes)
    frames = _rising(frames, notes)
    _note_missing(frames, widths, notes)
    if len(frames) < 2:
        raise FormatError("; ".join([f"has {len(frames)} frames, no motion", *notes]))
    values = {
        name: np.array([f.values.get(name, [np.nan] * width) for f in frames])
        for name, width in widths.items()
    }
    _to_radians(values, asf, degrees, notes)
    return _Amc([f.number for f in frames], values, rate_hz, notes)


def _add_values(frames: list[_Frame], line: int, words: list[str], widths: dict[str, int]) -> None:
    """Add one line of an AMC file, a bone and its values, to the last frame."""
    name, *rest = words
    if not frames or name not in widths:
        wanted = "a moving bone of its skeleton" if frames else "a frame's number"
        raise FormatError(f"has {quote(' '.join(words))} on line {line}, in place of {wanted}")
    if name in frames[-1].values:
        raise FormatError(f"has {name} twice in one frame, again on line {line}")
    values = read_numbers(rest, line, missing=True)
    if len(values) != widths[name]:
        raise FormatError(
            f"{name} has {len(values)} numbers on line {line} in place of {widths[name]}"
        )
    frames[-1].values[name] = values


def _check_end(
    frames: list[_Frame], cut_line: int, text: Text, last_words: list[str], notes: list[str]
) -> None:
    """Leave the last frame out where the file was cut within it."""
    if len(frames) < 2:
        return
    last, before = frames[-1], frames[-2]
    if cut_line or len(last.values) < len(before.values):
        notes.append(f"the last frame, on line {last.line}, is cut: left out")
        frames.pop()
    elif not text.ends_with_newline and len(last_words) > 1:
        earlier = next(
            words
            for _, words in reversed(list(text.words())[:-1])
            if words[0] == last_words[0] and len(words) == len(last_words)
        )
        if cut_within_number(last_words[-1], earlier[-1]):
            notes.append(f"{quote(last_words[-1])} may be cut: the last frame is left out")
            frames.pop()


def _rising(frames: list[_Frame], notes: list[str]) -> list[_Frame]:
    """The frames without those whose number repeats or goes back."""
    rising: list[_Frame] = []
    for frame in frames:
        if not rising or frame.number > rising[-1].number:
            rising.append(frame)
    dropped = len(frames) - len(rising)
    if dropped:
        notes.append(f"{dropped} of {len(frames)} frames repeat a number or go back: left out")
    return rising


def _note_missing(frames: list[_Frame], widths: dict[str, int], notes: list[str]) -> None:
    lacking = [frame for frame in frames if len(frame.values) < len(widths)]
    if lacking:
        absent = [name for name in widths if any(name not in f.values for f in lacking)]
        notes.append(
            f"{len(lacking)} of {len(frames)} frames lack {joined(absent)}, first the one on line "
            f"{lacking[0].line}: unknown there"
        )


def _to_radians(
    values: dict[str, np.ndarray], asf: _Asf, degrees: bool | None, notes: list[str]
) -> None:
    """Turn the angles into radians, in place."""
    is_angle = np.array([c[0] == "r" for c in asf.root_order])
    largest = max(
        (
            float(np.fmax.reduce(np.abs(array), axis=None, initial=0.0))
            for name, array in values.items()
            if name != "root"
        ),
        default=0.0,
    )
    if degrees is None:
        if not asf.says_angle and largest <= _MAX_BONE_TURN:
            raise FormatError(
                "says neither :DEGREES nor :RADIANS, nor does its skeleton say the unit of angles: "
                "add the line :DEGREES in front of the frames"
            )
        degrees = asf.degrees or not asf.says_angle
        unit = "degrees" if degrees else "radians"
        why = "as in its skeleton" if asf.says_angle else "too large for radians"
        notes.append(f"says neither :DEGREES nor :RADIANS: taken for {unit}, {why}")
    if not degrees and largest > _MAX_BONE_TURN:
        raise FormatError(
            f"turns a bone by {largest:.4g} radians, {largest / (2 * np.pi):.0f} full turns: these "
            "are degrees; add the line :DEGREES in front of the frames"
        )
    if degrees:
        for name, array in values.items():
            turns = is_angle if name == "root" else slice(None)
            array[:, turns] = np.deg2rad(array[:, turns])


def _spread_over_time(amc: _Amc, rate_hz: float) -> int:
    """Put unknown frames where numbers are left out, in place; returns the number of frames.

    Gaps that are longer than are filled need not have their full length: motion is cut there.
    """
    most = int(np.ceil(LONGEST_GAP_S * rate_hz)) + 1
    steps = np.diff(np.array(amc.numbers))
    missing = int((steps - 1).sum())
    if not missing:
        return len(amc.numbers)
    gaps = int((steps > 1).sum())
    amc.notes.append(
        f"frame numbers jump {gaps} time{'s' * (gaps != 1)} over {missing} frames, "
        f"{missing / rate_hz:.2f} s: unknown there"
    )
    place = np.concatenate([[0], np.cumsum(np.minimum(steps, most + 1))])
    for name, array in amc.values.items():
        spread = np.full((place[-1] + 1, array.shape[1]), np.nan)
        spread[place] = array
        amc.values[name] = spread
    return int(place[-1]) + 1


def find_asf(amc: Path) -> Path:
    """The skeleton of a motion: in its folder, the one whose name the motion's begins with.

    Where the folder holds only one, that.

    Raises:
        FormatError: there is none, or several and none fits.
    """
    found = sorted(p for p in amc.parent.iterdir() if p.suffix.lower() == ".asf")
    fitting = [p for p in found if amc.stem.startswith(p.stem)]
    if fitting:
        return max(fitting, key=lambda p: len(p.stem))
    if len(found) != 1:
        raise FormatError(
            f"needs its skeleton beside it, such as {amc.stem.split('_')[0]}.asf; there "
            + (f"are {', '.join(p.name for p in found[:5])}" if found else "is no .asf")
        )
    return found[0]


def read_amc(
    path: str | Path, asf: str | Path | None = None, rate_hz: float | None = None
) -> Motion:
    """Read a .amc file with its .asf.

    Args:
        path: the motion.
        asf: the skeleton; see `find_asf` where it is not given.
        rate_hz: frames a second; by default what the file says, which few do, or
            `DEFAULT_RATE_HZ`.

    Returns:
        the root, and the bones as the points where they end. Lengths are divided by the skeleton's
        `length`: then the CMU database's are inches. Positions are NaN in frames whose numbers
        are left out, and where a frame lacks a bone. Frames whose numbers repeat or go back are
        left out, and a last frame that was cut.

    Raises:
        FormatError: a file is damaged, they do not belong together, or there are fewer than two
            frames.
    """
    path = Path(path)
    text = read_text(path)
    what = describe_content(text.lines[0].encode())
    if what and not text.lines[0].startswith("#!OML:ASF"):
        raise FormatError(f"is no AMC; it is {what}")
    skeleton_path = Path(asf) if asf else find_asf(path)
    try:
        figure = _read_asf(skeleton_path)
    except FormatError as error:
        raise FormatError(f"its skeleton {skeleton_path.name} {error}") from None
    amc = _read_amc(text, figure)
    if not (rate_hz or amc.rate_hz):
        amc.notes.append(f"AMC does not say its rate: {DEFAULT_RATE_HZ:g} Hz is assumed")
    rate_hz = rate_hz or amc.rate_hz or DEFAULT_RATE_HZ
    frames = _spread_over_time(amc, rate_hz)
    values = amc.values
    # Each bone turns about its start: a joint at the parent's end with the bone's rotation, and
    # one at its own end without any.
    names, parents = ["root"], [-1]
    offsets = [figure.root_position]
    rotations = [_root_rotation(figure, values["root"])]
    still = np.broadcast_to(np.eye(3), (frames, 3, 3))
    end_of = {"root": 0}
    for bone in figure.bones.values():
        names += [f"{bone.name} (start)", bone.name]
        parents += [end_of[bone.parent], len(names) - 2]
        offsets += [np.zeros(3), bone.vector]
        end_of[bone.name] = len(names) - 1
        turned = still
        if bone.dof:
            turned = bone.axis @ _fixed_axes(bone.dof, values[bone.name]) @ bone.axis.T
        rotations += [turned, still]
    skeleton = Skeleton(tuple(names), tuple(parents), np.array(offsets) / figure.length)
    translations = np.broadcast_to(skeleton.offsets, (frames, len(names), 3)).copy()
    for column, channel in enumerate(figure.root_order):
        if channel[0] == "t":
            translations[:, 0, "xyz".index(channel[1])] += values["root"][:, column] / figure.length
    positions, orientations = skeleton.pose(np.stack(rotations, axis=1), translations)
    return Motion(
        skeleton.names,
        skeleton.parents,
        positions,
        orientations,
        skeleton.rest(),
        rate_hz,
        naming="bone ends",
        notes=tuple(amc.notes),
    )


def _root_rotation(asf: _Asf, values: np.ndarray) -> np.ndarray:
    columns = [i for i, c in enumerate(asf.root_order) if c[0] == "r"]
    axes = ["xyz".index(asf.root_order[i][1]) for i in columns]
    return asf.root_axis @ _fixed_axes(axes, values[:, columns]) @ asf.root_axis.T
