"""The metric root from relative joints and rays."""

import numpy as np
import pytest
import torch

from emf_ros.lift.root import root_velocity, smooth_root, solve_root, update_along


def people(count, seed=0, near=1.5, far=8.0):
    """Relative joints (B, 17, 3), roots (B, 3), exact rays (B, 17, 2) and scores (B, 17)."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0, (0.25, 0.45, 0.25), (count, 17, 3))
    joints = joints.clip(-0.9, 0.9)
    joints[:, 0] = 0
    depth = rng.uniform(near, far, count)
    root = np.stack([depth * rng.uniform(-0.6, 0.6, count), depth * rng.uniform(-0.4, 0.4, count)])
    root = np.stack([*root, depth], axis=-1)
    placed = joints + root[:, None]
    return joints, root, placed[..., :2] / placed[..., 2:], rng.uniform(0.2, 1, (count, 17))


def test_exact_rays_give_the_exact_root():
    joints, root, rays, scores = people(300)
    solved = solve_root(joints, rays, scores)
    assert solved.valid.all()
    assert solved.root == pytest.approx(root, abs=1e-8)
    assert solved.residual == pytest.approx(np.zeros(300), abs=1e-8)


def test_joints_that_are_not_seen_are_ignored():
    joints, root, rays, scores = people(100, seed=1)
    hidden = np.random.default_rng(2).random((100, 17)) < 0.4
    scores[hidden] = 0
    rays[hidden] = 50.0
    solved = solve_root(joints, rays, scores)
    assert solved.valid.all() and solved.root == pytest.approx(root, abs=1e-8)


@pytest.mark.parametrize("where", ["joints", "rays"])
def test_joints_that_are_not_finite_are_ignored(where):
    joints, root, rays, scores = people(100, seed=3)
    lost = np.random.default_rng(4).random((100, 17)) < 0.3
    (joints if where == "joints" else rays)[lost, 1] = np.nan
    solved = solve_root(joints, rays, scores)
    assert solved.valid.all() and solved.root == pytest.approx(root, abs=1e-8)


def test_the_weights_decide_between_joints_that_contradict():
    joints, root, rays, scores = people(50, seed=5)
    scores[:] = 1.0
    scores[:, -1] = 1e-6
    rays[:, -1] += 0.2
    solved = solve_root(joints, rays, scores)
    assert solved.root == pytest.approx(root, abs=1e-3)
    scores[:, -1] = 1.0
    assert np.abs(solve_root(joints, rays, scores).root - root).max() > 0.05


def test_errors_are_as_large_as_the_covariance_says():
    """Mean squared Mahalanobis distance: 3 where the covariance is right, for noisy rays and
    people 7 % taller or smaller than thought."""
    joints, root, rays, scores = people(4000, seed=6)
    rng = np.random.default_rng(7)
    size = rng.normal(1, 0.07, (len(joints), 1, 1))
    placed = size * joints + root[:, None]
    distance = np.linalg.norm(root, axis=-1)[:, None, None]
    rays = placed[..., :2] / placed[..., 2:] + rng.normal(0, 0.025, rays.shape) / distance
    solved = solve_root(joints, rays, np.ones_like(scores))
    assert solved.valid.all()
    off = solved.root - root
    mahalanobis2 = np.einsum("bi,bij,bj->b", off, np.linalg.inv(solved.covariance), off)
    # A little over 3: the noise is measured on the joints that the root was fitted to.
    assert 3.0 < mahalanobis2.mean() < 3.8


def test_a_covariance_is_symmetric_and_positive():
    joints, _, rays, scores = people(200, seed=8)
    covariance = solve_root(joints, rays, scores).covariance
    assert covariance == pytest.approx(covariance.swapaxes(-1, -2))
    assert (np.linalg.eigvalsh(covariance) > 0).all()


def test_the_covariance_is_widest_along_the_ray():
    joints, root, rays, scores = people(200, seed=9)
    rays = rays + np.random.default_rng(10).normal(0, 0.005, rays.shape)
    values, vectors = np.linalg.eigh(solve_root(joints, rays, scores).covariance)
    along = root / np.linalg.norm(root, axis=-1, keepdims=True)
    assert (np.abs((vectors[..., -1] * along).sum(-1)) > 0.97).all()
    assert (values[:, -1] > 4 * values[:, -2]).all()


def test_more_noise_makes_the_covariance_wider():
    joints, _, rays, scores = people(100, seed=11)
    noise = np.random.default_rng(12).normal(0, 1, rays.shape)
    little, much = (solve_root(joints, rays + s * noise, scores) for s in (0.01, 0.03))
    assert (np.linalg.det(much.covariance) > 4 * np.linalg.det(little.covariance)).all()
    assert much.residual == pytest.approx(3 * little.residual, rel=0.5)


def unsolvable():
    """What fixes no position, by name."""
    joints, _, rays, scores = people(1, seed=13)
    few = scores.copy()
    few[:, 4:] = 0
    flat = np.zeros_like(joints)
    one_ray = np.zeros_like(rays) + 0.1
    # Only a person behind the camera looks like this.
    upside_down = -rays
    # And like this only one who stands around it.
    around = joints + np.array([0.1, 0.1, 0.2])
    around = around[..., :2] / around[..., 2:]
    return {
        "no scores": (joints, rays, np.zeros_like(scores)),
        "four joints": (joints, rays, few),
        "all on one ray": (flat, one_ray, scores),
        "no finite joint": (np.full_like(joints, np.nan), rays, scores),
        "no finite ray": (joints, np.full_like(rays, np.nan), scores),
        "NaN scores": (joints, rays, np.full_like(scores, np.nan)),
        "behind the camera": (joints, upside_down, scores),
        "around the camera": (joints, around, scores),
    }


@pytest.mark.parametrize("case", unsolvable())
def test_where_no_position_is_fixed_it_is_nan_and_not_valid(case):
    solved = solve_root(*unsolvable()[case])
    assert not solved.valid.any()
    assert np.isnan(solved.root).all() and np.isnan(solved.covariance).all()


def test_min_joints_is_the_least_number_of_joints():
    joints, root, rays, scores = people(1, seed=14)
    scores[:, 6:] = 0
    assert solve_root(joints, rays, scores, min_joints=6).root == pytest.approx(root)
    assert not solve_root(joints, rays, scores, min_joints=7).valid.any()


def test_a_batch_equals_its_members_one_by_one():
    joints, _, rays, scores = people(6, seed=15)
    scores[2] = 0  # one of them has no position
    together = solve_root(joints, rays, scores)
    assert together.valid.tolist() == [True, True, False, True, True, True]
    for i in range(6):
        alone = solve_root(joints[i : i + 1], rays[i : i + 1], scores[i : i + 1])
        assert together.root[i] == pytest.approx(alone.root[0], nan_ok=True)
        assert together.covariance[i] == pytest.approx(alone.covariance[0], nan_ok=True)


def test_no_people_are_no_error():
    solved = solve_root(np.zeros((0, 17, 3)), np.zeros((0, 17, 2)), np.zeros((0, 17)))
    assert solved.root.shape == (0, 3) and solved.covariance.shape == (0, 3, 3)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_torch_equals_numpy(precision):
    joints, _, rays, scores = people(50, seed=16)
    rays = rays + np.random.default_rng(17).normal(0, 0.003, rays.shape)
    scores[7] = 0
    ours = solve_root(joints, rays, scores)
    given = (torch.tensor(a, dtype=precision) for a in (joints, rays, scores))
    theirs = solve_root(*given)
    assert theirs.root.dtype == precision
    tolerance = 2e-3 if precision == torch.float32 else 1e-9
    assert theirs.valid.tolist() == ours.valid.tolist()
    assert theirs.root.numpy() == pytest.approx(ours.root, abs=tolerance, nan_ok=True)
    assert theirs.covariance.numpy() == pytest.approx(
        ours.covariance, rel=1e-2, abs=tolerance, nan_ok=True
    )


# ------------------------------------------------------------------------------ over time

RATE_HZ = 30.0


def walk(velocity, start=(0.5, 0.2, 4.0), frames=27, frame=26):
    """Roots of someone who walks, at `start` in `frame`."""
    t = (np.arange(frames) - frame) / RATE_HZ
    return np.array(start) + t[:, None] * np.array(velocity)


def shaken(roots, share, rng):
    """The roots with errors of the distance alone."""
    return roots * (1 + share * rng.standard_normal((len(roots), 1)))


def test_the_line_fit_has_less_noise_and_no_bias():
    rng = np.random.default_rng(0)
    truth = walk((0.3, 0.0, -1.2))
    before, after, velocities = [], [], []
    for _ in range(300):
        noisy = shaken(truth, 0.06, rng)
        root, velocity = (of(noisy, 26, RATE_HZ) for of in (smooth_root, root_velocity))
        before.append(np.linalg.norm(noisy[26] - truth[26]))
        after.append(np.linalg.norm(root - truth[26]))
        velocities.append(velocity)
    assert np.mean(after) < 0.7 * np.mean(before)
    assert np.std(after) < 0.6 * np.std(before)
    # Across the ray the velocity is as exact as the pixels; along it, it is drawn to zero a little.
    across, _, along = np.mean(velocities, axis=0)
    assert np.isclose(across, 0.3, atol=0.15) and -1.2 < along < -1.0


def test_the_root_of_a_standing_person_is_the_mean():
    rng = np.random.default_rng(1)
    truth = walk((0.0, 0.0, 0.0))
    off = [
        np.linalg.norm(smooth_root(shaken(truth, 0.06, rng), 26, RATE_HZ) - truth[26])
        for _ in range(300)
    ]
    assert np.sqrt(np.mean(np.square(off))) < 0.45 * 0.06 * np.linalg.norm(truth[26])


@pytest.mark.parametrize("frame", [26, 22, 13])
def test_the_direction_is_the_frame_s_own(frame):
    roots = walk((0.4, -0.1, 0.5), frame=frame)
    root, velocity = (of(roots, frame, RATE_HZ) for of in (smooth_root, root_velocity))
    assert np.allclose(np.cross(root, roots[frame]), 0, atol=1e-9)
    assert np.linalg.norm(root - roots[frame]) < 0.3
    assert np.allclose(velocity, (0.4, -0.1, 0.5), atol=0.1)


@pytest.mark.parametrize("distance_m, closing", [(2.0, 1.4), (2.0, 2.4), (4.0, 1.4), (2.0, -1.4)])
def test_the_velocity_across_the_ray_is_right_while_the_distance_changes(distance_m, closing):
    roots = walk((1.0, 0.0, -closing), start=(0.0, 0.2, distance_m))
    across, down, along = root_velocity(roots, 26, RATE_HZ)
    assert abs(across - 1.0) < 0.02 and abs(down) < 0.05
    assert along == pytest.approx(-closing, rel=0.3)


def test_near_people_are_followed_closely():
    """The nearer, the smaller the distance's error, and the more weight the slope has."""
    near = walk((0.0, 0.0, -1.0), start=(0.0, 0.0, 1.0))
    root, velocity = (of(near, 26, RATE_HZ) for of in (smooth_root, root_velocity))
    assert abs(root[2] - 1.0) < 0.12 and -1.0 < velocity[2] < -0.95


def test_roots_of_several_people_are_smoothed_as_each_alone():
    roots = np.stack([walk((0.4, -0.1, 0.5)), walk((0.0, 0.0, -1.0)), walk((1.0, 0.0, 0.0))])
    roots[1, :24] = roots[2, 5:9] = np.nan
    unknown = roots.copy()
    unknown[0, 26] = np.nan
    for of in (smooth_root, root_velocity):
        together = of(roots, 26, RATE_HZ)
        for person, many in zip(roots, together, strict=True):
            alone = of(person, 26, RATE_HZ)
            assert np.allclose(alone, many, rtol=0, atol=1e-12, equal_nan=True)
        lost = of(unknown, 26, RATE_HZ)
        assert np.isnan(lost[0]).all()
        assert np.array_equal(lost[1:], together[1:], equal_nan=True)


def test_unknown_frames_are_left_out_and_few_give_no_velocity():
    roots = walk((0.0, 0.0, 0.0))
    roots[:20] = np.nan
    assert np.allclose(smooth_root(roots, 26, RATE_HZ), roots[26])
    assert np.allclose(root_velocity(roots, 26, RATE_HZ), 0, atol=1e-9)
    roots[:24] = np.nan
    assert np.array_equal(smooth_root(roots, 26, RATE_HZ), roots[26])
    assert np.isnan(root_velocity(roots, 26, RATE_HZ)).all()


def test_the_farther_a_person_is_the_later_the_velocity_is_known():
    """The share of the prior is a half at most, so that the speed is half the true one at least."""
    known_from = []
    for distance_m in (2.5, 4.5, 8.0, 12.0):
        roots = walk((0.0, 0.0, -1.4), start=(0.0, 0.0, distance_m))
        speeds = []
        for count in range(1, 28):
            seen = roots.copy()
            seen[: 27 - count] = np.nan
            speeds.append(-root_velocity(seen, 26, RATE_HZ)[2])
        known = np.isfinite(speeds)
        known_from.append(int(known.argmax()) + 1)
        assert known[known_from[-1] - 1 :].all()
        assert min(np.array(speeds)[known]) > 0.5 * 1.4
    assert known_from == [6, 8, 11, 15]


# ------------------------------------------------------------------------------ weights, and scale


def closed_form(joints, rays, weights, depths):
    """One person's root by numpy's least squares on the 2J equations, each over its depth."""
    rows, right = [], []
    for (x, y, z), (u, v), w, d in zip(joints, rays, weights, depths, strict=True):
        s = np.sqrt(w) / d
        rows += [[s, 0, -s * u], [0, s, -s * v]]
        right += [s * (u * z - x), s * (v * z - y)]
    return np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]


def test_noisy_rays_give_the_least_squares_root():
    joints, _, rays, scores = people(40, seed=18)
    rays = rays + np.random.default_rng(19).normal(0, 0.01, rays.shape)
    solved = solve_root(joints, rays, scores)
    for i in range(len(joints)):
        first = closed_form(joints[i], rays[i], scores[i], np.ones(17))
        depths = np.maximum(joints[i, :, 2] + first[2], 0.1)
        expected = closed_form(joints[i], rays[i], scores[i], depths)
        assert solved.root[i] == pytest.approx(expected, abs=1e-7)
        assert np.abs(first - expected).max() > 1e-4


def test_the_noise_scatters_as_the_covariance_says_along_the_ray_and_across():
    """One person, seen 20000 times with other errors of the keypoints, of known size."""
    joints, root, rays, _ = (a[:1] for a in people(1, seed=20))
    rng = np.random.default_rng(21)
    tries, noise = 20_000, 0.01
    noisy = rays + rng.normal(0, noise, (tries, 17, 2))
    same = np.broadcast_to(joints, (tries, 17, 3))
    solved = solve_root(same, noisy, np.ones((tries, 17)), height_spread=0.0)
    scatter = np.cov(solved.root.T)
    expected = solved.covariance.mean(axis=0)
    along = root[0] / np.linalg.norm(root[0])
    across = np.cross(along, [0.0, 1.0, 0.0])
    for direction in (along, across / np.linalg.norm(across)):
        variance = direction @ scatter @ direction
        # Three parameters fitted to 34 numbers leave the residual a tenth too small.
        assert direction @ expected @ direction == pytest.approx(variance, rel=0.15)
    assert along @ scatter @ along > 4 * across @ scatter @ across


def test_the_height_s_spread_widens_the_covariance_along_the_root():
    joints, root, rays, scores = people(30, seed=22)
    none = solve_root(joints, rays, scores, height_spread=0.0).covariance
    spread = np.random.default_rng(23).uniform(0.01, 0.2, 30)
    each = solve_root(joints, rays, scores, height_spread=spread).covariance
    added = spread[:, None, None] ** 2 * root[:, :, None] * root[:, None, :]
    assert each - none == pytest.approx(added, abs=1e-6)
    default = solve_root(joints, rays, scores).covariance
    alike = solve_root(joints, rays, scores, height_spread=np.full(30, 0.07)).covariance
    assert default == pytest.approx(alike)


@pytest.mark.parametrize(("near", "far"), [(1.5, 8.0), (25.0, 40.0)])
def test_a_joint_that_fits_far_worse_than_its_stddev_hardly_counts(near, far):
    joints, root, rays, _ = people(200, 24, near, far)
    scores, stddev = np.ones((200, 17)), np.full((200, 17), 0.05)
    rays[:, 13] += 0.8 / root[:, 2:]  # by 0.8 m
    plain, robust = (
        np.linalg.norm(solve_root(joints, rays, scores, stddev=s).root - root, axis=-1)
        for s in (None, stddev)
    )
    assert np.median(robust) < 0.3 * np.median(plain)
    # Where such errors are to be expected the joint counts like any other.
    stddev[:] = 50.0
    weighted = np.linalg.norm(solve_root(joints, rays, scores, stddev=stddev).root - root, axis=-1)
    assert np.median(weighted) == pytest.approx(np.median(plain), rel=0.02)


def test_joints_within_their_stddev_are_solved_like_without():
    joints, root, rays, scores = people(200, seed=25)
    rays = rays + np.random.default_rng(26).normal(0, 0.002, rays.shape)
    stddev = np.full(scores.shape, 0.2)
    robust = solve_root(joints, rays, scores, stddev=stddev)
    plain = solve_root(joints, rays, scores)
    assert robust.valid.all()
    assert np.linalg.norm(robust.root - plain.root, axis=-1).max() < 0.02
    # A stddev of none means no joint fits; the smallest allowed one is used instead.
    sure = solve_root(joints, rays, scores, stddev=np.zeros_like(scores))
    assert sure.valid.all() and np.isfinite(sure.root).all()


def test_torch_equals_numpy_with_stddev():
    joints, _, rays, scores = people(50, seed=27)
    rays = rays + np.random.default_rng(28).normal(0, 0.01, rays.shape)
    stddev = np.random.default_rng(29).uniform(0.02, 0.1, scores.shape)
    ours = solve_root(joints, rays, scores, stddev=stddev)
    given = [torch.tensor(a) for a in (joints, rays, scores)]
    theirs = solve_root(*given, stddev=torch.tensor(stddev))
    assert theirs.root.numpy() == pytest.approx(ours.root, abs=1e-9)
    assert theirs.covariance.numpy() == pytest.approx(ours.covariance, rel=1e-6)


# ------------------------------------------------------------------------------ measured distances


def estimates(count, seed):
    """True roots, estimates of them, and their covariances: 7 % along the ray, 2 cm across."""
    rng = np.random.default_rng(seed)
    root = people(count, seed=seed)[1]
    covariance = 0.07**2 * root[:, :, None] * root[:, None, :] + 0.02**2 * np.eye(3)
    off = np.einsum("pij,pj->pi", np.linalg.cholesky(covariance), rng.standard_normal((count, 3)))
    return root, root + off, covariance, rng


def test_a_measured_distance_makes_errors_as_small_as_the_covariance_says():
    truth, root, covariance, rng = estimates(5000, 30)
    direction = np.array([0.0, 0.6, 0.8])
    value = truth @ direction + rng.normal(0, 0.05, len(truth))
    moved, narrowed, taken = update_along(root, covariance, direction, value, 0.05**2)
    assert 0.99 < taken.mean()
    off = (moved - truth)[taken]
    mahalanobis2 = np.einsum("pi,pij,pj->p", off, np.linalg.inv(narrowed[taken]), off)
    assert mahalanobis2.mean() == pytest.approx(3.0, abs=0.15)
    before = np.linalg.norm(root - truth, axis=-1)[taken].mean()
    assert np.linalg.norm(off, axis=-1).mean() < 0.5 * before
    assert narrowed == pytest.approx(narrowed.swapaxes(-1, -2), abs=1e-12)
    assert (np.linalg.eigvalsh(narrowed) > 0).all()


def test_a_measured_distance_gives_the_posterior_of_normal_densities():
    _, root, covariance, rng = estimates(20, 31)
    direction = root / np.linalg.norm(root, axis=-1, keepdims=True)
    value = np.linalg.norm(root, axis=-1) * rng.uniform(0.9, 1.1, 20)
    variance = rng.uniform(0.01, 0.1, 20)
    moved, narrowed, taken = update_along(root, covariance, direction, value, variance)
    assert taken.all()
    outer = direction[:, :, None] * direction[:, None, :]
    information = np.linalg.inv(covariance) + outer / variance[:, None, None]
    assert np.linalg.inv(narrowed) == pytest.approx(information, rel=1e-6)
    right = np.linalg.solve(covariance, root[..., None])[..., 0]
    right += direction * (value / variance)[:, None]
    assert moved == pytest.approx(np.linalg.solve(information, right[..., None])[..., 0])


def test_a_measured_distance_overrides_the_size():
    """Children, solved as the adults that they look like, at up to twice the distance."""
    rng = np.random.default_rng(32)
    truth = people(2000, seed=33)[1]
    root = truth / rng.uniform(0.52, 0.7, (2000, 1))
    covariance = 0.07**2 * root[:, :, None] * root[:, None, :] + 1e-4 * np.eye(3)
    forward, stddev = np.array([0.0, 0.0, 1.0]), 0.03 * truth[:, 2]
    value = truth[:, 2] + stddev * rng.standard_normal(2000)
    moved, narrowed, taken = update_along(root, covariance, forward, value, stddev**2)
    assert taken.mean() > 0.95
    off = ((moved - truth)[:, 2] / np.sqrt(narrowed[:, 2, 2]))[taken]
    assert np.sqrt(np.mean(off**2)) == pytest.approx(1.0, abs=0.1)
    # Along their rays: the distance alone was wrong.
    side = np.linalg.norm(np.cross(moved, truth), axis=-1) / np.linalg.norm(truth, axis=-1)
    assert np.median(side[taken]) < 0.01
    # A distance that contradicts the root is not taken.
    assert not update_along(truth, covariance, forward, root[:, 2], stddev**2)[2].any()


def test_an_outlier_or_unknown_distance_changes_nothing():
    forward = np.array([0.0, 0.0, 1.0])
    root = np.tile([0.2, 0.1, 4.0], (7, 1))
    covariance = np.tile(np.diag([1e-4, 1e-4, 0.09]), (7, 1, 1))
    covariance[3] *= 1e4  # so wide that only the factor refuses
    covariance[4] *= 1e4
    root[5] = np.nan
    value = np.array([4.89, 5.1, np.nan, 8.1, 1.9, 4.0, np.inf])
    moved, narrowed, taken = update_along(root, covariance, forward, value, 0.0)
    assert taken.tolist() == [True, *[False] * 6]
    assert moved[0, 2] == pytest.approx(4.89) and narrowed[0, 2, 2] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(moved[1:], root[1:])
    np.testing.assert_array_equal(narrowed[1:], covariance[1:])
    empty = update_along(np.zeros((0, 3)), np.zeros((0, 3, 3)), forward, np.zeros(0), 0.0)
    assert [len(a) for a in empty] == [0, 0, 0]
