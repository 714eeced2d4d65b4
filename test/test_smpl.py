"""SMPL and AMASS files with the user's body model."""

import math

import numpy as np
import pytest
from mocap_samples import SMPL_TREE, J, imported, posed, smpl_joints, smpl_motion, turn, walk, z_up

from emf_ros.io.mocap import FormatError
from emf_ros.io.mocap.joints import map_joints, to_h36m17
from emf_ros.io.mocap.skeleton import rotation_vectors
from emf_ros.skeletons import H36M17
from emf_ros.train.formats.smpl import BODY_JOINTS, load_body_model, read_smpl


@pytest.fixture
def body_model(tmp_path):
    """A body whose vertices are its joints; the shape's first number is a tenth of its size."""
    joints = smpl_joints()
    path = tmp_path / "model.npz"
    tree = np.array([SMPL_TREE, range(22)]).astype(np.uint32)
    arrays = dict(
        v_template=joints,
        shapedirs=np.stack([0.1 * joints, 0 * joints], axis=-1),
        J_regressor=np.eye(22),
        kintree_table=tree,
        weights=np.eye(22),
    )
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("rate", ["mocap_framerate", "mocap_frame_rate"])
def test_smpl_joints_are_where_explicit_transforms_put_them(tmp_path, body_model, rate):
    path = smpl_motion(tmp_path / "eva" / "walk_poses.npz", rate=rate)
    motion = read_smpl(path, load_body_model(body_model))
    poses = np.load(path)["poses"][:, :66].reshape(-1, 22, 3)
    rest = 1.05 * smpl_joints()
    local = rotation_vectors(poses)
    expected, _ = posed(local, rest[0] + z_up(walk()), rest, SMPL_TREE)
    assert motion.positions == pytest.approx(expected, abs=1e-9)
    (clip,), _ = imported(path, tmp_path, body_model=body_model)
    hips = expected[:, [BODY_JOINTS.index("left_hip"), BODY_JOINTS.index("right_hip")]].mean(1)
    for joint in ("left_knee", "right_wrist", "left_elbow"):
        relative = clip.positions[:, J(joint)] - clip.positions[:, 0]
        assert relative == pytest.approx(expected[:, BODY_JOINTS.index(joint)] - hips, abs=1.2e-3)
    assert clip.subject == "eva"


def test_up_is_z_in_smpl_files_where_the_person_lies(tmp_path, body_model):
    poses = np.zeros((8, 156))
    path = smpl_motion(tmp_path / "eva" / "lie_poses.npz", poses=poses)
    (clip,), _ = imported(path, tmp_path, body_model=body_model)
    trunk = clip.positions[:, J("thorax")] - clip.positions[:, 0]
    assert np.abs(trunk[:, 2]).max() < 0.05


def test_rotation_vectors_are_rotations():
    for axis, vector in (("x", [0.7, 0, 0]), ("y", [0, -2.1, 0]), ("z", [0, 0, 3.0])):
        expected = turn(axis, math.degrees(sum(vector)))
        assert rotation_vectors(np.array(vector)) == pytest.approx(expected)
    assert rotation_vectors(np.zeros((2, 3))) == pytest.approx(np.eye(3)[None].repeat(2, 0))
    vector = np.array([0.3, -0.4, 1.2])
    matrix = rotation_vectors(vector)
    assert matrix @ vector == pytest.approx(vector) and np.linalg.det(matrix) == pytest.approx(1)
    assert np.trace(matrix) == pytest.approx(1 + 2 * math.cos(1.3))


def test_a_regressor_gives_points_of_the_posed_surface(tmp_path, body_model):
    path = smpl_motion(tmp_path / "eva" / "walk_poses.npz")
    of_model = read_smpl(path, load_body_model(body_model))
    matrix = np.zeros((17, 22))
    for joint in H36M17.joints:
        at = joint if joint in BODY_JOINTS else {"thorax": "neck", "spine": "spine2"}.get(joint)
        matrix[J(joint), BODY_JOINTS.index(at or "head")] = 1
    matrix[J("pelvis")] = 0
    matrix[J("pelvis"), [1, 2]] = 0.5
    regressor = tmp_path / "regressor.npy"
    np.save(regressor, matrix)
    found = read_smpl(path, load_body_model(body_model, regressor))
    expected = np.einsum("pk,nkc->npc", matrix, of_model.positions)
    assert found.positions == pytest.approx(expected, abs=1e-9)
    assert to_h36m17(found, map_joints(found)) == pytest.approx(expected, abs=1e-9)


def test_smpl_needs_a_body_model_and_says_where_it_is_found(tmp_path):
    path = smpl_motion(tmp_path / "eva" / "walk_poses.npz")
    with pytest.raises(FormatError, match=r"--body-model.*smpl\.is\.tue\.mpg\.de"):
        imported(path, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trans": None}, "trans"),
        ({"mocap_framerate": None}, "mocap_framerate"),
        ({"mocap_framerate": 0.0}, "frame rate"),
        ({"poses": np.zeros((8, 30))}, "poses are"),
        ({"trans": np.zeros((7, 3))}, "trans is"),
        ({"poses": np.zeros((1, 156)), "trans": np.zeros((1, 3))}, "1 frames"),
        ({"betas": np.full(16, np.nan)}, "betas"),
        ({"betas": np.array([None, "x"], dtype=object)}, "cannot be read"),
    ],
)
def test_damaged_smpl_files_are_refused(tmp_path, body_model, changes, message):
    path = smpl_motion(tmp_path / "eva" / "walk_poses.npz", **changes)
    with pytest.raises(FormatError, match=message):
        imported(path, tmp_path, body_model=body_model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"J_regressor": None}, "no J_regressor"),
        ({"J_regressor": np.eye(21)}, "fit together"),
        ({"v_template": np.array([{}], dtype=object)}, "v_template cannot be read"),
    ],
)
def test_damaged_body_models_are_refused(body_model, changes, message):
    arrays = {**np.load(body_model), **changes}
    np.savez(body_model, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(FormatError, match=message):
        load_body_model(body_model)


def test_pickles_are_not_opened(tmp_path, body_model):
    (tmp_path / "model.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(FormatError, match="cannot be read"):
        load_body_model(tmp_path / "model.pkl")
    with pytest.raises(FormatError, match="regressor .* cannot be read"):
        load_body_model(body_model, tmp_path / "model.pkl")
