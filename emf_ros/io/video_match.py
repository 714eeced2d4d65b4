"""Whether a video is the one that a recording was made of, by numbers and times of its images."""

from __future__ import annotations

import math

import numpy as np

#: Maximum difference between the stamps of poses and the times of their images, s.
MAX_TIME_DIFFERENCE_S = 0.2
#: Maximum further difference, as a share of the time since the first image with poses.
MAX_TIME_DIFFERENCE_SHARE = 0.05


def time_mismatch(
    first: tuple[int, float, float],
    number: int,
    time_s: float,
    stamps: np.ndarray,
    share: float = MAX_TIME_DIFFERENCE_SHARE,
) -> str:
    """A sentence where poses are of another video, or of another rate; else empty.

    The clocks may differ, so times are compared since the first image with poses.

    Args:
        first: that image: its number, its time, s, and the stamp of its poses, s.
        number: of a later image.
        time_s: of that image, s.
        stamps: (P,) s, of its poses.
        share: of the time since the first image, by which the times may differ.
    """
    first_number, first_s, recorded_s = first
    passed_s = time_s - first_s
    recorded = stamps - recorded_s
    farthest = recorded[np.abs(recorded - passed_s).argmax()]
    allowed_s = MAX_TIME_DIFFERENCE_S + share * abs(passed_s)
    if abs(farthest - passed_s) <= allowed_s:
        return ""
    return (
        f"the images {first_number} and {number} are {passed_s:.2f} s apart in the video, and "
        f"{farthest:.2f} s in the recording: give the video that was lifted, and the same --rate"
    )


def nothing_shown(numbers: np.ndarray, stamps: np.ndarray, begin_s: float, end_s: float) -> str:
    """A sentence for poses none of which is of an image of a video.

    Args:
        numbers: (M,) of the images of the poses; -1 where unknown.
        stamps: (M,) s, of the poses.
        begin_s, end_s: stamps of the first and the last image, s; the last may be infinite where it
            is not known.
    """
    known = numbers[numbers >= 0]
    if len(known):
        why = f"they are of the images {known.min()} to {known.max()}"
    else:
        video = f"from {begin_s:.2f} s on"
        if math.isfinite(end_s):
            video = f"{begin_s:.2f} to {end_s:.2f} s"
        why = (
            f"they name no images, and their times are {stamps.min():.2f} to {stamps.max():.2f} s; "
            f"those of the video are {video}"
        )
    return (
        f"none of the {len(stamps)} poses is of an image of this video: {why}. Give the video or "
        "bag that was lifted"
    )
