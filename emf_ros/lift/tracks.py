"""The tracks of one camera: the state of each person from image to image."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..stamps import NANOSECONDS
from ..types import Pose3D, TrackState
from .bones import BoneMemory
from .config import PipelineConfig
from .last_place import LastPlace
from .smoothing import OneEuroFilter, WindowFilter
from .swaps import SwapCorrector
from .window import KeypointHistory

#: Minimum coasting time of a track, ns, however briefly the person was seen.
MIN_COAST_NS = 200_000_000

#: Maximum number of people whose heights are remembered.
MAX_HEIGHTS = 256


@dataclass
class Track:
    """The state of one person.

    Attributes:
        history: of the keypoints.
        bones: memory of bone lengths; None where each pose keeps its own.
        swaps: left/right swap correction; None without it.
        jitter: filter between windows; None without it.
        smoothing: One Euro filter; None without it.
        score: of the person in the newest image, 0..1.
        place: where the root was last known.
        height_m: standing height of the person, m; NaN where only the settings may know it.
    """

    history: KeypointHistory
    bones: BoneMemory | None
    swaps: SwapCorrector | None
    jitter: WindowFilter | None
    smoothing: OneEuroFilter | None
    score: float = 1.0
    place: LastPlace = field(default_factory=LastPlace)
    height_m: float = math.nan

    @classmethod
    def make(cls, config: PipelineConfig, span_s: float) -> Track:
        """A new track.

        Args:
            config: of the pipeline.
            span_s: time for which keypoints are remembered, s.

        Raises:
            ValueError: a setting of a filter is out of its range.
        """
        return cls(
            KeypointHistory(span_s, config.max_gap_s),
            BoneMemory(config.bone_length_memory_s) if config.bone_length_memory_s else None,
            SwapCorrector(span_s) if config.swap_correction else None,
            WindowFilter(config.jitter_filter_s) if config.jitter_filter_s else None,
            OneEuroFilter(config.smoothing_cutoff_hz, config.smoothing_beta)
            if config.smoothing_cutoff_hz
            else None,
        )


class Tracks:
    """The tracks of one camera, by id.

    Args:
        config: of the pipeline.
        span_s: time for which keypoints are remembered, s.

    Raises:
        ValueError: a setting of a filter is out of its range.
    """

    def __init__(self, config: PipelineConfig, span_s: float) -> None:
        self._config, self._span_s = config, span_s
        self._tracks: dict[int, Track] = {}
        # Tracks that ended since `take_ended`.
        self._ended: list[Pose3D] = []
        # Heights of people, m, by id; the newest last.
        self._heights: dict[int, float] = {}
        # Settings are refused now, not when the first person comes.
        Track.make(config, span_s)

    def configure(self, config: PipelineConfig) -> None:
        """Change the settings; of tracks that are there, the filters only.

        Raises:
            ValueError: a setting of a filter is out of its range; nothing has changed.
        """
        before, _ = self._config, Track.make(config, self._span_s)
        self._config = config
        names = ("jitter_filter_s", "smoothing_cutoff_hz", "smoothing_beta")
        if any(getattr(before, name) != getattr(config, name) for name in names):
            for track in self._tracks.values():
                new = Track.make(config, self._span_s)
                track.jitter, track.smoothing = new.jitter, new.smoothing

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of the tracks that have not ended."""
        return tuple(self._tracks)

    def get(self, track_id: int) -> Track | None:
        return self._tracks.get(track_id)

    def begin(self, track_id: int) -> Track:
        """A new track under an id; it takes the place of the one before."""
        track = self._tracks[track_id] = Track.make(self._config, self._span_s)
        track.height_m = self._heights.get(track_id, math.nan)
        return track

    def set_height(self, track_id: int, height_m: float) -> None:
        """Set the standing height of a person, m, for this track and later ones of the id.

        Args:
            track_id: of a track that has not ended.
            height_m: NaN where it is not known.
        """
        self._tracks[track_id].height_m = height_m
        self._heights.pop(track_id, None)
        if math.isfinite(height_m):
            self._heights[track_id] = height_m
        if len(self._heights) > MAX_HEIGHTS:
            del self._heights[next(iter(self._heights))]

    def end(self, track_ids: Iterable[int]) -> None:
        """End tracks."""
        for track_id in list(track_ids):
            del self._tracks[track_id]
            self._ended.append(Pose3D.unknown(track_id, TrackState.ENDED))

    def end_coasted(self, stamp_ns: int) -> None:
        """End the tracks whose coasting time is over at a stamp, ns."""
        self.end(
            track_id
            for track_id, track in self._tracks.items()
            if stamp_ns - track.history.newest_ns > self._coast_ns(track)
        )

    def _coast_ns(self, track: Track) -> float:
        """Coasting time, ns: no longer than the track was seen, as false positives are short."""
        longest_ns = self._config.coast_s * NANOSECONDS
        return min(longest_ns, max(track.history.seen_ns, MIN_COAST_NS))

    def take_ended(self) -> list[Pose3D]:
        """The tracks that ended since the last call; each is given once, without a pose."""
        ended, self._ended = self._ended, []
        return ended

    def begun_by(self, stamp_ns: int) -> dict[int, Track]:
        """The tracks that had an observation by a stamp, ns. Newer ones cannot describe it yet."""
        return {i: t for i, t in self._tracks.items() if t.history.first_ns <= stamp_ns}
