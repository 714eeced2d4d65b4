"""How much two sets of keypoints, or two boxes, are one another's."""

from __future__ import annotations

import numpy as np

from ..skeletons import COCO17, Layout

#: Standard deviation of the annotators' places per kind of joint, as a share of the root of the
#: person's area: the evaluation of COCO's keypoint task, cocodataset.org/#keypoints-eval.
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

#: COCO's areas are those of outlines. A person's is about this share of the box around it.
AREA_OF_BOX = 0.53

#: Fewer joints in common than this say nothing.
LEAST_COMMON = 4


def coco_sigmas(layout: Layout) -> np.ndarray:
    """(K,) `COCO_SIGMAS` of a layout's joints; NaN for the joints that COCO does not have."""
    return np.array(
        [
            COCO_SIGMAS[joint.split("_")[-1]] if joint in COCO17.joints else np.nan
            for joint in layout.joints
        ]
    )


def boxes_of(keypoints: np.ndarray, min_score: float) -> np.ndarray:
    """Boxes around the keypoints of a score.

    Args:
        keypoints: (N, K, 3) px, px, score; may hold NaN.
        min_score: keypoints under it are left out, unless a person has fewer than `LEAST_COMMON`
            of the others; then all that have a place are taken.

    Returns:
        (N, 4) left, top, right, bottom, px; NaN where there is no keypoint at all.
    """
    there = np.isfinite(keypoints).all(axis=-1)
    used = there & (keypoints[..., 2] >= min_score)
    few = used.sum(axis=1) < LEAST_COMMON
    used[few] = there[few]
    low = np.where(used[..., None], keypoints[..., :2], np.inf).min(axis=1)
    high = np.where(used[..., None], keypoints[..., :2], -np.inf).max(axis=1)
    boxes = np.concatenate([low, high], axis=1)
    boxes[~used.any(axis=1)] = np.nan
    return boxes


def areas_of(boxes: np.ndarray) -> np.ndarray:
    """(N,) px^2 of the people in boxes (N, 4); a box has at least a third of its length as width.

    A body seen from the side, or lying along an axis of the picture, is no line.
    """
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    size = np.maximum(size, size.max(axis=1, keepdims=True) / 3)
    return AREA_OF_BOX * size.prod(axis=1)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4); 0 for boxes that are NaN."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.maximum(high - low, 0.0).prod(axis=-1)
    both = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return np.nan_to_num(common / np.maximum(both[0][:, None] + both[1] - common, 1e-9))


def oks(
    first: np.ndarray,
    second: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
    min_score: float = 0.3,
    spread: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Object-keypoint similarity of everyone with everyone.

    COCO's: the mean over the joints of exp(-d^2 / (2 A (2 sigma)^2)). Here over the joints that
    both have with a score, and with a place in `first` that may be unsure.

    Args:
        first: (N, K, 3) px, px, score; may hold NaN.
        second: (M, K, 3), likewise.
        areas: (M,) px^2, of the people of `second`.
        sigmas: (K,) of `coco_sigmas`.
        min_score: keypoints under it are not compared.
        spread: (N,) px, standard deviation of the places of `first`.

    Returns:
        (N, M), 0..1; NaN where fewer than `LEAST_COMMON` joints can be compared.
    """
    known = np.isfinite(sigmas)
    first, second, sigmas = first[:, known], second[:, known], sigmas[known]
    with np.errstate(invalid="ignore"):
        used = (first[:, None, :, 2] >= min_score) & (second[None, :, :, 2] >= min_score)
        square = ((first[:, None, :, :2] - second[None, :, :, :2]) ** 2).sum(axis=-1)
    used &= np.isfinite(square)
    variance = areas[None, :, None] * (2 * sigmas) ** 2
    variance = variance + np.broadcast_to(spread, len(first))[:, None, None] ** 2
    each = np.where(used, np.exp(-np.where(used, square, 0.0) / (2 * variance)), 0.0)
    count = used.sum(axis=-1)
    return np.where(count >= LEAST_COMMON, each.sum(axis=-1) / np.maximum(count, 1), np.nan)
