"""Re-identification: decides whether a new track is the person of a coasting or lost track.

It uses the log-likelihood ratio (LLR) of "the same person" to "a newcomer". The ratio comes from
position, velocity, size and appearance. Lengths are in body sizes, see `state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.boxes import MIN_COMMON_JOINTS, coco_sigmas, person_areas, person_boxes
from ..skeletons import Layout
from ..stamps import NANOSECONDS
from .appearance import MAX_APPEARANCE_LLR, appearance_llr, appearance_similarity
from .association import assign
from .state import INITIAL_VELOCITY_STD, Track

#: Standard deviation of the position of a person who walks on, body sizes.
WALK_ON_STD = 0.1

#: Growth of `WALK_ON_STD`, body sizes/s.
WALK_ON_STD_PER_S = 0.6

#: Standard deviation of the position of a person who turns around or jumps, or whose last detection
#: was bad, body sizes.
OTHER_STD = 0.5

#: Growth of `OTHER_STD`, body sizes/s.
OTHER_STD_PER_S = 1.5

#: Maximum of the grown `OTHER_STD`, body sizes.
MAX_OTHER_STD = 3.0

#: Prior probability of walking on.
WALK_ON_PRIOR = 0.6

#: Area of the image in which a newcomer appears anywhere, (body sizes)^2.
NEWCOMER_AREA = 80.0

#: Standard deviation of a newcomer's velocity, body sizes/s.
NEWCOMER_VELOCITY_STD = 2.0

#: Standard deviation of the change of velocity of a person who walks on, body sizes/s.
WALK_ON_VELOCITY_STD = 0.7

#: Maximum variance of a velocity that is compared, (body sizes/s)^2.
MAX_VELOCITY_VARIANCE = 0.5 * INITIAL_VELOCITY_STD**2

#: Minimum ratio of the sizes of one person in two images.
MIN_SIZE_RATIO = 0.4

#: Minimum extent of a body that is compared, px^2 (variance of the joints' positions).
MIN_EXTENT_PX2 = 1.0

#: Minimum LLR of a re-identification.
MIN_LLR = 0.0

#: Minimum LLR of a re-identification by appearance alone, after the motion memory has ended.
MIN_APPEARANCE_ONLY_LLR = 0.5

#: Maximum LLR of a pair that has to wait for its appearance: just under `MIN_LLR`.
UNPROVEN_LLR = MIN_LLR - 0.1

#: Minimum LLR of a re-identification before the new track is old enough to be confirmed.
MIN_IMMEDIATE_LLR = 2.5

#: Minimum lead over the LLR of any other pair of the same tracks.
MIN_LEAD = 1.0

#: Minimum lead where the appearance of the new track is not visible.
MIN_LEAD_WITHOUT_APPEARANCE = 2.0

#: Minimum age of a new track for a decision without its appearance, s. The appearance of a younger
#: track may still change.
MIN_AGE_WITHOUT_APPEARANCE_S = 0.3

#: Maximum time for which a new track waits for a decision, s. Then it gets a new id.
MAX_WAIT_S = 0.5

#: LLR by which a coasting track's match has to lead over all missing tracks. It is 0 for a track
#: that had a detection in the previous image.
COASTING_LEAD = 2.0


@dataclass(frozen=True)
class Candidates:
    """Pairs of N old tracks without a detection and M new ones.

    Attributes:
        llr: (N, M) LLR of the same person to a newcomer; -inf for an impossible pair.
        possible_llr: (N, M) LLR that further images of the appearance can still bring.
        similarity: (N, M) of the appearance, 0..1; NaN where not known.
    """

    llr: np.ndarray
    possible_llr: np.ndarray
    similarity: np.ndarray


class ReIdentifier:
    """Compares tracks without a detection with new tracks.

    Args:
        layout: of the keypoints.
        min_score: minimum score of a visible keypoint, 0..1.
        min_hits: minimum number of detections of a confirmed track.
        min_age_ns: minimum age of a confirmed track, ns.
        motion_memory_ns: maximum time without a detection after which motion can bring a track
            back, ns. The time does not run while the track is occluded.
        appearance_memory_ns: maximum time without a detection after which appearance can bring a
            track back, ns.
    """

    def __init__(
        self,
        layout: Layout,
        min_score: float,
        min_hits: int,
        min_age_ns: int,
        motion_memory_ns: int,
        appearance_memory_ns: int,
    ) -> None:
        self.min_score, self.min_hits, self.min_age_ns = min_score, min_hits, min_age_ns
        self.motion_memory_ns = motion_memory_ns
        self.appearance_memory_ns = appearance_memory_ns
        self._known = np.isfinite(coco_sigmas(layout))
        known = np.flatnonzero(self._known)
        self._known_mirror = np.searchsorted(known, np.array(layout.mirror)[known])

    # ------------------------------------------------------------------------------------ rules

    def is_beyond_motion(self, track: Track, stamp_ns: int) -> bool:
        """Whether only its appearance can bring a track back: its motion memory has ended."""
        visible_ns = max(track.stamp_ns, track.occluded_ns)
        return (
            stamp_ns - visible_ns > self.motion_memory_ns
            or stamp_ns - track.stamp_ns > self.appearance_memory_ns
        )

    def is_remembered(self, track: Track, stamp_ns: int) -> bool:
        """Whether a track can come back at all. If not, it is deleted."""
        if not self.is_beyond_motion(track, stamp_ns):
            return True
        has_appearance = not np.isnan(track.appearance[:, 0]).all()
        return has_appearance and stamp_ns - track.stamp_ns <= self.appearance_memory_ns

    def is_confirmable(self, track: Track, stamp_ns: int) -> bool:
        """Whether a tentative track has the detections and the age of a confirmed one."""
        return track.hits >= self.min_hits and stamp_ns - track.born_ns >= self.min_age_ns

    def identify(
        self, missing: Sequence[Track], new: Sequence[Track], stamp_ns: int
    ) -> tuple[dict[int, int], set[int]]:
        """Decide what each new track is: an old track's person, a newcomer, or undecided.

        Args:
            missing: N confirmed tracks without a detection in this image.
            new: M tentative tracks.
            stamp_ns: of this image, ns.

        Returns:
            the index into `missing` of each new track, by its index, that is re-identified; and the
            indices of the newcomers. All others stay tentative.
        """
        candidates = self.compare(missing, new, stamp_ns)
        pair_of = {j: i for i, j in assign(candidates.llr, MIN_LLR)}
        identified: dict[int, int] = {}
        newcomers: set[int] = set()
        for j, track in enumerate(new):
            if j in pair_of and self._is_certain(pair_of[j], j, missing, new, candidates, stamp_ns):
                identified[j] = pair_of[j]
            elif self.is_confirmable(track, stamp_ns) and not self._may_wait(
                track, missing, candidates.possible_llr[:, j], stamp_ns
            ):
                newcomers.add(j)
        return identified, newcomers

    def _is_certain(
        self,
        i: int,
        j: int,
        missing: Sequence[Track],
        new: Sequence[Track],
        candidates: Candidates,
        stamp_ns: int,
    ) -> bool:
        """Whether the pair of the i-th missing and the j-th new track leads clearly enough."""
        llr = candidates.llr
        rivals = np.concatenate([np.delete(llr[:, j], i), np.delete(llr[i], j)])
        lead = llr[i, j] - max(rivals, default=-np.inf)
        immediate = llr[i, j] >= MIN_IMMEDIATE_LLR
        if np.isnan(candidates.similarity[i, j]) and np.isfinite(missing[i].appearance).any():
            age_ns = stamp_ns - new[j].born_ns
            old_enough = age_ns >= MIN_AGE_WITHOUT_APPEARANCE_S * NANOSECONDS
            return bool(immediate and old_enough and lead >= MIN_LEAD_WITHOUT_APPEARANCE)
        ready = self.is_confirmable(new[j], stamp_ns) or immediate
        return bool(ready and lead >= MIN_LEAD)

    def _may_wait(
        self, track: Track, missing: Sequence[Track], possible_llr: np.ndarray, stamp_ns: int
    ) -> bool:
        """Whether a new track may still prove to be one of the missing, and has time to wait.

        Args:
            track: the new one.
            missing: N tracks.
            possible_llr: (N,), see `Candidates`.
            stamp_ns: of this image, ns.
        """
        if stamp_ns - track.born_ns >= MAX_WAIT_S * NANOSECONDS:
            return False
        return any(
            np.isfinite(t.appearance).any()
            for t, most in zip(missing, possible_llr, strict=True)
            if most >= MIN_LLR
        )

    def ambiguous(
        self,
        matched: Sequence[Track],
        coasting: Sequence[bool],
        observed: Sequence[Track],
        missing: Sequence[Track],
        stamp_ns: int,
    ) -> list[int]:
        """Matches whose detection fits a missing track better than the track it is matched with.

        Args:
            matched: N tracks.
            coasting: whether each of them had no detection in the previous image.
            observed: N, the detection of each as a track of its own.
            missing: M confirmed tracks without a match.
            stamp_ns: of this image, ns.

        Returns:
            indices of the ambiguous matches.
        """
        if not missing or not matched:
            return []
        rival = self.compare(missing, observed, stamp_ns).llr.max(axis=0)
        close = [int(k) for k in np.flatnonzero(rival >= MIN_LLR)]
        tracks = [matched[k] for k in close]
        own = self.compare(tracks, [observed[k] for k in close], stamp_ns).llr.diagonal()
        lead = np.array([COASTING_LEAD if coasting[k] else 0.0 for k in close])
        return [k for k, better in zip(close, rival[close] > own - lead, strict=True) if better]

    # --------------------------------------------------------------------------- log-likelihoods

    def compare(self, missing: Sequence[Track], new: Sequence[Track], stamp_ns: int) -> Candidates:
        """The pairs of N missing tracks and M new ones."""
        if not missing or not new:
            empty = np.empty((len(missing), len(new)))
            return Candidates(empty, empty, empty)
        missing_appearance = np.array([t.appearance for t in missing])
        new_appearance = np.array([t.appearance for t in new])
        similarity = appearance_similarity(missing_appearance, new_appearance)
        by_appearance = appearance_llr(similarity)
        llr = self._motion_llr(missing, new) + by_appearance
        beyond_motion = np.array([[self.is_beyond_motion(t, stamp_ns)] for t in missing])
        unproven = beyond_motion & (np.isnan(similarity) | (llr < MIN_APPEARANCE_ONLY_LLR))
        llr = np.where(unproven, np.minimum(llr, UNPROVEN_LLR), llr)
        # The best is assumed of parts that were not visible yet, or only for a moment.
        known, visible = (
            np.isfinite(missing_appearance[..., 0]),
            np.isfinite(new_appearance[..., 0]),
        )
        common = (known[:, None] & visible).sum(axis=-1)
        count = known.sum(axis=-1)[:, None]
        unseen_share = np.where(count, 1 - common / np.maximum(count, 1), 0.0)
        final_ns = MIN_AGE_WITHOUT_APPEARANCE_S * NANOSECONDS
        brief = np.array([stamp_ns - t.born_ns < final_ns for t in new])
        gain = np.where(
            brief & (common > 0),
            MAX_APPEARANCE_LLR - by_appearance,
            unseen_share * MAX_APPEARANCE_LLR,
        )
        return Candidates(llr, llr + gain, similarity)

    def _motion_llr(self, missing: Sequence[Track], new: Sequence[Track]) -> np.ndarray:
        """(N, M) LLR by position, velocity and size; -inf for an impossible pair.

        The same person walks on, or does anything else; both add up. A newcomer appears anywhere in
        `NEWCOMER_AREA`, with any velocity.
        """
        old_poses = np.array([t.keypoints for t in missing])
        new_poses = np.array([t.first_keypoints for t in new])
        sizes = [
            np.sqrt(person_areas(person_boxes(poses, self.min_score)))
            for poses in (old_poses, new_poses)
        ]
        size = np.maximum(sizes[0][:, None], sizes[1])[..., None]
        elapsed = np.array([[(n.born_ns - t.stamp_ns) / NANOSECONDS for n in new] for t in missing])
        predicted = np.array([[t.displacement(n.born_ns) for n in new] for t in missing]) / size
        steps = self._steps(old_poses, new_poses) / size
        walk_on = _log_normal(
            steps - predicted, WALK_ON_STD**2 + (WALK_ON_STD_PER_S * elapsed) ** 2
        ) + _velocity_llr(missing, new, size)
        other_std = np.minimum(OTHER_STD + OTHER_STD_PER_S * elapsed, MAX_OTHER_STD)
        other = _log_normal(steps, other_std**2)
        same = np.logaddexp(np.log(WALK_ON_PRIOR) + walk_on, np.log(1 - WALK_ON_PRIOR) + other)
        ratio = self._size_ratios(old_poses, new_poses)
        possible = (elapsed > 0) & (ratio >= MIN_SIZE_RATIO) & (ratio <= 1 / MIN_SIZE_RATIO)
        return np.where(possible, same + np.log(NEWCOMER_AREA), -np.inf)

    def _positions(self, poses: np.ndarray) -> np.ndarray:
        """(N, J, 2) px of COCO's joints, from (N, K, 3); NaN where not visible."""
        visible = poses[..., 2:] >= self.min_score
        return np.where(visible, poses[..., :2], np.nan)[:, self._known]

    def _steps(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(N, M, 2) px: steps of N bodies (N, K, 3) to M bodies (M, K, 3).

        A step is the median over the midpoints of left and right joints. Where too few of these are
        visible it is the median over the joints, and then the step of the boxes' centres.
        """
        positions = [self._positions(poses) for poses in (first, second)]
        midpoints = [0.5 * (p + p[:, self._known_mirror]) for p in positions]
        boxes = [person_boxes(poses, self.min_score) for poses in (first, second)]
        centres = [0.5 * (b[:, :2] + b[:, 2:]) for b in boxes]
        steps = midpoints[1] - midpoints[0][:, None]
        of_joints = positions[1] - positions[0][:, None]
        of_boxes = centres[1] - centres[0][:, None]
        steps = np.where(_are_few(steps)[..., None, None], of_joints, steps)
        steps = np.where(_are_few(steps)[..., None, None], of_boxes[:, :, None], steps)
        return _median(steps)

    def _size_ratios(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(N, M) ratio of the sizes of M bodies (M, K, 3) to N bodies (N, K, 3).

        The size is taken over the joints that are visible of both; 1 where these are too few.
        """
        positions = [self._positions(poses) for poses in (first, second)]
        both = np.isfinite(positions[0][:, None] + positions[1]).all(axis=-1, keepdims=True)
        count = np.maximum(both.sum(axis=2), 1)
        extents = []
        for p in (positions[0][:, None], positions[1]):
            p = np.where(both, p, 0.0)
            mean = p.sum(axis=2) / count
            extents.append(((p**2).sum(axis=2) / count - mean**2).sum(axis=-1))
        extents = [np.maximum(extent, MIN_EXTENT_PX2) for extent in extents]
        ratio = np.sqrt(extents[1] / extents[0])
        return np.where(count[..., 0] < MIN_COMMON_JOINTS, 1.0, ratio)


def _velocity_llr(missing: Sequence[Track], new: Sequence[Track], size: np.ndarray) -> np.ndarray:
    """(N, M) LLR of a person who walks on to a newcomer, by velocity; 0 where the new one's is not
    known. size: (N, M, 1) px of a body."""
    before = np.array([t.velocity for t in missing])[:, None]
    now = np.array([t.velocity for t in new])
    variance_before = np.array([t.velocity_variance for t in missing])[:, None]
    variance_now = np.array([t.velocity_variance for t in new])
    same = _log_normal(
        (now - before) / size, WALK_ON_VELOCITY_STD**2 + variance_before + variance_now
    )
    newcomer = _log_normal(now / size, NEWCOMER_VELOCITY_STD**2 + variance_now)
    return np.where(variance_now > MAX_VELOCITY_VARIANCE, 0.0, same - newcomer)


def _are_few(steps: np.ndarray) -> np.ndarray:
    """(N, M) whether fewer than `MIN_COMMON_JOINTS` of the steps (N, M, J, 2) are known."""
    few: np.ndarray = np.isfinite(steps).all(axis=-1).sum(axis=-1) < MIN_COMMON_JOINTS
    return few


def _median(values: np.ndarray) -> np.ndarray:
    """(N, M, 2): median of (N, M, J, 2) over J without NaN. np.nanmedian is ten times slower."""
    count = np.isfinite(values).sum(axis=2, keepdims=True)
    values = np.sort(values, axis=2)
    low, high = (
        np.take_along_axis(values, np.maximum(i, 0), axis=2) for i in ((count - 1) // 2, count // 2)
    )
    return 0.5 * (low + high)[:, :, 0]


def _log_normal(offset: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Logarithm of the density of a normal distribution in the plane; offset (..., 2)."""
    square = (offset**2).sum(axis=-1)
    return np.asarray(-0.5 * square / variance - np.log(2 * np.pi * variance))
