"""`emf-ros lift`: videos and recorded keypoints to files, without ROS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from inputs import FRAME_SIZE, camera_yaml, write_clip, write_y4m

from emf_ros.cli.main import main
from emf_ros.io.recordings import FORMAT, load_recording

CLIP_FRAMES = 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory, demo_frames) -> Path:
    """A second of the demo video."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", demo_frames[:CLIP_FRAMES])


@pytest.fixture(scope="module")
def lifted(clip) -> Path:
    """The clip's recording, made by the command as a user runs it."""
    out = clip.parent / "sub" / "clip.npz"
    out.parent.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "emf_ros.cli",
            "lift",
            clip,
            "--fov",
            "60",
            "--device",
            "cpu",
            "--out",
            out,
        ],
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr
    assert "2 people" in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stderr
    return out


def refused(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which the command refuses; it exits with 1."""
    capfd.readouterr()
    assert main(["lift", "--device", "cpu", *map(str, arguments)]) == 1
    error = capfd.readouterr().err
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("emf-ros: ")]
    assert len(lines) == 1 and error.rstrip().endswith(lines[0])
    return lines[0]


def test_the_recording_has_the_documented_arrays(lifted: Path) -> None:
    with np.load(lifted, allow_pickle=False) as data:
        arrays = dict(data)
    rows = len(arrays["stamp"])
    assert str(arrays["format"]) == FORMAT
    assert str(arrays["layout"]) == "blazepose33"
    assert len(arrays["joint_names"]) == 17
    shapes = {
        "stamp": (rows,),
        "frame": (rows,),
        "track_id": (rows,),
        "keypoints_2d": (rows, 33, 3),
        "joints_3d": (rows, 17, 3),
        "joint_stddev": (rows, 17),
        "root": (rows, 3),
        "root_valid": (rows,),
        "camera_matrix": (3, 3),
        "image_size": (2,),
    }
    assert {name: arrays[name].shape for name in shapes} == shapes
    assert arrays["stamp"].dtype == np.float64 and arrays["root_valid"].dtype == bool
    assert not list(lifted.parent.glob("*.part*"))


def test_two_people_are_lifted_to_plausible_poses(lifted: Path) -> None:
    recording = load_recording(lifted)
    assert recording.image_size == FRAME_SIZE
    assert recording.camera is not None
    ids, counts = np.unique(recording.track_id, return_counts=True)
    assert len(ids) == 2 and (counts >= 8).all()
    assert (np.diff(recording.stamp) >= 0).all()
    assert recording.frame.min() >= 0 and recording.frame.max() == CLIP_FRAMES - 1
    assert np.allclose(recording.stamp, recording.frame / 30.0)
    valid = recording.root_valid
    assert valid.mean() > 0.8
    assert np.isfinite(recording.root[valid]).all()
    assert np.isnan(recording.root[~valid]).all()
    assert np.isfinite(recording.joints_3d[valid]).all(axis=-1).mean() > 0.9
    assert np.allclose(recording.joints_3d[valid][:, 0], recording.root[valid], atol=1e-4)
    assert (recording.root[valid][:, 2] > 1).all() and (recording.root[valid][:, 2] < 20).all()


def test_the_keypoints_alone_give_the_same_poses(lifted: Path, tmp_path: Path) -> None:
    names = ("stamp", "track_id", "keypoints_2d", "layout", "image_size", "camera_matrix")
    with np.load(lifted) as data:
        np.savez(tmp_path / "keypoints.npz", **{name: data[name] for name in names})
    out = tmp_path / "again.npz"
    assert (
        main(["lift", str(tmp_path / "keypoints.npz"), "--device", "cpu", "--out", str(out)]) == 0
    )
    video, again = load_recording(lifted), load_recording(out)
    assert np.array_equal(video.track_id, again.track_id)
    assert np.allclose(video.stamp, again.stamp)
    assert np.array_equal(video.root_valid, again.root_valid)
    # The file keeps pixels in float32, which moves a distant root by a little.
    relative = [r.joints_3d - r.joints_3d[:, :1] for r in (video, again)]
    assert np.array_equal(np.isnan(relative[0]), np.isnan(relative[1]))
    assert np.nanmax(np.abs(relative[0] - relative[1])) < 1e-3
    assert np.nanmax(np.abs(video.root - again.root)) < 1e-2


def test_recorded_keypoints_without_ids_are_tracked(lifted: Path, tmp_path: Path) -> None:
    """All have the id 0. The people are the same as with the ids that the video's tracker gave."""
    names = ("stamp", "track_id", "keypoints_2d", "layout", "image_size", "camera_matrix")
    with np.load(lifted) as data:
        arrays = {name: data[name] for name in names}
    arrays["track_id"] = np.zeros_like(arrays["track_id"])
    np.savez(tmp_path / "keypoints.npz", **arrays)
    out = tmp_path / "again.npz"
    assert (
        main(["lift", str(tmp_path / "keypoints.npz"), "--device", "cpu", "--out", str(out)]) == 0
    )
    video, again = load_recording(lifted), load_recording(out)
    assert sorted(set(again.track_id.tolist())) == [1, 2]
    # Two images pass before a person is confirmed.
    assert len(video) - 6 <= len(again) < len(video)
    owner = {}
    for row in range(len(again)):
        (before,) = np.flatnonzero(
            (video.stamp == again.stamp[row])
            & (video.keypoints_2d[:, 0, 0] == again.keypoints_2d[row, 0, 0])
        )
        owner.setdefault(again.track_id[row], set()).add(video.track_id[before])
    assert all(len(ids) == 1 for ids in owner.values())


def test_a_recorded_id_of_0_is_an_id_where_it_stands_once_in_an_image(
    lifted: Path, tmp_path: Path
) -> None:
    names = ("stamp", "track_id", "keypoints_2d", "layout", "image_size", "camera_matrix")
    with np.load(lifted) as data:
        arrays = {name: data[name] for name in names}
    arrays["track_id"] = arrays["track_id"] - 1
    np.savez(tmp_path / "keypoints.npz", **arrays)
    out = tmp_path / "again.npz"
    assert (
        main(["lift", str(tmp_path / "keypoints.npz"), "--device", "cpu", "--out", str(out)]) == 0
    )
    assert np.array_equal(load_recording(out).track_id, load_recording(lifted).track_id - 1)


def test_the_field_of_view_sets_the_distance(lifted: Path, tmp_path: Path) -> None:
    out = tmp_path / "narrow.npz"
    arguments = ["lift", str(lifted), "--fov", "30", "--device", "cpu", "--out", str(out)]
    assert main(arguments) == 0
    wide, narrow = load_recording(lifted), load_recording(out)
    both = wide.root_valid[: len(narrow)] & narrow.root_valid
    ratio = narrow.root[both, 2] / wide.root[: len(narrow)][both, 2]
    assert np.median(ratio) == pytest.approx(
        np.tan(np.radians(30)) / np.tan(np.radians(15)), rel=0.2
    )


def test_intrinsics_of_a_file_are_used(lifted: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "camera.yaml", tmp_path / "out.npz"
    path.write_text(camera_yaml(*FRAME_SIZE, 700.0))
    arguments = ["lift", str(lifted), "--camera-info", str(path), "--device", "cpu"]
    assert main([*arguments, "--out", str(out)]) == 0
    camera = load_recording(out).camera
    assert camera is not None and camera.matrix[0, 0] == 700.0


def test_intrinsics_of_another_size_are_scaled_and_saved_so(lifted: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "camera.yaml", tmp_path / "out.npz"
    path.write_text(camera_yaml(2 * FRAME_SIZE[0], 2 * FRAME_SIZE[1], 1400.0))
    arguments = ["--camera-info", str(path), "--device", "cpu"]
    assert main(["lift", str(lifted), *arguments, "--out", str(out)]) == 0
    scaled = load_recording(out)
    assert scaled.image_size == FRAME_SIZE == scaled.camera.size
    assert scaled.camera.matrix[:2].tolist() == [
        [700, 0, (FRAME_SIZE[0] - 1) / 2],
        [0, 700, (FRAME_SIZE[1] - 1) / 2],
    ]
    # The same as with intrinsics of the keypoints' own size.
    path.write_text(camera_yaml(*FRAME_SIZE, 700.0))
    assert main(["lift", str(lifted), *arguments, "--out", str(tmp_path / "own.npz")]) == 0
    own = load_recording(tmp_path / "own.npz")
    assert np.allclose(scaled.root, own.root, equal_nan=True)


def test_rectified_keypoints_take_p_of_the_file(
    lifted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "camera.yaml", tmp_path / "out.npz"
    bent = camera_yaml(*FRAME_SIZE, 700.0).replace("[0.0, 0.0,", "[-0.3, 0.1,")
    path.write_text(bent)
    arguments = [lifted, "--camera-info", path, "--rectified"]
    assert "projection_matrix" in refused(capfd, *arguments, "--out", out)
    assert "calibration file" in refused(capfd, lifted, "--fov", 60, "--rectified", "--out", out)
    assert not out.exists()
    p = "[650.0, 0, 440, -70.0, 0, 651, 250, 0, 0, 0, 1, 0]"
    path.write_text(f"{bent}projection_matrix:\n  rows: 3\n  cols: 4\n  data: {p}\n")
    assert main(["lift", *map(str, arguments), "--device", "cpu", "--out", str(out)]) == 0
    camera = load_recording(out).camera
    assert camera.matrix.tolist() == [[650, 0, 440], [0, 651, 250], [0, 0, 1]]
    assert not camera.distortion.any()


def test_a_portrait_without_a_field_of_view_is_a_guess_across_the_longer_side(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video = write_clip(tmp_path / "portrait.mp4", [np.zeros((320, 180, 3), np.uint8)] * 3)
    out = tmp_path / "portrait.npz"
    assert main(["lift", str(video), "--device", "cpu", "--out", str(out)]) == 0
    assert capfd.readouterr().err.count("a guess") == 1
    matrix = load_recording(out).camera.matrix
    assert matrix[0, 0] == matrix[1, 1] == pytest.approx(160 / np.tan(np.radians(30)))
    # What the user gives is horizontal, and no guess.
    arguments = ["lift", str(video), "--fov", "40", "--device", "cpu", "--out", str(out)]
    assert main(arguments) == 0
    assert "a guess" not in capfd.readouterr().err
    matrix = load_recording(out).camera.matrix
    assert matrix[0, 0] == pytest.approx(90 / np.tan(np.radians(20)))


@pytest.mark.parametrize(("stated", "aspect"), [("4:3", 4 / 3), ("8:9", 8 / 9), ("0:0", 1.0)])
def test_the_pixel_aspect_of_the_video_is_used(tmp_path: Path, stated: str, aspect: float) -> None:
    video = write_y4m(tmp_path / "video.y4m", (320, 240), stated)
    out = tmp_path / "out.npz"
    arguments = ["lift", str(video), "--fov", "50", "--device", "cpu", "--out", str(out)]
    assert main(arguments) == 0
    matrix = load_recording(out).camera.matrix
    assert matrix[0, 0] == pytest.approx(160 / np.tan(np.radians(25)))
    assert matrix[1, 1] == pytest.approx(aspect * matrix[0, 0])


@pytest.mark.parametrize("lag", [5, 20])
def test_with_a_lag_every_image_still_gets_its_poses(
    lifted: Path, tmp_path: Path, lag: int
) -> None:
    out = tmp_path / "lag.npz"
    arguments = ["lift", str(lifted), "--lag", str(lag), "--device", "cpu", "--out", str(out)]
    assert main(arguments) == 0
    at_once, late = load_recording(lifted), load_recording(out)
    keys = [set(zip(r.stamp.round(4), r.track_id, strict=True)) for r in (at_once, late)]
    seen = np.isfinite(at_once.keypoints_2d).all(axis=-1).any(axis=-1)
    wanted = set(zip(at_once.stamp[seen].round(4), at_once.track_id[seen], strict=True))
    assert wanted <= keys[1] and len(keys[1]) == len(late)
    assert late.stamp.max() == pytest.approx((CLIP_FRAMES - 1) / 30.0, abs=1e-3)
    assert late.frame.min() >= 0
    # The last image has nothing after it, with or without a lag.
    last = [r.root[r.frame == CLIP_FRAMES - 1] for r in (at_once, late)]
    assert np.allclose(last[0], last[1], rtol=0.02, atol=0.02)


def test_a_video_without_people(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    video = write_clip(tmp_path / "black.mp4", [np.zeros((180, 320, 3), np.uint8)] * 5)
    out = tmp_path / "black.npz"
    assert main(["lift", str(video), "--device", "cpu", "--out", str(out)]) == 0
    assert "0 people" in capfd.readouterr().out
    recording = load_recording(out)
    assert len(recording) == 0
    assert recording.joints_3d.shape == (0, 17, 3) and recording.keypoints_2d.shape == (0, 33, 3)


def test_an_unreadable_video_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, text = tmp_path / "out.npz", tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 100)
    assert "text.mp4" in refused(capfd, text, "--out", out)
    assert "none.mp4" in refused(capfd, tmp_path / "none.mp4", "--out", out)
    (tmp_path / "folder").mkdir()
    assert "folder" in refused(capfd, tmp_path / "folder", "--out", out)
    assert not out.exists()


def test_bad_recordings_are_refused(
    lifted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, bad = tmp_path / "out.npz", tmp_path / "bad.npz"
    whole = lifted.read_bytes()
    for data in (whole[: len(whole) // 2], b""):
        bad.write_bytes(data)
        assert "bad.npz" in refused(capfd, bad, "--out", out)
    middle = bytearray(whole)
    middle[len(whole) // 3 : len(whole) // 3 + 200] = bytes(200)
    bad.write_bytes(middle)
    assert "bad.npz" in refused(capfd, bad, "--out", out)
    np.savez(bad, stamp=np.zeros(3))
    assert "track_id" in refused(capfd, bad, "--out", out)
    assert "none.npz" in refused(capfd, tmp_path / "none.npz", "--out", out)
    assert not out.exists()


def test_bad_cameras_are_refused(
    clip: Path, lifted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, path = tmp_path / "out.npz", tmp_path / "camera.yaml"
    broken = ("image_width: [", "- 1", camera_yaml(640, 480, -5.0))
    for source, texts in ((clip, broken[:1]), (lifted, broken)):
        for text in texts:
            path.write_text(text)
            line = refused(capfd, source, "--camera-info", path, "--out", out)
            assert "camera.yaml" in line or "focal length" in line
        assert "none.yaml" in refused(
            capfd, source, "--camera-info", tmp_path / "none.yaml", "--out", out
        )
        assert "lag" in refused(capfd, source, "--lag", 99, "--out", out)
    path.write_text(camera_yaml(640, 640, 500.0))
    assert "640x640" in refused(capfd, clip, "--camera-info", path, "--out", out)
    assert not out.exists()


def test_bad_models_and_places_are_refused(
    lifted: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.npz"
    assert "huge" in refused(capfd, lifted, "--preset", "huge", "--out", out)
    assert "none.onnx" in refused(capfd, lifted, "--weights", tmp_path / "none.onnx", "--out", out)
    (tmp_path / "bad.onnx").write_bytes(b"no model" * 50)
    assert "bad.onnx" in refused(capfd, lifted, "--weights", tmp_path / "bad.onnx", "--out", out)
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(capfd, lifted, "--out", tmp_path / "file" / "out.npz")


def test_the_command_line_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lift", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for option in ("--camera-info", "--fov", "--lag", "--out", "--device"):
        assert option in said
    with pytest.raises(SystemExit) as ended:
        main(["lift", "video.mp4", "--out", "x.npz", "--fov", "60", "--camera-info", "x.yaml"])
    assert ended.value.code == 2
