"""Acclaim skeletons (.asf)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...io.mocap import FormatError
from ...io.mocap.skeleton import euler_rotation, refuse_too_large
from ...io.mocap.text import describe_content, joined, quote, read_number, read_text


@dataclass
class Bone:
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
class Figure:
    """An ASF file: the bones by name, parents first, and the root.

    Attributes:
        length: divisor of the lengths in the file.
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
    bones: dict[str, Bone] = field(default_factory=dict)


def fixed_axes(axes: Sequence[int], angles: np.ndarray) -> np.ndarray:
    """Rotations about the fixed axes one after another, as Acclaim writes them: (..., 3, 3)."""
    return euler_rotation(axes[::-1], angles[..., ::-1])


#: A line of a file: its number, from 1, and its words.
_Line = tuple[int, list[str]]

#: The words of a line after its keyword, and the number of the line, from 1.
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


def vector_of(entry: _Entry, what: str, count: int = 3) -> np.ndarray:
    words, line = entry
    numbers = np.array([read_number(word, line) for word in words])
    if len(numbers) != count:
        raise FormatError(f"{what} on line {line} has {len(words)} numbers in place of {count}")
    return numbers


def _angles_axis(angles: _Entry, order: str, degrees: bool, what: str) -> np.ndarray:
    axes = ["xyz".find(c) for c in order.lower()]
    if sorted(axes) != [0, 1, 2]:
        raise FormatError(f"{what} on line {angles[1]} has the order of axes {quote(order)}")
    radians = vector_of(angles, what)
    return fixed_axes(axes, np.deg2rad(radians) if degrees else radians)


def _read_bone(block: list[_Line], degrees: bool, line: int) -> Bone:
    entries = _entries(block)
    name = " ".join(entries.get("name", ([], 0))[0])
    missing = [key for key in ("name", "direction", "length") if key not in entries]
    if missing or not name:
        raise FormatError(
            f"bone {name or '(unnamed)'}, which ends on line {line}, has no "
            f"{joined(missing or ['name'])}"
        )
    what = f"bone {name}"
    direction = vector_of(entries["direction"], f"the direction of {what}")
    length = vector_of(entries["length"], f"the length of {what}", 1)
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
    return Bone(name, direction * length[0], axis, tuple("xyz".index(d[1]) for d in dof))


def read_asf(path: Path) -> Figure:
    text = read_text(path)
    sections = _sections(text.words())
    missing = {"root", "bonedata", "hierarchy"} - set(sections)
    if missing:
        what = describe_content(text.lines[0].encode())
        found = f"; it is {what}" if what and "skeleton" not in what else ""
        raise FormatError(f"has no :{', :'.join(sorted(missing))}{found}")
    asf = Figure()
    for key, entry in _entries(sections.get("units", [])).items():
        if key == "length":
            asf.length = float(vector_of(entry, "the unit of length", 1)[0])
            if not asf.length > 0:
                raise FormatError(f"divides lengths by {asf.length:g} on line {entry[1]}")
        elif key == "angle" and entry[0]:
            asf.degrees = not entry[0][0].lower().startswith("rad")
            asf.says_angle = True
    _read_root(asf, _entries(sections["root"]))
    refuse_too_large([words[0] for _, words in sections["bonedata"] if words[0].lower() == "end"])
    blocks: dict[str, Bone] = {}
    block: list[_Line] = []
    for number, words in sections["bonedata"]:
        if words[0].lower() == "begin":
            block = []
        elif words[0].lower() == "end":
            bone = _read_bone(block, asf.degrees, number)
            refuse_too_large([bone.name])
            blocks[bone.name] = bone
        else:
            block.append((number, words))
    _order_bones(asf, blocks, sections["hierarchy"])
    return asf


def _read_root(asf: Figure, root: dict[str, _Entry]) -> None:
    if "order" in root:
        asf.root_order = tuple(word.lower() for word in root["order"][0])
    unknown = set(asf.root_order) - {"tx", "ty", "tz", "rx", "ry", "rz"}
    if unknown or len(set(asf.root_order)) != len(asf.root_order):
        raise FormatError(f"its root has the channels {' '.join(asf.root_order)}")
    order = "".join(root.get("axis", ([], 0))[0]) or "XYZ"
    still = (["0", "0", "0"], 0)
    orientation = root.get("orientation", still)
    asf.root_axis = _angles_axis(orientation, order, asf.degrees, "the root's orientation")
    asf.root_position = vector_of(root.get("position", still), "the root's position")


def _order_bones(asf: Figure, blocks: dict[str, Bone], hierarchy: list[_Line]) -> None:
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
