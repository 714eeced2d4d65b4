"""Poses held against motion capture whose frame and clock are not the camera's."""

import numpy as np
import pytest

from emf_ros.skeletons import H36M17
from emf_ros.train.evaluate import EvaluationError
from emf_ros.train.footage import Errors, LabTruth, compare, read_footage, table

RATE_HZ = 30.0
LIMBS = [
    f"{side}_{joint}"
    for side in ("left", "right")
    for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
]


def person(count=120, seed=0):
    """(N, 17, 3) m: somebody whose joints swing, each in its own way."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(0, 0.3, (17, 3))
    phase, speed = rng.uniform(0, 6, (2, 17, 3))
    time = np.arange(count)[:, None, None] / RATE_HZ
    return rest + 0.1 * np.sin(speed * time + phase)


def turned(joints, seed=1):
    """The same in another frame: rotated and far away."""
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    return joints @ rotation + np.array([3.0, -2.0, 5.0])


def lab_truth(joints, clock_s=0.0, names=LIMBS):
    points = joints[:, [H36M17.index(n) for n in names]]
    return LabTruth.from_points(np.arange(len(joints)) / RATE_HZ + clock_s, points, list(names))


@pytest.mark.parametrize("clock_s", [0.0, 0.5, -0.25])
def test_neither_the_labs_frame_nor_its_clock_count_as_errors(clock_s):
    joints = person()
    errors = compare(np.arange(120) / RATE_HZ, joints, None, lab_truth(turned(joints), clock_s))
    assert errors.mpjpe_mm < 0.01 and errors.p_mpjpe_mm < 0.01
    assert errors.knee_deg < 0.01 and errors.elbow_deg < 0.01
    assert errors.acceleration_error_m_s2 < 0.01 < errors.acceleration_m_s2


def test_the_size_of_the_person_counts_in_mpjpe_alone():
    joints = person()
    errors = compare(np.arange(120) / RATE_HZ, 0.9 * joints, None, lab_truth(turned(joints)))
    assert errors.mpjpe_mm > 10 and errors.p_mpjpe_mm < 0.01


def test_one_wrong_wrist_is_an_error_of_its_joint_and_its_elbow():
    joints = person()
    wrong = joints.copy()
    wrong[:, H36M17.index("left_wrist")] += (0.12, 0.0, 0.0)
    errors = compare(np.arange(120) / RATE_HZ, wrong, None, lab_truth(turned(joints)))
    # 120 mm at one of twelve joints; the best rotation spreads some of it over the others.
    assert 5 < errors.mpjpe_mm < 25
    assert errors.knee_deg < 0.01 and errors.elbow_deg > 1


def test_the_share_inside_stddev_is_that_of_the_errors():
    rng = np.random.default_rng(3)
    joints = person(400)
    noisy = joints + rng.normal(0, 0.02, joints.shape)
    stddev = np.full(joints.shape[:2], 0.02)
    errors = compare(np.arange(400) / RATE_HZ, noisy, stddev, lab_truth(turned(joints)))
    # About the middle of the hips, whose own noise is in every difference.
    assert errors.inside_stddev == pytest.approx(0.586, abs=0.03)


def test_recordings_that_do_not_overlap_are_refused():
    truth = lab_truth(person(), clock_s=100.0)
    with pytest.raises(EvaluationError, match="overlap by less than 60%"):
        compare(np.arange(120) / RATE_HZ, person(), None, truth)


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
    truth = LabTruth.load(trc(tmp_path / "lab.trc", points, names, unit, factor))
    assert len(truth.known) == 12
    assert compare(np.arange(120) / RATE_HZ, joints, None, truth).mpjpe_mm < 0.2


def test_a_gap_in_a_trc_file_is_unknown(tmp_path):
    points = turned(person())[:, [H36M17.index(n) for n in LIMBS]]
    path = trc(tmp_path / "lab.trc", points, LIMBS)
    lines = path.read_text().splitlines()
    cells = lines[20].split("\t")
    cells[2:5] = ["", "", ""]
    lines[20] = "\t".join(cells)
    path.write_text("\n".join(lines))
    truth = LabTruth.load(path)
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
def test_a_trc_file_that_is_none_is_refused_in_one_line(tmp_path, change, message):
    points = turned(person(10))[:, [H36M17.index(n) for n in LIMBS]]
    path = trc(tmp_path / "lab.trc", points, LIMBS)
    path.write_text(change(path.read_text()))
    with pytest.raises(EvaluationError, match=f"lab.trc: .*{message}"):
        LabTruth.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth_time": np.arange(119) / 30}, "119 stamps and joints of the shape"),
        ({"truth_time": np.zeros(120)}, "do not rise"),
        ({"truth": np.zeros((120, 5, 3))}, r"truth is \(120, 5, 3\), not \(N, 12, 3\)"),
        ({"truth_joints": np.array(["x"] * 12)}, "both hips and 3 joints more; it has none"),
        ({"truth": None}, "it has no truth"),
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
        LabTruth.load(tmp_path / "t.npz")


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


def test_the_table_has_a_row_for_each_method():
    errors = Errors(10, 50.0, 40.0, 4.0, 3.0, 6.0, 12.0, float("nan"))
    other = Errors(20, 60.0, 50.0, 5.0, 4.0, 7.0, 13.0, 0.68)
    lines = list(table("people", {"ours": errors, "theirs": other}))
    assert len(lines) == 4 and "| 50.0 | 40.0 |" in lines[2] and "| - | 10 |" in lines[2]
    mean = Errors.mean([errors, other])
    assert (mean.frames, mean.mpjpe_mm) == (30, 55.0)
