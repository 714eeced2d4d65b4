"""The node skeleton_viewer, as a process: what it subscribes to, and what a browser then gets."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from bodies import Body
from inputs import image_message, set_stamp
from ros_session import NodeProcess, wait_for
from viewer_client import Browser

from emf_ros.geometry.camera import Camera
from emf_ros.io.recordings import load_recording
from emf_ros.skeletons import H36M17
from emf_ros.types import Frame2D, Frame3D, Pose2D, Pose3D, TrackState

CAMERA = Camera.from_fov(640, 480, 60.0)
SECOND = 1_000_000_000
#: Time between two images, and from an image to poses that are no image's, ns.
STEP_NS = SECOND // 10
POSES_LATER_NS = 37_000_000


def start() -> NodeProcess:
    return NodeProcess("skeleton_viewer", f"/viewer_{uuid.uuid4().hex}", port=0)


def port_of(node: NodeProcess) -> int:
    """The port that the log names."""
    found = wait_for(lambda: re.search(r"open http://127\.0\.0\.1:(\d+)", node.log), "the address")
    return int(found[1])


@pytest.fixture(scope="module")
def node(ros: Any) -> Iterator[NodeProcess]:
    made = start()
    yield made
    made.stop()


class Robot:
    """Publishes what detector, lifter and camera publish."""

    def __init__(self, ros: Any, node: NodeProcess) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from sensor_msgs.msg import CameraInfo, CompressedImage

        from emf_ros_msgs.msg import Skeleton3DArray

        self._ros = ros
        self.skeletons = ros.publisher(Skeleton3DArray, node.topic("skeletons"))
        self.info = ros.publisher(CameraInfo, node.topic("camera_info"))
        self.overlay = ros.publisher(CompressedImage, node.topic("overlay/compressed"))
        self.diagnostics = ros.publisher(DiagnosticArray, "/diagnostics")
        self._tf: Any = None
        self.all = (self.skeletons, self.info, self.overlay, self.diagnostics)

    def now_ns(self) -> int:
        return int(self._ros.node.get_clock().now().nanoseconds)

    def publish_person(
        self, joints: np.ndarray, frame_id: str = "camera", stamp_ns: int | None = None
    ) -> None:
        from emf_ros.nodes.conversions import skeletons_msg

        person = Pose3D.unknown(60241771, TrackState.TRACKED)
        person.joints, person.root, person.root_valid = joints, joints[0], True
        person.confidence = np.isfinite(joints[:, 0]).astype(float)
        result = Frame3D(stamp_ns or self.now_ns(), 0, [person], 1.0)
        self.skeletons.publish(
            skeletons_msg(result, frame_id, H36M17.name, 5.0, 1.0, math.nan, True)
        )

    def publish_info(self, frame_id: str = "camera") -> None:
        from std_msgs.msg import Header

        from emf_ros.nodes.conversions import camera_info_msg

        self.info.publish(camera_info_msg(CAMERA, Header(frame_id=frame_id)))

    def publish_overlay(self, data: bytes, stamp_ns: int = 0) -> None:
        from sensor_msgs.msg import CompressedImage

        message = CompressedImage(format="jpeg", data=data)
        set_stamp(message, stamp_ns)
        self.overlay.publish(message)

    def publish_camera(self, stamp_ns: int, x: float) -> None:
        """Publish that the camera stands at (x, 2, 1) m in the map and looks along its x."""
        from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
        from std_msgs.msg import Header
        from tf2_msgs.msg import TFMessage

        one = TransformStamped(header=Header(frame_id="map"), child_frame_id="camera")
        set_stamp(one, stamp_ns)
        one.transform.translation = Vector3(x=x, y=2.0, z=1.0)
        one.transform.rotation = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
        if self._tf is None:
            self._tf = self._ros.publisher(TFMessage, "/tf")
        self._tf.publish(TFMessage(transforms=[one]))

    def publish_diagnostics(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

        status = DiagnosticStatus(level=b"\1", name="robot: lifter", message="poses are late")
        self.diagnostics.publish(DiagnosticArray(status=[status]))


@pytest.fixture(scope="module")
def robot(ros: Any, node: NodeProcess) -> Robot:
    made = Robot(ros, node)
    ros.connect(node.topic("skeleton_viewer"))
    return made


def test_it_subscribes_only_while_a_browser_is_connected(node: NodeProcess, robot: Robot) -> None:
    port = port_of(node)
    # Each second of its diagnostics it has looked five times.
    assert all(p.get_subscription_count() == 0 for p in robot.all[:3])
    browser = Browser(port)
    for publisher in robot.all:
        wait_for(publisher.get_subscription_count, publisher.topic_name)
    browser.drop()
    for publisher in robot.all[:3]:
        wait_for(lambda p=publisher: not p.get_subscription_count(), publisher.topic_name)


def test_a_browser_gets_people_image_and_diagnostics(node: NodeProcess, robot: Robot) -> None:
    browser = Browser(port_of(node))
    joints = Body().seen(root=(0.3, 0.0, 4.0))
    joints[H36M17.index("left_wrist")] = np.nan
    _, jpeg = cv2.imencode(".jpg", np.full((90, 120, 3), (200, 30, 20), np.uint8))
    # Of several at once a busy viewer gets the last.
    overlays = itertools.cycle([jpeg.tobytes(), b"no image"])

    def came() -> Any:
        # The viewer may discover a publisher after a message.
        robot.publish_info()
        robot.publish_overlay(next(overlays))
        robot.publish_person(joints)
        robot.publish_diagnostics()
        found = browser.instances("joints")
        all_of_it = (
            len(found) == 16
            and "/camera/image" in browser.nodes
            and "poses are late" in browser.texts
            and "60241771" in browser.texts
            and " Hz" in browser.texts
        )
        return (found,) if all_of_it else None

    (found,) = wait_for(came, "all of it")
    np.testing.assert_allclose(found, joints[np.isfinite(joints[:, 0])], atol=1e-5)
    image = cv2.imdecode(
        np.frombuffer(browser.nodes["/camera/image"]["_data"], np.uint8), cv2.IMREAD_COLOR
    )
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - (200, 30, 20)).max() < 8
    # Without messages people are shown for some seconds only.
    wait_for(lambda: robot.publish_person(joints) or browser.labels() == {"#..771"}, "the label")
    browser.close()


def test_skeletons_that_contradict_themselves_are_dropped_and_counted(
    node: NodeProcess, robot: Robot, diagnostics: Any
) -> None:
    from emf_ros_msgs.msg import Joint3D, Skeleton3D, Skeleton3DArray

    browser, told = Browser(port_of(node)), diagnostics(node.topic("skeleton_viewer"))
    wait_for(robot.skeletons.get_subscription_count, "a subscription")

    def counted() -> bool:
        for state, joints in ((9, 17), (1, 3)):
            person = Skeleton3D(tracking_state=state, joints=[Joint3D() for _ in range(joints)])
            robot.skeletons.publish(Skeleton3DArray(layout="h36m17", skeletons=[person]))
        return told.count("message_failed") >= 2

    wait_for(counted, "the count")
    joints = Body().seen(root=(0.3, 0.0, 4.0))
    wait_for(lambda: robot.publish_person(joints) or len(browser.labels()), "a person")
    browser.close()


def test_in_a_fixed_frame_up_is_z(node: NodeProcess, robot: Robot) -> None:
    browser = Browser(port_of(node))
    optical = Body().seen(root=(0.0, 0.0, 4.0))
    fixed = np.stack([optical[:, 2], -optical[:, 0], -optical[:, 1]], axis=1)

    def came() -> bool:
        robot.publish_info()
        robot.publish_person(fixed, "map")
        return browser.property_of("/floor", "plane") == "xy"

    wait_for(came, "the floor of a fixed frame")
    wait_for(lambda: robot.publish_person(optical) or len(browser.labels()), "an optical frame")
    browser.close()


def test_in_a_fixed_frame_the_camera_stands_where_it_was_at_the_time_of_its_image(
    node: NodeProcess, robot: Robot, tmp_path: Path
) -> None:
    browser = Browser(port_of(node))
    optical = Body().seen(root=(0.5, 0.2, 4.0))
    _, jpeg = cv2.imencode(".jpg", np.full((90, 120, 3), 90, np.uint8))
    begin_ns, last_ns = robot.now_ns() // SECOND * SECOND, 0

    def publish(with_camera: bool = True) -> None:
        nonlocal last_ns
        image_ns = robot.now_ns() // STEP_NS * STEP_NS
        if image_ns == last_ns:
            return
        last_ns = image_ns
        robot.publish_info()
        # The poses are of another time than the image. The camera moves 1 m a second along x.
        for stamp_ns in (image_ns - STEP_NS, image_ns + STEP_NS):
            if with_camera:
                robot.publish_camera(stamp_ns, (stamp_ns - begin_ns) / SECOND)
        robot.publish_overlay(jpeg.tobytes(), image_ns)
        poses_ns = image_ns + POSES_LATER_NS
        x = (poses_ns - begin_ns) / SECOND
        fixed = np.stack([optical[:, 2] + x, 2 - optical[:, 0], 1 - optical[:, 1]], axis=1)
        robot.publish_person(fixed, "map", poses_ns)

    def hidden() -> bool:
        publish(with_camera=False)
        return (
            "camera is not shown: no transform has the frame" in browser.texts
            and browser.property_of("/camera", "visible") is False
        )

    wait_for(hidden, "the reason why the camera is hidden")
    # A distance from the origin of the map would be wrong.
    assert not re.search(r"\d m\b", browser.texts)

    def off() -> np.ndarray:
        """The places of the camera along x in steps; those of images are at whole numbers."""
        places = list(browser.positions.get("/camera", []))
        steps = 10 * np.array([float(x) for x, _, _ in places])
        return np.abs(steps - np.round(steps))

    def placed() -> bool:
        publish()
        shown = browser.property_of("/camera", "visible")
        return bool(shown) and len(found := off()) > 0 and found[-1] < 0.02

    # Before the first image the camera is placed by the poses.
    wait_for(placed, "the camera with its image")
    before = len(off())
    record = browser.control("Record")
    browser.press_control(record)

    def recorded() -> bool:
        """Whether the button tells of a second or more, and several images have come."""
        publish()
        label = browser.label("End the recording (")
        return bool(label) and not label.endswith("(0 s)") and len(off()) > before + 5

    wait_for(recorded, "a second of recording")
    assert off()[before:].max() < 0.02
    x, y, z = browser.nodes["/camera"]["position"]
    assert (y, z) == (2.0, 1.0) and x > 0.0
    np.testing.assert_allclose(np.abs(browser.nodes["/camera"]["wxyz"]), 0.5, atol=1e-6)
    # A viewer that gets no core for a second misses a transform, and says so until the next.
    wait_for(lambda: publish() or "camera is not shown" not in browser.texts, "no such text")
    browser.press_control(record)
    name = wait_for(lambda: next(iter(browser.files), ""), "the file")
    wait_for(lambda: browser.files[name][-22:-18] == b"PK\5\6", "all of the file")
    (tmp_path / name).write_bytes(browser.files[name])
    recording = load_recording(tmp_path / name)
    # A recording is in the frame of the camera.
    assert len(recording) > 3
    np.testing.assert_allclose(recording.root, np.tile(optical[0], (len(recording), 1)), atol=1e-3)
    # The camera may have moved on by a few steps.
    found = r"\b[34]\.\d m\b"
    wait_for(lambda: re.search(found, browser.texts) or publish(), "the distance from the camera")
    browser.close()


def test_keypoints_of_another_detector_are_drawn_on_the_image_of_their_time(ros: Any) -> None:
    """A launch with lifter_only: nobody publishes the overlay of our detector."""
    from sensor_msgs.msg import Image

    from emf_ros.nodes.conversions import keypoints_msg
    from emf_ros_msgs.msg import Skeleton2DArray

    node = start()
    images = ros.publisher(Image, node.topic("image"))
    keypoints = ros.publisher(Skeleton2DArray, node.topic("keypoints"))
    browser = Browser(port_of(node))
    gray = np.full((90, 120, 3), 128, np.uint8)
    last_ns = 0

    def drawn_at() -> np.ndarray | None:
        """(2,) px, the middle of what is drawn on the image; None before it is drawn."""
        nonlocal last_ns
        stamp_ns = int(ros.node.get_clock().now().nanoseconds) // STEP_NS * STEP_NS
        if stamp_ns != last_ns:
            last_ns = stamp_ns
            images.publish(image_message(gray, stamp_ns))
            # In an image of twice the size, and they come later.
            person = Pose2D(np.tile([160.0, 60.0, 0.9], (17, 1)), track_id=3)
            found = Frame2D(stamp_ns, "camera", "coco17", (240, 180), [person])
            keypoints.publish(keypoints_msg(found))
        data = browser.nodes.get("/camera/image", {}).get("_data")
        if data is None:
            return None
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        rows, columns = np.nonzero(np.abs(image.astype(int) - 128).max(axis=2) > 40)
        return np.array([columns.mean(), rows.mean()]) if len(rows) else None

    # The label with the id is above the keypoints.
    x, y = wait_for(lambda: None if (at := drawn_at()) is None else tuple(at), "the keypoints")
    assert x == pytest.approx(80, abs=8) and 10 < y < 40

    # A bag that is played in a loop begins again, here without keypoints.
    earlier_ns = last_ns - 3600 * SECOND
    dark = np.full((90, 120, 3), 20, np.uint8)

    def shade() -> float:
        nonlocal earlier_ns
        earlier_ns += STEP_NS
        images.publish(image_message(dark, earlier_ns))
        data = np.frombuffer(browser.nodes["/camera/image"]["_data"], np.uint8)
        return float(cv2.imdecode(data, cv2.IMREAD_COLOR).mean())

    wait_for(lambda: shade() < 30, "an image after the step back")
    browser.close()
    node.stop()


def test_third_party_keypoints_have_the_size_of_the_delivered_image(
    ros: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that crops and bins: its images are smaller than camera_info's width and height."""
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import CameraInfo, RegionOfInterest
    from std_msgs.msg import Header

    from emf_ros.nodes.skeleton_viewer import SkeletonViewer

    # Its messages are on no package index; only their fields are read.
    monkeypatch.setattr("emf_ros.nodes.adapters.message_type", lambda *name: CameraInfo)
    given = {"keypoints_type": "yolo_msgs", "port": 0}
    node = SkeletonViewer(
        namespace=f"/viewer_{uuid.uuid4().hex}",
        parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
    )
    try:
        node.begin(autostart=True)
        adapter, frames = node._third_party, list[Frame2D]()
        assert adapter is not None
        adapter._take = frames.append
        roi = RegionOfInterest(x_offset=10, y_offset=20, width=1000, height=800)
        node._take_info(CameraInfo(width=1280, height=960, roi=roi, binning_x=2, binning_y=2))
        adapter._take_array(SimpleNamespace(header=Header(), detections=[]))
    finally:
        node.destroy_node()
    assert [frame.image_size for frame in frames] == [(500, 400)]


def test_people_of_a_lifter_that_ended_are_not_shown_and_the_page_says_why(
    ros: Any, node: NodeProcess, robot: Robot
) -> None:
    browser = Browser(port_of(node))
    wait_for(lambda: len(browser.instances("joints")) or robot.publish_person(seen()), "people")
    wait_for(lambda: f"No message on {robot.skeletons.topic_name} for" in browser.texts, "the text")
    wait_for(lambda: not len(browser.instances("joints")), "no people")
    wait_for(lambda: len(browser.instances("joints")) or robot.publish_person(seen()), "people")

    def silent() -> bool:
        robot.publish_person(seen())
        return "No message on" not in browser.texts

    wait_for(silent, "no text")
    browser.close()


def seen() -> np.ndarray:
    return Body().seen(root=(0.0, 0.0, 4.0))


def test_a_taken_port_is_named_with_the_one_that_is_used(node: NodeProcess) -> None:
    port = port_of(node)
    other = NodeProcess("skeleton_viewer", f"/viewer_{uuid.uuid4().hex}", port=port)
    used = port_of(other)
    assert used != port
    wait_for(lambda: f"port {port} is taken" in other.log, "the warning")
    other.stop()


def test_without_viser_the_node_ends_with_one_line() -> None:
    code = (
        "import sys; sys.modules['viser'] = None\n"
        "from emf_ros.nodes.skeleton_viewer import main\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
