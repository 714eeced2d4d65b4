"""Weights on a real video, beside the world landmarks of BlazePose."""

import json
from collections import Counter

import numpy as np
import pytest

from emf_ros.cli.main import main
from emf_ros.geometry.camera import Camera
from emf_ros.lift.engine import make_engine
from emf_ros.lift.offline import lift_video
from emf_ros.skeletons import H36M17
from emf_ros.train.evaluate import EvaluationError
from emf_ros.train.video import (
    BLAZEPOSE,
    OURS,
    VARIATIONS,
    Truth,
    VariedSource,
    _accelerations,
    _flips,
    _height,
    _still,
    evaluate_video,
    video_table,
)


class Frames:
    """Pictures in memory as a video, at these times, s, or at this rate."""

    live, pixel_aspect, unreadable, notice = False, 1.0, 0, ""

    def __init__(self, pictures, rate_hz=30.0, times=None):
        self.pictures, self.rate_hz, self.count = list(pictures), rate_hz, len(pictures)
        self.size = (pictures[0].shape[1], pictures[0].shape[0])
        self._times = np.arange(self.count) / rate_hz if times is None else np.array(times)
        self.other_sizes, self.next = Counter(), 0

    def grab(self):
        if self.next >= self.count:
            return None
        self.next += 1
        return self.next - 1, float(self._times[self.next - 1])

    def retrieve(self):
        return self.pictures[self.next - 1]

    def times(self):
        return self._times

    def close(self):
        pass


@pytest.fixture(scope="module")
def pictures(demo_frames):
    return demo_frames[:40]


@pytest.fixture(scope="module")
def camera(pictures):
    return Camera.from_fov(pictures[0].shape[1], pictures[0].shape[0], 60.0)


def test_both_methods_are_measured_on_real_people(pictures, camera):
    report = evaluate_video(Frames(pictures), camera, make_engine("lite", None, "cpu"))
    assert report["people"] >= 1 and report["frames"] >= 15
    for name in (OURS, BLAZEPOSE):
        figures = report[name]
        assert 0.005 < figures["bone_variation"] < 0.5
        assert 0.5 < figures["acceleration_m_s2"] < 500
        assert figures["flips_a_minute"] >= 0 and figures["mpjpe_mm"] is None
        assert figures["bone_variation_worst"] >= figures["bone_variation"]
        assert 0 < figures["distance_speed_m_s"] < 20
        assert figures["upside_down"] == 0 and 0.002 < figures["reprojection"] < 0.06
        assert len(figures["heights_m"]) == report["people"]
        assert all(1.0 < height < 2.0 for height in figures["heights_m"])
    # What a window of frames is for.
    for shaking in ("acceleration_m_s2", "bone_variation", "distance_speed_m_s"):
        assert report[OURS][shaking] < 0.6 * report[BLAZEPOSE][shaking], shaking
    assert "MPJPE" not in "".join(video_table(report))


def test_with_the_truth_errors_are_errors(pictures, camera):
    """The lifter's own poses for the truth: it has no error then, the world landmarks have."""
    engine = make_engine("lite", None, "cpu")
    recording, _ = lift_video(Frames(pictures), camera, engine, progress=False)
    ids, counts = np.unique(recording.track_id, return_counts=True)
    mine = recording.track_id == ids[counts.argmax()]
    mine &= np.isfinite(recording.joints_3d).all(axis=(1, 2))
    truth = Truth(recording.stamp[mine], recording.joints_3d[mine].astype(float))
    report = evaluate_video(Frames(pictures), camera, engine, truth=truth)
    assert report["people"] == 1
    assert report[OURS]["mpjpe_mm"] < 0.1 and report[OURS]["acceleration_error_m_s2"] < 0.2
    assert report[OURS]["inside_stddev"] == 1.0 and report[BLAZEPOSE]["inside_stddev"] is None
    assert report[OURS]["root_error"] < 1e-4 < report[BLAZEPOSE]["root_error"]
    assert 20 < report[BLAZEPOSE]["p_mpjpe_mm"] < report[BLAZEPOSE]["mpjpe_mm"] < 500
    assert "P-MPJPE" in "".join(video_table(report))
    elsewhere = Truth(truth.stamp + 1000, truth.joints)
    with pytest.raises(EvaluationError, match="where there is truth"):
        evaluate_video(Frames(pictures), camera, engine, truth=elsewhere)


@pytest.mark.parametrize("name", list(VARIATIONS))
def test_a_varied_video_shows_the_same_through_its_camera(name, camera):
    """A point of the picture stays a point of the same direction, mirrored where that is asked."""
    width, height = camera.size
    picture = np.zeros((height, width, 3), np.uint8)
    at = np.array([0.3 * width, 0.4 * height]).round().astype(int)
    picture[at[1] - 8 : at[1] + 9, at[0] - 8 : at[0] + 9] = 255
    variation = VARIATIONS[name]
    source = VariedSource(Frames([picture]), variation)
    assert source.grab() == (0, 0.0)
    seen, there = source.retrieve(), variation.camera(camera)
    assert (seen.shape[1], seen.shape[0]) == source.size == there.size
    weight = seen[..., 0].astype(float)
    centre = [(weight.sum(axis=0) * np.arange(seen.shape[1])).sum() / weight.sum()]
    centre += [(weight.sum(axis=1) * np.arange(seen.shape[0])).sum() / weight.sum()]
    before, after = camera.rays(at), there.rays(np.array(centre))
    sign = -1 if variation.mirror else 1
    assert np.allclose(after, before * [sign, 1], atol=1e-3)
    assert source.grab() is None
    assert source.rate_hz == 30.0 / variation.slower


def test_a_slowed_video_keeps_its_steps_proportions(pictures):
    slowed = VariedSource(Frames(pictures[:4], times=[0, 0.1, 0.5, 0.6]), VARIATIONS["slowed"])
    assert [slowed.grab()[1] for _ in range(4)] == [0, 0.2, 1.0, 1.2]
    assert np.allclose(slowed.times(), [0, 0.2, 1.0, 1.2])


def test_a_lens_cannot_be_mirrored(camera):
    lens = Camera(camera.matrix, camera.size, np.array([0.1, 0, 0, 0]))
    with pytest.raises(EvaluationError, match="rectify"):
        VARIATIONS["mirrored"].camera(lens)


def facing(signs):
    """Poses whose left hip is at +x, or at -x."""
    poses = np.zeros((len(signs), 17, 3))
    poses[:, H36M17.index("left_hip"), 0] = 0.15 * np.array(signs)
    poses[:, H36M17.index("right_hip"), 0] = -0.15 * np.array(signs)
    return poses


def test_flips_are_counted_and_timed():
    signs = np.ones(60)
    signs[20:23] = signs[40] = -1
    jumps, longest = _flips(facing(signs), np.arange(60) / 30)
    assert jumps.sum() == 4 and longest == 3
    assert _flips(facing(np.ones(40)), np.arange(40) / 30)[1] == 0
    # Someone who turns round for good has turned once, and is not wrong thereafter.
    jumps, longest = _flips(facing([1] * 30 + [-1] * 30), np.arange(60) / 30)
    assert jumps.sum() == 1 and longest == 0


def test_accelerations_are_by_the_stamps():
    """A constant acceleration is found at uneven steps too."""
    stamps = np.cumsum([0.03, 0.1, 0.02, 0.3, 0.05, 0.05])
    acceleration = np.array([1.0, -2.0, 9.81])
    poses = 0.5 * acceleration * stamps[:, None, None] ** 2 * np.ones((1, 17, 3))
    assert np.allclose(_accelerations(poses, stamps), acceleration)


def test_who_stands_still_is_found_by_the_keypoints():
    rng = np.random.default_rng(0)
    points = np.tile(rng.uniform(0, 300, (17, 3)), (30, 1, 1))
    moving = points + np.arange(30)[:, None, None] * 4.0
    poses = rng.normal(scale=0.01, size=(30, 17, 3))
    shaking = 1000 * np.sqrt(_still(poses, points).mean())
    assert np.isclose(shaking, 10 * np.sqrt(3), rtol=0.1)
    assert len(_still(poses, moving)) == 0


def test_the_height_is_that_of_the_bones():
    pose = np.zeros((1, 17, 3))
    for side, x in (("left", 0.1), ("right", -0.1)):
        pose[0, H36M17.index(f"{side}_hip")] = (x, 0, 0)
        pose[0, H36M17.index(f"{side}_knee")] = (x, 0.4, 0)
        pose[0, H36M17.index(f"{side}_ankle")] = (x, 0.4, 0.4)
    pose[0, H36M17.index("spine")] = (0, -0.25, 0)
    pose[0, H36M17.index("thorax")] = (0, -0.5, 0)
    pose[0, H36M17.index("head_top")] = (0, -0.75, 0)
    assert np.isclose(_height(pose), 0.8 + 0.5 + 0.25)


def test_the_truth_is_taken_from_the_nearest_stamp():
    truth = Truth(np.array([0.0, 0.1, 0.2]), np.arange(3.0)[:, None, None] * np.ones((3, 17, 3)))
    found = truth.at(np.array([-0.01, 0.04, 0.06, 0.19, 0.5]), within_s=0.05)[:, 0, 0]
    assert found[:4].tolist() == [0, 0, 1, 2] and np.isnan(found[4])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"stamp": np.arange(3.0)}, "is no npz with stamp"),
        ({"stamp": np.arange(3.0), "joints": np.zeros((3, 16, 3))}, r"\(3, 16, 3\)"),
        ({"stamp": np.array([0, 2.0, 1]), "joints": np.zeros((3, 17, 3))}, "do not rise"),
    ],
)
def test_what_is_no_truth_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "truth.npz", **arrays)
    with pytest.raises(EvaluationError, match=message):
        Truth.load(tmp_path / "truth.npz")
    with pytest.raises(EvaluationError, match="is no npz"):
        Truth.load(tmp_path / "none.npz")


def test_the_command_compares_on_a_video(tmp_path, pictures, capsys):
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{i:03d}.png"), picture)
    out = tmp_path / "report"
    assert main(["eval", "--video", str(folder), "--out", str(out), "--device", "cpu"]) == 0
    assert "left/right flips a minute" in capsys.readouterr().out
    assert json.loads((out / "video.json").read_text())["people"] >= 1
    assert main(["eval", "--video", str(folder), "--varied", "--out", str(out)]) == 0
    assert json.loads((out / "video.json").read_text()).keys() == VARIATIONS.keys()
    printed = capsys.readouterr().out
    assert all(f"{name}:" in printed for name in VARIATIONS)
    assert main(["eval", "--video", str(folder), "--varied", "--truth", "any.npz"]) == 1
    assert "leave out --varied" in capsys.readouterr().err
    assert main(["eval", "--video", "/no/such.mp4"]) == 1
    assert "/no/such.mp4" in capsys.readouterr().err
    black = tmp_path / "black"
    black.mkdir()
    for i in range(3):
        cv2.imwrite(str(black / f"{i}.png"), 0 * pictures[0])
    assert main(["eval", "--video", str(black)]) == 1
    assert "nobody was lifted in 15 frames" in capsys.readouterr().err
