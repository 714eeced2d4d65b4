"""Which people and keypoints of an image are used; the others are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from ..detect.protocol import body_joints
from ..geometry.boxes import extents
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
    """(..., K) which keypoints have finite numbers, a score from 0 and a position within reach.

    Args:
        keypoints: (..., K, 3) px, px, score.
        reach: maximum coordinate, px.
    """
    finite = np.isfinite(keypoints)
    sane = finite.all(axis=-1) & (keypoints[..., 2] >= 0)
    return np.asarray(sane & (np.abs(np.where(finite, keypoints, 0.0)) < reach).all(axis=-1))


def sane_keypoints(keypoints: np.ndarray, reach: float, counts: Counter[Reason]) -> np.ndarray:
    """Keypoints without impossible numbers.

    Args:
        keypoints: (..., K, 3) px, px, score.
        reach: maximum coordinate, px.
        counts: takes the number of keypoints that were changed, by reason.

    Returns:
        (..., K, 3) float64. An impossible keypoint is missing: NaN, with score 0. Scores are 0..1.
    """
    keypoints = np.array(keypoints, dtype=np.float64)
    scores = keypoints[..., 2]
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rays of people's keypoints in the model's layout.

    Args:
        keypoints: (P, K, 3) px, px, score, see `sane_keypoints`.
        layout: of the keypoints.
        target: the model's layout, of J joints.
        camera: of the image.

    Returns:
        rays (P, J, 2) on the plane z = 1 and scores (P, J), both 0 where missing; and (P,) whether
        `MIN_KEYPOINTS` or more are known.
    """
    keypoints = convert_keypoints(keypoints, layout, target)
    rays = camera.rays(keypoints[..., :2])
    known = np.isfinite(rays).all(axis=-1) & (keypoints[..., 2] > 0)
    enough = known.sum(axis=-1) >= MIN_KEYPOINTS
    return np.where(known[..., None], rays, 0.0), np.where(known, keypoints[..., 2], 0.0), enough


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
    importance = _importance(shaped, tracked)
    for row in sorted(range(len(shaped)), key=importance.__getitem__, reverse=True):
        person = shaped[row]
        if person.track_id in selected:
            rejected[Reason.REPEATED_TRACK_ID] += 1
        elif len(selected) >= max_people:
            rejected[Reason.OVER_MAX_PEOPLE] += 1
        else:
            selected[person.track_id] = person
    counts.update({reason: number for reason, number in rejected.items() if number})
    return list(selected.values())


def most_important(people: Sequence[Pose2D], count: int) -> list[Pose2D]:
    """The most important people of one layout, in their order."""
    importance = np.nan_to_num(_importance(people, ()))
    rows = np.argsort(-importance, kind="stable")[:count]
    return [people[row] for row in np.sort(rows).tolist()]


def _importance(people: Sequence[Pose2D], tracked: Collection[int]) -> list[float]:
    """The score times the size in the image, px, of people of one layout."""
    if not people:
        return []
    keypoints = np.array([person.keypoints for person in people], dtype=float)
    seen = np.isfinite(keypoints).all(axis=-1) & (keypoints[..., 2] > 0)
    sizes = extents(keypoints[..., :2], seen).tolist()
    return [
        min(person.score, 1.0) * size * (TRACKED_FACTOR if person.track_id in tracked else 1.0)
        if np.isfinite(person.score)
        else 0.0
        for person, size in zip(people, sizes, strict=True)
    ]


def are_jumps(
    histories: Sequence[KeypointHistory], stamp_ns: int, rays: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Whether keypoints are too far from a track's last ones to be of the same person.

    The measure is the median of the joints' motion, as a share of the person's extent. It is wrong
    only if more than half of the joints are wrong together.

    Args:
        histories: of the tracks of P people.
        stamp_ns: of the image, ns.
        rays: (P, J, 2), scores: (P, J), 0 where missing.

    Returns:
        (P,) bool.
    """
    stamps, *last = zip(*(history.newest for history in histories), strict=True)
    last_rays, last_scores = map(np.stack, last)
    both = (scores > 0) & (last_scores > 0)
    count = both.sum(axis=-1)
    extent = extents(np.stack([rays, last_rays]), both).max(axis=0)
    moved = rays - last_rays
    apart = np.sort(np.where(both, np.hypot(moved[..., 0], moved[..., 1]), np.inf), axis=-1)
    people, half = np.arange(len(count)), count // 2
    median = 0.5 * (apart[people, np.maximum(count - 1, 0) // 2] + apart[people, half])
    elapsed_s = (stamp_ns - np.array(stamps)) / NANOSECONDS
    judged = (count >= MIN_JUMP_JOINTS) & (elapsed_s > 0)
    return np.asarray(judged & (median > (MAX_JUMP + MAX_JUMP_PER_S * elapsed_s) * extent))
