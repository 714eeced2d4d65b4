"""Collects the rows of a recording."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..geometry.camera import Camera
from ..skeletons import H36M17, Layout
from .recordings import Recording


@dataclass
class RecordingWriter:
    """Collects rows for a `Recording`; of one person in one image the last row counts.

    People without ids have the id 0, and are told apart by their number in the image.
    """

    layout: Layout
    image_size: tuple[int, int]
    camera: Camera | None = None
    body_names: tuple[str, ...] = ()
    _rows: dict[tuple[float, int, int], tuple] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        stamp: float,
        frame: int,
        track_id: int,
        keypoints_2d: np.ndarray,
        joints_3d: np.ndarray,
        joint_stddev: np.ndarray,
        root: np.ndarray,
        root_valid: bool,
        body: np.ndarray | None = None,
        which: int = 0,
    ) -> None:
        """Add one person in one image; shapes and units as in `Recording`, without the M.

        Args:
            which: number of the person among those of this id in the image.
        """
        if body is None:
            body = np.full(len(self.body_names), np.nan)
        row = (
            stamp,
            frame,
            track_id,
            keypoints_2d,
            joints_3d,
            joint_stddev,
            root,
            root_valid,
            body,
        )
        self._rows[stamp, track_id, which] = row

    def recording(self) -> Recording:
        """The rows so far, in the order of stamp, track id and number."""
        rows = [self._rows[key] for key in sorted(self._rows)]
        joints = len(H36M17)

        def stacked(i: int, shape: tuple[int, ...]) -> np.ndarray:
            values = [np.asarray(row[i], dtype=np.float64) for row in rows]
            return np.stack(values) if rows else np.zeros((0, *shape))

        return Recording(
            np.array([row[0] for row in rows], dtype=np.float64),
            np.array([row[1] for row in rows], dtype=np.int64),
            np.array([row[2] for row in rows], dtype=np.int64),
            stacked(3, (len(self.layout), 3)),
            stacked(4, (joints, 3)),
            stacked(5, (joints,)),
            stacked(6, (3,)),
            np.array([row[7] for row in rows], dtype=bool),
            self.layout,
            self.image_size,
            self.camera,
            body=stacked(8, (len(self.body_names),)),
            body_names=self.body_names,
        )
