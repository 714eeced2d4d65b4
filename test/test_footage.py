"""Poses compared with a truth: in a laboratory's frame and clock, or in the camera's."""

import numpy as np
import pytest

from emf_ros.detect.protocol import DetectorError
from emf_ros.io.paths import cache_folder
from emf_ros.skeletons import H36M17
from emf_ros.train import footage, four_cameras
from emf_ros.train.comparison import Errors, Poses, compare, error_table
from emf_ros.train.evaluate import EvaluationError
from emf_ros.train.footage import evaluate_footage, read_footage
from emf_ros.train.truth import Truth

RATE_HZ = 30.0
LIMBS = [
    f"{side}_{joint}"
    for side in ("left", "right")
    for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
]


def person(count=120, seed=0):
    """(N, 17, 3) m: a person whose joints swing independently."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(0, 0.3, (17, 3))
    phase, speed = rng.uniform(0, 6, (2, 17, 3))
    time = np.arange(count)[:, None, None] / RATE_HZ
    return rest + 0.1 * np.sin(speed * time + phase)


def turned(joints, seed=1):
    """The same poses in another frame: rotated and far away."""
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    return joints @ rotation + np.array([3.0, -2.0, 5.0])


def poses(joints, stddev=None, root=None):
    return Poses(np.arange(len(joints)) / RATE_HZ, joints, stddev, root)


def lab_truth(joints, clock_s=0.0, names=LIMBS):
    points = joints[:, [H36M17.index(n) for n in names]]
    return Truth.from_points(np.arange(len(joints)) / RATE_HZ + clock_s, points, list(names))


@pytest.mark.parametrize("clock_s", [0.0, 0.5, -0.25])
def test_the_frame_and_the_clock_of_the_laboratory_are_fitted(clock_s):
    joints = person()
    errors = compare(poses(joints), lab_truth(turned(joints), clock_s))
    assert errors.mpjpe_mm < 0.01 and errors.p_mpjpe_mm < 0.01
    assert errors.knee_deg < 0.01 and errors.elbow_deg < 0.01
    assert errors.acceleration_error_m_s2 < 0.01 < errors.acceleration_m_s2


def test_the_size_of_the_person_is_an_error_in_mpjpe_only():
    joints = person()
    errors = compare(poses(0.9 * joints), lab_truth(turned(joints)))
    assert errors.mpjpe_mm > 10 and errors.p_mpjpe_mm < 0.01


def test_a_wrong_wrist_is_an_error_of_the_joint_and_of_the_elbow_angle():
    joints = person()
    wrong = joints.copy()
    wrong[:, H36M17.index("left_wrist")] += (0.12, 0.0, 0.0)
    errors = compare(poses(wrong), lab_truth(turned(joints)))
    # 120 mm at one of twelve joints; the best rotation spreads some of it over the others.
    assert 5 < errors.mpjpe_mm < 25
    assert errors.knee_deg < 0.01 and errors.elbow_deg > 1


def test_the_share_inside_stddev_is_that_of_normal_errors():
    rng = np.random.default_rng(3)
    joints = person(400)
    noisy = joints + rng.normal(0, 0.02, joints.shape)
    stddev = np.full(joints.shape[:2], 0.02)
    errors = compare(poses(noisy, stddev), lab_truth(turned(joints)))
    # The noise of the hips, the origin, is part of each difference.
    assert errors.inside_stddev == pytest.approx(0.586, abs=0.03)


def test_recordings_that_do_not_overlap_are_refused():
    truth = lab_truth(person(), clock_s=100.0)
    with pytest.raises(EvaluationError, match="overlap by less than 60%"):
        compare(poses(person()), truth)


def trc(path, points, names, unit="mm", factor=1000.0):
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate",
        f"{RATE_HZ}\t{RATE_HZ}\t{len(points)}\t{len(names)}\t{unit}\t{RATE_HZ}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"{a}{i + 1}" for i in range(len(names)) for a in "XYZ"),
        "",
    ]
    for i, row in enumerate(points):
        cells = [str(i + 1), f"{i / RATE_HZ:.6f}", *(f"{factor * v:.4f}" for v in row.ravel())]
        lines.append("\t".join(cells))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1000.0), ("m", 1.0)])
@pytest.mark.parametrize("names", [LIMBS, [n[0].upper() + n.split("_")[1] for n in LIMBS]])
def test_a_trc_file_is_a_truth(tmp_path, unit, factor, names):
    joints = person()
    points = turned(joints)[:, [H36M17.index(n) for n in LIMBS]]
    truth = Truth.load(trc(tmp_path / "lab.trc", points, names, unit, factor))
    assert len(truth.known) == 12
    assert compare(poses(joints), truth).mpjpe_mm < 0.2


def test_a_gap_in_a_trc_file_is_unknown(tmp_path):
    points = turned(person())[:, [H36M17.index(n) for n in LIMBS]]
    path = trc(tmp_path / "lab.trc", points, LIMBS)
    lines = path.read_text().splitlines()
    cells = lines[20].split("\t")
    cells[2:5] = ["", "", ""]
    lines[20] = "\t".join(cells)
    path.write_text("\n".join(lines))
    truth = Truth.load(path)
    assert np.isnan(truth.joints[14, H36M17.index(LIMBS[0])]).all()
    assert np.isfinite(truth.joints[15, H36M17.index(LIMBS[0])]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "no TRC at all", "does not begin as a TRC"),
        (lambda text: text.replace("\tmm\t", "\tfurlong\t"), "its unit is 'furlong'; known: m"),
        (lambda text: text.replace("left_hip", "tail"), "both hips and 3 joints more"),
        (lambda text: text.replace("\n3\t", "\n3\tsoon\t", 1), "line 9: .*'soon'"),
    ],
)
def test_a_damaged_trc_file_is_refused_in_one_line(tmp_path, change, message):
    points = turned(person(10))[:, [H36M17.index(n) for n in LIMBS]]
    path = trc(tmp_path / "lab.trc", points, LIMBS)
    path.write_text(change(path.read_text()))
    with pytest.raises(EvaluationError, match=f"lab.trc: .*{message}"):
        Truth.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth_time": np.arange(119) / 30}, "119 stamps and joints of the shape"),
        ({"truth_time": np.zeros(120)}, "do not rise"),
        ({"truth": np.zeros((120, 5, 3))}, r"truth is \(120, 5, 3\), not \(N, 12, 3\)"),
        ({"truth_joints": np.array(["x"] * 12)}, "both hips and 3 joints more; it has none"),
        ({"truth": None}, "has no truth"),
        ({"truth_time": np.arange(120) / 3}, "a frame every 0.333 s, and 6.7 frames"),
        ({"truth_time": np.arange(120) * 33}, "a frame every 33 s.* stamps in seconds"),
    ],
)
def test_an_npz_that_contradicts_itself_is_refused(tmp_path, changes, message):
    arrays = {
        "truth": turned(person())[:, [H36M17.index(n) for n in LIMBS]],
        "truth_time": np.arange(120) / RATE_HZ,
        "truth_joints": np.array(LIMBS),
        **changes,
    }
    np.savez(tmp_path / "t.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(EvaluationError, match=f"t.npz: .*{message}"):
        Truth.load(tmp_path / "t.npz")


def test_footage_is_keypoints_and_truth(tmp_path):
    keypoints = np.ones((20, 33, 3))
    np.savez(
        tmp_path / "walk.npz",
        keypoints_full=keypoints,
        frame_full=np.arange(20),
        rate_hz=RATE_HZ,
        camera_matrix=np.diag([500.0, 500.0, 1.0]),
        image_size=np.array([640, 480]),
        truth=person()[:, [H36M17.index(n) for n in LIMBS]],
        truth_time=np.arange(120) / RATE_HZ,
        truth_joints=np.array(LIMBS),
    )
    (clip,) = read_footage(tmp_path)
    assert clip.name == "walk" and len(clip.keypoints) == 20
    assert clip.keypoints.stamp[-1] == pytest.approx(19 / RATE_HZ)
    assert clip.keypoints.image_size == (640, 480)
    with pytest.raises(EvaluationError, match="walk.npz: .*keypoints_heavy"):
        list(read_footage(tmp_path, "heavy"))
    with pytest.raises(EvaluationError, match="holds no npz"):
        list(read_footage(tmp_path / "nowhere"))


@pytest.fixture
def four(tmp_path, monkeypatch):
    """Four cameras, and the module that detects in them, which counts the cameras."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(four_cameras, "detected", [], raising=False)

    def largest_person(view, variant):
        four_cameras.detected.append(view)
        return np.full((5, 33, 3), float(view))

    monkeypatch.setattr(four_cameras, "largest_person", largest_person)
    return [0, 1, 2, 3]


def test_the_four_cameras_are_detected_once_and_anew_where_the_file_is_damaged(four, capfd):
    first = four_cameras._keypoints(four)
    assert first[:, 0, 0, 0].tolist() == four
    assert np.array_equal(four_cameras._keypoints(four), first)
    assert four_cameras.detected == four
    (file,) = (cache_folder() / "four_cameras").glob("*.npy")
    for damaged in (file.read_bytes()[:1000], b"", b"no array"):
        file.write_bytes(damaged)
        assert np.array_equal(four_cameras._keypoints(four), first)
        assert f"{file} is damaged" in capfd.readouterr().out
        assert np.array_equal(np.load(file), first)


def test_a_cache_that_cannot_be_written_costs_the_next_detection_alone(four, capfd):
    cache_folder().mkdir(parents=True)
    (cache_folder() / "four_cameras").write_text("no folder")
    assert four_cameras._keypoints(four)[:, 0, 0, 0].tolist() == four
    assert "the next evaluation detects again" in capfd.readouterr().out


def test_without_the_detector_of_the_truth_the_folder_is_evaluated(four, monkeypatch, capfd):
    def unfetched(*_):
        raise DetectorError("could not download it")

    monkeypatch.setattr(four_cameras, "largest_person", unfetched)
    monkeypatch.setattr(footage, "read_views", lambda: four)
    with pytest.raises(EvaluationError, match="holds no npz"):
        list(footage.all_footage("/nowhere"))
    said = capfd.readouterr().out
    assert "without the recording of four cameras: could not download it" in said


def test_keypoints_of_another_shape_are_refused(tmp_path):
    np.savez(
        tmp_path / "walk.npz",
        keypoints_full=np.ones((20, 17, 3)),
        frame_full=np.arange(20),
        rate_hz=RATE_HZ,
        camera_matrix=np.diag([500.0, 500.0, 1.0]),
        image_size=np.array([640, 480]),
        stamp=np.arange(120) / RATE_HZ,
        joints=person(),
    )
    with pytest.raises(EvaluationError, match=r"keypoints_full is \(20, 17, 3\)"):
        list(read_footage(tmp_path))


def test_a_truth_in_the_cameras_frame_is_not_fitted():
    joints = person() + [0.0, 0.0, 4.0]
    stamp = np.arange(120) / RATE_HZ
    truth = Truth(stamp, joints, in_camera_frame=True)
    root = joints[:, [H36M17.index("left_hip"), H36M17.index("right_hip")]].mean(axis=1)
    exact = compare(poses(joints, root=root), truth)
    assert exact.mpjpe_mm < 1e-6 and exact.root_share < 1e-6
    rotated = compare(poses(turned(joints), root=1.1 * root), truth)
    assert rotated.mpjpe_mm > 100 and rotated.p_mpjpe_mm < 0.01
    assert rotated.root_share == pytest.approx(0.1)
    late = Poses(stamp + 100, joints)
    with pytest.raises(EvaluationError, match="0 poses have a truth at their time"):
        compare(late, truth)


@pytest.mark.parametrize("clock_s", [1.25, -2.0, 4.0])
def test_a_clock_beyond_the_search_is_refused(clock_s):
    joints = person(300)
    with pytest.raises(EvaluationError, match="shift the stamps of the truth"):
        compare(poses(joints), lab_truth(turned(joints), clock_s))


def test_a_person_who_stands_still_fits_at_every_offset():
    rng = np.random.default_rng(2)
    joints = np.repeat(person(1), 200, axis=0)
    noisy = joints + rng.normal(0, 0.01, joints.shape)
    assert compare(poses(noisy), lab_truth(turned(joints))).mpjpe_mm < 40


def test_a_joint_that_is_known_in_few_frames_costs_no_others():
    joints = person() + [0.0, 0.0, 4.0]
    stamp = np.arange(120) / RATE_HZ
    seldom = joints.copy()
    seldom[5:, H36M17.index("left_wrist")] = np.nan
    truth = Truth(stamp, seldom, in_camera_frame=True)
    assert compare(poses(joints), truth).frames == 120
    assert truth.notes() == [
        "the truth's left_wrist is known in 5 of 120 frames, and is not compared"
    ]
    # A joint that is lost now and then takes its frames away, and is compared.
    often = joints.copy()
    often[::20, H36M17.index("left_wrist")] = np.nan
    truth = Truth(stamp, often, in_camera_frame=True)
    assert truth.notes() == [] and compare(poses(joints), truth).frames < 120


def test_the_pelvis_has_no_share_inside_its_stddev():
    joints = person() + [0.0, 0.0, 4.0]
    truth = Truth(np.arange(120) / RATE_HZ, joints, in_camera_frame=True)
    wrong = joints + 0.05
    wrong[:, [H36M17.index(name) for name in ("pelvis", "left_hip", "right_hip")]] -= 0.05
    stddev = np.full(joints.shape[:2], 0.01)
    assert compare(poses(wrong, stddev), truth).inside_stddev == 0.0


def test_a_truth_is_not_interpolated_across_a_gap():
    stamp = np.array([0.0, 0.1, 0.2, 1.2, 1.3, 1.4])
    joints = np.arange(6.0)[:, None, None] * np.ones((6, 17, 3))
    truth = Truth(stamp, joints)
    at = truth.at(np.array([-0.1, 0.05, 0.2, 0.7, 1.2, 1.25, 1.5]))[:, 0, 0]
    expected = [np.nan, 0.5, 2.0, np.nan, 3.0, 3.5, np.nan]
    np.testing.assert_allclose(at, expected)


def test_an_error_of_a_recording_names_it(tmp_path):
    class Broken:
        name = "walk"

        def errors(self, engine, lag, variant):
            raise EvaluationError("no overlap")

    with pytest.raises(EvaluationError, match="walk: no overlap"):
        evaluate_footage([Broken()], None)


def test_the_table_has_a_row_per_recording_and_method_and_their_means():
    nan = float("nan")
    errors = Errors(10, 50.0, 40.0, 4.0, 3.0, 6.0, 12.0, nan, nan)
    other = Errors(20, 60.0, 50.0, 5.0, 4.0, 7.0, 13.0, 0.02, 0.68)
    rows = {("walk", "ours"): errors, ("walk", "theirs"): other, ("run", "ours"): other}
    lines = list(error_table(rows))
    assert len(lines) == 6
    assert lines[2].startswith("| walk | ours | 50.0 | 40.0 | 6.0 | 12.0 |")
    assert lines[2].endswith("| - | - | 10 |")
    assert lines[5].startswith("| mean of 2 | ours | 55.0 | 45.0 | 6.5 | 12.5 |")
    # A figure that one recording does not tell is the mean of the others.
    assert lines[5].endswith("| 2.0 | 68.0 | 30 |")
