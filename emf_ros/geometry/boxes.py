"""Boxes and keypoints of people in an image: overlap, suppression, similarity.

A box is left, top, right, bottom, in px. Joints of a pose may be missing: their coordinates are NaN
or infinite, or their score is low.
"""

from __future__ import annotations

import numpy as np

from ..skeletons import COCO17, Layout

#: Standard deviation of the annotated position per kind of joint, as a share of the square root of
#: the person's area. Source: evaluation of COCO's keypoint task, cocodataset.org/#keypoints-eval.
COCO_SIGMAS = {
    "nose": 0.026,
    "eye": 0.025,
    "ear": 0.035,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}

#: Area of a person's outline, as a share of the box around the keypoints. COCO's areas are those of
#: outlines.
OUTLINE_SHARE = 0.53

#: Maximum ratio of a person's longer side to the shorter side. The keypoints of a body seen from
#: the side, or lying along an axis of the image, have a thinner box.
MAX_ASPECT = 3

#: Minimum number of joints that two poses have in common, for the two to be compared.
MIN_COMMON_JOINTS = 4


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of each box with each box.

    Args:
        first: (N, 4) left, top, right, bottom; any unit.
        second: (M, 4) likewise.

    Returns:
        (N, M), 0..1. Boxes that are NaN or empty have 0.
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.maximum(high - low, 0.0).prod(axis=-1)
    areas = [np.maximum(b[:, 2:] - b[:, :2], 0.0).prod(axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1] - common
    out: np.ndarray = np.divide(common, union, out=np.zeros_like(union), where=union > 0)
    return out


def nms(boxes: np.ndarray, scores: np.ndarray, max_iou: float) -> np.ndarray:
    """Non-maximum suppression: of boxes that overlap, keep the one with the best score.

    Args:
        boxes: (N, 4) left, top, right, bottom; any unit.
        scores: (N,).
        max_iou: maximum IoU of two boxes that are both kept, 0..1.

    Returns:
        (n,) indices of the boxes kept, best score first. Equal scores keep their order.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[box_iou(boxes[best : best + 1], boxes[order])[0] <= max_iou]
    return np.array(kept, dtype=int)


def weighted_nms(
    candidates: np.ndarray, scores: np.ndarray, min_iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted non-maximum suppression: candidates that overlap are merged.

    The best candidate and all that overlap it become one: their mean, weighted by score. The same
    follows for the best of the rest, and so on. Source: Bazarevsky et al., BlazeFace, 2019,
    section 4.

    Args:
        candidates: (N, 4 or more); the first four are left, top, right, bottom; any unit.
        scores: (N,), above 0.
        min_iou: IoU above which candidates are merged, 0..1.

    Returns:
        (n, 4 or more) merged candidates and (n,) their best scores, best score first.
    """
    order = np.argsort(-scores, kind="stable")
    candidates, scores = candidates[order], scores[order]
    merged, best = [], []
    while len(scores):
        overlaps = box_iou(candidates[:1, :4], candidates[:, :4])[0] > min_iou
        # The best candidate belongs to itself even where its box is empty.
        overlaps[0] = True
        merged.append(np.average(candidates[overlaps], axis=0, weights=scores[overlaps]))
        best.append(scores[0])
        candidates, scores = candidates[~overlaps], scores[~overlaps]
    return np.array(merged).reshape(-1, candidates.shape[1]), np.array(best)


def extents(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The diagonals of the bounding boxes of points.

    Args:
        points: (..., N, 2).
        seen: (..., N) the points that count; the others may be NaN.

    Returns:
        (...) in the unit of the points; 0 where no point counts.
    """
    seen = seen[..., None]
    low = np.where(seen, points, np.inf).min(axis=-2)
    high = np.where(seen, points, -np.inf).max(axis=-2)
    sides = np.where(high > low, high - low, 0.0)
    return np.asarray(np.hypot(sides[..., 0], sides[..., 1]))


def keypoint_boxes(
    keypoints: np.ndarray, min_score: float = 0.0, min_keypoints: int = 0
) -> np.ndarray:
    """Boxes around keypoints.

    Args:
        keypoints: (N, K, 3) px, px, score; may hold NaN or infinity.
        min_score: keypoints of a lower score are left out.
        min_keypoints: where fewer keypoints reach `min_score`, all finite keypoints of that person
            are taken.

    Returns:
        (N, 4) left, top, right, bottom, px; NaN where there is no keypoint.
    """
    finite = np.isfinite(keypoints).all(axis=-1)
    with np.errstate(invalid="ignore"):
        used = finite & (keypoints[..., 2] >= min_score)
    few = used.sum(axis=1) < min_keypoints
    used[few] = finite[few]
    low = np.where(used[..., None], keypoints[..., :2], np.inf).min(axis=1)
    high = np.where(used[..., None], keypoints[..., :2], -np.inf).max(axis=1)
    boxes = np.concatenate([low, high], axis=1)
    boxes[~used.any(axis=1)] = np.nan
    return boxes


def person_boxes(keypoints: np.ndarray, min_score: float) -> np.ndarray:
    """(N, 4) `keypoint_boxes` of the keypoints (N, K, 3) of a score.

    All finite keypoints are taken for a person with fewer than `MIN_COMMON_JOINTS` of that score.
    """
    return keypoint_boxes(keypoints, min_score, MIN_COMMON_JOINTS)


def person_areas(boxes: np.ndarray) -> np.ndarray:
    """(N,) px^2: areas of the outlines of people in boxes (N, 4), as COCO's OKS takes them."""
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    size = np.maximum(size, size.max(axis=1, keepdims=True) / MAX_ASPECT)
    return OUTLINE_SHARE * size.prod(axis=1)


def coco_sigmas(layout: Layout) -> np.ndarray:
    """(K,) `COCO_SIGMAS` of a layout's joints; NaN for the joints that COCO does not have."""
    return np.array(
        [
            COCO_SIGMAS[joint.split("_")[-1]] if joint in COCO17.joints else np.nan
            for joint in layout.joints
        ]
    )


def oks(
    first: np.ndarray,
    second: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
    min_score: float = 0.3,
    position_std: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Object-keypoint similarity (OKS) of each pose with each pose.

    COCO's: the mean over the joints of exp(-d^2 / (2 A (2 sigma)^2)). Two things differ. The mean
    is over the joints that both poses have. The positions of `first` may be uncertain.

    Args:
        first: (N, K, 3) px, px, score; may hold NaN.
        second: (M, K, 3), likewise.
        areas: (M,) px^2, of the people of `second`, see `person_areas`.
        sigmas: (K,) of `coco_sigmas`.
        min_score: keypoints of a lower score are not compared.
        position_std: (N,) px, standard deviation of the positions of `first`.

    Returns:
        (N, M), 0..1; NaN where two poses have fewer than `MIN_COMMON_JOINTS` joints in common.
    """
    known = np.isfinite(sigmas)
    first, second, sigmas = first[:, known], second[:, known], sigmas[known]
    with np.errstate(invalid="ignore"):
        used = (first[:, None, :, 2] >= min_score) & (second[None, :, :, 2] >= min_score)
        square = ((first[:, None, :, :2] - second[None, :, :, :2]) ** 2).sum(axis=-1)
    used &= np.isfinite(square)
    variance = areas[None, :, None] * (2 * sigmas) ** 2
    variance = variance + np.broadcast_to(position_std, len(first))[:, None, None] ** 2
    each = np.where(used, np.exp(-np.where(used, square, 0.0) / (2 * variance)), 0.0)
    count = used.sum(axis=-1)
    return np.where(count >= MIN_COMMON_JOINTS, each.sum(axis=-1) / np.maximum(count, 1), np.nan)
