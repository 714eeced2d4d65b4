"""The node skeleton_viewer, as a process: what it subscribes to, and what a browser then gets."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from bodies import Body
from ros_session import NodeProcess, wait_for
from viewer_client import Browser

from emf_ros.geometry.camera import Camera
from emf_ros.skeletons import H36M17
from emf_ros.types import Frame3D, Pose3D, TrackState

CAMERA = Camera.from_fov(640, 480, 60.0)


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
        self.all = (self.skeletons, self.info, self.overlay, self.diagnostics)

    def publish_person(self, joints: np.ndarray, frame_id: str = "camera") -> None:
        from emf_ros.nodes.conversions import skeletons_msg

        person = Pose3D.unknown(60241771, TrackState.TRACKED)
        person.joints, person.root, person.root_valid = joints, joints[0], True
        person.confidence = np.isfinite(joints[:, 0]).astype(float)
        now_ns = self._ros.node.get_clock().now().nanoseconds
        result = Frame3D(now_ns, 0, [person], 1.0)
        self.skeletons.publish(
            skeletons_msg(result, frame_id, H36M17.name, 5.0, 1.0, math.nan, True)
        )

    def publish_info(self, frame_id: str = "camera") -> None:
        from std_msgs.msg import Header

        from emf_ros.nodes.conversions import camera_info_msg

        self.info.publish(camera_info_msg(CAMERA, Header(frame_id=frame_id)))

    def publish_overlay(self, data: bytes) -> None:
        from sensor_msgs.msg import CompressedImage

        self.overlay.publish(CompressedImage(format="jpeg", data=data))

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

    def came() -> bool:
        # The viewer may discover a publisher after a message.
        robot.publish_info()
        robot.publish_overlay(jpeg.tobytes())
        robot.publish_overlay(b"no image")
        robot.publish_person(joints)
        robot.publish_diagnostics()
        return (
            len(browser.instances("joints")) == 16
            and "/camera/image" in browser.nodes
            and "poses are late" in browser.texts
            and "60241771" in browser.texts
            and " Hz" in browser.texts
        )

    wait_for(came, "all of it")
    np.testing.assert_allclose(
        browser.instances("joints"), joints[np.isfinite(joints[:, 0])], atol=1e-5
    )
    image = cv2.imdecode(
        np.frombuffer(browser.nodes["/camera/image"]["_data"], np.uint8), cv2.IMREAD_COLOR
    )
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - (200, 30, 20)).max() < 8
    assert wait_for(lambda: browser.labels() == {"#..771"}, "the label")
    browser.close()


def test_in_a_fixed_frame_up_is_z(node: NodeProcess, robot: Robot) -> None:
    browser = Browser(port_of(node))
    optical = Body().seen(root=(0.0, 0.0, 4.0))
    fixed = np.stack([optical[:, 2], -optical[:, 0], -optical[:, 1]], axis=1)

    def came() -> bool:
        robot.publish_info()
        robot.publish_person(fixed, "map")
        return len(browser.nodes) > 0 and browser.nodes["/floor"]["plane"] == "xy"

    wait_for(came, "the floor of a fixed frame")
    wait_for(lambda: robot.publish_person(optical) or len(browser.labels()), "an optical frame")
    browser.close()


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
