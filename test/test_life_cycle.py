"""The life cycle of the real nodes, their services, and parameters that change live."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import rclpy
from detector_process import Detector
from inputs import FRAME_NS, camera_info_message, image_message
from lifter_process import Lifter, by_id, root, states, tracking_state
from ros_session import change, points, stamp_ns, wait_for
from test_body_state import after, lying, pose, standing
from test_feed import hour_later_in_another_shape
from test_pipeline import frame_of
from test_swaps import walker

from emf_ros.body.tracker import BodyTracker

SECOND_NS = 10**9

UNCONFIGURED, INACTIVE, ACTIVE = "unconfigured", "inactive", "active"


def state(ros: Any, node: str) -> str:
    from lifecycle_msgs.srv import GetState

    return ros.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label


def enable(ros: Any, node: str, wanted: bool) -> Any:
    from std_srvs.srv import SetBool

    return ros.call(SetBool, f"{node}/enable", SetBool.Request(data=wanted))


def set_parameters(ros: Any, node: str, **values: Any) -> list[Any]:
    """Set parameters; the result of each."""
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    parameters = [Parameter(name, value=v).to_parameter_msg() for name, v in values.items()]
    request = SetParameters.Request(parameters=parameters)
    return list(ros.call(SetParameters, f"{node}/set_parameters", request).results)


def get_parameter(ros: Any, node: str, name: str) -> Any:
    from rcl_interfaces.srv import GetParameters
    from rclpy.parameter import parameter_value_to_python

    request = GetParameters.Request(names=[name])
    (value,) = ros.call(GetParameters, f"{node}/get_parameters", request).values
    return parameter_value_to_python(value)


def inputs_of(ros: Any, process: Any, node: str) -> set[str]:
    """The topics of its own that a node subscribes to."""
    heard = ros.node.get_subscriber_names_and_types_by_node(node, process.namespace)
    return {name.rsplit("/", 1)[1] for name, _ in heard if name.startswith(process.namespace)}


def outputs_of(ros: Any, process: Any, node: str) -> set[str]:
    told = ros.node.get_publisher_names_and_types_by_node(node, process.namespace)
    names = {name.rsplit("/", 1)[1] for name, _ in told if name.startswith(process.namespace)}
    return names - {"transition_event"}


def test_lifter_walks_through_its_life_cycle(ros, start_node, diagnostics, demo_keypoints) -> None:
    from visualization_msgs.msg import Marker

    process = start_node("skeleton_lifter", threads=1, autostart=False)
    node = process.topic("skeleton_lifter")
    lifter = Lifter(ros, process, diagnostics, demo_keypoints)
    assert state(ros, node) == UNCONFIGURED
    assert "autostart is false" in process.log and "configure" in process.log
    assert not outputs_of(ros, process, "skeleton_lifter")

    assert change(ros, node, "configure") and state(ros, node) == INACTIVE
    wait_for(
        lambda: (
            outputs_of(ros, process, "skeleton_lifter")
            == {
                "skeletons",
                "markers",
                "layout",
                "body_states",
                "poses",
                "joint_points",
                "joint_angles",
            }
        ),
        "publishers of the inactive node",
    )
    lifter.diagnostics.wait_for_next()
    assert not inputs_of(ros, process, "skeleton_lifter")

    assert change(ros, node, "activate") and state(ros, node) == ACTIVE
    lifter.connect()
    lifter.with_known_camera()
    ids = lifter.new_ids()
    lifter.feed_until(ids, lambda a: all(i in by_id(a) for i in ids), "both are lifted")
    wait_for(
        lambda: (
            {m.ns for a in lifter.markers.messages for m in a.markers}
            >= {f"person_{i}" for i in ids}
        ),
        "markers",
    )

    assert change(ros, node, "deactivate") and state(ros, node) == INACTIVE
    ended = tracking_state("ENDED")
    wait_for(lambda: all(states(lifter, i)[-1] == ended for i in ids), "the ends of the tracks")

    def deleted(name: str) -> bool:
        mine = [m for a in lifter.markers.messages for m in a.markers if m.ns == name]
        return mine[-1].action == Marker.DELETE

    wait_for(lambda: all(deleted(f"person_{i}") for i in ids), "deleted markers")
    wait_for(lambda: not inputs_of(ros, process, "skeleton_lifter"), "the end of subscriptions")

    assert change(ros, node, "cleanup") and state(ros, node) == UNCONFIGURED
    wait_for(lambda: not outputs_of(ros, process, "skeleton_lifter"), "the end of publishers")

    assert change(ros, node, "configure") and change(ros, node, "activate")
    lifter.connect()
    lifter.with_known_camera().assert_goes_on()


def test_detector_walks_through_its_life_cycle(ros, start_node, diagnostics, demo_frames) -> None:
    process = start_node("keypoint_detector", max_people=2, variant="lite", autostart=False)
    node = process.topic("keypoint_detector")
    assert not outputs_of(ros, process, "keypoint_detector")
    assert change(ros, node, "configure")
    wait_for(lambda: "keypoints" in outputs_of(ros, process, "keypoint_detector"), "publishers")
    assert not inputs_of(ros, process, "keypoint_detector")
    assert change(ros, node, "activate")
    detector = Detector(ros, process, diagnostics, demo_frames)
    detector.assert_goes_on()
    assert change(ros, node, "deactivate")
    wait_for(lambda: not inputs_of(ros, process, "keypoint_detector"), "the end of subscriptions")
    assert change(ros, node, "cleanup")
    wait_for(lambda: not outputs_of(ros, process, "keypoint_detector"), "the end of publishers")
    assert change(ros, node, "configure") and change(ros, node, "activate")
    ros.connect(node)
    detector.assert_goes_on()


def test_failed_configure_says_why_and_succeeds_after_the_remedy(ros, start_node) -> None:
    process = start_node("skeleton_lifter", autostart=False, weights="/no/such.onnx", threads=1)
    node = process.topic("skeleton_lifter")
    assert not change(ros, node, "configure")
    assert state(ros, node) == UNCONFIGURED
    wait_for(lambda: "cannot configure" in process.log, "the reason")
    assert "/no/such.onnx" in process.log and "Traceback" not in process.log
    # While nothing is configured, every parameter may change.
    (result,) = set_parameters(ros, node, weights="")
    assert result.successful, result.reason
    assert change(ros, node, "configure") and state(ros, node) == INACTIVE


@pytest.mark.parametrize("program", ["video_source", "composed"])
def test_a_remapping_that_ros_refuses_ends_the_node_with_one_line(start_node, program) -> None:
    process = start_node(program, expect=False, remappings=("image:=image raw",))
    assert process.wait() == 1
    (line,) = [line for line in process.log.splitlines() if line.startswith("emf_ros: ")]
    assert "after --ros-args" in line and "image:=image raw" in line
    assert "Traceback" not in process.log


def test_impossible_transition_is_refused_and_the_node_goes_on(lifter: Lifter, ros) -> None:
    node = lifter.process.topic("skeleton_lifter")
    assert not change(ros, node, "configure")
    assert not change(ros, node, "no_such_transition")
    assert state(ros, node) == ACTIVE
    lifter.assert_goes_on()


def test_enable_pauses_and_resumes_a_node(lifter: Lifter, ros) -> None:
    node = lifter.process.topic("skeleton_lifter")
    answer = enable(ros, node, False)
    assert answer.success and answer.message == INACTIVE and state(ros, node) == INACTIVE
    assert enable(ros, node, False).success
    answer = enable(ros, node, True)
    assert answer.success and answer.message == ACTIVE and state(ros, node) == ACTIVE
    lifter.connect()
    lifter.with_known_camera().assert_goes_on()


def test_enable_of_a_node_that_cannot_start_gives_the_reason(ros, start_node) -> None:
    process = start_node("skeleton_lifter", autostart=False, weights="/no/such.onnx")
    answer = enable(ros, process.topic("skeleton_lifter"), True)
    assert not answer.success and "/no/such.onnx" in answer.message
    assert state(ros, process.topic("skeleton_lifter")) == UNCONFIGURED


def test_parameters_change_live_between_two_images(synchronous_lifter: Lifter, ros) -> None:
    lifter = synchronous_lifter
    node = lifter.process.topic("skeleton_lifter")
    ids = lifter.new_ids()
    lifter.feed(ids, 12)
    results = set_parameters(ros, node, lag=2, max_people=1, smoothing="none", coast_s=0.5)
    assert all(result.successful for result in results), [result.reason for result in results]
    try:
        # The images two frames behind the first new ones are described already.
        sent = [lifter.make(ids) for _ in range(5)]
        for message in sent:
            lifter._keypoints.publish(message)
        answer = wait_for(lambda: lifter.answer_to(sent[-1]), "an answer with a lag")
        assert answer.lag.sec == 0 and answer.lag.nanosec == 2 * FRAME_NS
        # The tracks have gone on; one of the two is left out.
        assert sorted(s.tracking_state for s in by_id(answer).values()) == [
            tracking_state("TRACKED"),
            tracking_state("COASTING"),
        ]
    finally:
        set_parameters(ros, node, lag=0, max_people=8, smoothing="light", coast_s=1.0)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("preset", "lite2", ["preset", "lite2"]),
        ("threads", 2, ["threads", "set it in the params file", "cleanup + configure"]),
        ("rectified", True, ["rectified", "params file"]),
        ("lag", 27, ["lag", "27", "0..26"]),
        ("lag", "most", ["lag", "most", "auto"]),
        ("coast_s", float("nan"), ["coast_s"]),
        ("camera_height_m", [1.0, 2.0], ["camera_height_m", "2 values"]),
        ("camera_height_m", [-1.0], ["camera_height_m"]),
        ("smoothing", "much", ["smoothing", "light"]),
    ],
)
def test_refused_parameters_name_the_reason_and_change_nothing(
    shared_synchronous_lifter: Lifter, ros, name: str, value: Any, words: list[str]
) -> None:
    node = shared_synchronous_lifter.process.topic("skeleton_lifter")
    before = get_parameter(ros, node, name)
    (result,) = set_parameters(ros, node, **{name: value})
    assert not result.successful
    assert all(word in result.reason for word in words), result.reason
    after = get_parameter(ros, node, name)
    assert np.array_equal(after, before) if isinstance(before, list) else after == before


def test_detector_parameters_change_live(ros, start_node, diagnostics, demo_frames) -> None:
    process = start_node("keypoint_detector", max_people=2, variant="lite")
    node = process.topic("keypoint_detector")
    detector = Detector(ros, process, diagnostics, demo_frames)
    detector.show_until_two()
    (result,) = set_parameters(ros, node, min_score=1.0)
    assert result.successful, result.reason
    # Half of 1.0 continues a track: nobody is found only where the score is above what there is.
    (result,) = set_parameters(ros, node, detection_share=0.5)
    assert result.successful, result.reason
    (result,) = set_parameters(ros, node, detection_share=1.5)
    assert not result.successful
    (result,) = set_parameters(ros, node, variant="full")
    assert not result.successful and "cleanup + configure" in result.reason
    (result,) = set_parameters(ros, node, max_people=21)
    assert not result.successful
    detector.assert_goes_on()


def test_height_of_one_person_sets_that_persons_size(synchronous_lifter: Lifter, ros) -> None:
    from emf_ros_msgs.srv import SetPersonHeight

    lifter = synchronous_lifter
    name = lifter.process.topic("skeleton_lifter") + "/set_person_height"

    def ask(**fields: Any) -> Any:
        return ros.call(SetPersonHeight, name, SetPersonHeight.Request(**fields))

    ids = lifter.new_ids()
    before = by_id(lifter.feed(ids, 20))
    assert ask(track_id=ids[0], height_m=2.2).success
    after = by_id(lifter.feed(ids, 15))
    # At a given size in the image, a taller person stands farther away.
    assert root(after[ids[0]])[2] > 1.1 * root(before[ids[0]])[2]
    assert root(after[ids[1]])[2] == pytest.approx(root(before[ids[1]])[2], rel=0.08)
    assert ask(track_id=ids[0], height_m=0.0).success
    again = by_id(lifter.feed(ids, 15))
    assert root(again[ids[0]])[2] == pytest.approx(root(before[ids[0]])[2], rel=0.08)
    for words, fields in (
        (f"no track {10**6}", {"track_id": 10**6, "height_m": 1.8}),
        ("0..2.5", {"track_id": ids[0], "height_m": 3.0}),
        ("0..2.5", {"track_id": ids[0], "height_m": float("nan")}),
        ("no camera 'front'", {"camera": "front", "track_id": ids[0], "height_m": 1.8}),
    ):
        answer = ask(**fields)
        assert not answer.success and words in answer.message, answer.message


def test_while_nobody_is_seen_the_last_place_is_told_with_growing_doubt(
    synchronous_lifter: Lifter,
) -> None:
    lifter = synchronous_lifter
    stays, leaves = lifter.new_ids()
    seen = by_id(lifter.feed((stays, leaves), 15))[leaves]
    assert points([seen.last_root])[0] == pytest.approx(root(seen))
    assert list(seen.last_root_covariance) == list(seen.root_covariance)
    doubts = []
    for _ in range(8):
        gone = by_id(lifter.feed((stays,)))[leaves]
        assert gone.tracking_state == tracking_state("COASTING") and not gone.root_valid
        assert np.isnan(root(gone)).all()
        assert points([gone.last_root])[0] == pytest.approx(root(seen))
        doubts.append(np.trace(np.reshape(gone.last_root_covariance, (3, 3))))
    assert (np.diff(doubts) > 0).all()
    lifter.feed_until((stays,), lambda a: leaves not in by_id(a), "the end of the track")
    (ended,) = [
        s
        for message in lifter.skeletons.messages
        for s in message.skeletons
        if s.track_id == leaves and s.tracking_state == tracking_state("ENDED")
    ]
    assert np.isnan(points([ended.last_root])).all()


def test_without_images_a_message_a_second_says_that_nothing_is_known(lifter: Lifter) -> None:
    ids = lifter.new_ids()
    answer = lifter.feed_until(ids, lambda a: len(by_id(a)) == 2, "both are lifted")
    assert answer.images_arrive
    # An image without people is told apart from no image.
    answer = lifter.feed_until((), lambda a: not a.skeletons, "an image without people")
    assert answer.images_arrive
    after = lifter.skeletons.messages.index(answer) + 1
    wait_for(lambda: len(lifter.skeletons) >= after + 3, "messages without images")
    for message in lifter.skeletons.messages[after : after + 3]:
        assert not message.images_arrive and not message.skeletons
        assert stamp_ns(message) == stamp_ns(answer)
    lifter.assert_goes_on()


def test_ids_stay_unique_when_the_detector_is_killed_and_started_again(
    ros, start_node, diagnostics, demo_frames
) -> None:
    def ids_of_a_run() -> set[int]:
        process = start_node("keypoint_detector", max_people=2, variant="lite")
        detector = Detector(ros, process, diagnostics, demo_frames)
        detector.show_until_two()
        process.kill()
        return {s.track_id for m in detector.keypoints.messages for s in m.skeletons}

    first, second = ids_of_a_run(), ids_of_a_run()
    assert len(first) >= 2 and max(first) < min(second)


def test_ids_of_the_lifters_own_stay_unique_over_a_restart(
    ros, start_node, diagnostics, demo_keypoints
) -> None:
    def ids_of_a_run() -> set[int]:
        process = start_node("skeleton_lifter", threads=1)
        lifter = Lifter(ros, process, diagnostics, demo_keypoints).connect()
        # The ids that came with keypoints are small: `connect` has sent some.
        before = len(lifter.skeletons)
        lifter.feed_until((0, 0), lambda a: len(by_id(a)) == 2 and min(by_id(a)) > 10**4, "both")
        process.kill()
        answers = lifter.skeletons.messages[before:]
        return {s.track_id for m in answers for s in m.skeletons if s.track_id > 10**4}

    first, second = ids_of_a_run(), ids_of_a_run()
    assert len(first) >= 2 and max(first) < min(second)


def test_reset_ends_all_tracks_and_begins_anew(lifter: Lifter, ros) -> None:
    from std_srvs.srv import Trigger

    node = lifter.process.topic("skeleton_lifter")
    ids = lifter.new_ids()
    lifter.feed_until(ids, lambda a: all(i in by_id(a) for i in ids), "both are lifted")
    assert ros.call(Trigger, f"{node}/reset", Trigger.Request()).success
    ended = tracking_state("ENDED")
    wait_for(lambda: all(states(lifter, i)[-1] == ended for i in ids), "the ends of the tracks")
    lifter.connect()
    lifter.with_known_camera().assert_goes_on()


def test_reset_forgets_the_postures(ros) -> None:
    from emf_ros.nodes.skeleton_lifter import SkeletonLifter

    node: Any = SkeletonLifter()
    try:
        node.trigger_configure()
        node.trigger_activate()
        (camera,) = node._cameras
        assert after(camera._bodies, [pose(standing())] * 60).posture == "standing"
        node.reset()
        # The publisher of the keypoints goes on with the same id.
        one = [pose(lying())]
        assert after(camera._bodies, one, 60).posture == after(BodyTracker(), one, 60).posture
    finally:
        node.destroy_node()
        gc.unfreeze()


def test_reset_of_the_detector_forgets_an_image_that_waits(ros) -> None:
    from emf_ros.nodes.keypoint_detector import KeypointDetector

    taken: list[int] = []
    node: Any = KeypointDetector(on_keypoints=lambda frame: taken.append(frame.stamp_ns))
    blank = np.zeros((48, 64, 3), np.uint8)
    try:
        node.trigger_configure()
        node.trigger_activate()
        # Its thread has not looked yet.
        with node._arrived:
            node._newest, node._when_idle.busy = image_message(blank, 100 * SECOND_NS), True
        node.reset()
        with node._arrived:
            assert not node._when_idle.busy
            node._arrived.notify_all()
        # The thread looks in vain, and waits again.
        wait_for(lambda: node.wait_idle(0.0), "the thread's rest")
        node.submit(image_message(blank, SECOND_NS))
        wait_for(lambda: SECOND_NS in taken, "the first image after the reset")
        assert taken == [SECOND_NS] and not node.counts.total()
    finally:
        node.destroy_node()
        gc.unfreeze()


def test_a_new_subscriber_is_not_told_at_once_that_no_images_arrive(ros) -> None:
    """Images come because of the subscriber: `ros2 topic echo --once` must not get that message."""
    from emf_ros.nodes.skeleton_lifter import SkeletonLifter
    from emf_ros_msgs.msg import Skeleton3DArray

    node: Any = SkeletonLifter()
    other = rclpy.create_node("waits_for_people")
    try:
        node.trigger_configure()
        node.trigger_activate()
        (camera,) = node._cameras
        # Nobody has heard anything for hours.
        camera._told_s -= 1e4
        assert not camera.is_silent()
        camera._told_s -= 1e4
        other.create_subscription(Skeleton3DArray, "skeletons", print, 1)
        wait_for(camera.is_wanted, "the subscriber")
        assert not camera.is_silent()
        camera._told_s -= 1e4
        assert camera.is_silent()
    finally:
        other.destroy_node()
        node.destroy_node()
        gc.unfreeze()


def test_a_track_that_had_ended_untold_is_told_of_at_deactivation(ros) -> None:
    from emf_ros.nodes.skeleton_lifter import SkeletonLifter
    from emf_ros_msgs.msg import Skeleton3DArray

    node: Any = SkeletonLifter()
    heard = ros.listen(Skeleton3DArray, "skeletons")

    def told(name: str) -> int:
        state = tracking_state(name)
        people = [s for m in list(heard.messages) for s in m.skeletons]
        return sum(s.track_id == 7 and s.tracking_state == state for s in people)

    try:
        node.trigger_configure()
        node.trigger_activate()
        (camera,) = node._cameras
        wait_for(camera.is_wanted, "the subscriber")
        node.take_info(camera_info_message())
        for step in range(8):
            node.submit(frame_of([walker(8)[step]], FRAME_NS * (step + 1), (7,)))
        wait_for(lambda: told("WARMING_UP") + told("TRACKED"), "the person")
        later = [frame_of([walker(8)[7]], FRAME_NS * step, (7,)) for step in (9, 10)]
        for frame in hour_later_in_another_shape(later):
            node.submit(frame)
        wait_for(lambda: camera.log.counts["camera_info_size_mismatch"], "the refusal")
        node.trigger_deactivate()
        wait_for(lambda: told("ENDED"), "the end")
        assert told("ENDED") == 1
    finally:
        node.destroy_node()
        gc.unfreeze()


@pytest.mark.parametrize("name", ["skeleton_lifter", "keypoint_detector"])
def test_cleanup_frees_the_model(ros, name: str) -> None:
    from emf_ros.nodes.keypoint_detector import KeypointDetector
    from emf_ros.nodes.skeleton_lifter import SkeletonLifter

    node: Any = SkeletonLifter() if name == "skeleton_lifter" else KeypointDetector()
    try:
        node.trigger_configure()
        model = node._engine if name == "skeleton_lifter" else node._tracker.detector
        freed = weakref.ref(model)
        del model
        node.trigger_activate()
        node.trigger_deactivate()
        assert freed() is not None
        node.trigger_cleanup()
        assert freed() is None
    finally:
        node.destroy_node()
        # A node's process collects its garbage less often than this one.
        gc.unfreeze()
