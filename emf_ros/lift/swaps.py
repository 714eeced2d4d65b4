"""Left/right swap correction.

A 2D detector sometimes swaps the left and right limbs, for one image or for half a second. The
scores do not show the swap, but the motion does: a limb cannot jump to the position of the other.

`SwapCorrector` is a hidden Markov model with one state per combination of swapped groups of joints
(hips, legs, shoulders, arms). Each state keeps its own prediction of the joints' motion. The most
likely sequence of states explains all keypoints so far (Viterbi's algorithm). So the evidence for
and against a swap is added over time. All rates are per second. So the same motion has the same
result at any frame rate.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ..skeletons import H36M17
from .window import NANOSECONDS

_COUNT = len(H36M17)
_KIND = [joint.split("_")[-1] for joint in H36M17.joints]
#: (12,) indices of the joints that have a counterpart on the other side.
_SIDED = np.flatnonzero(np.array(H36M17.mirror) != np.arange(_COUNT))
#: (12,) index of the counterpart of each of these joints, into `_SIDED`.
_OTHER = np.searchsorted(_SIDED, np.array(H36M17.mirror)[_SIDED])

#: Groups of joints that a detector swaps as one.
_GROUPS = (("hip",), ("knee", "ankle"), ("shoulder",), ("elbow", "wrist"))
#: (12, 4) membership of the sided joints in the groups.
_MEMBER = np.array([[_KIND[j] in group for group in _GROUPS] for j in _SIDED], dtype=float)
#: (4, 4) groups of each swap of limbs under unchanged hips and shoulders: none, legs, arms, both.
_LIMBS = np.array([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 1]])
#: (2, 4) groups of each swap of the whole body, independent of the limbs': no, yes.
_BODY = np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
#: (S, 4) swapped groups of each state, a pair of both swaps; state 0 has none.
_BITS = (_BODY[:, None] ^ _LIMBS).reshape(-1, len(_GROUPS))
_STATES = len(_BITS)
#: (S,) swapped groups of each state as a number.
_CODE = _BITS @ (1 << np.arange(len(_GROUPS)))
#: (S, S, 4) groups that exactly one of two states swaps.
_BETWEEN = _BITS[:, None] ^ _BITS
#: (S, 12) whether a state swaps a sided joint.
_SWAPPED = (_BITS @ _MEMBER.T) > 0

#: Share of the time that a detector spends in each swap of `_LIMBS`.
_LIMBS_SHARE = np.array([0.97, 0.02, 0.005, 0.005])
#: Share of the time that a detector spends in each swap of `_BODY`.
_BODY_SHARE = np.array([0.98, 0.02])
#: Mean duration of a swap, s. The longest that was measured lasted 0.4 s.
SWAP_S = 0.1
#: Rate at which the remembered sides become wrong, 1/s: the person turned while not visible. With
#: `SWAP_S` it determines how long a detector is contradicted.
MEMORY_WRONG_PER_S = 0.003

#: Standard deviation of a joint's velocity in the image, sizes/s. A size is the diagonal of the
#: bounding box of the keypoints. Measured on motion capture in simulated cameras.
_SPEED = {"hip": 0.3, "knee": 0.4, "ankle": 0.5, "shoulder": 0.35, "elbow": 0.45, "wrist": 0.6}
#: Time constant of the autocorrelation of the velocity, s. Measured on the same data.
_VELOCITY_S = 0.2
#: Standard deviation of a keypoint's error at score 1, sizes.
_NOISE = 0.02
#: Relative growth of that error from score 1 to score 0.
_NOISE_GROWTH = 1.5
#: Share of the keypoints that are outliers.
_OUTLIER_SHARE = 0.2
#: Standard deviation of an outlier's error, sizes.
_OUTLIER_STDDEV = 0.25
#: Variance of a joint's position after an outlier, as a share of the squared distance to it.
_JUMPED = 1.0
#: Weight of the log-likelihood of an image. The errors of neighbouring joints and images are
#: correlated, so an image carries less evidence than independent errors would.
_INDEPENDENT = 0.4
#: Time constant of the mean of the person's size, s.
_SIZE_S = 0.5
#: Standard deviation of a joint's position before it is seen, sizes.
_UNSEEN = 1.0


@dataclass
class Corrected:
    """One observation after the correction.

    Attributes:
        rays: (17, 2).
        scores: (17,).
        swapped: whether any joint is swapped.
        revised: stamp in ns and order (17,) for each past observation that has to be corrected
            again. Joint i of it becomes joint order[i] of the observation that was returned.
    """

    rays: np.ndarray
    scores: np.ndarray
    swapped: bool
    revised: list[tuple[int, np.ndarray]]


def _order(code: int) -> np.ndarray:
    """(17,) the order that swaps the groups of a number as in `_CODE`."""
    swapped = ((code >> np.arange(len(_GROUPS)) & 1) @ _MEMBER.T) > 0
    order = np.arange(_COUNT)
    order[_SIDED[swapped]] = _SIDED[_OTHER[swapped]]
    return order


def _transition(share: np.ndarray, kept: float) -> np.ndarray:
    """(n, n) probabilities from state to state, where a state is kept or else drawn again."""
    return kept * np.eye(len(share)) + (1.0 - kept) * share


@dataclass
class _Step:
    """One past observation.

    Attributes:
        stamp_ns: of the image.
        state: of the most likely sequence.
        said: groups that are swapped in the observation as returned or revised, as a number.
        before: (S,) the predecessor of each state.
        turned: (S,) the change of the remembered sides on the way from it, as a state.
    """

    stamp_ns: int
    state: int
    said: int
    before: np.ndarray
    turned: np.ndarray


class SwapCorrector:
    """Left/right swap correction of one person, of keypoints in h36m17.

    Args:
        span_s: how far back past observations can be revised.
    """

    def __init__(self, span_s: float = 1.2) -> None:
        self._span_ns = int(span_s * NANOSECONDS)
        self._stamp_ns: int | None = None
        self._size = 0.0
        self._speed = np.array([_SPEED[_KIND[j]] for j in _SIDED])
        # Negative log-likelihood of the best sequence that ends in each state.
        self._cost = -np.log(np.kron(_BODY_SHARE, _LIMBS_SHARE))
        # Position and velocity of the sided joints in each state. The variances are equal for both
        # axes: of the position, covariance, of the velocity.
        self._position = np.zeros((_STATES, len(_SIDED), 2))
        self._velocity = np.zeros((_STATES, len(_SIDED), 2))
        self._variance = np.zeros((3, _STATES, len(_SIDED)))
        self._past: deque[_Step] = deque()

    def correct(self, stamp_ns: int, rays: np.ndarray, scores: np.ndarray) -> Corrected:
        """Correct one observation.

        Args:
            stamp_ns: of the image, later than the last one's.
            rays: (17, 2).
            scores: (17,), 0 where missing.
        """
        seen = scores > 0
        step_s = 0.0
        if self._stamp_ns is not None:
            step_s = (stamp_ns - self._stamp_ns) / NANOSECONDS
        self._measure_size(rays[seen], step_s)
        if not self._size > 0:
            return Corrected(rays, scores, False, [])
        points, seen, scores_of = rays[_SIDED], seen[_SIDED], scores[_SIDED]
        noise = (self._size * _NOISE * (1.0 + _NOISE_GROWTH * (1.0 - scores_of))) ** 2
        if self._stamp_ns is None:
            self._variance[0] = (self._size * _UNSEEN) ** 2
            self._variance[2] = (self._size * self._speed) ** 2
            before, turned = np.arange(_STATES), np.zeros(_STATES, dtype=int)
        else:
            self._predict(step_s)
            before, turned = self._advance(points, seen, noise, step_s)
        self._update(points, seen, noise)
        self._cost -= self._cost.min()
        self._stamp_ns = stamp_ns

        state = int(self._cost.argmin())
        code = int(_CODE[state])
        self._past.append(_Step(stamp_ns, state, code, before, turned))
        while self._past[0].stamp_ns < stamp_ns - self._span_ns:
            self._past.popleft()
        order = _order(code)
        return Corrected(rays[order], scores[order], state != 0, self._revise())

    def _measure_size(self, points: np.ndarray, step_s: float) -> None:
        size = float(np.hypot(*np.ptp(points, axis=0))) if len(points) > 1 else 0.0
        if size > 0:
            kept = np.exp(-step_s / _SIZE_S) if self._size else 0.0
            self._size = kept * self._size + (1.0 - kept) * size

    def _predict(self, step_s: float) -> None:
        """Predict every state's joints: their velocity is an Ornstein-Uhlenbeck process."""
        kept = np.exp(-step_s / _VELOCITY_S)
        gone = _VELOCITY_S * (1.0 - kept)
        self._position += gone * self._velocity
        self._velocity *= kept
        position, both, velocity = self._variance
        speed = (self._size * self._speed) ** 2
        ratio = step_s / _VELOCITY_S
        spread = _VELOCITY_S**2 * (2.0 * ratio - 3.0 + 4.0 * kept - kept**2)
        self._variance = np.stack(
            [
                position + 2.0 * gone * both + gone**2 * velocity + speed * spread,
                kept * (both + gone * velocity) + speed * _VELOCITY_S * (1.0 - kept) ** 2,
                kept**2 * velocity + speed * (1.0 - kept**2),
            ]
        )

    def _fit(self, points: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihood (S, 12) of keypoints at each state's joints, and the probability that they
        are no outliers."""
        total = self._variance[0] + noise
        off = ((points - self._position) ** 2).sum(axis=-1)
        wide = total + (_OUTLIER_STDDEV * self._size) ** 2
        near = np.log(1.0 - _OUTLIER_SHARE) - 0.5 * off / total - np.log(total)
        outlier = np.log(_OUTLIER_SHARE) - 0.5 * off / wide - np.log(wide)
        fit = np.logaddexp(near, outlier)
        return fit, np.exp(near - fit)

    def _advance(
        self, points: np.ndarray, seen: np.ndarray, noise: np.ndarray, step_s: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best predecessor of each state (S,), and the groups whose remembered sides change on
        the way from it, as a state (S,)."""
        # A joint without its counterpart is no evidence.
        pair = seen & seen[_OTHER]
        as_is, _ = self._fit(points, noise)
        swapped, _ = self._fit(points[_OTHER], noise[_OTHER])
        gain = ((swapped - as_is) * pair) @ _MEMBER
        # (from, to, change of the memory) cost.
        fit = np.einsum("sg,tfg->stf", gain, _BETWEEN) + (as_is * pair).sum(axis=1)[:, None, None]
        kept = np.exp(-step_s / SWAP_S)
        change = np.kron(_transition(_BODY_SHARE, kept), _transition(_LIMBS_SHARE, kept))
        prior = np.kron(_BODY_SHARE, _LIMBS_SHARE)
        wrong = -np.expm1(-step_s * MEMORY_WRONG_PER_S) * prior / (1.0 - prior[0])
        wrong[0] = 1.0 - wrong[1:].sum()
        cost = self._cost[:, None, None] - _INDEPENDENT * fit - np.log(change)[:, :, None]
        cost = (cost - np.log(wrong)).transpose(1, 0, 2).reshape(_STATES, -1)
        best = cost.argmin(axis=1)
        self._cost = cost[np.arange(_STATES), best]
        before, turned = best // _STATES, best % _STATES
        swap = _SWAPPED[turned]
        index = np.where(swap, _OTHER, np.arange(len(_SIDED)))
        row = before[:, None]
        self._position, self._velocity = self._position[row, index], self._velocity[row, index]
        self._variance = self._variance[:, row, index]
        return before, turned

    def _update(self, points: np.ndarray, seen: np.ndarray, noise: np.ndarray) -> None:
        """Update each state's joints with the keypoints as it orders them (Kalman filter)."""
        index = np.where(_SWAPPED, _OTHER, np.arange(len(_SIDED)))
        points, seen, noise = points[index], seen[index], noise[index]
        _, sure = self._fit(points, noise)
        # An outlier may also be a joint that has moved unexpectedly. Its position is then uncertain
        # by that distance, and its velocity is unknown.
        off = points - self._position
        missed = np.where(seen, 1.0 - sure, 0.0)
        position, both, velocity = self._variance
        position = position + missed * _JUMPED * (off**2).sum(axis=-1)
        both = (1.0 - missed) * both
        velocity = velocity + missed * ((self._size * self._speed) ** 2 - velocity)
        self._velocity = (1.0 - missed)[..., None] * self._velocity
        total = position + noise
        weight = np.where(seen, sure, 0.0)
        off = weight[..., None] * off
        self._position = self._position + (position / total)[..., None] * off
        self._velocity = self._velocity + (both / total)[..., None] * off
        self._variance = np.stack(
            [
                position - weight * position * position / total,
                both - weight * position * both / total,
                velocity - weight * both * both / total,
            ]
        )

    def _revise(self) -> list[tuple[int, np.ndarray]]:
        """Past observations that the most likely sequence orders otherwise than before."""
        revised = []
        turned = 0
        later = self._past[-1]
        state = later.state
        for i in range(len(self._past) - 2, -1, -1):
            turned ^= int(_CODE[later.turned[state]])
            state = int(later.before[state])
            later = self._past[i]
            wanted = int(_CODE[state]) ^ turned
            if state == later.state and wanted == later.said and not turned:
                # Before this step both sequences are the same.
                break
            if wanted != later.said:
                revised.append((later.stamp_ns, _order(wanted ^ later.said)))
            later.state, later.said = state, wanted
        return revised
