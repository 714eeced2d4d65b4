"""Appearance: where colours are sampled, and how alike two histograms are."""

import numpy as np
import pytest
from tracked_people import dressed, person

from emf_ros.skeletons import BLAZEPOSE33
from emf_ros.track.appearance import (
    colour_histograms,
    histogram_similarity,
    occlusion,
    thigh_quads,
    trunk_quad,
)


def test_thigh_quads_lie_between_hip_and_knee():
    keypoints = np.zeros((33, 3))
    for side, x in (("left", 120), ("right", 80)):
        for joint, y in (("hip", 200), ("knee", 300)):
            keypoints[BLAZEPOSE33.index(f"{side}_{joint}")] = (x, y, 0.9)
    quads = thigh_quads(keypoints, BLAZEPOSE33, 0.3)
    assert quads.mean(axis=1) == pytest.approx(np.array([(120, 250), (80, 250)]))
    assert np.ptp(quads[0], axis=0) == pytest.approx([25, 70])
    keypoints[BLAZEPOSE33.index("left_knee"), 2] = 0.1
    assert len(thigh_quads(keypoints, BLAZEPOSE33, 0.3)) == 1
    assert thigh_quads(np.full((33, 3), 300.0), BLAZEPOSE33, 0.3) is None


def test_person_with_lower_feet_occludes_the_other():
    poses = np.array([person(300, 320).keypoints, person(340, 300).keypoints])
    occlusion_map, ranks = occlusion(poses, (600, 800), 0.3)
    assert ranks.tolist() == [2, 1]
    assert occlusion_map[320, 300] == 2 and occlusion_map[0, 0] == 0 and (occlusion_map == 1).any()


def test_histogram_similarity_is_high_for_equal_colours_and_low_for_others():
    quad = np.array([[(320.0, 100), (280, 100), (320, 300), (280, 300)]])
    image = dressed(300, 900)
    quads = np.concatenate([quad, quad + (600, 0)])
    red, blue = colour_histograms(image, quads, np.arange(2))
    (darker,) = colour_histograms((0.8 * image).astype(np.uint8), quad, np.zeros(1, int))
    assert red.sum() == pytest.approx(1)
    (same, other, dark) = histogram_similarity(red[None], np.stack([red, blue, darker]))[0]
    assert same == pytest.approx(1) and other < 0.1 and dark > 0.5
    assert np.isnan(histogram_similarity(red[None], np.full((1, len(red)), np.nan))).all()


def test_histogram_of_an_occluded_or_truncated_part_is_unknown():
    image, layout = dressed(300, 900), BLAZEPOSE33
    quad = np.array([[(320.0, 100), (280, 100), (320, 300), (280, 300)]])
    occlusion_map = np.zeros(image.shape[:2], np.uint8)

    def known(quad, rank):
        histogram_of = np.zeros(len(quad), int)
        return np.isfinite(
            colour_histograms(image, quad, histogram_of, occlusion_map, histogram_of + rank)
        ).all()

    assert known(quad, 1) and not known(quad + (-320, 0), 1) and not known(quad + (-900, 0), 1)
    occlusion_map[:150] = 2
    assert known(quad, 1)
    occlusion_map[:250] = 2
    assert known(quad, 2) and not known(quad, 1)
    seen = person(300)
    seen.keypoints[layout.index("left_hip"), 2] = 0.1
    assert trunk_quad(seen.keypoints, layout, 0.3) is None
    assert trunk_quad(np.full((33, 3), 300.0), layout, 0.3) is None


def test_trunk_quad_from_the_side_has_a_minimum_width():
    keypoints = np.zeros((33, 3))
    for joint, y in (("shoulder", 100), ("hip", 200)):
        for side in ("left", "right"):
            keypoints[BLAZEPOSE33.index(f"{side}_{joint}")] = (300, y, 0.9)
    quad = trunk_quad(keypoints, BLAZEPOSE33, 0.3)
    assert np.ptp(quad[0, :, 0]) > 15 and np.ptp(quad[0, :, 1]) == pytest.approx(70)
