"""The uncertainty of people who are seen in part.

The model completes a body of which it sees a part, and its standard deviations are then too small.
The upper body alone, for example, tells neither the scale nor the position of the pelvis. The
spreads here are measured. `benchmarks/partial_people.py` tests them on other subjects.
"""

from __future__ import annotations

import numpy as np

from ..skeletons import H36M17

#: Lengths of an adult's bones by their outer end, m: mean of the motion capture.
_LENGTH_M = {
    "hip": 0.10,
    "knee": 0.40,
    "ankle": 0.42,
    "spine": 0.23,
    "thorax": 0.24,
    "nose": 0.21,
    "top": 0.12,
    "shoulder": 0.21,
    "elbow": 0.29,
    "wrist": 0.27,
}
_ENDS = np.array(H36M17.edges)
_LENGTHS = np.array([_LENGTH_M[H36M17.joints[end].split("_")[-1]] for end in _ENDS[:, 1]])

#: Relative standard deviation of the distance where no bone is visible, besides that of people's
#: size. It falls with the square root of the share of the skeleton that is not visible. Measured on
#: 800 people of the training motion with random parts removed. The 68th percentile of the relative
#: error is 0.11 with more than 0.8 of the skeleton visible, and 0.13 with 0.6 to 0.8. It is 0.18
#: with 0.3 to 0.6, and 0.24 under 0.15.
UNSEEN_DISTANCE_SPREAD = 0.2
#: Minimum visible share of the skeleton for a root. Below it, one error in ten was over 0.33.
MIN_VISIBLE_SHARE = 0.15

#: Relative increase of the joints' standard deviations from the whole skeleton to none of it.
#: Measured on the same people, as the 68th percentile of error over stated standard deviation. It
#: is 1.2 with the whole body, 1.3 with a part, and 1.5 with a part without the pelvis.
UNSEEN_STDDEV = 0.3
#: Factor on the joints' standard deviations where the pelvis, their origin, is not visible.
NO_PELVIS_STDDEV = 1.25


def seen_share(seen: np.ndarray) -> np.ndarray:
    """The visible share of the skeleton, by the lengths of the bones with two visible ends.

    Args:
        seen: (..., 17) bool.

    Returns:
        (...) 0..1.
    """
    return np.clip((seen[..., _ENDS].all(axis=-1) @ _LENGTHS) / _LENGTHS.sum(), 0.0, 1.0)


def distance_spread(share: np.ndarray) -> np.ndarray:
    """(...) relative standard deviation of the distance, besides that of people's size.

    Args:
        share: (...) of the skeleton that is visible, 0..1.
    """
    return UNSEEN_DISTANCE_SPREAD * np.sqrt(1.0 - share)


def with_unseen(stddev: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Standard deviations of the joints, increased where joints are not visible.

    Args:
        stddev: (P, 17) m, the model's, relative to the pelvis.
        seen: (P, 17) bool.

    Returns:
        (P, 17) m. A pelvis that is not visible gets the smallest standard deviation of a
            visible joint.
    """
    factor = 1.0 + UNSEEN_STDDEV * (1.0 - seen_share(seen))
    factor = np.where(seen[:, 0], factor, factor * NO_PELVIS_STDDEV)
    out = factor[:, None] * stddev
    nearest = np.where(seen, out, np.inf)[:, 1:].min(axis=1)
    lacking = ~seen[:, 0] & np.isfinite(nearest)
    out[lacking, 0] = np.maximum(out[lacking, 0], nearest[lacking])
    return out
