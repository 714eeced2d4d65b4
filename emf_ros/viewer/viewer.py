"""The viewer: scene, control panel and recording, for people that arrive frame by frame."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.camera import Camera
from ..geometry.transforms import Transform
from ..types import Frame2D, Frame3D, Pose3D
from .history import History
from .panel import FROM_CAMERA, SIDE, Actions, Panel, Status
from .recorder import Recorder
from .scene import Scene
from .server import address_of, close_server, open_server

#: Minimum time between two updates of a followed view, s.
FOLLOW_PERIOD_S = 0.1
#: Minimum distance by which a followed view moves, m.
FOLLOW_STEP_M = 0.03
#: Minimum time between two updates of the table of people, s.
TABLE_PERIOD_S = 0.5

#: Minimum vertical field of view in the browser, rad.
FIELD_OF_VIEW_RAD = math.radians(50.0)
#: Minimum horizontal field of view, rad; it decides on the upright screen of a phone.
FIELD_OF_VIEW_ACROSS_RAD = math.radians(36.0)

#: Where a view begins and where it looks, m, in the camera's optical frame. The panel covers the
#: right side.
FIRST_VIEW = ((3.0, -1.9, -2.0), (0.8, 0.2, 3.5))
#: Step from the people to where a view begins, m, in a fixed frame without a known camera.
FIRST_STEP_M = np.array([-4.0, -4.0, 2.2])
#: Where the first view is, the better ones later.
_HOMES = ("origin", "people", "camera")


class Viewer:
    """A web viewer. All methods can be called from any thread.

    Args:
        host: address to listen on.
        port: the first port to try; 0 for any free one.
        title: of the panel.

    Raises:
        ViewerError: it cannot start.
    """

    def __init__(self, host: str, port: int, title: str = "emf_ros") -> None:
        self._lock = threading.RLock()
        self._server = open_server(host, port, title)
        self.scene = Scene(self._server)
        self.panel = Panel(
            self._server,
            Actions(self._pause, self._press_record, self._move_view, self._switch),
        )
        #: Number of browsers that have ever been connected.
        self.visits = 0
        self._server.on_client_connect(self._welcome)
        self._camera: Camera | None = None
        self._people: list[Pose3D] = []
        self._followed: np.ndarray | None = None
        self._followed_s = self._told_s = -math.inf
        self._recorder: Recorder | None = None
        #: The browser that began the recording.
        self._recording_client: Any = None
        self._up = ""
        self.set_up("-y")

    @property
    def address(self) -> str:
        """To open in a browser."""
        return address_of(self._server)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.get_port())

    @property
    def watchers(self) -> int:
        """Number of browsers that are connected."""
        return len(self._server.get_clients())

    @property
    def gui(self) -> Any:
        """The control panel of viser, for more controls."""
        return self._server.gui

    @property
    def paused(self) -> bool:
        """Whether the scene stands still."""
        return self.panel.paused

    @property
    def recording(self) -> bool:
        """Whether a browser records."""
        return self._recorder is not None

    def close(self) -> None:
        """Disconnect the browsers, and free the port."""
        close_server(self._server)

    # ------------------------------------------------------------------ what is shown

    def set_up(self, up: str) -> None:
        """Set where up is: "-y" in an optical frame, "+z" in a fixed one."""
        if up == self._up:
            return
        self._up = up
        with self._lock, self._server.atomic():
            self.scene.set_up(up)
            self._home_is_at = "camera" if up == "-y" else "origin"
            begin, at = self._home()
            self._server.initial_camera.position = tuple(begin.tolist())
            self._server.initial_camera.look_at = tuple(at.tolist())
            self._server.initial_camera.fov = FIELD_OF_VIEW_RAD

    def set_camera(self, camera: Camera | None) -> None:
        """Set the intrinsics; None where they are not known."""
        with self._lock, self._server.atomic():
            self._camera = camera
            self.scene.camera.set_camera(camera)

    def place_camera(self, pose: Transform | None) -> None:
        """Place the camera in a fixed frame, unless the viewer is paused.

        Args:
            pose: from the camera's optical frame to the frame of the people; None where it is not
                known.
        """
        if self.paused:
            return
        with self._lock:
            with self._server.atomic():
                self.scene.camera.place(pose)
            if pose is not None:
                self._move_views_home("camera")

    def show(self, frame: Frame3D) -> None:
        """Draw the people of one image, unless the viewer is paused; record them."""
        self.record(frame)
        self.show_unrecorded(frame)

    def show_unrecorded(self, frame: Frame3D) -> None:
        """Draw the people of one image, unless the viewer is paused."""
        with self._lock:
            if not self.paused:
                self.draw(frame)

    def draw(self, frame: Frame3D) -> None:
        """Draw the people of one image, also while the viewer is paused."""
        with self._lock:
            self._people = frame.people
            with self._server.atomic():
                self.scene.show(frame)
                if self.scene.middle is not None:
                    self._move_views_home("people")
                now = time.monotonic()
                if now - self._told_s >= TABLE_PERIOD_S:
                    self._told_s = now
                    self.panel.show_people(frame.people, self.scene.camera.pose)
            self._follow()

    def show_image(self, image: np.ndarray) -> None:
        """Show an image (H, W, 3) uint8 BGR in the camera, unless the viewer is paused."""
        if not self.paused:
            self.draw_image(image)

    def draw_image(self, image: np.ndarray | None) -> None:
        """Show an image (H, W, 3) uint8 BGR in the camera, also while the viewer is paused.

        None shows no image.
        """
        with self._lock:
            self.scene.camera.set_image(image)

    def tell(self, text: str) -> None:
        """Show a sentence at the top of the panel; empty: none."""
        with self._lock:
            self.panel.tell(text)

    def show_history(self, history: History) -> None:
        """Show the rates and latencies of the last second and the last minute."""
        with self._lock:
            self.panel.show_rates(history.rows())
            self.panel.show_charts(history)

    def show_diagnostics(self, statuses: Sequence[Status]) -> None:
        """Show the newest status of each task."""
        with self._lock:
            self.panel.show_diagnostics(statuses)

    # ------------------------------------------------------------------ controls

    def _welcome(self, client: Any) -> None:
        with self._lock:
            self.visits += 1
        client.camera.fov = field_of_view_rad(client.camera.aspect)

    def _pause(self, paused: bool) -> None:
        """A live scene goes on with the next frame."""

    def _switch(self) -> None:
        with self._lock:
            for name, box in self.panel.switches.items():
                setattr(self.scene, f"show_{name}", box.value)
            with self._server.atomic():
                self.scene.apply_switches()

    def _move_view(self, client: Any, view: str) -> None:
        pose = self.scene.camera.pose
        with self._lock, self._server.atomic():
            self.scene.camera.put_image_behind(view == FROM_CAMERA and pose is not None)
        begin, at = self._home()
        up = np.array([0.0, -1.0, 0.0] if self._up == "-y" else [0.0, 0.0, 1.0])
        fov_rad = field_of_view_rad(client.camera.aspect)
        if view == FROM_CAMERA and pose is not None:
            begin, at = pose.translation, pose.points(np.array([0.0, 0.0, 3.0]))
            up, fov_rad = pose.vectors(np.array([0.0, -1.0, 0.0])), self.scene.camera.fov_rad
        with client.atomic():
            client.camera.up_direction = up
            client.camera.position = begin
            client.camera.look_at = at
            client.camera.fov = fov_rad

    def _home(self) -> tuple[np.ndarray, np.ndarray]:
        """(3,) m, where a view from the side stands, and where it looks."""
        begin, at = (np.array(point) for point in FIRST_VIEW)
        pose = self.scene.camera.pose
        if pose is not None:
            return pose.points(begin), pose.points(at)
        middle = np.zeros(3) if self.scene.middle is None else self.scene.middle
        return middle + FIRST_STEP_M, middle

    def _move_views_home(self, place: str) -> None:
        """Move all views in a fixed frame, when the people or the camera are first seen there."""
        if _HOMES.index(place) <= _HOMES.index(self._home_is_at):
            return
        self._home_is_at = place
        begin, at = self._home()
        self._server.initial_camera.position = tuple(begin.tolist())
        self._server.initial_camera.look_at = tuple(at.tolist())
        for client in self._server.get_clients().values():
            self._move_view(client, SIDE)

    def _follow(self) -> None:
        """Move the views with the followed people."""
        now = time.monotonic()
        if now - self._followed_s < FOLLOW_PERIOD_S:
            return
        self._followed_s = now
        at = self.panel.followed(self._people)
        before, self._followed = self._followed, at
        if at is None:
            return
        if before is None:
            for client in self._server.get_clients().values():
                client.camera.look_at = at
            return
        step = at - before
        if np.linalg.norm(step) < FOLLOW_STEP_M:
            self._followed = before
            return
        for client in self._server.get_clients().values():
            # The direction of view stays.
            client.camera.position = client.camera.position + step

    # ------------------------------------------------------------------ recording

    def take_keypoints(self, frame: Frame2D) -> None:
        """Take the keypoints of an image into the recording, while a browser records."""
        with self._lock:
            if self._recorder is not None:
                self._recorder.add_keypoints(frame)

    def record(self, frame: Frame3D, camera: Transform | None = None) -> None:
        """Take the people of an image into the recording, while a browser records.

        Args:
            frame: the people.
            camera: see `Recorder.add`.
        """
        with self._lock:
            if self._recorder is None:
                return
            self._recorder.add(frame, camera)
            self.panel.set_recording(self._recorder.seconds)
            if self._recorder.full:
                self._press_record(self._recording_client)

    def _press_record(self, client: Any) -> None:
        with self._lock:
            if self._recorder is None:
                self._recorder, self._recording_client = Recorder(), client
                self.panel.set_recording(0.0)
                return
            recording = self._recorder.recording(self._camera)
            self._recorder = None
            self.panel.set_recording(None)
        if len(recording) == 0:
            client.add_notification(
                "Nothing was recorded",
                "There were no people, or the place of the camera in their frame was not known.",
                color="yellow",
            )
            return
        with tempfile.TemporaryDirectory(prefix="emf_ros_") as folder:
            path = Path(folder) / "skeletons.npz"
            recording.save(path)
            name = time.strftime("skeletons_%Y-%m-%d_%H-%M-%S.npz")
            client.send_file_download(name, path.read_bytes(), save_immediately=True)


def field_of_view_rad(aspect: float) -> float:
    """The vertical field of view of a page, rad.

    Args:
        aspect: width over height of the page.
    """
    across = math.tan(FIELD_OF_VIEW_ACROSS_RAD / 2) / max(aspect, 0.1)
    return max(FIELD_OF_VIEW_RAD, 2 * math.atan(across))
