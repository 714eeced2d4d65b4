"""Motion capture for training: reading, splitting by subject, drawing windows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..io.mocap import FormatError
from ..skeletons import H36M17
from .anatomy import Offset, move_joints
from .formats.archive import RawArchive, read_arrays

#: Validation subjects by default, in all sources.
VALIDATION_SUBJECTS = frozenset({"cmu02", "cmu07", "cmu08", "cmu49"})

#: Factor on the share of drawn windows per source, over its share of the minutes. snu_walk is one
#: walking subject and a quarter of all minutes. In reactidle people stand still. g1moves was
#: reconstructed from motion of a robot. mass has a few seconds of upside-down people.
SOURCE_WEIGHTS = {"snu_walk": 0.15, "reactidle": 0.4, "g1moves": 0.5, "mass": 3.0}

#: Sources whose hips and shoulders already lie at anatomical joint centres, by file name.
ANATOMICAL_SOURCES = frozenset({"nimble", "reactidle"})

#: Offsets from the joints of a motion capture rig to anatomical joint centres. Measured by
#: `benchmarks/footage.py --differences` on two people with marker motion capture, with weights that
#: were trained on the rigs' own joints. Each hip was 17 and 19 mm too narrow, and 4 and 28 mm too
#: high. Each shoulder was 18 and 20 mm too narrow, and 12 and 13 mm too low. The values are 0.8 of
#: the mean.
RIG_OFFSETS = {"hip": Offset(out=0.03, up=-0.02), "shoulder": Offset(out=0.03, up=0.02)}

#: Range of leg lengths, hip over knee to ankle, m. A child of 1 m has 0.42 m, a man of 2.3 m 1.25.
LEG_LENGTHS_M = (0.35, 1.4)


class MocapError(ValueError):
    """Motion capture is missing, broken or has another format."""


def to_anatomical_centres(positions: np.ndarray) -> np.ndarray:
    """Move the hips and shoulders of a motion capture rig to anatomical joint centres.

    Args:
        positions: (N, 17, 3) m, h36m17, of people of one body size.

    Returns:
        (N, 17, 3) m. The pelvis is the middle of the moved hips.
    """
    return move_joints(positions, RIG_OFFSETS)


@dataclass
class MotionClips:
    """Clips in one array.

    Attributes:
        positions: (N, 17, 3) m, z up, layout h36m17, joints at anatomical centres. A clip that
            overlaps another has frames of its own.
        starts: (C,) index of each clip's first frame.
        lengths: (C,) number of frames.
        rates: (C,) frames per second.
        weights: (C,) relative probability that a window comes from the clip.
        subjects, sources, actions: (C,) names.
        left_out: number of clips of fewer than two frames, which show no motion.
    """

    positions: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    rates: np.ndarray
    weights: np.ndarray
    subjects: np.ndarray
    sources: np.ndarray
    actions: np.ndarray
    left_out: int = 0

    def of(self, subjects: Collection[str]) -> MotionClips:
        """The clips of the given subjects."""
        kept = np.isin(self.subjects, sorted(subjects))
        columns = ("starts", "lengths", "rates", "weights", "subjects", "sources", "actions")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})

    @property
    def minutes(self) -> float:
        """Duration of all clips, minutes."""
        return float((self.lengths / self.rates).sum() / 60)


def _read(path: Path) -> RawArchive:
    try:
        file = read_arrays(path)
    except FormatError as error:
        raise MocapError(f"{path} {error}") from None
    _check_positions(path, file.pos_mm)
    return file


def _check_positions(path: Path, positions: np.ndarray) -> None:
    """Refuse values that are not finite, and units other than millimetres."""
    if not np.isfinite(positions).all():
        frame = int(np.flatnonzero(~np.isfinite(positions).all(axis=(1, 2)))[0])
        raise MocapError(f"{path}: frame {frame} holds values that are not finite")
    if not len(positions):
        return
    some = positions[:: max(1, len(positions) // 1000)].astype(np.float64) / 1000.0
    hip, knee, ankle = (H36M17.index(f"left_{j}") for j in ("hip", "knee", "ankle"))
    thigh, shank = some[:, knee] - some[:, hip], some[:, ankle] - some[:, knee]
    leg = float(np.median(np.linalg.norm(thigh, axis=-1) + np.linalg.norm(shank, axis=-1)))
    low, high = LEG_LENGTHS_M
    if not low <= leg <= high:
        raise MocapError(
            f"{path}: legs are {leg:.3g} m long where a person's are {low:g} to {high:g}; pos_mm "
            "must be in millimetres"
        )


def held_back(
    subjects: Collection[str], asked: Collection[str] = (), trained: Collection[str] = ()
) -> frozenset[str]:
    """The subjects for validation.

    Args:
        subjects: all subjects.
        asked: the user's choice. Without one: those of `VALIDATION_SUBJECTS` that exist, or every
            eighth subject by name.
        trained: subjects that the weights were trained on before, which cannot be held back.

    Raises:
        MocapError: one of `asked` does not exist or is one of `trained`, or training or validation
            would have no subject.
    """
    everyone = set(subjects)
    unseen = everyone - set(trained)
    absent = sorted(set(asked) - everyone)
    if absent:
        raise MocapError(
            f"no clip of the validation subjects {', '.join(absent)}; there are "
            f"{', '.join(sorted(everyone)[:20])}{', ...' if len(everyone) > 20 else ''}"
        )
    seen = sorted(set(asked) - unseen if asked else everyone - unseen)
    if seen and (asked or not unseen):
        others = ", ".join(sorted(unseen)[:20])
        remedy = f"hold others back: {others}" if others else "add motion of other subjects"
        raise MocapError(
            f"the weights were trained before on {', '.join(seen[:20])}, so that these cannot be "
            f"held back; {remedy}, or begin from other weights"
        )
    chosen = frozenset(asked) or VALIDATION_SUBJECTS & unseen
    if not chosen and len(everyone) > 1:
        chosen = frozenset(sorted(unseen)[::8])
    if not chosen or chosen == everyone:
        raise MocapError(
            "training and validation must not share subjects, so that at least two are needed; "
            f"there {'is' if len(everyone) == 1 else 'are'} {', '.join(sorted(everyone)) or 'none'}"
        )
    return chosen


def load_mocap(
    source: str | Path, split: str = "all", validation: Collection[str] = ()
) -> MotionClips:
    """Read the npz files of a folder, or one file.

    Args:
        source: files hold pos_mm (N, 17, 3) millimetres, z up, fps, and starts, lengths, subject
            and, if known, action per clip; `emf-ros mocap import` writes them. Clips of one
            subject may overlap.
        split: 'train', 'validation' or 'all'. The split is by subject, never by clip.
        validation: see `held_back`.

    Raises:
        MocapError: there is no file, one does not have that format, or the split has no clip.
    """
    if split not in ("train", "validation", "all"):
        raise ValueError(f"split must be 'train', 'validation' or 'all', not {split!r}")
    source = Path(source)
    paths = [source] if source.is_file() else sorted(source.glob("*.npz"))
    if not paths:
        raise MocapError(f"no .npz motion capture in {source}")
    files = [_read(path) for path in paths]
    kept = {s for f in files for s, n in zip(f.subject, f.lengths, strict=True) if n >= 2}
    if not kept:
        raise MocapError(f"{source} has no clip of two frames or more")
    back = frozenset() if split == "all" else held_back(kept, validation)
    columns: dict[str, list] = {}
    positions = np.concatenate([f.pos_mm for f in files]).astype(np.float32) / 1000.0
    own: list[np.ndarray] = []
    offset, end, left_out = 0, len(positions), 0
    for path, file in zip(paths, files, strict=True):
        moves = path.stem not in ANATOMICAL_SOURCES
        used = np.zeros(len(file.pos_mm), dtype=bool)
        clips = zip(
            file.starts.tolist(), file.lengths.tolist(), file.subject, file.action, strict=True
        )
        for start, length, subject, action in clips:
            if split != "all" and (subject in back) != (split == "validation"):
                continue
            if length < 2:
                left_out += 1
                continue
            first, frames = offset + start, slice(start, start + length)
            if moves:
                # From the file: frames that two clips share must not be moved twice.
                metres = file.pos_mm[frames].astype(np.float32) / 1000.0
                moved = to_anatomical_centres(metres)
                if used[frames].any():
                    # The shift depends on all frames of a clip, so that it needs its own.
                    own.append(moved)
                    first, end = end, end + length
                else:
                    positions[first : first + length] = moved
                    used[frames] = True
            row = {
                "starts": first,
                "lengths": length,
                "rates": file.rate_hz,
                "weights": length / file.rate_hz * SOURCE_WEIGHTS.get(path.stem, 1.0),
                "subjects": subject,
                "sources": path.stem,
                "actions": action,
            }
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
        offset += len(file.pos_mm)
    if own:
        positions = np.concatenate([positions, *own])
    return MotionClips(positions, **{k: np.array(v) for k, v in columns.items()}, left_out=left_out)


class WindowSampler:
    """Draws windows of motion at the model's rate, on the training device.

    Args:
        clips: where from.
        rate_hz: frames a second of the windows.
        device: of what `draw` returns.
    """

    def __init__(self, clips: MotionClips, rate_hz: float, device: torch.device) -> None:
        self.positions = torch.from_numpy(clips.positions).to(device)
        self.starts = torch.from_numpy(clips.starts).to(device)
        # Clips too short for the window even when played slowest are replicated at their end.
        self.lengths = torch.from_numpy(clips.lengths).to(device)
        self.steps = torch.from_numpy(clips.rates / rate_hz).to(device, torch.float32)
        share = np.cumsum(clips.weights / clips.weights.sum())
        self.cumulative = torch.from_numpy(share).to(device)
        self.device = device

    def pick(self, batch: int, generator: torch.Generator) -> Tensor:
        """(B,) indices of clips, drawn by their weights."""
        drawn = torch.rand(batch, generator=generator, device=self.device)
        pick = torch.searchsorted(self.cumulative, drawn.to(self.cumulative.dtype))
        return pick.clamp(max=len(self.starts) - 1)

    def windows(
        self, pick: Tensor, frames: int, generator: torch.Generator, speed: tuple[float, float]
    ) -> Tensor:
        """One window of each of the clips `pick` (B,): (B, T, 17, 3) m, z up.

        It begins at a random time and is played at a random speed from `speed`, frames
        interpolated linearly.
        """

        def uniform(low: float, high: float) -> Tensor:
            drawn = torch.rand(len(pick), generator=generator, device=self.device)
            return low + (high - low) * drawn

        last = (self.lengths[pick] - 1).to(torch.float32)
        step = self.steps[pick] * uniform(*speed)
        begin = uniform(0, 1) * (last - step * (frames - 1)).clamp(min=0)
        time = begin[:, None] + step[:, None] * torch.arange(frames, device=self.device)
        time = time.minimum(last[:, None])
        low = time.floor()
        part = (time - low)[..., None, None]
        index = self.starts[pick][:, None] + low.long()
        after = self.starts[pick][:, None] + (low + 1).minimum(last[:, None]).long()
        return (1 - part) * self.positions[index] + part * self.positions[after]

    def draw(
        self, batch: int, frames: int, generator: torch.Generator, speed: tuple[float, float]
    ) -> Tensor:
        """(B, T, 17, 3) m, z up: windows of clips drawn by their weights, see `windows`."""
        return self.windows(self.pick(batch, generator), frames, generator, speed)
