"""Evaluation of a lifter on subjects that it was not trained on."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..lift.root import solve_root
from ..model.checkpoint import load_weights
from ..model.lifter import Lifter
from ..model.presets import LifterConfig
from ..runtime.torch import torch_device
from ..skeletons import H36M17
from .detector_errors import DetectorErrors, Failure
from .metrics import acceleration_error, mpjpe, mpjve, n_mpjpe, p_mpjpe, trunk_frame
from .mocap import MotionClips, WindowSampler, held_back, load_mocap
from .synthesis import CameraRanges, Synthesizer, TrainingBatch
from .training_notes import TrainingNotes

#: Lags that are reported, frames behind the newest.
LAGS = (0, 1, 2, 4, 8)
#: Seed of the windows and of the detector's errors.
SEED = 20260101
#: Number of windows per batch.
_CHUNK = 64


class EvaluationError(ValueError):
    """An evaluation is not possible; the message says why."""


def keypoint_kinds() -> dict[str, DetectorErrors | None]:
    """Errors by kind of 2D keypoints.

    'exact' has none, 'noisy' those of the simulated detector. 'dropouts' also loses each limb in
    30 % of the frames.
    """
    errors = DetectorErrors()
    return {
        "exact": None,
        "noisy": errors,
        "dropouts": replace(errors, limb_lost=Failure(0.3, 8.0)),
    }


def lags_of(frames: int) -> tuple[int, ...]:
    """The lags that are reported for windows of a number of frames; the last is the centre's."""
    centre = frames // 2
    return (*(lag for lag in LAGS if lag < centre), centre)


def trunk_mean_pose(clips: MotionClips, most: int = 20000) -> np.ndarray:
    """(17, 3) m, mean of the joints in the trunk's frame, see `trunk_frame`.

    Clips have their weights, as in training.
    """
    rng = np.random.default_rng(SEED)
    share = clips.weights / clips.weights.sum()
    pick = rng.choice(len(share), min(most, int(clips.lengths.sum())), p=share)
    frames = clips.starts[pick] + (rng.random(len(pick)) * clips.lengths[pick]).astype(int)
    poses = torch.from_numpy(clips.positions[frames]).double()
    relative = poses - poses[:, :1]
    own = torch.einsum("bij,bkj->bki", trunk_frame(relative), relative)
    return own.mean(dim=0).numpy()


def held_back_batches(
    clips: MotionClips,
    size: LifterConfig,
    device: torch.device,
    windows: int,
    errors: DetectorErrors | None,
    seed: int,
    cameras: CameraRanges | None = None,
) -> Iterator[tuple[np.ndarray, TrainingBatch]]:
    """Random windows, equal at each call, in batches of 64 until there are `windows`.

    Body scale and speed are those of the recording. The other ranges are those of `cameras`, by
    default the standard ones.

    Yields:
        (64,) indices of the clips, and the batch.
    """
    cameras = replace(cameras or CameraRanges(), body_scale=(1.0, 1.0), speed=(1.0, 1.0))
    synthesizer = Synthesizer(device, seed, cameras, errors)
    sampler = WindowSampler(clips, size.rate_hz, device)
    for _ in range(0, windows, _CHUNK):
        pick = sampler.pick(_CHUNK, synthesizer.generator)
        motion = sampler.windows(pick, size.frames, synthesizer.generator, cameras.speed)
        yield pick.cpu().numpy(), synthesizer.batch(motion)


class _Columns:
    """Named values of many windows, collected batch by batch."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, values: Tensor) -> None:
        self._parts.setdefault(name, []).append(values.detach().double().cpu().numpy())

    def __getitem__(self, name: str) -> np.ndarray:
        return np.concatenate(self._parts[name])

    def mean(self, name: str) -> float:
        return float(self[name].mean())


def evaluate_file(
    weights: str | Path,
    mocap: str | Path,
    subjects: Collection[str] = (),
    trained_too: bool = False,
    windows: int = 1536,
    device: str = "auto",
) -> dict[str, Any]:
    """Evaluate a weights file on motion capture of subjects outside its training.

    Args:
        weights: a .safetensors file; its notes name the training subjects.
        mocap: folder of npz files, or one file.
        subjects: subjects to evaluate on. Empty: all outside the training or, without notes, those
            that `mocap.held_back` gives.
        trained_too: whether training subjects are allowed.
        windows: number of windows per kind of keypoints.
        device: see `runtime.torch.torch_device`.

    Raises:
        WeightsError, MocapError: a file cannot be read.
        EvaluationError: no clip is left, or a requested subject is a training subject.
    """
    if windows < 1:
        raise EvaluationError(f"{windows} windows are none")
    where = torch_device(device, EvaluationError)
    lifter = load_weights(weights)
    notes = TrainingNotes.of_file(weights)
    trained = frozenset() if trained_too else notes.subjects
    everyone = load_mocap(mocap)
    there = set(everyone.subjects.tolist())
    absent = sorted(set(subjects) - there)
    if absent:
        raise EvaluationError(f"{mocap} has no clip of {', '.join(absent)}")
    known = sorted(set(subjects) & trained)
    if known:
        raise EvaluationError(
            f"{weights} was trained on {', '.join(known)}; --trained-too evaluates on them all the "
            "same"
        )
    chosen = set(subjects) or (there - trained if notes.subjects else set(held_back(there)))
    if not chosen:
        raise EvaluationError(
            f"{weights} was trained on every subject of {mocap}: {', '.join(sorted(there))}"
        )
    clips = everyone.of(chosen)
    mean_pose = notes.mean_pose_m
    if mean_pose is None and there - chosen:
        mean_pose = trunk_mean_pose(everyone.of(there - chosen))
    report = evaluate(lifter.to(where), clips, where, windows, mean_pose=mean_pose)
    return {
        "weights": str(weights),
        "mocap": str(mocap),
        "training_known": notes.all_known,
        **report,
    }


@torch.inference_mode()
def evaluate(
    lifter: Lifter,
    clips: MotionClips,
    device: torch.device,
    windows: int = 768,
    kinds: tuple[str, ...] = ("exact", "noisy", "dropouts"),
    mean_pose: np.ndarray | None = None,
    seed: int = SEED,
) -> dict[str, Any]:
    """Errors on random windows, equal at each call.

    Body scale and speed are those of the recording. Cameras and detector errors are those of the
    training.

    Args:
        lifter: on `device`, in evaluation mode.
        clips: of subjects that it was not trained on.
        device: where it runs.
        windows: number of windows, rounded up to a multiple of 64.
        kinds: of keypoints, see `keypoint_kinds`.
        mean_pose: (17, 3) m, see `trunk_mean_pose`. It is the baseline: the mean pose of the
            training, in the true orientation of the trunk.
        seed: of the windows.

    Returns:
        a report that JSON can hold. Per kind: errors per lag; per joint and per action at lag 0;
        over the window; of the root at lag 0; and the calibration of `stddev`.
    """
    c = lifter.config
    windows = -(-windows // _CHUNK) * _CHUNK
    report: dict[str, Any] = {
        "windows": windows,
        "subjects": sorted(set(clips.subjects.tolist())),
        "frames": c.frames,
        "rate_hz": c.rate_hz,
    }
    for kind in kinds:
        columns, actions = _Columns(), []
        errors = keypoint_kinds()[kind]
        for pick, batch in held_back_batches(clips, c, device, windows, errors, seed):
            actions += clips.actions[pick].tolist()
            predicted, log_scale = lifter(batch.keypoints)
            _add_positions(columns, predicted, batch.targets, c.frames, c.rate_hz)
            _add_root(columns, predicted, log_scale, batch)
            _add_confidence(columns, predicted, log_scale, batch.targets)
            if mean_pose is not None:
                _add_baseline(columns, batch.targets[:, -1], mean_pose)
        report[kind] = _summary(columns, np.array(actions), c.frames)
    return report


def _add_positions(
    columns: _Columns, predicted: Tensor, truth: Tensor, frames: int, rate_hz: float
) -> None:
    for lag in lags_of(frames):
        now, then = predicted[:, frames - 1 - lag], truth[:, frames - 1 - lag]
        columns.add(f"mpjpe@{lag}", mpjpe(now, then))
        columns.add(f"p_mpjpe@{lag}", p_mpjpe(now, then))
        columns.add(f"n_mpjpe@{lag}", n_mpjpe(now, then))
    columns.add("joint", (predicted - truth)[:, -1].norm(dim=-1))
    columns.add("mpjve", mpjve(predicted, truth))
    columns.add("acceleration", acceleration_error(predicted, truth, rate_hz))


def laplace_stddev(log_scale: Tensor) -> Tensor:
    """Standard deviation along each axis of a Laplace distribution of the given log scale, m."""
    return 2**0.5 * log_scale.exp()


def _add_root(
    columns: _Columns, predicted: Tensor, log_scale: Tensor, batch: TrainingBatch
) -> None:
    """Root error over distance, for the predicted pose, and for the pose scaled to the true size.

    The second is the error with a known height of the person.
    """
    newest, truth = predicted[:, -1], batch.joints[:, -1, 0]
    size = _bone_sum(batch.targets[:, -1]) / _bone_sum(newest).clamp(min=1e-6)
    for name, pose in (("root", newest), ("root_height", newest * size[:, None, None])):
        joints = torch.einsum("bij,bkj->bki", batch.rotation.mT, pose)
        solved = solve_root(
            joints, batch.rays[:, -1], batch.scores[:, -1], stddev=laplace_stddev(log_scale[:, -1])
        )
        share = (solved.root - truth).norm(dim=-1) / truth.norm(dim=-1)
        columns.add(name, torch.where(solved.valid, share, torch.nan))


def _bone_sum(pose: Tensor) -> Tensor:
    """(B, 17, 3) -> (B,), sum of the bone lengths."""
    ends = torch.tensor(H36M17.edges, device=pose.device)
    return (pose[:, ends[:, 0]] - pose[:, ends[:, 1]]).norm(dim=-1).sum(dim=-1)


def _add_confidence(columns: _Columns, predicted: Tensor, log_scale: Tensor, truth: Tensor) -> None:
    """`stddev` and errors at the newest frame, without the pelvis, which is the origin."""
    columns.add("stddev", laplace_stddev(log_scale[:, -1, 1:]).expand(3, -1, -1).movedim(0, -1))
    columns.add("off", (predicted - truth)[:, -1, 1:].abs())


def _add_baseline(columns: _Columns, truth: Tensor, mean_pose: np.ndarray) -> None:
    mean = torch.from_numpy(mean_pose).to(truth)
    turned = torch.einsum("bji,kj->bki", trunk_frame(truth), mean)
    columns.add("mean_pose", mpjpe(turned, truth))
    columns.add("p_mean_pose", p_mpjpe(turned, truth))


def _summary(columns: _Columns, actions: np.ndarray, frames: int) -> dict[str, Any]:
    def mm(name: str) -> float:
        return 1000 * columns.mean(name)

    newest, aligned = columns["mpjpe@0"], columns["p_mpjpe@0"]
    out: dict[str, Any] = {
        "lag": {
            str(lag): {f"{m}_mm": mm(f"{m}@{lag}") for m in ("mpjpe", "p_mpjpe", "n_mpjpe")}
            for lag in lags_of(frames)
        },
        "joint_mpjpe_mm": dict(
            zip(H36M17.joints, (1000 * columns["joint"].mean(axis=0)).tolist(), strict=True)
        ),
        "action": {
            str(action): {
                "windows": int((actions == action).sum()),
                "mpjpe_mm": float(1000 * newest[actions == action].mean()),
                "p_mpjpe_mm": float(1000 * aligned[actions == action].mean()),
            }
            for action in np.unique(actions)
        },
        "mpjve_mm_per_frame": mm("mpjve"),
        "acceleration_error_m_s2": columns.mean("acceleration"),
        "root": _root_summary(columns["root"]),
        "root_of_known_height": _root_summary(columns["root_height"]),
        "confidence": _confidence_summary(columns["stddev"], columns["off"]),
    }
    try:
        out["baseline_mean_pose"] = {"mpjpe_mm": mm("mean_pose"), "p_mpjpe_mm": mm("p_mean_pose")}
    except KeyError:
        out["baseline_mean_pose"] = None
    return out


def _root_summary(shares: np.ndarray) -> dict[str, float | None]:
    """Summary of root errors as shares of the distance; NaN where no root was solved."""
    solved = shares[np.isfinite(shares)]
    middle, high = np.percentile(solved, (50, 90)).tolist() if len(solved) else (None, None)
    return {"median": middle, "p90": high, "solved": len(solved) / len(shares)}


def _confidence_summary(stddev: np.ndarray, off: np.ndarray) -> dict[str, Any]:
    """Calibration of `stddev` (N, 16, 3) against the components of the errors (N, 16, 3).

    The reliability curve has ten bins of equal size, sorted by `stddev`.
    """
    order = np.argsort(stddev.ravel(), kind="stable")
    bins = np.array_split(order, 10)
    s, e = stddev.ravel(), off.ravel()
    joints = [j for i, j in enumerate(H36M17.joints) if i]
    return {
        "inside_one_stddev": float((e < s).mean()),
        "inside_two_stddev": float((e < 2 * s).mean()),
        "inside_one_stddev_per_joint": dict(
            zip(joints, (off < stddev).mean(axis=(0, 2)).tolist(), strict=True)
        ),
        "reliability": [
            {
                "stddev_mm": float(1000 * np.median(s[b])),
                "error_68_mm": float(1000 * np.quantile(e[b], 0.6827)),
                "error_rms_mm": float(1000 * np.sqrt((e[b] ** 2).mean())),
            }
            for b in bins
        ],
    }
