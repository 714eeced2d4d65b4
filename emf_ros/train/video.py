"""Weights on real video, beside the 3D points that MediaPipe gives itself.

With the truth of a motion capture the errors are the usual ones. Without it the bodies still have
to be bodies: bones keep their lengths, left stays left, and joints do not shake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..camera import Camera
from ..detect.base import Detection
from ..lift.engine import Engine
from ..lift.offline import lift_video
from ..skeletons import BLAZEPOSE33, H36M17, conversion_matrix
from ..video import FrameSource
from .evaluate import EvaluationError
from .metrics import mpjpe, p_mpjpe

OURS, MEDIAPIPE = "lifter", "MediaPipe world landmarks"

#: The hips' line cannot turn by more from one frame to the next, degrees.
FLIP_DEG = 90.0
#: People who are seen in fewer frames than this tell nothing of constancy.
FEWEST_FRAMES = 15
#: Poses that differ by more after alignment are of somebody else.
SAME_PERSON_M = 0.25


@dataclass
class Truth:
    """Joints of one person by an independent measurement.

    Attributes:
        stamp: (N,) s from the video's beginning, rising.
        joints: (N, 17, 3) m, h36m17, in the camera's optical frame or in any other that stands
            still: then only P-MPJPE and accelerations mean something.
    """

    stamp: np.ndarray
    joints: np.ndarray

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        """An npz with `stamp` and `joints`.

        Raises:
            EvaluationError: it does not hold that.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                stamp, joints = (np.asarray(data[k], np.float64) for k in ("stamp", "joints"))
        except (OSError, ValueError, KeyError) as error:
            raise EvaluationError(
                f"{path} is no npz with stamp (N,) and joints (N, 17, 3): {error}"
            ) from None
        if stamp.ndim != 1 or joints.shape != (len(stamp), len(H36M17), 3):
            raise EvaluationError(
                f"{path}: stamp is {stamp.shape} and joints {joints.shape}, not (N,) and (N, 17, 3)"
            )
        if not np.isfinite(stamp).all() or (np.diff(stamp) <= 0).any():
            raise EvaluationError(f"{path}: the stamps do not rise")
        return cls(stamp, joints)

    def at(self, stamps: np.ndarray, within_s: float) -> np.ndarray:
        """(M, 17, 3) m at the nearest stamps; NaN where none is near enough."""
        after = np.searchsorted(self.stamp, stamps).clip(1, max(1, len(self.stamp) - 1))
        near = after - (stamps - self.stamp[after - 1] < self.stamp[after] - stamps)
        out = self.joints[near].copy()
        out[np.abs(self.stamp[near] - stamps) > within_s] = np.nan
        return out


def evaluate_video(
    source: FrameSource,
    camera: Camera,
    engine: Engine,
    lag: int = 0,
    people: int = 2,
    variant: str = "full",
    truth: Truth | None = None,
) -> dict[str, Any]:
    """Lift a video and compare, on the frames where both have a pose.

    With truth the person is the one who is nearest to it after alignment, whichever ids it has.

    Returns:
        per method a dict of figures, see `_figures`.

    Raises:
        EvaluationError: nobody was in sight for long enough.
        VideoError: from reading, or the detector cannot be had.
    """
    matrix = conversion_matrix(BLAZEPOSE33, H36M17)
    worlds: dict[tuple[int, int], np.ndarray] = {}

    def watch(frame: int, found: list[tuple[int, Detection]]) -> None:
        for track_id, detection in found:
            if detection.world is not None:
                worlds[frame, track_id] = matrix @ detection.world

    rate_hz = source.rate_hz
    recording, _ = lift_video(source, camera, engine, lag, people, variant, watch=watch)
    tracks: list[_Track] = []
    for track_id in np.unique(recording.track_id):
        rows = [
            row
            for row in np.flatnonzero(recording.track_id == track_id)
            if (int(recording.frame[row]), int(track_id)) in worlds
            and np.isfinite(recording.joints_3d[row]).all()
        ]
        if len(rows) < FEWEST_FRAMES:
            continue
        frames = recording.frame[rows].astype(int)
        poses = {
            OURS: recording.joints_3d[rows].astype(np.float64),
            MEDIAPIPE: np.stack([worlds[f, int(track_id)] for f in frames]),
        }
        relative = {name: p - p[:, :1] for name, p in poses.items()}
        true = None
        if truth is not None:
            true = truth.at(recording.stamp[rows], 0.5 / rate_hz)
        tracks.append(_Track(frames, relative, true))
    if truth is not None:
        tracks = _of_the_truth(tracks)
    if not tracks:
        raise EvaluationError(
            f"nobody was lifted in {FEWEST_FRAMES} frames or more"
            + ("" if truth is None else " where there is truth")
        )
    return {
        "frames": sum(len(t.frames) for t in tracks),
        "people": len(tracks),
        "rate_hz": rate_hz,
        **{name: _figures(tracks, name, rate_hz) for name in (OURS, MEDIAPIPE)},
    }


@dataclass
class _Track:
    """One person: (N,) frames, (N, 17, 3) m per method relative to the pelvis, and the truth."""

    frames: np.ndarray
    poses: dict[str, np.ndarray]
    truth: np.ndarray | None

    def runs(self) -> list[np.ndarray]:
        """Indices of frames that follow one another without a gap."""
        return np.split(np.arange(len(self.frames)), np.flatnonzero(np.diff(self.frames) != 1) + 1)

    def distance_to_truth(self) -> float:
        """Median P-MPJPE, m, of the method that is nearer; infinite where there is little truth."""
        assert self.truth is not None
        known = np.isfinite(self.truth).all(axis=(1, 2))
        if known.sum() < FEWEST_FRAMES:
            return np.inf
        truth = torch.from_numpy(self.truth[known])
        return min(
            float(p_mpjpe(torch.from_numpy(p[known]), truth).median()) for p in self.poses.values()
        )


def _of_the_truth(tracks: list[_Track]) -> list[_Track]:
    """The person of the truth under whichever ids: the nearest track, and others that are near it
    and were never in sight together with one already taken."""
    taken: list[_Track] = []
    seen: set[int] = set()
    for track in sorted(tracks, key=_Track.distance_to_truth):
        frames = set(track.frames.tolist())
        if track.distance_to_truth() < SAME_PERSON_M and not frames & seen:
            taken.append(track)
            seen |= frames
    return taken


def _figures(tracks: list[_Track], name: str, rate_hz: float) -> dict[str, float | None]:
    """Of all people together:

    - bone_variation: standard deviation of the bones' lengths over their mean, mean over bones;
    - acceleration_m_s2: mean size of the joints' accelerations, relative to the pelvis;
    - flips_a_minute: turns of the hips' line by more than FLIP_DEG from one frame to the next;
    - mpjpe_mm, p_mpjpe_mm, acceleration_error_m_s2: against the truth, None without.
    """
    ends = np.array(H36M17.edges)
    variation, acceleration, flips, pairs = [], [], 0, 0
    errors: dict[str, list[np.ndarray]] = {"mpjpe": [], "p_mpjpe": [], "acceleration": []}
    for track in tracks:
        pose = track.poses[name]
        lengths = np.linalg.norm(pose[:, ends[:, 0]] - pose[:, ends[:, 1]], axis=-1)
        variation.append((lengths.std(axis=0) / lengths.mean(axis=0)).mean())
        for run in track.runs():
            second = np.diff(pose[run], n=2, axis=0) * rate_hz**2
            acceleration.append(np.linalg.norm(second[:, 1:], axis=-1).ravel())
            hips = pose[run, H36M17.index("left_hip")] - pose[run, H36M17.index("right_hip")]
            unit = hips / np.linalg.norm(hips, axis=-1, keepdims=True).clip(1e-6)
            turned = (unit[1:] * unit[:-1]).sum(axis=-1)
            flips += int((turned < np.cos(np.deg2rad(FLIP_DEG))).sum())
            pairs += len(turned)
            if track.truth is not None:
                truth = track.truth[run] - track.truth[run][:, :1]
                wrong = np.diff(pose[run] - truth, n=2, axis=0) * rate_hz**2
                errors["acceleration"].append(np.linalg.norm(wrong, axis=-1).mean(axis=-1))
        if track.truth is not None:
            known = np.isfinite(track.truth).all(axis=(1, 2))
            a = torch.from_numpy(pose[known])
            b = torch.from_numpy(track.truth[known] - track.truth[known][:, :1])
            errors["mpjpe"].append(mpjpe(a, b).numpy())
            errors["p_mpjpe"].append(p_mpjpe(a, b).numpy())

    def mean(parts: list[np.ndarray], factor: float = 1.0) -> float | None:
        values = np.concatenate(parts) if parts else np.array([])
        values = values[np.isfinite(values)]
        return float(factor * values.mean()) if len(values) else None

    return {
        "bone_variation": float(np.mean(variation)),
        "acceleration_m_s2": mean(acceleration),
        "flips_a_minute": flips / pairs * rate_hz * 60 if pairs else None,
        "mpjpe_mm": mean(errors["mpjpe"], 1000),
        "p_mpjpe_mm": mean(errors["p_mpjpe"], 1000),
        "acceleration_error_m_s2": mean(errors["acceleration"]),
    }


def video_table(report: dict[str, Any]) -> Iterator[str]:
    """Lines of Markdown of a report of `evaluate_video`."""
    rows = (
        ("MPJPE, mm", "mpjpe_mm", 1.0, ".1f"),
        ("P-MPJPE, mm", "p_mpjpe_mm", 1.0, ".1f"),
        ("acceleration error, m/s²", "acceleration_error_m_s2", 1.0, ".1f"),
        ("bone lengths vary by, %", "bone_variation", 100.0, ".1f"),
        ("acceleration, m/s²", "acceleration_m_s2", 1.0, ".1f"),
        ("left/right flips a minute", "flips_a_minute", 1.0, ".1f"),
    )
    yield f"| {report['frames']} poses of {report['people']} people | {OURS} | {MEDIAPIPE} |"
    yield "| --- | --- | --- |"
    for title, key, factor, form in rows:
        values = [report[name][key] for name in (OURS, MEDIAPIPE)]
        if any(v is not None for v in values):
            cells = ["-" if v is None else format(factor * v, form) for v in values]
            yield f"| {title} | {' | '.join(cells)} |"
