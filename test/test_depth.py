"""The distance from a depth image."""

import numpy as np
import pytest

from emf_ros.lift.depth import BEHIND_SURFACE_M, TRUNK, trunk_depth, with_depth
from emf_ros.reasons import Reason
from emf_ros.skeletons import H36M17

# Distance of a person, m.
BODY_M = 3.0
# Distance of the wall behind the person, m.
WALL_M = 6.0
# Edges of the person's trunk in the image, px.
LEFT = 130
RIGHT = 190
TOP = 80
BOTTOM = 180


def picture(dtype=np.float32):
    image = np.full((240, 320), WALL_M, np.float32)
    image[TOP - 30 : BOTTOM + 40, LEFT:RIGHT] = BODY_M
    return image if dtype == np.float32 else (image * 1000).astype(np.uint16)


def keypoints(count=1):
    points = np.full((count, 17, 2), np.nan)
    for joint, at in {
        "left_shoulder": (RIGHT - 5, TOP),
        "right_shoulder": (LEFT + 5, TOP),
        "left_hip": (RIGHT - 15, BOTTOM),
        "right_hip": (LEFT + 15, BOTTOM),
    }.items():
        points[:, H36M17.index(joint)] = at
    return points


def one(image, points=None, **how):
    depth, reasons = trunk_depth(image, keypoints() if points is None else points, **how)
    return depth[0], reasons[0]


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_a_flat_patch_is_its_depth(dtype):
    assert one(picture(dtype)) == (pytest.approx(BODY_M, abs=1e-3), "")


@pytest.mark.parametrize("hole", [0.0, np.nan, np.inf, -np.inf, 0.2, 25.0])
def test_invalid_depths_are_ignored(hole):
    image = picture()
    rng = np.random.default_rng(0)
    image[rng.random(image.shape) < 0.4] = hole
    assert one(image) == (pytest.approx(BODY_M), "")
    image[rng.random(image.shape) < 0.5] = hole
    depth, reason = one(image)
    assert np.isnan(depth) and reason == Reason.DEPTH_HOLES


def test_zero_millimetres_are_missing_depths():
    image = picture(np.uint16)
    image[:, : (LEFT + RIGHT) // 2 - 5] = 0
    assert one(image) == (pytest.approx(BODY_M), "")
    image[:] = 0
    depth, reason = one(image)
    assert np.isnan(depth) and reason == Reason.DEPTH_HOLES


@pytest.mark.parametrize("distance", [1.5, 6.0], ids=["occluder", "background"])
def test_two_surfaces_are_refused_and_a_little_of_one_is_not(distance):
    middle = (LEFT + RIGHT) // 2
    image = picture()
    image[:, middle - 9 : middle + 8] = distance  # about half of the patch
    image[:, middle + 1 :] = BODY_M
    depth, reason = one(image)
    assert np.isnan(depth) and reason == Reason.DEPTH_SEVERAL_SURFACES
    image = picture()
    image[:, : middle - 11] = distance
    assert one(image) == (pytest.approx(BODY_M), "")


def test_depth_variance_includes_the_sensors_noise():
    image = picture()
    noisy = image * (1 + np.random.default_rng(1).normal(0, 0.015, image.shape)).astype(np.float32)
    assert one(noisy) == (pytest.approx(BODY_M, abs=0.02), "")


def test_the_patch_grows_with_the_trunk_or_is_given():
    middle = (LEFT + RIGHT) // 2, (TOP + BOTTOM) // 2
    image = picture()
    image[middle[1] - 8 : middle[1] + 9, middle[0] - 8 : middle[0] + 9] = 2.5
    # 15 px of the 100 px trunk: nearly a third of it is the nearer square.
    assert one(image)[1] == Reason.DEPTH_SEVERAL_SURFACES
    assert one(image, radius_px=6) == (pytest.approx(2.5), "")


def test_a_trunk_outside_the_image_has_no_depth():
    points = keypoints(3)
    points[0, TRUNK[2]] = np.nan
    points[1] += 1000.0
    depth, reasons = trunk_depth(picture(), points)
    assert reasons.tolist() == [Reason.DEPTH_TRUNK_MISSING, Reason.DEPTH_HOLES, ""]
    assert np.isnan(depth[:2]).all() and depth[2] == pytest.approx(BODY_M)


def test_the_depth_patch_ends_at_the_image_edge():
    image = picture()
    points = keypoints()
    points[0] -= (LEFT + RIGHT) // 2 - 2, 0  # the middle is at x = 2
    assert one(image, points) == (pytest.approx(WALL_M), "")
    points[0] -= 12, 0
    assert one(image, points)[1] == Reason.DEPTH_HOLES


def test_no_people_are_no_error():
    depth, reasons = trunk_depth(picture(), keypoints(0))
    assert depth.shape == reasons.shape == (0,)


@pytest.mark.parametrize(
    "wrong",
    [
        np.ones((24, 32)),
        np.ones((24, 32), np.int16),
        np.ones((24, 32), ">u2"),
        np.ones((24, 32, 1), np.float32),
        np.ones((0, 32), np.float32),
    ],
)
def test_another_type_or_shape_is_an_error(wrong):
    with pytest.raises(ValueError, match="uint16 mm or float32 m"):
        trunk_depth(wrong, keypoints())


# ------------------------------------------------------------------------------ the root


def estimates(count, seed, spread=0.07):
    """True roots, estimates, covariances, and relative joints whose trunk is 0.1 m further."""
    rng = np.random.default_rng(seed)
    z = rng.uniform(1.5, 8, count)
    truth = np.stack([z * rng.uniform(-0.5, 0.5, count), z * rng.uniform(-0.2, 0.2, count), z], -1)
    root = truth * (1 + spread * rng.standard_normal((count, 1)))
    covariance = spread**2 * root[:, :, None] * root[:, None, :] + 1e-4 * np.eye(3)
    joints = np.zeros((count, 17, 3))
    joints[:, TRUNK, 2] = (0.0, 0.0, 0.2, 0.2)
    return truth, root, covariance, joints, rng


def test_the_root_lies_behind_the_surface_on_its_ray():
    truth, root, covariance, joints, rng = estimates(3000, 2)
    depth = truth[:, 2] + 0.1 - BEHIND_SURFACE_M + rng.normal(0, 0.06, len(truth))
    fused, narrowed, reasons = with_depth(root, covariance, joints, depth)
    assert (reasons == "").mean() > 0.99
    taken = reasons == ""
    before, after = (np.linalg.norm(r - truth, axis=-1)[taken] for r in (root, fused))
    assert np.median(after) < 0.3 * np.median(before)
    assert (fused - truth)[taken, 2].std() == pytest.approx(0.06, rel=0.1)
    assert np.abs((fused - truth)[taken, 2].mean()) < 0.005
    assert np.sqrt(narrowed[taken, 2, 2]).mean() == pytest.approx(0.06, rel=0.1)
    side = np.linalg.norm(np.cross(fused, truth), axis=-1) / np.linalg.norm(truth, axis=-1)
    assert np.median(side) < 0.01


def test_a_depth_outlier_is_rejected_and_reported():
    _, root, covariance, joints, _ = estimates(4, 3)
    root[3] = np.nan
    depth = np.array([0.4 * root[0, 2], 2.5 * root[1, 2], np.nan, 3.0])
    fused, narrowed, reasons = with_depth(root, covariance, joints, depth)
    assert reasons.tolist() == [Reason.DEPTH_DISAGREES, Reason.DEPTH_DISAGREES, "", ""]
    np.testing.assert_array_equal(fused, root)
    np.testing.assert_array_equal(narrowed, covariance)


def test_depth_overrides_the_distance_of_a_small_person():
    """Taken for an adult it seems to be further off by far more than three stddevs."""
    truth, _, _, joints, _ = estimates(50, 4)
    root = truth / 0.65
    covariance = 0.07**2 * root[:, :, None] * root[:, None, :] + 1e-4 * np.eye(3)
    depth = truth[:, 2] + 0.1 - BEHIND_SURFACE_M
    fused, narrowed, reasons = with_depth(root, covariance, joints, depth)
    assert (reasons == "").all()
    assert np.abs(fused - truth).max() < 0.03
    assert np.sqrt(narrowed[:, 2, 2]) == pytest.approx(np.full(50, 0.06), rel=0.1)


def test_a_noisy_depth_sensor_weighs_less():
    _, root, covariance, joints, _ = estimates(1, 5)
    depth = 1.05 * root[:, 2]
    near, far = (
        with_depth(root, covariance, joints, depth, s)[0][0, 2] - root[0, 2] for s in (0.05, 1.0)
    )
    assert 0 < far < 0.3 * near
