"""The known height of a person. It determines the scale of the skeleton, and so the distance."""

from __future__ import annotations

import numpy as np

from ..skeletons import H36M17
from .root import HEIGHT_SPREAD

#: Length from the ankles to the middle of the shoulders, as a share of the standing height. It is
#: 0.246 for the shank, 0.245 for the thigh, and 0.288 from hip to shoulder. The head is left out,
#: because each source of motion capture places its joints differently. Source: Drillis & Contini
#: 1966, in Winter, Biomechanics and Motor Control of Human Movement, figure 4.1.
BODY_SHARE = 0.246 + 0.245 + 0.288

#: Relative standard deviation of that share over people and over definitions of the joints. In
#: motion capture the shoulders are 0.95 to 1.02 of the sum of these bones above the ankles.
BODY_SHARE_SPREAD = 0.03

# Weight of each bone in the sum: the mean of both legs, and the trunk.
_WEIGHT = np.zeros(len(H36M17.bones))
for _child in ("knee", "ankle"):
    for _side in ("left", "right"):
        _WEIGHT[[b[1] for b in H36M17.bones].index(f"{_side}_{_child}")] = 0.5
for _child in ("spine", "thorax"):
    _WEIGHT[[b[1] for b in H36M17.bones].index(_child)] = 1.0


def standing_height(lengths: np.ndarray) -> np.ndarray:
    """The standing height of people by their bone lengths.

    Args:
        lengths: (..., 16) m, see `bones.bone_lengths`.

    Returns:
        (...) m, barefoot, to the top of the head.
    """
    return lengths @ _WEIGHT / BODY_SHARE


def height_scale(
    lengths: np.ndarray, height_m: np.ndarray, stddev_m: np.ndarray | float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """The factor that gives skeletons the size of people whose height is known.

    The result is the mean of the model's height and the known one, each weighted by its inverse
    variance: the product of two normal densities. `HEIGHT_SPREAD` is the relative standard
    deviation of the model's height.

    Args:
        lengths: (P, 16) m, of the model's skeletons.
        height_m: (P,) m, standing; NaN where it is not known.
        stddev_m: (P,) or a number, m: standard deviation of the known height.

    Returns:
        (P,) the factor on all joints, 1 where the height is not known, and (P,) the relative
        standard deviation of the size that remains: `height_spread` of `solve_root`.

    Raises:
        ValueError: a height is not positive, or a standard deviation is negative.
    """
    if np.any(np.asarray(height_m) <= 0) or np.any(np.asarray(stddev_m) < 0):
        raise ValueError("heights must be positive, standard deviations must not be negative")
    guess = standing_height(lengths)
    ratio = height_m / guess
    # Variance of the bones' scale, given the height.
    variance = (stddev_m / guess) ** 2 + (BODY_SHARE_SPREAD * ratio) ** 2
    known = np.isfinite(ratio) & np.isfinite(variance)
    share = np.where(known, HEIGHT_SPREAD**2 / (HEIGHT_SPREAD**2 + variance), 0.0)
    factor = 1.0 + share * np.where(known, ratio - 1.0, 0.0)
    return factor, HEIGHT_SPREAD * np.sqrt(1.0 - share) / factor
