"""Shrinking, image pyramid, and crops of images."""

import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from emf_ros.geometry import crops
from emf_ros.geometry.crops import (
    ImagePyramid,
    Roi,
    box_placement,
    crop_roi,
    letterbox,
    shrink,
)


@pytest.mark.parametrize(
    ("shape", "factor"), [((7, 9), 2), ((1, 5), 2), ((17, 33), 8), ((3, 3), 4)]
)
def test_shrink_gives_the_mean_of_whole_blocks(shape, factor):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    small = shrink(image, factor)
    height, width = (max(side // factor, 1) for side in shape)
    assert small.shape == (height, width, 3)
    for row, column in np.ndindex(height, width):
        block = image[row * factor :, column * factor :][:factor, :factor]
        assert np.abs(small[row, column] - block.mean(axis=(0, 1))).max() <= 0.51


def test_downscaled_crop_averages_pixels():
    noise = np.random.default_rng(0).integers(0, 256, (640, 800, 3), dtype=np.uint8)

    def deviation(side):
        return crop_roi(
            ImagePyramid(noise), Roi(400.0, 320.0, side, 0.3), 100, cv2.BORDER_REPLICATE
        ).std()

    # The mean of 36 pixels has a sixth of their deviation, and neighbours share some pixels.
    assert deviation(100.0) > 45 and deviation(600.0) < 15


@pytest.mark.parametrize("side", [50.0, 160.0, 300.0, 700.0, 1500.0])
def test_crop_places_points_alike_at_all_pyramid_levels(side):
    image = np.zeros((901, 1203, 3), dtype=np.uint8)
    cv2.circle(image, (640, 430), round(side / 12), (255, 255, 255), -1)
    roi = Roi(600.0, 450.0, side * 2, -0.4)
    crop = crop_roi(ImagePyramid(image), roi, 128, cv2.BORDER_CONSTANT)[..., 0] > 127
    rows, columns = np.nonzero(crop)
    centre = roi.to_image(np.array([columns.mean(), rows.mean()]) / 128)
    assert np.allclose(centre, (640, 430), atol=0.6 * roi.side / 128)


def test_image_pyramid_makes_only_the_levels_needed():
    pyramid = ImagePyramid(np.zeros((99, 203, 3), dtype=np.uint8))
    assert pyramid.level_for(1.9) == 0 and len(pyramid.levels) == 1
    assert pyramid.level_for(4.1) == 2
    assert [level.shape[:2] for level in pyramid.levels] == [(99, 203), (49, 101), (24, 50)]
    # Each level has half the pixels along each side, the last one a single row.
    assert pyramid.level_for(1e9) == 6 and pyramid.levels[-1].shape[:2] == (1, 3)
    assert ImagePyramid(np.zeros((1, 500, 3), dtype=np.uint8)).level_for(64.0) == 0


def test_roi_to_image_inverts_the_crop():
    image = np.zeros((300, 400, 3), dtype=np.uint8)
    cv2.circle(image, (250, 120), 6, (255, 255, 255), -1)
    roi = Roi(230.0, 150.0, 160.0, 0.7)
    crop = crop_roi(ImagePyramid(image), roi, 256, cv2.BORDER_CONSTANT)[..., 0] > 127
    rows, columns = np.nonzero(crop)
    centre = roi.to_image(np.array([columns.mean(), rows.mean()]) / 256)
    assert np.allclose(centre, (250, 120), atol=0.5)


@pytest.mark.parametrize("shape", [(480, 640), (37, 2000), (900, 31), (1, 1), (2160, 3840)])
@pytest.mark.parametrize("position", ["center", "corner"])
def test_placement_maps_image_corners_into_the_crop_and_back(shape, position):
    placement = letterbox(shape, (320, 256), position)
    corners = np.array([[0, 0], [shape[1] - 1, shape[0] - 1]], float)
    inside = (corners + 0.5) * placement.scale + (placement.x, placement.y) - 0.5
    assert placement.to_image(inside) == pytest.approx(corners)
    assert inside.min() > -0.51 and (inside <= (319.51, 255.51)).all()


@pytest.mark.parametrize("width", [40, 333, 4000])
def test_upright_crop_shows_a_dot_where_the_placement_maps_it(width):
    height = 3 * width // 4
    image = np.zeros((height, width, 3), np.uint8)
    at = np.array([width // 3, height // 4])
    size = max(1, width // 600)
    image[at[1] - size : at[1] + size + 1, at[0] - size : at[0] + size + 1] = 255
    for placement in (
        letterbox(image.shape, (192, 256), "center"),
        letterbox(image.shape, (192, 256), "corner"),
        box_placement(
            np.array([at[0] - 6 * size, at[1] - 9 * size, *(at + 4 * size)]), (192, 256), 1.25
        ),
        box_placement(np.array([-width, -height, width / 2, height / 2]), (192, 256), 1.25),
    ):
        crop = placement.crop(image, (192, 256), 0)[..., 0].astype(float)
        row, column = np.indices(crop.shape)
        centre = np.array([(column * crop).sum(), (row * crop).sum()]) / crop.sum()
        assert placement.to_image(centre) == pytest.approx(at, abs=0.3 / placement.scale + 0.05)


def test_crop_outside_the_image_is_filled():
    box = np.array([-6000.0, -8000.0, 0.2, 0.2])
    image = np.full((480, 640, 3), 200, np.uint8)
    crop = box_placement(box, (192, 256), 1.0).crop(image, (192, 256), 7)
    assert crop.shape == (256, 192, 3) and (crop[:200] == 7).all()
    outside = box_placement(box - 10_000, (192, 256), 1.0)
    assert (outside.crop(np.zeros((1, 1, 3), np.uint8), (192, 256), 7) == 7).all()


def test_threads_share_the_levels_of_a_pyramid(monkeypatch):
    made, whole = [], crops.shrink

    def slow_shrink(image, factor):
        made.append(image.shape)
        # A thread without the lock would begin the same level now.
        time.sleep(0.02)
        return whole(image, factor)

    monkeypatch.setattr(crops, "shrink", slow_shrink)
    pyramid = ImagePyramid(np.zeros((80, 80, 3), dtype=np.uint8))
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(pyramid.level_for, [8.0] * 4)) == [3] * 4
    assert [level.shape[0] for level in pyramid.levels] == [80, 40, 20, 10]
    assert len(made) == 3
