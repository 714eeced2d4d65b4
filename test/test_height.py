"""A person's known height."""

import numpy as np
import pytest

from emf_ros.lift.bones import bone_lengths
from emf_ros.lift.height import BODY_SHARE_SPREAD, height_scale, standing_height
from emf_ros.lift.root import HEIGHT_SPREAD
from emf_ros.skeletons import H36M17


def lengths_of(height):
    """A standing body of Winter's proportions, (16,) m."""
    joints = np.zeros((17, 3))

    def put(joint, x, z):
        joints[H36M17.index(joint)] = (x * height, 0.0, z * height)

    put("pelvis", 0, 0.53)
    put("spine", 0, 0.67)
    put("thorax", 0, 0.818)
    put("nose", 0, 0.91)
    put("head_top", 0, 1.0)
    for side, x in (("left", 1), ("right", -1)):
        put(f"{side}_hip", 0.06 * x, 0.53)
        put(f"{side}_knee", 0.06 * x, 0.285)
        put(f"{side}_ankle", 0.06 * x, 0.039)
        put(f"{side}_shoulder", 0.129 * x, 0.818)
        put(f"{side}_elbow", 0.129 * x, 0.632)
        put(f"{side}_wrist", 0.129 * x, 0.486)
    return bone_lengths(joints)


def test_a_body_is_as_tall_as_its_bones_add_up_to():
    bodies = np.stack([lengths_of(h) for h in (1.2, 1.75, 2.0)])
    assert standing_height(bodies) == pytest.approx([1.2, 1.75, 2.0], rel=1e-3)


def test_body_height_ignores_head_and_arms_and_averages_the_legs():
    lengths = lengths_of(1.7)
    changed = lengths.copy()
    for i, (_, child) in enumerate(H36M17.bones):
        if child in ("nose", "head_top") or child.endswith(("elbow", "wrist", "shoulder", "_hip")):
            changed[i] *= 2
        if child.endswith("ankle"):
            changed[i] += 0.03 if child.startswith("left") else -0.03
    assert standing_height(changed) == pytest.approx(standing_height(lengths))


def test_a_height_scales_the_skeleton_nearly_to_it():
    lengths = np.stack([lengths_of(1.7)] * 3)
    factor, spread = height_scale(lengths, np.array([1.7, 1.87, 1.2]), 0.0)
    assert factor[0] == pytest.approx(1.0, abs=1e-3)
    assert 1.075 < factor[1] < 1.10 and 0.706 < factor[2] < 0.80
    assert (spread < 0.5 * HEIGHT_SPREAD).all() and (spread > 0.02).all()


def test_the_height_prior_is_a_product_of_normal_densities():
    """Over the height, on a grid."""
    lengths, height, stddev = lengths_of(1.7), 2.1, 0.05
    guess = standing_height(lengths)
    grid = np.linspace(1.0, 3.0, 200_001)
    prior = np.hypot(stddev, BODY_SHARE_SPREAD * height)
    log = ((grid - guess) / (HEIGHT_SPREAD * guess)) ** 2 + ((grid - height) / prior) ** 2
    density = np.exp(-0.5 * (log - log.min()))
    density /= density.sum()
    mean = density @ grid
    factor, spread = height_scale(lengths[None], np.array([height]), stddev)
    assert factor[0] == pytest.approx(mean / guess, rel=1e-4)
    assert spread[0] == pytest.approx(np.sqrt(density @ (grid - mean) ** 2) / mean, rel=1e-3)


def test_an_uncertain_height_weighs_less():
    lengths = np.stack([lengths_of(1.7)] * 4)
    factor, spread = height_scale(lengths, np.full(4, 1.9), np.array([0.0, 0.05, 0.2, 100.0]))
    assert (np.diff(factor) < 0).all() and (np.diff(spread) > 0).all()
    assert factor[3] == pytest.approx(1.0, abs=1e-4)
    assert spread[3] == pytest.approx(HEIGHT_SPREAD, rel=1e-3)


def test_an_unknown_height_changes_nothing():
    lengths = np.stack([lengths_of(1.7)] * 2)
    factor, spread = height_scale(lengths, np.array([np.nan, 1.8]))
    assert factor[0] == 1.0 and spread[0] == pytest.approx(HEIGHT_SPREAD)
    assert factor[1] > 1.0


def test_sizes_are_as_sure_as_the_stddev_says():
    """People of all heights, models that think them average, priors with errors."""
    rng = np.random.default_rng(0)
    truth = rng.normal(1.72, 0.07 * 1.72, 20000)
    measured = truth * (1 + rng.normal(0, 0.03, len(truth))) + rng.normal(0, 0.03, len(truth))
    lengths = np.broadcast_to(lengths_of(1.72), (len(truth), 16))
    factor, spread = height_scale(lengths, measured, 0.03)
    off = truth / (1.72 * factor) - 1
    assert np.sqrt(np.mean((off / spread) ** 2)) == pytest.approx(1.0, abs=0.05)
    assert off.std() < 0.5 * (truth / 1.72 - 1).std()


@pytest.mark.parametrize(("height", "stddev"), [(0.0, 0.02), (-1.7, 0.02), (1.7, -0.1)])
def test_impossible_heights_are_an_error(height, stddev):
    with pytest.raises(ValueError, match="positive"):
        height_scale(lengths_of(1.7)[None], np.array([height]), stddev)
