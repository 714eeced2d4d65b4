"""CameraInfo of rectified, cut out and binned images: the conversion, and the real lifter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from inputs import FRAME_SIZE, camera_info_message
from lifter_process import Lifter, by_id, root
from ros_session import poll, wait_for

from emf_ros.geometry.camera import Camera, CameraError

K = np.array([[600.0, 0, 331], [0, 606, 243], [0, 0, 1]])
PROJECTED = np.array([[550.0, 0, 300], [0, 551, 250], [0, 0, 1]])
D = [-0.32, 0.12, 0.001, -0.0008, -0.02]


def info(**values: Any) -> Any:
    """A calibrated stereo pair's right camera, raw images 640x480."""
    from sensor_msgs.msg import CameraInfo

    projection = np.concatenate([PROJECTED, [[-66.0], [0], [0]]], axis=1)
    message = CameraInfo(
        width=640,
        height=480,
        distortion_model="plumb_bob",
        d=D,
        k=K.ravel().tolist(),
        p=projection.ravel().tolist(),
    )
    for name, value in values.items():
        setattr(message, name, value)
    return message


def set_roi(message: Any, x: int, y: int, width: int, height: int) -> Any:
    message.roi.x_offset, message.roi.y_offset = x, y
    message.roi.width, message.roi.height = width, height
    return message


def converted(message: Any, rectified: bool = False) -> Camera | None:
    from emf_ros.io.camera_info import camera_from_info

    return camera_from_info(message, rectified)


@pytest.mark.parametrize("do_rectify", [False, True])
@pytest.mark.parametrize("binning", [(0, 0), (1, 2), (2, 2)])
@pytest.mark.parametrize("rectified", [False, True])
def test_roi_and_binning_of_camera_info(rectified: bool, binning: tuple, do_rectify: bool) -> None:
    from emf_ros.io.camera_info import delivered_size

    message = set_roi(info(binning_x=binning[0], binning_y=binning[1]), 80, 40, 320, 400)
    message.roi.do_rectify = do_rectify
    camera = converted(message, rectified)
    full = Camera(PROJECTED if rectified else K, (640, 480), [] if rectified else np.array(D))
    across, down = (max(n, 1) for n in binning)
    assert camera.size == (320 // across, 400 // down) == delivered_size(message)
    points = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 4), (50, 3))
    pixels = (full.project(points) - (80, 40) + 0.5) / (across, down) - 0.5
    assert camera.project(points) == pytest.approx(pixels)


def test_camera_info_without_roi_is_of_the_full_image() -> None:
    camera = converted(info())
    assert camera.size == (640, 480) and (camera.matrix == K).all()
    whole = converted(set_roi(info(), 0, 0, 640, 480))
    assert (whole.matrix == K).all() and whole.full_size is None


def test_rectified_camera_info_is_p_without_distortion() -> None:
    camera = converted(info(), rectified=True)
    assert (camera.matrix == PROJECTED).all() and not camera.distortion.any()
    # K and a distortion that is not known do not matter.
    other = info(k=[0.0] * 9, d=[float("nan")] * 3, distortion_model="magic")
    assert (converted(other, rectified=True).matrix == PROJECTED).all()


def test_zeros_are_no_intrinsics() -> None:
    from emf_ros.io.camera_info import delivered_size

    assert converted(info(k=[0.0] * 9)) is None
    assert delivered_size(info(k=[0.0] * 9, binning_x=2)) == (320, 480)
    assert converted(info(p=[0.0] * 12), rectified=True) is None
    assert converted(info(p=[0.0] * 12)) is not None


def test_a_roi_outside_the_image_is_refused() -> None:
    with pytest.raises(CameraError, match="roi"):
        converted(set_roi(info(), 600, 0, 320, 240))


# --- the real lifter -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(ros, start_shared_node, diagnostics, demo_keypoints) -> Lifter:
    process = start_shared_node("skeleton_lifter", device="cpu", threads=1, synchronous=True)
    return Lifter(ros, process, diagnostics, demo_keypoints).connect()


@pytest.fixture(scope="module")
def expected(plain: Lifter) -> np.ndarray:
    """The root after 15 images with ideal intrinsics of their size, (3,) m."""
    return root_with(plain, camera_info_message())


def feed_with(lifter: Lifter, message: Any, condition: Callable[[Any], bool], what: str) -> None:
    """Images of new people, each with these intrinsics, until the first meets a condition."""
    ids = lifter.new_ids()
    for _ in range(300):
        lifter.send_info(message)
        person = by_id(lifter.feed(ids)).get(ids[0])
        if person and condition(person):
            return
    pytest.fail(f"300 images and not once: {what}")


def root_with(lifter: Lifter, message: Any, tried: np.ndarray | None = None) -> np.ndarray:
    """The first person's root after 15 images with these intrinsics, (3,) m.

    Args:
        lifter: that is asked.
        message: the intrinsics.
        tried: (3,) m, the root that is expected: wait until these intrinsics are in use, after
            others with which people are four times as far.
    """
    if tried is not None:
        # The same person is nearer or farther in other images.
        feed_with(lifter, message, lambda p: p.root.z < 2 * tried[2], "about that distance")
    ids, lifter.index = lifter.new_ids(), 0
    return root(by_id(lifter.feed(ids, 15))[ids[0]])


def narrow(message: Any) -> Any:
    """Other intrinsics of the same images: four times the focal length, in K and in P."""
    other = copy.deepcopy(message)
    for values in (other.k, other.p):
        values[0] *= 4
        values[4 if values is other.k else 5] *= 4
    return other


def test_the_lifter_takes_p_for_rectified_images(
    ros, start_node, diagnostics, demo_keypoints, expected
) -> None:
    process = start_node(
        "skeleton_lifter", device="cpu", threads=1, rectified=True, synchronous=True
    )
    lifter = Lifter(ros, process, diagnostics, demo_keypoints)
    ideal = camera_info_message()
    # A synchronous lifter waits for the first intrinsics; these have no P.
    lifter.send_info(ideal)
    lifter.connect(info=False)
    p = np.zeros((3, 4))
    p[:, :3] = np.array(ideal.k).reshape(3, 3)
    p[0, 3] = -0.12 * p[0, 0]
    for k, d in (([0.0] * 9, []), ([3.0 * x for x in ideal.k[:8]] + [1.0], D)):
        message = camera_info_message()
        message.k, message.d, message.p = k, d, p.ravel().tolist()
        feed_with(lifter, narrow(message), lambda p: p.root.z > 3 * expected[2], "much farther")
        assert root_with(lifter, message, expected) == pytest.approx(expected, rel=1e-3)
    # Without P there are no intrinsics, whatever K says.
    feed_with(lifter, ideal, lambda p: not p.root_valid, "no root")
    wait_for(lambda: "P, which rectified images need" in lifter.process.log, "what is missing")


def larger(factor: int, offset: tuple[int, int] = (0, 0)) -> Any:
    """CameraInfo of a sensor of which the images are a part, or a binned version."""
    width, height = FRAME_SIZE
    message = camera_info_message()
    k = np.array(message.k).reshape(3, 3)
    if factor > 1:
        k = np.diag([factor, factor, 1]) @ k
        k[:2, 2] += (factor - 1) / 2
        message.binning_x = message.binning_y = factor
    k[:2, 2] += offset
    message.k = k.ravel().tolist()
    message.width = factor * width + 2 * offset[0]
    message.height = factor * height + 2 * offset[1]
    if any(offset):
        set_roi(message, *offset, factor * width, factor * height)
    return message


@pytest.mark.parametrize(
    ("factor", "offset"), [(2, (0, 0)), (1, (120, 64)), (2, (120, 64)), (3, (7, 5))]
)
def test_the_lifter_takes_roi_and_binning(
    plain: Lifter, expected: np.ndarray, factor: int, offset: tuple[int, int]
) -> None:
    feed_with(
        plain, narrow(camera_info_message()), lambda p: p.root.z > 3 * expected[2], "much farther"
    )
    found = root_with(plain, larger(factor, offset), expected)
    assert found == pytest.approx(expected, rel=1e-3)


def test_images_that_are_not_the_roi_are_refused_with_the_remedy(plain: Lifter) -> None:
    """The roi has the full image's aspect ratio, and the images the full size."""
    width, height = FRAME_SIZE
    quarter = width // 4, height // 4, width // 2, height // 2
    message = set_roi(camera_info_message(), *quarter)
    ids = plain.new_ids()
    wait_for(plain.diagnostics.last, "diagnostics")
    before = plain.diagnostics.count("camera_info_size_mismatch")

    def counted() -> bool:
        plain.send_info(message)
        plain._keypoints.publish(plain.make(ids))
        return poll(lambda: plain.diagnostics.count("camera_info_size_mismatch") > before, 0.1)

    wait_for(counted, "the count")
    wait_for(lambda: "must be that of the images" in plain.process.log, "the remedy")
    plain.feed_until_answered(camera_info_message())


def test_suspicious_intrinsics_are_logged_once(plain: Lifter) -> None:
    message = camera_info_message()
    message.k[2] = 5000.0
    feed_with(plain, message, lambda p: "outside the image" in plain.process.log, "the warning")
    left = iter(range(10))
    feed_with(plain, message, lambda p: next(left, None) is None, "ten more images")
    assert plain.process.log.count("outside the image") == 1


def test_the_lifter_hints_at_images_that_are_called_rectified(
    ros, start_node, diagnostics, demo_keypoints
) -> None:
    from sensor_msgs.msg import CameraInfo

    detector = start_node(
        "keypoint_detector", remappings=("image:=camera/image_rect_color",), device="cpu"
    )
    topic = detector.topic("keypoints")
    own = {"device": "cpu", "threads": 1, "remappings": (f"keypoints:={topic}",)}
    unaware = start_node("skeleton_lifter", **own)
    aware = start_node("skeleton_lifter", rectified=True, **own)
    infos = [ros.publisher(CameraInfo, node.topic("camera_info")) for node in (unaware, aware)]

    def hinted() -> bool:
        for publisher in infos:
            publisher.publish(info())
        return poll(lambda: "rectified:=true on skeleton_lifter" in unaware.log, 0.2)

    wait_for(hinted, "the hint")
    assert detector.topic("camera/image_rect_color") in unaware.log
    # Three more rounds of the same timers' period: nothing more is said.
    for node in (unaware, aware):
        seen = diagnostics(node.topic("skeleton_lifter"))
        count = len(seen.all)
        wait_for(lambda s=seen, c=count: len(s.all) > c + 3, "diagnostics")
    assert unaware.log.count("rectified:=true") == 1
    assert "rectified:=true" not in aware.log


def test_rectified_topics_are_recognised_by_name() -> None:
    from emf_ros.nodes.rectified_hint import is_rectified, rectification_matters

    for name in ("/image_rect", "/left/image_rect_color", "/rgb/color/rect/image", "/a_rectified"):
        assert is_rectified(name), name
    for name in ("/image_raw", "/image", "/direct/image", "/rectangle/image", "/correct_image"):
        assert not is_rectified(name), name
    assert rectification_matters(info())
    # An ideal camera's K and P are the same, or P is not given: nothing to hint at.
    assert not rectification_matters(camera_info_message())
    assert not rectification_matters(info(d=[], k=PROJECTED.ravel().tolist()))
