"""The URDF of a person: what forward kinematics makes of it and of the positions of its joints."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bodies import Body, stddevs
from urdf_forward import Urdf

from emf_ros.body.angles import ANGLES, joint_angles
from emf_ros.body.chain import CHAIN, LENGTHS, chain_positions, completed, lengths_of
from emf_ros.body.orientation import OrientationTracker
from emf_ros.body.rotations import matrices, quaternions
from emf_ros.body.urdf import LINK_OF, limits_of, urdf_of
from emf_ros.skeletons import H36M17

#: x forward, y to the left, z up, in the axes of ISB.
REP_103 = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def seen(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quaternions (S, 4), lengths (11,) and positions (31,) of a body (17, 3)."""
    quaternion = OrientationTracker().update(0, [1], joints[None], stddevs()).quaternion
    lengths = lengths_of(quaternion, joints[None])[0]
    trunk = completed(lengths)[[LENGTHS.index("trunk")]]
    return quaternion[0], lengths, chain_positions(quaternion, joints[None], trunk)[0]


def rebuilt(joints: np.ndarray) -> np.ndarray:
    """(17, 3) the joints as a consumer of URDF, joint states and the frame `body` gets them."""
    quaternion, lengths, positions = seen(joints)
    known = {f"{n}_b7": p for n, p in zip(CHAIN, positions.tolist(), strict=True) if p == p}
    turn = matrices(quaternion[0]) @ REP_103
    links = Urdf(urdf_of("b7", completed(lengths))).forward(known, joints[0], turn)
    unknown = (np.full(3, np.nan), np.eye(3))
    return np.array([links.get(f"{LINK_OF[j]}_b7", unknown)[0] for j in H36M17.joints])


def bent(side: str) -> Body:
    """A body of which nothing is straight and no two sides are alike."""
    body = Body().bend(f"{side}_elbow", "z", 70).bend(f"{side}_shoulder", "x", 50)
    body.bend(f"{side}_shoulder", "y", 40).bend(f"{side}_knee", "z", -60)
    body.bend(f"{side}_hip", "z", 80).bend(f"{side}_hip", "x", 15).bend(f"{side}_hip", "y", 20)
    return body.bend_trunk("z", -25).bend_trunk("x", 12).bend_trunk("y", 18)


POSES = {
    "upright": Body(),
    "bent_left": bent("left"),
    "bent_right": bent("right"),
    "arm_overhead": Body().bend("left_shoulder", "z", 180),
    "arm_behind": Body().bend("right_elbow", "z", 30).bend("right_shoulder", "z", -40),
    "leg_aside": Body().bend("right_hip", "x", -89),
    # A knee that bends sideways is no knee, but a lifter may give one.
    "impossible": Body().bend("left_knee", "x", 30).bend("right_elbow", "x", 40),
}


@pytest.mark.parametrize("name", POSES)
def test_forward_kinematics_gives_the_joints_back(name: str) -> None:
    joints = POSES[name].seen(35, (0.3, 0.2, 4.0))
    error_m = np.linalg.norm(rebuilt(joints) - joints, axis=-1)
    # The nose and the spine lie a little off where a rigid head and pelvis have them.
    bound_m = np.array([0.02 if joint in ("nose", "spine") else 1e-5 for joint in H36M17.joints])
    assert (error_m <= bound_m).all(), dict(zip(H36M17.joints, error_m.tolist(), strict=True))


def test_in_the_zero_pose_a_person_stands_upright_with_hanging_arms() -> None:
    urdf = Urdf(urdf_of("b7", completed(np.full(len(LENGTHS), np.nan))))
    assert urdf.root == "body_b7"
    assert urdf.limits.keys() == {f"{joint}_b7" for joint in CHAIN}
    links = urdf.forward(dict.fromkeys(urdf.limits, 0.0))
    at = {joint: links[f"{link}_b7"][0] for joint, link in LINK_OF.items()}
    for joint, link in LINK_OF.items():
        np.testing.assert_allclose(links[f"{link}_b7"][1], np.eye(3), atol=1e-6, err_msg=joint)
    for sign, side in ((1, "left"), (-1, "right")):
        hip, knee, ankle = (at[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
        shoulder, elbow, wrist = (at[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
        assert sign * hip[1] > 0.05 and sign * shoulder[1] > 0.1
        np.testing.assert_allclose([hip[:2], hip[:2]], [knee[:2], ankle[:2]], atol=1e-9)
        np.testing.assert_allclose([shoulder[:2]] * 2, [elbow[:2], wrist[:2]], atol=1e-9)
        assert ankle[2] < knee[2] < wrist[2] < elbow[2] < shoulder[2] and hip[2] == 0
    assert at["nose"][0] > 0.03 and at["thorax"][2] < at["nose"][2] < at["head_top"][2]


@pytest.mark.parametrize("side", ["left", "right"])
def test_joints_have_the_values_of_the_clinical_angles(side: str) -> None:
    joints = bent(side).seen(-60)
    turned = OrientationTracker().update(0, [1], joints[None], stddevs())
    clinical = dict(
        zip(ANGLES, joint_angles(joints[None], stddevs(), turned).angle_rad[0], strict=True)
    )
    chain = dict(zip(CHAIN, seen(joints)[2], strict=True))
    known = [name for name, angle in clinical.items() if np.isfinite(angle)]
    assert {f"{side}_hip_rotation", f"{side}_shoulder_plane", "trunk_flexion"} <= set(known)
    for name in known:
        assert chain[name] == pytest.approx(clinical[name], abs=1e-9), name


def test_limits_hold_what_people_do_and_zero() -> None:
    for body in (POSES["upright"], bent("left"), bent("right")):
        for joint, position in zip(CHAIN, seen(body.seen())[2].tolist(), strict=True):
            low, high = limits_of(joint)
            assert low <= position + 1e-9 and position - 1e-9 <= high, joint
            assert low <= 0 <= high


def test_what_is_not_seen_has_no_position_and_the_rest_stays() -> None:
    joints = bent("left").seen(0, (0, 0, 4.0))
    whole = seen(joints)[2]
    joints[[H36M17.index("left_wrist"), H36M17.index("right_ankle")]] = np.nan
    positions = seen(joints)[2]
    gone = {CHAIN[i] for i in np.flatnonzero(np.isnan(positions))}
    assert gone == {
        *("left_elbow_flexion", "left_elbow_abduction"),
        *("right_knee_flexion", "right_knee_abduction"),
    }
    # The elbow no longer shows the twist of the upper arm, nor the knee that of the thigh.
    twists = {"left_shoulder_rotation", "right_hip_rotation", "right_hip_flexion"}
    kept = [i for i, name in enumerate(CHAIN) if name not in gone | twists]
    np.testing.assert_allclose(positions[kept], whole[kept], atol=1e-6)
    there = np.isfinite(rebuilt(joints)).all(axis=-1)
    # The frames of forearm and shank, whose turns are unknown, and those at their ends.
    lost = {"left_elbow", "left_wrist", "right_knee", "right_ankle"}
    assert {H36M17.joints[i] for i in np.flatnonzero(~there)} == lost


def test_a_body_of_which_nothing_is_known_has_typical_lengths_and_no_positions() -> None:
    joints = np.full((17, 3), np.nan)
    _, lengths, positions = seen(joints)
    assert np.isnan(lengths).all() and np.isnan(positions).all()
    assert np.isfinite(completed(lengths)).all()


def test_unknown_lengths_follow_the_size_of_the_known_ones() -> None:
    joints = Body().seen()
    joints[[H36M17.index(f"{side}_ankle") for side in ("left", "right")]] = np.nan
    _, lengths, _ = seen(joints)
    _, large, _ = seen(1.3 * joints)
    shank = LENGTHS.index("shank")
    assert math.isnan(lengths[shank]) and lengths[LENGTHS.index("thigh")] == pytest.approx(0.4)
    assert completed(large)[shank] == pytest.approx(1.3 * completed(lengths)[shank])


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -0.4])
def test_a_length_that_is_none_is_refused(bad: float) -> None:
    lengths = completed(np.full(len(LENGTHS), np.nan))
    lengths[LENGTHS.index("thigh")] = bad
    with pytest.raises(ValueError, match="the length thigh"):
        urdf_of("b7", lengths)


def test_matrices_are_the_inverse_of_quaternions() -> None:
    turns = matrices(
        OrientationTracker().update(0, [1], bent("left").seen()[None], stddevs()).quaternion
    )
    np.testing.assert_allclose(matrices(quaternions(turns)), turns, atol=1e-12)
    np.testing.assert_allclose(
        np.swapaxes(turns, -1, -2) @ turns, np.broadcast_to(np.eye(3), turns.shape), atol=1e-12
    )
