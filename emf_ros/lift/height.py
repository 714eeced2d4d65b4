"""A person's known height: it fixes the skeleton's scale, and by it the distance."""

from __future__ import annotations

import numpy as np

from ..skeletons import H36M17
from .root import HEIGHT_SPREAD

#: The legs and the trunk of one who stands, from the ankles to the middle of the shoulders, as a
#: share of the height: 0.246 shank, 0.245 thigh, 0.288 hip to shoulder (Drillis & Contini 1966, in
#: Winter, Biomechanics and Motor Control of Human Movement, figure 4.1). Not the head, whose joints
#: every source of motion capture places elsewhere.
BODY_SHARE = 0.246 + 0.245 + 0.288

#: Relative stddev of that share, from person to person and from one definition of the joints to
#: another: in motion capture the shoulders are by 0.95 to 1.02 of these bones' sum over the ankles.
BODY_SHARE_SPREAD = 0.03

# Both legs' mean, and the trunk.
_WEIGHT = np.zeros(len(H36M17.bones))
for _child in ("knee", "ankle"):
    for _side in ("left", "right"):
        _WEIGHT[[b[1] for b in H36M17.bones].index(f"{_side}_{_child}")] = 0.5
for _child in ("spine", "thorax"):
    _WEIGHT[[b[1] for b in H36M17.bones].index(_child)] = 1.0


def standing_height(lengths: np.ndarray) -> np.ndarray:
    """The height of a person whose bones have these lengths.

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

    The mean of the model's height, of relative stddev `HEIGHT_SPREAD`, and the known one, each
    weighted by its inverse variance: the product of two normal densities.

    Args:
        lengths: (P, 16) m, of the model's skeletons.
        height_m: (P,) m, standing; NaN where it is not known.
        stddev_m: (P,) or a number, m.

    Returns:
        (P,) the factor on all joints, 1 where the height is not known, and (P,) the relative stddev
        that remains, which is `solve_root`'s `height_spread`.

    Raises:
        ValueError: a height is not positive, or a stddev is negative.
    """
    if np.any(np.asarray(height_m) <= 0) or np.any(np.asarray(stddev_m) < 0):
        raise ValueError("heights must be positive and their stddev not negative")
    guess = standing_height(lengths)
    ratio = height_m / guess
    # What a height tells of the bones.
    variance = (stddev_m / guess) ** 2 + (BODY_SHARE_SPREAD * ratio) ** 2
    known = np.isfinite(ratio) & np.isfinite(variance)
    share = np.where(known, HEIGHT_SPREAD**2 / (HEIGHT_SPREAD**2 + variance), 0.0)
    factor = 1.0 + share * np.where(known, ratio - 1.0, 0.0)
    return factor, HEIGHT_SPREAD * np.sqrt(1.0 - share) / factor
