"""The real keypoint_detector process: real images in, and what no camera should send."""

from __future__ import annotations

import gc
import threading
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from detector_process import Detector, assert_sane
from inputs import FRAME_NS, FRAME_SIZE, image_message
from ros_session import REPEAT_S, TIMEOUT_S, poll, stamp_ns, wait_for
from test_verification import shapes

from emf_ros.detect.factory import make_detector


@pytest.fixture(scope="module")
def detector(ros, start_shared_node, diagnostics, demo_frames) -> Detector:
    return Detector(ros, start_shared_node("keypoint_detector"), diagnostics, demo_frames)


def test_two_people_keep_their_ids(detector: Detector) -> None:
    detector.show_until_two()
    answers = detector.show_on(15)
    for answer in answers:
        assert_sane(answer)
        assert answer.header.frame_id == "test_camera"
        assert len(answer.skeletons) == 2
    ids = {tuple(sorted(s.track_id for s in a.skeletons)) for a in answers}
    assert len(ids) == 1 and len(set(*ids)) == 2
    # The ids stay on the same people: no person crosses the image from one frame to the next.
    for track_id in next(iter(ids)):
        at = [s.bbox[0] for a in answers for s in a.skeletons if s.track_id == track_id]
        assert np.abs(np.diff(at)).max() < FRAME_SIZE[0] / 5
    wait_for(lambda: detector.diagnostics.value("people") == "2", "two people in diagnostics")
    assert "onnxruntime" in detector.process.log


def test_a_black_image_is_answered_without_people(detector: Detector) -> None:
    black = np.zeros((FRAME_SIZE[1], FRAME_SIZE[0], 3), np.uint8)
    message = detector.make(black)
    answer = detector.send(message)
    assert answer.header == message.header
    assert list(answer.skeletons) == []
    assert (answer.image_width, answer.image_height) == FRAME_SIZE
    detector.assert_goes_on()


def test_false_positives_in_drawn_shapes_are_rejected_and_counted(detector: Detector) -> None:
    # As BGR, in the colours in which they pass for people.
    pictures = [np.ascontiguousarray(shapes(seed)[..., ::-1]) for seed in (0, 55)]
    # A busy computer verifies them later.
    for _ in range(40):
        for answer in detector.show([picture for picture in pictures for _ in range(6)]):
            assert list(answer.skeletons) == []
        if detector.diagnostics.count("false_positive") >= 1:
            break
    wait_for(lambda: detector.diagnostics.count("false_positive") >= 1, "the count")
    detector.assert_goes_on()


def test_an_image_of_another_size_is_answered(detector: Detector) -> None:
    small = cv2.resize(detector.frames[20], (641, 361))
    answer = detector.send(detector.make(small))
    assert (answer.image_width, answer.image_height) == (641, 361)
    detector.assert_goes_on()


def test_the_overlay_is_drawn_for_subscribers_only(ros, detector: Detector) -> None:
    from sensor_msgs.msg import Image

    topic = detector.process.topic("overlay")
    wait_for(lambda: ros.node.count_publishers(topic) == 1, "an overlay is offered")
    detector.assert_goes_on()
    overlays = ros.listen(Image, topic)
    since = detector.now
    shown: dict[int, np.ndarray] = {}

    def drawn() -> Any:
        picture = detector.frames[len(shown) % 40]
        message = detector.make(picture)
        found = detector.send(message).skeletons
        shown[stamp_ns(message)] = picture
        if not found:
            return None
        return poll(lambda: overlays.of_stamp(stamp_ns(message)), 2.0)

    overlay = wait_for(drawn, "an overlay of a picture with people")
    assert all(stamp_ns(m) > since for m in overlays.messages)
    assert (overlay.width, overlay.height) == FRAME_SIZE
    assert overlay.encoding == "bgr8" and overlay.header.frame_id == "test_camera"
    pixels = np.frombuffer(overlay.data, np.uint8).reshape(FRAME_SIZE[1], FRAME_SIZE[0], 3)
    changed = (pixels != shown[stamp_ns(overlay)]).any(axis=-1)
    # Something is drawn, and most of the image is left as it was.
    assert 0.0005 < changed.mean() < 0.3
    ros.unlisten(overlays)


def test_a_late_subscriber_gets_the_detectors_layout(ros, detector: Detector) -> None:
    from emf_ros_msgs.msg import SkeletonLayout

    late = ros.listen(SkeletonLayout, detector.process.topic("keypoint_layout"), latched=True)
    message = wait_for(lambda: late.messages, "the layout")[0]
    ros.unlisten(late)
    assert message.name == "blazepose33"
    assert len(message.joint_names) == len(set(message.joint_names)) == 33
    assert len(message.edges) % 2 == 0 and max(message.edges) < 33


def _short(message: Any) -> None:
    message.data = message.data[:-1000]


def _long(message: Any) -> None:
    message.data = message.data + array("B", bytes(1000))


def _encoding(message: Any) -> None:
    message.encoding = "rgb48q"


def _empty(message: Any) -> None:
    message.width = message.height = message.step = 0
    message.data = array("B")


def _step(message: Any) -> None:
    message.step = message.width


def _huge(message: Any) -> None:
    message.width = message.height = 10_000
    message.step = 30_000
    message.data = array("B", bytes(10))


@pytest.mark.parametrize("spoil", [_short, _long, _encoding, _empty, _step, _huge])
def test_a_bad_image_is_counted(detector: Detector, spoil: Callable[[Any], None]) -> None:
    message = detector.make(detector.frames[20])
    spoil(message)
    detector.send_refused(message)
    detector.assert_goes_on()


@pytest.fixture(scope="module")
def compressed(ros, start_shared_node, diagnostics, demo_frames) -> Detector:
    process = start_shared_node("keypoint_detector", image_transport="compressed", max_people=1)
    return Detector(ros, process, diagnostics, demo_frames, compressed=True)


def test_compressed_images_are_answered(compressed: Detector) -> None:
    compressed.assert_goes_on()


@pytest.mark.parametrize(
    "data",
    [b"", b"no picture at all" * 50, b"\xff\xd8\xff\xe0" + bytes(500)],
    ids=["empty", "text", "a JPEG's beginning"],
)
def test_a_damaged_jpeg_is_counted(compressed: Detector, data: bytes) -> None:
    compressed.send_refused(compressed.make_compressed(data))
    compressed.assert_goes_on()


def test_half_a_jpeg_is_answered_or_counted(compressed: Detector) -> None:
    whole = compressed.make(compressed.frames[20])
    half = compressed.make_compressed(bytes(whole.data[: len(whole.data) // 2]))
    before = compressed.diagnostics.count("bad_image")

    def answered_or_counted() -> Any:
        compressed._images.publish(half)
        return poll(
            lambda: (
                compressed.keypoints.of_stamp(stamp_ns(half))
                or compressed.diagnostics.count("bad_image") > before
            ),
            REPEAT_S,
        )

    wait_for(answered_or_counted, "an answer or a count")
    compressed.assert_goes_on()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param(
            {"image_transport": "theora"}, ["image_transport", "theora", "raw"], id="choice"
        ),
        pytest.param({"max_people": 0}, ["max_people"], id="range"),
        pytest.param({"roi": [0, 0, 100]}, ["roi", "x, y, width, height"], id="roi's length"),
        pytest.param({"roi": [0, -1, 100, 100]}, ["roi"], id="roi's sign"),
        pytest.param({"max_rate_hz": -1.0}, ["max_rate_hz"], id="rate"),
        pytest.param({"min_score": "good"}, ["min_score"], id="type"),
        pytest.param({"max_persons": 2}, ["max_persons", "max_people"], id="name"),
    ],
)
def test_bad_parameters_end_the_process(
    start_node, parameters: dict[str, Any], expected: list[str]
) -> None:
    process = start_node("keypoint_detector", expect=False, **parameters)
    assert process.wait() == 1
    assert "Traceback" not in process.log
    for word in expected:
        assert word in process.log


# ------------------------------------------------------------------------------ what it costs


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_keypoints_of_a_shrunk_roi_are_those_of_the_whole_image(
    ros, start_node, diagnostics, demo_frames, transport: str
) -> None:
    """The left half is the man's; his keypoints are where they are in the whole image."""
    process = start_node(
        "keypoint_detector",
        image_transport=transport,
        roi=[0, 0, FRAME_SIZE[0] // 2, 0],
        max_side=FRAME_SIZE[0] // 4,
        # A live one detects people late where the machine is busy.
        synchronous=True,
    )
    node = Detector(ros, process, diagnostics, demo_frames, compressed=transport == "compressed")
    answers = node.show(node.frames[20:30])
    seen = [s for a in answers for s in a.skeletons]
    assert len(seen) >= 5
    for answer in answers:
        assert (answer.image_width, answer.image_height) == FRAME_SIZE
    picture = cv2.cvtColor(demo_frames[29], cv2.COLOR_BGR2RGB)
    everyone = make_detector("blazepose", "full", 2, 0.4, device="cpu").detect(picture, 0)
    man = min(everyone, key=lambda person: person.box()[0])
    wanted = man.keypoints[:, :2]
    found = np.array([(k.x, k.y) for k in answers[-1].skeletons[0].keypoints])
    apart = np.linalg.norm(found - wanted, axis=1)
    assert np.median(apart) < 0.03 * np.ptp(wanted[:, 1])


def test_max_rate_hz_drops_images_by_their_stamps(
    ros, start_node, diagnostics, demo_frames
) -> None:
    # In order and all of them: what is left out is left out by its stamp.
    process = start_node("keypoint_detector", max_rate_hz=10.0, synchronous=True)
    node = Detector(ros, process, diagnostics, demo_frames)
    # Later than every image before them, and no jump.
    begin = node.now + 500_000_000
    messages = [node.make(frame) for frame in node.frames[:13]]
    for index, message in enumerate(messages):
        # 30 Hz, every other image a little early.
        at = begin + index * FRAME_NS - (index % 2) * 2_000_000
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(at, 10**9)
        node._images.publish(message)
    last = stamp_ns(messages[12])
    wait_for(lambda: node.keypoints.of_stamp(last), "the last image's answer")
    answered = [i for i, m in enumerate(messages) if node.keypoints.of_stamp(stamp_ns(m))]
    assert answered == [0, 3, 6, 9, 12]
    wait_for(lambda: node.diagnostics.count("over_max_rate") >= 8, "those left out are counted")


# ------------------------------------------------------------------------------ stamps


@pytest.mark.parametrize("rate_hz", [0.0, 30.0])
def test_one_odd_stamp_costs_no_id(
    ros, start_node, diagnostics, demo_frames, rate_hz: float
) -> None:
    process = start_node(
        "keypoint_detector", detector="blazepose", synchronous=True, max_rate_hz=rate_hz
    )
    node = Detector(ros, process, diagnostics, demo_frames)
    right = [node.make(frame) for frame in node.frames[:40]]
    odd = [0, node.now - 10**10, node.now + 36 * 10**11, -(10**9)]
    messages = []
    for index, message in enumerate(right):
        messages.append(message)
        if index in (15, 20, 25, 30):
            messages.append(image_message(node.frames[index], odd.pop()))
    sent = {stamp_ns(m) for m in right}
    last = None
    for message in messages:
        if stamp_ns(message) in sent:
            last = node.send(message)
        else:
            node._images.publish(message)
    wait_for(lambda: node.diagnostics.count("stamp_outlier") == 4, "the count")
    assert len(last.skeletons) == 2
    # Two people, of whom one comes later: two ids, and no more.
    assert {s.track_id for m in node.keypoints.messages for s in m.skeletons} == {1, 2}
    assert {
        stamp_ns(m) for m in node.keypoints.messages if stamp_ns(m) > stamp_ns(right[0])
    } <= sent


def test_a_looping_bag_is_accepted_from_its_second_image(
    ros, start_node, diagnostics, demo_frames
) -> None:
    process = start_node("keypoint_detector", synchronous=True)
    node = Detector(ros, process, diagnostics, demo_frames)
    first = node.send(node.make(node.frames[0]))
    node.now -= 20 * 10**9
    again = [node.make(node.frames[0]) for _ in range(3)]
    for message in again:
        node._images.publish(message)
    wait_for(lambda: node.keypoints.of_stamp(stamp_ns(again[2])), "an answer after the jump")
    assert node.keypoints.of_stamp(stamp_ns(again[0])) is None
    assert node.keypoints.of_stamp(stamp_ns(again[1])) is not None
    assert stamp_ns(first) > stamp_ns(again[2])


def test_stamps_that_are_all_zero_are_reported(ros, start_node, diagnostics, demo_frames) -> None:
    process = start_node("keypoint_detector", synchronous=True)
    node = Detector(ros, process, diagnostics, demo_frames)

    def said() -> bool:
        counted = node.diagnostics.count("stamps_all_equal") >= 4
        return counted and node.diagnostics.has_error("images", "does not stamp its images")

    def reported() -> bool:
        node._images.publish(image_message(node.frames[0], 0))
        return poll(said, 0.1)

    # While images come: when they have stopped, that is said.
    wait_for(reported, "the count, and an error with the remedy")
    assert process.log.count("set header.stamp") == 1
    node.assert_goes_on()


# ------------------------------------------------------------------------------ devices


def test_blazepose_does_not_run_on_a_cpu_when_a_gpu_is_asked_for(start_node) -> None:
    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/nvgpu", "/dev/nvmap")):
        pytest.skip("here is a GPU")
    process = start_node("keypoint_detector", expect=False, detector="blazepose", device="cuda")
    assert process.wait() != 0
    assert "a GPU is required" in process.log


# ------------------------------------------------------------------------------ a slow end


def test_an_image_at_work_over_a_restart_leaves_no_second_thread(ros, monkeypatch) -> None:
    """A machine that is busy for seconds."""
    from emf_ros.nodes import keypoint_detector

    held, release = threading.Event(), threading.Event()
    workers: list[threading.Thread] = []

    def hold(image: Any) -> None:
        workers.append(threading.current_thread())
        held.set()
        assert release.wait(TIMEOUT_S)

    monkeypatch.setattr(keypoint_detector, "STOP_TIMEOUT_S", 0.1)
    node: Any = keypoint_detector.KeypointDetector()
    monkeypatch.setattr(node, "_detect", hold)
    try:
        node.trigger_configure()
        node.trigger_activate()
        node.submit(image_message(np.zeros((48, 64, 3), np.uint8), 1))
        assert held.wait(TIMEOUT_S)
        node.trigger_deactivate()
        node.trigger_activate()
        release.set()
        wait_for(lambda: not workers[0].is_alive(), "the end of the old thread")
        node.submit(image_message(np.zeros((48, 64, 3), np.uint8), 2))
        wait_for(lambda: len(workers) == 2, "the new thread's image")
        assert workers[1] is not workers[0]
    finally:
        release.set()
        node.destroy_node()
        gc.unfreeze()
