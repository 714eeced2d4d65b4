"""What a robot wants to know of people: facing, approach, posture, heights, gestures, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bodies import Body, stddevs

from emf_ros.body.columns import COLUMNS, row_of
from emf_ros.body.gesture_table import PROBABILITY
from emf_ros.body.gestures import GESTURES
from emf_ros.body.posture import POSTURES
from emf_ros.body.state import BodyState
from emf_ros.body.tracker import BodyTracker
from emf_ros.skeletons import H36M17
from emf_ros.types import Frame3D, Pose3D, TrackState

#: Height of the camera, m; it is level, so the ankles of a person who stands are 0.08 m high.
CAMERA_M = 0.88
UP = np.array([0.0, -1.0, 0.0])
#: The pelvis of a person who stands before the camera, m.
PLACE = np.array([0.0, 0.0, 4.0])
TICK_NS = 33_333_333
NOWHERE = (0.0, 0.0, 0.0)


def pose(
    joints: np.ndarray,
    velocity: tuple[float, float, float] = NOWHERE,
    track_id: int = 1,
    placed: bool = True,
) -> Pose3D:
    out = Pose3D.unknown(track_id, TrackState.TRACKED)
    out.joints, out.stddev = joints, stddevs()[0]
    out.confidence = np.isfinite(joints[:, 0]).astype(float)
    if placed:
        out.root, out.root_valid = joints[0].copy(), True
        out.root_covariance, out.velocity = 0.01 * np.eye(3), np.array(velocity)
    return out


def known_floor() -> BodyTracker:
    return BodyTracker(UP, CAMERA_M)


def after(tracker: BodyTracker, poses: list[Pose3D], first: int = 0) -> BodyState:
    """The state after several images at 30 Hz."""
    for tick, one in enumerate(poses, start=first):
        states = tracker.update(Frame3D(tick * TICK_NS, 0, [one], math.nan))
    return states[0]


def standing(yaw_deg: float = 0.0, place: np.ndarray = PLACE) -> np.ndarray:
    return Body().seen(yaw_deg, tuple(place))


def sitting() -> np.ndarray:
    body = Body()
    for side in ("left", "right"):
        body.bend(f"{side}_knee", "z", -90).bend(f"{side}_hip", "z", 90)
    return body.seen(0.0, (0.0, 0.38, 4.0))


def lying() -> np.ndarray:
    """On the back: the head away from the camera, 0.1 m over the floor."""
    joints = Body().seen()
    return np.stack([joints[:, 0], -joints[:, 2], -joints[:, 1]], -1) + [0.0, 0.78, 4.0]


@pytest.mark.parametrize("yaw_deg", [0, 60, -100, 180])
def test_facing_is_where_the_trunk_is_turned(yaw_deg: float) -> None:
    state = after(known_floor(), [pose(standing(yaw_deg))])
    yaw = math.radians(yaw_deg)
    np.testing.assert_allclose(state.facing, [math.sin(yaw), 0, -math.cos(yaw)], atol=1e-9)
    # A person turned to the own left has the camera at the right.
    assert math.cos(state.facing_camera_rad + yaw) == pytest.approx(1)
    assert math.radians(2) < state.facing_stddev_rad < math.radians(20)


def test_a_person_who_walks_past_is_closest_later_and_beside_the_camera() -> None:
    place = np.array([-2.0, 0.0, 4.0])
    state = after(known_floor(), [pose(standing(90, place), (1.0, -0.2, 0.0))])
    assert state.speed == pytest.approx(1.0) and state.velocity[1] == 0
    assert state.closest_s == pytest.approx(2.0) and state.closest_m == pytest.approx(4.0)
    leaving = after(known_floor(), [pose(standing(180), (0.0, 0.0, 1.0))])
    assert math.isnan(leaving.closest_s) and leaving.closest_m == pytest.approx(4.0)
    still = after(known_floor(), [pose(standing(), (0.0, 0.0, -0.1))])
    assert math.isnan(still.closest_s) and still.speed == pytest.approx(0.1)


def test_heights_are_over_the_known_floor_or_over_the_lower_ankle() -> None:
    known = after(known_floor(), [pose(standing(0, np.array([0.0, -0.3, 4.0])))])
    # The person has jumped: the head is 0.3 m higher.
    assert known.head_height_m == pytest.approx(CAMERA_M + 0.3 + 0.8)
    unknown = after(BodyTracker(), [pose(standing(), placed=False)])
    assert unknown.head_height_m == pytest.approx(0.08 + 0.8 + 0.8)
    np.testing.assert_allclose(unknown.hand_height_m, 0.08 + 0.75, atol=1e-9)


@pytest.mark.parametrize(
    ("joints", "velocity", "expected"),
    [
        (standing(), NOWHERE, "standing"),
        (sitting(), NOWHERE, "sitting"),
        (lying(), NOWHERE, "lying"),
        (standing(), (0.0, 0.0, 1.2), "walking"),
        (standing(), (3.5, 0.0, 0.0), "running"),
    ],
)
def test_postures_are_told_apart(
    joints: np.ndarray, velocity: tuple[float, float, float], expected: str
) -> None:
    state = after(known_floor(), [pose(joints, velocity)] * 30)
    assert state.posture == expected
    assert state.posture_probability.sum() == pytest.approx(1)
    assert state.probability(expected) > 0.6
    assert state.posture_s == pytest.approx(29 / 30, abs=0.4)
    assert np.isnan(state.facing).all() == (expected == "lying")


def test_a_posture_begins_when_it_changes() -> None:
    tracker = known_floor()
    after(tracker, [pose(standing())] * 60)
    state = after(tracker, [pose(sitting())] * 30, first=60)
    assert state.posture == "sitting"
    assert 0.5 < state.posture_s < 1.0


def in_state(one: Pose3D, state: TrackState) -> Pose3D:
    one.state = state
    return one


def test_the_first_guesses_of_a_track_have_no_posture_and_no_gesture() -> None:
    tracker = known_floor()
    guess = in_state(pose(lying()), TrackState.WARMING_UP)
    state = after(tracker, [guess] * 30)
    assert state.posture == "" and math.isnan(state.fallen) and state.gestures == ()
    assert np.isnan(state.posture_probability).all()
    state = after(tracker, [pose(standing())] * 3, first=30)
    assert state.posture == "standing" and state.fallen == 0


def test_the_posture_and_the_gesture_of_a_person_who_is_not_seen_fade() -> None:
    tracker, arm = known_floor(), with_arm(("left_shoulder", "x", 60))
    state = after(tracker, [pose(arm)] * 60)
    assert state.posture == "standing" and names(state) == {("point", "left")}
    before = state.probability("standing")
    coasting = in_state(pose(arm), TrackState.COASTING)
    state = after(tracker, [coasting] * 2, first=60)
    assert state.posture == "standing" and names(state) == {("point", "left")}
    assert state.posture_s > 1.9 and state.probability("standing") < before - 0.05
    state = after(tracker, [coasting] * 30, first=62)
    assert state.posture == "" and state.gestures == ()
    assert state.probability("standing") < 0.4


def between(start: np.ndarray, end: np.ndarray, seconds: float) -> list[Pose3D]:
    count = round(30 * seconds)
    return [pose(start + (end - start) * (i / count) ** 2) for i in range(1, count + 1)]


def test_a_fall_is_lying_that_began_fast() -> None:
    for seconds, falls in ((0.6, True), (2.5, False)):
        tracker = known_floor()
        ticks = [pose(standing())] * 30 + between(standing(), lying(), seconds)
        state = after(tracker, ticks + [pose(lying())] * 15)
        assert state.posture == "lying"
        assert (state.fallen > 0.5) == falls, seconds
        up_again = after(tracker, [pose(standing())] * 30, first=len(ticks) + 15)
        assert up_again.fallen < 0.05


@pytest.mark.parametrize("unseen_s", [0.5, 1.0, 5.0])
def test_a_fall_holds_while_the_person_is_not_seen(unseen_s: float) -> None:
    tracker, shown = known_floor(), 0

    def show(poses: list[Pose3D]) -> BodyState:
        nonlocal shown
        state, shown = after(tracker, poses, first=shown), shown + len(poses)
        return state

    def hide(joints: np.ndarray, seconds: float) -> BodyState:
        return show([in_state(pose(joints), TrackState.COASTING)] * round(30 * seconds))

    show([pose(standing())] * 30 + between(standing(), lying(), 0.6))
    fallen = show([pose(lying())] * 30).fallen
    assert hide(lying(), unseen_s).fallen < 0.5 * fallen
    assert fallen > 0.5 and show([pose(lying())] * 30).fallen == pytest.approx(fallen, abs=0.01)
    # The person rises out of sight, and lies down slowly in sight.
    hide(standing(), 1.0)
    assert show([pose(standing())] * 15).fallen < 0.05
    state = show(between(standing(), lying(), 2.5) + [pose(lying())] * 15)
    assert state.posture == "lying" and state.fallen < 0.5


def test_a_head_that_is_turned_to_the_camera_looks_at_it() -> None:
    level = np.array([0.0, 0.8, 4.0])
    towards = after(known_floor(), [pose(standing(0, level))])
    aside = after(known_floor(), [pose(standing(70, level))])
    assert abs(towards.head_yaw_rad) < 0.01 < 0.3 < towards.looking_at_camera
    # The person looks to the own left.
    assert math.degrees(aside.head_yaw_rad) == pytest.approx(70, abs=1)
    assert aside.looking_at_camera < 0.05


def with_arm(*turns: tuple[str, str, float]) -> np.ndarray:
    body = Body()
    for joint, axis, degrees in turns:
        body.bend(joint, axis, degrees)
    return body.seen(0.0, tuple(PLACE))


def names(state: BodyState) -> set[tuple[str, str]]:
    return {(gesture.name, gesture.arm) for gesture in state.gestures}


def test_an_arm_that_is_stretched_points_and_one_towards_the_camera_stops() -> None:
    sideways = with_arm(("left_shoulder", "x", 60))
    state = after(known_floor(), [pose(sideways)] * 40)
    assert names(state) == {("point", "left")}
    assert state.pointing is not None
    # The person faces the camera: the own left is the image's right. The arm points down.
    assert state.pointing.direction[0] > 0.5 and state.pointing.direction[1] > 0
    assert state.pointing.target[1] == pytest.approx(CAMERA_M, abs=1e-9)
    towards = with_arm(("right_shoulder", "z", 85))
    assert names(after(known_floor(), [pose(towards)] * 40)) == {("stop", "right")}
    # Without a place in the camera's frame the direction to the camera is not known.
    unplaced = after(BodyTracker(), [pose(towards - PLACE, placed=False)] * 40)
    assert names(unplaced) == {("point", "right")}
    assert unplaced.pointing is not None and np.isnan(unplaced.pointing.target).all()
    # Nor where the joints happen to be away from the origin.
    assert names(after(BodyTracker(), [pose(towards, placed=False)] * 40)) == {("point", "right")}


def test_hands_are_raised_alone_and_together() -> None:
    one = after(known_floor(), [pose(with_arm(("left_shoulder", "z", 165)))] * 40)
    assert names(one) == {("raise_hand", "left")}
    assert one.hand_raised[0] > 0.95 and one.hand_raised[1] < 0.05
    both = with_arm(("left_shoulder", "z", 165), ("right_shoulder", "z", 165))
    assert names(after(known_floor(), [pose(both)] * 40)) == {("hands_up", "both")}
    resting = after(known_floor(), [pose(standing())] * 40)
    assert names(resting) == set() and resting.pointing is None


@pytest.mark.parametrize(
    ("turns", "name"),
    [
        ([("left_shoulder", "x", 60)], "point"),
        ([("right_shoulder", "z", 85)], "stop"),
        ([("left_shoulder", "z", 165)], "raise_hand"),
        ([("left_shoulder", "z", 165), ("right_shoulder", "z", 165)], "hands_up"),
    ],
)
def test_a_gesture_says_how_often_people_with_its_evidence_are_right(
    turns: list[tuple[str, str, float]], name: str
) -> None:
    state = after(known_floor(), [pose(with_arm(*turns))] * 90)
    # A pose that is held for 3 s has all of its evidence.
    measured = PROBABILITY[GESTURES.index(name)][-1]
    assert state.probability(name) == pytest.approx(measured, abs=0.02)
    assert [g.probability for g in state.gestures] == [state.probability(name)]
    assert all(np.diff(chances).min() >= 0 for chances in PROBABILITY)


@pytest.mark.parametrize("rate_hz", [10, 30])
def test_a_forearm_that_swings_waves_at_any_rate(rate_hz: int) -> None:
    tracker, waved = known_floor(), None
    for tick in range(3 * rate_hz):
        swing = 30 * math.sin(2 * math.pi * 1.5 * tick / rate_hz)
        arm = with_arm(("left_elbow", "x", 90 + swing), ("left_shoulder", "x", 80))
        state = tracker.update(Frame3D(round(tick * 1e9 / rate_hz), 0, [pose(arm)], math.nan))[0]
        if ("wave", "left") in names(state):
            waved = waved or tick / rate_hz
    assert waved is not None and waved < 2.0
    # The hand is held still: the wave ends.
    for tick in range(3 * rate_hz, 5 * rate_hz):
        state = tracker.update(Frame3D(round(tick * 1e9 / rate_hz), 0, [pose(arm)], math.nan))[0]
    assert not any(name == "wave" for name, _ in names(state))


def test_a_forearm_that_beckons_does_not_wave() -> None:
    tracker = known_floor()
    for tick in range(90):
        swing = 30 * math.sin(2 * math.pi * 1.3 * tick / 30)
        # The arm is raised forward and a little outward. The forearm swings to the person.
        turns = (("left_elbow", "z", 75 + swing), ("left_shoulder", "z", 60))
        arm = with_arm(*turns, ("left_shoulder", "y", 30))
        state = tracker.update(Frame3D(tick * TICK_NS, 0, [pose(arm)], math.nan))[0]
        assert not any(name == "wave" for name, _ in names(state)), tick


def test_an_arm_beside_the_body_of_a_person_who_lies_does_not_point() -> None:
    assert names(after(known_floor(), [pose(lying())] * 40)) == set()


def test_an_arm_that_is_hidden_for_a_moment_does_not_end_the_gestures_of_the_other() -> None:
    tracker, raised = known_floor(), with_arm(("left_shoulder", "x", 150))
    half = raised.copy()
    half[[H36M17.index("right_elbow"), H36M17.index("right_wrist")]] = np.nan
    after(tracker, [pose(half)] * 2)
    state = after(tracker, [pose(raised)] * 40, first=2)
    assert names(state) == {("raise_hand", "left")}
    state = after(tracker, [pose(half)] * 40, first=42)
    assert names(state) == {("raise_hand", "left")}


def test_a_gesture_that_is_shown_for_a_moment_is_none() -> None:
    tracker = known_floor()
    after(tracker, [pose(standing())] * 30)
    for tick in range(30, 34):
        punch = pose(with_arm(("right_shoulder", "z", 85)))
        state = tracker.update(Frame3D(tick * TICK_NS, 0, [punch], math.nan))[0]
        assert state.gestures == ()


# ---------------------------------------------------------------------------------- bad input


def test_without_legs_there_is_no_posture_but_facing_and_gestures() -> None:
    joints = with_arm(("left_shoulder", "x", 60))
    for joint in H36M17.joints:
        if joint.endswith(("knee", "ankle")):
            joints[H36M17.index(joint)] = np.nan
    state = after(known_floor(), [pose(joints)] * 40)
    assert state.posture == "" and np.isnan(state.posture_probability).all()
    assert math.isnan(state.posture_s) and math.isnan(state.fallen)
    assert np.isfinite(state.facing).all() and names(state) == {("point", "left")}


def test_without_intrinsics_metres_are_unknown_and_angles_known() -> None:
    raised = with_arm(("left_shoulder", "z", 165), ("right_elbow", "z", 60)) - PLACE
    state = after(BodyTracker(), [pose(raised, placed=False)] * 40)
    assert names(state) == {("raise_hand", "left")} and state.hand_raised[0] > 0.95
    assert state.angle("right_elbow_flexion") == pytest.approx(math.radians(60), abs=0.01)
    state = after(BodyTracker(), [pose(standing(30) - PLACE, placed=False)] * 10)
    assert np.isnan(state.velocity).all() and math.isnan(state.speed)
    assert math.isnan(state.closest_s) and math.isnan(state.closest_m)
    assert math.isnan(state.facing_camera_rad) and math.isnan(state.looking_at_camera)
    assert np.isfinite(state.facing).all() and state.posture == "standing"
    assert np.isfinite(state.orientation).all()


def at_5_hz(tracker: BodyTracker, poses: list[Pose3D], first: int = 0) -> BodyState:
    for tick, one in enumerate(poses, start=first):
        states = tracker.update(Frame3D(tick * 200_000_000, 0, [one], math.nan))
    return states[0]


def test_postures_falls_and_held_gestures_are_known_at_5_hz() -> None:
    tracker = known_floor()
    state = at_5_hz(tracker, [pose(with_arm(("left_shoulder", "x", 60)))] * 8)
    assert names(state) == {("point", "left")} and state.posture == "standing"
    at_5_hz(tracker, [pose(sitting())] * 8, first=8)
    assert at_5_hz(tracker, [pose(sitting())], first=16).posture == "sitting"
    tracker = known_floor()
    at_5_hz(tracker, [pose(standing())] * 8)
    # A fall of 0.8 s.
    ways = [pose(standing() + (lying() - standing()) * share) for share in (0.1, 0.4, 0.8)]
    state = at_5_hz(tracker, ways + [pose(lying())] * 4, first=8)
    assert state.posture == "lying" and state.fallen > 0.5


def test_a_base_that_moves_without_a_transform_meets_people_in_time() -> None:
    # The robot drives at 0.8 m/s to a person who stands: in its camera the person comes.
    tracker = known_floor()
    poses = [
        pose(standing(0, PLACE - [0.3, 0.0, 0.8 * tick / 30]), (0.0, 0.0, -0.8))
        for tick in range(45)
    ]
    state = after(tracker, poses)
    assert state.closest_s == pytest.approx((4.0 - 0.8 * 44 / 30) / 0.8, abs=0.01)
    assert state.closest_m == pytest.approx(0.3, abs=0.01)
    # The velocity is that in the camera's frame, so it has the robot's own.
    np.testing.assert_allclose(state.velocity, [0.0, 0.0, -0.8], atol=1e-9)
    assert np.isfinite(state.facing).all() and state.head_height_m == pytest.approx(1.68, abs=0.02)


def test_a_person_of_whom_nothing_is_known_has_nothing() -> None:
    unknown = Pose3D.unknown(1, TrackState.COASTING)
    state = after(known_floor(), [unknown])
    assert state.posture == "" and state.gestures == () and state.pointing is None
    for name, value in vars(state).items():
        if isinstance(value, (float, np.ndarray)):
            assert np.isnan(value).all(), name


def test_ended_tracks_and_empty_frames_give_nothing_and_ids_stay_apart() -> None:
    tracker = known_floor()
    ended = Pose3D.unknown(3, TrackState.ENDED)
    assert tracker.update(Frame3D(0, 0, [ended], math.nan)) == []
    assert tracker.update(Frame3D(TICK_NS, 0, [], math.nan)) == []
    for tick in range(2, 40):
        people = [pose(sitting(), track_id=5), pose(standing(), track_id=2)]
        if tick % 2:
            people.reverse()
        states = tracker.update(Frame3D(tick * TICK_NS, 0, people, math.nan))
    assert {state.track_id: state.posture for state in states} == {2: "standing", 5: "sitting"}


def test_people_in_one_pass_have_the_answers_of_each_alone() -> None:
    rng = np.random.default_rng(0)
    shapes = [standing(40), sitting(), with_arm(("left_shoulder", "x", 60)), lying()]
    together, alone = known_floor(), [known_floor() for _ in shapes]
    # The evidence for a gesture of a person who is new counts from the last image of anybody.
    columns = [i for i, name in enumerate(COLUMNS) if not name.startswith("gesture_prob")]
    for tick in range(40):
        people = []
        for number, shape in enumerate(shapes):
            joints = shape + rng.normal(0, 0.01, shape.shape)
            joints[rng.random(len(joints)) < 0.1] = np.nan
            people.append(pose(joints, (0.1, 0.0, -0.3), number))
            if rng.random() < 0.1:
                people[-1].state = TrackState.COASTING
        # People come, go, and change their places in the message.
        people = [people[i] for i in rng.permutation(len(people)) if rng.random() < 0.9]
        states = together.update(Frame3D(tick * TICK_NS, 0, people, math.nan))
        assert len(states) == len(people)
        for state, person in zip(states, people, strict=True):
            own = alone[person.track_id]
            lonely = own.update(Frame3D(tick * TICK_NS, 0, [person], math.nan))[0]
            np.testing.assert_allclose(row_of(state)[columns], row_of(lonely)[columns], atol=1e-6)
        for number in {*range(len(shapes))} - {person.track_id for person in people}:
            # Those who are not in the image are forgotten by both.
            alone[number] = known_floor()


def test_one_image_and_stamps_that_jump_give_a_state() -> None:
    tracker = known_floor()
    for stamp in (0, 10**12, 5 * 10**11, 5 * 10**11, 0):
        state = tracker.update(Frame3D(stamp, 0, [pose(standing())], math.nan))[0]
        assert state.posture == "standing" and state.posture_s >= 0
        assert state.gestures == ()


def test_a_name_that_does_not_exist_is_refused() -> None:
    state = after(known_floor(), [pose(standing())])
    assert math.isfinite(state.angle("left_knee_flexion"))
    assert state.segment("pelvis").shape == (4,)
    assert 0 <= state.probability("wave") <= 1
    with pytest.raises(ValueError, match="left_knee_flexion"):
        state.angle("knee")
    with pytest.raises(ValueError, match=POSTURES[0]):
        state.probability("flying")
    with pytest.raises(ValueError, match="pelvis"):
        state.segment("foot")
