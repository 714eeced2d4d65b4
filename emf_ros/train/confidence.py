"""Making `stddev` mean what it says: one factor per joint, from subjects that were held back.

The second head learns the scale of a Laplace distribution of the errors on training subjects, on
whom errors are smaller than on strangers, and whose real distribution has heavier tails. Afterwards
each joint's `stddev` is multiplied so that 68.27 % of the errors along an axis lie inside, as they
do inside one standard deviation of a normal distribution: the share is what a robot's margin needs;
the second moment, which few large errors govern, is not. (Temperature scaling: Guo et al. 2017,
here by quantile and per joint.)
"""

from __future__ import annotations

import numpy as np
import torch

from ..model.lifter import Lifter
from .detector_errors import DetectorErrors
from .evaluate import held_back_batches, lags_of, laplace_stddev
from .mocap import MotionClips

ONE_SIGMA = 0.6827


@torch.inference_mode()
def error_ratios(
    lifter: Lifter, clips: MotionClips, device: torch.device, windows: int = 1024, seed: int = 7
) -> tuple[np.ndarray, np.ndarray]:
    """Errors over the `stddev` that was given with them, on windows with the simulated detector.

    Returns:
        (N, lags, 17, 3) ratios of the newest and the published lags' frames, and (N,) subjects.
    """
    frames = lifter.config.frames
    at = torch.tensor([frames - 1 - lag for lag in lags_of(frames)], device=device)
    ratios, subjects = [], []
    batches = held_back_batches(clips, lifter.config, device, windows, DetectorErrors(), seed)
    for pick, batch in batches:
        predicted, log_scale = lifter(batch.keypoints)
        off = (predicted - batch.targets)[:, at].abs()
        stddev = laplace_stddev(log_scale[:, at])
        ratios.append((off / stddev[..., None]).cpu().numpy())
        subjects += clips.subjects[pick].tolist()
    return np.concatenate(ratios), np.array(subjects)


def factors(ratios: np.ndarray) -> np.ndarray:
    """(N, lags, 17, 3) -> (17,): what each joint's stddev has to be multiplied by.

    The pelvis is the origin, its error is zero, and its factor 1.
    """
    per_joint = np.moveaxis(ratios, 2, 0).reshape(ratios.shape[2], -1)
    quantiles = np.quantile(per_joint, ONE_SIGMA, axis=1)
    return np.where(quantiles > 0, quantiles, 1.0)


def cross_validated_share(ratios: np.ndarray, subjects: np.ndarray) -> float | None:
    """Share of the errors inside one stddev on each subject, calibrated on the others.

    Returns:
        the mean over all windows; None where there is but one subject.
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
    lifter: Lifter, clips: MotionClips, device: torch.device, windows: int = 1024
) -> float | None:
    """Set the lifter's `scale_offset`, anew each time.

    Args:
        lifter: in evaluation mode, on `device`; changed.
        clips: of subjects that were held back from training.

    Returns:
        `cross_validated_share`: what to expect on a subject that the calibration did not see.
    """
    lifter.scale_offset.zero_()
    ratios, subjects = error_ratios(lifter, clips, device, windows)
    lifter.scale_offset.copy_(torch.from_numpy(np.log(factors(ratios))))
    return cross_validated_share(ratios, subjects)
