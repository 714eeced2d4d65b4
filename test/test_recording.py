"""Recordings as other programs write them: read, or refused in one line that says what is wrong."""

from __future__ import annotations

import os
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
from inputs import camera_yaml
from test_swaps import walker

from emf_ros.cli.main import main
from emf_ros.geometry.camera import Camera
from emf_ros.io.recordings import RecordingError, load_recording
from emf_ros.lift.offline import PoseCollector

CAMERA = Camera.from_fov(1280, 720, 70.0)
# Number of images.
IMAGES = 24
RATE_HZ = 30.0


def keypoints() -> dict[str, np.ndarray]:
    """One person who walks, seen in 24 images."""
    rays = walker(IMAGES, turned=0.4)
    ones = np.ones((*rays.shape[:2], 1))
    pixels = CAMERA.project(np.concatenate([rays, ones], axis=-1))
    return {
        "stamp": np.arange(IMAGES) / RATE_HZ,
        "track_id": np.ones(IMAGES, dtype=np.int64),
        "keypoints_2d": np.concatenate([pixels, 0.9 * ones], axis=-1),
        "layout": np.array("h36m17"),
        "image_size": np.array(CAMERA.size),
        "camera_matrix": CAMERA.matrix,
    }


def write(path: Path, **changes: object) -> Path:
    arrays = {**keypoints(), **changes}
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    return path


@pytest.fixture
def lift(tmp_path, capfd):
    """Lift a recording with changed arrays: the output, and the lines that were printed."""

    def lifted(*options: object, **changes: object):
        path, out = write(tmp_path / "in.npz", **changes), tmp_path / "out.npz"
        words = ["lift", path, "--device", "cpu", "--out", out, *options]
        capfd.readouterr()
        code = main([str(word) for word in words])
        lines = [line for line in capfd.readouterr().err.splitlines() if "frame/s" not in line]
        assert code == 0, lines
        return load_recording(out), lines

    return lifted


# ------------------------------------------------------------------------------ stamps


@pytest.mark.parametrize(
    "shift_s", [-10.0, -0.4, 0.0, 3600.0, 1.7e9], ids=["negative", "across 0", "0", "boot", "1970"]
)
@pytest.mark.parametrize("unit", ["s", "ns float", "ns int"])
def test_stamps_of_any_origin_give_the_same_poses(lift, shift_s, unit):
    plain, _ = lift()
    stamp = keypoints()["stamp"] + shift_s
    given = {"s": stamp, "ns float": stamp * 1e9, "ns int": np.round(stamp * 1e9).astype(np.int64)}
    moved, lines = lift(stamp=given[unit])
    assert np.allclose(moved.stamp, stamp, atol=1e-6)
    assert np.array_equal(np.isnan(moved.joints_3d), np.isnan(plain.joints_3d))
    assert np.isfinite(moved.joints_3d).all()
    # Stamps since 1970 are rounded to a quarter of a microsecond.
    assert np.allclose(moved.joints_3d, plain.joints_3d, atol=2e-3)
    assert ("nanoseconds" in " ".join(lines)) == (unit != "s")


@pytest.mark.parametrize(
    ("stamp", "what"),
    [
        (np.arange(IMAGES) * 33_333.0, "must be in seconds, or in nanoseconds"),
        (1.7e12 + np.arange(IMAGES) * 33.0, "must be in seconds, or in nanoseconds"),
        (np.full(IMAGES, np.inf), "not finite"),
        (np.zeros(IMAGES), "all 24 rows have the stamp 0"),
        (np.array(["0"] * IMAGES), "stamp holds text"),
        (np.zeros((IMAGES, 1)), "one stamp a row"),
        (np.float64(0.0), "one stamp a row"),
        (np.array([0, 2**63], dtype=np.uint64).repeat(IMAGES // 2), "2261"),
        (np.array([0, 1.7e9]).repeat(IMAGES // 2), "must be in seconds"),
    ],
    ids=["us", "ms", "infinite", "all 0", "text", "column", "scalar", "overflow", "two images"],
)
def test_impossible_stamps_are_refused(stamp, what, tmp_path):
    with pytest.raises(RecordingError, match=what) as caught:
        load_recording(write(tmp_path / "in.npz", stamp=stamp))
    assert "in.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_milliseconds_are_noted(tmp_path):
    path = write(tmp_path / "in.npz", stamp=keypoints()["stamp"] * 1000)
    assert "must be in seconds" in load_recording(path).notes[0]


def test_one_odd_stamp_does_not_change_the_unit(tmp_path):
    stamp = np.array([0.0, 1.7e9, 1.7e9 + 0.033])
    arrays = {name: keypoints()[name][:3] for name in ("track_id", "keypoints_2d")}
    read = load_recording(write(tmp_path / "in.npz", stamp=stamp, **arrays))
    assert np.array_equal(read.stamp, stamp)


def test_one_persons_rows_after_anothers_are_sorted(tmp_path):
    single = keypoints()
    second = single["keypoints_2d"] + (50.0, 0.0, 0.0)
    path = write(
        tmp_path / "in.npz",
        stamp=np.tile(single["stamp"], 2),
        track_id=np.repeat([1, 2], IMAGES),
        keypoints_2d=np.concatenate([single["keypoints_2d"], second]),
        frame=np.tile(np.arange(IMAGES), 2),
    )
    read = load_recording(path)
    assert "sorted" in read.notes[0]
    assert np.array_equal(read.stamp, single["stamp"].repeat(2))
    assert read.track_id.tolist() == [1, 2] * IMAGES
    assert read.frame.tolist() == np.arange(IMAGES).repeat(2).tolist()
    assert np.allclose(read.keypoints_2d[1::2], second)


def test_a_persons_own_stamps_that_step_back_stay_in_the_files_order(tmp_path):
    stamp = np.tile(np.arange(IMAGES // 2) / RATE_HZ, 2)
    read = load_recording(write(tmp_path / "in.npz", stamp=stamp))
    assert np.array_equal(read.stamp, stamp) and "step back" in read.notes[0]


# ------------------------------------------------------------------------------ other arrays


OBJECT = np.array({"by": "me"}, dtype=object)


def test_unknown_arrays_are_ignored_with_a_note(lift):
    plain, _ = lift()
    read, lines = lift(extra=OBJECT, other=np.zeros(3), joint_names=OBJECT, format=OBJECT)
    notes = [line for line in lines if line.startswith("note: ")]
    assert len(notes) == 1 and "extra, other" in notes[0]
    assert np.array_equal(read.joints_3d, plain.joints_3d)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"track_id": np.array(["a"] * IMAGES)}, "track_id holds text"),
        ({"track_id": np.full(IMAGES, 1.5)}, "track_id holds numbers that are not whole"),
        ({"track_id": np.full(IMAGES, np.nan)}, "track_id holds numbers that are not whole"),
        ({"track_id": np.full(IMAGES, 2**63, np.uint64)}, "which 64 bits cannot hold"),
        ({"track_id": np.full(IMAGES, 1e30)}, "track_id holds numbers that are not whole"),
        ({"track_id": np.ones(IMAGES - 1, int)}, r"track_id is \(23,\), not \(24,\)"),
        ({"keypoints_2d": np.array([None] * IMAGES)}, "keypoints_2d holds Python objects"),
        ({"keypoints_2d": np.zeros((IMAGES, 17, 2))}, r"\(24, 17, 2\), not \(24, 17, 3\)"),
        ({"keypoints_2d": np.zeros((IMAGES, 33, 3))}, r"\(24, 33, 3\), not \(24, 17, 3\)"),
        ({"keypoints_2d": np.zeros((IMAGES, 17, 3), complex)}, "complex128, not numbers"),
        ({"layout": np.array("mine")}, "mine"),
        ({"layout": np.array(3)}, "layout is no text"),
        ({"layout": OBJECT}, "layout holds Python objects"),
        ({"image_size": np.array([1280])}, "image_size"),
        ({"image_size": np.array([1280, np.nan])}, "image_size"),
        ({"image_size": np.array([2**40, 720])}, "image_size"),
        ({"image_size": np.array([0, 720])}, "image_size"),
        ({"camera_matrix": np.ones((3, 4))}, r"camera_matrix is \(3, 4\)"),
        ({"camera_matrix": np.where(np.eye(3) > 0, 500.0, np.nan)}, "not finite"),
        ({"distortion": np.zeros(3)}, "D has 3 values"),
        ({"distortion_model": np.array("mine")}, "mine"),
        ({"frame": np.array(["a"] * IMAGES)}, "frame holds text"),
        ({"root_valid": np.full(IMAGES, 2)}, "root_valid"),
        ({"joints_3d": np.zeros((IMAGES, 16, 3))}, "joints_3d is"),
        ({"stamp": None, "layout": None}, "no array stamp, layout"),
    ],
)
def test_an_array_that_does_not_fit_is_named(changes, what, tmp_path):
    with pytest.raises(RecordingError, match=what) as caught:
        load_recording(write(tmp_path / "in.npz", **changes))
    assert "in.npz" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"track_id": np.ones(IMAGES)},
        {"track_id": np.ones(IMAGES, np.uint8)},
        {"layout": np.array(["h36m17"])},
        {"layout": np.array(b"h36m17")},
        {"image_size": np.array([1280.0, 720.0])},
        {"camera_matrix": CAMERA.matrix.ravel()},
        {"root_valid": np.ones(IMAGES, int), "root": np.ones((IMAGES, 3))},
    ],
)
def test_arrays_of_other_types_are_read(changes, tmp_path):
    plain = load_recording(write(tmp_path / "plain.npz"))
    read = load_recording(write(tmp_path / "in.npz", **changes))
    assert read.camera is not None and read.layout is plain.layout
    assert np.array_equal(read.track_id, plain.track_id) and read.image_size == CAMERA.size
    assert not read.notes


def test_files_that_are_no_npz_are_refused(tmp_path):
    path = tmp_path / "in.npz"
    whole = write(tmp_path / "whole.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        for name in keypoints():
            archive.writestr(name, "no array")
    np.save(tmp_path / "single.npy", np.zeros(3))
    for content, what in (
        (b"", "no readable npz"),
        (b"garbage" * 100, "no readable npz"),
        (whole[: len(whole) // 2], "no readable npz"),
        (whole[:-10], "no readable npz"),
        (whole[: len(whole) // 3] + bytes(200) + whole[len(whole) // 3 + 200 :], "in.npz"),
        ((tmp_path / "single.npy").read_bytes(), "single array"),
        ((tmp_path / "text.zip").read_bytes(), "layout|stamp"),
    ):
        path.write_bytes(content)
        with pytest.raises(RecordingError, match=what) as caught:
            load_recording(path)
        assert "in.npz" in str(caught.value) and "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(RecordingError, match="in.npz: there is no such file"):
        load_recording(path)
    with pytest.raises(RecordingError, match="no readable npz"):
        load_recording(tmp_path)


# ------------------------------------------------------------------------------ lifting


def test_scores_over_1_count_as_1(lift):
    given = keypoints()["keypoints_2d"]
    given[..., 2] = 1.0
    sure, lines = lift(keypoints_2d=given)
    assert not any("score_over_1" in line for line in lines)
    over = given.copy()
    over[..., 2] = 1.06
    same, lines = lift(keypoints_2d=over)
    assert any(line.startswith(f"score_over_1: {IMAGES * 17}. ") for line in lines)
    assert np.array_equal(same.joints_3d, sure.joints_3d)
    assert same.keypoints_2d[..., 2].max() == 1.0


@pytest.mark.parametrize("score", [-0.1, np.nan, np.inf])
def test_scores_that_are_none_are_refused(lift, score):
    given = keypoints()["keypoints_2d"]
    given[:, 3, 2] = score
    _, lines = lift(keypoints_2d=given)
    assert any(line.startswith(f"bad_keypoint: {IMAGES}. ") for line in lines)
    assert not any("score_over" in line for line in lines)


def test_intrinsics_of_another_size_are_scaled_and_saved_scaled(lift, tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(camera_yaml(2560, 1440, 1800.0))
    once, _ = lift("--camera-info", path)
    again = load_recording(tmp_path / "out.npz")
    for read in (once, again):
        assert read.camera is not None and read.camera.size == CAMERA.size
        assert read.camera.matrix[0, 0] == pytest.approx(900.0)
    (tmp_path / "out.npz").rename(tmp_path / "first.npz")
    out = tmp_path / "second.npz"
    assert main(["lift", str(tmp_path / "first.npz"), "--device", "cpu", "--out", str(out)]) == 0
    second = load_recording(out)
    assert second.camera is not None and second.camera.matrix[0, 0] == pytest.approx(900.0)
    assert np.allclose(second.root, once.root, atol=0.01)


def test_intrinsics_of_another_aspect_ratio_are_refused(tmp_path, capfd):
    camera = tmp_path / "camera.yaml"
    camera.write_text(camera_yaml(640, 480, 500.0))
    words = ["lift", write(tmp_path / "in.npz"), "--camera-info", camera]
    assert main([str(w) for w in (*words, "--out", tmp_path / "out.npz")]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "640x480" in lines[0] and "1280x720" in lines[0]


@pytest.mark.parametrize("lag", [0, 3, 20])
@pytest.mark.parametrize("gap", [0, 1, 60], ids=["even", "one lost", "two seconds lost"])
def test_each_image_gets_one_pose_whatever_the_lag(lift, lag, gap):
    stamp = keypoints()["stamp"] + (np.arange(IMAGES) >= 10) * gap / RATE_HZ
    read, _ = lift("--lag", lag, stamp=stamp, frame=np.arange(IMAGES))
    rows = read.frame >= 0
    assert read.frame[rows].tolist() == list(range(IMAGES))
    assert np.allclose(read.stamp[rows], stamp)
    assert np.isfinite(read.joints_3d).all()


def test_a_lag_brings_the_poses_nearer_to_the_truth(lift):
    """An image in the middle has images after it, those at the end have fewer and fewer."""
    late, _ = lift("--lag", 8)
    at_once, _ = lift()
    assert np.abs(late.joints_3d[10] - at_once.joints_3d[10]).max() > 1e-3
    assert np.abs(late.joints_3d[-1] - at_once.joints_3d[-1]).max() < 0.05


def test_fast_cameras_lose_no_image_to_the_lag(lift):
    """At 1000 Hz more images wait for the lag than a second at 30 Hz has."""
    count = 700
    source = keypoints()["keypoints_2d"]
    rows = np.linspace(0, IMAGES - 1, count).astype(int)
    read, _ = lift(
        "--lag",
        20,
        stamp=np.arange(count) / 1000.0,
        track_id=np.ones(count, int),
        keypoints_2d=source[rows],
        frame=np.arange(count),
    )
    assert read.frame.tolist() == list(range(count))


# ------------------------------------------------------------------------------ interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("lag", [0, 5])
def test_a_signal_keeps_what_was_lifted(tmp_path, monkeypatch, capfd, number, lag):
    """The signal comes while the tenth image is lifted, which is finished."""
    take_in = PoseCollector.keypoints

    def signal_at_the_tenth(self, stamp_ns, frame, people):
        take_in(self, stamp_ns, frame, people)
        if frame == 9:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(PoseCollector, "keypoints", signal_at_the_tenth)
    path, out = write(tmp_path / "in.npz", frame=np.arange(IMAGES)), tmp_path / "out.npz"
    words = ["lift", path, "--device", "cpu", "--lag", lag, "--out", out]
    before = signal.getsignal(number)
    assert main([str(word) for word in words]) == 128 + number
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == f"emf-ros: interrupted: 10 of {IMAGES} frames are in {out}"
    assert any(line.startswith("stopping after this frame") for line in lines)
    assert load_recording(out).frame.tolist() == list(range(10))
    assert signal.getsignal(number) == before


def test_a_signal_during_the_last_image_interrupts_nothing(tmp_path, monkeypatch, capfd):
    take_in = PoseCollector.keypoints

    def signal_at_the_last(self, stamp_ns, frame, people):
        take_in(self, stamp_ns, frame, people)
        if frame == IMAGES - 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(PoseCollector, "keypoints", signal_at_the_last)
    path, out = write(tmp_path / "in.npz", frame=np.arange(IMAGES)), tmp_path / "out.npz"
    assert main(["lift", str(path), "--device", "cpu", "--out", str(out)]) == 0
    assert len(load_recording(out)) == IMAGES


def test_a_signal_before_the_first_image_leaves_the_old_output(tmp_path, monkeypatch, capfd):
    from emf_ros.lift import offline

    make = offline._pipeline

    def signal_while_loading(*args):
        os.kill(os.getpid(), signal.SIGINT)
        return make(*args)

    monkeypatch.setattr(offline, "_pipeline", signal_while_loading)
    path, out = write(tmp_path / "in.npz"), tmp_path / "out.npz"
    out.write_bytes(b"old")
    assert main(["lift", str(path), "--device", "cpu", "--out", str(out)]) == 130
    assert capfd.readouterr().err.splitlines()[-1].endswith(f"nothing was written to {out}")
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize(
    "numbers",
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP,)],
)
def test_a_second_signal_or_a_lost_terminal_stops_at_once(tmp_path, monkeypatch, capfd, numbers):
    def signals(self, stamp_ns, frame, people):
        for number in numbers:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(PoseCollector, "keypoints", signals)
    path, out = write(tmp_path / "in.npz"), tmp_path / "out.npz"
    out.write_bytes(b"old")
    assert main(["lift", str(path), "--device", "cpu", "--out", str(out)]) == 128 + numbers[-1]
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"emf-ros: interrupted: {out} is as it was before"
    assert out.read_bytes() == b"old" and sorted(tmp_path.iterdir()) == [path, out]
    # Of several files the first may be complete.
    other = tmp_path / "out.csv"
    words = ["lift", str(path), "--device", "cpu", "--out", str(out), "--out", str(other)]
    assert main(words) == 128 + numbers[-1]
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.endswith(f"what was not finished of {out}, {other} is as it was before")
