"""Motion capture as the trainer wants it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..skeletons import H36M17

#: Subjects that are never trained on, in whichever source they appear.
VALIDATION_SUBJECTS = frozenset({"cmu02", "cmu07", "cmu08", "cmu49"})

#: Share of the drawn windows per source over its share of the minutes. snu_walk is one subject
#: walking for half of all the time there is, reactidle is people who stand still.
SOURCE_WEIGHTS = {"snu_walk": 0.15, "reactidle": 0.4}


class MocapError(ValueError):
    """A file that is no motion capture of the expected format."""


@dataclass
class MotionClips:
    """Clips of one frame rate, one after another in one array.

    Attributes:
        positions: (N, 17, 3) m, z up, layout h36m17.
        starts, lengths: (C,) the clips' first frames and numbers of frames.
        weights: (C,) how likely a window comes from the clip.
        subjects, sources, actions: (C,) names.
        rate_hz: frames a second.
    """

    positions: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    weights: np.ndarray
    subjects: np.ndarray
    sources: np.ndarray
    actions: np.ndarray
    rate_hz: float


def load_mocap(folder: str | Path, split: str) -> MotionClips:
    """Read every npz of a folder.

    Args:
        folder: holds files with pos_mm int16 (N, 17, 3), fps, and starts, lengths, subject, source
            and action per clip.
        split: 'train' or 'validation', by subject.

    Raises:
        MocapError: there is no file, or one does not have that format.
    """
    if split not in ("train", "validation"):
        raise ValueError(f"split must be 'train' or 'validation', not {split!r}")
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise MocapError(f"no .npz motion capture in {folder}")
    parts: list[np.ndarray] = []
    columns: dict[str, list] = {k: [] for k in ("start", "length", "subject", "source", "action")}
    rates = set()
    offset = 0
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            missing = {"pos_mm", "starts", "lengths", "subject", "fps"} - set(data.files)
            if missing:
                raise MocapError(f"{path} has no {', '.join(sorted(missing))}")
            positions = data["pos_mm"]
            if positions.ndim != 3 or positions.shape[1:] != (len(H36M17), 3):
                raise MocapError(f"{path}: pos_mm is {positions.shape}, not (N, 17, 3)")
            rates.add(float(data["fps"]))
            for i, subject in enumerate(data["subject"]):
                if (str(subject) in VALIDATION_SUBJECTS) != (split == "validation"):
                    continue
                columns["start"].append(offset + int(data["starts"][i]))
                columns["length"].append(int(data["lengths"][i]))
                columns["subject"].append(str(subject))
                columns["source"].append(path.stem)
                columns["action"].append(str(data["action"][i]) if "action" in data.files else "")
            parts.append(positions)
            offset += len(positions)
    if len(rates) != 1:
        raise MocapError(f"the files of {folder} have different frame rates: {sorted(rates)}")
    if not columns["start"]:
        raise MocapError(f"{folder} has no clip for the {split} split")
    lengths = np.array(columns["length"])
    factor = np.array([SOURCE_WEIGHTS.get(s, 1.0) for s in columns["source"]])
    return MotionClips(
        np.concatenate(parts).astype(np.float32) / 1000.0,
        np.array(columns["start"]),
        lengths,
        lengths * factor,
        np.array(columns["subject"]),
        np.array(columns["source"]),
        np.array(columns["action"]),
        rates.pop(),
    )


class WindowSampler:
    """Draws windows of motion at the model's rate, on the training device.

    Args:
        clips: where from.
        rate_hz: frames a second of the windows.
        device: of what `draw` returns.
    """

    def __init__(self, clips: MotionClips, rate_hz: float, device: torch.device) -> None:
        self.step = clips.rate_hz / rate_hz
        # Clips too short for the window even when played slowest are replicated at their end.
        self.positions = torch.from_numpy(clips.positions).to(device)
        self.starts = torch.from_numpy(clips.starts).to(device)
        self.lengths = torch.from_numpy(clips.lengths).to(device)
        share = np.cumsum(clips.weights / clips.weights.sum())
        self.cumulative = torch.from_numpy(share).to(device)
        self.device = device

    def draw(
        self, batch: int, frames: int, generator: torch.Generator, speed: tuple[float, float]
    ) -> Tensor:
        """(B, T, 17, 3) m, z up; played at a random speed, frames interpolated linearly."""

        def uniform(low: float, high: float) -> Tensor:
            drawn = torch.rand(batch, generator=generator, device=self.device)
            return low + (high - low) * drawn

        pick = torch.searchsorted(self.cumulative, uniform(0, 1).to(self.cumulative.dtype))
        pick = pick.clamp(max=len(self.starts) - 1)
        last = (self.lengths[pick] - 1).to(torch.float32)
        step = self.step * uniform(*speed)
        begin = uniform(0, 1) * (last - step * (frames - 1)).clamp(min=0)
        time = begin[:, None] + step[:, None] * torch.arange(frames, device=self.device)
        time = time.minimum(last[:, None])
        low = time.floor()
        part = (time - low)[..., None, None]
        index = self.starts[pick][:, None] + low.long()
        after = self.starts[pick][:, None] + (low + 1).minimum(last[:, None]).long()
        return (1 - part) * self.positions[index] + part * self.positions[after]
