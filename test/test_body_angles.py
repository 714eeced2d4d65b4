"""Orientations of segments and angles of joints: frames, signs, unknown twist, continuity."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import Body, stddevs, turn

from emf_ros.body.angles import ANGLES, inner_angle, joint_angles
from emf_ros.body.orientation import Orientations, OrientationTracker, relative_to_parents
from emf_ros.body.rotations import quaternions
from emf_ros.body.segments import NAMES
from emf_ros.skeletons import H36M17

TICK_NS = 33_333_333


def oriented(joints: np.ndarray) -> Orientations:
    return OrientationTracker().update(0, [1], joints[None], stddevs())


def angles(body: Body, yaw_deg: float = 0.0) -> dict[str, float]:
    joints = body.seen(yaw_deg)[None]
    found = joint_angles(joints, stddevs(), OrientationTracker().update(0, [1], joints, stddevs()))
    return dict(zip(ANGLES, np.degrees(found.angle_rad[0]).tolist(), strict=True))


def bent_limbs() -> Body:
    """Elbows and knees that show their twist."""
    body = Body()
    for side in ("left", "right"):
        body.bend(f"{side}_elbow", "z", 60).bend(f"{side}_knee", "z", -40)
    return body


@pytest.mark.parametrize("yaw_deg", [0, 90, -135])
def test_in_a_standing_person_x_is_forward_y_up_and_z_to_the_right(yaw_deg: float) -> None:
    found = oriented(bent_limbs().seen(yaw_deg))
    body = np.array([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0]]) @ turn("y", yaw_deg)
    upright = ("pelvis", "trunk", "head", "left_upper_arm", "right_upper_arm", "left_thigh")
    for name in (*upright, "right_thigh"):
        np.testing.assert_allclose(found.rotation[0, NAMES.index(name)], body, atol=1e-9)
    forearm = found.rotation[0, NAMES.index("left_forearm")]
    np.testing.assert_allclose(forearm, body @ turn("z", 60), atol=1e-9)
    shank = found.rotation[0, NAMES.index("right_shank")]
    np.testing.assert_allclose(shank, body @ turn("z", -40), atol=1e-9)
    np.testing.assert_allclose(
        relative_to_parents(found.rotation)[0, NAMES.index("left_forearm")],
        turn("z", 60),
        atol=1e-9,
    )


CASES = [
    ("knee_flexion", "knee", "z", -50, 50),
    ("elbow_flexion", "elbow", "z", 70, 70),
    ("hip_flexion", "hip", "z", 30, 30),
    ("hip_flexion", "hip", "z", -20, -20),
]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("angle", "joint", "axis", "turned", "expected"), CASES)
def test_flexion_has_the_clinical_sign(
    side: str, angle: str, joint: str, axis: str, turned: float, expected: float
) -> None:
    body = Body() if joint in ("knee", "elbow") else bent_limbs()
    found = angles(body.bend(f"{side}_{joint}", axis, turned), 40)
    assert found[f"{side}_{angle}"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("side", "outward"), [("left", 1), ("right", -1)])
def test_abduction_is_outward_and_rotation_inward(side: str, outward: int) -> None:
    found = angles(bent_limbs().bend(f"{side}_hip", "x", outward * 25))
    assert found[f"{side}_hip_abduction"] == pytest.approx(25, abs=1e-6)
    # About the thigh's own axis, upward: the toes of the left foot turn to the right.
    found = angles(bent_limbs().bend(f"{side}_hip", "y", -outward * 20))
    assert found[f"{side}_hip_rotation"] == pytest.approx(20, abs=1e-6)
    found = angles(bent_limbs().bend(f"{side}_shoulder", "y", -outward * 20))
    assert found[f"{side}_shoulder_rotation"] == pytest.approx(20, abs=1e-6)


@pytest.mark.parametrize(("side", "outward"), [("left", 1), ("right", -1)])
def test_the_plane_of_elevation_tells_sideways_from_forward(side: str, outward: int) -> None:
    sideways = angles(bent_limbs().bend(f"{side}_shoulder", "x", outward * 80))
    assert sideways[f"{side}_shoulder_elevation"] == pytest.approx(80, abs=1e-6)
    assert sideways[f"{side}_shoulder_plane"] == pytest.approx(0, abs=1e-6)
    forward = angles(bent_limbs().bend(f"{side}_shoulder", "z", 80))
    assert forward[f"{side}_shoulder_elevation"] == pytest.approx(80, abs=1e-6)
    assert forward[f"{side}_shoulder_plane"] == pytest.approx(90, abs=1e-6)
    hanging = angles(bent_limbs())
    assert hanging[f"{side}_shoulder_elevation"] == pytest.approx(0, abs=1e-6)
    assert np.isnan(hanging[f"{side}_shoulder_plane"])


@pytest.mark.parametrize(
    ("angle", "axis", "turned"),
    [("trunk_flexion", "z", -25), ("trunk_lateral_bend", "x", 15), ("trunk_rotation", "y", 20)],
)
def test_the_trunk_bends_forward_and_right_and_turns_left(
    angle: str, axis: str, turned: float
) -> None:
    found = angles(bent_limbs().bend_trunk(axis, turned))
    assert found[angle] == pytest.approx(abs(turned), abs=1e-6)
    others = {name for name in ANGLES if name.startswith("trunk") and name != angle}
    assert all(abs(found[name]) < 1e-6 for name in others)


def test_the_twist_of_straight_limbs_and_of_forearms_is_unknown() -> None:
    found = oriented(Body().seen())
    y = 1
    for name in NAMES:
        spread = found.stddev_rad[0, NAMES.index(name)]
        is_limb = name.split("_")[-1] in ("arm", "forearm", "thigh", "shank")
        assert np.isnan(spread[y]) == is_limb, name
        assert np.isfinite(np.delete(spread, y)).all()
    bent = oriented(bent_limbs().seen())
    twist = dict(zip(NAMES, bent.stddev_rad[0, :, y].tolist(), strict=True))
    assert np.isfinite(twist["left_upper_arm"]) and np.isfinite(twist["left_thigh"])
    assert np.isnan(twist["left_forearm"])
    hanging = angles(Body())
    assert np.isnan(hanging["left_hip_rotation"]) and np.isnan(hanging["left_shoulder_rotation"])


def test_a_twist_is_continued_when_the_limb_straightens_and_no_sign_jumps() -> None:
    """The knee is bent, then straight, and the person turns round twice."""
    tracker, before = OrientationTracker(), None
    largest = 0.0
    rng = np.random.default_rng(0)
    for tick in range(240):
        body = Body()
        body.bend("left_knee", "z", -60 * max(0.0, 1 - tick / 20) - 0.5)
        joints = body.seen(3.0 * tick) + rng.normal(0, 1e-4, (17, 3))
        found = tracker.update(tick * TICK_NS, [1], joints[None], stddevs())
        q = found.quaternion[0]
        assert np.isfinite(q).all()
        if before is not None:
            assert ((q * before).sum(axis=-1) > 0).all()
            largest = max(
                largest, np.degrees(2 * np.arccos(np.clip((q * before).sum(-1), 0, 1))).max()
            )
        before = q
    # 3 degrees of the turn and 3 of the knee.
    assert largest < 7
    assert np.isnan(found.stddev_rad[0, NAMES.index("left_thigh"), 1])
    # The twist follows the pelvis while it is not known.
    thigh, pelvis = (found.rotation[0, NAMES.index(n)] for n in ("left_thigh", "pelvis"))
    assert np.degrees(np.arccos(thigh[:, 2] @ pelvis[:, 2])) < 15


def test_spreads_grow_with_the_joints_and_with_short_segments() -> None:
    joints = bent_limbs().seen()[None]
    narrow = OrientationTracker().update(0, [1], joints, stddevs()).stddev_rad
    wide = OrientationTracker().update(0, [1], joints, 2 * stddevs()).stddev_rad
    np.testing.assert_allclose(wide, 2 * narrow, rtol=1e-9)
    # The pelvis is 0.2 m wide and the trunk 0.5 m long.
    assert narrow[0, NAMES.index("pelvis"), 1] > 2 * narrow[0, NAMES.index("trunk"), 2]


def test_joints_that_are_unknown_leave_the_other_segments() -> None:
    joints = bent_limbs().seen()
    joints[H36M17.index("left_knee")] = np.nan
    found = oriented(joints)
    lost = {"left_thigh", "left_shank"}
    for name in NAMES:
        known = np.isfinite(found.rotation[0, NAMES.index(name)]).all()
        assert known == (name not in lost), name
    assert np.isnan(found.stddev_rad[0, NAMES.index("left_shank")]).all()
    nothing = OrientationTracker().update(0, [1], np.full((1, 17, 3), np.nan), stddevs())
    assert np.isnan(nothing.rotation).all() and np.isnan(nothing.stddev_rad).all()
    empty = OrientationTracker().update(0, [], np.zeros((0, 17, 3)), np.zeros((0, 17)))
    assert empty.quaternion.shape == (0, len(NAMES), 4)


def test_quaternions_are_those_of_the_matrices() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        q = rng.normal(size=4)
        q /= np.linalg.norm(q)
        x, y, z, w = q
        matrix = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        assert abs(quaternions(matrix) @ q) == pytest.approx(1, abs=1e-12)


def test_the_inner_angle_of_a_right_angle() -> None:
    points = np.array([[0.0, 1, 0], [0, 0, 0], [2, 0, 0]])
    assert np.degrees(inner_angle(*points)) == pytest.approx(90)
    assert np.isnan(inner_angle(*(points * np.nan)))
