"""Detector and lifter in one process: images in, skeletons out."""

from __future__ import annotations

import time

from inputs import FRAME_NS, camera_info_message, image_message, set_stamp
from ros_session import stamp_ns, wait_for


def test_images_to_skeletons(ros, start_node, diagnostics, demo_frames) -> None:
    from sensor_msgs.msg import CameraInfo, Image

    from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3D, Skeleton3DArray

    process = start_node("composed")
    skeletons = ros.listen(Skeleton3DArray, process.topic("skeletons"))
    keypoints = ros.listen(Skeleton2DArray, process.topic("keypoints"))
    images = ros.publisher(Image, process.topic("image"))
    infos = ros.publisher(CameraInfo, process.topic("camera_info"))
    wait_for(lambda: images.get_subscription_count() == 1, "the detector listens")
    wait_for(lambda: infos.get_subscription_count() == 1, "the lifter listens")
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
        show(0)
        time.sleep(0.3)
        return bool(skeletons.messages) and bool(keypoints.messages)

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
    for node in ("keypoint_detector", "skeleton_lifter"):
        status = wait_for(diagnostics(process.topic(node)).last, f"diagnostics of {node}")
        assert status.level == b"\0"


def test_a_detector_that_cannot_start_ends_both(start_node, tmp_path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text("/**/keypoint_detector:\n  ros__parameters:\n    variant: heavy\n")
    process = start_node("composed", expect=False, params_file=path)
    assert process.wait() == 1
    assert "Traceback" not in process.log
    assert "variant" in process.log and "heavy" in process.log
