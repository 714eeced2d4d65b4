"""The demo in a web browser: live while the graph runs, then its recording."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

from rclpy.executors import Executor

from ..io.frame_source import FrameSource
from ..io.recordings import load_recording
from ..viewer.playback import Playback
from ..viewer.server import LOOPBACK, ViewerError
from ..viewer.viewer import Viewer
from .demo_report import tell
from .params import SkeletonViewerParams
from .skeleton_viewer import SkeletonViewer

#: Maximum time for which the demo waits for a browser that it has opened, s.
BROWSER_S = 15.0


class DemoView:
    """The viewer of the demo.

    Args:
        viewer: shows the people.
        node: hears the nodes of the demo.
    """

    def __init__(self, viewer: Viewer, node: SkeletonViewer) -> None:
        self._viewer, self._node = viewer, node

    @classmethod
    def open(cls, namespace: str, executor: Executor) -> DemoView | None:
        """Open the viewer, and a browser where the machine has a screen.

        Args:
            namespace: of the nodes.
            executor: spins the node of the viewer.

        Returns:
            None where the viewer cannot start; the demo goes on.
        """
        try:
            viewer = Viewer(LOOPBACK, SkeletonViewerParams.port)
        except ViewerError as error:
            tell(f"no view in the browser: {error}")
            return None
        node = SkeletonViewer(viewer, namespace=namespace)
        executor.add_node(node)
        node.begin(autostart=True)
        print(f"viewer: open {viewer.address} in a web browser", flush=True)
        # Without a screen a browser in the terminal might open, and hide the figures.
        has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        if has_screen and webbrowser.open(viewer.address):
            end = time.monotonic() + BROWSER_S
            while not viewer.watchers and time.monotonic() < end:
                executor.spin_once(timeout_sec=0.1)
        return cls(viewer, node)

    def end_live(self) -> None:
        """End the node of the viewer. The viewer still shows its last people."""
        self._node.destroy_node()

    def show_recording(
        self, path: Path, open_video: Callable[[], FrameSource], command: str
    ) -> None:
        """Show the recording until the browser is closed, or say how to see it.

        The video may end before a browser has been opened, as on a robot without a screen. In a
        terminal the demo then waits for one.

        Args:
            path: of the recording.
            open_video: opens the video of the demo.
            command: shows the recording later.
        """
        # A page may be closed again before this thread has seen it.
        visits = self._viewer.visits - self._viewer.watchers

        def closed() -> bool:
            return self._viewer.visits > visits and not self._viewer.watchers

        try:
            recording = load_recording(path)
            if not len(recording):
                return
            if not self._viewer.watchers and not sys.stdin.isatty():
                print(f"see it in 3D: {command}")
                return
            if self._viewer.watchers:
                print(f"the recording plays at {self._viewer.address} until you close the page")
            else:
                print(f"see it in 3D: open {self._viewer.address} in a web browser. Ctrl-C ends")
            print(f"later: {command}", flush=True)
            Playback(self._viewer, recording, open_video).run(closed)
        except KeyboardInterrupt:
            tell("stopped")
        finally:
            self._viewer.close()
