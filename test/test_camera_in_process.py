"""The camera in the process of the detector and the lifter: images by reference, skeletons out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import camera_in_process
import cv2
import numpy as np
import pytest
from inputs import FRAME_SIZE, write_clip
from ros_session import change, points, stamp_ns, wait_for

#: Rate of the clip, Hz: slow enough for a busy machine.
RATE_HZ = 4.0
#: Number of images of the clip; two people are in the last ones.
COUNT = 24

PROGRAMS = camera_in_process.__file__


@pytest.fixture(scope="module")
def clip(tmp_path_factory, demo_frames) -> Path:
    return write_clip(
        tmp_path_factory.mktemp("clip") / "clip.mp4", demo_frames[20 : 20 + COUNT], RATE_HZ
    )


@pytest.fixture
def shades(tmp_path) -> Path:
    """A folder of images of one grey each, 10 times their number."""
    for index in range(20):
        picture = np.full((480, 640, 3), 10 * index, np.uint8)
        cv2.imwrite(str(tmp_path / f"{index:02}.png"), picture)
    return tmp_path


def assert_whole(images: list[Any], rate_hz: float) -> None:
    """Each image has the pixels of its own stamp, and no others."""
    first_ns, before = 0, 256
    for image in images:
        (shade,) = set(image.data)
        begin_ns = stamp_ns(image) - round(shade / 10 * 1e9 / rate_hz)
        if shade <= before:
            # The folder begins anew, at a time of its own.
            first_ns = begin_ns
        assert abs(begin_ns - first_ns) * rate_hz / 1e9 < 0.5
        before = shade


def parameters_file(folder: Path, name: str = "parameters.yaml", **nodes: dict[str, Any]) -> Path:
    path = folder / name
    sections = {f"/**/{node}": {"ros__parameters": own} for node, own in nodes.items()}
    path.write_text(json.dumps(sections))
    return path


def test_subscribers_get_whole_images_though_their_memory_is_used_again(
    ros, start_node, shades
) -> None:
    from sensor_msgs.msg import Image

    process = start_node(
        "video_source", source=shades, rate_hz=20.0, loop=True, start_when_subscribed=True
    )
    first, second = (ros.listen(Image, process.topic("image")) for _ in range(2))
    for images in (first, second):
        wait_for(lambda images=images: len(images) >= 8, "images")
        assert_whole(images.messages[:20], 20.0)


def test_an_image_in_the_hands_of_the_detector_is_not_overwritten(ros, start_node, shades) -> None:
    from sensor_msgs.msg import Image

    process = start_node(
        PROGRAMS, expect=False, options=("keeps",), source=shades, rate_hz=20.0, loop=True
    )
    # For a subscriber every frame is written, while the detector has another one.
    images = ros.listen(Image, process.topic("image"))
    wait_for(lambda: len(images) >= 40, "images")
    wait_for(lambda: process.log.count("intact") >= 5 or "over" in process.log, "kept images")
    assert "overwritten" not in process.log
    assert_whole(images.messages[:20], 20.0)


def test_each_frame_is_taken_by_the_detector_or_counted(start_node, diagnostics, shades) -> None:
    def some_of_each() -> bool:
        process = start_node(
            PROGRAMS, expect=False, options=("keeps",), source=shades, rate_hz=20.0, loop=False
        )
        said = diagnostics(process.topic("video_source"))

        def fates() -> list[int]:
            counters = said.count("detector_busy"), said.count("late_frame_skipped")
            return [process.log.count("intact"), *counters]

        wait_for(lambda: "has ended" in process.log and sum(fates()) == 20, "each frame's fate")
        taken, busy, _ = fates()
        process.stop()
        # A source that gets no core for a second skips the rest of this short video.
        return bool(taken and busy)

    wait_for(some_of_each, "frames that were taken, and others that found the detector busy")


def test_a_camera_that_is_unplugged_is_opened_again(ros, start_node, diagnostics) -> None:
    from sensor_msgs.msg import CameraInfo

    process = start_node(PROGRAMS, expect=False, options=("unplugged",), source="0")
    infos = ros.listen(CameraInfo, process.topic("camera_info"))
    said = diagnostics(process.topic("video_source"))
    wait_for(lambda: said.count("source_failed") == 1, "the loss of the camera")
    wait_for(lambda: said.count("source_not_open") == 2, "attempts to open it")
    before = len(infos)
    wait_for(lambda: len(infos) > before + camera_in_process.FRAMES, "more frames")
    wait_for(lambda: process.log.count("intact") > camera_in_process.FRAMES, "images")
    assert "overwritten" not in process.log
    assert (np.diff([stamp_ns(info) for info in infos.messages]) > 0).all()


def test_a_video_that_decodes_too_slowly_still_gives_a_frame_now_and_then(
    ros, start_node, diagnostics
) -> None:
    from sensor_msgs.msg import CameraInfo

    process = start_node(PROGRAMS, expect=False, options=("slow",), source="slow.mp4")
    infos = ros.listen(CameraInfo, process.topic("camera_info"))
    said = diagnostics(process.topic("video_source"))
    # The first two may be in time.
    wait_for(lambda: len(infos) > 4, "frames of a video that is late for ever")
    wait_for(lambda: said.count("late_frame_skipped") > 4, "skipped frames")


def people(messages: list[Any], first_ns: int) -> dict[int, dict[int, np.ndarray]]:
    """(18, 3) m, root and joints, by id, by time since the first image, ms."""
    return {
        round((stamp_ns(message) - first_ns) / 1e6): {
            s.track_id: points([s.root, *(j.position for j in s.joints)]) for s in message.skeletons
        }
        for message in messages
    }


def test_all_nodes_in_one_process_give_the_skeletons_of_separate_ones(
    ros, start_node, diagnostics, clip, tmp_path
) -> None:
    from sensor_msgs.msg import CameraInfo

    from emf_ros_msgs.msg import Skeleton3DArray

    def listen(process: Any) -> tuple[Any, Any]:
        skeletons = ros.listen(Skeleton3DArray, process.topic("skeletons"))
        return skeletons, ros.listen(CameraInfo, process.topic("camera_info"))

    source = {"source": str(clip), "fov_deg": 60.0, "start_when_subscribed": True}
    replay = {"synchronous": True, "device": "cpu"}
    path = parameters_file(
        tmp_path,
        video_source=source,
        keypoint_detector=replay,
        skeleton_lifter={**replay, "threads": 1},
    )

    def ended(process: Any) -> Any:
        said = diagnostics(process.topic("video_source"))
        wait_for(lambda: (s := said.last()) and s.message == "the video has ended", "the end")
        return said

    def separate() -> dict[int, dict[int, np.ndarray]] | None:
        """Skeletons of separate nodes; None where a busy machine has skipped an image."""
        lifter = start_node("skeleton_lifter", params_file=path)
        space = {"namespace": lifter.namespace, "params_file": path}
        skeletons, infos = listen(lifter)
        nodes = [lifter, start_node("keypoint_detector", **space)]
        ros.connect(lifter.topic("skeleton_lifter"))
        nodes.append(start_node("video_source", **space))
        said = ended(nodes[-1])
        said.wait_for_next()
        if said.count("late_frame_skipped"):
            for node in nodes:
                node.stop()
            return None
        wait_for(lambda: len(skeletons) >= COUNT, "every skeleton")
        return people(skeletons.messages, stamp_ns(infos.messages[0]))

    waiting = parameters_file(
        tmp_path,
        name="waiting.yaml",
        video_source={**source, "autostart": False},
        keypoint_detector=replay,
        skeleton_lifter={**replay, "threads": 1},
    )
    composed = start_node("composed", params_file=waiting, options=("--camera",))
    skeletons, infos = listen(composed)
    node = composed.topic("video_source")
    # The camera plays at once; the nodes know this session's subscriptions first.
    ros.connect(composed.topic("skeleton_lifter"))
    assert change(ros, node, "configure")
    wait_for(lambda: ros.node.count_publishers(composed.topic("camera_info")), "camera_info")
    ros.connect(node)
    assert change(ros, node, "activate")
    ended(composed)
    wait_for(lambda: skeletons.messages, "skeletons")
    expected = wait_for(separate, "a run without a skipped image")
    assert max(map(len, expected.values())) == 2
    last_ns = stamp_ns(skeletons.messages[-1])
    found = people(skeletons.messages, last_ns - max(expected) * 1_000_000)
    assert len(found) > COUNT // 2
    for at_ms, here in found.items():
        there = min(expected, key=lambda ms, at_ms=at_ms: abs(ms - at_ms))
        assert abs(there - at_ms) <= 1
        assert here.keys() == expected[there].keys()
        for track_id, joints in here.items():
            assert np.allclose(joints, expected[there][track_id], atol=1e-4, equal_nan=True)
    assert FRAME_SIZE == (infos.messages[0].width, infos.messages[0].height)


def test_the_process_ends_after_the_video_with_all_its_skeletons(
    ros, start_node, clip, tmp_path
) -> None:
    from emf_ros_msgs.msg import Skeleton3DArray

    source = {"source": str(clip), "exit_at_end": True, "start_when_subscribed": True}
    path = parameters_file(tmp_path, video_source=source)
    process = start_node("composed", params_file=path, options=("--camera",))
    skeletons = ros.listen(Skeleton3DArray, process.topic("skeletons"))
    assert process.wait() == 0
    assert "Traceback" not in process.log
    wait_for(lambda: skeletons.messages, "skeletons")


def test_an_unknown_option_ends_the_process(start_node) -> None:
    process = start_node("composed", expect=False, options=("--kamera",))
    assert process.wait() == 1
    assert "--kamera" in process.log and "--camera" in process.log
    assert "Traceback" not in process.log


def test_a_camera_in_the_process_refuses_compressed_images(start_node, tmp_path) -> None:
    path = parameters_file(tmp_path, keypoint_detector={"image_transport": "compressed"})
    process = start_node("composed", expect=False, params_file=path, options=("--camera",))
    assert process.wait() == 1
    assert "image_transport" in process.log and "Traceback" not in process.log
