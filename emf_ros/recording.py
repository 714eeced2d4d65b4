"""Lifted skeletons, or keypoints alone, as one npz file. docs/recording.md is the format's page."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .camera import Camera, CameraError
from .skeletons import H36M17, Layout, get_layout

FORMAT = "emf_ros-recording-1"

_KEYPOINT_ARRAYS = ("stamp", "track_id", "keypoints_2d", "layout", "image_size")


class RecordingError(ValueError):
    """A file that is no recording, or one that is damaged."""


@dataclass
class Recording:
    """One row per person and frame, in the order of the stamps.

    Attributes:
        stamp: (M,) float64 s, of the image that the row describes.
        frame: (M,) int64, the image's number in its source; -1 where that is not known.
        track_id: (M,) int64.
        keypoints_2d: (M, K, 3) px, px, score; layout `layout`; NaN where missing.
        joints_3d: (M, 17, 3) m, camera optical frame, layout h36m17; NaN where unknown; relative to
            the pelvis where `root_valid` is false.
        joint_stddev: (M, 17) m, along each axis.
        root: (M, 3) m, the pelvis; NaN where unknown.
        root_valid: (M,) bool.
        layout: of the keypoints.
        image_size: (width, height) px.
        camera: the intrinsics, or None where they were not known.
    """

    stamp: np.ndarray
    frame: np.ndarray
    track_id: np.ndarray
    keypoints_2d: np.ndarray
    joints_3d: np.ndarray
    joint_stddev: np.ndarray
    root: np.ndarray
    root_valid: np.ndarray
    layout: Layout
    image_size: tuple[int, int]
    camera: Camera | None = None

    def __len__(self) -> int:
        return len(self.stamp)

    def save(self, path: str | Path) -> None:
        """Write the file; an existing one is replaced only when the new one is complete."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        matrix = np.full((3, 3), np.nan) if self.camera is None else self.camera.matrix
        temporary = path.with_name(path.name + ".part")
        with open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                format=FORMAT,
                stamp=self.stamp,
                frame=self.frame,
                track_id=self.track_id,
                keypoints_2d=self.keypoints_2d.astype(np.float32),
                joints_3d=self.joints_3d.astype(np.float32),
                joint_stddev=self.joint_stddev.astype(np.float32),
                root=self.root.astype(np.float32),
                root_valid=self.root_valid,
                layout=self.layout.name,
                joint_names=np.array(H36M17.joints),
                camera_matrix=matrix,
                distortion=np.zeros(0) if self.camera is None else self.camera.distortion,
                distortion_model="" if self.camera is None else self.camera.model,
                image_size=np.array(self.image_size, dtype=np.int64),
            )
        os.replace(temporary, path)


def load_recording(path: str | Path) -> Recording:
    """Read a recording; one that holds keypoints alone has NaN for all that is missing.

    Raises:
        RecordingError: says what is wrong with the file.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise RecordingError(f"{path} is no readable npz file: {error}") from None
    missing = [name for name in _KEYPOINT_ARRAYS if name not in arrays]
    if missing:
        raise RecordingError(f"{path} has no {', '.join(missing)}")
    try:
        layout = get_layout(str(arrays["layout"]))
        stamp = np.asarray(arrays["stamp"], dtype=np.float64)
        rows = len(stamp)
        shapes = {
            "stamp": (rows,),
            "frame": (rows,),
            "track_id": (rows,),
            "keypoints_2d": (rows, len(layout), 3),
            "joints_3d": (rows, len(H36M17), 3),
            "joint_stddev": (rows, len(H36M17)),
            "root": (rows, 3),
            "root_valid": (rows,),
        }
        for name, shape in shapes.items():
            if name in arrays and arrays[name].shape != shape:
                raise RecordingError(f"{name} is {arrays[name].shape}, not {shape}")
        if not np.isfinite(stamp).all():
            raise RecordingError("a stamp is not finite")
        size = np.asarray(arrays["image_size"], dtype=np.int64).reshape(-1)
        if size.shape != (2,) or (size <= 0).any():
            raise RecordingError(f"image_size is {size.tolist()}")
        width, height = int(size[0]), int(size[1])
        camera = None
        matrix = np.asarray(arrays.get("camera_matrix", np.nan), dtype=np.float64)
        if matrix.size == 9 and np.isfinite(matrix).all() and matrix.any():
            camera = Camera(
                matrix,
                (width, height),
                np.asarray(arrays.get("distortion", np.zeros(0)), dtype=np.float64),
                str(arrays.get("distortion_model", "plumb_bob")),
            )
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None
    except (CameraError, TypeError, ValueError) as error:
        raise RecordingError(f"{path}: {error}") from None

    def column(name: str, fill: float | bool | int) -> np.ndarray:
        if name in arrays:
            return np.asarray(arrays[name])
        return np.full(shapes[name], fill)

    return Recording(
        stamp,
        column("frame", -1),
        column("track_id", 0).astype(np.int64),
        np.asarray(arrays["keypoints_2d"], dtype=np.float64),
        column("joints_3d", np.nan),
        column("joint_stddev", np.nan),
        column("root", np.nan),
        column("root_valid", False).astype(bool),
        layout,
        (width, height),
        camera,
    )


@dataclass
class RecordingWriter:
    """Collects rows and makes a `Recording` of them."""

    layout: Layout
    image_size: tuple[int, int]
    camera: Camera | None = None
    _rows: list[tuple] = field(default_factory=list)

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
    ) -> None:
        """One person in one frame; shapes and units as in `Recording`, without the M."""
        self._rows.append(
            (stamp, frame, track_id, keypoints_2d, joints_3d, joint_stddev, root, root_valid)
        )

    def recording(self) -> Recording:
        rows = sorted(self._rows, key=lambda row: (row[0], row[2]))
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
        )
