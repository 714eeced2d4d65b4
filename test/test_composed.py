"""Detector and lifter in one process: images in, skeletons out."""

from __future__ import annotations

import itertools
import time
from typing import Any

from inputs import FRAME_NS, camera_info_message, image_message, set_stamp
from ros_session import poll, stamp_ns, wait_for


def test_composed_turns_images_into_skeletons(ros, start_node, diagnostics, demo_frames) -> None:
    from sensor_msgs.msg import CameraInfo, Image

    from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3D, Skeleton3DArray

    process = start_node("composed")
    skeletons = ros.listen(Skeleton3DArray, process.topic("skeletons"))
    keypoints = ros.listen(Skeleton2DArray, process.topic("keypoints"))
    images = ros.publisher(Image, process.topic("image"))
    infos = ros.publisher(CameraInfo, process.topic("camera_info"))
    ros.connect(process.topic("skeleton_lifter"))
    begin = time.time_ns()
    sent: set[int] = set()

    def show(index: int, stamp: int = 0) -> None:
        stamp = stamp or begin + len(sent) * FRAME_NS
        sent.add(stamp)
        info = camera_info_message()
        set_stamp(info, stamp)
        infos.publish(info)
        images.publish(image_message(demo_frames[index], stamp))

    def answered() -> bool:
        # Intrinsics come on another topic, and may be late for the first image.
        show(0)
        return poll(lambda: skeletons.messages and keypoints.messages, 2.0)

    wait_for(answered, "a first answer")

    def tracked_people() -> list[tuple[Any, Any]]:
        return [
            (message, skeleton)
            for message in list(skeletons.messages)
            for skeleton in message.skeletons
            if skeleton.tracking_state == Skeleton3D.TRACKED and skeleton.root_valid
        ]

    # Back and forth, so that no person jumps: a busy machine detects the second one late.
    indices = itertools.chain(range(1, 26), itertools.cycle([*range(24, 12, -1), *range(12, 25)]))

    def both_tracked() -> bool:
        before = len(skeletons)
        show(next(indices))
        wait_for(lambda: len(skeletons) > before, "skeletons")
        return len(sent) > 25 and len({s.track_id for _, s in tracked_people()}) == 2

    wait_for(both_tracked, "two people who are TRACKED")
    tracked = tracked_people()
    for message, skeleton in tracked:
        assert stamp_ns(message) in sent
        assert message.header.frame_id == "test_camera"
        assert message.detect_ms > 0 and message.lift_ms > 0
        assert len(skeleton.joints) == 17 and 1.0 < skeleton.root.z < 20.0
    # The keypoints that others want are published all the same, with the same ids.
    assert {s.track_id for m in keypoints.messages for s in m.skeletons} >= {
        skeleton.track_id for _, skeleton in tracked
    }
    said = [diagnostics(process.topic(n)) for n in ("keypoint_detector", "skeleton_lifter")]

    def well() -> bool:
        # Rarely: results are late where the machine is busy. That images end is said after 3 s.
        show(next(indices), time.time_ns())
        return poll(lambda: all(s.last() and s.last().level == b"\0" for s in said), 2.5)

    wait_for(well, "both nodes are well")


def test_a_detector_that_cannot_start_ends_the_composed_process(start_node, tmp_path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("/**/keypoint_detector:\n  ros__parameters:\n    variant: heavy\n")
    process = start_node("composed", expect=False, params_file=path)
    assert process.wait() == 1
    assert "Traceback" not in process.log
    assert "variant" in process.log and "heavy" in process.log
