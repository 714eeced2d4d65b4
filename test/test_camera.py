"""The camera: intrinsics, rays and projection, and the canonical view."""

import math
import re

import numpy as np
import pytest
import torch

from emf_ros.geometry.camera import Camera, CameraError
from emf_ros.geometry.canonical_window import canonical_window, look_at_rotation

SIZE = (640, 480)
K = np.array([[600.0, 0, 331], [0, 606, 243], [0, 0, 1]])
LENSES = {
    "none": ("plumb_bob", []),
    "no model": ("", []),
    "plumb_bob": ("plumb_bob", [-0.32, 0.12, 0.001, -0.0008, -0.02]),
    "rational": ("rational_polynomial", [0.5, -2.4, 0.0005, -0.0003, 1.5, 0.4, -2.2, 1.4]),
    "thin prism": (
        "thin_prism_fisheye",
        [0.01, -0.02, 0.001, 0.001, 0.01, 0, 0, 0, 0.001, 0.002, -0.001, 0.0005],
    ),
    "equidistant": ("equidistant", [0.02, -0.01, 0.001, -0.0005]),
    "ideal fisheye": ("fisheye", []),
}
EVERY_LENS = pytest.mark.parametrize("lens", LENSES)


def camera(lens="none", matrix=K):
    model, distortion = LENSES[lens]
    return Camera(matrix, SIZE, np.array(distortion), model)


def points_in_view(count=400, seed=0, reach=0.5):
    rng = np.random.default_rng(seed)
    plane = np.concatenate([rng.uniform(-reach, reach, (count, 2)), np.ones((count, 1))], axis=-1)
    return plane * rng.uniform(0.3, 12, (count, 1))


@EVERY_LENS
def test_rays_undo_projection(lens):
    points = points_in_view()
    rays = camera(lens).rays(camera(lens).project(points))
    assert rays == pytest.approx(points[:, :2] / points[:, 2:], abs=1e-6)


@EVERY_LENS
def test_rays_undo_projection_with_skew(lens):
    skewed = K + np.array([[0, 25.0, 0], [0, 0, 0], [0, 0, 0]])
    points = points_in_view(50)
    rays = camera(lens, skewed).rays(camera(lens, skewed).project(points))
    assert rays == pytest.approx(points[:, :2] / points[:, 2:], abs=1e-6)


def test_projection_is_the_pinhole_formula():
    pixels = camera().project(np.array([[0.2, -0.1, 2.0]]))
    assert pixels == pytest.approx(np.array([[331 + 600 * 0.1, 243 - 606 * 0.05]]))


def test_distortion_bends_as_the_models_say():
    x, y = 0.3, -0.2
    r2 = x * x + y * y
    model, (k1, k2, p1, p2, k3) = LENSES["plumb_bob"]
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    pixel = camera("plumb_bob").project(np.array([x, y, 1.0]))
    assert pixel == pytest.approx([331 + 600 * bent_x, 243 + 606 * bent_y])
    # An equidistant lens: the angle from the axis is the distance from the centre.
    pixel = camera("ideal fisheye").project(np.array([math.tan(0.5), 0, 1.0]))
    assert pixel == pytest.approx([331 + 600 * 0.5, 243])


@EVERY_LENS
def test_missing_pixels_have_nan_rays(lens):
    pixels = camera(lens).project(points_in_view(6))
    whole = camera(lens).rays(pixels)
    pixels[1] = np.nan
    pixels[4, 0] = np.nan
    rays = camera(lens).rays(pixels)
    assert np.isnan(rays[1]).all() and np.isnan(rays[4]).any()
    kept = [0, 2, 3, 5]
    assert rays[kept] == pytest.approx(whole[kept], abs=1e-9)


@pytest.mark.parametrize("lens", ["plumb_bob", "equidistant"])
def test_infinite_pixels_have_no_ray(lens):
    assert np.isnan(camera(lens).rays(np.array([[np.inf, 3.0], [1e300, 0.0]]))).all()


def test_a_pixel_that_the_lens_cannot_reach_has_no_ray():
    # k1 = -0.32 alone folds back at a radius of 1.02 on the plane, 0.68 in the image.
    folding = Camera(K, SIZE, np.array([-0.32, 0, 0, 0, 0]))
    assert np.isnan(folding.rays(np.array([331 + 600 * 0.9, 243.0]))).all()
    assert np.isfinite(folding.rays(np.array([331 + 600 * 0.4, 243.0]))).all()


@EVERY_LENS
def test_points_behind_the_camera_are_not_projected(lens):
    points = np.array([[0.1, 0.1, -1.0], [0, 0, 0], [np.nan, 0, 1], [0.1, 0.1, 1]])
    seen = np.isfinite(camera(lens).project(points)).all(axis=-1)
    assert seen.tolist() == [False, False, False, True]


@EVERY_LENS
def test_array_shapes_are_kept(lens):
    points = points_in_view(24).reshape(2, 3, 4, 3)
    pixels = camera(lens).project(points)
    assert pixels.shape == (2, 3, 4, 2)
    assert camera(lens).rays(pixels).shape == (2, 3, 4, 2)
    assert camera(lens).rays(np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("fov", [30.0, 60.0, 90.0, 120.0])
def test_field_of_view_spans_the_image(fov):
    ideal = Camera.from_fov(641, 481, fov)
    # Its edges lie half a pixel beyond the outermost pixels' centres.
    left, right = ideal.rays(np.array([[-0.5, 240], [640.5, 240]]))[:, 0]
    assert math.degrees(math.atan(right) - math.atan(left)) == pytest.approx(fov)
    assert ideal.rays(np.array([320.0, 240.0])) == pytest.approx([0, 0])
    assert ideal.matrix[0, 0] == ideal.matrix[1, 1]


@pytest.mark.parametrize("fov", [0, -10, 180, 360, math.nan])
def test_impossible_fields_of_view_are_refused(fov):
    with pytest.raises(CameraError):
        Camera.from_fov(640, 480, fov)


def corners(camera):
    """Rays to the image's edges: left, right, top, bottom."""
    width, height = camera.size
    middle = camera.matrix[:2, 2]
    across = np.array([[-0.5, middle[1]], [width - 0.5, middle[1]]])
    down = np.array([[middle[0], -0.5], [middle[0], height - 0.5]])
    return np.concatenate([camera.rays(across)[:, 0], camera.rays(down)[:, 1]])


@pytest.mark.parametrize("aspect", [4 / 3, 0.5])
def test_pixels_that_are_not_square_have_two_focal_lengths(aspect):
    camera = Camera.from_fov(720, 576, 60.0, aspect)
    square = Camera.from_fov(round(720 * aspect), 576, 60.0)
    # The same lens, whose image is as wide in the scene as that of square pixels.
    assert corners(camera) == pytest.approx(corners(square))
    assert camera.matrix[1, 1] == pytest.approx(aspect * camera.matrix[0, 0])


@pytest.mark.parametrize("aspect", [0, -1, math.nan, math.inf])
def test_impossible_pixel_aspects_are_refused(aspect):
    with pytest.raises(CameraError, match="aspect"):
        Camera.from_fov(640, 480, 60.0, aspect)


@pytest.mark.parametrize(
    ("width", "height", "aspect", "longer"),
    [(640, 480, 1, 0), (480, 640, 1, 2), (500, 500, 1, 0), (720, 576, 0.5, 2), (1, 5000, 1, 2)],
)
def test_the_guessed_field_of_view_is_across_the_longer_side(width, height, aspect, longer):
    edges = corners(Camera.guessed(width, height, aspect))
    assert edges[longer + 1] == pytest.approx(math.tan(math.radians(30)))
    assert edges[3 - longer] <= edges[longer + 1] * (1 + 1e-9)


CALIBRATION = """image_width: 640
image_height: 480
camera_name: head_camera
camera_matrix:
  rows: 3
  cols: 3
  data: [438.783367, 0.000000, 305.593336, 0.000000, 437.302876, 243.738352, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.361976, 0.110510, 0.001014, 0.000505, 0.000000]
rectification_matrix:
  rows: 3
  cols: 3
  data: [0.999978, 0.002789, -0.006046, -0.002816, 0.999986, -0.004401, 0.006, 0.0044, 0.999972]
projection_matrix:
  rows: 3
  cols: 4
  data: [393.653800, 0.0, 322.797939, 0.0, 0.0, 393.653800, 241.090902, 0.0, 0.0, 0.0, 1.0, 0.0]
"""


def test_a_calibration_file_is_read(tmp_path):
    path = tmp_path / "head_camera.yaml"
    path.write_text(CALIBRATION)
    read = Camera.from_yaml(path)
    assert read.size == (640, 480) and read.model == "plumb_bob"
    assert read.matrix == pytest.approx(
        np.array([[438.783367, 0, 305.593336], [0, 437.302876, 243.738352], [0, 0, 1]])
    )
    assert read.distortion.tolist() == [-0.361976, 0.110510, 0.001014, 0.000505, 0.0]


def test_a_calibration_without_distortion_is_read(tmp_path):
    path = tmp_path / "ideal.yaml"
    path.write_text(CALIBRATION[: CALIBRATION.index("distortion_model")])
    assert Camera.from_yaml(path).distortion.size == 0


BROKEN = {
    "empty": "",
    "a list": "- 1\n- 2\n",
    "no yaml": "camera_matrix: [1, 2",
    "a tag": "!!python/object/apply:os.getcwd []",
    "no size": CALIBRATION.replace("image_width: 640\n", ""),
    "no matrix": CALIBRATION.replace("camera_matrix:", "matrix:"),
    "words": CALIBRATION.replace("438.783367", "wide"),
    "infinite size": CALIBRATION.replace("image_width: 640", "image_width: .inf"),
    "eight values": CALIBRATION.replace("438.783367, ", ""),
    "six coefficients": CALIBRATION.replace("[-0.361976,", "[0.1, -0.361976,"),
    "not a number": CALIBRATION.replace("438.783367", ".nan"),
    "unknown model": CALIBRATION.replace("plumb_bob", "mirror_ball"),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_calibration_file_is_named(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(CameraError, match="broken.yaml"):
        Camera.from_yaml(path)


def test_a_calibration_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(CameraError, match="nowhere.yaml"):
        Camera.from_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(CameraError, match=str(tmp_path)):
        Camera.from_yaml(tmp_path)
    (tmp_path / "picture.yaml").write_bytes(bytes(range(128, 256)))
    with pytest.raises(CameraError, match="picture.yaml"):
        Camera.from_yaml(tmp_path / "picture.yaml")


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)),
        np.where(K == 600, np.nan, K),
        np.where(K == 331, np.inf, K),
        np.where(K == 600, -600, K),
        np.where(K == 606, 0, K),
        np.eye(2),
    ],
    ids=["zeros", "nan", "inf", "negative focal", "zero focal", "2x2"],
)
def test_impossible_intrinsics_are_refused(matrix):
    with pytest.raises(CameraError):
        Camera(matrix, SIZE)


@pytest.mark.parametrize("size", [(0, 480), (640, 0), (-1, -1)])
def test_impossible_image_sizes_are_refused(size):
    with pytest.raises(CameraError, match="size"):
        Camera(K, size)


@pytest.mark.parametrize(
    ("model", "count"), [("plumb_bob", 3), ("equidistant", 5), ("rational_polynomial", 9)]
)
def test_a_wrong_number_of_distortion_coefficients_is_refused(model, count):
    with pytest.raises(CameraError, match=str(count)):
        Camera(K, SIZE, np.full(count, 0.01), model)


@EVERY_LENS
@pytest.mark.parametrize("factor", [0.5, 2.0, 1.5])
def test_a_scaled_camera_sees_the_same_image(lens, factor):
    scaled = camera(lens).scaled_to(int(640 * factor), int(480 * factor))
    assert scaled.size == (640 * factor, 480 * factor)
    points = points_in_view(20)
    # Pixel centres at whole numbers: the image's corner is at -0.5 in both.
    expected = (camera(lens).project(points) + 0.5) * factor - 0.5
    assert scaled.project(points) == pytest.approx(expected)


def test_a_cropped_image_is_refused():
    with pytest.raises(CameraError, match="640x480.*640x360.*calibrate at this size.*roi"):
        camera().scaled_to(640, 360)


CUTOUTS = [(0, 0, 0, 0), (64, 32, 400, 300), (0, 0, 640, 480), (3, 0, 501, 480), (320, 240, 8, 8)]


@EVERY_LENS
@pytest.mark.parametrize("binning", [(0, 0), (1, 1), (2, 2), (2, 1), (1, 4), (3, 3)])
@pytest.mark.parametrize("roi", CUTOUTS)
def test_a_delivered_image_is_the_full_one_cut_and_binned(lens, roi, binning):
    skewed = K + np.array([[0, 25.0, 0], [0, 0, 0], [0, 0, 0]])
    delivered = camera(lens, skewed).delivered(roi, binning)
    x, y, width, height = roi if any(roi) else (0, 0, *SIZE)
    across, down = (max(n, 1) for n in binning)
    assert delivered.size == (width // across, height // down)
    points = points_in_view(40)
    full = camera(lens, skewed).project(points)
    # A bin's centre is the mean of its pixels' centres, which lie at whole numbers.
    bins = (full - (x, y) - ((across - 1) / 2, (down - 1) / 2)) / (across, down)
    assert delivered.project(points) == pytest.approx(bins)
    if width > 100:
        rays = delivered.rays(bins)
        assert rays == pytest.approx(points[:, :2] / points[:, 2:], abs=1e-6)


@pytest.mark.parametrize(
    "roi",
    [
        (1, 0, 640, 480),
        (0, 1, 640, 480),
        (-1, 0, 10, 10),
        (10, 10, 0, 0),
        (0, 0, 10, 0),
        (700, 0, 1, 1),
    ],
)
def test_a_crop_outside_the_image_is_refused(roi):
    with pytest.raises(CameraError, match="roi.*640x480"):
        camera().delivered(roi)


def test_binning_that_leaves_no_pixel_is_refused():
    with pytest.raises(CameraError, match="size"):
        camera().delivered((0, 0, 8, 8), (9, 1))


def test_intrinsics_of_a_crop_are_for_its_size_only():
    """An image of the full size has the same aspect ratio, and another principal point."""
    cut = camera().delivered((320, 240, 320, 240))
    assert cut.scaled_to(320, 240) is cut
    for size in ((640, 480), (160, 120)):
        with pytest.raises(CameraError, match="320x240 cut out of 640x480.*roi"):
            cut.scaled_to(*size)
    assert camera().delivered((0, 0, 640, 480)).scaled_to(320, 240).size == (320, 240)


def test_binned_intrinsics_hold_for_an_image_that_was_not_binned():
    again = camera().delivered(binning=(2, 2)).scaled_to(640, 480)
    assert again.matrix == pytest.approx(K)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[600, 0, 700], [0, 606, 243], [0, 0, 1]], "outside the image"),
        ([[600, 0, 331], [0, 606, -9], [0, 0, 1]], "outside the image"),
        ([[600, 0, 331], [0, 1300, 243], [0, 0, 1]], "far from each other"),
        ([[9000, 0, 331], [0, 9000, 243], [0, 0, 1]], "field of view is 4"),
        ([[20, 0, 331], [0, 20, 243], [0, 0, 1]], "field of view is 17"),
        ([[0.9, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]], "field of view"),
        ([[600, 0, 240], [0, 600, 320], [0, 0, 1]], "480x640.*exchanged"),
    ],
)
def test_intrinsics_that_look_wrong_are_doubted_in_one_line(matrix, expected):
    doubts = Camera(np.array(matrix), SIZE).doubts()
    assert re.search(expected, doubts) and "\n" not in doubts and "640x480" in doubts


@EVERY_LENS
def test_good_intrinsics_are_not_doubted(lens):
    assert camera(lens).doubts() == ""
    assert camera(lens).delivered((400, 300, 40, 40), (1, 2)).doubts() == ""


def test_a_wide_fisheye_is_not_doubted():
    matrix = np.array([[190.0, 0, 320], [0, 190, 240], [0, 0, 1]])
    assert Camera(matrix, SIZE, np.zeros(4), "equidistant").doubts() == ""
    assert Camera(matrix / (4, 4, 1), SIZE, np.zeros(4), "equidistant").doubts()


NAMES = {
    "plumb_bob": ("radtan", "Radial-Tangential", "Brown Conrady", "PLUMB_BOB", " opencv "),
    "equidistant": ("equi", "KANNALA_BRANDT", "Kannala-Brandt4", "opencv_fisheye", "EQUIDISTANT"),
}


@pytest.mark.parametrize(
    ("given", "ours"), [(given, ours) for ours, names in NAMES.items() for given in names]
)
def test_other_names_of_a_model_are_known(given, ours):
    small = np.array([0.01, -0.02, 0.001, 0.002])
    read, expected = Camera(K, SIZE, small, given), Camera(K, SIZE, small, ours)
    assert read.model == ours
    assert (read.project(points_in_view()) == expected.project(points_in_view())).all()


def test_four_coefficients_without_a_model_are_refused():
    for name in ("", "pinhole"):
        with pytest.raises(CameraError, match="plumb_bob.*equidistant"):
            Camera(K, SIZE, np.full(4, 0.01), name)
        assert Camera(K, SIZE, np.full(5, 0.01), name).model == "plumb_bob"
        assert Camera(K, SIZE, np.full(8, 0.01), name).model == "rational_polynomial"


def test_zeros_after_the_coefficients_of_a_fisheye_are_none():
    long = Camera(K, SIZE, np.array([0.02, -0.01, 0.001, 0, 0]), "equidistant")
    assert long.distortion.tolist() == [0.02, -0.01, 0.001, 0]
    with pytest.raises(CameraError, match="not 3"):
        Camera(K, SIZE, np.full(3, 0.01), "equidistant")


@pytest.mark.parametrize(
    "matrix", [K.T, np.where(K == 1, 0, K), np.where(K == 1, 2, K)], ids=["by columns", "0", "2"]
)
def test_a_matrix_that_is_no_camera_matrix_is_refused(matrix):
    with pytest.raises(CameraError, match="0 0 1"):
        Camera(matrix, SIZE)


def directions(count, seed=3):
    drawn = np.random.default_rng(seed).normal(size=(count, 3))
    drawn[:, 2] = np.abs(drawn[:, 2]) + 0.01
    return drawn


def test_look_at_rotations_are_rotations():
    rotation = look_at_rotation(directions(200))
    assert rotation @ rotation.swapaxes(-1, -2) == pytest.approx(
        np.broadcast_to(np.eye(3), (200, 3, 3))
    )
    assert np.linalg.det(rotation) == pytest.approx(np.ones(200))


def test_look_at_turns_the_direction_onto_the_axis():
    given = directions(200)
    turned = (look_at_rotation(given) @ given[..., None])[..., 0]
    assert turned[:, :2] == pytest.approx(np.zeros((200, 2)), abs=1e-12)
    assert turned[:, 2] == pytest.approx(np.linalg.norm(given, axis=-1))


def test_look_at_is_the_smallest_rotation():
    given = directions(200)
    unit = given / np.linalg.norm(given, axis=-1, keepdims=True)
    trace = np.trace(look_at_rotation(given), axis1=-2, axis2=-1)
    assert (trace - 1) / 2 == pytest.approx(unit[:, 2])  # cosine of the turn = cosine to the axis
    assert look_at_rotation(np.array([0.0, 0, 2])) == pytest.approx(np.eye(3))


def moving_person(seed=0, frames=9, at=(0.6, 0.2, 3.0)):
    """(T, 17, 3) m in the optical frame, and scores (T, 17) of which some are 0."""
    rng = np.random.default_rng(seed)
    pose = rng.normal(0, 0.35, (17, 3))
    drift = np.linspace(0, 1, frames)[:, None, None] * np.array([0.4, -0.1, 0.3])
    joints = pose + drift + np.array(at) + rng.normal(0, 0.01, (frames, 17, 3))
    scores = rng.uniform(0.2, 1, (frames, 17))
    scores[rng.random((frames, 17)) < 0.1] = 0
    return joints, scores


def canonical(seen_by, joints, scores):
    rays = seen_by.rays(seen_by.project(joints))
    return canonical_window(rays[None], scores[None])


OTHER_CAMERAS = {
    "focal length": Camera(np.array([[910.0, 0, 331], [0, 877, 243], [0, 0, 1]]), SIZE),
    "principal point": Camera(np.array([[600.0, 0, 290], [0, 606, 300], [0, 0, 1]]), SIZE),
    "resolution": camera().scaled_to(1920, 1440),
    "lens": camera("rational"),
}


@pytest.mark.parametrize("other", OTHER_CAMERAS.values(), ids=OTHER_CAMERAS)
def test_canonical_keypoints_do_not_depend_on_the_intrinsics(other):
    joints, scores = moving_person()
    a, b = canonical(camera(), joints, scores), canonical(other, joints, scores)
    assert a.valid.all() and b.valid.all()
    assert b.keypoints == pytest.approx(a.keypoints, abs=1e-7)
    assert b.rotation == pytest.approx(a.rotation, abs=1e-7)


def turn(yaw, pitch):
    """Rotation of the optical frame about its y, then its x axis; rad."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    return np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array(
        [[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]
    )


@pytest.mark.parametrize("seed", range(8))
def test_canonical_keypoints_of_a_turned_camera_differ_by_a_roll_only(seed):
    rng = np.random.default_rng(seed)
    joints, scores = moving_person(seed, at=(0.1, 0.1, 3.5))
    rotation = turn(*rng.uniform(-0.5, 0.5, 2))
    a = canonical(camera(), joints, scores)
    b = canonical(camera(), joints @ rotation.T, scores)
    # Both virtual cameras look along the same line, so a roll leads from one to the other.
    roll = b.rotation[0] @ rotation @ a.rotation[0].T
    assert roll[2] == pytest.approx([0, 0, 1], abs=1e-9)
    assert b.keypoints[..., :2] == pytest.approx(a.keypoints[..., :2] @ roll[:2, :2].T, abs=1e-9)
    assert (a.keypoints[..., 2] == b.keypoints[..., 2]).all()
    assert abs(math.atan2(roll[1, 0], roll[0, 0])) < 0.2


def test_a_person_farther_away_looks_the_same_where_perspective_is_weak():
    pose = np.random.default_rng(0).normal(0, 0.3, (1, 17, 3))
    pose[..., 2] = 0
    scores = np.ones((1, 17))
    near, far = (canonical(camera(), pose + (0, 0, z), scores).keypoints for z in (4.0, 40.0))
    assert near == pytest.approx(far, abs=0.02)


def test_canonical_keypoints_have_unit_spread_and_zeros_where_missing():
    joints, scores = moving_person()
    window = canonical(camera(), joints, scores)
    seen = scores > 0
    xy = window.keypoints[0, ..., :2]
    assert (xy[seen] ** 2).sum(-1).mean() == pytest.approx(1)
    assert (window.keypoints[0][~seen] == 0).all() and (~seen).any()
    assert (window.keypoints[0, ..., 2] == scores).all()


def test_values_with_score_zero_are_ignored():
    joints, scores = moving_person()
    rays = (joints[..., :2] / joints[..., 2:])[None]
    spoilt = np.where(scores[None, ..., None] > 0, rays, 1e3)
    a, b = canonical_window(rays, scores[None]), canonical_window(spoilt, scores[None])
    assert (a.keypoints == b.keypoints).all()


def test_motion_across_the_window_stays():
    joints, scores = moving_person()
    middle = canonical(camera(), joints, np.ones_like(scores)).keypoints[0, :, :, :2].mean(axis=1)
    assert middle[-1, 0] - middle[0, 0] > 0.2  # it walks to the right
    assert middle.mean(axis=0) == pytest.approx([0, 0], abs=0.05)


def test_windows_that_cannot_be_centred_or_scaled_are_not_valid():
    rays = np.random.default_rng(0).uniform(-0.2, 0.2, (3, 4, 17, 2))
    scores = np.ones((3, 4, 17))
    scores[0] = 0  # nothing seen
    scores[1].reshape(-1)[5:] = 0  # five keypoints
    rays[2] = (0.1, 0.1)  # all in one place
    window = canonical_window(rays, scores)
    assert window.valid.tolist() == [False, False, False]
    assert np.isfinite(window.keypoints).all() and np.isfinite(window.rotation).all()


def test_windows_of_a_batch_do_not_touch_each_other():
    people = [moving_person(seed) for seed in range(4)]
    rays = np.stack([joints[..., :2] / joints[..., 2:] for joints, _ in people])
    scores = np.stack([s for _, s in people])
    together = canonical_window(rays, scores)
    for i in range(4):
        alone = canonical_window(rays[i : i + 1], scores[i : i + 1])
        assert together.keypoints[i] == pytest.approx(alone.keypoints[0], abs=1e-12)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_canonical_window_in_torch_equals_numpy(precision):
    joints, scores = moving_person()
    rays = (joints[..., :2] / joints[..., 2:])[None]
    ours = canonical_window(rays, scores[None])
    theirs = canonical_window(
        torch.tensor(rays, dtype=precision), torch.tensor(scores[None], dtype=precision)
    )
    assert theirs.keypoints.dtype == precision
    assert theirs.keypoints.numpy() == pytest.approx(ours.keypoints, abs=1e-5)
    assert theirs.rotation.numpy() == pytest.approx(ours.rotation, abs=1e-5)
    assert bool(theirs.valid.all())
