"""Start and end of a node's process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from ..io.paths import share_folder
from .base import BaseNode, NodeError


def use_large_shared_memory() -> None:
    """Have Fast DDS carry whole images in shared memory; before `rclpy.init`. A profile that the
    user chose stays."""
    chosen = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    profile = share_folder("config") / "fastdds.xml"
    if not any(os.environ.get(name) for name in chosen) and profile.is_file():
        # Its old name up to Humble, the new one since Jazzy; each knows its own.
        name = chosen[1] if os.environ.get("ROS_DISTRO") == "humble" else chosen[0]
        os.environ[name] = str(profile)


def run(build: Callable[[], Sequence[BaseNode]], args: list[str] | None = None) -> int:
    """Start rclpy, build nodes, spin them until told to stop; the process's exit code.

    Args:
        build: makes the nodes; a NodeError from it ends the process with its message.
        args: command line, as for `rclpy.init`.
    """
    use_large_shared_memory()
    rclpy.init(args=args)
    nodes: Sequence[BaseNode] = ()
    code = 0
    try:
        nodes = build()
        executor = SingleThreadedExecutor()
        for node in nodes:
            executor.add_node(node)
        executor.spin()
    except NodeError as error:
        print(f"emf_ros: {error}", file=sys.stderr, flush=True)
        code = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # Stopped while still starting: half a node finds its context gone, which is no fault.
        if rclpy.ok():
            raise
    finally:
        # Launch sends a second interrupt to a group it shares with us; cleaning up must not break.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
    return code
