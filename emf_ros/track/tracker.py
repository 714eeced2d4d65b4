"""The tracker: gives each person in the detections of a camera's images an id over time.

No library does this for poses with time stamps. Norfair (BSD-3) needs numpy 1. Roboflow's
`trackers` and `supervision` (Apache-2.0, MIT) follow boxes alone and count frames. All of them need
SciPy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import count

import numpy as np

from ..geometry.boxes import coco_sigmas
from ..reasons import Reason
from ..skeletons import BLAZEPOSE33, Layout
from ..stamps import NANOSECONDS, StampFilter
from ..types import Pose2D
from .association import Observations, assign, gated_similarity, observe
from .reidentification import ReIdentifier
from .state import Track, TrackPhase

#: Minimum share of the joints of an occluded body that are inside the box of a nearer person.
MIN_OCCLUDED_SHARE = 0.4


class Tracker:
    """Gives each detection the id of the track that it continues, or a new id.

    A track is tentative at birth, confirmed, coasting, lost and deleted; see
    docs/reference/tracking.md. Tracks with a recent detection continue by association. It is the
    assignment with the largest sum of object-keypoint similarity, IoU and appearance. Strong
    detections are assigned first, then weak ones (Zhang et al., "ByteTrack", ECCV 2022). Other
    detections begin tentative tracks. Before such a track gets a new id, re-identification decides
    whether its person has a lost track. If this is ambiguous, the track waits, and finally gets a
    new id, because swapped ids are worse. An id is never used again.

    Args:
        layout: of the keypoints.
        motion_memory_s: maximum time without a detection, s, after which motion can bring a lost
            track back. The time does not run while the track is expected to be occluded.
        appearance_memory_s: maximum time without a detection, s, after which appearance can bring a
            lost track back.
        min_hits: minimum number of detections of a confirmed track.
        min_age_s: minimum time from the first to the last detection of a confirmed track, s. False
            positives last a few images.
        max_tentative_gap_s: maximum time without a detection of a tentative track, s, if there was
            an image in that time.
        min_similarity: minimum similarity of a track and a detection, 0..1.
        birth_score: minimum score of a detection that begins a track, 0..1.
        min_score: minimum score of a keypoint that is compared, 0..1.
        counts: takes the number of weak detections that continue no track; by default a new one.

    Attributes:
        counts: as given.
        stamps: the rule for the images' stamps. A caller that detects before the tracking applies
            the rule first, and drops the refused images.
    """

    def __init__(
        self,
        layout: Layout = BLAZEPOSE33,
        motion_memory_s: float = 1.0,
        appearance_memory_s: float = 10.0,
        min_hits: int = 2,
        min_age_s: float = 0.05,
        max_tentative_gap_s: float = 0.1,
        min_similarity: float = 0.2,
        birth_score: float = 0.4,
        min_score: float = 0.3,
        counts: Counter[Reason] | None = None,
    ) -> None:
        self.layout = layout
        self.max_tentative_gap_ns = int(max_tentative_gap_s * NANOSECONDS)
        self.min_similarity = min_similarity
        self.birth_score, self.min_score = birth_score, min_score
        self.counts: Counter[Reason] = Counter() if counts is None else counts
        self.stamps = StampFilter()
        self._mirror = np.array(layout.mirror)
        self._body = np.isfinite(coco_sigmas(layout))
        self._reidentifier = ReIdentifier(
            layout,
            min_score,
            min_hits,
            int(min_age_s * NANOSECONDS),
            int(motion_memory_s * NANOSECONDS),
            int(max(appearance_memory_s, motion_memory_s) * NANOSECONDS),
        )
        self._tracks: list[Track] = []
        self._ids = count(1)
        self._last_ns: int | None = None

    def update(
        self, detections: Sequence[Pose2D], stamp_ns: int, image: np.ndarray | None = None
    ) -> list[tuple[int, Pose2D]]:
        """Track the people of one image.

        An image whose stamp is refused, see `stamps.StampFilter`, changes nothing. A clock that has
        jumped back deletes all tracks, because time has restarted. Detections without any keypoint
        are left out.

        Args:
            detections: of the image, keypoints (K, 3) px, px, score in the tracker's layout. A
                keypoint that is NaN or infinite is missing.
            stamp_ns: of the image, ns; any epoch.
            image: (H, W, 3) uint8 RGB; for the appearance.

        Returns:
            (id, detection) of the confirmed tracks that have a detection in this image, ids rising;
            empty where the stamp is refused.

        Raises:
            ValueError: the keypoints are not in the tracker's layout.
        """
        if any(d.keypoints.shape != (len(self.layout), 3) for d in detections):
            raise ValueError(f"the keypoints are not of layout {self.layout.name!r}")
        if not self.stamps.accepts(stamp_ns):
            return []
        previous_ns, self._last_ns = self._last_ns, stamp_ns
        self._delete_forgotten(previous_ns, stamp_ns)
        observed = observe(detections, image, self.layout, self.birth_score, self.min_score)
        detection_of = self._associate(observed, stamp_ns, previous_ns)
        unmatched = set(observed.weak).difference(detection_of.values())
        if unmatched:
            self.counts[Reason.LOW_SCORE] += len(unmatched)
        track_of = self._continue_tracks(detection_of, observed, stamp_ns)
        self._delete_tentative(stamp_ns)
        track_of = self._begin_tracks(track_of, observed, stamp_ns)
        self._mark_occluded(observed.boxes, stamp_ns)
        track_of = self._confirm(track_of, stamp_ns)
        reported = [(t.id, observed.detections[i]) for i, t in track_of.items() if t.id]
        return sorted(reported, key=lambda pair: pair[0])

    def restart(self) -> None:
        """Delete all tracks, and take the next stamp as the first. Ids go on."""
        self._tracks, self._last_ns, self.stamps = [], None, StampFilter()

    # ------------------------------------------------------------------- steps, in their order

    def _delete_forgotten(self, previous_ns: int | None, stamp_ns: int) -> None:
        """Delete the tracks that can no longer come back, or all after a jump back in time."""
        jumped_back = previous_ns is not None and stamp_ns < previous_ns
        self._tracks = [
            track
            for track in self._tracks
            if not jumped_back and self._reidentifier.is_remembered(track, stamp_ns)
        ]

    def _associate(
        self, observed: Observations, stamp_ns: int, previous_ns: int | None
    ) -> dict[int, int]:
        """The detection of each track that has one: indices into `observed` by index of a track.

        Confirmed and coasting tracks take strong detections first, then weak ones. Tentative tracks
        take the strong detections that are left. A strong detection that fits a lost track better
        is left to re-identification.
        """
        gain = gated_similarity(
            self._tracks, observed, self.layout, stamp_ns, self.min_similarity, self.min_score
        )
        states = [track.state(stamp_ns, previous_ns) for track in self._tracks]
        tentative = [k for k, state in enumerate(states) if state is TrackPhase.TENTATIVE]
        active = [
            k for k, s in enumerate(states) if s in (TrackPhase.CONFIRMED, TrackPhase.COASTING)
        ]
        matched = _matches(gain, active, observed.strong)
        for row in self._ambiguous(matched, states, observed, stamp_ns):
            del matched[row]
        rest = [row for row in active if row not in matched]
        matched = {**matched, **_matches(gain, rest, observed.weak)}
        free = [i for i in observed.strong if i not in matched.values()]
        return {**matched, **_matches(gain, tentative, free)}

    def _ambiguous(
        self,
        matched: dict[int, int],
        states: Sequence[TrackPhase],
        observed: Observations,
        stamp_ns: int,
    ) -> list[int]:
        """The matched tracks, by index, whose detection fits a missing track better."""
        missing = [
            track
            for row, track in enumerate(self._tracks)
            if states[row] in (TrackPhase.COASTING, TrackPhase.LOST) and row not in matched
        ]
        rows = list(matched)
        ambiguous = self._reidentifier.ambiguous(
            [self._tracks[row] for row in rows],
            [states[row] is TrackPhase.COASTING for row in rows],
            [_begin(observed, i, stamp_ns) for i in matched.values()],
            missing,
            stamp_ns,
        )
        return [rows[k] for k in ambiguous]

    def _continue_tracks(
        self, detection_of: dict[int, int], observed: Observations, stamp_ns: int
    ) -> dict[int, Track]:
        """Update the matched tracks; returns the track of each detection, by its index."""
        for row, i in detection_of.items():
            self._tracks[row].update(
                observed.keypoints[i],
                observed.appearance[i],
                stamp_ns,
                self._mirror,
                self.min_score,
            )
        return {i: self._tracks[row] for row, i in detection_of.items()}

    def _delete_tentative(self, stamp_ns: int) -> None:
        """Delete tentative tracks without a detection for too long."""
        self._tracks = [
            track
            for track in self._tracks
            if track.id or stamp_ns - track.stamp_ns <= self.max_tentative_gap_ns
        ]

    def _begin_tracks(
        self, track_of: dict[int, Track], observed: Observations, stamp_ns: int
    ) -> dict[int, Track]:
        """Track birth: a tentative track for each strong detection without a track.

        Returns the track of each detection, by its index, old and new.
        """
        born = {i: _begin(observed, i, stamp_ns) for i in observed.strong if i not in track_of}
        self._tracks = [*self._tracks, *born.values()]
        return {**track_of, **born}

    def _mark_occluded(self, boxes: np.ndarray, stamp_ns: int) -> None:
        """Note which tracks without a detection should be occluded by people who are visible."""
        for track in self._tracks:
            if track.stamp_ns != stamp_ns and not self._reidentifier.is_beyond_motion(
                track, stamp_ns
            ):
                joints = track.predicted(stamp_ns)[self._body, :2]
                if occluded_share(joints, boxes) >= MIN_OCCLUDED_SHARE:
                    track.occluded_ns = stamp_ns

    def _confirm(self, track_of: dict[int, Track], stamp_ns: int) -> dict[int, Track]:
        """Give tentative tracks the id of a lost track, or a new id, or let them wait.

        Returns the track of each detection, by its index. A re-identified track takes the place of
        the tentative one.
        """
        columns = [i for i, track in track_of.items() if not track.id]
        new = [track_of[i] for i in columns]
        missing = [track for track in self._tracks if track.id and track.stamp_ns != stamp_ns]
        identified, newcomers = self._reidentifier.identify(missing, new, stamp_ns)
        for j in sorted(newcomers):
            new[j].id = next(self._ids)
        for j, k in identified.items():
            missing[k].take_over(new[j], self._mirror, self.min_score)
        replaced = [new[j] for j in identified]
        self._tracks = [t for t in self._tracks if all(t is not track for track in replaced)]
        return {**track_of, **{columns[j]: missing[k] for j, k in identified.items()}}


def occluded_share(joints: np.ndarray, boxes: np.ndarray) -> float:
    """The share of a body's joints that lie inside boxes of nearer people.

    A person is nearer whose box ends lower in the image than the lowest of the joints.

    Args:
        joints: (J, 2) px; may hold NaN.
        boxes: (N, 4) left, top, right, bottom, px, of the people who are visible.

    Returns:
        0..1.
    """
    nearer = boxes[boxes[:, 3] > np.fmax.reduce(joints[:, 1])]
    inside = (joints > nearer[:, None, :2]) & (joints < nearer[:, None, 2:])
    return float(inside.all(axis=-1).any(axis=0).mean())


def _begin(observed: Observations, index: int, stamp_ns: int) -> Track:
    """A tentative track that begins with a detection."""
    return Track(observed.keypoints[index], observed.appearance[index], stamp_ns)


def _matches(gain: np.ndarray, rows: list[int], columns: list[int]) -> dict[int, int]:
    """The optimal assignment among some rows and columns of a gain (N, M): column by row."""
    pairs = assign(gain[np.ix_(rows, columns)], 0.0)
    return {rows[i]: columns[j] for i, j in pairs}
