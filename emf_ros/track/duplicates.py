"""Duplicates and merged poses among the detections of one image.

A duplicate is a second detection of one person. A merged pose combines the legs of one person with
an object or another person above. For example, a lamp or a person farther away becomes the head of
a pose that is much too tall.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry.boxes import coco_sigmas, extents, oks, person_areas, person_boxes
from ..reasons import Reason
from ..skeletons import Layout
from ..types import Pose2D

#: Maximum mean distance between the keypoints of duplicates, as a share of the diagonal of the box
#: around the keypoints.
MAX_DUPLICATE_DISTANCE = 0.15

#: Minimum ratio of the size of a merged pose to the size of the person whose legs it has.
MIN_MERGED_SIZE_RATIO = 1.7

#: Maximum mean distance of the ankles of a merged pose from the other person's shins, as a share of
#: the other person's size.
MAX_SHIN_DISTANCE = 0.15

#: Joints at the upper and the lower end of the shin.
SHIN = ("knee", "ankle")


def is_duplicate(one: Pose2D, other: Pose2D) -> bool:
    """Whether the keypoints of two detections have the same positions, joint by joint."""
    size = np.linalg.norm(np.ptp(one.keypoints[:, :2], axis=0))
    distance = np.linalg.norm(one.keypoints[:, :2] - other.keypoints[:, :2], axis=-1).mean()
    return bool(distance <= MAX_DUPLICATE_DISTANCE * size)


def without_duplicates(detections: Sequence[Pose2D]) -> list[Pose2D]:
    """The detections without duplicates (`is_duplicate`), by score, the best first."""
    kept: list[Pose2D] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        if not any(is_duplicate(detection, other) for other in kept):
            kept.append(detection)
    return kept


def is_merged_pose(one: Pose2D, other: Pose2D, layout: Layout) -> bool:
    """Whether `one` is a merged pose with the legs of `other`, by this image alone.

    Such a pose has the lower score and is much larger. Its ankles are on the shins of the other
    person. A person who is so much larger on the same floor is nearer, and has the feet lower in
    the image. But an adult behind a small child looks the same: see `apart`.

    Args:
        one, other: keypoints (K, 3) px, px, score; NaN where missing.
        layout: of both.

    Returns:
        False also where an ankle of `one`, or a knee or an ankle of `other`, is missing.
    """
    mine, theirs = (pose.keypoints[None, :, :2] for pose in (one, other))
    sizes = [_size(points[0]) for points in (mine, theirs)]
    if not (one.score < other.score and sizes[0] > MIN_MERGED_SIZE_RATIO * sizes[1]):
        return False
    return bool(shin_distances(mine, theirs, layout)[0, 0] < MAX_SHIN_DISTANCE * sizes[1])


def shin_distances(ones: np.ndarray, others: np.ndarray, layout: Layout) -> np.ndarray:
    """(P, Q) px, mean distances of the ankles of each of `ones` from the shins of each of `others`.

    NaN where an ankle of the one, or a knee or an ankle of the other, is missing.

    Args:
        ones: (P, K, 2) px; NaN where missing.
        others: (Q, K, 2) px.
        layout: of both.
    """
    joints = [[layout.index(f"{side}_{end}") for side in ("left", "right")] for end in SHIN]
    knees, ankles = (others[:, end] for end in joints)
    shins = ankles - knees
    feet = ones[:, None, joints[1], None]
    # The nearest point of each shin to each foot.
    along = ((feet - knees[:, None]) * shins[:, None]).sum(axis=-1)
    along /= np.maximum((shins**2).sum(axis=-1), 1e-9)[:, None]
    nearest = knees[:, None] + along.clip(0, 1)[..., None] * shins[:, None]
    distance = np.linalg.norm(feet - nearest, axis=-1)
    return np.asarray(distance.min(axis=-1).mean(axis=-1))


def find_duplicates(
    detections: Sequence[Pose2D],
    layout: Layout,
    max_oks: float,
    min_score: float,
    apart: np.ndarray | None = None,
) -> dict[int, Reason]:
    """Duplicates and merged poses by object-keypoint similarity.

    Detections are taken in the order of their scores, best first. Each is compared with those that
    were kept before it. The left and right sides of a duplicate may be swapped. So each pose is
    also compared with its mirrored joints.

    Args:
        detections: of one image, keypoints (K, 3) px, px, score; may hold NaN.
        layout: of the keypoints.
        max_oks: maximum similarity of two detections that are both kept, 0..1.
        min_score: keypoints of a lower score are not compared, 0..1.
        apart: (P, P) whether each was seen apart from each other one (`SeenApart`): it is then not
            merged with it. None where earlier images are not known.

    Returns:
        `Reason.DUPLICATE` or `Reason.MERGED_POSE` by index of a detection; kept ones are not in it.
    """
    if len(detections) < 2:
        return {}
    poses = np.array([d.keypoints for d in detections])
    areas = person_areas(person_boxes(poses, min_score))
    sigmas = coco_sigmas(layout)
    similarity = np.fmax(
        oks(poses, poses, areas, sigmas, min_score),
        oks(poses[:, np.array(layout.mirror)], poses, areas, sigmas, min_score),
    )
    kept: list[int] = []
    found: dict[int, Reason] = {}
    for i in sorted(range(len(detections)), key=lambda i: -detections[i].score):
        if any(max(similarity[i, k], similarity[k, i]) > max_oks for k in kept):
            found[i] = Reason.DUPLICATE
        elif any(
            (apart is None or not apart[i, k])
            and is_merged_pose(detections[i], detections[k], layout)
            for k in kept
        ):
            found[i] = Reason.MERGED_POSE
        else:
            kept.append(i)
    return found


def _size(points: np.ndarray) -> float:
    """The diagonal of the box around points (K, 2) px, of those that are finite."""
    return float(extents(points, np.isfinite(points).all(axis=-1)))
