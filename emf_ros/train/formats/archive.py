"""The npz file that training reads: clips of h36m17 in one array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...io.mocap import FormatError
from ...io.mocap.rate import check_rate
from ...io.outputs import replacing
from ...skeletons import H36M17
from .npz import MAX_NUMBERS, array_names, checked_numbers, load_arrays


@dataclass
class Clip:
    """One clip.

    Attributes:
        name: unique in its file.
        subject: who moves; training and validation share none.
        action: what is done.
        positions: (N, 17, 3) m, z up, floor near z = 0.
        source: where it comes from.
    """

    name: str
    subject: str
    action: str
    positions: np.ndarray
    source: str


@dataclass
class Archive:
    """A file's clips, and what holds for all of them.

    Attributes:
        rate_hz: frames a second.
        licence, note: stored with the data.
        notes: what the reader had to assume or leave out, for the user; not stored.
    """

    clips: list[Clip]
    rate_hz: float
    licence: str = ""
    note: str = ""
    notes: tuple[str, ...] = ()


def unique_names(names: Iterable[str]) -> Iterator[str]:
    """The names in their order; repeated ones get a number: 'walk', 'walk~2'."""
    seen: set[str] = set()
    for name in names:
        unique, number = name, 1
        while unique in seen:
            number += 1
            unique = f"{name}~{number}"
        seen.add(unique)
        yield unique


def write_archive(path: str | Path, archive: Archive) -> None:
    """Write the file; an existing one is replaced only when the new one is complete.

    Raises:
        FormatError: there are no clips, or a position does not fit into 16 bits of millimetres.
        OutputError: the file cannot be written.
    """
    clips = archive.clips
    if not clips:
        raise FormatError("there are no clips to be written")
    millimetres = np.rint(1000 * np.concatenate([c.positions for c in clips]))
    limit = np.iinfo(np.int16).max
    if not (np.abs(millimetres) <= limit).all():
        raise FormatError(f"positions must be finite and within {limit / 1000:g} m of the origin")
    lengths = np.array([len(c.positions) for c in clips], dtype=np.int64)
    with replacing(path) as part, open(part, "wb") as file:
        np.savez_compressed(
            file,
            pos_mm=millimetres.astype(np.int16),
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
            clip=np.array([c.name for c in clips]),
            subject=np.array([c.subject for c in clips]),
            action=np.array([c.action for c in clips]),
            source=np.array([c.source for c in clips]),
            joints=np.array(H36M17.joints),
            parents=np.array(H36M17.parents, dtype=np.int64),
            fps=np.float64(archive.rate_hz),
            up=np.array("z"),
            licence=np.array(archive.licence),
            note=np.array(archive.note),
        )


#: Arrays that a file must have.
_REQUIRED = ("fps", "lengths", "pos_mm", "starts", "subject")

#: Arrays of names and texts, which a file may lack. Arrays of other names are not read.
_OPTIONAL = ("clip", "action", "source", "licence", "note")


def _plain(joint: str) -> str:
    """'left_hip' and 'lhip' are both in use."""
    return joint.replace("left_", "l").replace("right_", "r").replace("_", "").lower()


@dataclass
class RawArchive:
    """A file's arrays, checked but not cut into clips.

    Attributes:
        pos_mm: (N, 17, 3) mm, z up, any numeric type; it may hold NaN.
        starts, lengths: (C,) whole numbers.
        clip, subject, action, source: (C,) names.
        rate_hz: frames a second.
        licence, note: empty where the file has none.
        notes: what was left out, for the user.
    """

    pos_mm: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    clip: list[str]
    subject: list[str]
    action: list[str]
    source: list[str]
    rate_hz: float
    licence: str
    note: str
    notes: tuple[str, ...] = ()


def read_arrays(path: str | Path) -> RawArchive:
    """Read a file as it is.

    Raises:
        FormatError: it is damaged, lacks an array, contradicts itself, has frames of two subjects,
            or is not in h36m17's order with z up. The message goes on where the file's name ends.
    """
    path = Path(path)
    names_there = array_names(path)
    # Arrays that decide the order of the joints are never left out.
    needed = [*_REQUIRED, *(name for name in ("joints", "up") if name in names_there)]
    arrays = load_arrays(path, needed, _OPTIONAL)
    positions = arrays["pos_mm"]
    if positions.ndim != 3 or positions.shape[1:] != (len(H36M17), 3):
        raise FormatError(f"has pos_mm of {positions.shape}, not (N, {len(H36M17)}, 3)")
    if positions.dtype.kind not in "if":
        raise FormatError(f"has pos_mm of {positions.dtype}, which must be numbers")
    theirs = [_plain(str(j)) for j in np.ravel(arrays.get("joints", H36M17.joints))]
    if theirs != [_plain(j) for j in H36M17.joints]:
        absent = [j for j in H36M17.joints if _plain(j) not in theirs]
        raise FormatError(
            "has joints that are not those of h36m17 in their order"
            + (f"; missing: {', '.join(absent)}" if absent else "")
        )
    if str(arrays.get("up", "z")) != "z":
        raise FormatError(f"has {arrays['up']} up, not z")
    fps = arrays["fps"]
    if fps.size != 1 or fps.dtype.kind not in "iuf" or not 0 < fps.item() < np.inf:
        raise FormatError(f"has a wrong fps: {fps} is no frame rate")
    check_rate(float(fps.item()), f"its fps of {fps}")
    left_out = [name for name in _OPTIONAL if name in names_there and name not in arrays]
    starts, lengths = arrays["starts"].ravel(), arrays["lengths"].ravel()
    if starts.dtype.kind not in "iu" or lengths.dtype.kind not in "iu":
        raise FormatError("has starts and lengths that must be whole numbers")
    count = len(starts)
    unnamed = {
        "clip": np.array([f"{path.stem}_{i}" for i in range(count)]),
        "action": np.array([""] * count),
        "source": np.array([path.stem] * count),
    }
    names = {
        name: [str(value) for value in {**unnamed, **arrays}[name].ravel()]
        for name in ("clip", "subject", "action", "source")
    }
    numbers = {"starts": count, "lengths": len(lengths)}
    numbers.update({f"{name}s": len(values) for name, values in names.items()})
    if set(numbers.values()) != {count}:
        having = ", ".join(f"{number} {name}" for name, number in numbers.items())
        raise FormatError(f"has {having}, which must be of one length")
    # Python's own numbers do not overflow.
    ends = [start + length for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)]
    if count and (starts.min() < 0 or lengths.min() < 0 or max(ends) > len(positions)):
        raise FormatError(f"has a clip outside of its {len(positions)} frames")
    frames = sum(lengths.tolist())
    if frames > max(len(positions), MAX_NUMBERS // (3 * len(H36M17))):
        raise FormatError(f"has clips of {frames} frames that overlap in {len(positions)} frames")
    _check_subjects(len(positions), starts, lengths, names)
    return RawArchive(
        positions,
        starts,
        lengths,
        names["clip"],
        names["subject"],
        names["action"],
        names["source"],
        float(fps.item()),
        str(arrays.get("licence", "")),
        str(arrays.get("note", "")),
        tuple(f"its {name} holds pickled objects: read without it" for name in left_out),
    )


def _check_subjects(
    frames: int, starts: np.ndarray, lengths: np.ndarray, names: dict[str, list[str]]
) -> None:
    """Refuse frames that clips of two subjects share: both sides of a split would have them."""
    numbers = {subject: number for number, subject in enumerate(dict.fromkeys(names["subject"]))}
    numbered = np.full(frames, -1)
    rows = zip(starts.tolist(), lengths.tolist(), names["clip"], names["subject"], strict=True)
    for start, length, clip, subject in rows:
        part = numbered[start : start + length]
        if ((part != -1) & (part != numbers[subject])).any():
            raise FormatError(
                f"has a clip {clip} of subject {subject} with frames of another subject's clip; "
                "give clips that share frames one subject"
            )
        part[:] = numbers[subject]


def read_archive(path: str | Path) -> Archive:
    """Read a file's clips.

    Raises:
        FormatError: see `read_arrays`.
    """
    raw = read_arrays(path)
    metres = checked_numbers("pos_mm", raw.pos_mm) / 1000.0
    rows = zip(
        raw.starts.tolist(),
        raw.lengths.tolist(),
        raw.clip,
        raw.subject,
        raw.action,
        raw.source,
        strict=True,
    )
    clips = [
        Clip(name, subject, action, metres[first : first + length], source)
        for first, length, name, subject, action, source in rows
    ]
    return Archive(clips, raw.rate_hz, raw.licence, raw.note, raw.notes)
