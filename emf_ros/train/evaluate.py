"""How good a lifter is on subjects that it has never seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..lift.root import solve_root
from ..model.lifter import Lifter
from .metrics import acceleration_error, mpjpe, mpjve, n_mpjpe, p_mpjpe
from .mocap import MotionClips, WindowSampler
from .synthesis import CameraRanges, DetectorErrors, Synthesizer

LAGS = (0, 1, 2, 4, 8)


@torch.inference_mode()
def mean_pose(sampler: WindowSampler, synthesizer: Synthesizer, frames: int) -> torch.Tensor:
    """(17, 3) m: the mean of the targets, the best that one answer for everyone can do."""
    batches = [
        synthesizer.batch(sampler.draw(64, frames, synthesizer.generator, (1.0, 1.0)))
        for _ in range(8)
    ]
    return torch.stack([b.targets.mean(dim=(0, 1)) for b in batches]).mean(dim=0)


@torch.inference_mode()
def evaluate(
    lifter: Lifter,
    clips: MotionClips,
    device: torch.device,
    windows: int = 768,
    seed: int = 20260101,
) -> dict[str, Any]:
    """Errors on random windows, the same ones at every call, with exact and with noisy keypoints.

    Body scale and speed are the recorded ones; cameras and detector errors are the training's.
    Acceleration error is over the whole window of one forward pass.

    Returns:
        per kind of keypoints ('exact', 'noisy'): figures per lag, over the window, of the root's
        position at the newest frame, the share of errors inside one `stddev`, and the error of
        always answering with the mean pose.
    """
    size = lifter.config
    report: dict[str, Any] = {"windows": windows}
    cameras = CameraRanges(body_scale=(1.0, 1.0), speed=(1.0, 1.0))
    for kind, errors in (("exact", None), ("noisy", DetectorErrors())):
        synthesizer = Synthesizer(device, seed, cameras, errors)
        sampler = WindowSampler(clips, size.rate_hz, device)
        columns: dict[str, list[np.ndarray]] = {}
        still = mean_pose(sampler, Synthesizer(device, seed + 1, cameras, errors), size.frames)

        def add(name: str, value: torch.Tensor, columns: dict = columns) -> None:
            columns.setdefault(name, []).append(value.double().cpu().numpy().ravel())

        for _ in range(0, windows, 64):
            motion = sampler.draw(64, size.frames, synthesizer.generator, cameras.speed)
            batch = synthesizer.batch(motion)
            predicted, log_scale = lifter(batch.keypoints)
            truth = batch.targets
            for lag in (*LAGS, size.frames // 2):
                frame = size.frames - 1 - lag
                add(f"mpjpe@{lag}", mpjpe(predicted[:, frame], truth[:, frame]))
                add(f"p_mpjpe@{lag}", p_mpjpe(predicted[:, frame], truth[:, frame]))
                add(f"n_mpjpe@{lag}", n_mpjpe(predicted[:, frame], truth[:, frame]))
            add("mean_pose", mpjpe(still.expand_as(truth[:, -1]), truth[:, -1]))
            add("mpjve", mpjve(predicted, truth))
            add("acceleration", acceleration_error(predicted, truth, size.rate_hz))
            stddev = 2**0.5 * log_scale[:, -1, 1:].exp()
            off = (predicted - truth)[:, -1, 1:].abs()
            add("inside", (off < stddev[..., None]).float())
            joints = torch.einsum("bij,bkj->bki", batch.rotation.mT, predicted[:, -1])
            solved = solve_root(joints, batch.rays[:, -1], batch.scores[:, -1])
            wrong = (solved.root - batch.joints[:, -1, 0]).norm(dim=-1)
            share = wrong / batch.joints[:, -1, 0].norm(dim=-1)
            add("root", share[solved.valid])
        mean = {k: float(np.concatenate(v).mean()) for k, v in columns.items()}
        report[kind] = {
            "lag": {
                str(lag): {
                    f"{m}_mm": 1000 * mean[f"{m}@{lag}"] for m in ("mpjpe", "p_mpjpe", "n_mpjpe")
                }
                for lag in (*LAGS, size.frames // 2)
            },
            "mean_pose_mpjpe_mm": 1000 * mean["mean_pose"],
            "mpjve_mm_per_frame": 1000 * mean["mpjve"],
            "acceleration_error_m_s2": mean["acceleration"],
            "root_error_share_median": float(np.median(np.concatenate(columns["root"]))),
            "inside_one_stddev": mean["inside"],
        }
    return report
