"""Ids for detections, from where people were expected.

Of the libraries that could do this none is for poses with stamps: Norfair (BSD-3) wants numpy 1,
Roboflow's `trackers` and `supervision` (Apache-2.0, MIT) follow boxes alone and count frames, and
all of them bring SciPy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import numpy as np

from ..detect.protocol import Detection
from ..skeletons import BLAZEPOSE33, Layout
from ..stamps import NANOSECONDS, StampFilter
from .appearance import BIN_COUNT, PARTS, clothes, likeness
from .assignment import assign
from .similarity import LEAST_COMMON, areas_of, box_iou, boxes_of, coco_sigmas, oks

#: Detections that can still continue a track have at least this share of the score that begins one.
WEAK = 0.5

# Motion, as measured on people who walk, squat and jump, at 5 to 30 Hz.
# Lengths are shares of the root of the person's area, which for who stands is 0.4 of the height.
#: Standard deviation of an unknown person's velocity, 1/s, and of how it changes, 1/s in a second.
VELOCITY, VELOCITY_CHANGE = 1.5, 0.75
#: Standard deviation of a body's place as the detector has it, when all its joints are seen.
PLACE = 0.02
#: People turn around: after this long, s, the velocity is down to 1/e.
DECAY_S = 1.5
#: Standard deviation of a predicted place: at once, and for each second.
SPREAD, SPREAD_PER_S = 0.02, 0.4

#: Weight of the keypoints' similarity; the boxes' overlap has the rest.
KEYPOINTS = 0.8
#: What a similarity is worth when the keypoints' left and right had to be exchanged for it.
EXCHANGED = 0.9
#: Least similarity right after a detection, and how it goes down to `min_similarity`, 1/s. A person
#: is more like it in 99.5 %; someone else, who comes out from behind that person, seldom is.
AT_ONCE, AT_ONCE_PER_S = 0.5, 0.5
#: Time after which the score of a keypoint that is no longer seen is down to 1/e, s.
FORGET_S = 0.4

#: What the colours' log-likelihood ratio is worth as similarity.
COLOURS = 0.1
#: Time constant of the remembered colours, s.
COLOURS_S = 4.0

# Who was lost and comes back, against somebody new: log-likelihood ratios.
#: A track that was not seen for so long, s, and not in the last image, is lost.
LOST_S = 0.25
#: Standard deviation of the place of who walks on, at once and for each second; and of who does
#: anything else: turns around, jumps, was seen badly. Lengths as above.
ON, ON_PER_S, ELSE, ELSE_PER_S, ELSE_MOST = 0.1, 0.6, 0.5, 1.5, 3.0
#: Prior of walking on.
WALKS_ON = 0.6
#: Somebody new is anywhere in a picture of this area, with a velocity of this standard deviation;
#: and the velocity of who walks on has changed by this.
AREA, ANY_VELOCITY, SAME_VELOCITY = 80.0, 2.0, 0.7
#: The ratio by how alike the colours are, linear between these.
LIKENESS, RATIO = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0), (-8.0, -6.0, -3.5, 0.0, 2.0, 2.5)
#: A ratio under it is nobody's return; and it must be above that of anybody else by this.
RETURN, MARGIN = 0.0, 1.0
#: Likewise for one that was missed a moment ago, to go on without waiting.
DOUBT = 2.0
#: A ratio that is enough at the first sight, or without the colours, if those cannot be seen for
#: that long, s.
SURE, MARGIN_UNSEEN, UNSEEN_S = 2.5, 2.0, 0.3
#: How long somebody new who may be one of the lost waits for a better sight, s.
WAIT_S = 0.5
#: Ratio for a return after a longer time than `max_age_s`, which colours alone can prove.
RECALL = 0.5
#: The least ratio of the sizes.
SIZE_RATIO = 0.4
#: Share of a body's joints that others who are nearer have to cover for it to be hidden.
HIDDEN = 0.4


@dataclass
class _Track:
    """What is known about one person.

    Attributes:
        keypoints: (K, 3) as last seen; one that is hidden since goes along, and loses its score.
        colours: (PARTS, B) of `clothes`, the mean over a while; NaN where never seen.
        stamp_ns: of the last detection.
        velocity: (2,) px/s of the whole body.
        variance: of the velocity, over the person's area, 1/s^2.
        colours_s: (PARTS,) time for which they were seen.
        hits: number of detections.
        id: 0 until the track is reported.
        first, born_ns: keypoints and stamp of the first detection.
        hidden_ns: when it was last expected behind others.
    """

    keypoints: np.ndarray
    colours: np.ndarray
    stamp_ns: int
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    variance: float = VELOCITY**2
    colours_s: np.ndarray = field(default_factory=lambda: np.full(PARTS, LOST_S))
    hits: int = 1
    id: int = 0

    def __post_init__(self) -> None:
        self.first = self.keypoints
        self.born_ns = self.hidden_ns = self.stamp_ns

    def away_s(self, stamp_ns: int) -> float:
        return (stamp_ns - self.stamp_ns) / NANOSECONDS

    def moved(self, stamp_ns: int) -> np.ndarray:
        """(2,) px that it should have gone since it was seen."""
        elapsed: float = DECAY_S * -np.expm1(-self.away_s(stamp_ns) / DECAY_S)
        return elapsed * self.velocity

    def predicted(self, stamp_ns: int) -> np.ndarray:
        """(K, 3) where the keypoints should be."""
        out = self.keypoints.copy()
        out[:, :2] += self.moved(stamp_ns)
        return out


class Tracker:
    """Gives each detection the id of the track that it continues, or a new one.

    Those seen a moment ago go on where their motion would have them: pairs are made for the largest
    sum of object-keypoint similarity and the overlap of the boxes, less what the colours say
    against it; detections of a good score first, then the weak ones (Zhang et al., "ByteTrack",
    ECCV 2022). What is left begins new tracks. Before one is reported it may prove to be somebody
    who was lost: by place, velocity and colours, as log-likelihood ratios to somebody new. Where
    two could be meant it waits for a better sight, and in the end is somebody new: to exchange two
    people is worse. An id is never used again.

    Args:
        layout: of the keypoints.
        max_age_s: how long a track is remembered without a detection, s; while it is expected to be
            behind others the time does not run.
        recall_s: how long one whose colours are known is remembered for them, s.
        min_hits: detections of a new track before it is reported, at any rate.
        min_age_s: time between the first of them and the last, s; detectors' ghosts last a few
            images.
        young_age_s: a track not reported yet is given up after this long without a detection, s,
            if there was an image without it.
        min_similarity: pairs under it are none, 0..1.
        birth_score: a detection under it can only continue a track, 0..1.
        min_score: keypoints under it are not compared, 0..1.

    Attributes:
        stamps: the rule on the images' stamps. A caller that has work to do before the tracking,
            such as detection, asks it first, and drops the images that it refuses.
    """

    def __init__(
        self,
        layout: Layout = BLAZEPOSE33,
        max_age_s: float = 1.0,
        recall_s: float = 10.0,
        min_hits: int = 2,
        min_age_s: float = 0.05,
        young_age_s: float = 0.1,
        min_similarity: float = 0.2,
        birth_score: float = 0.4,
        min_score: float = 0.3,
    ) -> None:
        self.layout = layout
        self.max_age_ns = int(max_age_s * NANOSECONDS)
        self.recall_ns = int(max(recall_s, max_age_s) * NANOSECONDS)
        self.min_age_ns = int(min_age_s * NANOSECONDS)
        self.young_age_ns = int(young_age_s * NANOSECONDS)
        self.min_hits, self.min_similarity = min_hits, min_similarity
        self.birth_score, self.min_score = birth_score, min_score
        self._sigmas = coco_sigmas(layout)
        self._mirror = np.array(layout.mirror)
        known = np.flatnonzero(np.isfinite(self._sigmas))
        self._known_mirror = np.searchsorted(known, self._mirror[known])
        self.stamps = StampFilter()
        self._tracks: list[_Track] = []
        self._ids = count(1)
        self._last_ns: int | None = None

    def update(
        self, detections: list[Detection], stamp_ns: int, image: np.ndarray | None = None
    ) -> list[tuple[int, Detection]]:
        """Ids for one image's detections; those of tracks too young yet are left out.

        An image whose stamp is refused, see `stamps.StampFilter`, changes nothing. A clock that has
        jumped back forgets all tracks: time has started anew. Detections without any finite
        keypoint are left out.

        Args:
            detections: of the image, keypoints (K, 3) in the tracker's layout; a keypoint may be
                NaN, and infinity is taken for it.
            stamp_ns: of the image, ns.
            image: (H, W, 3) uint8 RGB; the colours of the clothes then help where people cross.

        Returns:
            (id, detection), ids rising; none where the stamp is refused.

        Raises:
            ValueError: the keypoints are not in the tracker's layout.
        """
        if any(d.keypoints.shape != (len(self.layout), 3) for d in detections):
            raise ValueError(f"the keypoints are not of layout {self.layout.name!r}")
        # The newest stamp is that of an image which the caller has asked about already.
        if stamp_ns != self.stamps.newest_ns and not self.stamps.take(stamp_ns).accepted:
            return []
        if self._last_ns is not None and stamp_ns < self._last_ns:
            self._tracks = []
        last_ns, self._last_ns = self._last_ns, stamp_ns
        self._tracks = [t for t in self._tracks if self._is_remembered(t, stamp_ns)]

        detections = [d for d in detections if np.isfinite(d.keypoints).all(axis=1).any()]
        poses = np.array([d.keypoints for d in detections]).reshape(-1, len(self.layout), 3)
        poses = np.where(np.isfinite(poses), poses, np.nan)
        boxes = boxes_of(poses, self.min_score)
        colours = self._colours(poses, image)
        alike = _alike(np.array([t.colours for t in self._tracks]), colours)
        similarity = self._similarity(poses, boxes, alike, stamp_ns)
        away = np.array([t.away_s(stamp_ns) for t in self._tracks])[:, None]
        similarity -= np.maximum(self.min_similarity, AT_ONCE - AT_ONCE_PER_S * away)

        recent = [
            row
            for row, t in enumerate(self._tracks)
            if t.id and (t.stamp_ns == last_ns or t.away_s(stamp_ns) <= LOST_S)
        ]
        young = [row for row, track in enumerate(self._tracks) if not track.id]
        good = [c for c, d in enumerate(detections) if d.score >= self.birth_score]
        weak = [c for c in range(len(detections)) if c not in good]
        column_of: dict[int, int] = {}

        def match(rows: list[int], columns: list[int]) -> None:
            columns = [c for c in columns if c not in column_of.values()]
            for i, j in assign(similarity[np.ix_(rows, columns)], 0.0):
                column_of[rows[i]] = columns[j]

        match(recent, good)
        for row in self._doubtful(column_of, poses, colours, stamp_ns, last_ns):
            del column_of[row]
        match([r for r in recent if r not in column_of], weak)
        match(young, good)

        for row, column in column_of.items():
            self._continue(self._tracks[row], poses[column], stamp_ns, colours[column])
        track_of = {column: self._tracks[row] for row, column in column_of.items()}
        self._tracks = [
            track
            for track in self._tracks
            if track.id or stamp_ns - track.stamp_ns <= self.young_age_ns
        ]
        for column in good:
            if column not in track_of:
                track_of[column] = _Track(poses[column], colours[column], stamp_ns)
                self._tracks.append(track_of[column])
        self._see_hidden(boxes, stamp_ns)
        self._name(track_of, stamp_ns)
        out = [(t.id, detections[column]) for column, t in track_of.items() if t.id]
        return sorted(out, key=lambda pair: pair[0])

    def _is_remembered(self, track: _Track, stamp_ns: int) -> bool:
        known = not np.isnan(track.colours[:, 0]).all()
        away_ns = stamp_ns - track.stamp_ns
        return not self._is_late(track, stamp_ns) or (known and away_ns <= self.recall_ns)

    def _is_ripe(self, track: _Track, stamp_ns: int) -> bool:
        """Whether it may be reported."""
        return track.hits >= self.min_hits and stamp_ns - track.born_ns >= self.min_age_ns

    def _is_late(self, track: _Track, stamp_ns: int) -> bool:
        """Whether it was away for too long to be known by its motion."""
        hidden = stamp_ns - max(track.stamp_ns, track.hidden_ns) <= self.max_age_ns
        return not hidden or stamp_ns - track.stamp_ns > self.recall_ns

    def _colours(self, poses: np.ndarray, image: np.ndarray | None) -> np.ndarray:
        """(detections, PARTS, B)."""
        if image is None:
            return np.full((len(poses), PARTS, BIN_COUNT), np.nan)
        return clothes(image, poses, self.layout, self.min_score)

    def _similarity(
        self,
        poses: np.ndarray,
        boxes: np.ndarray,
        alike: np.ndarray,
        stamp_ns: int,
    ) -> np.ndarray:
        """(tracks, detections), at most 1."""
        if not self._tracks or not len(poses):
            return np.zeros((len(self._tracks), len(poses)))
        expected = np.array([track.predicted(stamp_ns) for track in self._tracks])
        expected_boxes = boxes_of(expected, self.min_score)
        away = np.array([track.away_s(stamp_ns) for track in self._tracks])
        variance = np.array([track.variance for track in self._tracks])
        spread = np.sqrt((SPREAD + SPREAD_PER_S * away) ** 2 + variance * away**2)
        spread *= np.sqrt(areas_of(expected_boxes))
        areas = areas_of(boxes)

        def of_keypoints(which: np.ndarray) -> np.ndarray:
            return oks(expected, which, areas, self._sigmas, self.min_score, spread)

        overlap = box_iou(expected_boxes, boxes)
        keypoints = np.fmax(of_keypoints(poses), EXCHANGED * of_keypoints(poses[:, self._mirror]))
        keypoints = np.where(np.isnan(keypoints), overlap, keypoints)
        out = KEYPOINTS * keypoints + (1 - KEYPOINTS) * overlap
        return out + COLOURS * _by_colours(alike)

    def _see_hidden(self, boxes: np.ndarray, stamp_ns: int) -> None:
        """Which of the lost should be behind others who are seen."""
        for track in self._tracks:
            if track.stamp_ns == stamp_ns or self._is_late(track, stamp_ns):
                continue
            there = track.predicted(stamp_ns)[np.isfinite(self._sigmas), :2]
            nearer = boxes[boxes[:, 3] > np.fmax.reduce(there[:, 1])]
            inside = (there > nearer[:, None, :2]) & (there < nearer[:, None, 2:])
            if inside.all(axis=-1).any(axis=0).mean() >= HIDDEN:
                track.hidden_ns = stamp_ns

    def _name(self, track_of: dict[int, _Track], stamp_ns: int) -> None:
        """Give ids to new tracks: of one who was lost, or new ones; or wait.

        Args:
            track_of: of each detection; those who are found again take the place of the new tracks.
            stamp_ns: now.
        """
        columns = [column for column, track in track_of.items() if not track.id]
        new = [track_of[column] for column in columns]
        lost = [t for t in self._tracks if t.id and t.stamp_ns != stamp_ns]
        if not new:
            return
        ratio, hope, alike = self._returns(lost, new, stamp_ns)
        pair_of = {j: i for i, j in assign(ratio, RETURN)}
        for j, (column, track) in enumerate(zip(columns, new, strict=True)):
            age_ns = stamp_ns - track.born_ns
            if j in pair_of:
                i = pair_of[j]
                rivals = np.concatenate([np.delete(ratio[:, j], i), np.delete(ratio[i], j)])
                ahead = ratio[i, j] - max(rivals, default=-np.inf)
                ripe = self._is_ripe(track, stamp_ns)
                sure, margin = ripe or ratio[i, j] >= SURE, MARGIN
                if np.isnan(alike[i, j]) and np.isfinite(lost[i].colours).any():
                    sure = ratio[i, j] >= SURE and age_ns >= UNSEEN_S * NANOSECONDS
                    margin = MARGIN_UNSEEN
                if sure and ahead >= margin:
                    self._return(lost[i], track, stamp_ns)
                    track_of[column] = lost[i]
                    continue
            if not self._is_ripe(track, stamp_ns):
                continue
            may_be = [t for t, most in zip(lost, hope[:, j], strict=True) if most >= RETURN]
            waits = age_ns < WAIT_S * NANOSECONDS
            if not (waits and any(np.isfinite(t.colours).any() for t in may_be)):
                track.id = next(self._ids)

    def _doubtful(
        self,
        column_of: dict[int, int],
        poses: np.ndarray,
        colours: np.ndarray,
        stamp_ns: int,
        last_ns: int | None,
    ) -> list[int]:
        """Rows of the tracks whose detections (their columns) may as well be somebody's who was
        lost."""
        lost = [
            t
            for row, t in enumerate(self._tracks)
            if t.id and t.stamp_ns != last_ns and row not in column_of
        ]
        if not lost or not column_of:
            return []
        new = [_Track(poses[c], colours[c], stamp_ns) for c in column_of.values()]
        others = self._returns(lost, new, stamp_ns)[0].max(axis=0)
        close = np.flatnonzero(others >= RETURN)
        rows = [list(column_of)[k] for k in close]
        tracks = [self._tracks[row] for row in rows]
        own = self._returns(tracks, [new[k] for k in close], stamp_ns)[0].diagonal()
        own = own - [DOUBT if t.stamp_ns != last_ns else 0.0 for t in tracks]
        return [row for row, doubtful in zip(rows, others[close] > own, strict=True) if doubtful]

    def _returns(
        self, lost: list[_Track], new: list[_Track], stamp_ns: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which of the lost the new ones may be.

        Returns:
            (lost, new) log-likelihood ratios of a return to somebody new, -inf for no pair; what
            they can still become by the colours; and how alike those are, NaN where not known.
        """
        if not lost or not new:
            return (np.empty((len(lost), len(new))),) * 3
        alike = _alike(*(np.array([t.colours for t in side]) for side in (lost, new)))
        by_colours = _by_colours(alike)
        ratio = self._by_motion(lost, new) + by_colours
        late = np.array([[self._is_late(t, stamp_ns)] for t in lost])
        unproven = late & (np.isnan(alike) | (ratio < RECALL))
        ratio = np.where(unproven, np.minimum(ratio, RETURN - 0.1), ratio)
        # Of what is not seen yet, or for a moment only, the best is hoped.
        known, seen = (np.isfinite([t.colours[:, 0] for t in side]) for side in (lost, new))
        common = (known[:, None] & seen).sum(axis=-1)
        count = known.sum(axis=-1)[:, None]
        unseen = np.where(count, 1 - common / np.maximum(count, 1), 0.0)
        glimpse = np.array([stamp_ns - t.born_ns < UNSEEN_S * NANOSECONDS for t in new])
        hope = np.where(glimpse & (common > 0), RATIO[-1] - by_colours, unseen * RATIO[-1])
        return ratio, ratio + hope, alike

    def _by_motion(self, lost: list[_Track], new: list[_Track]) -> np.ndarray:
        """(lost, new) log-likelihood ratios by place and velocity, -inf for no pair.

        Bayes's, of the lost one, who walks on or does anything else, to somebody new anywhere.
        """
        poses = np.array([t.keypoints for t in lost]), np.array([t.first for t in new])
        boxes = [boxes_of(p, self.min_score) for p in poses]
        sizes = [np.sqrt(areas_of(b)) for b in boxes]
        size = np.maximum(sizes[0][:, None], sizes[1])[..., None]
        elapsed = np.array([[(n.born_ns - t.stamp_ns) / NANOSECONDS for n in new] for t in lost])
        moved = np.array([[t.moved(n.born_ns) for n in new] for t in lost]) / size
        steps, larger = self._steps(*poses, *boxes)
        steps = steps / size
        before, now = (np.array([t.velocity for t in side]) for side in (lost, new))
        unsure, unsure_now = (np.array([t.variance for t in side]) for side in (lost, new))
        change = _log_normal(
            (now - before[:, None]) / size, SAME_VELOCITY**2 + unsure[:, None] + unsure_now
        )
        change -= _log_normal(now / size, ANY_VELOCITY**2 + unsure_now)
        change[:, unsure_now > 0.5 * VELOCITY**2] = 0.0
        on = _log_normal(steps - moved, ON**2 + (ON_PER_S * elapsed) ** 2) + change
        other = _log_normal(steps, np.minimum(ELSE + ELSE_PER_S * elapsed, ELSE_MOST) ** 2)
        ratio = np.logaddexp(np.log(WALKS_ON) + on, np.log(1 - WALKS_ON) + other) + np.log(AREA)
        possible = (elapsed > 0) & (larger >= SIZE_RATIO) & (larger <= 1 / SIZE_RATIO)
        return np.where(possible, ratio, -np.inf)

    def _steps(
        self, first: np.ndarray, second: np.ndarray, boxes: np.ndarray, new_boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(N, M, 2) px that bodies have moved: the median over the middles between left and right;
        where too few are seen, the boxes' middles; and (N, M) how many times larger they are, over
        the joints that are seen of both, 1 where that is not known."""
        places = [
            np.where(p[..., 2:] >= self.min_score, p[..., :2], np.nan)[:, np.isfinite(self._sigmas)]
            for p in (first, second)
        ]
        middles = [0.5 * (p + p[:, self._known_mirror]) for p in places]
        steps = middles[1] - middles[0][:, None]
        of_joints = places[1] - places[0][:, None]
        few = np.isfinite(steps).all(axis=-1).sum(axis=-1) < LEAST_COMMON
        steps = np.where(few[..., None, None], of_joints, steps)
        few = np.isfinite(steps).all(axis=-1).sum(axis=-1) < LEAST_COMMON
        of_boxes = 0.5 * (new_boxes[:, :2] + new_boxes[:, 2:])
        of_boxes = of_boxes - 0.5 * (boxes[:, :2] + boxes[:, 2:])[:, None]
        steps = np.where(few[..., None, None], of_boxes[:, :, None], steps)
        both = np.isfinite(places[0][:, None] + places[1]).all(axis=-1, keepdims=True)
        count = np.maximum(both.sum(axis=2), 1)
        extents = []
        for p in (places[0][:, None], places[1]):
            p = np.where(both, p, 0.0)
            mean = p.sum(axis=2) / count
            extents.append(((p**2).sum(axis=2) / count - mean**2).sum(axis=-1))
        ratio = np.sqrt(np.maximum(extents[1], 1.0) / np.maximum(extents[0], 1.0))
        ratio[count[..., 0] < LEAST_COMMON] = 1.0
        return _median(steps), ratio

    def _return(self, lost: _Track, new: _Track, stamp_ns: int) -> None:
        """Go on with a lost track where a new one is, which ends."""
        self._tracks = [t for t in self._tracks if t is not new]
        if new.hits == 1:
            self._continue(lost, new.keypoints, stamp_ns, new.colours)
            return
        lost.keypoints, lost.velocity, lost.variance = new.keypoints, new.velocity, new.variance
        lost.stamp_ns = new.stamp_ns
        lost.hits += new.hits
        _blend(lost, new.colours, new.colours_s)

    def _continue(
        self, track: _Track, pose: np.ndarray, stamp_ns: int, colours: np.ndarray
    ) -> None:
        """Take a detection into a track."""
        elapsed = track.away_s(stamp_ns)
        expected = track.predicted(stamp_ns)
        if elapsed > 0:
            self._learn_velocity(track, pose, elapsed)
        expected[:, 2] *= np.exp(-elapsed / FORGET_S)
        seen = np.isfinite(pose).all(axis=1) & (
            (pose[:, 2] >= self.min_score) | ~(expected[:, 2] >= self.min_score)
        )
        track.keypoints = np.where(seen[:, None], pose, expected)
        track.stamp_ns = stamp_ns
        track.hits += 1
        _blend(track, colours, np.full(PARTS, min(elapsed, LOST_S)))

    def _learn_velocity(self, track: _Track, pose: np.ndarray, elapsed: float) -> None:
        """Kalman's filter of the velocity, from the step since the last detection.

        The step is the median over the middles between left and right, which do not care when the
        detector takes one for the other; where too few of them are seen, over the keypoints.
        """
        track.variance += VELOCITY_CHANGE**2 * elapsed
        steps = pose[:, :2] - track.keypoints[:, :2]
        both = (track.keypoints[:, 2] >= self.min_score) & (pose[:, 2] >= self.min_score)
        both &= np.isfinite(steps).all(axis=1)
        if both.sum() < LEAST_COMMON:
            return
        pairs = both & both[self._mirror]
        if pairs.sum() >= LEAST_COMMON:
            steps = (0.5 * (steps + steps[self._mirror]))[pairs]
        else:
            steps = steps[both]
        # The median of a few joints that are seen beside others is a poor one.
        noise = 2 * (PLACE / both.mean() / elapsed) ** 2
        gain = track.variance / (track.variance + noise)
        track.velocity = track.velocity + gain * (
            np.median(steps, axis=0) / elapsed - track.velocity
        )
        track.variance *= 1 - gain


def _median(values: np.ndarray) -> np.ndarray:
    """(N, M, 2) of (N, M, K, 2) over K; NumPy's that leaves out NaN is ten times slower."""
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


def _alike(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, M) mean likeness of the parts' colours, (N, PARTS, B) and (M, PARTS, B); NaN where no
    part is known of both."""
    if not len(first) or not len(second):
        return np.full((len(first), len(second)), np.nan)
    parts = likeness(first.swapaxes(0, 1), second.swapaxes(0, 1))
    known = np.isfinite(parts).sum(axis=0)
    return np.where(known, np.nansum(parts, axis=0) / np.maximum(known, 1), np.nan)


def _by_colours(alike: np.ndarray) -> np.ndarray:
    """Log-likelihood ratio of one person to two; 0 where the colours are not known."""
    return np.nan_to_num(np.interp(alike, LIKENESS, RATIO))


def _blend(track: _Track, colours: np.ndarray, seconds: np.ndarray) -> None:
    """Take colours (PARTS, B), seen for so long (PARTS,), into the mean over `COLOURS_S`."""
    seen = np.isfinite(colours[:, 0])
    fresh = seen & np.isnan(track.colours[:, 0])
    share = seconds / np.maximum(np.minimum(track.colours_s, COLOURS_S) + seconds, 1e-9)
    share = np.where(fresh, 1.0, share)[:, None]
    mixed = np.where(fresh[:, None], 0.0, track.colours * (1 - share)) + share * colours
    track.colours = np.where(seen[:, None], mixed, track.colours)
    track.colours_s = track.colours_s + np.where(seen, seconds, 0.0)
