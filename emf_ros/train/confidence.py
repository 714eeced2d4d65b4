"""Calibration of `stddev`: one factor per joint, from validation subjects.

The second head learns the scale of a Laplace distribution of the errors on training subjects.
Errors on other subjects are larger, and the real distribution has heavier tails. Each joint's
`stddev` is therefore multiplied by a factor. With it 68.27 % of the errors along an axis are inside
`stddev`, as with a normal distribution. A robot's margin needs this share. The second moment would
depend on few large errors. (Temperature scaling: Guo et al. 2017, here by quantile and per joint.)
"""

from __future__ import annotations

import numpy as np
import torch

from ..model.lifter import Lifter
from .detector_errors import DetectorErrors
from .evaluate import held_back_batches, lags_of, laplace_stddev
from .mocap import MotionClips
from .synthesis import CameraRanges

#: Share of a normal distribution inside one standard deviation.
ONE_SIGMA = 0.6827


@torch.inference_mode()
def error_ratios(
    lifter: Lifter,
    clips: MotionClips,
    device: torch.device,
    cameras: CameraRanges | None = None,
    errors: DetectorErrors | None = None,
    windows: int = 1024,
    seed: int = 7,
) -> tuple[np.ndarray, np.ndarray]:
    """Errors over predicted `stddev`, on windows with the simulated detector.

    Returns:
        (N, lags, 17, 3) ratios at the reported lags, and (N,) subjects.
    """
    frames = lifter.config.frames
    at = torch.tensor([frames - 1 - lag for lag in lags_of(frames)], device=device)
    ratios, subjects = [], []
    batches = held_back_batches(
        clips, lifter.config, device, windows, errors or DetectorErrors(), seed, cameras
    )
    for pick, batch in batches:
        predicted, log_scale = lifter(batch.keypoints)
        off = (predicted - batch.targets)[:, at].abs()
        stddev = laplace_stddev(log_scale[:, at])
        ratios.append((off / stddev[..., None]).cpu().numpy())
        subjects += clips.subjects[pick].tolist()
    return np.concatenate(ratios), np.array(subjects)


def factors(ratios: np.ndarray) -> np.ndarray:
    """(N, lags, 17, 3) -> (17,), factor on the `stddev` of each joint.

    The factor of the pelvis, the origin without error, is 1.
    """
    per_joint = np.moveaxis(ratios, 2, 0).reshape(ratios.shape[2], -1)
    quantiles = np.quantile(per_joint, ONE_SIGMA, axis=1)
    return np.where(quantiles > 0, quantiles, 1.0)


def cross_validated_share(ratios: np.ndarray, subjects: np.ndarray) -> float | None:
    """Share of the errors inside one `stddev` on each subject, calibrated on the others.

    Returns:
        the mean over all windows; None with a single subject.
    """
    if len(set(subjects.tolist())) < 2:
        return None
    inside = np.zeros(len(ratios))
    for subject in np.unique(subjects):
        mine = subjects == subject
        scaled = ratios[mine] / factors(ratios[~mine])[:, None]
        inside[mine] = (scaled[:, :, 1:] < 1).mean(axis=(1, 2, 3))
    return float(inside.mean())


def calibrate(
    lifter: Lifter,
    clips: MotionClips,
    device: torch.device,
    cameras: CameraRanges | None = None,
    errors: DetectorErrors | None = None,
    windows: int = 1024,
) -> float | None:
    """Set the lifter's `scale_offset`, whatever it was before.

    Args:
        lifter: in evaluation mode, on `device`; changed.
        clips: of validation subjects.
        device: where the lifter runs.
        cameras, errors: those that the lifter is to be used with; by default the standard ones.
        windows: number of windows.

    Returns:
        `cross_validated_share`, the share to expect on a subject outside the calibration.
    """
    lifter.scale_offset.zero_()
    ratios, subjects = error_ratios(lifter, clips, device, cameras, errors, windows)
    lifter.scale_offset.copy_(torch.from_numpy(np.log(factors(ratios))))
    return cross_validated_share(ratios, subjects)
