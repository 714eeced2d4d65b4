"""What an evaluation says of weights: figures that are checked against lifters of known error."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_people import mocap_folder, smooth_motion, windows, write_mocap

from emf_ros.cli.main import main
from emf_ros.model.checkpoint import save_weights
from emf_ros.model.lifter import Lifter
from emf_ros.model.presets import LifterConfig, MotionFlowConfig
from emf_ros.skeletons import H36M17
from emf_ros.train.confidence import calibrate, cross_validated_share, error_ratios, factors
from emf_ros.train.evaluate import (
    EvaluationError,
    evaluate,
    evaluate_file,
    keypoint_kinds,
    lags_of,
    trunk_mean_pose,
)
from emf_ros.train.metrics import trunk_frame
from emf_ros.train.mocap import load_mocap, to_anatomical_centres
from emf_ros.train.report import plots, tables
from emf_ros.train.synthesis import CameraRanges, Synthesizer

CPU = torch.device("cpu")
SIZES = LifterConfig(
    frames=27, layers=1, dim=8, dim_rep=8, heads=2, motion=MotionFlowConfig(dim=12)
)
pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def mocap(tmp_path):
    return mocap_folder(tmp_path / "mocap")


@pytest.fixture
def clips(mocap):
    return load_mocap(mocap, "validation")


def lifter_of(config=SIZES):
    torch.manual_seed(0)
    return Lifter(config).eval()


class Oracle:
    """Answers with the truth and a known error, whatever it is shown."""

    def __init__(self, monkeypatch, error, stddev, config=SIZES):
        self.config, self.error, self.stddev = config, error, stddev
        batch = Synthesizer.batch

        def spying(synthesizer, motion):
            self.batch = batch(synthesizer, motion)
            return self.batch

        monkeypatch.setattr(Synthesizer, "batch", spying)

    def __call__(self, keypoints):
        truth = self.batch.targets
        log_scale = torch.full(truth.shape[:3], math.log(self.stddev / 2**0.5))
        return truth + self.error(truth), log_scale


def test_the_truth_has_no_error(monkeypatch, clips):
    oracle = Oracle(monkeypatch, torch.zeros_like, 0.01)
    report = evaluate(oracle, clips, CPU, windows=64, kinds=("exact",))["exact"]
    for row in report["lag"].values():
        assert all(v == pytest.approx(0, abs=1e-3) for v in row.values())
    assert report["acceleration_error_m_s2"] == 0 and report["mpjve_mm_per_frame"] == 0
    assert report["root"]["median"] < 1e-3 and report["root"]["solved"] > 0.8
    assert report["confidence"]["inside_one_stddev"] == 1
    assert set(report["joint_mpjpe_mm"].values()) == {0.0}


def test_a_constant_error_is_reported_where_it_is(monkeypatch, clips):
    def wrist_off(truth):
        error = torch.zeros_like(truth)
        error[:, :, H36M17.index("left_wrist"), 0] = 0.17
        return error

    oracle = Oracle(monkeypatch, wrist_off, 0.05)
    report = evaluate(oracle, clips, CPU, windows=64, kinds=("exact",))["exact"]
    assert report["lag"]["0"]["mpjpe_mm"] == pytest.approx(10.0, rel=1e-4)
    assert report["joint_mpjpe_mm"]["left_wrist"] == pytest.approx(170.0, rel=1e-4)
    assert report["joint_mpjpe_mm"]["right_wrist"] == 0
    assert report["acceleration_error_m_s2"] == pytest.approx(0, abs=1e-2)
    # One of three components of one of sixteen joints lies outside.
    assert report["confidence"]["inside_one_stddev"] == pytest.approx(1 - 1 / 48)
    assert report["confidence"]["inside_one_stddev_per_joint"]["left_wrist"] == pytest.approx(2 / 3)


def test_a_wrong_size_is_forgiven_by_n_mpjpe_and_by_the_true_height(monkeypatch, clips):
    oracle = Oracle(monkeypatch, lambda truth: 0.2 * truth, 0.05)
    report = evaluate(oracle, clips, CPU, windows=64, kinds=("exact",))["exact"]
    row = report["lag"]["0"]
    assert row["mpjpe_mm"] > 80
    assert row["n_mpjpe_mm"] < 0.01 and row["p_mpjpe_mm"] < 0.01
    assert report["root"]["median"] == pytest.approx(0.2, abs=0.01)
    assert report["root_of_known_height"]["median"] < 1e-3


def test_normal_errors_of_the_given_stddev_are_inside_as_often_as_they_should(monkeypatch, clips):
    generator = torch.Generator().manual_seed(1)

    def normal(truth):
        return 0.04 * torch.randn(truth.shape, generator=generator)

    oracle = Oracle(monkeypatch, normal, 0.04)
    report = evaluate(oracle, clips, CPU, windows=256, kinds=("exact",))["exact"]["confidence"]
    assert report["inside_one_stddev"] == pytest.approx(0.683, abs=0.02)
    assert report["inside_two_stddev"] == pytest.approx(0.954, abs=0.01)
    for row in report["reliability"]:
        assert row["stddev_mm"] == pytest.approx(40.0)
        assert row["error_68_mm"] == pytest.approx(40.0, rel=0.1)


def test_dropouts_are_the_detectors_errors_and_more_limbs_lost():
    kinds = keypoint_kinds()
    assert list(kinds) == ["exact", "noisy", "dropouts"] and kinds["exact"] is None
    same = replace(kinds["dropouts"], limb_lost=kinds["noisy"].limb_lost)
    assert same == kinds["noisy"]
    assert kinds["dropouts"].limb_lost.rate > 5 * kinds["noisy"].limb_lost.rate


def test_evaluation_reports_everything_and_repeats_itself(clips):
    reports = [
        evaluate(lifter_of(), clips, CPU, windows=64, mean_pose=trunk_mean_pose(clips))
        for _ in range(2)
    ]
    assert reports[0] == reports[1]
    assert json.loads(json.dumps(reports[0])) == reports[0]
    for kind in ("exact", "noisy", "dropouts"):
        report = reports[0][kind]
        assert list(report["lag"]) == ["0", "1", "2", "4", "8", "13"]
        for figures in report["lag"].values():
            assert 0 < figures["p_mpjpe_mm"] < figures["mpjpe_mm"] < 2000
        assert set(report["action"]) == {"walk"} and report["action"]["walk"]["windows"] == 64
        assert report["baseline_mean_pose"]["mpjpe_mm"] > 0


def test_short_windows_have_the_lags_that_they_have():
    assert lags_of(27) == (0, 1, 2, 4, 8, 13)
    assert lags_of(9) == (0, 1, 2, 4)
    assert lags_of(3) == (0, 1)


def test_the_trunks_frame_turns_with_the_person():
    motion = windows(5, 1)[:, 0]
    frame = trunk_frame(motion)
    assert torch.allclose(frame @ frame.mT, torch.eye(3).expand_as(frame), atol=1e-5)
    assert torch.allclose(torch.det(frame), torch.ones(5), atol=1e-5)
    own = torch.einsum("tij,tkj->tki", frame, motion - motion[:, :1])
    assert (own[:, H36M17.index("left_hip"), 0] > 0.05).all()
    assert (own[:, H36M17.index("thorax"), 2] > 0.3).all()
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    turn = turn * torch.det(turn)
    turned = motion @ turn.T
    again = torch.einsum("tij,tkj->tki", trunk_frame(turned), turned - turned[:, :1])
    assert torch.allclose(again, own, atol=1e-5)


def test_the_mean_pose_is_the_mean_in_the_trunks_frame(tmp_path):
    """One pose under all headings: its mean is the pose itself, in the trunk's frame."""
    pose = smooth_motion(1, 3)[0]
    spun = []
    for angle in np.linspace(0, 2 * math.pi, 50):
        c, s = math.cos(angle), math.sin(angle)
        spun.append(pose @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]))
    write_mocap(tmp_path / "spun.npz", [("a", np.array(spun))])
    mean = trunk_mean_pose(load_mocap(tmp_path))
    pose = to_anatomical_centres(pose[None])[0]
    own = torch.from_numpy(pose - pose[:1])
    expected = torch.einsum("ij,kj->ki", trunk_frame(torch.from_numpy(pose)), own).numpy()
    assert mean == pytest.approx(expected, abs=2e-3)


# ------------------------------------------------------------------------------ confidence


def test_the_factor_is_the_quantile_per_joint():
    rng = np.random.default_rng(0)
    scales = np.linspace(0.5, 2.0, 17)
    scales[0] = 0.0
    ratios = np.abs(rng.normal(0, 1, (4000, 2, 17, 3))) * scales[:, None]
    found = factors(ratios)
    assert found[0] == 1.0  # the pelvis, whose error is zero
    assert found[1:] == pytest.approx(scales[1:], rel=0.03)


def test_calibration_makes_the_share_right_on_the_same_windows(clips):
    lifter = lifter_of()
    expected = calibrate(lifter, clips, CPU, windows=256)
    assert lifter.scale_offset[0] == 0 and (lifter.scale_offset[1:] != 0).all()
    ratios, _ = error_ratios(lifter, clips, CPU, windows=256)
    inside = (ratios[:, :, 1:] < 1).mean(axis=(0, 1, 3))
    assert inside == pytest.approx(0.6827 * np.ones(16), abs=0.01)
    assert 0.3 < expected < 1.0
    first = lifter.scale_offset.clone()
    calibrate(lifter, clips, CPU, windows=256)
    assert torch.allclose(lifter.scale_offset, first, atol=1e-5)  # anew, not on top


def test_stddev_is_calibrated_on_the_cameras_of_the_run(clips):
    near, far = CameraRanges(distance_m=(2.0, 2.0)), CameraRanges(distance_m=(20.0, 20.0))
    lifter = lifter_of()
    calibrate(lifter, clips, CPU, cameras=far, windows=64)
    other = lifter.scale_offset.clone()
    calibrate(lifter, clips, CPU, cameras=near, windows=64)
    assert not torch.allclose(lifter.scale_offset, other)


def test_the_cross_validated_share_tells_subjects_apart():
    """Subjects of different errors: who is calibrated on the one is not right for the other."""
    rng = np.random.default_rng(0)
    ratios = np.abs(rng.normal(0, 1, (2000, 1, 17, 3)))
    subjects = np.array(["a"] * 1000 + ["b"] * 1000)
    assert cross_validated_share(ratios, subjects) == pytest.approx(0.6827, abs=0.01)
    ratios[1000:] *= 3
    share = cross_validated_share(ratios, subjects)
    high, low = math.erf(3 / 2**0.5), math.erf(1 / 3 / 2**0.5)
    assert share == pytest.approx((high + low) / 2, abs=0.01)
    assert cross_validated_share(ratios, np.array(["a"] * 2000)) is None


# ------------------------------------------------------------------------------ files and command


@pytest.fixture
def weights(tmp_path):
    def write(**training):
        path = tmp_path / "some.safetensors"
        notes = {"training": json.dumps(training)} if training else {}
        save_weights(path, lifter_of(), notes)
        return path

    return write


def test_training_subjects_are_not_evaluated(mocap, weights):
    path = weights(subjects=["a", "cmu02"], mean_pose_m=np.zeros((17, 3)).tolist())
    report = evaluate_file(path, mocap, windows=64, device="cpu")
    assert report["subjects"] == ["b", "cmu49"]
    with pytest.raises(EvaluationError, match="was trained on a; --trained-too"):
        evaluate_file(path, mocap, ["a", "b"], device="cpu")
    report = evaluate_file(path, mocap, ["a"], trained_too=True, windows=64, device="cpu")
    assert report["subjects"] == ["a"]


def test_weights_that_do_not_tell_are_evaluated_on_the_usual_subjects(mocap, weights):
    report = evaluate_file(weights(), mocap, windows=64, device="cpu")
    assert report["subjects"] == ["cmu02", "cmu49"]
    assert next(tables(report)).startswith("It is not known on which subjects")
    assert report["noisy"]["baseline_mean_pose"] is not None


def test_there_must_be_something_to_evaluate_on(mocap, weights, tmp_path):
    path = weights(subjects=["a", "b", "cmu02", "cmu49"])
    with pytest.raises(EvaluationError, match="trained on every subject of"):
        evaluate_file(path, mocap, device="cpu")
    with pytest.raises(EvaluationError, match="no clip of nobody"):
        evaluate_file(path, mocap, ["nobody"], device="cpu")
    with pytest.raises(EvaluationError, match="0 windows"):
        evaluate_file(path, mocap, windows=0, device="cpu")


def test_the_command_prints_and_saves_the_whole_report(mocap, weights, tmp_path, capsys):
    out = tmp_path / "report"
    path = str(weights(subjects=["a"]))
    arguments = ["eval", "--weights", path, "--mocap", str(mocap), "--windows", "64"]
    assert main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for wanted in ("13 (centre)", "left_wrist", "walk", "inside two `stddev`", "baseline: mean"):
        assert wanted in printed
    assert (out / "report.md").read_text().strip() == printed.strip()
    assert json.loads((out / "report.json").read_text())["subjects"] == ["b", "cmu02", "cmu49"]
    import cv2

    for name in ("lag", "joints", "reliability"):
        picture = cv2.imread(str(out / f"{name}.png"))
        assert picture.std() > 10
    assert main(["eval", "--weights", path, "--mocap", str(tmp_path / "none")]) == 1
    assert "no .npz motion capture" in capsys.readouterr().err
    assert main(["eval", "--weights", "/nowhere", "--mocap", str(mocap)]) == 1
    assert "there is no weights file /nowhere" in capsys.readouterr().err


def test_a_report_of_one_kind_can_be_shown(clips, tmp_path):
    report = evaluate(lifter_of(), clips, CPU, windows=64, kinds=("noisy",))
    lines = list(tables(report))
    assert any(line.startswith("| 13 (centre) |") for line in lines)
    assert len(plots(report, tmp_path)) == 3
