"""`emf-ros calibrate`: a known camera is found again, and views that do not tell it are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from calibration_scenes import (
    CAMERA,
    charuco,
    checkerboard,
    pictures,
    views_of,
    walking_people,
)

from emf_ros.calibrate.board import BoardError, CharucoBoard, Checkerboard
from emf_ros.calibrate.collect import preview_image
from emf_ros.calibrate.people import MIN_PERIODS, Walkers, estimate, walkers
from emf_ros.calibrate.solve import MODELS, CalibrationError, solve
from emf_ros.calibrate.views import GOOD_VIEWS, Views
from emf_ros.cli import calibrate as command
from emf_ros.cli.main import main
from emf_ros.geometry.camera import Camera
from emf_ros.io.calibration.reader import read_camera
from emf_ros.io.calibration.writer import write_camera
from emf_ros.io.recording_writer import RecordingWriter
from emf_ros.io.recordings import Recording
from emf_ros.skeletons import BLAZEPOSE33, H36M17


@pytest.fixture
def has_charuco(not_run) -> None:
    """Skip where OpenCV cannot find ChArUco boards, and check that it says so."""
    if not hasattr(cv2, "aruco"):
        with pytest.raises(BoardError, match="here has no ChArUco: install"):
            CharucoBoard(9, 7, "DICT_5X5_100", 0.75)
        reason = f"OpenCV {cv2.__version__} here has no module aruco"
        not_run(f"ChArUco boards: {reason}")
        pytest.skip(reason)


def folder_of(path: Path, images: object) -> Path:
    """A folder of PNG files."""
    path.mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(str(path / f"{number:03}.png"), image)
    return path


def same_camera(found: Camera) -> None:
    """Within 0.5 % of the true focal lengths, and 3 px of the principal point."""
    true = CAMERA.matrix
    for axis in (0, 1):
        assert found.matrix[axis, axis] == pytest.approx(true[axis, axis], rel=0.005)
        assert found.matrix[axis, 2] == pytest.approx(true[axis, 2], abs=3.0)
    corners = np.array([[20.0, 20], [620, 20], [20, 460], [620, 460]])
    assert np.allclose(found.rays(corners), CAMERA.rays(corners), atol=0.01)


def test_a_checkerboard_gives_the_camera_and_its_file_is_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "checkerboard", pictures(checkerboard(9, 6), 11))
    out = tmp_path / "front.yaml"
    words = ["calibrate", str(folder), "--board", "9x6", "--out", str(out)]
    assert main(words) == 0
    same_camera(read_camera(out))
    text = out.read_text()
    assert "camera_name: front" in text and "distortion_model: plumb_bob" in text
    assert "reprojection error 0." in text and "reprojection error 0." in capsys.readouterr().out


def test_a_charuco_board_gives_the_camera(tmp_path: Path, has_charuco) -> None:
    board = charuco(9, 7, "DICT_5X5_100", 0.75)
    folder = folder_of(tmp_path / "charuco", pictures(board, 12, seed=1))
    out = tmp_path / "c.yaml"
    words = ["calibrate", str(folder), "--board", "9x7", "--charuco", "DICT_5X5_100"]
    assert main([*words, "--out", str(out)]) == 0
    same_camera(read_camera(out))


@pytest.mark.parametrize("max_tilt", [0.0, 0.05])
def test_boards_that_are_not_tilted_do_not_tell_the_focal_length(max_tilt: float) -> None:
    with pytest.raises(CalibrationError, match="do not determine the focal length.*tilt the board"):
        solve(views_of(12, max_tilt))


def test_the_stated_doubt_of_the_focal_length_is_that_of_its_error() -> None:
    found = solve(views_of(12))
    error = abs(found.camera.matrix[0, 0] - CAMERA.matrix[0, 0])
    assert 0.2 < found.focal_stddev_px < 3.0 and error < 3 * found.focal_stddev_px
    assert not found.left_out


def test_the_wrong_board_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(folder_of(tmp_path / "one", pictures(checkerboard(9, 6), 1)))
    out = ["--out", str(tmp_path / "c.yaml")]
    assert main(["calibrate", folder, "--board", "10x7", *out]) == 1
    assert "check --board" in capsys.readouterr().err
    assert main(["calibrate", folder, *out]) == 1
    assert "either --board" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["calibrate", folder, "--board", "nine", *out])
    for board in ((2, 6), (6, 2)):
        with pytest.raises(BoardError, match="too small"):
            Checkerboard(*board)


def test_images_of_another_size_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(tmp_path / "mixed", pictures(checkerboard(9, 6), 2))
    cv2.imwrite(str(folder / "000_thumbnail.png"), np.zeros((48, 64, 3), np.uint8))
    words = ["calibrate", str(folder), "--board", "9x6", "--out", str(tmp_path / "c.yaml")]
    assert main(words) == 1
    assert "1 of 3 frames are 64x48, not 640x480 like the first" in capsys.readouterr().err


def test_a_charuco_board_that_is_never_seen_whole_is_refused() -> None:
    with pytest.raises(BoardError, match="has 9 inner corners, and 12 are needed"):
        CharucoBoard(4, 4, "DICT_4X4_50", 0.75)


def test_markers_that_opencv_lacks_are_refused(has_charuco) -> None:
    with pytest.raises(BoardError, match="DICT_5X5_100"):
        CharucoBoard(9, 7, "5X5", 0.75)
    with pytest.raises(BoardError, match="has 50 markers"):
        CharucoBoard(20, 20, "DICT_4X4_50", 0.75)


def test_a_wrong_view_is_left_out() -> None:
    views = views_of(12)
    bent = views.found[3]
    bend = np.sin(bent.points[:, :1] * 2.0) * 6.0
    views.found[3] = type(bent)(bent.points, bent.pixels + bend)
    found = solve(views)
    assert found.left_out == (views.names[3],)
    same_camera(found.camera)


def test_a_view_like_one_before_is_not_kept_and_hints_say_what_is_missing() -> None:
    views = Views(CAMERA.size)
    board = pictures(checkerboard(9, 6), 4, max_tilt=0.0)
    found = next(f for image in board if (f := Checkerboard(9, 6).find(image)))
    assert views.add(found, "1")
    assert not views.add(type(found)(found.points, found.pixels + 2.0), "2")
    tilt, where, count = views.hints()
    assert "tilt" in tilt and "hold the board" in where
    assert count == f"show {GOOD_VIEWS - 1} more views"
    image = np.full((480, 640, 3), 100, np.uint8)
    shown = preview_image(image, found, views, tilt)
    cells = views.coverage()
    assert cells.any() and not cells.all()
    # Covered cells are tinted green, the others are as they were.
    green = [shown[60 + 120 * r, 150 + 160 * c].astype(int) for r, c in np.argwhere(~cells)[:3]]
    assert all(np.ptp(pixel) == 0 for pixel in green)


def test_a_written_file_is_read_again_to_the_last_digits(tmp_path: Path) -> None:
    write_camera(tmp_path / "c.yaml", CAMERA, "c", ("a comment",))
    again = read_camera(tmp_path / "c.yaml")
    assert np.allclose(again.matrix, CAMERA.matrix, rtol=1e-9)
    assert np.allclose(again.distortion, CAMERA.distortion, rtol=1e-9)
    assert (again.size, again.model) == (CAMERA.size, CAMERA.model)
    rectified = read_camera(tmp_path / "c.yaml", rectified=True)
    assert np.allclose(rectified.matrix, CAMERA.matrix)


def test_the_models_of_the_command_are_those_of_the_solver() -> None:
    assert tuple(MODELS) == command.MODELS


# ------------------------------------------------------------------ from people


@pytest.mark.parametrize(("pitch_deg", "camera_m", "seed"), [(12.0, 1.7, 0)])
def test_people_who_walk_about_tell_the_focal_length(
    pitch_deg: float, camera_m: float, seed: int
) -> None:
    people, size = walking_people(800.0, pitch_deg, camera_m, 1.75, seed)
    found = estimate(people, size, 1.75)
    focal = found.camera.matrix[0, 0]
    assert focal == pytest.approx(800.0, rel=0.05)
    assert abs(focal / 800.0 - 1) < 3 * found.doubt < 0.3
    assert np.degrees(found.ground.pitch_rad) == pytest.approx(pitch_deg, abs=1.0)
    assert found.ground.height_m == pytest.approx(camera_m, rel=0.04)


def test_pixels_that_are_not_square_are_part_of_the_estimate() -> None:
    people, (width, height) = walking_people(800.0, 25.0, 2.0, 1.75)
    # The same images, with pixels 1.4 times as wide as high.
    narrow = np.array([1 / 1.4, 1.0])
    middle, size = (np.array([width, height]) - 1) / 2, (round(width / 1.4), height)
    to = (np.array(size) - 1) / 2
    feet, heads = (to + (p - middle) * narrow for p in (people.feet, people.heads))
    found = estimate(Walkers(feet, heads, people.periods), size, 1.75, 1.4)
    square = estimate(people, (width, height), 1.75)
    assert found.camera.matrix[1, 1] == pytest.approx(square.camera.matrix[1, 1], rel=0.02)
    assert found.camera.matrix[0, 0] == pytest.approx(found.camera.matrix[1, 1] / 1.4)


def test_a_level_camera_cannot_tell() -> None:
    people, size = walking_people(800.0, 0.0, 1.0, 1.75)
    with pytest.raises(CalibrationError, match="do not tell the focal length"):
        estimate(people, size, 1.75)


def test_people_at_one_place_and_too_few_people_cannot_tell() -> None:
    people, size = walking_people(800.0, 20.0, 2.0, 1.75)
    rng = np.random.default_rng(0)
    near = Walkers(
        people.feet[:1] + rng.normal(0, 3, people.feet.shape),
        people.heads[:1] + rng.normal(0, 3, people.heads.shape),
        people.periods,
    )
    with pytest.raises(CalibrationError, match="do not tell the focal length"):
        estimate(near, size, 1.75)
    few = people.periods < MIN_PERIODS - 1
    with pytest.raises(CalibrationError, match="too few"):
        estimate(Walkers(people.feet[few], people.heads[few], people.periods[few]), size, 1.75)


def recording_of(people: Walkers, size: tuple[int, int]) -> Recording:
    """Keypoints of standing people with these feet and heads; all others lie between."""
    writer = RecordingWriter(BLAZEPOSE33, size, None)
    across = np.array([8.0, 0.0])
    heights = {"ear": 1.0, "shoulder": 0.83, "hip": 0.5, "knee": 0.25, "ankle": 0.0}
    nan = np.full((17, 3), np.nan)
    for number, (foot, head) in enumerate(zip(people.feet, people.heads, strict=True)):
        keypoints = np.zeros((33, 3))
        for joint, height in heights.items():
            for side, sign in (("left", 1), ("right", -1)):
                place = foot + height * (head - foot) + sign * across
                keypoints[BLAZEPOSE33.joints.index(f"{side}_{joint}")] = (*place, 1.0)
        writer.add(number * 0.1, number, 1, keypoints, nan, nan[:, 0], nan[0], False)
    return writer.recording()


def test_the_command_estimates_from_recorded_keypoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people, size = walking_people(800.0, 20.0, 2.2, 1.75)
    recording_of(people, size).save(tmp_path / "k.npz")
    out = tmp_path / "c.yaml"
    words = ["calibrate", str(tmp_path / "k.npz"), "--from-people", "1.75", "--out", str(out)]
    assert main(words) == 0
    assert "+- " in (said := capsys.readouterr().out) and "camera_height_m: [2." in said
    assert read_camera(out).matrix[0, 0] == pytest.approx(800.0, rel=0.05)


def test_sitting_and_hidden_people_are_left_out() -> None:
    people, size = walking_people(800.0, 20.0, 2.2, 1.75)
    recording = recording_of(people, size)
    keypoints = recording.keypoints_2d[:4].copy()
    index = BLAZEPOSE33.joints.index
    # 1: ankles at the height of the knees, as of a person on a chair seen from the front.
    for side in ("left", "right"):
        keypoints[1, index(f"{side}_ankle")] = keypoints[1, index(f"{side}_knee")] + 1.0
    keypoints[2, index("left_ear"), 2] = 0.1
    keypoints[3, index("right_ankle"), :2] = np.nan
    found = walkers(keypoints, np.arange(4.0), np.zeros(4, int), BLAZEPOSE33)
    assert len(found.feet) == 1
    with pytest.raises(CalibrationError, match="no left_ear"):
        walkers(np.zeros((1, 17, 3)), np.zeros(1), np.zeros(1, int), H36M17)
