"""The rule for changing intrinsics: which messages are accepted, and which changes matter."""

from __future__ import annotations

import numpy as np

from .geometry.camera import Camera, CameraError

#: Maximum angle between the rays of a pixel by two intrinsics that count as the same, rad. Rounding
#: and autofocus cause far smaller angles.
SAME_RAYS_RAD = 0.01

#: Number of points along each side of the image at which the rays are compared.
GRID = 5

#: Number of messages in a row after which a change of known intrinsics is accepted.
CHANGED_IN_A_ROW = 3

#: Number of messages in a row without usable intrinsics after which known ones are dropped: one
#: second at 30 Hz.
UNKNOWN_IN_A_ROW = 30

#: Number of images without a contradicting message after which a change is accepted. Some
#: publishers send their intrinsics once.
IMAGES_WITHOUT_CONTRADICTION = 100


def same_rays(first: Camera | None, second: Camera | None) -> bool:
    """Whether two intrinsics give nearly the same rays, so that windows go on after a change.

    Two unknown ones (None) are the same; a known one differs from an unknown one. The resolution of
    the image makes no difference.
    """
    if first is None or second is None:
        return first is second
    if (first.size, first.model) == (second.size, second.model) and all(
        np.array_equal(a, b)
        for a, b in ((first.matrix, second.matrix), (first.distortion, second.distortion))
    ):
        return True
    try:
        second = second.scaled_to(*first.size)
    except CameraError:
        return False
    sides = [np.linspace(0.0, side - 1.0, GRID) for side in first.size]
    points = np.stack(np.meshgrid(*sides), axis=-1)
    directions = [_directions(camera.rays(points)) for camera in (first, second)]
    apart = np.linalg.norm(directions[0] - directions[1], axis=-1)
    # A lens model may have no ray at the corners of an image.
    alone = np.isfinite(directions[0][..., 0]) != np.isfinite(directions[1][..., 0])
    return not alone.any() and bool(np.nanmax(apart, initial=0.0) <= SAME_RAYS_RAD)


def _directions(rays: np.ndarray) -> np.ndarray:
    """(..., 2) rays to (..., 3) unit vectors."""
    points = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1)
    return np.asarray(points / np.linalg.norm(points, axis=-1, keepdims=True))


class IntrinsicsFilter:
    """Decides which intrinsics of a camera's driver are accepted.

    The first intrinsics are accepted at once, and so are known ones after unknown ones. Any other
    change is accepted after a number of equal messages in a row. It is also accepted when no
    message contradicts it for a number of images. A single wrong message changes nothing.

    Attributes:
        camera: the accepted intrinsics; None where they are not known.
        heard: whether any message has arrived.
    """

    def __init__(self) -> None:
        self.camera: Camera | None = None
        self.heard = False
        self._change: Camera | None = None
        # Number of messages in a row with that change, and of images since; 0 for none.
        self._messages = self._images = 0

    def take(self, camera: Camera | None) -> bool:
        """Take in a message.

        Args:
            camera: its intrinsics; None where it has no usable ones.

        Returns:
            whether they are accepted. Then `self.camera` holds them.
        """
        at_once = not self.heard or self.camera is None
        self.heard = True
        if at_once or same_rays(self.camera, camera):
            self._accept(camera)
            return True
        if not (self._messages and same_rays(self._change, camera)):
            self._messages = 0
        self._change, self._images = camera, 0
        self._messages += 1
        if self._messages < (UNKNOWN_IN_A_ROW if camera is None else CHANGED_IN_A_ROW):
            return False
        self._accept(camera)
        return True

    def take_images(self, count: int) -> bool:
        """Count images that have come since the last message.

        Returns:
            whether a change is accepted now, because no message has contradicted it.
        """
        if not self._messages:
            return False
        self._images += count
        if self._images < IMAGES_WITHOUT_CONTRADICTION:
            return False
        self._accept(self._change)
        return True

    def _accept(self, camera: Camera | None) -> None:
        self.camera, self._change = camera, None
        self._messages = self._images = 0
