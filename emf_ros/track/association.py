"""Association of detections with tracks: similarity, gating and optimal assignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry.boxes import box_iou, coco_sigmas, oks, person_areas, person_boxes
from ..skeletons import Layout
from ..types import Pose2D
from .appearance import (
    appearance_histograms,
    appearance_llr,
    appearance_similarity,
    unknown_appearance,
)
from .state import Track

#: Minimum score of a detection that continues a track, as a share of the minimum score of a track
#: birth.
WEAK = 0.5

#: Maximum absolute value of a coordinate, px. A keypoint beyond it is missing: no image is as
#: large. The squares of much larger values would overflow.
MAX_COORDINATE_PX = 1e6

#: Standard deviation of a predicted position, body sizes (see `state`).
PREDICTION_STD = 0.02

#: Growth of `PREDICTION_STD`, body sizes/s.
PREDICTION_STD_PER_S = 0.4

#: Weight of the keypoints in the similarity. The IoU of the boxes has the rest.
OKS_WEIGHT = 0.8

#: Factor on the keypoints' similarity where left and right have to be exchanged for it.
SWAP_FACTOR = 0.9

#: Weight of the appearance's log-likelihood ratio in the similarity.
APPEARANCE_WEIGHT = 0.1

#: Minimum similarity right after a detection. In 99.5 % of the images the similarity of the same
#: person is above it. That of another person, who was occluded by the first, is seldom above it.
MIN_SIMILARITY_AT_ONCE = 0.5

#: Decrease of the minimum similarity with the time since the detection, 1/s. It ends at the
#: tracker's `min_similarity`.
MIN_SIMILARITY_DECAY_PER_S = 0.5


@dataclass(frozen=True)
class Observations:
    """The N detections of one image that have a keypoint.

    Attributes:
        detections: as they came.
        keypoints: (N, K, 3) px, px, score; NaN where missing.
        boxes: (N, 4) left, top, right, bottom, px, of `person_boxes`.
        appearance: (N, PARTS, B) colour histograms; NaN where not visible.
        strong: indices of the detections that may begin a track.
        weak: indices of the others, which can only continue one.
    """

    detections: list[Pose2D]
    keypoints: np.ndarray
    boxes: np.ndarray
    appearance: np.ndarray
    strong: list[int]
    weak: list[int]


def observe(
    detections: Sequence[Pose2D],
    image: np.ndarray | None,
    layout: Layout,
    birth_score: float,
    min_score: float,
) -> Observations:
    """Prepare the detections of one image. Those without a keypoint are left out.

    A keypoint is missing if a value of it is NaN, infinite or beyond `MAX_COORDINATE_PX`.

    Args:
        detections: keypoints (K, 3) px, px, score.
        image: (H, W, 3) uint8 RGB; without it the appearance is not known.
        layout: of the keypoints.
        birth_score: minimum score of a strong detection, 0..1.
        min_score: minimum score of a visible keypoint, 0..1.
    """
    poses = np.array([d.keypoints for d in detections]).reshape(-1, len(layout), 3)
    poses = np.where(np.abs(poses) <= MAX_COORDINATE_PX, poses, np.nan)
    has_keypoint = np.isfinite(poses).all(axis=2).any(axis=1)
    kept = [d for d, has in zip(detections, has_keypoint, strict=True) if has]
    keypoints = poses[has_keypoint]
    strong = [i for i, d in enumerate(kept) if d.score >= birth_score]
    return Observations(
        kept,
        keypoints,
        person_boxes(keypoints, min_score),
        unknown_appearance(len(kept))
        if image is None
        else appearance_histograms(image, keypoints, layout, min_score),
        strong,
        [i for i in range(len(kept)) if i not in strong],
    )


def gated_similarity(
    tracks: Sequence[Track],
    observed: Observations,
    layout: Layout,
    stamp_ns: int,
    min_similarity: float,
    min_score: float,
) -> np.ndarray:
    """Similarity of tracks and detections above the gate; a pair below 0 is impossible.

    Args:
        tracks: N.
        observed: M detections.
        layout: of the keypoints.
        stamp_ns: of the image, ns.
        min_similarity: lowest gate, 0..1.
        min_score: minimum score of a keypoint that is compared, 0..1.

    Returns:
        (N, M).
    """
    similarity = _similarity(tracks, observed, layout, stamp_ns, min_score)
    missing_s = np.array([track.missing_s(stamp_ns) for track in tracks])[:, None]
    gate = MIN_SIMILARITY_AT_ONCE - MIN_SIMILARITY_DECAY_PER_S * missing_s
    return similarity - np.maximum(min_similarity, gate)


def _similarity(
    tracks: Sequence[Track],
    observed: Observations,
    layout: Layout,
    stamp_ns: int,
    min_score: float,
) -> np.ndarray:
    """(N, M) similarity by keypoints, boxes and appearance, at most about 1.25."""
    if not tracks or not observed.detections:
        return np.zeros((len(tracks), len(observed.detections)))
    poses = observed.keypoints
    predicted = np.array([track.predicted(stamp_ns) for track in tracks])
    predicted_boxes = person_boxes(predicted, min_score)
    missing_s = np.array([track.missing_s(stamp_ns) for track in tracks])
    variance = np.array([track.velocity_variance for track in tracks])
    position_std = np.sqrt(
        (PREDICTION_STD + PREDICTION_STD_PER_S * missing_s) ** 2 + variance * missing_s**2
    )
    position_std *= np.sqrt(person_areas(predicted_boxes))
    areas, sigmas = person_areas(observed.boxes), coco_sigmas(layout)
    swapped = poses[:, np.array(layout.mirror)]
    keypoints = np.fmax(
        oks(predicted, poses, areas, sigmas, min_score, position_std),
        SWAP_FACTOR * oks(predicted, swapped, areas, sigmas, min_score, position_std),
    )
    iou = box_iou(predicted_boxes, observed.boxes)
    keypoints = np.where(np.isnan(keypoints), iou, keypoints)
    appearance = appearance_similarity(
        np.array([track.appearance for track in tracks]), observed.appearance
    )
    out = OKS_WEIGHT * keypoints + (1 - OKS_WEIGHT) * iou
    return out + APPEARANCE_WEIGHT * appearance_llr(appearance)


def assign(gain: np.ndarray, min_gain: float) -> list[tuple[int, int]]:
    """Optimal assignment: the pairs of rows and columns with the largest sum of gains.

    The Hungarian method by shortest augmenting paths: Jonker, Volgenant, "A shortest augmenting
    path algorithm for dense and sparse linear assignment problems", Computing 38 (1987). Its time
    is cubic in the larger side. SciPy has it too, and is a dependency of 35 MB.

    Args:
        gain: (N, M); NaN for an impossible pair.
        min_gain: minimum gain of a pair. What is summed is the gain above it, so that a pair below
            it does not affect the optimum.

    Returns:
        (row, column), rows rising.
    """
    worth = np.nan_to_num(np.asarray(gain, dtype=float) - min_gain, nan=-1.0)
    rows, columns = worth.shape
    # A row without a pair takes a column of its own, at no cost.
    cost = np.zeros((rows, columns + rows))
    cost[:, :columns] = np.where(worth >= 0, -worth, 1.0)
    row_price, price = np.zeros(rows), np.zeros(columns + rows)
    row_of = np.full(columns + rows, -1)
    for first in range(rows):
        # Dijkstra from the new row to the nearest free column, over reduced costs.
        distance = np.full(columns + rows, np.inf)
        before = np.full(columns + rows, -1)
        done = np.zeros(columns + rows, dtype=bool)
        row, so_far, column = first, 0.0, -1
        while True:
            through = so_far + cost[row] - row_price[row] - price
            shorter = ~done & (through < distance)
            distance[shorter], before[shorter] = through[shorter], column
            column = int(np.where(done, np.inf, distance).argmin())
            so_far = distance[column]
            if row_of[column] < 0:
                break
            done[column] = True
            row = row_of[column]
        reached = np.flatnonzero(done)
        row_price[first] += so_far
        row_price[row_of[reached]] += so_far - distance[reached]
        price[reached] -= so_far - distance[reached]
        while column >= 0:
            previous = int(before[column])
            row_of[column] = row_of[previous] if previous >= 0 else first
            column = previous
    return sorted(
        (int(row_of[c]), c) for c in range(columns) if row_of[c] >= 0 and worth[row_of[c], c] >= 0
    )
