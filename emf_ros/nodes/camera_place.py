"""Where the camera stands in the frame of the people, at the times of images, by /tf."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from ..geometry.transforms import Transform
from .base import BaseNode
from .transform_listener import TransformListener

#: Maximum time that an image waits for the transforms of its time, s.
WAIT_S = 1.0
#: Maximum number of images and messages that wait.
MAX_WAITING = 100

#: Takes the transform from the camera's optical frame, or None where it is not known.
Act = Callable[["Transform | None"], None]


class CameraPlace:
    """Waits for the transforms at the stamps of images and poses, which often come before them.

    Args:
        node: subscribes to /tf until `close`.
        fixed, camera: names of the frames of the people and of the camera.

    Raises:
        NodeError: the package tf2_msgs is not installed.
    """

    def __init__(self, node: BaseNode[Any], fixed: str, camera: str) -> None:
        self.fixed, self.camera = fixed, camera
        self._waiting: deque[tuple[int, float, Act]] = deque()
        self._listener = TransformListener(node, "a fixed frame", False, self.settle)

    def close(self) -> None:
        """Forget all that waits."""
        self._waiting.clear()
        self._listener.close()

    def put(self, stamp_ns: int, act: Act) -> None:
        """Call `act` when the transform at a time is known; in the order of the calls.

        Args:
            stamp_ns: of an image, ns.
            act: gets the transform, or None if it is not known for `WAIT_S`.
        """
        self._waiting.append((stamp_ns, time.monotonic(), act))
        self.settle()

    def settle(self) -> None:
        """Serve what has its transform, or has waited for too long."""
        while self._waiting:
            stamp_ns, since_s, act = self._waiting[0]
            pose = self._listener.tree.lookup(self.fixed, self.camera, np.array([stamp_ns]))[0]
            late = time.monotonic() - since_s > WAIT_S or len(self._waiting) > MAX_WAITING
            if not pose.known and not late:
                return
            self._waiting.popleft()
            act(pose if pose.known else None)

    def trouble(self, stamp_ns: int) -> str:
        """Why the place is not known at a time, ns; empty where it is."""
        return self._listener.tree.trouble(self.fixed, self.camera, stamp_ns)
