"""Which people and keypoints of an image are used; the others are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from ..detect.protocol import body_joints
from ..geometry.camera import Camera
from ..reasons import Reason
from ..skeletons import Layout, convert_keypoints
from ..stamps import NANOSECONDS
from ..types import Pose2D
from .window import KeypointHistory

#: Maximum distance of a keypoint from the image's corner, as a multiple of the longer side.
MAX_REACH = 10

#: Minimum number of keypoints of a person who is lifted.
MIN_KEYPOINTS = 6

#: Factor on the importance of a person who is tracked already. Without it, two people of about
#: the same size would alternate above the maximum number of people. No window would be full.
TRACKED_FACTOR = 1.5

#: Maximum motion of a person's keypoints between two images, as a share of their extent. If it
#: exceeds this and `MAX_JUMP_PER_S` together, the id was given to another person.
MAX_JUMP = 0.5

#: Maximum speed of a person's keypoints, extents/s: 10 m/s of a person of 1.7 m.
MAX_JUMP_PER_S = 6.0

#: Minimum number of joints in both observations that a jump is judged by.
MIN_JUMP_JOINTS = 4


def body_score(keypoints: np.ndarray, layout: Layout) -> float:
    """The mean score, 0..1, of the body joints of keypoints (K, 3): of a person without a score."""
    return float(np.nan_to_num(keypoints[body_joints(layout), 2]).clip(0.0, 1.0).mean())


def has_shape(person: Pose2D, layout: Layout) -> bool:
    """Whether a person has the number of keypoints of a layout."""
    return np.shape(person.keypoints) == (len(layout), 3)


def is_sane(keypoints: np.ndarray, reach: float) -> np.ndarray:
    """(K,) which keypoints (K, 3) have finite numbers, a score from 0 and a position within reach.

    Args:
        keypoints: (K, 3) px, px, score.
        reach: maximum coordinate, px.
    """
    finite = np.isfinite(keypoints)
    sane = finite.all(axis=-1) & (keypoints[:, 2] >= 0)
    return np.asarray(sane & (np.abs(np.where(finite, keypoints, 0.0)) < reach).all(axis=-1))


def sane_keypoints(keypoints: np.ndarray, reach: float, counts: Counter[Reason]) -> np.ndarray:
    """Keypoints (K, 3) without impossible numbers.

    Args:
        keypoints: (K, 3) px, px, score.
        reach: maximum coordinate, px.
        counts: takes the number of keypoints that were changed, by reason.

    Returns:
        (K, 3) float64. An impossible keypoint is missing: NaN, with score 0. Scores are 0..1.
    """
    keypoints = np.array(keypoints, dtype=np.float64)
    scores = keypoints[:, 2]
    sane = is_sane(keypoints, reach)
    # A missing keypoint is written as NaN with score 0; that is no fault.
    faulty = ~sane & ~(scores == 0)
    if faulty.any():
        counts[Reason.BAD_KEYPOINT] += int(faulty.sum())
    keypoints[~sane] = (np.nan, np.nan, 0.0)
    over = scores > 1
    if over.any():
        # Some models' scores are no probabilities: a peak of a heatmap may be 1.06.
        counts[Reason.SCORE_OVER_1] += int(over.sum())
        scores[over] = 1.0
    return keypoints


def rays_of(
    keypoints: np.ndarray, layout: Layout, target: Layout, camera: Camera
) -> tuple[np.ndarray, np.ndarray] | None:
    """The rays of a person's keypoints in the model's layout.

    Args:
        keypoints: (K, 3) px, px, score, see `sane_keypoints`.
        layout: of the keypoints.
        target: the model's layout, of J joints.
        camera: of the image.

    Returns:
        rays (J, 2) on the plane z = 1 and scores (J,), both 0 where missing; None where fewer than
        `MIN_KEYPOINTS` are known.
    """
    keypoints = convert_keypoints(keypoints, layout, target)
    rays = camera.rays(keypoints[:, :2])
    known = np.isfinite(rays).all(axis=-1) & (keypoints[:, 2] > 0)
    if known.sum() < MIN_KEYPOINTS:
        return None
    return np.where(known[:, None], rays, 0.0), np.where(known, keypoints[:, 2], 0.0)


def select_people(
    people: Sequence[Pose2D],
    layout: Layout,
    max_people: int,
    tracked: Collection[int],
    counts: Counter[Reason],
) -> list[Pose2D]:
    """The people who are lifted: the most important ones, each id once.

    Args:
        people: of one image.
        layout: of their keypoints. People with another number of keypoints are rejected.
        max_people: maximum number of people.
        tracked: ids of the tracks that there are.
        counts: takes the number of people who are rejected, by reason.
    """
    shaped = [person for person in people if has_shape(person, layout)]
    rejected = Counter({Reason.WRONG_KEYPOINT_COUNT: len(people) - len(shaped)})
    selected: dict[int, Pose2D] = {}
    for person in sorted(shaped, key=lambda p: _importance(p, tracked), reverse=True):
        if person.track_id in selected:
            rejected[Reason.REPEATED_TRACK_ID] += 1
        elif len(selected) >= max_people:
            rejected[Reason.OVER_MAX_PEOPLE] += 1
        else:
            selected[person.track_id] = person
    counts.update({reason: number for reason, number in rejected.items() if number})
    return list(selected.values())


def _importance(person: Pose2D, tracked: Collection[int]) -> float:
    """The score times the size in the image, px."""
    keypoints = np.asarray(person.keypoints, dtype=float)
    seen = np.isfinite(keypoints).all(axis=-1) & (keypoints[:, 2] > 0)
    if not np.isfinite(person.score) or not seen.any():
        return 0.0
    size = float(np.hypot(*np.ptp(keypoints[seen, :2], axis=0)))
    return min(person.score, 1.0) * size * (TRACKED_FACTOR if person.track_id in tracked else 1.0)


def is_jump(history: KeypointHistory, stamp_ns: int, rays: np.ndarray, scores: np.ndarray) -> bool:
    """Whether keypoints are too far from a track's last ones to be of the same person.

    The measure is the median of the joints' motion, as a share of the person's extent. It is wrong
    only if more than half of the joints are wrong together.

    Args:
        history: of the track.
        stamp_ns: of the image, ns.
        rays: (J, 2), scores: (J,), 0 where missing.
    """
    last_ns, last_rays, last_scores = history.newest
    both = (scores > 0) & (last_scores > 0)
    if both.sum() < MIN_JUMP_JOINTS or stamp_ns <= last_ns:
        return False
    extent = max(np.hypot(*np.ptp(points[both], axis=0)) for points in (rays, last_rays))
    apart = np.median(np.linalg.norm(rays[both] - last_rays[both], axis=-1))
    elapsed_s = (stamp_ns - last_ns) / NANOSECONDS
    return bool(apart > (MAX_JUMP + MAX_JUMP_PER_S * elapsed_s) * extent)
