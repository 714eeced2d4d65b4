"""The faces of people in images that are not described yet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..body.face import POINTS
from ..geometry.camera import Camera
from ..skeletons import Layout
from .timeline import MAX_STAMPS


class FaceMemory:
    """Remembers nose and ears of each image until its poses come."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[int, np.ndarray]] = {}

    def add(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        keypoints: np.ndarray,
        layout: Layout,
        camera: Camera,
    ) -> None:
        """Remember the faces of an image; none where the layout has no ears.

        Args:
            stamp_ns: of the image, ns.
            ids: of the people.
            keypoints: (P, K, 3) px, px, score; NaN where missing.
            layout: of the keypoints.
            camera: of the image.
        """
        if not all(name in layout.joints for name in POINTS):
            return
        points = keypoints[:, [layout.index(name) for name in POINTS]]
        points[..., :2] = camera.rays(points[..., :2])
        self._seen[stamp_ns] = dict(zip(ids, points, strict=True))
        while len(self._seen) > MAX_STAMPS:
            del self._seen[next(iter(self._seen))]

    def take(self, stamp_ns: int) -> dict[int, np.ndarray]:
        """The faces (3, 3) by id of an image, see `Pose3D.face`. It and those before it are
        described, and forgotten."""
        seen = self._seen.get(stamp_ns, {})
        self._seen = {stamp: faces for stamp, faces in self._seen.items() if stamp > stamp_ns}
        return seen

    def clear(self) -> None:
        """Forget all images."""
        self._seen.clear()
