"""Decoding of the outputs of the two BlazePose networks.

Sources: Bazarevsky et al., BlazePose: On-device Real-time Body Pose tracking, 2020; Bazarevsky et
al., BlazeFace, 2019 (anchors, blended suppression); and the numbers of MediaPipe's public graphs.
"""

from __future__ import annotations

import math

import numpy as np

#: Side of the input of the person detection network, px.
DETECTION_INPUT_PX = 224
#: Side of the input of the landmark network, px.
LANDMARK_INPUT_PX = 256
#: Strides of the anchor layers of the person detection network, px.
ANCHOR_STRIDES_PX = (8, 16, 32, 32, 32)
#: Number of anchors in each cell of one layer.
ANCHORS_PER_CELL = 2
#: Number of landmarks of the network: 33 of the body, 2 for the next ROI, 4 of the hands (unused).
LANDMARK_COUNT = 39
#: Index of the landmark between the hips, the centre of the next ROI.
HIP_CENTRE_LANDMARK = 33
#: Index of the landmark on the circle around the body, in the direction of the head.
CIRCLE_LANDMARK = 34
#: Minimum score of a person detection, 0..1. MediaPipe's is 0.5. With half of it 6 of 10 people are
#: detected in place of 5; the landmark network and the verification reject more false positives.
MIN_DETECTION_SCORE = 0.25
#: Minimum presence that the landmark network gives a person, 0..1.
MIN_PRESENCE = 0.5
#: Minimum IoU of two candidates that are merged into one.
NMS_MIN_IOU = 0.3
#: Side of the window of the heat map that refines a landmark, cells.
HEATMAP_KERNEL_CELLS = 7
#: Minimum of the largest probability in that window, 0..1; below it the landmark stays.
MIN_HEATMAP_PROBABILITY = 0.5


def anchors() -> np.ndarray:
    """(2254, 2) centres of the anchors in the detection network's input, 0..1.

    Layers of the same stride share their cells: all anchors of a cell are adjacent.
    """
    layers = []
    for stride in sorted(set(ANCHOR_STRIDES_PX)):
        cells = DETECTION_INPUT_PX // stride
        y, x = np.mgrid[:cells, :cells]
        centres = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        layers.append(
            np.repeat(centres, ANCHORS_PER_CELL * ANCHOR_STRIDES_PX.count(stride), axis=0)
        )
    return np.concatenate(layers)


def decode_candidates(
    boxes: np.ndarray, scores: np.ndarray, centres: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The candidates with at least `MIN_DETECTION_SCORE`.

    Args:
        boxes: (N, 12) px of the input, relative to the anchors: centre, size, four points.
        scores: (N,) logits.
        centres: (N, 2) of the anchors, 0..1.

    Returns:
        (n, 12) upper left corner, lower right corner, four points, 0..1, and their scores (n,).
    """
    # The threshold is a logit, which saves the logistic function of all anchors. NaN fails it.
    kept = np.flatnonzero(scores >= -math.log(1 / MIN_DETECTION_SCORE - 1))
    points = boxes[kept].astype(np.float64).reshape(-1, 6, 2) / DETECTION_INPUT_PX
    half = points[:, 1] / 2
    points += centres[kept][:, None]
    centre = points[:, 0].copy()
    points[:, 0], points[:, 1] = centre - half, centre + half
    return points.reshape(-1, 12), logistic(scores[kept].astype(np.float64))


def refine_landmarks(points: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Move landmarks to the centre of mass of the heat map around them.

    Args:
        points: (K, 2) in the ROI, 0..1; those outside stay where they are.
        heatmap: (K, S, S) logits. Landmarks with a low heat map stay where they are.

    Returns:
        (K, 2) in the ROI, 0..1.
    """
    count, size = heatmap.shape[:2]
    cell = np.trunc(np.nan_to_num(points * size, nan=-9.0)).clip(-9, size + 9).astype(np.int64)
    inside = ((cell >= 0) & (cell < size)).all(axis=1)
    reach = np.arange(HEATMAP_KERNEL_CELLS) - HEATMAP_KERNEL_CELLS // 2
    columns, rows = cell[:, :1] + reach, cell[:, 1:] + reach
    valid = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None]
    window = heatmap[
        np.arange(count)[:, None, None],
        rows.clip(0, size - 1)[:, :, None],
        columns.clip(0, size - 1)[:, None],
    ]
    probability = np.where(valid, logistic(window), 0.0)
    moved = inside & (probability.max(axis=(1, 2)) >= MIN_HEATMAP_PROBABILITY)
    total = probability.sum(axis=(1, 2))[moved]
    refined = points.astype(np.float64)
    refined[moved, 0] = (probability.sum(axis=1)[moved] * columns[moved]).sum(axis=1) / total / size
    refined[moved, 1] = (probability.sum(axis=2)[moved] * rows[moved]).sum(axis=1) / total / size
    return refined


def logistic(x: np.ndarray) -> np.ndarray:
    """Logits to probabilities, of the same shape."""
    return 1.0 / (1.0 + np.exp(-np.clip(x, -100.0, 100.0)))
