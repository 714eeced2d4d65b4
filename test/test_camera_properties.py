"""Cameras of any lens, roi and binning: pixels to rays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emf_ros.geometry.camera import Camera

#: Lenses from none to strong ones, in OpenCV's order of coefficients.
LENSES = {
    "plumb_bob": [
        [0.0] * 5,
        [0.1, -0.25, 0.001, -0.002, 0.05],
        [-0.32, 0.12, 0.001, -0.0008, -0.02],
    ],
    "rational_polynomial": [[0.4, -0.1, 0.0005, 0.0005, 0.01, 0.6, -0.05, 0.02]],
    "equidistant": [[0.0] * 4, [-0.02, 0.01, -0.005, 0.001]],
}


@st.composite
def cameras(draw: st.DrawFn) -> Camera:
    """Images of a camera, possibly cut out and binned."""
    width, height = draw(st.integers(64, 2000)), draw(st.integers(64, 2000))
    focal = max(width, height) * draw(st.floats(0.6, 3.0))
    aspect, skew = draw(st.floats(0.8, 1.25)), draw(st.floats(-5, 5))
    center = (width * draw(st.floats(0.35, 0.65)), height * draw(st.floats(0.35, 0.65)))
    matrix = np.array([[focal, skew, center[0]], [0, focal * aspect, center[1]], [0, 0, 1]])
    model = draw(st.sampled_from(sorted(LENSES)))
    lens = np.array(draw(st.sampled_from(LENSES[model])))
    camera = Camera(matrix, (width, height), lens, model)
    roi = (0, 0, 0, 0)
    if draw(st.booleans()):
        x, y = draw(st.integers(0, width // 2)), draw(st.integers(0, height // 2))
        roi = (x, y, draw(st.integers(16, width - x)), draw(st.integers(16, height - y)))
    binning = (draw(st.integers(0, 4)), draw(st.integers(0, 4)))
    return camera.delivered(roi, binning)


@st.composite
def points_ahead(draw: st.DrawFn, camera: Camera) -> np.ndarray:
    """(N, 3) m, in front of the camera, in the middle part of its field of view."""
    count = draw(st.integers(1, 8))
    seed = draw(st.integers(0, 2**31))
    rng = np.random.default_rng(seed)
    slopes = rng.uniform(-0.35, 0.35, (count, 2))
    depth = rng.uniform(0.3, 30.0, (count, 1))
    return np.concatenate([slopes * depth, depth], axis=1)


@given(st.data())
def test_the_ray_of_a_projected_point_leads_to_the_point(data: Any) -> None:
    camera = data.draw(cameras())
    points = data.draw(points_ahead(camera))
    pixels = camera.project(points)
    # Far outside the image no ray is given.
    near = (np.abs(pixels) < 2 * max(camera.size)).all(axis=1)
    rays = camera.rays(pixels)
    assert np.isfinite(rays[near]).all()
    expected = points[:, :2] / points[:, 2:]
    # A ray is right to a twentieth of a pixel.
    tolerance = 0.05 / np.diag(camera.matrix)[:2].min()
    assert np.abs(rays - expected)[near].max(initial=0.0) < tolerance + 1e-6


@given(st.data())
def test_the_projection_of_a_ray_is_its_pixel(data: Any) -> None:
    camera = data.draw(cameras())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    pixels = rng.uniform((-0.5, -0.5), np.array(camera.size) - 0.5, (20, 2))
    rays = camera.rays(pixels)
    known = np.isfinite(rays).all(axis=1)
    back = camera.project(np.concatenate([rays, np.ones((20, 1))], axis=1))
    # Where the lens model has no ray for a pixel there is none; nowhere is there a wrong one.
    assert np.abs(back - pixels)[known].max(initial=0.0) < 1.0


@pytest.mark.filterwarnings("error")
@given(st.data())
def test_rays_of_nan_and_infinity_are_nan_and_change_no_other(data: Any) -> None:
    camera = data.draw(cameras())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    pixels = rng.uniform(0, camera.size, (6, 2))
    damaged = pixels.copy()
    damaged[2, 0], damaged[4] = np.nan, np.inf
    rays = camera.rays(damaged)
    assert np.isnan(rays[2]).any() and np.isnan(rays[4]).all()
    others = [0, 1, 3, 5]
    np.testing.assert_array_equal(rays[others], camera.rays(pixels)[others])


@given(st.data())
def test_a_scaled_camera_has_the_same_rays(data: Any) -> None:
    camera = data.draw(cameras().filter(lambda c: c.full_size is None))
    factor = data.draw(st.integers(2, 4))
    scaled = camera.scaled_to(factor * camera.size[0], factor * camera.size[1])
    points = data.draw(points_ahead(camera))
    # Pixel centres are whole numbers.
    expected = (camera.project(points) + 0.5) * factor - 0.5
    np.testing.assert_allclose(scaled.project(points), expected, rtol=1e-9, atol=1e-6)
