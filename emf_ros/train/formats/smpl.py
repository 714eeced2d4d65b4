"""Parameters of SMPL, SMPL-H and SMPL-X bodies over time, as AMASS publishes them (.npz)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...io.mocap import FormatError
from ...io.mocap.rate import check_rate
from ...io.mocap.skeleton import Motion, Skeleton, refuse_too_large, rotation_vectors
from ...skeletons import H36M17
from .npz import UNREADABLE, array_names, checked_numbers, load_arrays

#: Joints that the three models share, in their order. Hands and face follow.
BODY_JOINTS = (
    *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2"),
    *("left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar"),
    *("right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
    *("left_wrist", "right_wrist"),
)

_WHERE = (
    "The body models are given out at smpl.is.tue.mpg.de, mano.is.tue.mpg.de (SMPL-H) and "
    "smpl-x.is.tue.mpg.de after registration, under terms of their own; the .npz is needed, since "
    "the .pkl may run any program when it is opened"
)


@dataclass(frozen=True)
class BodyModel:
    """The part of a body model that decides the positions of the joints.

    Attributes:
        template: (V, 3) m, the mean body in its rest pose, y up, looking along z.
        shapes: (V, 3, B) m for each unit of the shape parameters.
        regressor: (K, V) from vertices to joints.
        parents: (K,), -1 for the pelvis.
        weights: (V, K) by which joints carry the vertices along; None where the file has none.
        h36m17: (17, V) from vertices to h36m17; None to take the model's own joints.
    """

    template: np.ndarray
    shapes: np.ndarray
    regressor: np.ndarray
    parents: tuple[int, ...]
    weights: np.ndarray | None = None
    h36m17: np.ndarray | None = None


def _array(path: Path, name: str) -> np.ndarray:
    try:
        return load_arrays(path, [name])[name]
    except FormatError as error:
        raise FormatError(f"the body model {path} cannot be read: {error}. {_WHERE}") from None


def _numbers(path: Path, name: str) -> np.ndarray:
    return checked_numbers(f"the body model {path}: {name}", _array(path, name))


def load_body_model(path: str | Path, h36m17_regressor: str | Path | None = None) -> BodyModel:
    """Read a body model; pickled files and pickled arrays are not opened.

    Args:
        path: .npz with v_template, shapedirs, J_regressor and kintree_table, and with weights where
            a regressor is given.
        h36m17_regressor: .npy (17, V), rows in the order of h36m17.

    Raises:
        FormatError: a file cannot be read, or its arrays do not fit together.
    """
    path = Path(path)
    template, shapes = _numbers(path, "v_template"), _numbers(path, "shapedirs")
    regressor, tree = _numbers(path, "J_regressor"), _array(path, "kintree_table")
    if tree.dtype.kind not in "iu":
        raise FormatError(f"the body model {path}: kintree_table is of {tree.dtype}")
    if not template.ndim or not regressor.ndim:
        raise FormatError(f"the body model {path} has single numbers in place of arrays")
    vertices, joints = len(template), len(regressor)
    if (
        template.shape != (vertices, 3)
        or shapes.ndim != 3
        or shapes.shape[:2] != (vertices, 3)
        or regressor.shape != (joints, vertices)
        or tree.shape != (2, joints)
        or joints < len(BODY_JOINTS)
    ):
        raise FormatError(
            f"the body model {path} does not fit together: v_template {template.shape}, shapedirs "
            f"{shapes.shape}, J_regressor {regressor.shape}, kintree_table {tree.shape}"
        )
    # The pelvis's parent is written as -1 in an unsigned type.
    parents = (-1, *(int(p) for p in tree[0, 1:]))
    if h36m17_regressor is None:
        return BodyModel(template, shapes, regressor, parents)
    weights = _numbers(path, "weights")
    try:
        to_h36m17 = np.load(h36m17_regressor, allow_pickle=False)
    except UNREADABLE as error:
        raise FormatError(f"the regressor {h36m17_regressor} cannot be read: {error}") from None
    if to_h36m17.shape != (len(H36M17), vertices) or weights.shape != (vertices, joints):
        raise FormatError(
            f"the regressor {h36m17_regressor} is {to_h36m17.shape}, the body model's weights are "
            f"{weights.shape}; they must be {(len(H36M17), vertices)} and {(vertices, joints)}"
        )
    return BodyModel(template, shapes, regressor, parents, weights, to_h36m17)


def read_smpl(path: str | Path, model: BodyModel | None) -> Motion:
    """Read a motion file of AMASS.

    Args:
        path: .npz with poses (N, 3 K) rad, trans (N, 3) m, betas and mocap_framerate or
            mocap_frame_rate. Hands and face are not used.
        model: the body. One whose sex is not the file's makes limbs a few percent too long or
            too short.

    Raises:
        FormatError: there is no model, the file is damaged, or it has fewer than two frames.
    """
    if model is None:
        raise FormatError(
            "holds SMPL parameters, which are lengths only together with a body model: give "
            f"--body-model FILE.npz. {_WHERE}"
        )
    poses, trans, betas, rate_hz = _parameters(Path(path))
    rest_vertices = (
        model.template + model.shapes[..., : len(betas)] @ betas[: model.shapes.shape[2]]
    )
    rest = model.regressor @ rest_vertices
    joints = len(rest)
    offsets = rest - np.where(
        np.array(model.parents)[:, None] < 0, 0.0, rest[np.maximum(model.parents, 0)]
    )
    extra = (f"joint_{i}" for i in range(len(BODY_JOINTS), joints))
    skeleton = Skeleton((*BODY_JOINTS, *extra), model.parents, offsets)
    refuse_too_large(skeleton.names, len(poses))
    vectors = np.zeros((len(poses), joints, 3))
    vectors[:, : len(BODY_JOINTS)] = poses[:, : len(BODY_JOINTS)]
    translations = np.broadcast_to(offsets, (len(poses), joints, 3)).copy()
    translations[:, 0] += trans
    positions, orientations = skeleton.pose(rotation_vectors(vectors), translations)
    motion = Motion(
        skeleton.names,
        skeleton.parents,
        positions,
        orientations,
        rest,
        rate_hz,
        unit_m=1.0,
        up="z",
    )
    return motion if model.h36m17 is None else _regressed(motion, model, rest_vertices)


def _parameters(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(N, K, 3) rad, (N, 3) m, (B,) and Hz of a file."""
    rates = ("mocap_framerate", "mocap_frame_rate")
    names = array_names(path)
    rate_name = next((name for name in rates if name in names), rates[0])
    arrays = load_arrays(path, ("poses", "trans", "betas", rate_name))
    poses, trans, betas, rate = (checked_numbers(n, array) for n, array in arrays.items())
    if rate.size != 1:
        raise FormatError(f"{rate_name} is {rate.shape}, not one number")
    rate_hz = float(rate.ravel()[0])
    frames, least = len(poses) if poses.ndim else 0, 3 * len(BODY_JOINTS)
    if poses.ndim != 2 or poses.shape[1] < least or poses.shape[1] % 3:
        raise FormatError(f"poses are {poses.shape}, not (frames, {least} or more)")
    if trans.shape != (frames, 3):
        raise FormatError(f"trans is {trans.shape}, not ({frames}, 3)")
    if frames < 2:
        raise FormatError(f"has {frames} frames, no motion")
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise FormatError(f"{rate_hz} is no frame rate")
    check_rate(rate_hz, f"its {rate_name}")
    # Some files repeat the shape for every frame.
    betas = betas[0] if betas.ndim == 2 and len(betas) else betas.ravel()
    if not np.isfinite(betas).all():
        raise FormatError("betas are not finite")
    return poses.reshape(frames, -1, 3), trans, betas, rate_hz


def _regressed(motion: Motion, model: BodyModel, rest_vertices: np.ndarray) -> Motion:
    """The points of the regressor instead of the model's joints.

    Linear blend skinning is linear in the joints' transforms, so that the vertices need not be
    posed: each regressed point is a weighted sum over joints, whose weights do not change. The
    small corrections of the surface with the pose are left out.
    """
    assert model.weights is not None and model.h36m17 is not None
    share = model.h36m17 @ model.weights
    local = np.einsum("pv,vk,vc->pkc", model.h36m17, model.weights, rest_vertices, optimize=True)
    rest = np.einsum("pkc->pc", local)
    local = local - share[..., None] * motion.rest
    positions = np.einsum("nkij,pkj->npi", motion.orientations, local, optimize=True)
    positions += np.einsum("pk,nkc->npc", share, motion.positions, optimize=True)
    upright = np.broadcast_to(np.eye(3), (*positions.shape[:2], 3, 3))
    return Motion(
        H36M17.joints,
        H36M17.parents,
        positions,
        upright,
        rest,
        motion.rate_hz,
        naming="h36m17",
        unit_m=1.0,
        up="z",
    )
