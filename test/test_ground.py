"""The distance from the floor."""

import math

import numpy as np
import pytest
from numpy.linalg import norm

from emf_ros.lift.ground import (
    ANKLE_HEIGHT_M,
    ANKLE_STDDEV_M,
    POSE_STDDEV_M,
    GroundPlane,
    on_ground,
)
from emf_ros.lift.root import KEYPOINT_ERROR
from emf_ros.reasons import Reason
from emf_ros.skeletons import H36M17

LEFT = H36M17.index("left_ankle")
RIGHT = H36M17.index("right_ankle")


def axes(ground):
    """(3, 3): the world's x (right), y (ahead, level) and z (up) in the camera's optical frame."""
    pitch, roll = ground.pitch_rad, ground.roll_rad
    # Level camera: x right, y down, z ahead; then nose down by the pitch; then about the axis.
    tilt = np.array(
        [
            [1, 0, 0],
            [0, math.cos(pitch), -math.sin(pitch)],
            [0, math.sin(pitch), math.cos(pitch)],
        ]
    )
    turn = np.array(
        [
            [math.cos(roll), math.sin(roll), 0],
            [-math.sin(roll), math.cos(roll), 0],
            [0, 0, 1],
        ]
    )
    level = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    return turn @ tilt @ level


def walkers(ground, count=1, seed=0, near=2.0, far=7.0, lifted=0.0):
    """People with the right foot on the floor: roots, relative joints and rays, all exact."""
    rng = np.random.default_rng(seed)
    world = np.stack(
        [rng.uniform(-1, 1, count), rng.uniform(near, far, count), np.full(count, 0.92)], -1
    )
    body = rng.normal(0, 0.15, (count, 17, 3)) + (0, 0, 0.3)
    body[:, 0] = 0
    body[:, RIGHT] = (0.1, 0.1, ANKLE_HEIGHT_M + lifted - 0.92)
    body[:, LEFT] = (-0.1, -0.2, ANKLE_HEIGHT_M + lifted + 0.1 - 0.92)
    turned = axes(ground)
    root = (world - (0, 0, ground.height_m)) @ turned.T
    joints = body @ turned.T
    placed = root[:, None] + joints
    return root, joints, placed[..., :2] / placed[..., 2:], np.ones((count, 17))


def guessed(root, joints, spread, rng):
    """Skeletons of another size, and the roots that follow from it, with their covariance."""
    size = 1 + spread * rng.standard_normal((len(root), 1))
    off = root * size
    covariance = 0.07**2 * off[:, :, None] * off[:, None, :] + 1e-4 * np.eye(3)
    return off, joints * size[..., None], covariance


def test_the_up_vector_follows_pitch_and_roll():
    assert GroundPlane(1.0, 0.0).up == pytest.approx([0, -1, 0])
    assert GroundPlane(1.0, math.pi / 2).up == pytest.approx([0, 0, -1])
    # The right side down: up is to the left in the image.
    assert GroundPlane(1.0, 0.0, math.pi / 2).up == pytest.approx([-1, 0, 0])
    tilted = GroundPlane(1.0, 0.3, -0.2)
    assert tilted.up == pytest.approx(axes(tilted)[:, 2])


@pytest.mark.parametrize("height", [0.4, 1.0, 2.5])
@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.2, 0.1), (-0.1, -0.3)])
def test_a_perfect_floor_gives_the_distance_whatever_the_size(height, pitch, roll):
    ground = GroundPlane(height, pitch, roll)
    truth, joints, rays, scores = walkers(ground, 400, seed=1, far=4.0)
    # As if nothing else were known of the distance.
    wide = np.tile(1e6 * np.eye(3), (400, 1, 1))
    fused, _, reasons = on_ground(1.4 * truth, wide, joints, rays, scores, ground)
    assert (reasons == "").all()
    assert fused == pytest.approx(truth, abs=1e-4)
    # Of a skeleton of another size only the foot's being nearer or further than the pelvis counts.
    fused, _, _ = on_ground(1.4 * truth, wide, 1.4 * joints, rays, scores, ground)
    along = truth / np.linalg.norm(truth, axis=-1, keepdims=True)
    ahead = np.abs(np.einsum("pi,pi->p", along, joints[:, RIGHT]))
    assert np.linalg.norm(fused - truth, axis=-1) == pytest.approx(0.4 * ahead, abs=1e-4)


@pytest.mark.parametrize(("height", "better"), [(0.4, 0.8), (1.0, 0.5), (2.5, 0.4)])
def test_the_floor_makes_distances_better_the_more_the_higher_the_camera(height, better):
    ground = GroundPlane(height, 0.1, 0.0, 0.01, math.radians(0.3))
    truth, joints, rays, scores = walkers(ground, 400, seed=1, far=4.0)
    root, sized, covariance = guessed(truth, joints, 0.07, np.random.default_rng(2))
    fused, narrowed, reasons = on_ground(root, covariance, sized, rays, scores, ground)
    taken = reasons == ""
    assert taken.mean() > 0.97
    before, after = (np.linalg.norm(r - truth, axis=-1)[taken] for r in (root, fused))
    assert np.median(after) < better * np.median(before)
    assert (np.linalg.eigvalsh(narrowed) > 0).all()
    assert (narrowed[taken, 2, 2] < covariance[taken, 2, 2]).all()


def test_errors_are_as_large_as_the_covariance_says():
    ground = GroundPlane(1.2, 0.15, 0.05)
    rng = np.random.default_rng(3)
    off, stddevs = [], []
    for seed in range(60):
        # The camera is not mounted quite as it is told, and ankles are not all at one height.
        real = GroundPlane(
            ground.height_m + 0.02 * rng.standard_normal(),
            ground.pitch_rad + math.radians(1.0) * rng.standard_normal(),
            ground.roll_rad,
        )
        lifted = 0.03 * rng.standard_normal()
        truth, joints, rays, scores = walkers(real, 100, seed=seed, lifted=lifted)
        root, sized, covariance = guessed(truth, joints, 0.07, rng)
        along = truth / np.linalg.norm(truth, axis=-1, keepdims=True)
        sized = sized + 0.05 * rng.standard_normal((100, 1, 1)) * along[:, None]
        fused, narrowed, reasons = on_ground(root, covariance, sized, rays, scores, ground)
        taken = reasons == ""
        off.append(np.einsum("pi,pi->p", fused - truth, along)[taken])
        variance = np.einsum("pi,pij,pj->p", along, narrowed, along)
        stddevs.append(np.sqrt(variance)[taken])
    off, stddevs = np.concatenate(off), np.concatenate(stddevs)
    assert len(off) > 0.98 * 6000
    assert np.sqrt(np.mean((off / stddevs) ** 2)) == pytest.approx(1.0, abs=0.15)


def test_the_variance_of_the_pitch_grows_with_the_squared_distance():
    ground = GroundPlane(1.2, 0.1, 0.0, 0.0, math.radians(1.0))
    spread = []
    for distance in (4.0, 8.0):
        root, joints, rays, scores = walkers(ground, 1, near=distance, far=distance)
        # Nothing is known of the distance but what the floor tells, and that is all of the result.
        wide = np.eye(3)[None] * 1e4
        _, narrowed, reasons = on_ground(root, wide, joints, rays, scores, ground)
        assert reasons[0] == ""
        along = root[0] / np.linalg.norm(root[0])
        spread.append(math.sqrt(along @ narrowed[0] @ along))
        height = 1.2 - ANKLE_HEIGHT_M
        alone = distance**2 / height * math.radians(1.0)
        assert alone < spread[-1] < 1.35 * alone
    assert 3.0 < spread[1] / spread[0] < 4.0


def test_the_variance_is_that_of_its_sources_by_the_distance_s_derivatives():
    ground = GroundPlane(0.9, 0.1, 0.0, 0.04, 0.01)
    root, joints, rays, scores = walkers(ground, 1, near=2.0, far=2.0)
    wide = np.eye(3)[None] * 1e4
    _, narrowed, _ = on_ground(root, wide, joints, rays, scores, ground)
    along = root[0] / np.linalg.norm(root[0])
    foot = root[0] + joints[0, RIGHT]
    height, fall = ground.height_m - ANKLE_HEIGHT_M, math.asin(-(foot @ ground.up) / norm(foot))
    step = 1e-6
    by_height = (height + step) / math.sin(fall) - height / math.sin(fall)
    by_angle = height / math.sin(fall + step) - height / math.sin(fall)
    keypoint = 1.5 * KEYPOINT_ERROR / norm(foot)
    expected = (by_height / step) ** 2 * (0.04**2 + ANKLE_STDDEV_M**2)
    expected += (by_angle / step) ** 2 * (0.01**2 + keypoint**2) + POSE_STDDEV_M**2
    assert along @ narrowed[0] @ along == pytest.approx(expected, rel=1e-3)


def test_the_lower_of_the_two_feet_must_be_seen():
    ground = GroundPlane(1.2, 0.1)
    root, joints, rays, scores = walkers(ground, 5)
    scores[0, LEFT] = 0.0
    scores[1, RIGHT] = 0.1
    joints[2, LEFT] = np.nan
    rays[3, RIGHT] = np.nan
    covariance = np.tile(0.1 * np.eye(3), (5, 1, 1))
    fused, _, reasons = on_ground(root, covariance, joints, rays, scores, ground)
    assert reasons.tolist() == [
        "",
        Reason.GROUND_ANKLES_MISSING,
        Reason.GROUND_ANKLES_MISSING,
        Reason.GROUND_ANKLES_MISSING,
        "",
    ]
    np.testing.assert_array_equal(fused[1:4], root[1:4])
    assert on_ground(root, covariance, joints, rays, scores, ground, min_score=0.05)[2][1] == ""


def test_a_foot_above_the_horizon_stands_on_no_floor():
    ground = GroundPlane(1.2, 0.1)
    root, joints, rays, scores = walkers(ground, 2)
    rays[0, RIGHT] = (0.0, -0.5)
    # Just below it the floor is further than anyone is seen.
    rays[1, RIGHT] = (0.0, -math.tan(0.1) + 0.001)
    covariance = np.tile(0.1 * np.eye(3), (2, 1, 1))
    fused, _, reasons = on_ground(root, covariance, joints, rays, scores, ground)
    assert reasons.tolist() == [Reason.GROUND_ABOVE_HORIZON] * 2
    np.testing.assert_array_equal(fused, root)


@pytest.mark.parametrize("lifted", [0.0, 0.5], ids=["floor", "chair"])
def test_a_person_off_the_floor_is_rejected(lifted):
    ground = GroundPlane(1.5, 0.1)
    root, joints, rays, scores = walkers(ground, 50, far=5.0, lifted=lifted)
    covariance = 0.07**2 * root[:, :, None] * root[:, None, :] + 1e-4 * np.eye(3)
    fused, _, reasons = on_ground(root, covariance, joints, rays, scores, ground)
    if lifted:
        assert (reasons == Reason.GROUND_DISAGREES).all()
        np.testing.assert_array_equal(fused, root)
    else:
        assert (reasons == "").all()


def test_the_floor_overrides_the_distance_of_a_small_person():
    ground = GroundPlane(1.0, 0.1)
    truth, joints, rays, scores = walkers(ground, 200, far=4.0)
    root, joints = truth / 0.65, joints / 0.65
    covariance = 0.07**2 * root[:, :, None] * root[:, None, :] + 1e-4 * np.eye(3)
    fused, _, reasons = on_ground(root, covariance, joints, rays, scores, ground)
    assert (reasons == "").mean() > 0.95
    share = np.linalg.norm(fused - truth, axis=-1) / np.linalg.norm(truth, axis=-1)
    assert np.median(share) < 0.05 and np.percentile(share, 90) < 0.12


def test_an_unknown_root_stays_nan_and_no_people_are_no_error():
    ground = GroundPlane(1.2, 0.1)
    root, joints, rays, scores = walkers(ground, 1)
    root[:] = np.nan
    fused, _, reasons = on_ground(root, np.full((1, 3, 3), np.nan), joints, rays, scores, ground)
    assert np.isnan(fused).all() and reasons.tolist() == [""]
    empty = on_ground(root[:0], np.zeros((0, 3, 3)), joints[:0], rays[:0], scores[:0], ground)
    assert [len(a) for a in empty] == [0, 0, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"height_m": 0.05},
        {"height_m": math.nan},
        {"height_m": math.inf},
        {"pitch_rad": 15.0},
        {"pitch_rad": math.nan},
        {"roll_rad": 10.0},
        {"height_stddev_m": -0.1},
        {"angle_stddev_rad": math.nan},
    ],
)
def test_an_impossible_camera_mounting_is_an_error(wrong):
    with pytest.raises(ValueError):
        GroundPlane(**{"height_m": 1.0, "pitch_rad": 0.1, **wrong})
