"""Boxes of any values: overlap, suppression, boxes around keypoints, similarity."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from emf_ros.geometry.boxes import (
    box_iou,
    coco_sigmas,
    keypoint_boxes,
    nms,
    oks,
    person_areas,
    person_boxes,
)
from emf_ros.skeletons import COCO17

ANY = st.floats(-1e4, 1e4) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0])
PIXELS = st.floats(-1e4, 1e4, width=32)


def boxes(values: st.SearchStrategy = ANY) -> st.SearchStrategy:
    shape = st.integers(0, 8).map(lambda n: (n, 4))
    return hnp.arrays(np.float64, shape, elements=values)


def proper() -> st.SearchStrategy:
    """Boxes whose right lower corner is right of and under the left upper one."""
    return boxes(PIXELS).map(
        lambda b: np.concatenate([b[:, :2], b[:, :2] + 1 + np.abs(b[:, 2:])], axis=1)
    )


@given(proper(), proper())
def test_iou_is_symmetric_and_between_0_and_1(first: np.ndarray, second: np.ndarray) -> None:
    overlap = box_iou(first, second)
    assert overlap.shape == (len(first), len(second))
    assert ((overlap >= 0) & (overlap <= 1 + 1e-9)).all()
    np.testing.assert_allclose(overlap, box_iou(second, first).T, rtol=1e-12)
    np.testing.assert_allclose(np.diag(box_iou(first, first)), 1.0)


@given(proper(), st.floats(-500, 500), st.floats(0.1, 10))
def test_iou_does_not_depend_on_place_and_scale(
    found: np.ndarray, shift: float, scale: float
) -> None:
    np.testing.assert_allclose(
        box_iou(scale * found + shift, scale * found + shift), box_iou(found, found), atol=1e-6
    )


@given(proper(), st.floats(0, 1), st.integers(0, 2**31))
def test_nms_is_idempotent_and_keeps_the_best(found: np.ndarray, max_iou: float, seed: int) -> None:
    scores = np.random.default_rng(seed).choice([0.1, 0.5, 0.5, 0.9], len(found))
    kept = nms(found, scores, max_iou)
    assert len(set(kept.tolist())) == len(kept)
    assert (np.diff(scores[kept]) <= 0).all()
    if len(found):
        assert scores[kept[0]] == scores.max()
    overlap = box_iou(found[kept], found[kept])
    assert (overlap[~np.eye(len(kept), dtype=bool)] <= max_iou).all()
    again = nms(found[kept], scores[kept], max_iou)
    assert again.tolist() == list(range(len(kept)))
    # Each box that is left out overlaps a kept one that is at least as good.
    for index in set(range(len(found))) - set(kept.tolist()):
        covers = (box_iou(found[index : index + 1], found[kept])[0] > max_iou) & (
            scores[kept] >= scores[index]
        )
        assert covers.any()


@given(hnp.arrays(np.float64, (3, 17, 3), elements=ANY), st.floats(0, 1))
def test_boxes_enclose_the_finite_keypoints(keypoints: np.ndarray, min_score: float) -> None:
    found = keypoint_boxes(keypoints, min_score)
    for points, box in zip(keypoints, found, strict=True):
        used = points[np.isfinite(points).all(axis=1) & (points[:, 2] >= min_score)]
        if not len(used):
            assert np.isnan(box).all()
            continue
        assert box.tolist() == [*used[:, :2].min(axis=0), *used[:, :2].max(axis=0)]


@given(hnp.arrays(np.float64, (4, 17, 3), elements=st.floats(0, 1000)), st.integers(0, 2**31))
def test_oks_is_between_0_and_1_and_1_for_the_same_pose(keypoints: np.ndarray, seed: int) -> None:
    keypoints[..., 2] = 0.9
    rng = np.random.default_rng(seed)
    keypoints[rng.random((4, 17)) < 0.3] = np.nan
    areas = person_areas(person_boxes(keypoints, 0.3))
    similarity = oks(keypoints, keypoints, areas, coco_sigmas(COCO17))
    known = np.isfinite(similarity)
    assert ((similarity[known] >= 0) & (similarity[known] <= 1 + 1e-9)).all()
    own = np.diag(similarity)
    np.testing.assert_allclose(own[np.isfinite(own)], 1.0)
