"""Left stays left: exchanged sides of the body are put back before they reach the model.

Detectors take left for right now and then, for a frame or for half a second: the legs of someone
who walks past, or a whole body whose back they take for its front. Scores do not tell it, and no
limb can cross to the other's place within a frame: where the keypoints go on from the last ones far
better exchanged than as they came, they are exchanged.
"""

from __future__ import annotations

import numpy as np

from ..skeletons import H36M17
from .window import NANOSECONDS

_MIRROR = np.array(H36M17.mirror)


def _joints(*kinds: str) -> np.ndarray:
    return np.array([j.split("_")[-1] in kinds for j in H36M17.joints])


_LEGS, _ARMS = _joints("knee", "ankle"), _joints("elbow", "wrist")
#: What detectors exchange together: limbs, while hips and shoulders stay; or all there is.
_CHOICES = (_LEGS, _ARMS, _LEGS | _ARMS, _LEGS | _ARMS | _joints("hip", "shoulder"))

_KINDS = tuple(_joints(kind) for kind in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"))

#: Beyond this from one observation to the next a fast limb may really have crossed, s.
MAX_STEP_S = 0.08
#: Keypoints that are this near to where they are expected, root mean square, as a share of the
#: person's size, are left alone; so are those whose two sides were not twice as far apart, as of
#: legs that cross: which is which, the last picture does not tell then.
NEAR = 0.04
#: How much less than as they came the keypoints' squared distances must be, exchanged.
BETTER = 0.35
#: A detector that contradicts for longer, s, or for more than this share of the time that it agreed
#: before, is right now and was wrong then. Measured: wrong for up to 0.4 s in sharp pictures.
PATIENCE_S, PATIENCE_SHARE = 0.5, 0.5
#: Motion is foretold to go on for this long, s.
MOMENTUM_S = 0.05


class SideKeeper:
    """The memory of one person's sides. Keypoints are those of h36m17."""

    def __init__(self) -> None:
        self._points = np.zeros((len(H36M17), 2))
        self._velocity = np.zeros((len(H36M17), 2))
        self._scores = np.zeros(len(H36M17))
        self._stamp_ns: int | None = None
        self._chosen = np.zeros(len(H36M17), dtype=bool)
        # From when, and until when, the sides were as the detector said.
        self._agreed_from_ns = self._agreed_ns = 0

    def keep(
        self, stamp_ns: int, rays: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Put one observation's sides right.

        Args:
            stamp_ns: of the image, later than the last one's.
            rays: (17, 2).
            scores: (17,), 0 where missing.

        Returns:
            rays and scores, with sides exchanged where they have to be, and whether they were.
        """
        step_s = np.inf
        if self._stamp_ns is not None:
            step_s = (stamp_ns - self._stamp_ns) / NANOSECONDS
        chosen = np.zeros(len(H36M17), dtype=bool)
        if step_s <= MAX_STEP_S:
            chosen = self._exchanged(rays, scores, step_s)
            # Who was right is a question of who has been so for longer.
            agreed_s = (self._agreed_ns - self._agreed_from_ns) / NANOSECONDS
            contradicted_s = (stamp_ns - self._agreed_ns) / NANOSECONDS
            if chosen.any() and contradicted_s > min(PATIENCE_S, PATIENCE_SHARE * agreed_s):
                chosen, step_s = np.zeros_like(chosen), np.inf
        if not chosen.any():
            self._agreed_ns = stamp_ns
        if step_s > MAX_STEP_S:
            self._agreed_from_ns = stamp_ns
        self._chosen = chosen
        order = np.where(chosen, _MIRROR, np.arange(len(H36M17)))
        rays, scores = rays[order], scores[order]
        self._remember(stamp_ns, rays, scores, step_s)
        return rays, scores, bool(chosen.any())

    def _exchanged(self, rays: np.ndarray, scores: np.ndarray, step_s: float) -> np.ndarray:
        """(17,) bool: the joints that are to change places with their counterparts."""
        expected = self._points + min(step_s, MOMENTUM_S) * self._velocity
        both = np.minimum(self._scores, self._scores[_MIRROR]) > 0
        both &= np.minimum(scores, scores[_MIRROR]) > 0
        none = np.zeros(len(H36M17), dtype=bool)
        size = np.linalg.norm(np.ptp(self._points[self._scores > 0], axis=0)) if both.any() else 0.0
        as_it_is = ((rays - expected) ** 2).sum(axis=-1)
        exchanged = ((rays[_MIRROR] - expected) ** 2).sum(axis=-1)
        apart = ((expected - expected[_MIRROR]) ** 2).sum(axis=-1)
        # What was exchanged goes on to be while that fits far better, though some joints come near.
        going_on = self._chosen & both
        if going_on.any() and exchanged[going_on].sum() < BETTER * as_it_is[going_on].sum():
            return self._chosen
        best, best_gain = none, 0.0
        for choice in _CHOICES:
            members = choice & both
            # Each kind of joint has to tell it by itself: a leg's gain would hide a hip's loss.
            if members.sum() < 4 or not all(
                exchanged[pair].sum() < as_it_is[pair].sum()
                for pair in (members & kind for kind in _KINDS)
                if pair.any()
            ):
                continue
            before, after = as_it_is[members].mean(), exchanged[members].mean()
            far = before > (NEAR * size) ** 2 and apart[members].mean() > (2 * NEAR * size) ** 2
            gain = (as_it_is - exchanged)[members].sum()
            if far and after < BETTER * before and gain > best_gain:
                best, best_gain = choice, gain
        return best

    def _remember(self, stamp_ns: int, rays: np.ndarray, scores: np.ndarray, step_s: float) -> None:
        seen = scores > 0
        moving = seen & (self._scores > 0)
        self._velocity[~moving] = 0.0
        if step_s <= MAX_STEP_S:
            self._velocity[moving] = (rays - self._points)[moving] / step_s
        else:
            self._velocity[:] = 0.0
        self._points[seen] = rays[seen]
        self._scores, self._stamp_ns = scores, stamp_ns
