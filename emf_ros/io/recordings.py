"""Lifted skeletons, or keypoints alone, as one npz file: docs/reference/formats.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.camera import Camera, CameraError
from ..skeletons import H36M17, Layout, get_layout
from .outputs import replacing

FORMAT = "emf_ros-recording-1"

_KEYPOINT_ARRAYS = ("stamp", "track_id", "keypoints_2d", "layout", "image_size")

#: Arrays that are read where they are there.
_OTHER_ARRAYS = (
    "frame",
    "joints_3d",
    "joint_stddev",
    "root",
    "root_valid",
    "camera_matrix",
    "distortion",
    "distortion_model",
)

#: Arrays of the format that say nothing that is needed on reading.
_NOT_NEEDED = ("format", "joint_names")

#: Kinds of numpy types that are whole numbers, and that are numbers.
_WHOLE, _NUMBERS = "iu", "iuf"

#: Minimum time from image to image, in the unit of `stamp`, at which the unit is nanoseconds:
#: 1 ms as nanoseconds, eleven days as seconds.
_NANOSECOND_STEP = 1e6

#: Minimum time from image to image, in the unit of `stamp`, that is no second: it would be 17 min.
_NO_SECOND_STEP = 1e3

#: Time from image to image, s, beyond which keypoints are not interpolated; worth a note.
_LONG_STEP_S = 0.4

#: Maximum stamp, s: beyond it 64 bits of nanoseconds overflow, in the year 2262.
_MAX_STAMP_S = 9.2e9

#: Maximum width and height of an image, px.
_MAX_IMAGE_SIDE = 1_000_000


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
        notes: what was left out or converted on reading, a sentence each.
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
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.stamp)

    def save(self, path: str | Path) -> None:
        """Write the file; an existing one is replaced only when the new one is complete.

        Raises:
            OutputError: it cannot be written.
        """
        matrix = np.full((3, 3), np.nan) if self.camera is None else self.camera.matrix
        with replacing(path) as part, open(part, "wb") as file:
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


def load_recording(path: str | Path) -> Recording:
    """Read a recording; one that holds keypoints alone has NaN for all that is missing.

    Nothing is unpickled. Arrays that are not of the format are passed over with a note. Stamps in
    nanoseconds are converted, with a note.

    Raises:
        RecordingError: says what is wrong with the file.
    """
    notes: list[str] = []
    try:
        arrays = _read_arrays(path, notes)
        return _checked(arrays, notes)
    except (RecordingError, CameraError) as error:
        raise RecordingError(f"{path}: {error}") from None


def _read_arrays(path: str | Path, notes: list[str]) -> dict[str, np.ndarray]:
    """The arrays of the format that a file holds, none of them of Python objects."""
    name = ""
    try:
        with open(path, "rb") as file:
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.ndarray):
                raise RecordingError("it holds a single array (.npy), not the arrays of an .npz")
            known = [n for n in (*_KEYPOINT_ARRAYS, *_OTHER_ARRAYS) if n in data.files]
            foreign = sorted(set(data.files) - {*known, *_NOT_NEEDED})
            arrays = {}
            for name in known:
                arrays[name] = np.asarray(data[name])
    except RecordingError:
        raise
    except FileNotFoundError:
        raise RecordingError("there is no such file") from None
    except Exception as error:  # numpy raises whatever a damaged file leads to
        why = " ".join(str(error).split()) or type(error).__name__
        if name and "allow_pickle" in why:
            raise RecordingError(
                f"{name} holds Python objects, which are not read; save it as numbers or text"
            ) from None
        raise RecordingError(f"it is no readable npz file: {why}") from None
    missing = [name for name in _KEYPOINT_ARRAYS if name not in arrays]
    if missing:
        raise RecordingError(f"it has no array {', '.join(missing)}")
    if foreign:
        notes.append(f"arrays that are not of this format are not read: {', '.join(foreign)}")
    return arrays


def _checked(arrays: Mapping[str, np.ndarray], notes: list[str]) -> Recording:
    """A recording of arrays that fit each other.

    Raises:
        RecordingError, CameraError: they do not; the message names the array.
    """
    try:
        layout = get_layout(_text(arrays, "layout"))
    except ValueError as error:
        raise RecordingError(str(error)) from None
    if arrays["stamp"].ndim != 1:
        raise RecordingError(f"stamp is {arrays['stamp'].shape}, not (M,): one stamp a row")
    rows, joints = len(arrays["stamp"]), len(H36M17)
    shapes = {
        "stamp": (rows,),
        "frame": (rows,),
        "track_id": (rows,),
        "keypoints_2d": (rows, len(layout), 3),
        "joints_3d": (rows, joints, 3),
        "joint_stddev": (rows, joints),
        "root": (rows, 3),
        "root_valid": (rows,),
    }
    for name, shape in shapes.items():
        if name in arrays and arrays[name].shape != shape:
            raise RecordingError(f"{name} is {arrays[name].shape}, not {shape}")

    def numbers(name: str) -> np.ndarray:
        if name not in arrays:
            return np.full(shapes[name], np.nan)
        return _numbers(arrays[name], name).astype(np.float64)

    size = _whole(arrays["image_size"].reshape(-1), "image_size")
    if size.shape != (2,) or (size < 1).any() or (size > _MAX_IMAGE_SIDE).any():
        raise RecordingError(f"image_size is {size.tolist()}, not a width and a height in px")
    recording = Recording(
        _seconds(_numbers(arrays["stamp"], "stamp"), notes),
        _whole(arrays.get("frame", np.full(rows, -1)), "frame"),
        _whole(arrays["track_id"], "track_id"),
        numbers("keypoints_2d"),
        numbers("joints_3d"),
        numbers("joint_stddev"),
        numbers("root"),
        _flags(arrays.get("root_valid", np.zeros(rows, dtype=bool)), "root_valid"),
        layout,
        (int(size[0]), int(size[1])),
        _camera(arrays, (int(size[0]), int(size[1]))),
        notes,
    )
    return _in_order(recording)


def _numbers(values: np.ndarray, name: str, kinds: str = _NUMBERS) -> np.ndarray:
    if values.dtype.kind not in kinds:
        kind = {"U": "text", "S": "text", "b": "true and false"}.get(values.dtype.kind)
        raise RecordingError(f"{name} holds {kind or values.dtype}, not numbers")
    return values


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    """Whole numbers as int64, which floats may stand for."""
    _numbers(values, name)
    if values.dtype.kind not in _WHOLE:
        values = values.astype(np.float64)
        # Beyond 2^53 not every whole number is a float64.
        if not (np.isfinite(values) & (values == np.floor(values)) & (abs(values) < 2**53)).all():
            raise RecordingError(f"{name} holds numbers that are not whole")
    elif values.size and int(values.max()) > np.iinfo(np.int64).max:
        raise RecordingError(f"{name} holds {values.max()}, which 64 bits cannot hold")
    return values.astype(np.int64)


def _flags(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind != "b" and not np.isin(_numbers(values, name), (0, 1)).all():
        raise RecordingError(f"{name} must be true or false")
    return values.astype(bool)


def _text(arrays: Mapping[str, np.ndarray], name: str) -> str:
    values = arrays[name]
    if values.size != 1 or values.dtype.kind not in "US":
        raise RecordingError(f"{name} is no text but {values.dtype} of {values.shape}")
    value: Any = values.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _seconds(stamp: np.ndarray, notes: list[str]) -> np.ndarray:
    """Stamps as float64 s, whatever unit they came in."""
    if not np.isfinite(stamp).all():
        raise RecordingError("a stamp is not finite")
    if not len(stamp):
        return stamp.astype(np.float64)
    seconds = stamp.astype(np.float64)
    steps = np.sort(np.diff(np.unique(seconds)))
    # The lower median: one odd stamp among three is not believed.
    step = float(steps[(len(steps) - 1) // 2]) if len(steps) else 0.0
    largest = float(np.abs(seconds).max())
    # A single step may be from a stamp of 0 to one since 1970.
    if step >= _NANOSECOND_STEP and (len(steps) > 1 or largest > _MAX_STAMP_S or step < 1e9):
        notes.append(
            f"stamp is in nanoseconds, as the step of {step:.4g} from image to image shows; "
            "converted to seconds"
        )
        seconds, step, largest = seconds / 1e9, step / 1e9, largest / 1e9
    elif step >= _NO_SECOND_STEP or largest > _MAX_STAMP_S:
        raise RecordingError(
            f"stamp must be in seconds, or in nanoseconds: it reaches {largest:.4g}, with a median "
            f"step of {step:.4g} from image to image"
        )
    if largest > _MAX_STAMP_S:
        raise RecordingError(f"a stamp of {largest:.4g} s is after the year 2261")
    if step > _LONG_STEP_S:
        notes.append(
            f"images are {step:.3g} s apart, too far for motion to be seen; stamp must be in "
            "seconds, or in nanoseconds"
        )
    return seconds


def _camera(arrays: Mapping[str, np.ndarray], size: tuple[int, int]) -> Camera | None:
    """The intrinsics; None where the file says that they are not known."""
    if "camera_matrix" not in arrays:
        return None
    matrix = _numbers(arrays["camera_matrix"], "camera_matrix").astype(np.float64)
    # So are unknown ones written, by this format and by sensor_msgs/CameraInfo.
    if np.isnan(matrix).all() or not matrix.any():
        return None
    if matrix.size != 9:
        raise RecordingError(f"camera_matrix is {matrix.shape}, not (3, 3)")
    distortion = _numbers(arrays.get("distortion", np.zeros(0)), "distortion")
    model = _text(arrays, "distortion_model") if "distortion_model" in arrays else "plumb_bob"
    return Camera(matrix, size, distortion.astype(np.float64), model)


def _in_order(recording: Recording) -> Recording:
    """Rows image by image.

    A file may hold one person's rows after another's: the stamps of each person rise then, and
    sorting restores the images. Where a person's own stamps step back, the rows stay as they are,
    and the pipeline treats them as it does live.
    """
    stamp, track_id = recording.stamp, recording.track_id
    if len(stamp) > 1 and (stamp == stamp[0]).all() and len(np.unique(track_id)) < len(stamp):
        raise RecordingError(
            f"all {len(stamp)} rows have the stamp {stamp[0]:g}; each image needs its own"
        )
    if (np.diff(stamp) >= 0).all():
        return recording
    by_person = np.lexsort((np.arange(len(stamp)), track_id))
    back = (np.diff(stamp[by_person]) < 0) & (np.diff(track_id[by_person]) == 0)
    if back.any():
        recording.notes.append("stamps step back: rows are taken in the order of the file")
        return recording
    order = np.argsort(stamp, kind="stable")
    recording.notes.append("rows were not in the order of their stamps; sorted")
    for name in (
        "stamp",
        "frame",
        "track_id",
        "keypoints_2d",
        "joints_3d",
        "joint_stddev",
        "root",
        "root_valid",
    ):
        setattr(recording, name, getattr(recording, name)[order])
    return recording


@dataclass
class RecordingWriter:
    """Collects rows and makes a `Recording` of them; of one person in one image the last row."""

    layout: Layout
    image_size: tuple[int, int]
    camera: Camera | None = None
    _rows: dict[tuple[float, int], tuple] = field(default_factory=dict)

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
        row = (stamp, frame, track_id, keypoints_2d, joints_3d, joint_stddev, root, root_valid)
        self._rows[stamp, track_id] = row

    def recording(self) -> Recording:
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
        )
