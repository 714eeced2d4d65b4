"""Acclaim's pairs of files: a skeleton (.asf) and its motion (.amc)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...io.mocap import FormatError
from ...io.mocap.rate import check_rate
from ...io.mocap.skeleton import Motion, Skeleton, refuse_too_large
from ...io.mocap.text import (
    Text,
    cut_within_number,
    describe_content,
    joined,
    quote,
    read_numbers,
    read_text,
)
from .acclaim_skeleton import Figure, find_asf, fixed_axes, read_asf, vector_of
from .clips import LONGEST_GAP_S

#: Rate of AMC files that do not say theirs, frames a second: that of most of the CMU database.
DEFAULT_RATE_HZ = 120.0

#: Largest angle of a bone in its file, rad; larger ones are degrees. The root may turn further.
_MAX_BONE_TURN = 4 * np.pi


@dataclass
class _Amc:
    """An AMC file.

    Attributes:
        numbers: (N,) the frames' numbers as in the file, rising.
        values: (N, channels) per bone, angles in radians, NaN where a frame lacks the bone.
        rate_hz: frames a second, where the file says it.
        notes: assumptions, and parts that were left out.
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


def _read_amc(text: Text, asf: Figure) -> _Amc:
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
                rate_hz = float(vector_of((rest, line), name, 1)[0])
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
    refuse_too_large(list(widths), len(frames))
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
    values: dict[str, np.ndarray], asf: Figure, degrees: bool | None, notes: list[str]
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
        figure = read_asf(skeleton_path)
    except FormatError as error:
        raise FormatError(f"its skeleton {skeleton_path.name} {error}") from None
    amc = _read_amc(text, figure)
    if not (rate_hz or amc.rate_hz):
        amc.notes.append(f"AMC does not say its rate: {DEFAULT_RATE_HZ:g} Hz is assumed")
    rate_hz = rate_hz or amc.rate_hz or DEFAULT_RATE_HZ
    frames = _spread_over_time(amc, rate_hz)
    # Each bone has two joints.
    refuse_too_large(list(figure.bones), 2 * frames)
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
            turned = bone.axis @ fixed_axes(bone.dof, values[bone.name]) @ bone.axis.T
        rotations += [turned, still]
    skeleton = Skeleton(tuple(names), tuple(parents), np.array(offsets) / figure.length)
    translations = np.broadcast_to(skeleton.offsets, (frames, len(names), 3)).copy()
    for column, channel in enumerate(figure.root_order):
        if channel[0] == "t":
            translations[:, 0, "xyz".index(channel[1])] += values["root"][:, column] / figure.length
    return Motion.posed(
        skeleton,
        np.stack(rotations, axis=1),
        translations,
        rate_hz,
        naming="bone ends",
        notes=tuple(amc.notes),
    )


def _root_rotation(asf: Figure, values: np.ndarray) -> np.ndarray:
    columns = [i for i, c in enumerate(asf.root_order) if c[0] == "r"]
    axes = ["xyz".index(asf.root_order[i][1]) for i in columns]
    return asf.root_axis @ fixed_axes(axes, values[:, columns]) @ asf.root_axis.T
