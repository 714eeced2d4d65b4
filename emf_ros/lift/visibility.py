"""How much of a person is seen, and what that leaves unknown.

The model completes a body of which it sees a part, and is too sure of the result: of a bust it
knows neither the scale nor where the pelvis is. The spreads here are measured.
benchmarks/partial_people.py shows what they are worth, on subjects that they were not measured on.
"""

from __future__ import annotations

import numpy as np

from ..skeletons import H36M17

#: Lengths of an adult's bones by their outer end, m; mean of the motion capture.
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

#: Relative standard deviation of the distance, beside that of people's size, where nothing is seen.
#: It falls to 0 with the square root of the share of the skeleton that is not seen. Measured on 800
#: people of the training motion with random parts taken away, 68th percentiles of the error: 0.11
#: with more than 0.8 of the skeleton seen, 0.13 with 0.6 to 0.8, 0.18 with 0.3 to 0.6, 0.24 with
#: less than 0.15.
UNSEEN_DISTANCE_SPREAD = 0.2
#: Minimum share of the skeleton that is seen, for a root to be given. Under it the distance was off
#: by 0.24, and by 0.33 in one of ten people.
LEAST_SHARE = 0.15

#: Factor on the model's standard deviations of the joints per share of the skeleton that is not
#: seen, and factor on all of them where the pelvis, which they are relative to, is not. Measured
#: likewise, 68th percentiles of error over stddev: 1.2 with the whole body, 1.3 with a part, 1.5
#: with a part without the pelvis.
UNSEEN_STDDEV = 0.3
NO_PELVIS_STDDEV = 1.25


def seen_share(seen: np.ndarray) -> np.ndarray:
    """The share of the skeleton that is seen, by the lengths of the bones with both ends seen.

    Args:
        seen: (..., 17) bool.

    Returns:
        (...) 0..1.
    """
    return np.clip((seen[..., _ENDS].all(axis=-1) @ _LENGTHS) / _LENGTHS.sum(), 0.0, 1.0)


def distance_spread(share: np.ndarray) -> np.ndarray:
    """(...) relative standard deviation of the distance, beside that of people's size."""
    return UNSEEN_DISTANCE_SPREAD * np.sqrt(1.0 - share)


def with_unseen(stddev: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Standard deviations of the joints, widened by what is not seen.

    Args:
        stddev: (P, 17) m, the model's, relative to the pelvis.
        seen: (P, 17) bool.

    Returns:
        (P, 17) m. A pelvis that is not seen is as uncertain as the seen joint that is surest.
    """
    factor = 1.0 + UNSEEN_STDDEV * (1.0 - seen_share(seen))
    factor = np.where(seen[:, 0], factor, factor * NO_PELVIS_STDDEV)
    out = factor[:, None] * stddev
    nearest = np.where(seen, out, np.inf)[:, 1:].min(axis=1)
    lacking = ~seen[:, 0] & np.isfinite(nearest)
    out[lacking, 0] = np.maximum(out[lacking, 0], nearest[lacking])
    return out
