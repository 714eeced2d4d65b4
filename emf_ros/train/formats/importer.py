"""Files and folders of motion capture to one npz for training."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...io.mocap import FormatError
from ...io.mocap.body import check_bones, pose_of, put_on_floor, to_z_up
from ...io.mocap.bvh import read_bvh
from ...io.mocap.joints import read_joint_map
from ...io.mocap.rate import check_rate
from ...io.mocap.skeleton import Motion
from .acclaim import read_amc
from .archive import Archive, Clip, read_archive, unique_names, write_archive
from .clips import RATE_HZ, cut, fill_gaps, recentre, resample
from .npz import array_names
from .smpl import BodyModel, load_body_model, read_smpl

#: Endings of the files that are read.
SUFFIXES = (".bvh", ".amc", ".npz")

#: Number of refused files whose reasons are in the error where all files are refused.
_SHOWN_REASONS = 3

#: Placement of joints that a file lacks; stored with the data.
_PLACEMENT = (
    "pelvis = middle of the hips; thorax = base of the neck; spine = joint nearest to the middle "
    "of the trunk; headtop = end of the head, or skull base + 0.19 m up on an adult; "
    "nose = skull base + 0.3 * (headtop - skull base) + 0.09 m along the head's forward axis"
)


@dataclass(frozen=True)
class ImportOptions:
    """Options of reading files.

    Attributes:
        source: name of the collection; the output's by default.
        subject_pattern: regular expression that is searched in a file's path; its first group, or
            all of the match, is the subject. By default the subject is the folder's name.
        unit: 'auto' or one of `body.UNITS`. npz files have units of their own.
        up: 'auto', 'y' or 'z'.
        joints: YAML of `joints.read_joint_map`.
        body_model, joint_regressor: see `smpl.load_body_model`.
        rate_hz: of AMC files, which do not say theirs.
        licence, note: stored with the data; by default those of the npz files among the input.
    """

    source: str = ""
    subject_pattern: str = ""
    unit: str = "auto"
    up: str = "auto"
    joints: str | Path | None = None
    body_model: str | Path | None = None
    joint_regressor: str | Path | None = None
    rate_hz: float | None = None
    licence: str = ""
    note: str = ""


@dataclass
class ImportReport:
    """Result of an import.

    Attributes:
        out: the file written.
        files: how many files were taken.
        clips, minutes, subjects: what it holds.
        refused: files that were not taken, and files of which a clip was not, with the reason.
        scraps: pieces between gaps or jumps that were too short and left out.
        notes: what had to be assumed or left out, with the files that it is about.
    """

    out: Path
    files: int = 0
    clips: int = 0
    minutes: float = 0.0
    subjects: tuple[str, ...] = ()
    refused: list[tuple[Path, str]] = field(default_factory=list)
    scraps: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class _Context:
    """The files that the options name, read once for all motions."""

    options: ImportOptions
    joints: Mapping[str, Sequence[str]] | None
    model: BodyModel | None
    pattern: re.Pattern[str] | None
    source: str

    @classmethod
    def of(cls, options: ImportOptions, out: Path) -> _Context:
        try:
            pattern = re.compile(options.subject_pattern) if options.subject_pattern else None
        except re.error as error:
            raise FormatError(f"--subject-pattern is no regular expression: {error}") from None
        if options.joint_regressor and not options.body_model:
            raise FormatError("a joint regressor needs its body model")
        if options.rate_hz is not None:
            if not options.rate_hz > 0:
                raise FormatError(f"{options.rate_hz:g} is no frame rate")
            check_rate(options.rate_hz, "--rate")
        joints = read_joint_map(options.joints) if options.joints else None
        model = None
        if options.body_model:
            model = load_body_model(options.body_model, options.joint_regressor)
        return cls(options, joints, model, pattern, options.source or out.stem)

    def subject(self, path: Path) -> str:
        if self.pattern is None:
            return path.resolve().parent.name
        match = self.pattern.search(path.as_posix())
        if match is None:
            raise FormatError(f"the subject pattern {self.pattern.pattern!r} is not in its path")
        return str(match[1] if self.pattern.groups else match[0])


def import_mocap(
    paths: Sequence[str | Path], out: str | Path, options: ImportOptions | None = None
) -> ImportReport:
    """Read motion capture and write one npz of h36m17 at 30 Hz.

    A file that cannot be taken does not stop the others: the report says why.

    Args:
        paths: .bvh, .amc with its .asf, SMPL .npz, .npz of our own format, and folders of them.
        out: the npz to be written; replaced only when the new one is complete.
        options: how to read the files.

    Raises:
        FormatError: an option is wrong, or no file could be taken.
        OSError: the output cannot be written.
    """
    out, options = Path(out), options or ImportOptions()
    if out.suffix.lower() != ".npz":
        raise FormatError(f"the output must be an .npz, not {out.name}")
    context = _Context.of(options, out)
    report = ImportReport(out)
    clips: list[Clip] = []
    about: dict[str, list[str]] = {"licence": [], "note": []}
    noted: dict[str, list[Path]] = {}
    for path, name in _files([Path(p) for p in paths], out, report):
        try:
            archive = _read(path, name, context, report)
        except FormatError as error:
            report.refused.append((path, str(error)))
            continue
        report.files += 1
        clips += archive.clips
        for note in archive.notes:
            noted.setdefault(note, []).append(path)
        for key, texts in about.items():
            text = getattr(archive, key)
            if text and text not in texts:
                texts.append(text)
    if not clips:
        reasons = "; ".join(f"{path}: {why}" for path, why in report.refused[:_SHOWN_REASONS])
        more = len(report.refused) - _SHOWN_REASONS
        reasons += f"; and {more} more files" if more > 0 else ""
        raise FormatError(f"no motion capture could be taken. {reasons or 'there are no files'}")
    for note, files in noted.items():
        others = f" and {len(files) - 1} more files" if len(files) > 1 else ""
        report.notes.append(f"{files[0]}{others}: {note}")
    licence = options.licence or "; ".join(about["licence"])
    if not licence:
        licence = "unknown"
        report.notes.append("the licence is unknown: say with --licence what the data may be for")
    # Files of one name in two folders lead to clips of one name.
    for clip, unique in zip(clips, unique_names([c.name for c in clips]), strict=True):
        clip.name = unique
    note = options.note or "; ".join(about["note"])
    write_archive(out, Archive(clips, RATE_HZ, licence, note))
    report.clips = len(clips)
    report.minutes = sum(len(c.positions) for c in clips) / RATE_HZ / 60
    report.subjects = tuple(sorted({c.subject for c in clips}))
    return report


def _files(paths: Sequence[Path], out: Path, report: ImportReport) -> Iterator[tuple[Path, str]]:
    """Files and the names of their clips. Other files are refused."""
    for path in paths:
        if path.is_dir():
            found = [
                p
                for p in sorted(path.rglob("*"))
                if p.suffix.lower() in SUFFIXES
                # Hidden files are no recordings: macOS puts '._clip.bvh' beside 'clip.bvh'.
                and not any(part.startswith(".") for part in p.relative_to(path).parts)
                and p.is_file()
                and p.resolve() != out.resolve()
            ]
            if not found:
                report.refused.append((path, f"holds no {', '.join(SUFFIXES)}"))
            for file in found:
                yield file, file.relative_to(path).with_suffix("").as_posix()
        elif not path.is_file():
            report.refused.append((path, "does not exist"))
        elif path.suffix.lower() not in SUFFIXES:
            report.refused.append((path, f"is none of {', '.join(SUFFIXES)}"))
        else:
            yield path, path.stem


def _read(path: Path, name: str, context: _Context, report: ImportReport) -> Archive:
    """The clips of one file, checked, at 30 Hz."""
    if path.suffix.lower() == ".npz" and _holds_clips(path):
        archive = read_archive(path)
        if context.pattern is not None:
            subject = context.subject(path)
            for clip in archive.clips:
                clip.subject = subject
        if context.options.source:
            for clip in archive.clips:
                clip.source = context.source
    else:
        archive = _read_motion(path, name, context)
    whole: list[Clip] = []
    for clip in archive.clips:
        try:
            whole += _pieces(clip, archive.rate_hz, report)
        except FormatError as error:
            if len(archive.clips) == 1:
                raise _with_notes(error, archive.notes) from None
            report.refused.append((path, f"clip {clip.name}: {error}"))
    if not whole:
        broken = FormatError("has no two frames on end in which all joints are known")
        raise _with_notes(broken, archive.notes)
    return Archive(whole, RATE_HZ, archive.licence, archive.note, archive.notes)


def _with_notes(error: FormatError, notes: Sequence[str]) -> FormatError:
    """The error with the reader's notes, which may say its cause."""
    return FormatError("; ".join([str(error), *notes]))


def _holds_clips(path: Path) -> bool:
    names = array_names(path)
    return "pos_mm" in names or "poses" not in names


def _read_motion(path: Path, name: str, context: _Context) -> Archive:
    """A file of one skeleton as one clip at the file's rate."""
    subject = context.subject(path)
    motion = _READERS[path.suffix.lower()](path, context)
    try:
        pose = _pose_m(motion, context)
    except FormatError as error:
        raise _with_notes(error, motion.notes) from None
    clip = Clip(name, subject, path.stem, pose, context.source)
    return Archive([clip], motion.rate_hz, note=_PLACEMENT, notes=motion.notes)


def _pose_m(motion: Motion, context: _Context) -> np.ndarray:
    """The joints of h36m17 (N, 17, 3) m, z up, the floor at z = 0."""
    if len(motion.positions) < 2:
        raise FormatError(f"has {len(motion.positions)} frames, no motion")
    options = context.options
    pose, up, _ = pose_of(motion, context.joints, options.unit, options.up)
    return put_on_floor(to_z_up(pose, up))


def _pieces(clip: Clip, rate_hz: float, report: ImportReport) -> list[Clip]:
    """A clip without gaps, jumps and far walks, at 30 Hz; in several where it has to be cut."""
    check_bones(clip.positions)
    filled = fill_gaps(clip.positions, rate_hz)
    pieces = []
    for first, after in cut(filled, rate_hz):
        for part in recentre(resample(filled[first:after], rate_hz)):
            if len(part) < 2:
                report.scraps += 1
            else:
                pieces.append(part)
    names = [clip.name] if len(pieces) == 1 else [f"{clip.name}#{i}" for i in range(len(pieces))]
    return [
        Clip(name, clip.subject, clip.action, piece, clip.source)
        for name, piece in zip(names, pieces, strict=True)
    ]


def _bvh(path: Path, context: _Context) -> Motion:
    return read_bvh(path)


def _amc(path: Path, context: _Context) -> Motion:
    return read_amc(path, rate_hz=context.options.rate_hz)


def _smpl(path: Path, context: _Context) -> Motion:
    return read_smpl(path, context.model)


_READERS = {".bvh": _bvh, ".amc": _amc, ".npz": _smpl}
