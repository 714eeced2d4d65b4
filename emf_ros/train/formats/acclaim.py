"""Acclaim's pairs of files: a skeleton (.asf) and its motion (.amc)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import FormatError
from .skeleton import Motion, Skeleton, euler_rotation

#: AMC files do not say their rate. The CMU database's were nearly all recorded at this one.
DEFAULT_RATE_HZ = 120.0


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
        root_order: the root's channels, such as 'tx' and 'rz'.
    """

    length: float = 1.0
    degrees: bool = True
    root_order: tuple[str, ...] = ("tx", "ty", "tz", "rx", "ry", "rz")
    root_axis: np.ndarray = field(default_factory=lambda: np.eye(3))
    root_position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    bones: dict[str, _Bone] = field(default_factory=dict)


def _fixed_axes(axes: Sequence[int], angles: np.ndarray) -> np.ndarray:
    """Rotations about the fixed axes one after another, as Acclaim writes them: (..., 3, 3)."""
    return euler_rotation(axes[::-1], angles[..., ::-1])


def _lines(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise FormatError(f"cannot be read: {error}") from None
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [words for words in lines if words]


def _floats(words: Sequence[str], where: str) -> np.ndarray:
    try:
        return np.array([float(w) for w in words])
    except ValueError:
        raise FormatError(f"{where} has {' '.join(words)!r}, which are no numbers") from None


def _sections(lines: list[list[str]]) -> dict[str, list[list[str]]]:
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for words in lines:
        if words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
            words = words[1:]
        if words:
            current.append(words)
    return sections


def _angles_axis(words: Sequence[str], order: str, degrees: bool, where: str) -> np.ndarray:
    angles = _floats(words, where)
    axes = ["xyz".find(c) for c in order.lower()]
    if angles.shape != (3,) or sorted(axes) != [0, 1, 2]:
        raise FormatError(f"{where} has no axis of three angles and their order")
    return _fixed_axes(axes, np.deg2rad(angles) if degrees else angles)


def _read_bone(block: list[list[str]], degrees: bool) -> _Bone:
    entries = {words[0].lower(): words[1:] for words in block}
    name = (entries.get("name") or [""])[0]
    if not name or "direction" not in entries or "length" not in entries:
        raise FormatError(f"bone {name or '(unnamed)'} has no name, direction or length")
    where = f"bone {name}"
    direction = _floats(entries["direction"], where)
    length = _floats(entries["length"], where)
    if direction.shape != (3,) or length.shape != (1,):
        raise FormatError(f"{where} needs a direction of three numbers and a length of one")
    axis = np.eye(3)
    if "axis" in entries:
        *angles, order = entries["axis"]
        axis = _angles_axis(angles, order, degrees, where)
    dof = [d.lower() for d in entries.get("dof", [])]
    if not set(dof) <= {"rx", "ry", "rz"}:
        raise FormatError(f"{where} moves in {' '.join(dof)}; only rotations are known")
    return _Bone(name, direction * length[0], axis, tuple("xyz".index(d[1]) for d in dof))


def _read_asf(path: Path) -> _Asf:
    sections = _sections(_lines(path))
    missing = {"root", "bonedata", "hierarchy"} - set(sections)
    if missing:
        raise FormatError(f"its skeleton {path.name} has no :{', :'.join(sorted(missing))}")
    asf = _Asf()
    for name, *words in sections.get("units", []):
        if name.lower() == "length":
            asf.length = float(_floats(words, "length")[0])
        elif name.lower() == "angle":
            asf.degrees = words[:1] != ["rad"]
    if not (np.isfinite(asf.length) and asf.length > 0):
        raise FormatError(f"its skeleton {path.name} divides lengths by {asf.length:g}")
    _read_root(asf, {words[0].lower(): words[1:] for words in sections["root"]})
    blocks: dict[str, _Bone] = {}
    block: list[list[str]] = []
    for words in sections["bonedata"]:
        if words[0].lower() == "begin":
            block = []
        elif words[0].lower() == "end":
            bone = _read_bone(block, asf.degrees)
            blocks[bone.name] = bone
        else:
            block.append(words)
    _order_bones(asf, blocks, sections["hierarchy"], path.name)
    return asf


def _read_root(asf: _Asf, root: dict[str, list[str]]) -> None:
    if "order" in root:
        asf.root_order = tuple(w.lower() for w in root["order"])
    if not set(asf.root_order) <= {"tx", "ty", "tz", "rx", "ry", "rz"}:
        raise FormatError(f"its root has the channels {' '.join(asf.root_order)}")
    order = (root.get("axis") or ["XYZ"])[0]
    orientation = root.get("orientation", ["0", "0", "0"])
    asf.root_axis = _angles_axis(orientation, order, asf.degrees, "root")
    asf.root_position = _floats(root.get("position", ["0", "0", "0"]), "root")


def _order_bones(
    asf: _Asf, blocks: dict[str, _Bone], hierarchy: list[list[str]], name: str
) -> None:
    """Put the bones into the skeleton, parents first; the hierarchy is written that way."""
    for parent, *children in hierarchy:
        if parent.lower() in ("begin", "end") and not children:
            continue
        if parent != "root" and parent not in asf.bones:
            raise FormatError(f"the hierarchy of {name} has bones at {parent}, which hangs nowhere")
        for child in children:
            if child not in blocks:
                raise FormatError(f"the hierarchy of {name} names the unknown bone {child}")
            blocks[child].parent = parent
            asf.bones[child] = blocks[child]


def _read_amc(path: Path, asf: _Asf) -> dict[str, np.ndarray]:
    """(N, channels) per bone as in the file, angles in radians."""
    widths = {"root": len(asf.root_order)}
    widths.update({b.name: len(b.dof) for b in asf.bones.values() if b.dof})
    rows: dict[str, list[np.ndarray]] = {name: [] for name in widths}
    frames, degrees = 0, asf.degrees
    for name, *words in _lines(path):
        if name.startswith(":"):
            degrees = {":DEGREES": True, ":RADIANS": False}.get(name.upper(), degrees)
        elif name.isdigit() and not words:
            _check_frame(rows, frames)
            frames += 1
        elif name not in widths:
            raise FormatError(f"frame {frames} moves {name}, which its skeleton has not or fixes")
        elif len(words) != widths[name]:
            raise FormatError(f"frame {frames}: {name} has {len(words)} values, not {widths[name]}")
        else:
            rows[name].append(_floats(words, f"frame {frames}"))
    _check_frame(rows, frames)
    if frames < 2:
        raise FormatError(f"has {frames} frames, no motion")
    values = {name: np.array(row) for name, row in rows.items()}
    is_angle = np.array([c[0] == "r" for c in asf.root_order])
    if degrees:
        for name, array in values.items():
            turns = is_angle if name == "root" else slice(None)
            array[:, turns] = np.deg2rad(array[:, turns])
    return values


def _check_frame(rows: dict[str, list[np.ndarray]], frames: int) -> None:
    wrong = [name for name, row in rows.items() if len(row) != frames]
    if wrong:
        raise FormatError(f"frame {frames} does not have {', '.join(wrong[:5])} once")


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
        rate_hz: frames a second, which the format does not say (`DEFAULT_RATE_HZ`).

    Returns:
        the root, and the bones as the points where they end. Lengths are divided by the skeleton's
        `length`: then the CMU database's are inches.

    Raises:
        FormatError: a file is damaged, they do not belong together, or there are fewer than two
            frames.
    """
    path = Path(path)
    skeleton_path = Path(asf) if asf else find_asf(path)
    figure = _read_asf(skeleton_path)
    values = _read_amc(path, figure)
    frames = len(values["root"])
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
    notes = () if rate_hz else (f"AMC does not say its rate: {DEFAULT_RATE_HZ:g} Hz is assumed",)
    return Motion(
        skeleton.names,
        skeleton.parents,
        positions,
        orientations,
        skeleton.rest(),
        rate_hz or DEFAULT_RATE_HZ,
        naming="bone ends",
        notes=notes,
    )


def _root_rotation(asf: _Asf, values: np.ndarray) -> np.ndarray:
    columns = [i for i, c in enumerate(asf.root_order) if c[0] == "r"]
    axes = ["xyz".index(asf.root_order[i][1]) for i in columns]
    return asf.root_axis @ _fixed_axes(axes, values[:, columns]) @ asf.root_axis.T
