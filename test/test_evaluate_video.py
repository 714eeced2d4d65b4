"""Weights on a real video, compared with the world landmarks of BlazePose."""

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
from emf_ros.train.footage import method_name, video_errors
from emf_ros.train.truth import Truth
from emf_ros.train.varied_video import VARIATIONS, Variation, VariedSource
from emf_ros.train.video import (
    BLAZEPOSE,
    LIFTER,
    METHODS,
    _accelerations,
    _flips,
    _height,
    _still,
    lift_tracks,
    video_report,
)


class Frames:
    """Images in memory as a video, at these times, s, or at this rate."""

    live, pixel_aspect, unreadable, notice = False, 1.0, 0, ""
    start_s, camera = 0.0, None

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
    tracks = lift_tracks(Frames(pictures), camera, make_engine("lite", None, "cpu"))
    report = video_report(tracks, 30.0)
    assert report["people"] >= 1 and report["frames"] >= 15
    for name in METHODS:
        figures = report[name]
        assert 0.005 < figures["bone_variation"] < 0.5
        assert 0.5 < figures["acceleration_m_s2"] < 500
        assert figures["flips_a_minute"] >= 0
        assert figures["bone_variation_worst"] >= figures["bone_variation"]
        assert 0 < figures["distance_speed_m_s"] < 20
        assert figures["upside_down"] == 0 and 0.002 < figures["reprojection"] < 0.06
        assert len(figures["heights_m"]) == report["people"]
        assert all(1.0 < height < 2.0 for height in figures["heights_m"])
    # A window of frames reduces all of them.
    for jitter in ("acceleration_m_s2", "bone_variation", "distance_speed_m_s"):
        assert report[LIFTER][jitter] < 0.6 * report[BLAZEPOSE][jitter], jitter


def test_errors_against_a_truth_are_those_of_its_person(pictures, camera):
    """The truth is the lifter's own poses: it has no error, the world landmarks have one."""
    engine = make_engine("lite", None, "cpu")
    recording, _ = lift_video(Frames(pictures), camera, engine, progress=False)
    ids, counts = np.unique(recording.track_id, return_counts=True)
    rows = recording.track_id == ids[counts.argmax()]
    rows &= np.isfinite(recording.joints_3d).all(axis=(1, 2))
    truth = Truth(recording.stamp[rows], recording.joints_3d[rows].astype(float), True)
    tracks = lift_tracks(Frames(pictures), camera, engine)
    errors = dict(video_errors(tracks, truth, 0))
    lifter, blazepose = errors[method_name(0)], errors[BLAZEPOSE]
    assert lifter.mpjpe_mm < 0.1 and lifter.acceleration_error_m_s2 < 0.2
    assert lifter.inside_stddev == 1.0 and np.isnan(blazepose.inside_stddev)
    assert 20 < blazepose.p_mpjpe_mm < blazepose.mpjpe_mm < 500
    assert lifter.root_share < 0.02
    late = Truth(truth.stamp + 1000, truth.joints, True)
    with pytest.raises(EvaluationError, match="the truth covers no track"):
        dict(video_errors(tracks, late, 0))
    other = Truth(truth.stamp, np.random.default_rng(0).normal(0, 0.5, truth.joints.shape), True)
    with pytest.raises(EvaluationError, match="no person in the video moves as the truth does"):
        dict(video_errors(tracks, other, 0))


@pytest.mark.parametrize("name", list(VARIATIONS))
def test_a_varied_video_shows_the_same_through_its_camera(name, camera):
    """A point of the image stays a point of the same direction, mirrored where that is asked."""
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


def test_every_second_image_keeps_its_time(pictures):
    source = VariedSource(Frames(pictures[:5], times=[0, 0.1, 0.5, 0.6, 0.9]), Variation(every=2))
    grabbed = []
    while (found := source.grab()) is not None:
        assert np.array_equal(source.retrieve(), pictures[2 * found[0]])
        grabbed.append(found)
    assert grabbed == [(0, 0), (1, 0.5), (2, 0.9)]
    assert source.count == 3 and source.rate_hz == 15 and np.allclose(source.times(), [0, 0.5, 0.9])


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
    # A person who turns round for good flips once, and is right afterwards.
    jumps, longest = _flips(facing([1] * 30 + [-1] * 30), np.arange(60) / 30)
    assert jumps.sum() == 1 and longest == 0


def test_accelerations_are_by_the_stamps():
    """A constant acceleration is found at uneven steps too."""
    stamps = np.cumsum([0.03, 0.1, 0.02, 0.3, 0.05, 0.05])
    acceleration = np.array([1.0, -2.0, 9.81])
    poses = 0.5 * acceleration * stamps[:, None, None] ** 2 * np.ones((1, 17, 3))
    assert np.allclose(_accelerations(poses, stamps), acceleration)


def test_standing_still_is_decided_by_the_keypoints():
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


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"stamp": np.arange(3.0)}, "has no truth, truth_time, truth_joints"),
        ({"stamp": np.arange(3.0), "joints": np.zeros((3, 16, 3))}, r"\(3, 16, 3\)"),
        ({"stamp": np.arange(4.0), "joints": np.zeros((3, 17, 3))}, "4 stamps"),
        ({"stamp": np.array([0, 2.0, 1]), "joints": np.zeros((3, 17, 3))}, "do not rise"),
    ],
)
def test_a_broken_truth_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "truth.npz", **arrays)
    with pytest.raises(EvaluationError, match=message):
        Truth.load(tmp_path / "truth.npz")
    with pytest.raises(EvaluationError, match="none.npz"):
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
    assert "no person was lifted in 15 frames" in capsys.readouterr().err


def test_the_command_compares_real_people_with_their_truth(tmp_path, pictures, camera, capsys):
    """The truth is what the command itself lifts, as a video and as recorded keypoints."""
    import cv2

    engine = make_engine("lite", None, "cpu")
    recording, _ = lift_video(Frames(pictures), camera, engine, progress=False)
    ids, counts = np.unique(recording.track_id, return_counts=True)
    rows = recording.track_id == ids[counts.argmax()]
    truth = {"stamp": recording.stamp[rows], "joints": recording.joints_3d[rows]}
    np.savez(tmp_path / "truth.npz", **truth)
    video = tmp_path / "pictures"
    video.mkdir()
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(video / f"{i:03d}.png"), picture)
    command = ["eval", "--video", str(video), "--fov", "60", "--out", str(tmp_path)]
    assert main([*command, "--truth", str(tmp_path / "truth.npz")]) == 0
    assert "| pictures | lifter, lag 0 | 0.0 | 0.0 |" in capsys.readouterr().out
    errors = json.loads((tmp_path / "video.json").read_text())["errors"]
    assert errors[method_name(0)]["inside_stddev"] == 1.0
    assert errors[BLAZEPOSE]["p_mpjpe_mm"] > 20 and errors[BLAZEPOSE]["inside_stddev"] is None

    footage = tmp_path / "footage"
    footage.mkdir()
    keypoints = {
        "keypoints_full": recording.keypoints_2d[rows],
        "frame_full": recording.frame[rows],
        "rate_hz": 30.0,
        "camera_matrix": camera.matrix,
        "image_size": np.array(camera.size),
    }
    np.savez(footage / "jump.npz", **truth, **keypoints)
    command = ["eval", "--footage", str(footage), "--out", str(tmp_path)]
    assert main(command) == 0
    (row,) = json.loads((tmp_path / "footage.json").read_text())
    assert (row["recording"], row["method"]) == ("jump", method_name(0))
    assert row["mpjpe_mm"] < 0.1 and row["knee_deg"] < 0.1
    assert (tmp_path / "footage.md").read_text() in capsys.readouterr().out
    assert main(["eval", "--footage", str(tmp_path / "none")]) == 1
    assert main(["eval", "--footage", str(footage), "--truth", "truth.npz"]) == 1
    assert "--truth belongs to a video" in capsys.readouterr().err
    seldom = truth["joints"].copy()
    seldom[3:, -1] = np.nan
    np.savez(footage / "jump.npz", **{**truth, "joints": seldom}, **keypoints)
    assert main(["eval", "--footage", str(footage)]) == 0
    assert "jump: the truth's right_wrist is known in 3 of" in capsys.readouterr().err
    short = {**truth, "stamp": truth["stamp"][:-1]}
    np.savez(footage / "jump.npz", **short, **keypoints)
    assert main(["eval", "--footage", str(footage)]) == 1
    assert "jump.npz: the truth has" in capsys.readouterr().err
