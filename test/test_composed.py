"""Detector and lifter in one process: images in, skeletons out."""

from __future__ import annotations

import time

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

    def show(index: int) -> None:
        stamp = begin + len(sent) * FRAME_NS
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
    for index in range(1, 26):
        before = len(skeletons)
        show(index)
        wait_for(lambda seen=before: len(skeletons) > seen, "skeletons")

    tracked = [
        (message, skeleton)
        for message in skeletons.messages
        for skeleton in message.skeletons
        if skeleton.tracking_state == Skeleton3D.TRACKED and skeleton.root_valid
    ]
    assert len({skeleton.track_id for _, skeleton in tracked}) == 2
    for message, skeleton in tracked:
        assert stamp_ns(message) in sent
        assert message.header.frame_id == "test_camera"
        assert message.detect_ms > 0 and message.lift_ms > 0
        assert len(skeleton.joints) == 17 and 1.0 < skeleton.root.z < 20.0
    # The keypoints that others want are published all the same, with the same ids.
    assert {s.track_id for m in keypoints.messages for s in m.skeletons} >= {
        skeleton.track_id for _, skeleton in tracked
    }
    for name in ("keypoint_detector", "skeleton_lifter"):
        said = diagnostics(process.topic(name))
        wait_for(lambda said=said: said.last() and said.last().level == b"\0", f"{name} is well")


def test_a_detector_that_cannot_start_ends_the_composed_process(start_node, tmp_path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("/**/keypoint_detector:\n  ros__parameters:\n    variant: heavy\n")
    process = start_node("composed", expect=False, params_file=path)
    assert process.wait() == 1
    assert "Traceback" not in process.log
    assert "variant" in process.log and "heavy" in process.log
