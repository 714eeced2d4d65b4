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

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..geometry.boxes import extents
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
#: (4, S S) groups that exactly one of two states swaps.
_BETWEEN = (_BITS[:, None] ^ _BITS).reshape(-1, len(_GROUPS)).T.astype(float)
#: (S, 12) the sided joint that a state has at the place of each sided joint.
_ORDERED = np.where((_BITS @ _MEMBER.T) > 0, _OTHER, np.arange(len(_SIDED)))
#: (2, 12) each sided joint, and its counterpart.
_SIDES = np.stack([np.arange(len(_SIDED)), _OTHER])

#: Share of the time that a detector spends in each swap of `_LIMBS`.
_LIMBS_SHARE = np.array([0.97, 0.02, 0.005, 0.005])
#: Share of the time that a detector spends in each swap of `_BODY`.
_BODY_SHARE = np.array([0.98, 0.02])
#: (S,) the same of each state.
_SHARE = np.kron(_BODY_SHARE, _LIMBS_SHARE)
#: Mean duration of a swap, s. The longest that was measured lasted 0.4 s.
SWAP_S = 0.1
#: Rate at which the remembered sides become wrong, 1/s: the person turned while not visible. With
#: `SWAP_S` it determines how long a detector is contradicted.
MEMORY_WRONG_PER_S = 0.003

#: Standard deviation of a joint's velocity in the image, sizes/s. A size is the diagonal of the
#: bounding box of the keypoints. Measured on motion capture in simulated cameras.
_SPEEDS = {"hip": 0.3, "knee": 0.4, "ankle": 0.5, "shoulder": 0.35, "elbow": 0.45, "wrist": 0.6}
#: (12,) the same of each sided joint.
_SPEED = np.array([_SPEEDS[_KIND[j]] for j in _SIDED])
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


@lru_cache(maxsize=2 ** len(_GROUPS))
def _order(code: int) -> np.ndarray:
    """(17,) the order that swaps the groups of a number as in `_CODE`."""
    swapped = ((code >> np.arange(len(_GROUPS)) & 1) @ _MEMBER.T) > 0
    order = np.arange(_COUNT)
    order[_SIDED[swapped]] = _SIDED[_OTHER[swapped]]
    return order


def _transition(share: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(P, n, n) probabilities from state to state, where a state is kept or else drawn again.

    Args:
        share: (n,) of the time in each state.
        kept: (P,) probability that a state is kept.
    """
    kept = kept[:, None, None]
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

    Attributes:
        stamp_ns: of the last observation; None before the first.
        size: mean diagonal of the bounding box of the keypoints; 0 before it is known.
        belief: about the joints of this person, and of others, in each state.
        row: of this person in the belief.
    """

    def __init__(self, span_s: float = 1.2) -> None:
        self._span_ns = int(span_s * NANOSECONDS)
        self.stamp_ns: int | None = None
        self.size = 0.0
        self.belief, self.row = _Belief.of_new_people(np.zeros(1)), 0
        self._past: deque[_Step] = deque()

    def correct(self, stamp_ns: int, rays: np.ndarray, scores: np.ndarray) -> Corrected:
        """Correct one observation.

        Args:
            stamp_ns: of the image, later than the last one's.
            rays: (17, 2).
            scores: (17,), 0 where missing.
        """
        (corrected,) = correct_swaps([self], stamp_ns, rays[None], scores[None])
        return corrected

    def observed(
        self,
        stamp_ns: int,
        belief: _Belief,
        row: int,
        state: int,
        before: np.ndarray,
        turned: np.ndarray,
        rays: np.ndarray,
        scores: np.ndarray,
    ) -> Corrected:
        """Take the belief after an observation, and correct this and past observations.

        Args:
            stamp_ns, rays, scores: as for `correct`.
            belief, row: see `SwapCorrector`.
            state: the most likely one.
            before, turned: of the step, see `_Step`.
        """
        self.stamp_ns, self.belief, self.row = stamp_ns, belief, row
        code = int(_CODE[state])
        self._past.append(_Step(stamp_ns, state, code, before, turned))
        while self._past[0].stamp_ns < stamp_ns - self._span_ns:
            self._past.popleft()
        if code:
            rays, scores = rays[_order(code)], scores[_order(code)]
        return Corrected(rays, scores, state != 0, self._revise())

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


def correct_swaps(
    correctors: Sequence[SwapCorrector], stamp_ns: int, rays: np.ndarray, scores: np.ndarray
) -> list[Corrected]:
    """Correct one observation of each of P people of an image.

    Args:
        correctors: of the people.
        stamp_ns: of the image, later than the last one of each.
        rays: (P, 17, 2).
        scores: (P, 17), 0 where missing.
    """
    corrected = [Corrected(*pair, False, []) for pair in zip(rays, scores, strict=True)]
    sizes = extents(rays, scores > 0).tolist()
    for corrector, size in zip(correctors, sizes, strict=True):
        if size > 0:
            kept = 0.0
            if corrector.size and corrector.stamp_ns is not None:
                kept = math.exp((corrector.stamp_ns - stamp_ns) / NANOSECONDS / _SIZE_S)
            corrector.size = kept * corrector.size + (1.0 - kept) * size
    # A person without a size has had no observation that could be corrected.
    new = [row for row, c in enumerate(correctors) if c.size > 0 and c.stamp_ns is None]
    known = [row for row, c in enumerate(correctors) if c.size > 0 and c.stamp_ns is not None]
    for rows in (new, known):
        if not rows:
            continue
        some = [correctors[row] for row in rows]
        size = np.array([corrector.size for corrector in some])
        points, weights = rays[rows][:, _SIDED], scores[rows][:, _SIDED]
        noise = (size[:, None] * _NOISE * (1.0 + _NOISE_GROWTH * (1.0 - weights))) ** 2
        if rows is new:
            belief = _Belief.of_new_people(size)
            before = np.tile(np.arange(_STATES), (len(rows), 1))
            turned = np.zeros_like(before)
            sure = belief.fit(points[:, None, _ORDERED], noise[:, None, _ORDERED])[1][:, 0]
        else:
            steps_ns = [stamp_ns - c.stamp_ns for c in some if c.stamp_ns is not None]
            belief = _Belief.joined([(c.belief, c.row) for c in some], size)
            before, turned, sure = belief.advance(
                points, weights > 0, noise, np.array(steps_ns) / NANOSECONDS
            )
        belief.update(points, weights > 0, noise, sure)
        states = belief.cost.argmin(axis=1).tolist()
        for i, (row, corrector) in enumerate(zip(rows, some, strict=True)):
            corrected[row] = corrector.observed(
                stamp_ns, belief, i, states[i], before[i], turned[i], rays[row], scores[row]
            )
    return corrected


@dataclass
class _Belief:
    """What P correctors know, by person and state.

    Attributes:
        size: (P,) of the people.
        cost: (P, S) negative log-likelihood of the best sequence that ends in each state.
        position, velocity: (P, S, 12, 2) of the sided joints.
        variance: (3, P, S, 12), equal for both axes: of the position, covariance, of the velocity.
    """

    size: np.ndarray
    cost: np.ndarray
    position: np.ndarray
    velocity: np.ndarray
    variance: np.ndarray

    @classmethod
    def of_new_people(cls, size: np.ndarray) -> _Belief:
        """Before the first observation of people of a size (P,)."""
        shape = (len(size), _STATES, len(_SIDED))
        variance = np.zeros((3, *shape))
        variance[0] = (size[:, None, None] * _UNSEEN) ** 2
        variance[2] = (size[:, None, None] * _SPEED) ** 2
        cost = np.tile(-np.log(_SHARE), (len(size), 1))
        return cls(size, cost, np.zeros((*shape, 2)), np.zeros((*shape, 2)), variance)

    @classmethod
    def joined(cls, parts: Sequence[tuple[_Belief, int]], size: np.ndarray) -> _Belief:
        """The beliefs about several people, each in its row of a belief, of today's size."""
        beliefs, rows = zip(*parts, strict=True)
        one = beliefs[0]
        # Mostly they are the people of the last image.
        if all(belief is one for belief in beliefs) and rows == tuple(range(len(one.size))):
            return cls(size, one.cost, one.position, one.velocity, one.variance)
        return cls(
            size,
            np.stack([belief.cost[row] for belief, row in parts]),
            np.stack([belief.position[row] for belief, row in parts]),
            np.stack([belief.velocity[row] for belief, row in parts]),
            np.stack([belief.variance[:, row] for belief, row in parts], axis=1),
        )

    @property
    def _speed2(self) -> np.ndarray:
        """(P, 1, 12) variance of the joints' velocity."""
        return ((self.size[:, None] * _SPEED) ** 2)[:, None]

    def advance(
        self, points: np.ndarray, seen: np.ndarray, noise: np.ndarray, step_s: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Go on to the next observation, by the likelihood of its keypoints.

        Args:
            points: (P, 12, 2) the sided joints.
            seen: (P, 12).
            noise: (P, 12) variance of the keypoints.
            step_s: (P,) time since the last observation, s.

        Returns:
            the best predecessor of each state (P, S); the groups whose remembered sides change on
            the way from it, as a state (P, S); and `sure` of `update`.
        """
        self._predict(step_s[:, None, None])
        # A joint without its counterpart is no evidence.
        pair = (seen & seen[:, _OTHER])[:, None]
        fits, sure = self.fit(points[:, _SIDES][:, :, None], noise[:, _SIDES][:, :, None])
        as_is, swapped = fits[:, 0], fits[:, 1]
        gain = ((swapped - as_is) * pair) @ _MEMBER
        # Of each person (from, to, change of the memory) cost.
        fit = (gain @ _BETWEEN).reshape(-1, _STATES, _STATES, _STATES)
        fit += (as_is * pair).sum(axis=2)[..., None, None]
        kept = np.exp(-step_s / SWAP_S)
        body, limbs = _transition(_BODY_SHARE, kept), _transition(_LIMBS_SHARE, kept)
        change = (body[:, :, None, :, None] * limbs[:, None, :, None]).reshape(-1, _STATES, _STATES)
        wrong = -np.expm1(-step_s[:, None] * MEMORY_WRONG_PER_S) * _SHARE / (1.0 - _SHARE[0])
        wrong[:, 0] = 1.0 - wrong[:, 1:].sum(axis=1)
        cost = self.cost[..., None] - np.log(change)
        cost = cost[..., None] - _INDEPENDENT * fit - np.log(wrong)[:, None, None]
        cost = cost.swapaxes(1, 2).reshape(-1, _STATES, _STATES**2)
        best = cost.argmin(axis=2)
        before, turned = np.divmod(best, _STATES)
        person, state = np.arange(len(best))[:, None, None], before[..., None]
        self.cost = cost[person[..., 0], np.arange(_STATES), best]
        joint = _ORDERED[turned]
        self.position = self.position[person, state, joint]
        self.velocity = self.velocity[person, state, joint]
        self.variance = self.variance[:, person, state, joint]
        return before, turned, sure[person, (joint != _ORDERED).astype(int), state, joint]

    def _predict(self, step_s: np.ndarray) -> None:
        """Predict every state's joints: their velocity is an Ornstein-Uhlenbeck process.

        Args:
            step_s: (P, 1, 1) s.
        """
        kept = np.exp(-step_s / _VELOCITY_S)
        gone = _VELOCITY_S * (1.0 - kept)
        self.position = self.position + gone[..., None] * self.velocity
        self.velocity = kept[..., None] * self.velocity
        position, both, velocity = self.variance
        speed2 = self._speed2
        ratio = step_s / _VELOCITY_S
        spread = _VELOCITY_S**2 * (2.0 * ratio - 3.0 + 4.0 * kept - kept**2)
        self.variance = np.stack(
            [
                position + 2.0 * gone * both + gone**2 * velocity + speed2 * spread,
                kept * (both + gone * velocity) + speed2 * _VELOCITY_S * (1.0 - kept) ** 2,
                kept**2 * velocity + speed2 * (1.0 - kept**2),
            ]
        )

    def fit(self, points: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihood (P, K, S, 12) of K choices of keypoints at each state's joints, and the
        probability that they are no outliers.

        Args:
            points: (P, K, S or 1, 12, 2).
            noise: (P, K, S or 1, 12) their variance.
        """
        total = self.variance[0][:, None] + noise
        off = points - self.position[:, None]
        off2 = off[..., 0] ** 2 + off[..., 1] ** 2
        wide = total + ((_OUTLIER_STDDEV * self.size) ** 2)[:, None, None, None]
        near = np.log(1.0 - _OUTLIER_SHARE) - 0.5 * off2 / total - np.log(total)
        outlier = np.log(_OUTLIER_SHARE) - 0.5 * off2 / wide - np.log(wide)
        fit = np.logaddexp(near, outlier)
        return fit, np.exp(near - fit)

    def update(
        self, points: np.ndarray, seen: np.ndarray, noise: np.ndarray, sure: np.ndarray
    ) -> None:
        """Update each state's joints with the keypoints as it orders them (Kalman filter).

        Args:
            points, seen, noise: as for `advance`.
            sure: (P, S, 12) probability that a keypoint is no outlier, see `fit`.
        """
        points, seen, noise = points[:, _ORDERED], seen[:, _ORDERED], noise[:, _ORDERED]
        # An outlier may also be a joint that has moved unexpectedly. Its position is then uncertain
        # by that distance, and its velocity is unknown.
        off = points - self.position
        missed = np.where(seen, 1.0 - sure, 0.0)
        position, both, velocity = self.variance
        position = position + missed * _JUMPED * (off[..., 0] ** 2 + off[..., 1] ** 2)
        both = (1.0 - missed) * both
        velocity = velocity + missed * (self._speed2 - velocity)
        self.velocity = (1.0 - missed)[..., None] * self.velocity
        total = position + noise
        weight = np.where(seen, sure, 0.0)
        off = weight[..., None] * off
        self.position = self.position + (position / total)[..., None] * off
        self.velocity = self.velocity + (both / total)[..., None] * off
        self.variance = np.stack(
            [
                position - weight * position * position / total,
                both - weight * position * both / total,
                velocity - weight * both * both / total,
            ]
        )
        self.cost = self.cost - self.cost.min(axis=1, keepdims=True)
