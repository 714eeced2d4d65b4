"""The settings of a `LiftPipeline`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..people import MIN_SCORE
from .ground import GroundPlane


@dataclass(frozen=True)
class PipelineConfig:
    """Settings that decide which poses come out.

    Attributes:
        lag: frames of the model that the described image is behind the newest one, at the start.
            `LiftPipeline.lag` changes it.
        max_people: maximum number of people that are lifted. The others are counted. People with a
            large product of score and size in the image come first; `acceptance.TRACKED_FACTOR`
            favours those that are tracked already.
        birth_score: minimum score of a person without an id that begins a track, 0..1, see
            `people.PeopleTracker`.
        min_frames: minimum number of observations of a track that is TRACKED.
        coast_s: maximum coasting time of a track, s. It is no longer than the track was seen, and
            no longer than the tracker remembers a person: an id must not end and begin again.
        max_gap_s: maximum time between two observations that are interpolated, s.
        min_score: minimum score of a keypoint that shows its joint and weighs on the root, 0..1.
        joint_timeout_s: time after which a joint that is not seen is unknown, s.
        bone_length_memory_s: averaging time of a person's bone lengths, s, see `bones.BoneMemory`.
            0: each pose keeps the bone lengths of the model.
        swap_correction: correct the detector's left/right swaps, see `swaps.SwapCorrector`.
        person_height_m: standing height of all people, m, see `height`; NaN where it is not known.
        ground: the floor as the camera sees it, see `ground`; None where it is not known.
        jitter_filter_s: time constant of `smoothing.WindowFilter` on the joints relative to the
            root, s. 0: no filter.
        smoothing_cutoff_hz, smoothing_beta: of `smoothing.OneEuroFilter` on the root and on the
            joints relative to it. A cutoff of 0 leaves all as it is.
        silence_s: time without images of the first frame id after which images of another one are
            accepted, s. Two cameras on one topic would otherwise be mixed in one window.

    Raises:
        ValueError: at construction: the height is not positive.
    """

    lag: int = 0
    max_people: int = 8
    birth_score: float = MIN_SCORE
    min_frames: int = 5
    coast_s: float = 1.0
    max_gap_s: float = 0.4
    min_score: float = 0.2
    joint_timeout_s: float = 0.5
    bone_length_memory_s: float = 10.0
    swap_correction: bool = True
    person_height_m: float = math.nan
    ground: GroundPlane | None = None
    jitter_filter_s: float = 0.05
    smoothing_cutoff_hz: float = 0.0
    smoothing_beta: float = 8.0
    silence_s: float = 1.0

    def __post_init__(self) -> None:
        if self.person_height_m <= 0:
            raise ValueError(f"a person's height must be positive, is {self.person_height_m} m")
