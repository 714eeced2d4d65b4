"""The real skeleton_lifter process over DDS, fed with what a real detector found."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import (
    FRAME_NS,
    FRAME_SIZE,
    camera_info_message,
    points,
    set_stamp,
    stamp_ns,
    wait_for,
)

SECOND = 1_000_000_000
FRAME_ID = "head_camera_optical_frame"


class Lifter:
    """A lifter process, what it publishes, and a hand that feeds it frame after frame.

    Frames go one at a time, the next when the last one's skeletons are there: nothing is lost or
    merged, however slow the machine.
    """

    def __init__(
        self, ros: Any, process: Any, diagnostics: Any, keypoints: list, camera: str = ""
    ) -> None:
        from sensor_msgs.msg import CameraInfo
        from visualization_msgs.msg import MarkerArray

        from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray

        self.process, self.ros, self._recorded = process, ros, keypoints
        self.diagnostics = diagnostics(process.topic("skeleton_lifter"))
        prefix = f"{camera}/" if camera else ""
        self.skeletons = ros.listen(Skeleton3DArray, process.topic(f"{prefix}skeletons"))
        self.markers = ros.listen(MarkerArray, process.topic(f"{prefix}markers"))
        self._keypoints = ros.publisher(Skeleton2DArray, process.topic(f"{prefix}keypoints"))
        self._info = ros.publisher(CameraInfo, process.topic(f"{prefix}camera_info"))
        self.now = time.time_ns() // SECOND * SECOND
        self.index = 0
        self._ids = iter(range(100, 1_000_000, 10))

    def connect(self, info: bool = True) -> Lifter:
        """Feed until the wire stands, with intrinsics unless told otherwise."""
        wait_for(lambda: self._keypoints.get_subscription_count() == 1, "the lifter listens")
        wait_for(lambda: self.ros.node.count_publishers(self.skeletons.topic) == 1, "it publishes")
        people = self.new_ids()

        def answered() -> bool:
            message = self.make(people)
            if info:
                self.send_info(camera_info_message())
            self._keypoints.publish(message)
            time.sleep(0.1)
            return any(
                not info or skeleton.root_valid
                for array in self.skeletons.messages
                for skeleton in array.skeletons
            )

        wait_for(answered, "a first answer")
        return self

    def new_ids(self) -> tuple[int, int]:
        """Track ids that were never used: their windows start empty."""
        first = next(self._ids)
        return first, first + 1

    def send_info(self, message: Any) -> None:
        self._info.publish(message)

    def make(self, ids: tuple[int, ...], step_ns: int = FRAME_NS) -> Any:
        """The next frame's message; back and forth through the recorded ones, so nobody jumps."""
        from emf_ros_msgs.msg import Keypoint2D, Skeleton2D, Skeleton2DArray

        count = len(self._recorded)
        at = self.index % (2 * count)
        people = self._recorded[at if at < count else 2 * count - 1 - at]
        self.index += 1
        self.now += step_ns
        message = Skeleton2DArray(
            layout="blazepose33", image_width=FRAME_SIZE[0], image_height=FRAME_SIZE[1]
        )
        message.header.frame_id = FRAME_ID
        set_stamp(message, self.now)
        for track_id, (_, keypoints, score) in zip(ids, people, strict=False):
            message.skeletons.append(
                Skeleton2D(
                    track_id=track_id,
                    score=score,
                    keypoints=[Keypoint2D(x=x, y=y, score=s) for x, y, s in keypoints.tolist()],
                )
            )
        return message

    def send(self, message: Any) -> Any:
        """Publish keypoints that must be answered; the answer to them."""
        self._keypoints.publish(message)
        return wait_for(lambda: self.answer_to(message), "an answer to keypoints")

    def answer_to(self, message: Any) -> Any:
        """The skeletons whose newest keypoints are these, or None."""
        for answer in self.skeletons.messages[:-20:-1]:
            lag = answer.lag.sec * SECOND + answer.lag.nanosec
            if stamp_ns(answer) + lag == stamp_ns(message):
                return answer
        return None

    def send_refused(self, message: Any, counter: str, times: int = 1) -> None:
        """Publish keypoints that must be counted."""
        wait_for(self.diagnostics.last, "diagnostics")
        before = self.diagnostics.count(counter)
        self._keypoints.publish(message)
        wait_for(lambda: self.diagnostics.count(counter) >= before + times, f"count of {counter}")

    def feed(self, ids: tuple[int, ...], frames: int = 1) -> Any:
        """Answer to the last of some good frames."""
        answer = None
        for _ in range(frames):
            answer = self.send(self.make(ids))
        return answer

    def feed_until(self, ids: tuple[int, ...], condition: Callable[[Any], Any], what: str) -> Any:
        """Good frames until an answer meets the condition; that answer."""
        for _ in range(300):
            answer = self.feed(ids)
            if condition(answer):
                return answer
        pytest.fail(f"300 frames and not once: {what}")

    def assert_goes_on(self) -> None:
        """Good keypoints of new people still become good skeletons."""
        ids = self.new_ids()
        answer = self.feed_until(
            ids, lambda a: all(i in by_id(a) and by_id(a)[i].root_valid for i in ids), "both lifted"
        )
        assert self.process.alive
        for track_id in ids:
            assert_plausible(by_id(answer)[track_id])


def by_id(message: Any) -> dict[int, Any]:
    """Skeletons that have not ended, by id; no id is there twice."""
    living = [s for s in message.skeletons if s.tracking_state != s.ENDED]
    assert len({s.track_id for s in living}) == len(living)
    return {s.track_id: s for s in living}


def joints(skeleton: Any) -> np.ndarray:
    """(17, 3) m."""
    return points(j.position for j in skeleton.joints)


def root(skeleton: Any) -> np.ndarray:
    """(3,) m."""
    return points([skeleton.root])[0]


def states(lifter: Lifter, track_id: int) -> list[int]:
    """Every tracking state that was published of an id, in order."""
    return [
        s.tracking_state
        for message in list(lifter.skeletons.messages)
        for s in message.skeletons
        if s.track_id == track_id
    ]


def assert_plausible(skeleton: Any) -> None:
    """A person a few metres in front of the camera, of a person's size."""
    assert skeleton.root_valid
    assert 1.0 < skeleton.root.z < 20.0
    assert len(skeleton.joints) == 17
    where = joints(skeleton)
    known = where[np.isfinite(where).all(axis=-1)]
    assert len(known) >= 12
    assert (np.linalg.norm(known - root(skeleton), axis=-1) < 1.5).all()
    assert np.ptp(known, axis=0).max() > 0.5
    covariance = np.array(skeleton.root_covariance).reshape(3, 3)
    assert np.isfinite(covariance).all() and (np.linalg.eigvalsh(covariance) > 0).all()
    for joint, position in zip(skeleton.joints, where, strict=True):
        if np.isfinite(position).all():
            assert 0 < joint.confidence <= 1 and 0 < joint.stddev < 10
        else:
            assert np.isnan(position).all() and joint.confidence == 0


@pytest.fixture(scope="module")
def lifter(ros, start_shared_node, diagnostics, demo_keypoints) -> Lifter:
    """One process for all tests that leave it as they found it."""
    # One thread: two wait for each other where the machine is busy.
    process = start_shared_node("skeleton_lifter", threads=1)
    return Lifter(ros, process, diagnostics, demo_keypoints).connect()


@pytest.fixture(autouse=True)
def good_camera(request: pytest.FixtureRequest) -> None:
    """Each test of the shared process begins with the right intrinsics and rising stamps."""
    if "lifter" in request.fixturenames:
        shared = request.getfixturevalue("lifter")
        shared.send_info(camera_info_message())
        ids = shared.new_ids()
        shared.feed_until(
            ids, lambda a: ids[0] in by_id(a) and by_id(a)[ids[0]].root_valid, "a known camera"
        )


def test_skeletons_of_two_people(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    sent = lifter.make(ids)
    answer = lifter.send(sent)
    assert answer.header == sent.header
    assert answer.header.frame_id == FRAME_ID
    assert answer.layout == "h36m17"
    assert answer.lag.sec == 0 and answer.lag.nanosec == 0
    assert answer.lift_ms > 0 and answer.queue_ms >= 0
    for track_id in ids:
        assert by_id(answer)[track_id].tracking_state == sent_state("WARMING_UP")
    done = lifter.feed_until(
        ids,
        lambda a: all(by_id(a)[i].tracking_state == sent_state("TRACKED") for i in ids),
        "both are TRACKED",
    )
    for track_id in ids:
        assert_plausible(by_id(done)[track_id])
        seen = states(lifter, track_id)
        assert seen[:4] == [sent_state("WARMING_UP")] * 4
    # Two people who stand apart in the picture stand apart in space.
    assert np.linalg.norm(root(by_id(done)[ids[0]]) - root(by_id(done)[ids[1]])) > 0.5


def sent_state(name: str) -> int:
    from emf_ros_msgs.msg import Skeleton3D

    return getattr(Skeleton3D, name)


def test_skeletons_project_onto_the_keypoints(lifter: Lifter) -> None:
    from emf_ros.geometry.camera import Camera
    from emf_ros.skeletons import convert_keypoints, get_layout

    ids = lifter.new_ids()
    lifter.feed(ids, 8)
    sent = lifter.make(ids)
    answer = lifter.send(sent)
    camera = Camera.from_fov(*FRAME_SIZE, 60.0)
    for person in sent.skeletons:
        keypoints = np.array([(k.x, k.y, k.score) for k in person.keypoints])
        keypoints = convert_keypoints(keypoints, get_layout("blazepose33"), get_layout("h36m17"))
        seen = keypoints[:, 2] > 0.5
        projected = camera.project(joints(by_id(answer)[person.track_id]))
        error = np.linalg.norm(projected - keypoints[:, :2], axis=-1)[seen]
        assert np.nanmean(error) < 0.3 * np.ptp(keypoints[seen, 1])


def test_stamps_are_those_of_the_input(lifter: Lifter) -> None:
    ids, before = lifter.new_ids(), len(lifter.skeletons)
    sent = []
    for _ in range(5):
        sent.append(lifter.make(ids))
        lifter.send(sent[-1])
    answered = [stamp_ns(m) for m in lifter.skeletons.messages[before:]]
    assert set(map(stamp_ns, sent)) <= set(answered)
    assert len(answered) == len(set(answered))


def test_a_person_who_leaves_ends_once(lifter: Lifter) -> None:
    stays, leaves = lifter.new_ids()
    lifter.feed((stays, leaves), 3)
    answer = lifter.feed_until(
        (stays,), lambda a: leaves not in by_id(a), "the one who left is no longer reported"
    )
    assert stays in by_id(answer)
    lifter.feed((stays,), 3)
    seen = states(lifter, leaves)
    ended, coasting = sent_state("ENDED"), sent_state("COASTING")
    assert seen.count(ended) == 1 and seen[-1] == ended
    assert coasting in seen
    for message in lifter.skeletons.messages:
        for skeleton in message.skeletons:
            if skeleton.track_id == leaves and skeleton.tracking_state in (ended, coasting):
                assert not skeleton.root_valid and math.isnan(skeleton.root.z)
            if skeleton.track_id == leaves and skeleton.tracking_state == ended:
                assert len(skeleton.joints) == 17 and np.isnan(joints(skeleton)).all()


def test_everyone_ends_once_when_keypoints_stop(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    lifter.feed(ids, 3)
    ended = sent_state("ENDED")
    wait_for(lambda: all(ended in states(lifter, i) for i in ids), "both have ended")
    heard = len(lifter.diagnostics.all)
    wait_for(lambda: len(lifter.diagnostics.all) >= heard + 2, "two more seconds")
    assert [states(lifter, i).count(ended) for i in ids] == [1, 1]
    assert lifter.diagnostics.value("people") == "0"
    lifter.assert_goes_on()


def test_markers(lifter: Lifter) -> None:
    from visualization_msgs.msg import Marker

    stays, leaves = lifter.new_ids()
    lifter.feed((stays, leaves), 3)
    ended = sent_state("ENDED")
    lifter.feed_until((stays,), lambda a: ended in states(lifter, leaves), "one has ended")
    lifter.feed((stays,), 2)
    last = stamp_ns(lifter.skeletons.messages[-1])
    wait_for(
        lambda: any(stamp_ns(m) >= last for a in lifter.markers.messages for m in a.markers),
        "the last markers",
    )
    markers = [m for array in list(lifter.markers.messages) for m in array.markers]
    assert not [m for m in markers if m.action == Marker.DELETEALL]
    mine = [m for m in markers if m.ns == f"person_{leaves}"]
    added = [m for m in mine if m.action == Marker.ADD]
    deleted = Counter(m.id for m in mine if m.action == Marker.DELETE)
    assert {m.type for m in added} == {Marker.SPHERE_LIST, Marker.LINE_LIST}
    assert {m.id for m in added} == set(deleted)
    assert set(deleted.values()) == {1}
    assert all(m.action == Marker.DELETE for m in mine[-2:])
    for marker in added:
        assert marker.header.frame_id == FRAME_ID
        assert marker.lifetime.sec + marker.lifetime.nanosec > 0
        assert np.isfinite(points(marker.points)).all()
        assert len(marker.points) == len(marker.colors)
        assert all(0 < c.a <= 1 for c in marker.colors)
        assert marker.scale.x > 0
        if marker.type == Marker.LINE_LIST:
            assert len(marker.points) % 2 == 0
    colors = {(m.colors[0].r, m.colors[0].g, m.colors[0].b) for m in added if m.colors}
    assert len(colors) == 1
    assert any(m.ns == f"person_{stays}" and m.action == Marker.ADD for m in markers)


def test_a_late_subscriber_gets_the_layout(ros, lifter: Lifter) -> None:
    from emf_ros_msgs.msg import SkeletonLayout

    late = ros.listen(SkeletonLayout, lifter.process.topic("layout"), latched=True)
    message = wait_for(lambda: late.messages, "the layout")[0]
    ros.unlisten(late)
    assert message.name == "h36m17"
    assert len(message.joint_names) == len(set(message.joint_names)) == 17
    assert len(message.parents) == 17 and list(message.parents).count(-1) == 1
    edges = list(message.edges)
    assert len(edges) == 2 * 16 and max(edges) < 17


def test_diagnostics_once_a_second(lifter: Lifter) -> None:
    wait_for(lambda: len(lifter.diagnostics.all) >= 4, "four diagnostics")
    stamps = [stamp_ns(message) for message, _ in lifter.diagnostics.all]
    apart = np.diff(stamps) / 1e9
    # Only the lower bound is the node's doing; a busy machine can stretch a second.
    assert 0.9 < np.median(apart)
    lifter.feed(lifter.new_ids(), 3)
    status = lifter.diagnostics.last()
    assert status.name == lifter.process.topic("skeleton_lifter").lstrip("/")
    values = {v.key: v.value for v in status.values}
    assert {"rate_hz", "people", "lift_ms", "device", "engine"} <= set(values)
    assert values["device"] == "cpu" and "onnxruntime" in values["engine"]
    wait_for(lambda: lifter.diagnostics.last().level == b"\0", "all is well")


# --- bad keypoints -------------------------------------------------------------------------------


def _all(**values: float) -> Callable[[Any], None]:
    def spoil(message: Any) -> None:
        for skeleton in message.skeletons:
            for keypoint in skeleton.keypoints:
                for name, value in values.items():
                    setattr(keypoint, name, value)

    return spoil


def _drop_keypoints(message: Any) -> None:
    for skeleton in message.skeletons:
        skeleton.keypoints = skeleton.keypoints[:17]


@pytest.mark.parametrize(
    ("spoil", "counter", "times"),
    [
        pytest.param(_all(x=math.nan), "bad_keypoint", 66, id="NaN"),
        pytest.param(_all(y=math.inf), "bad_keypoint", 66, id="inf"),
        pytest.param(_all(x=1e30), "bad_keypoint", 66, id="far outside the image"),
        pytest.param(_all(score=-0.5), "bad_keypoint", 66, id="score under 0"),
        pytest.param(_all(score=math.nan), "bad_keypoint", 66, id="score NaN"),
        pytest.param(_all(score=0.0), "too_few_keypoints", 2, id="all missing"),
        pytest.param(_drop_keypoints, "wrong_keypoint_count", 2, id="wrong count"),
    ],
)
def test_bad_people_get_no_pose(
    lifter: Lifter, spoil: Callable[[Any], None], counter: str, times: int
) -> None:
    ids = lifter.new_ids()
    message = lifter.make(ids)
    spoil(message)
    lifter.send_refused(message, counter, times)
    lifter.assert_goes_on()
    assert not any(states(lifter, i) for i in ids)


def test_scores_over_one_are_taken_as_one_and_counted(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    message = lifter.make(ids)
    _all(score=1.5)(message)
    lifted = by_id(lifter.send(message))
    for track_id in ids:
        assert np.isfinite(joints(lifted[track_id])).all()
        assert max(joint.confidence for joint in lifted[track_id].joints) == pytest.approx(1.0)
    wait_for(lambda: lifter.diagnostics.count("score_over_1") >= 66, "the count")


def test_one_bad_joint_is_left_out_and_the_rest_lifted(lifter: Lifter) -> None:
    from emf_ros.skeletons import get_layout

    ids = lifter.new_ids()
    wrist = get_layout("blazepose33").joints.index("left_wrist")
    message = lifter.make(ids)
    message.skeletons[0].keypoints[wrist].x = math.nan
    answer = lifter.send(message)
    lifted = by_id(answer)
    names = get_layout("h36m17").joints
    left = names.index("left_wrist")
    assert np.isnan(joints(lifted[ids[0]])[left]).all()
    assert lifted[ids[0]].joints[left].confidence == 0
    assert np.isfinite(joints(lifted[ids[0]])).all(axis=-1).sum() >= 12
    wait_for(lambda: lifter.diagnostics.count("bad_keypoint") >= 1, "the count")


def test_a_missing_joint_is_no_fault(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    wait_for(lifter.diagnostics.last, "diagnostics")
    heard = len(lifter.diagnostics.all)
    wait_for(lambda: len(lifter.diagnostics.all) > heard, "fresh diagnostics")
    before = lifter.diagnostics.count("bad_keypoint")
    message = lifter.make(ids)
    keypoint = message.skeletons[0].keypoints[15]
    keypoint.x = keypoint.y = math.nan
    keypoint.score = 0.0
    lifter.send(message)
    heard = len(lifter.diagnostics.all)
    wait_for(lambda: len(lifter.diagnostics.all) > heard + 1, "fresh diagnostics")
    assert lifter.diagnostics.count("bad_keypoint") == before


def test_a_repeated_id_is_one_person(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    message = lifter.make((ids[0], ids[0]))
    lifter.send_refused(message, "repeated_track_id")
    answer = wait_for(lambda: lifter.skeletons.of_stamp(lifter.now), "the answer")
    assert list(by_id(answer)).count(ids[0]) == 1
    lifter.assert_goes_on()


def feed_until(lifter: Lifter, make: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    """Send messages, each answered, until an answer is as wanted; that answer."""
    for _ in range(60):
        answer = lifter.send(make())
        if done(answer):
            return answer
    raise AssertionError(f"never so in 60 answers; the last: {answer}")


def test_people_whose_publisher_does_not_track_are_tracked(
    start_node, ros, diagnostics, demo_keypoints
) -> None:
    """Their track_id is 0. A publisher that begins to leave it out is tracked from there on."""
    process = start_node("skeleton_lifter")
    lifter = Lifter(ros, process, diagnostics, demo_keypoints).connect()
    known = lifter.new_ids()
    lifter.send(lifter.make(known))

    def seen(answer: Any) -> set[int]:
        return {i for i, s in by_id(answer).items() if s.tracking_state == 1 and s.root_valid}

    first = feed_until(
        lifter, lambda: lifter.make((0, 0)), lambda a: len(seen(a) - set(known)) == 2
    )
    own = seen(first) - set(known)
    assert min(own) > max(known)
    for _ in range(10):
        assert seen(lifter.send(lifter.make((0, 0)))) - set(known) == own
    # Theirs stay, whether the publisher gives ids to all, to one or to none.
    for ids in (known, (0, known[1]), (0, 0)):
        assert seen(lifter.send(lifter.make(ids))) - set(known) == own
    wait_for(lambda: lifter.diagnostics.count("track_id_replaced") == 3, "the counter")
    assert lifter.diagnostics.count("repeated_track_id") == 0


def test_no_more_people_than_asked_for(lifter: Lifter) -> None:
    first = lifter.new_ids()[0] * 1000
    message = lifter.make(lifter.new_ids())
    crowd = [copy.deepcopy(message.skeletons[0]) for _ in range(30)]
    for number, skeleton in enumerate(crowd):
        skeleton.track_id = first + number
    message.skeletons = crowd
    lifter.send_refused(message, "over_max_people", 22)
    answer = wait_for(lambda: lifter.skeletons.of_stamp(lifter.now), "the answer")
    assert sum(i >= first for i in by_id(answer)) == 8
    lifter.assert_goes_on()


@pytest.mark.parametrize(
    ("values", "counter"),
    [
        pytest.param({"layout": "centaur"}, "unknown_layout", id="unknown layout"),
        pytest.param({"layout": ""}, "unknown_layout", id="no layout"),
        pytest.param({"image_width": 0}, "image_size_not_positive", id="no width"),
        pytest.param(
            {"image_width": 0, "image_height": 0}, "image_size_not_positive", id="no size"
        ),
        pytest.param({"image_width": 400}, "camera_info_size_mismatch", id="other aspect"),
    ],
)
def test_a_bad_array_is_refused_whole(lifter: Lifter, values: dict[str, Any], counter: str) -> None:
    message = lifter.make(lifter.new_ids())
    for name, value in values.items():
        setattr(message, name, value)
    lifter.send_refused(message, counter)
    lifter.assert_goes_on()
    assert lifter.skeletons.of_stamp(stamp_ns(message)) is None


# --- stamps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_ns", [0, FRAME_NS, SECOND // 3], ids=["repeat", "frame", "third"])
def test_a_late_stamp_is_refused(lifter: Lifter, back_ns: int) -> None:
    ids = lifter.new_ids()
    lifter.feed(ids, 2)
    message = lifter.make(ids)
    set_stamp(message, lifter.now - FRAME_NS - back_ns)
    before = len(lifter.skeletons)
    lifter.now -= FRAME_NS
    lifter.send_refused(message, "stamp_not_newer")
    lifter.assert_goes_on()
    stamps = [stamp_ns(m) for m in lifter.skeletons.messages[before:]]
    assert stamp_ns(message) not in stamps


def test_a_long_jump_back_starts_anew_when_the_next_image_confirms_it(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    lifter.feed(ids, 6)
    lifter.now -= 3600 * SECOND
    lifter.send_refused(lifter.make(ids), "stamp_outlier")
    message = lifter.make(ids)
    lifter.send_refused(message, "stamp_jumped_back")
    answer = wait_for(lambda: lifter.skeletons.of_stamp(stamp_ns(message)), "the answer")
    ended = sent_state("ENDED")
    assert {s.track_id for s in answer.skeletons if s.tracking_state == ended} >= set(ids)
    for track_id in ids:
        assert by_id(answer)[track_id].tracking_state == sent_state("WARMING_UP")
    lifter.assert_goes_on()


def test_a_long_jump_ahead_ends_everyone_when_the_next_image_confirms_it(lifter: Lifter) -> None:
    stays, leaves = lifter.new_ids()
    lifter.feed((stays, leaves), 3)
    lifter.send_refused(lifter.make((stays,), 3600 * SECOND), "stamp_outlier")
    answer = lifter.send(lifter.make((stays,)))
    assert stamp_ns(answer) == lifter.now
    assert_plausible(by_id(answer)[stays])
    assert by_id(answer)[stays].tracking_state == sent_state("WARMING_UP")
    assert leaves not in by_id(answer)
    for track_id in (stays, leaves):
        assert states(lifter, track_id).count(sent_state("ENDED")) == 1
    lifter.assert_goes_on()


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda now: 0, id="zero"),
        pytest.param(lambda now: now - 10 * SECOND, id="10 s late"),
        pytest.param(lambda now: now + 3600 * SECOND, id="an hour ahead"),
        pytest.param(lambda now: -now, id="negative"),
    ],
)
def test_one_odd_stamp_costs_no_id(lifter: Lifter, odd: Callable[[int], int]) -> None:
    ids = lifter.new_ids()
    tracked = sent_state("TRACKED")
    lifter.feed_until(
        ids, lambda a: all(by_id(a)[i].tracking_state == tracked for i in ids), "both TRACKED"
    )
    before = len(lifter.skeletons)
    message = lifter.make(ids)
    set_stamp(message, odd(lifter.now))
    lifter.send_refused(message, "stamp_outlier")
    lifter.feed(ids, 5)
    after = lifter.skeletons.messages[before:]
    assert len(after) == 5
    for answer in after:
        found = [(s.track_id, s.tracking_state) for s in answer.skeletons if s.track_id in ids]
        assert sorted(found) == [(i, tracked) for i in ids]


def test_stamps_that_are_all_zero_are_reported(ros, start_node, diagnostics, demo_keypoints):
    process = start_node("skeleton_lifter", device="cpu", threads=1)
    lifter = Lifter(ros, process, diagnostics, demo_keypoints)
    ids = lifter.new_ids()

    def counted() -> bool:
        message = lifter.make(ids)
        set_stamp(message, 0)
        lifter._keypoints.publish(message)
        time.sleep(0.03)
        return lifter.diagnostics.count("stamps_all_equal") >= 5

    wait_for(counted, "the count")
    wait_for(lambda: "set header.stamp" in lifter.diagnostics.last().message, "the remedy")
    assert lifter.diagnostics.last().level == b"\1"
    assert process.log.count("does not stamp its images") == 1
    # Once the driver stamps them, all is well.
    lifter.now = time.time_ns()
    lifter.connect().assert_goes_on()
    wait_for(lambda: lifter.diagnostics.last().level == b"\0", "no warning any more")


# --- intrinsics ----------------------------------------------------------------------------------


def _info(**values: Any) -> Any:
    message = camera_info_message()
    for name, value in values.items():
        setattr(message, name, value)
    return message


def _matrix(index: int, value: float) -> list[float]:
    matrix = list(camera_info_message().k)
    matrix[index] = value
    return matrix


@pytest.mark.parametrize(
    ("values", "counter"),
    [
        pytest.param({"k": _matrix(0, math.nan)}, "bad_camera_info", id="NaN in K"),
        pytest.param({"d": [math.nan] * 5}, "bad_camera_info", id="NaN in D"),
        pytest.param({"k": _matrix(0, math.inf)}, "bad_camera_info", id="inf"),
        pytest.param({"k": _matrix(4, -700.0)}, "bad_camera_info", id="negative focal length"),
        pytest.param({"d": [0.0] * 3}, "bad_camera_info", id="3 coefficients"),
        pytest.param({"distortion_model": "magic"}, "bad_camera_info", id="unknown model"),
        pytest.param({"width": 0}, "bad_camera_info", id="no width"),
        pytest.param({"k": [0.0] * 9}, None, id="K all zero"),
    ],
)
def test_without_usable_intrinsics_poses_have_no_place(
    lifter: Lifter, values: dict[str, Any], counter: str | None
) -> None:
    wait_for(lifter.diagnostics.last, "diagnostics")
    before = lifter.diagnostics.count(counter) if counter else 0
    lifter.send_info(_info(**values))
    ids = lifter.new_ids()
    answer = lifter.feed_until(
        ids,
        lambda a: all(i in by_id(a) and not by_id(a)[i].root_valid for i in ids),
        "poses without a root",
    )
    for track_id in ids:
        assert_relative(by_id(answer)[track_id])
    wait_for(lambda: lifter.diagnostics.last().level == b"\1", "a warning in diagnostics")
    assert "camera_info" in lifter.diagnostics.last().message
    if counter:
        wait_for(lambda: lifter.diagnostics.count(counter) > before, f"count of {counter}")
    lifter.send_info(camera_info_message())
    lifter.assert_goes_on()


@pytest.mark.parametrize(
    "values",
    [{"k": [0.0] * 9}, {"d": [math.nan] * 5}, {"k": [2 * v for v in _matrix(8, 0.5)]}],
    ids=["K all zero", "NaN in D", "another focal length"],
)
def test_single_wrong_intrinsics_restart_nothing(lifter: Lifter, values: dict[str, Any]) -> None:
    ids = lifter.new_ids()
    lifter.feed(ids, 10)
    # Counts that were published before that may lack what an earlier test did.
    published = len(lifter.diagnostics.all)
    wait_for(lambda: len(lifter.diagnostics.all) >= published + 2, "newer diagnostics")
    lifter.feed(ids, 10)
    before = {k: lifter.diagnostics.count(k) for k in ("camera_info_outlier", "camera_changed")}
    first = len(lifter.skeletons)
    for info in (_info(**values), camera_info_message()) * 5:
        lifter.send_info(info)
        lifter.feed(ids)
    outlier = "camera_info_outlier"
    wait_for(lambda: lifter.diagnostics.count(outlier) >= before[outlier] + 4, "the count")
    lifter.feed(ids)
    assert lifter.diagnostics.count("camera_changed") == before["camera_changed"]
    for answer in lifter.skeletons.messages[first:]:
        for track_id in ids:
            assert by_id(answer)[track_id].tracking_state == sent_state("TRACKED")
            assert by_id(answer)[track_id].root_valid


def test_an_uncalibrated_camera_is_tracked(ros, start_node, diagnostics, demo_keypoints) -> None:
    process = start_node("skeleton_lifter", device="cpu", threads=1)
    lifter = Lifter(ros, process, diagnostics, demo_keypoints)
    unknown = _info(k=[0.0] * 9)
    lifter.send_info(unknown)
    lifter.connect(info=False)
    ids = lifter.new_ids()
    for _ in range(12):
        lifter.send_info(unknown)
        answer = lifter.feed(ids)
    for track_id in ids:
        assert states(lifter, track_id).count(sent_state("ENDED")) == 0
        assert by_id(answer)[track_id].tracking_state == sent_state("TRACKED")
        assert_relative(by_id(answer)[track_id])
    wait_for(lifter.diagnostics.last, "diagnostics")
    assert lifter.diagnostics.count("camera_changed") == 0
    assert "run camera_calibration" in lifter.diagnostics.last().message
    assert process.log.count("run camera_calibration") == 1
    # Calibrated at last, everyone begins anew, once.
    for _ in range(12):
        lifter.send_info(camera_info_message())
        answer = lifter.feed(ids)
    wait_for(lambda: lifter.diagnostics.count("camera_changed") == 1, "the count")
    for track_id in ids:
        assert states(lifter, track_id).count(sent_state("ENDED")) == 1
        assert by_id(answer)[track_id].root_valid


def test_two_publishers_of_intrinsics_are_pointed_out(ros, lifter: Lifter) -> None:
    from sensor_msgs.msg import CameraInfo

    topic = lifter.process.topic("camera_info")
    second = ros.publisher(CameraInfo, topic)
    wait_for(lambda: f"2 publishers on {topic}" in lifter.diagnostics.last().message, "a warning")
    ros.node.destroy_publisher(second)
    wait_for(lambda: lifter.diagnostics.last().level == b"\0", "all is well again")


def assert_relative(skeleton: Any) -> None:
    """A pose around its pelvis, and no place."""
    assert not skeleton.root_valid
    assert np.isnan(root(skeleton)).all()
    assert np.isnan(skeleton.root_covariance).all()
    assert math.isnan(skeleton.velocity.x)
    where = joints(skeleton)
    assert np.abs(where[0]).max() < 1e-6
    known = where[np.isfinite(where).all(axis=-1)]
    assert len(known) >= 12 and np.linalg.norm(known, axis=-1).max() < 1.5


def test_intrinsics_of_another_size_are_counted(lifter: Lifter) -> None:
    wait_for(lifter.diagnostics.last, "diagnostics")
    before = lifter.diagnostics.count("camera_info_size_mismatch")
    lifter.send_info(camera_info_message((640, 640)))
    ids = lifter.new_ids()

    def counted() -> bool:
        lifter._keypoints.publish(lifter.make(ids))
        time.sleep(0.1)
        return lifter.diagnostics.count("camera_info_size_mismatch") > before

    wait_for(counted, "the count")
    lifter.send_info(camera_info_message())
    # Until the good intrinsics are in, keypoints go unanswered.
    answers = len(lifter.skeletons)

    def answered() -> bool:
        lifter._keypoints.publish(lifter.make(ids))
        time.sleep(0.1)
        return len(lifter.skeletons) > answers

    wait_for(answered, "an answer with the right intrinsics")
    lifter.assert_goes_on()


def test_intrinsics_of_another_resolution_fit(lifter: Lifter) -> None:
    roots = []
    for factor in (1, 2):
        lifter.send_info(camera_info_message((factor * FRAME_SIZE[0], factor * FRAME_SIZE[1])))
        ids, lifter.index = lifter.new_ids(), 0
        roots.append(root(by_id(lifter.feed(ids, 15))[ids[0]]))
    assert np.linalg.norm(roots[0] - roots[1]) < 0.01 * np.linalg.norm(roots[0])


def test_a_node_without_camera_info(ros, start_node, diagnostics, demo_keypoints) -> None:
    lifter = Lifter(
        ros, start_node("skeleton_lifter", device="cpu", threads=1), diagnostics, demo_keypoints
    )
    lifter.connect(info=False)
    ids = lifter.new_ids()
    answer = lifter.feed_until(
        ids, lambda a: by_id(a)[ids[0]].tracking_state == sent_state("TRACKED"), "TRACKED"
    )
    for track_id in ids:
        assert_relative(by_id(answer)[track_id])
    wait_for(lifter.diagnostics.last, "diagnostics")
    assert lifter.diagnostics.last().level == b"\1"
    assert lifter.diagnostics.last().message == "no camera_info yet"
    assert not any(m.action == m.ADD for a in lifter.markers.messages for m in a.markers)


# --- parameters ----------------------------------------------------------------------------------


def test_lag(ros, start_node, diagnostics, demo_keypoints) -> None:
    lag = 4
    process = start_node("skeleton_lifter", device="cpu", threads=1, lag=lag)
    lifter = Lifter(ros, process, diagnostics, demo_keypoints)
    lifter.connect()
    ids = lifter.new_ids()
    sent = []
    for _ in range(10):
        message = lifter.make(ids)
        sent.append(stamp_ns(message))
        answer = lifter.send(message)
        if len(sent) > lag:
            assert stamp_ns(answer) == sent[-1 - lag]
            assert answer.lag.sec == 0 and answer.lag.nanosec == lag * FRAME_NS
    assert_plausible(by_id(answer)[ids[0]])


def _truncated(tmp_path: Any, name: str) -> str:
    from emf_ros.io.paths import share_folder

    path = tmp_path / name
    shutil.copy(share_folder("models") / name, path)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    return str(path)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({"lags": 3}, ["lags", "unknown"], id="unknown name"),
        pytest.param(
            {"keep_sides": False}, ["'keep_sides'", "set 'swap_correction'"], id="old name"
        ),
        pytest.param(
            {"person_height_m": float("nan")}, ["person_height_m", "nan"], id="not a number"
        ),
        pytest.param({"lag": 27}, ["lag", "27"], id="out of range"),
        pytest.param({"coast_s": -0.1}, ["coast_s"], id="negative time"),
        pytest.param({"lag": 1.5}, ["lag", "whole number", "auto"], id="float for int"),
        pytest.param({"lag": "most"}, ["lag", "most", "auto"], id="another word"),
        pytest.param({"min_frames": 1.5}, ["min_frames", "INTEGER"], id="float for int only"),
        pytest.param({"cameras": ["front", "1st"]}, ["cameras", "1st"], id="no topic's name"),
        pytest.param({"cameras": ["a", "b", "a"]}, ["cameras", "twice"], id="repeated camera"),
        pytest.param({"engine": "tpu"}, ["engine", "tpu", "torch"], id="no such engine"),
        pytest.param({"max_people": "many"}, ["max_people"], id="text for int"),
        pytest.param({"preset": "huge"}, ["preset", "huge", "lite"], id="no such preset"),
        pytest.param({"device": "tpu"}, ["device", "tpu", "cpu"], id="no such device"),
        pytest.param({"weights": "/no/such.onnx"}, ["/no/such.onnx"], id="missing weights"),
        pytest.param({"weights": "lite.onnx", "device": "cpu"}, ["lite.onnx"], id="truncated onnx"),
        pytest.param({"weights": "lite.safetensors"}, ["lite.safetensors"], id="truncated weights"),
        pytest.param({"require_gpu": True}, ["GPU is required"], id="no GPU"),
    ],
)
def test_bad_parameters_end_the_process(
    start_node, tmp_path, parameters: dict[str, Any], expected: list[str]
) -> None:
    if str(parameters.get("weights", "")).startswith("lite"):
        parameters = {**parameters, "weights": _truncated(tmp_path, parameters["weights"])}
    process = start_node("skeleton_lifter", expect=False, **parameters)
    assert process.wait() == 1
    assert "Traceback" not in process.log
    said = [line for line in process.log.splitlines() if line.startswith("emf_ros: ")]
    assert len(said) == 1
    for word in expected:
        assert word in said[0]


def test_an_interrupt_while_starting_is_a_clean_end(start_node) -> None:
    process = start_node("skeleton_lifter")
    # As soon as others see the node: it may still be loading its model.
    process.stop()


def test_parameters_are_described_and_read_only(ros, lifter: Lifter) -> None:
    from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
    from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters

    from emf_ros.nodes.params import SkeletonLifterParams

    node = lifter.process.topic("skeleton_lifter")
    specs = SkeletonLifterParams.specs()
    names = list(specs)
    described = ros.call(
        DescribeParameters, f"{node}/describe_parameters", DescribeParameters.Request(names=names)
    ).descriptors
    assert [d.name for d in described] == names
    assert [d.description for d in described] == [spec.text for spec in specs.values()]
    ranged = {d.name: d for d in described}
    assert ranged["max_people"].integer_range[0].to_value == specs["max_people"].high
    assert ranged["coast_s"].floating_point_range[0].to_value == specs["coast_s"].high
    assert "auto" in ranged["lag"].additional_constraints
    asked = [
        Parameter(
            name="lag", value=ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=3)
        ),
        Parameter(
            name="preset",
            value=ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="huge"),
        ),
    ]
    results = ros.call(
        SetParameters, f"{node}/set_parameters", SetParameters.Request(parameters=asked)
    ).results
    assert [r.successful for r in results] == [False, False]
    assert all(r.reason for r in results)
    values = ros.call(
        GetParameters, f"{node}/get_parameters", GetParameters.Request(names=["lag", "preset"])
    ).values
    assert values[0].integer_value == 0 and values[1].string_value == "lite"
    lifter.assert_goes_on()
