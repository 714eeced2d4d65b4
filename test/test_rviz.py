"""RViz starts in the frame of the images; a program that prints its arguments stands in for it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ros_session import TIMEOUT_S, wait_for

from emf_ros.geometry.transforms import rotations


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A folder in which ROS finds a package rviz2."""
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "rviz2").touch()
    program = tmp_path / "lib" / "rviz2" / "rviz2"
    program.parent.mkdir(parents=True)
    # It runs until the file is removed, and shows its configuration.
    running = tmp_path / "running"
    running.touch()
    program.write_text(
        f'#!/bin/sh\necho "RViz: $@"\ncat "$2"\nwhile [ -e {running} ]; do sleep 0.1; done\n'
    )
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("topic", "camera", "once"),
    [
        ("camera_info", "", False),
        ("camera_info", "front", True),
        ("skeletons", "", False),
        ("skeletons", "front", False),
    ],
)
def test_rviz_starts_in_the_frame_of_the_first_message_that_tells_it(
    ros: Any, prefix: Path, topic: str, camera: str, once: bool
) -> None:
    from sensor_msgs.msg import CameraInfo
    from tf2_msgs.msg import TFMessage

    from emf_ros.nodes.qos import LATCHED_QOS
    from emf_ros_msgs.msg import Skeleton3DArray

    namespace = f"/rviz_{uuid.uuid4().hex}"
    paths = os.pathsep.join([str(prefix), os.environ.get("AMENT_PREFIX_PATH", "")])
    config = prefix / "my.rviz"
    config.write_text("Target Frame: emf_ros_upright\n")
    command = [sys.executable, "-m", "emf_ros.nodes.rviz", "-d", str(config)]
    command += ["--camera", camera, "--ros-args", "-r", f"__ns:={namespace}"]
    command += ["-p", "use_sim_time:=true"]
    kind = CameraInfo if topic == "camera_info" else Skeleton3DArray
    full = "/".join(part for part in (namespace, camera, topic) if part)
    message = kind()
    message.header.frame_id = "my_camera_optical_frame"
    if once:
        publisher = ros.node.create_publisher(kind, full, LATCHED_QOS)
        publisher.publish(message)
    else:
        publisher = ros.publisher(kind, full)
    process = subprocess.Popen(
        command,
        env={**os.environ, "AMENT_PREFIX_PATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    frames = ros.listen(TFMessage, "/tf_static", latched=True)
    try:
        wait_for(publisher.get_subscription_count, "the subscription")
        if not once:
            publisher.publish(kind())

        def upright() -> list[Any]:
            if not once:
                publisher.publish(message)
            sent = [t for tfs in frames.messages for t in tfs.transforms]
            return [t for t in sent if t.child_frame_id == "my_camera_optical_frame_upright"]

        (found,) = wait_for(upright, "the upright frame")
        assert process.poll() is None
        (prefix / "running").unlink()
        out, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        ros.node.destroy_publisher(publisher)
        ros.unlisten(frames)
    assert process.returncode == 0
    assert found.header.frame_id == "my_camera_optical_frame"
    turn = found.transform.rotation
    rotation = rotations(np.array([turn.x, turn.y, turn.z, turn.w]))
    # Forward, left and up in an optical frame.
    np.testing.assert_allclose(rotation, np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]).T)
    assert " -f my_camera_optical_frame" in out
    assert "Target Frame: my_camera_optical_frame_upright" in out
    assert "use_sim_time:=true" in out


def test_rviz_says_what_it_waits_for_while_ros_time_stands_still(prefix: Path) -> None:
    command = [sys.executable, "-m", "emf_ros.nodes.rviz", "-d", "my.rviz", "--ros-args"]
    command += ["-r", f"__ns:=/rviz_{uuid.uuid4().hex}", "-p", "use_sim_time:=true"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "AMENT_PREFIX_PATH": str(prefix)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        with ThreadPoolExecutor(1) as reader:
            line = reader.submit(process.stderr.readline).result(TIMEOUT_S)
    finally:
        process.kill()
        process.communicate()
    assert "RViz starts with the first message" in line


def test_a_remapping_that_ros_refuses_is_said_in_one_line(prefix: Path) -> None:
    command = [sys.executable, "-m", "emf_ros.nodes.rviz", "-d", "my.rviz"]
    done = subprocess.run(
        [*command, "--ros-args", "-r", "__ns:=/robot-1"],
        env={**os.environ, "AMENT_PREFIX_PATH": str(prefix)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "emf_ros: ROS does not start" in done.stderr and "/robot-1" in done.stderr
    assert "Traceback" not in done.stderr


def test_rviz_that_is_not_installed_is_said_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from emf_ros.nodes.rviz import main; exit(main(['', '-d', 'x']))"],
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        pytest.skip("rviz2 is installed")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "needs the package rviz2" in done.stderr
