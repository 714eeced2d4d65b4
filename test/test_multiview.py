"""Truth from several cameras."""

import numpy as np
import pytest

from emf_ros.geometry.camera import Camera
from emf_ros.train.multiview import OUTLIER_M, View, smooth, triangulate

LENS = np.array([-0.05, 0.1, 0.001, -0.001, 0.0])


def views(count=4):
    """Cameras around the origin, 4 m away, with lenses that distort."""
    out = []
    for angle in np.linspace(0, 1.5 * np.pi, count):
        position = np.array([4 * np.sin(angle), -4 * np.cos(angle), 1.5])
        forward = -position / np.linalg.norm(position)
        right = np.cross(forward, (0, 0, 1))
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        camera = Camera.from_fov(1280, 720, 60.0)
        out.append(View(None, Camera(camera.matrix, camera.size, LENS), rotation, position))
    return out


def seen(cameras, points):
    """(V, N, K, 3) px, px, score 1."""
    pixels = np.stack([v.camera.project(v.from_world(points)) for v in cameras])
    return np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1)


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(-0.7, 0.7, (6, 5, 3))


def test_exact_rays_meet_where_they_came_from(points):
    found, miss = triangulate(views(), seen(views(), points))
    assert np.allclose(found, points, atol=1e-4) and np.nanmax(miss) < 1e-4


def test_an_outlier_ray_is_left_out(points):
    keypoints = seen(views(), points)
    keypoints[2, 3, 1, 0] += 150
    keypoints[0, 4, :, 1] -= 200
    found, miss = triangulate(views(), keypoints)
    assert np.allclose(found, points, atol=1e-4)
    assert np.isnan(miss[2, 3, 1]) and np.isnan(miss[0, 4]).all()
    assert np.isnan(miss).sum() == 6 and np.nanmax(miss) < OUTLIER_M


def test_what_one_camera_alone_sees_is_unknown(points):
    keypoints = seen(views(), points)
    keypoints[1:, 2, 0] = np.nan
    keypoints[0, 5, 4, 2] = 0.0
    found, miss = triangulate(views(), keypoints)
    assert np.isnan(found[2, 0]).all() and np.isnan(miss[1:, 2, 0]).all()
    known = np.isfinite(found).all(axis=-1)
    assert known.sum() == 29 and np.allclose(found[known], points[known], atol=1e-4)


def test_scores_weigh_the_cameras(points):
    keypoints = seen(views(2), points)
    keypoints[1, ..., 0] += 10
    even, _ = triangulate(views(2), keypoints)
    keypoints[1, ..., 2] = 0.01
    first, _ = triangulate(views(2), keypoints)
    view = views(2)[0]
    rays = [view.camera.project(view.from_world(p)) - keypoints[0, ..., :2] for p in (even, first)]
    assert np.linalg.norm(rays[1], axis=-1).max() < 0.2 * np.linalg.norm(rays[0], axis=-1).max()


def test_smoothing_keeps_lines_and_passes_over_gaps():
    line = np.arange(60.0)[:, None] * [1.0, 2.0]
    assert np.allclose(smooth(line, 60.0)[10:-10], line[10:-10])
    noisy = line + np.random.default_rng(0).normal(size=line.shape)
    assert (smooth(noisy, 60.0) - line)[10:-10].std() < 0.5
    noisy[30] = np.nan
    assert np.isfinite(smooth(noisy, 60.0)).all()
