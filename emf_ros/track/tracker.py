"""Ids for detections, from where people were expected.

Of the libraries that could do this none is for poses with stamps: Norfair (BSD-3) wants numpy 1,
Roboflow's `trackers` and `supervision` (Apache-2.0, MIT) follow boxes alone and count frames, and
all of them bring SciPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from ..detect.base import Detection
from ..skeletons import BLAZEPOSE33, Layout
from .appearance import BIN_COUNT, colour_histogram, likeness, trunk_quad
from .assignment import assign
from .similarity import LEAST_COMMON, areas_of, box_iou, boxes_of, coco_sigmas, oks

NANOSECONDS = 1_000_000_000

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
#: Who is missed and then stands there unclaimed may have turned around, jumped or been seen badly:
#: how far that one can have gone, in sizes (a box's diagonal), at once and for each second; how
#: many times farther when the colours are right, how alike they have to be for that; and the least
#: ratio of the sizes.
REACH, REACH_PER_S, REACH_COLOURS, SAME_COLOURS, SIZE_RATIO = 0.4, 1.0, 2.0, 0.8, 0.4
#: Time after which the score of a keypoint that is no longer seen is down to 1/e, s.
FORGET_S = 0.4

#: Colours less alike than this are held against a pair, with this weight: clothes that look alike
#: prove nothing. The same person's are more alike than 0.7 in 99 %, another's less than 0.3 mostly.
COLOURS_ALIKE, COLOURS = 0.5, 1.2
#: Time constant of the remembered colours, s.
COLOURS_S = 1.0


@dataclass
class _Track:
    """What is known about one person.

    Attributes:
        keypoints: (K, 3) as last seen; one that is hidden since goes along, and loses its score.
        velocity: (2,) px/s of the whole body.
        variance: of the velocity, over the person's area, 1/s^2.
        born_ns, stamp_ns: of the first and the last detection.
        hits: number of detections.
        id: 0 until the track is reported.
        colours: of `colour_histogram`.
    """

    keypoints: np.ndarray
    velocity: np.ndarray
    born_ns: int
    stamp_ns: int
    hits: int = 1
    id: int = 0
    colours: np.ndarray | None = None
    variance: float = VELOCITY**2

    def away_s(self, stamp_ns: int) -> float:
        return (stamp_ns - self.stamp_ns) / NANOSECONDS

    def predicted(self, stamp_ns: int) -> np.ndarray:
        """(K, 3) where the keypoints should be."""
        elapsed = DECAY_S * -np.expm1(-self.away_s(stamp_ns) / DECAY_S)
        out = self.keypoints.copy()
        out[:, :2] += elapsed * self.velocity
        return out


class Tracker:
    """Gives each detection the id of the track that it continues, or a new one.

    Pairs are made for the largest sum of similarities between the detections and where the tracks'
    motion would have them: object-keypoint similarity and the overlap of the boxes. Reported tracks
    choose first among the detections of a good score, then among the weak ones (Zhang et al.,
    "ByteTrack", ECCV 2022). What is left continues the tracks that are too young to be reported, or
    one that was missed and may have come this far, or begins a new one if its score is good. An id
    is never used again.

    Args:
        layout: of the keypoints.
        max_age_s: how long a track is remembered without a detection, s.
        min_hits: detections of a new track before it is reported, at any rate.
        min_age_s: time between the first of them and the last, s; detectors' ghosts last a few
            images.
        young_age_s: a track not reported yet is given up after this long without a detection, s,
            if there was an image without it.
        min_similarity: pairs under it are none, 0..1.
        birth_score: a detection under it can only continue a track, 0..1.
        min_score: keypoints under it are not compared, 0..1.
    """

    def __init__(
        self,
        layout: Layout = BLAZEPOSE33,
        max_age_s: float = 1.0,
        min_hits: int = 2,
        min_age_s: float = 0.05,
        young_age_s: float = 0.1,
        min_similarity: float = 0.2,
        birth_score: float = 0.4,
        min_score: float = 0.3,
    ) -> None:
        self.layout = layout
        self.max_age_ns = int(max_age_s * NANOSECONDS)
        self.min_age_ns = int(min_age_s * NANOSECONDS)
        self.young_age_ns = int(young_age_s * NANOSECONDS)
        self.min_hits, self.min_similarity = min_hits, min_similarity
        self.birth_score, self.min_score = birth_score, min_score
        self._sigmas = coco_sigmas(layout)
        self._mirror = np.array(layout.mirror)
        self._tracks: list[_Track] = []
        self._ids = count(1)
        self._last_ns: int | None = None

    def update(
        self, detections: list[Detection], stamp_ns: int, image: np.ndarray | None = None
    ) -> list[tuple[int, Detection]]:
        """Ids for one image's detections; those of tracks too young yet are left out.

        A stamp that lies before the last one forgets all tracks: time has started anew. Detections
        without any finite keypoint are left out.

        Args:
            detections: of the image, keypoints (K, 3) in the tracker's layout; a keypoint may be
                NaN.
            stamp_ns: of the image, ns.
            image: (H, W, 3) uint8 RGB; the colours of the clothes then help where people cross.

        Returns:
            (id, detection), ids rising.

        Raises:
            ValueError: the keypoints are not in the tracker's layout.
        """
        if any(d.keypoints.shape != (len(self.layout), 3) for d in detections):
            raise ValueError(f"the keypoints are not of layout {self.layout.name!r}")
        if self._last_ns is not None and stamp_ns < self._last_ns:
            self._tracks = []
        self._last_ns = stamp_ns
        self._tracks = [t for t in self._tracks if stamp_ns - t.stamp_ns <= self.max_age_ns]

        detections = [d for d in detections if np.isfinite(d.keypoints).all(axis=1).any()]
        poses = np.array([d.keypoints for d in detections]).reshape(-1, len(self.layout), 3)
        boxes = boxes_of(poses, self.min_score)
        colours = self._colours(poses, boxes, image)
        alike = self._alike(colours)
        similarity = self._similarity(poses, boxes, alike, stamp_ns)

        reported = [row for row, track in enumerate(self._tracks) if track.id]
        young = [row for row, track in enumerate(self._tracks) if not track.id]
        good = [c for c, d in enumerate(detections) if d.score >= self.birth_score]
        weak = [c for c in range(len(detections)) if c not in good]
        column_of: dict[int, int] = {}

        def match(rows: list[int], columns: list[int], gain: np.ndarray, least: float) -> None:
            rows = [r for r in rows if r not in column_of]
            columns = [c for c in columns if c not in column_of.values()]
            for i, j in assign(gain[np.ix_(rows, columns)], least):
                column_of[rows[i]] = columns[j]

        match(reported, good, similarity, self.min_similarity)
        match(reported, weak, similarity, self.min_similarity)
        if len(column_of) < len(reported) and not set(good) <= set(column_of.values()):
            match(reported, good, self._reach(poses, boxes, alike, stamp_ns), 0.0)
        match(young, good, similarity, self.min_similarity)

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
                track_of[column] = _Track(
                    poses[column], np.zeros(2), stamp_ns, stamp_ns, colours=colours[column]
                )
                self._tracks.append(track_of[column])
        out = []
        for column, track in sorted(track_of.items()):
            old = track.hits >= self.min_hits and stamp_ns - track.born_ns >= self.min_age_ns
            if old and not track.id:
                track.id = next(self._ids)
            if track.id:
                out.append((track.id, detections[column]))
        return sorted(out, key=lambda pair: pair[0])

    def _colours(
        self, poses: np.ndarray, boxes: np.ndarray, image: np.ndarray | None
    ) -> list[np.ndarray | None]:
        """Of the trunks as far as nobody covers them; who stands lower in the picture is nearer."""
        out: list[np.ndarray | None] = [None] * len(poses)
        if image is None:
            return out
        for i, pose in enumerate(poses):
            nearer = boxes[boxes[:, 3] > boxes[i, 3]]
            quad = trunk_quad(pose, self.layout, self.min_score)
            out[i] = None if quad is None else colour_histogram(image, quad, nearer)
        return out

    def _alike(self, colours: Sequence[np.ndarray | None]) -> np.ndarray:
        """(tracks, detections) likeness of the colours; NaN where either is not known."""
        unknown = np.full(BIN_COUNT, np.nan)
        known = [[t.colours for t in self._tracks], colours]
        tracks, seen = (
            np.array([unknown if c is None else c for c in side]).reshape(-1, BIN_COUNT)
            for side in known
        )
        return likeness(tracks, seen)

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
        spread = (SPREAD + SPREAD_PER_S * away) * np.sqrt(areas_of(expected_boxes))
        areas = areas_of(boxes)

        def of_keypoints(which: np.ndarray) -> np.ndarray:
            return oks(expected, which, areas, self._sigmas, self.min_score, spread)

        overlap = box_iou(expected_boxes, boxes)
        keypoints = np.fmax(of_keypoints(poses), EXCHANGED * of_keypoints(poses[:, self._mirror]))
        keypoints = np.where(np.isnan(keypoints), overlap, keypoints)
        out = KEYPOINTS * keypoints + (1 - KEYPOINTS) * overlap
        return out + COLOURS * np.nan_to_num(np.minimum(alike - COLOURS_ALIKE, 0.0))

    def _reach(
        self,
        poses: np.ndarray,
        boxes: np.ndarray,
        alike: np.ndarray,
        stamp_ns: int,
    ) -> np.ndarray:
        """(tracks, detections) 1 for one where the track was last seen, 0 at the end of its reach;
        NaN for no pair."""
        last = boxes_of(np.array([t.keypoints for t in self._tracks]), self.min_score)
        away = np.array([t.away_s(stamp_ns) for t in self._tracks])
        sizes, new_sizes = (np.hypot(*(b[:, 2:] - b[:, :2]).T) for b in (last, boxes))
        places, new_places = (0.5 * (b[:, 2:] + b[:, :2]) for b in (last, boxes))
        reach = ((REACH + REACH_PER_S * away) * sizes)[:, None]
        # Where the motion does not explain it the colours must; unknown ones (NaN) say nothing.
        reach = reach * np.where(alike >= SAME_COLOURS, REACH_COLOURS, 1.0)
        reach[alike < SAME_COLOURS] = 0.0
        apart = np.linalg.norm(places[:, None] - new_places, axis=-1)
        ratio = sizes[:, None] / np.maximum(new_sizes, 1e-9)
        fits = (reach > 0) & (ratio >= SIZE_RATIO) & (ratio <= 1 / SIZE_RATIO)
        return np.where(fits, 1 - apart / np.maximum(reach, 1e-9), np.nan)

    def _continue(
        self, track: _Track, pose: np.ndarray, stamp_ns: int, colours: np.ndarray | None
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
        if colours is not None:
            if track.colours is None:
                track.colours = colours
            else:
                gain = -np.expm1(-elapsed / COLOURS_S)
                track.colours = track.colours + gain * (colours - track.colours)

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
