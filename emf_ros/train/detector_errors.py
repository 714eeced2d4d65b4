"""Sizes, rates and durations of the errors of a 2D detector. See `detector_model`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .detector_layouts import POINTS, kind_of
from .setting_ranges import (
    CORRELATION,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Range,
    check_limits,
    check_numbers,
    check_pairs,
)

#: Mean length of a burst, frames. Memory grows with it.
_BURST = Range(1, 1000)


@dataclass(frozen=True)
class Failure:
    """A failure that comes in bursts.

    Attributes:
        rate: share of the frames, mean over the clips, at `REFERENCE_SPREAD`.
        length: mean length of a burst, frames at 30 Hz.
    """

    rate: float
    length: float

    def __post_init__(self) -> None:
        check_numbers(self, {"rate": SHARE, "length": _BURST})


@dataclass(frozen=True)
class DetectorErrors:
    """Ranges of a detector's errors; lengths in shares of the person's size in the image.

    Attributes:
        spread: standard deviation of the noise within a window, per axis, mean over the joints.
            It is drawn per clip, log-uniformly; two zeros are no noise. Measured: 0.009 (one
            person, smoothed by MediaPipe), 0.010 to 0.022, and 0.005 of "heavy" against its own low
            pass.
        slow_share: share of the noise's variance in its slow process. Measured: 0.3 to 0.75.
        slow_correlation: correlation of the slow first-order autoregressive process from frame to
            frame at 30 Hz. Measured: 0.8 to 0.97.
        fast_correlation: the same of the fast process. Measured: 0.0 to 0.6.
        volatility: standard deviation of the logarithm of a factor on all noise of a frame.
            Measured: 0.39 to 0.52.
        volatility_correlation: its correlation from frame to frame. Measured: 0.6 to 0.75.
        anisotropy: spread along x over spread along y, per clip. Measured: 1.1 to 1.6, on people
            who move along x.
        bias: constant error per clip and point, over the spread. Measured together with the slow
            process' part in a window's mean: 0.5 to 0.85. The value makes it 0.8, the upper end,
            since common errors of the reference were not measured.
        difficulty: change of the logarithm of the spread per standard deviation of the score's
            logit. Measured: 0.2 to 0.3. Points of a score below 0.2 have 2 to 3 times the error of
            points above 0.99.
        offsets: factor on the layouts' offsets and on `OFFSET_SPREAD`.
        astray: a limb, or its outer part, is far from its true position. Measured: 2 to 17 % of
            all points, in bursts of 1.3 to 2 frames.
        astray_size: standard deviation of that displacement along each axis. Measured of those
            above 0.1: median 0.16 to 0.18, 90th percentile 0.25 to 0.37.
        astray_logit: decrease of the score's logit of such points. Measured: 1.2, so that the
            score does not identify them reliably.
        legs_swapped, arms_swapped, body_swapped: left/right swaps. Measured on a person who walks
            past and one who faces the camera: legs 5 to 20 % of the frames, for 2 frames. Legs and
            arms together, a back taken for a front: 0 to 4 %. Arms alone: hardly ever. Scores do
            not show it. The rate of legs is half of that, since not everyone walks past.
        limb_lost: a limb has a low score or none, and is frozen, adrift or not reported. Measured:
            bursts of low scores last 3 to 7 frames. The behaviour of other detectors is assumed.
        missing: frames without the person. Measured: 7 to 24 % in images in which the detector
            works at all, in bursts of 4 to 12 frames. Windows consist of the other frames.
        edge_pull: share of the distance beyond the image's edge by which a point is moved back,
            per clip. Measured at truncated ankles: 10th percentile 0 to 0.2, median 0.3 to 0.8,
            90th percentile 1.5 to 1.8. 30 to 65 % of the points beyond are reported inside.
        edge_spread: standard deviation of a random displacement of points beyond the edge. With it
            truncated knees and ankles have the measured median errors: 0.1 and 0.23.
        edge_logit: decrease of the logit at the edge, and per size beyond it. Measured: 3 and 10,
            for median scores of 0.44 at truncated knees and 0.14 at truncated ankles.
        edge_noise: growth of all noise per share of truncated points. Measured: the error of hips
            above truncated legs is 0.035 in place of 0.010.
    """

    spread: tuple[float, float] = (0.005, 0.027)
    slow_share: tuple[float, float] = (0.3, 0.75)
    slow_correlation: tuple[float, float] = (0.75, 0.97)
    fast_correlation: tuple[float, float] = (0.0, 0.6)
    volatility: float = 0.45
    volatility_correlation: float = 0.75
    anisotropy: tuple[float, float] = (0.8, 1.5)
    bias: float = 0.6
    difficulty: float = 0.28
    offsets: float = 1.0
    astray: Failure = Failure(0.04, 1.4)
    astray_size: float = 0.14
    astray_logit: float = 1.2
    legs_swapped: Failure = Failure(0.03, 2.0)
    arms_swapped: Failure = Failure(0.005, 2.0)
    body_swapped: Failure = Failure(0.01, 4.0)
    limb_lost: Failure = Failure(0.02, 6.0)
    missing: Failure = Failure(0.06, 5.0)
    edge_pull: tuple[float, float] = (0.0, 1.5)
    edge_spread: float = 0.07
    edge_logit: tuple[float, float] = (3.0, 10.0)
    edge_noise: float = 4.0

    def __post_init__(self) -> None:
        if self.spread != (0, 0):
            check_limits(self, {"spread": POSITIVE})
        check_limits(
            self,
            {
                "slow_share": SHARE,
                "slow_correlation": CORRELATION,
                "fast_correlation": CORRELATION,
                "anisotropy": POSITIVE,
                "edge_pull": NOT_NEGATIVE,
            },
        )
        # At the edge and per size beyond it: two numbers that have no order.
        check_pairs(self, {"edge_logit": NOT_NEGATIVE})
        sizes = ("volatility", "bias", "difficulty", "offsets", "astray_size", "astray_logit")
        check_numbers(self, dict.fromkeys((*sizes, "edge_spread", "edge_noise"), NOT_NEGATIVE))
        check_numbers(self, {"volatility_correlation": CORRELATION})

    @classmethod
    def none(cls) -> DetectorErrors:
        """No error of position; scores keep their distribution."""
        never = Failure(0.0, 1.0)
        return cls(
            spread=(0.0, 0.0),
            offsets=0.0,
            astray=never,
            legs_swapped=never,
            arms_swapped=never,
            body_swapped=never,
            limb_lost=never,
            missing=never,
            edge_pull=(0.0, 0.0),
            edge_spread=0.0,
        )


#: Spread at which failures have their rates. Rates are proportional to the spread. Measured from
#: 0.010 to 0.022: the rate of points astray grows by a factor of six, of swapped legs by two.
REFERENCE_SPREAD = 0.014

#: Noise of each kind of joint over the mean noise. Measured: mean over the conditions. Head and
#: neck are assumed, since BlazePose does not mark them.
JOINT_SPREAD = {
    "nose": 0.67,
    "ear": 0.63,
    "shoulder": 0.88,
    "elbow": 1.13,
    "wrist": 1.08,
    "hip": 1.17,
    "knee": 1.29,
    "ankle": 1.15,
    "head": 0.8,
    "neck": 0.8,
}

#: Correlation of the noise of two points along an axis. Measured; those of points that only halpe26
#: has are assumed. "other" is the joint of the other side.
NOISE_CORRELATION = {
    ("nose", "ear"): 0.60,
    ("ear", "other ear"): 0.45,
    ("ear", "shoulder"): 0.40,
    ("nose", "shoulder"): 0.14,
    ("shoulder", "other shoulder"): -0.15,
    ("shoulder", "elbow"): 0.45,
    ("shoulder", "wrist"): 0.18,
    ("elbow", "wrist"): 0.60,
    ("shoulder", "hip"): 0.30,
    ("shoulder", "other hip"): -0.22,
    ("hip", "other hip"): 0.33,
    ("hip", "knee"): 0.35,
    ("hip", "ankle"): 0.16,
    ("knee", "ankle"): 0.42,
    ("knee", "other knee"): -0.15,
    ("ankle", "other ankle"): -0.15,
    ("knee", "other ankle"): -0.10,
    ("head", "nose"): 0.50,
    ("head", "ear"): 0.50,
    ("neck", "shoulder"): 0.45,
    ("neck", "ear"): 0.30,
    ("hip centre", "hip"): 0.60,
}


def _noise_correlation(a: str, b: str) -> float:
    """The entry of `NOISE_CORRELATION` for two points; 0 without an entry."""
    if a == b:
        return 1.0
    name = {"hip": "hip centre"}
    kinds = [name.get(p, kind_of(p)) for p in (a, b)]
    opposite = {a.split("_")[0], b.split("_")[0]} == {"left", "right"}
    for one, two in (kinds, kinds[::-1]):
        found = NOISE_CORRELATION.get((one, f"other {two}" if opposite else two))
        if found is not None:
            return found
    return 0.0


def point_correlation() -> Tensor:
    """(P, P) float64, correlation of the noise of all points, positive definite."""
    rows = [[_noise_correlation(a, b) for b in POINTS] for a in POINTS]
    return torch.tensor(rows, dtype=torch.float64)
