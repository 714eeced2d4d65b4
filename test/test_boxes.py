"""Boxes and keypoints: IoU, non-maximum suppression, OKS, box of keypoints."""

import numpy as np
import pytest
from test_plausibility import standing

from emf_ros.geometry.boxes import (
    box_iou,
    coco_sigmas,
    keypoint_boxes,
    nms,
    oks,
    person_areas,
    person_boxes,
    weighted_nms,
)
from emf_ros.skeletons import BLAZEPOSE33, COCO17


def test_oks_is_that_of_coco():
    first, second = standing(COCO17).keypoints, standing(COCO17).keypoints
    sigmas = coco_sigmas(COCO17)
    areas = person_areas(person_boxes(second[None], 0.3))
    assert oks(first[None], second[None], areas, sigmas)[0, 0] == pytest.approx(1)
    second[:, 0] += 10
    expected = np.exp(-100 / (2 * areas[0] * (2 * sigmas) ** 2)).mean()
    assert oks(first[None], second[None], areas, sigmas)[0, 0] == pytest.approx(expected)
    assert oks(first[None], second[None], areas, sigmas, position_std=50.0)[0, 0] > expected


def test_oks_is_nan_with_too_few_common_joints():
    first, second = standing().keypoints[None], standing().keypoints[None]
    first[0, :20] = np.nan
    second[0, 20:, 2] = 0.0
    assert np.isnan(oks(first, second, np.ones(1), coco_sigmas(BLAZEPOSE33))).all()
    assert oks(first[:0], second, np.ones(1), coco_sigmas(BLAZEPOSE33)).shape == (0, 1)


def test_box_iou_is_zero_for_apart_and_nan_boxes():
    boxes = np.array([(0.0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30), (np.nan,) * 4])
    overlap = box_iou(boxes, boxes)
    assert overlap[0] == pytest.approx([1, 1 / 3, 0, 0])
    assert overlap[3] == pytest.approx([0, 0, 0, 0])


@pytest.mark.parametrize("seed", range(5))
def test_box_iou_matches_counted_cells(seed):
    random = np.random.default_rng(seed)
    corners = np.sort(random.integers(0, 12, (9, 2, 2)), axis=1).reshape(-1, 4)
    cells = np.zeros((len(corners), 12, 12), dtype=bool)
    for grid, (left, top, right, bottom) in zip(cells, corners, strict=True):
        grid[top:bottom, left:right] = True
    both = (cells[:, None] & cells).sum(axis=(2, 3))
    either = (cells[:, None] | cells).sum(axis=(2, 3))
    expected = np.where(either, both / np.maximum(either, 1), 0.0)
    assert box_iou(corners.astype(float), corners.astype(float)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_nms_keeps_the_best_of_each_overlap(seed):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 20, (30, 2))
    boxes = np.hstack([corner, corner + random.uniform(5, 15, (30, 2))])
    scores = random.random(30)
    kept, overlap = nms(boxes, scores, 0.4), box_iou(boxes, boxes)
    assert (np.diff(scores[kept]) <= 0).all() and 1 < len(kept) < 30
    for i in range(30):
        better = [k for k in kept if scores[k] > scores[i]]
        assert (i in kept) == (overlap[i, better] <= 0.4).all()


def test_nms_of_no_boxes_is_empty():
    assert nms(np.zeros((0, 4)), np.zeros(0), 0.5).shape == (0,)


def test_keypoint_boxes_leave_out_missing_keypoints():
    keypoints = np.zeros((2, 5, 3))
    keypoints[0] = [(1, 2, 0.9), (5, 9, 0.9), (80, 90, 0.1), (np.nan, 4, 0.9), (np.inf, 4, 0.9)]
    keypoints[1] = np.nan
    boxes = keypoint_boxes(keypoints, 0.5)
    assert boxes[0].tolist() == [1, 2, 5, 9] and np.isnan(boxes[1]).all()
    # With fewer than the minimum number, all finite keypoints count.
    assert keypoint_boxes(keypoints, 0.5, 3)[0].tolist() == [1, 2, 80, 90]
    assert keypoint_boxes(keypoints, 0.95)[0] == pytest.approx([np.nan] * 4, nan_ok=True)


def test_weighted_nms_merges_overlapping_candidates():
    candidates = np.array(
        [
            [0.0, 0.0, 1.0, 1.0, 10.0],
            [0.0, 0.0, 1.0, 0.8, 20.0],
            [5.0, 5.0, 6.0, 6.0, 30.0],
        ]
    )
    people, best = weighted_nms(candidates, np.array([0.6, 0.9, 0.7]), 0.3)
    assert np.allclose(best, [0.9, 0.7])
    assert np.allclose(people[0], [0.0, 0.0, 1.0, (0.6 + 0.72) / 1.5, (6.0 + 18.0) / 1.5])
    assert np.allclose(people[1], candidates[2])
    # A box without an area overlaps nothing, not even itself.
    people, _ = weighted_nms(np.zeros((2, 4)), np.ones(2), 0.3)
    assert len(people) == 2
    assert weighted_nms(np.zeros((0, 12)), np.zeros(0), 0.3)[0].shape == (0, 12)
