"""The camera in the scene: its field of view, with the image where the image plane is."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from ..geometry.camera import Camera
from ..geometry.transforms import Transform
from ..io.render.palette import MUTED
from .shapes import quaternion

#: Distance of the image from the camera's centre, m.
IMAGE_DISTANCE_M = 1.0
#: Distance of the image behind the people, m.
FAR_IMAGE_DISTANCE_M = 30.0
#: Maximum width or height of the image that is sent to the browser, px.
MAX_IMAGE_SIDE_PX = 720
#: Quality of the image as JPEG, 0..100.
JPEG_QUALITY = 80
#: Thickness of the lines, px.
LINE_PX = 1.5


class Frustum:
    """The field of view of the camera.

    The image stands where the rays of its pixels pass. Seen from the camera's centre, skeletons
    cover the people in it. The distortion of a lens is not shown.

    Args:
        scene: of a viser server.

    Attributes:
        pose: from the camera's optical frame to that of the scene; None where it is not known, and
            the camera is then not shown.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self._camera: Camera | None = None
        self._lines: Any = None
        self._image: Any = None
        self._shown = True
        self.pose: Transform | None = Transform.identity()
        #: Lines and image are in the frame of this node.
        self._node = scene.add_frame("/camera", show_axes=False)
        self._distance_m = IMAGE_DISTANCE_M
        #: Width and height of the shown image, px, which decide the plane without intrinsics.
        self._size = (16, 9)

    @property
    def fov_rad(self) -> float:
        """Vertical angle from the camera's centre that holds the whole image, rad."""
        low, high = self._plane()
        return 2 * math.atan(max(-low[1], high[1], (high[0] - low[0]) / 4))

    def set_camera(self, camera: Camera | None) -> None:
        """Set the intrinsics; None where they are not known."""
        self._camera = camera
        self._draw_lines()
        self.set_image(None)

    def place(self, pose: Transform | None) -> None:
        """Set where the camera stands, see `pose`."""
        self.pose = pose
        self._node.visible = pose is not None
        if pose is not None:
            self._node.wxyz = quaternion(pose.rotation)
            self._node.position = pose.translation

    def show_image(self, visible: bool) -> None:
        """Set whether the image is shown."""
        self._shown = visible
        if self._image is not None:
            self._image.visible = visible

    def put_image_behind(self, behind: bool) -> None:
        """Put the image behind the people, for a view from the camera, or back in front."""
        self._distance_m = FAR_IMAGE_DISTANCE_M if behind else IMAGE_DISTANCE_M
        self._draw_lines()
        if self._image is not None:
            self._place_image()

    @property
    def wants_image(self) -> bool:
        """Whether an image would be visible."""
        return self.pose is not None and self._shown

    def set_image(self, image: np.ndarray | None) -> None:
        """Show an image (H, W, 3) uint8 BGR; None for no image."""
        if image is None:
            if self._image is not None:
                self._image.remove()
                self._image = None
            return
        if not self.wants_image:
            return
        height, width = image.shape[:2]
        shrink = max(width, height) / MAX_IMAGE_SIDE_PX
        if shrink > 1:
            size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        ratio = width * self._size[1] / (height * self._size[0])
        if self._camera is None and abs(ratio - 1) > 0.01:
            self._size = (width, height)
            self.set_camera(None)
        if self._lines is None:
            self._draw_lines()
        if self._image is not None:
            self._image.image = rgb
            return
        low, high = self._plane()
        self._image = self._scene.add_image(
            "/camera/image",
            rgb,
            render_width=float(high[0] - low[0]),
            render_height=float(high[1] - low[1]),
            format="jpeg",
            jpeg_quality=JPEG_QUALITY,
            cast_shadow=False,
            receive_shadow=False,
        )
        self._place_image()

    def _place_image(self) -> None:
        low, high = self._plane()
        middle = self._distance_m * np.append(0.5 * (low + high), 1.0)
        self._image.position = tuple(middle.tolist())
        self._image.scale = self._distance_m

    def _plane(self) -> tuple[np.ndarray, np.ndarray]:
        """(2,) x/z and y/z of the upper left and of the lower right corner of the image."""
        if self._camera is None:
            half = np.array(self._size) / max(self._size) * 0.6
            return -half, half
        size = np.array(self._camera.size, dtype=float)
        focal, centre = self._camera.matrix[[0, 1], [0, 1]], self._camera.matrix[:2, 2]
        # The centres of pixels are at whole numbers.
        return (-0.5 - centre) / focal, (size - 0.5 - centre) / focal

    def _draw_lines(self) -> None:
        (left, top), (right, bottom) = self._plane()
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
        rim = self._distance_m * np.concatenate([corners, np.ones((4, 1))], axis=1)
        behind = self._distance_m > IMAGE_DISTANCE_M
        points = np.concatenate(
            [
                # In a view from the camera these lines would cover everything.
                np.stack([rim if behind else np.zeros((4, 3)), rim], axis=1),
                np.stack([rim, np.roll(rim, -1, axis=0)], axis=1),
            ]
        )
        if self._lines is not None:
            self._lines.points = points.astype(np.float32)
            return
        self._lines = self._scene.add_line_segments(
            "/camera/frustum",
            points=points,
            colors=MUTED[::-1],
            thickness=LINE_PX,
            thickness_units="screen",
        )
