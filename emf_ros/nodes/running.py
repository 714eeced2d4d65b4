"""Start and end of a node's process."""

from __future__ import annotations

import gc
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from ..io.one_line import one_line
from ..runtime.heap import keep_freed_memory
from ..runtime.shared_memory import use_large_shared_memory
from .base import BaseNode, NodeError
from .exit_codes import CANNOT_START, FAILED

#: Time after which a thread gives the interpreter lock to one that waits for it, s. Python's 5 ms
#: would add up where the threads of detector, lifter and camera wait for each other.
SWITCH_INTERVAL_S = 0.0005


def start_ros(args: list[str] | None) -> None:
    """Start ROS in this process.

    Args:
        args: command line, as for `rclpy.init`.

    Raises:
        NodeError: an argument is refused, such as a remapping to no name of a topic.
    """
    try:
        rclpy.init(args=args)
    except RuntimeError as error:  # rclpy's errors of arguments share no other base
        # The places in the C code of ROS help no user.
        text = re.sub(r", at [^ ]+:[0-9]+", "", one_line(error))
        raise NodeError(
            f"ROS does not start; correct the arguments after --ros-args: {text}"
        ) from None


def run(
    build: Callable[[], Sequence[BaseNode]],
    args: list[str] | None = None,
    sends_images: bool = False,
) -> int:
    """Run nodes until the process is stopped.

    Args:
        build: makes the nodes. Its NodeError ends the process with one line on stderr.
        args: command line, as for `rclpy.init`.
        sends_images: whether the process sends images to others.

    Returns:
        exit code of the process.
    """
    try:
        return _run(build, args, sends_images)
    except NodeError as error:
        print(f"emf_ros: {error}", file=sys.stderr, flush=True)
        return CANNOT_START
    except KeyboardInterrupt:
        # It came before ROS was started, or while an error was handled that the shutdown caused.
        return 0
    finally:
        rclpy.try_shutdown()


def _run(
    build: Callable[[], Sequence[BaseNode]], args: list[str] | None, sends_images: bool
) -> int:
    """See `run`; an interrupt may leave it as KeyboardInterrupt."""
    keep_freed_memory()
    small_memory = use_large_shared_memory() if sends_images else ""
    # Modules and classes stay. The collector need not visit them again and again.
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    code, running = 0, False

    def interrupt(number: int, frame: object) -> None:
        # ROS has a handler of its own beside this one, and it ends `spin`. KeyboardInterrupt would
        # come anywhere in it, also in a destructor, where Python prints and forgets it.
        if not running:
            raise KeyboardInterrupt

    # ROS keeps the handler that it finds.
    signal.signal(signal.SIGINT, interrupt)
    start_ros(args)
    nodes: Sequence[BaseNode] = ()
    try:
        nodes = build()
        if small_memory:
            nodes[0].get_logger().warning(small_memory)
        executor = SingleThreadedExecutor()
        for node in nodes:
            executor.add_node(node)
        # The first in the list is destroyed first, and begins last: it uses the others.
        for node in reversed(nodes):
            node.begin(node.params.autostart)
        running = True
        executor.spin()
    except NodeError as error:
        # A process that is stopped while it starts finds ROS shut down; that is no fault.
        if rclpy.ok():
            print(f"emf_ros: {error}", file=sys.stderr, flush=True)
            code = CANNOT_START
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            if not running:
                raise
            traceback.print_exc()
            code = FAILED
    finally:
        # Launch sends a second interrupt to its process group; it must not break the clean-up.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for node in nodes:
            node.destroy_node()
    return code or max((node.exit_code for node in nodes), default=0)
