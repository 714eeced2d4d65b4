"""RViz starts in the frame of the images; a program that prints its arguments stands in for it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from ros_session import TIMEOUT_S, wait_for


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A folder in which ROS finds a package rviz2."""
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "rviz2").touch()
    program = tmp_path / "lib" / "rviz2" / "rviz2"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "RViz: $@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("topic", ["camera_info", "skeletons"])
@pytest.mark.parametrize("camera", ["", "front"])
def test_rviz_starts_in_the_frame_of_the_first_message_that_tells_it(
    ros: Any, prefix: Path, topic: str, camera: str
) -> None:
    from sensor_msgs.msg import CameraInfo

    from emf_ros_msgs.msg import Skeleton3DArray

    namespace = f"/rviz_{uuid.uuid4().hex}"
    paths = os.pathsep.join([str(prefix), os.environ.get("AMENT_PREFIX_PATH", "")])
    command = [sys.executable, "-m", "emf_ros.nodes.rviz", "-d", "my.rviz"]
    command += ["--camera", camera, "--ros-args", "-r", f"__ns:={namespace}"]
    command += ["-p", "use_sim_time:=true"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "AMENT_PREFIX_PATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    kind = CameraInfo if topic == "camera_info" else Skeleton3DArray
    full = "/".join(part for part in (namespace, camera, topic) if part)
    publisher = ros.publisher(kind, full)
    try:
        wait_for(publisher.get_subscription_count, "the subscription")
        publisher.publish(kind())
        message = kind()
        message.header.frame_id = "my_camera_optical_frame"

        def ended() -> bool:
            publisher.publish(message)
            return process.poll() is not None

        wait_for(ended, "RViz")
        out, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
        ros.node.destroy_publisher(publisher)
    assert "RViz: -d my.rviz -f my_camera_optical_frame" in out
    assert "use_sim_time:=true" in out


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
