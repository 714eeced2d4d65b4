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
    """Give Fast DDS shared memory for whole images. Call it before `rclpy.init`.

    A profile that the environment names is kept.
    """
    chosen = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    profile = share_folder("config") / "fastdds.xml"
    if not any(os.environ.get(name) for name in chosen) and profile.is_file():
        # The variable has its old name up to Humble, and the new one since Jazzy.
        name = chosen[1] if os.environ.get("ROS_DISTRO") == "humble" else chosen[0]
        os.environ[name] = str(profile)


def run(build: Callable[[], Sequence[BaseNode]], args: list[str] | None = None) -> int:
    """Run nodes until the process is stopped.

    Args:
        build: makes the nodes. Its NodeError ends the process with one line on stderr.
        args: command line, as for `rclpy.init`.

    Returns:
        exit code of the process.
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
        # A process that is stopped while it starts finds ROS shut down; that is no fault.
        if rclpy.ok():
            raise
    finally:
        # Launch sends a second interrupt to its process group; it must not break the clean-up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
    return code
