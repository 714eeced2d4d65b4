"""Recordings: skeletons, or only keypoints, as one npz file (docs/reference/formats.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.camera import Camera, CameraError
from ..skeletons import H36M17, Layout, get_layout
from .npz_limits import refuse_too_large_npz
from .outputs import replacing

FORMAT = "emf_ros-recording-1"

#: Arrays that every recording has.
_KEYPOINT_ARRAYS = ("stamp", "track_id", "keypoints_2d", "layout", "image_size")

#: Arrays that are read if they are present.
_OTHER_ARRAYS = (
    "frame",
    "joints_3d",
    "joint_stddev",
    "root",
    "root_valid",
    "camera_matrix",
    "distortion",
    "distortion_model",
    "body",
    "body_names",
)

#: Arrays with one entry for each row.
_ROWS = (
    "stamp",
    "frame",
    "track_id",
    "keypoints_2d",
    "joints_3d",
    "joint_stddev",
    "root",
    "root_valid",
    "body",
)

#: Arrays of the format that are not needed for reading.
_NOT_NEEDED = ("format", "joint_names", "source_state")

#: Kinds of numpy types of whole numbers.
_WHOLE_KINDS = "iu"
#: Kinds of numpy types of numbers.
_NUMBER_KINDS = "iuf"

#: Minimum step between images, in the unit of `stamp`, from which the unit is nanoseconds. It is
#: 1 ms in nanoseconds and eleven days in seconds.
_NANOSECOND_STEP = 1e6

#: Minimum step between images, in the unit of `stamp`, from which the unit is not seconds. It is
#: 17 minutes in seconds.
_NO_SECOND_STEP = 1e3

#: Minimum step between images that is worth a note, s: keypoints are not interpolated over it.
_LONG_STEP_S = 0.4

#: Maximum stamp, s: later ones, after the year 2261, overflow 64 bits of nanoseconds.
_MAX_STAMP_S = 9.2e9

#: Maximum width and height of an image, px.
_MAX_IMAGE_SIDE = 1_000_000

#: Maximum number of rows: five hours of eight people. A small file may hold billions.
MAX_ROWS = 5_000_000

#: Maximum size of a coordinate, px or m; a larger one is unknown.
_MAX_COORDINATE = 1e7


class RecordingError(ValueError):
    """A file that is no recording, or a damaged recording."""


@dataclass
class Recording:
    """One row per person and frame, in the order of the stamps.

    Attributes:
        stamp: (M,) float64 s, of the image that the row describes.
        frame: (M,) int64, number of the image in its source; -1 where unknown.
        track_id: (M,) int64.
        keypoints_2d: (M, K, 3) px, px, score; layout `layout`; NaN where missing.
        joints_3d: (M, 17, 3) m, camera optical frame, layout h36m17; NaN where unknown; relative to
            the pelvis where `root_valid` is false.
        joint_stddev: (M, 17) m, along each axis.
        root: (M, 3) m, the pelvis; NaN where unknown.
        root_valid: (M,) bool.
        layout: of the keypoints.
        image_size: (width, height) px; (0, 0) where it is unknown, as in a file of 3D joints alone.
        camera: the intrinsics; None where they are unknown.
        notes: a sentence for each thing that was left out or converted on reading.
        body: (M, B), answers about the people, see `body.columns`; NaN where unknown.
        body_names: (B,) names of its columns; empty where they were not asked for.
        source_state: of the files that it was made of, see `batch.jobs`; it is only written.
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
    body: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    body_names: tuple[str, ...] = ()
    source_state: str = ""

    def __post_init__(self) -> None:
        if not self.body_names:
            self.body = np.zeros((len(self.stamp), 0))

    def __len__(self) -> int:
        return len(self.stamp)

    def rows(self, index: np.ndarray) -> Recording:
        """Some of the rows.

        Args:
            index: (M,) bool, or the numbers of the rows in their new order.
        """
        return replace(self, **{name: getattr(self, name)[index] for name in _ROWS})

    def save(self, path: str | Path) -> None:
        """Write the file; an existing one is replaced only when the new one is complete.

        Raises:
            OutputError: it cannot be written.
        """
        matrix = np.full((3, 3), np.nan) if self.camera is None else self.camera.matrix
        more: dict[str, Any] = {}
        if self.body_names:
            more = {"body": self.body.astype(np.float32), "body_names": np.array(self.body_names)}
        if self.source_state:
            more["source_state"] = self.source_state
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
                **more,
            )


def load_recording(path: str | Path) -> Recording:
    """Read a recording; in one of keypoints only, the skeletons are NaN.

    Nothing is unpickled. Unknown arrays are ignored with a note. Stamps in nanoseconds are
    converted with a note.

    Raises:
        RecordingError: the file cannot be read; the message has the array and the reason.
    """
    notes: list[str] = []
    try:
        return recording_of_arrays(_read_arrays(path, notes), notes)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from None


def recording_of_arrays(arrays: Mapping[str, np.ndarray], notes: list[str]) -> Recording:
    """A recording of the arrays of docs/reference/formats.md.

    Args:
        arrays: by their names.
        notes: sentences on the reading so far; more are added.

    Raises:
        RecordingError: an array has a wrong shape or type; the message names it.
    """
    try:
        return _checked(arrays, notes)
    except CameraError as error:
        raise RecordingError(str(error)) from None


def _read_arrays(path: str | Path, notes: list[str]) -> dict[str, np.ndarray]:
    """The arrays of the format in a file; an array of Python objects is refused."""
    name = ""
    try:
        with open(path, "rb") as file:
            refuse_too_large_npz(file)
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.ndarray):
                raise RecordingError("it holds a single array (.npy), not the arrays of an .npz")
            known = [n for n in (*_KEYPOINT_ARRAYS, *_OTHER_ARRAYS) if n in data.files]
            unknown = sorted(set(data.files) - {*known, *_NOT_NEEDED})
            arrays = {}
            for name in known:
                arrays[name] = np.asarray(data[name])
    except RecordingError:
        raise
    except FileNotFoundError:
        raise RecordingError("there is no such file") from None
    except Exception as error:  # a damaged file leads to errors of any type
        why = " ".join(str(error).split()) or type(error).__name__
        if name and "allow_pickle" in why:
            raise RecordingError(
                f"{name} holds Python objects, which are not read; save it as numbers or text"
            ) from None
        raise RecordingError(f"it is no readable npz file: {why}") from None
    missing = [name for name in _KEYPOINT_ARRAYS if name not in arrays]
    if missing:
        raise RecordingError(f"it has no array {', '.join(missing)}")
    if unknown:
        notes.append(f"arrays that are not of this format are not read: {', '.join(unknown)}")
    return arrays


def _checked(arrays: Mapping[str, np.ndarray], notes: list[str]) -> Recording:
    """A recording of these arrays.

    Raises:
        RecordingError, CameraError: an array has a wrong shape or type; the message names it.
    """
    try:
        layout = get_layout(_text(arrays, "layout"))
    except ValueError as error:
        raise RecordingError(str(error)) from None
    if arrays["stamp"].ndim != 1:
        raise RecordingError(f"stamp is {arrays['stamp'].shape}, not (M,): one stamp a row")
    refuse_too_many_rows(len(arrays["stamp"]))
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
    body_names = _names(arrays)
    if body_names:
        shapes["body"] = (rows, len(body_names))
    for name, shape in shapes.items():
        if name in arrays and arrays[name].shape != shape:
            raise RecordingError(f"{name} is {arrays[name].shape}, not {shape}")

    def numbers(name: str) -> np.ndarray:
        if name not in arrays:
            return np.full(shapes[name], np.nan)
        return _numbers(arrays[name], name).astype(np.float64)

    size = _whole(arrays["image_size"].reshape(-1), "image_size")
    _refuse_odd_size(size.tolist())
    unknown = not size.any()
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
        None if unknown else _camera(arrays, (int(size[0]), int(size[1]))),
        notes,
        numbers("body") if body_names else np.zeros((rows, 0)),
        body_names,
    )
    return checked(recording)


def refuse_too_many_rows(count: int) -> None:
    """Raise RecordingError where a file has more than `MAX_ROWS` rows."""
    if count > MAX_ROWS:
        raise RecordingError(f"it has {count} rows, and at most {MAX_ROWS} are read: split it")


def _refuse_odd_size(size: Sequence[int]) -> None:
    if len(size) != 2 or (any(size) and not all(1 <= side <= _MAX_IMAGE_SIDE for side in size)):
        raise RecordingError(f"image_size is {list(size)}, not a width and a height in px")


def checked(recording: Recording) -> Recording:
    """A recording as it is read from any format: in order, and without impossible numbers.

    Infinite and absurd coordinates are unknown, with a note.

    Raises:
        RecordingError: there are too many rows, or a stamp or the image size is impossible.
    """
    refuse_too_many_rows(len(recording))
    _refuse_odd_size(recording.image_size)
    stamp = recording.stamp
    if not np.isfinite(stamp).all():
        raise RecordingError("a stamp is not finite")
    if (np.abs(stamp) > _MAX_STAMP_S).any():
        raise RecordingError(f"a stamp of {np.abs(stamp).max():.4g} s is after the year 2261")
    for name in ("keypoints_2d", "joints_3d", "joint_stddev", "root", "body"):
        values = getattr(recording, name)
        absurd = np.isinf(values) if name == "body" else np.abs(values) > _MAX_COORDINATE
        if absurd.any():
            setattr(recording, name, np.where(absurd, np.nan, values))
            recording.notes.append(
                f"{int(absurd.sum())} numbers of {name} are impossible: taken as unknown"
            )
    rootless = recording.root_valid & ~np.isfinite(recording.root).all(axis=1)
    if rootless.any():
        recording.root_valid = recording.root_valid & ~rootless
        recording.notes.append(f"{int(rootless.sum())} rows say that they have a root, and lack it")
    return _in_order(recording)


def _numbers(values: np.ndarray, name: str, kinds: str = _NUMBER_KINDS) -> np.ndarray:
    if values.dtype.kind not in kinds:
        kind = {"U": "text", "S": "text", "b": "true and false"}.get(values.dtype.kind)
        raise RecordingError(f"{name} holds {kind or values.dtype}, not numbers")
    return values


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    """Whole numbers, possibly stored as floats, as int64."""
    _numbers(values, name)
    if values.dtype.kind not in _WHOLE_KINDS:
        values = values.astype(np.float64)
        # Not every whole number beyond 2^53 is a float64.
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


def _names(arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The names of the columns of `body`; empty where the recording has none."""
    names = arrays.get("body_names")
    if names is None or "body" not in arrays:
        return ()
    if names.dtype.kind != "U" or names.ndim != 1 or len(set(names.tolist())) != len(names):
        raise RecordingError("body_names must be different names, one for each column of body")
    return tuple(names.tolist())


def _seconds(stamp: np.ndarray, notes: list[str]) -> np.ndarray:
    """Stamps in seconds or nanoseconds as float64 s."""
    if not np.isfinite(stamp).all():
        raise RecordingError("a stamp is not finite")
    if not len(stamp):
        return stamp.astype(np.float64)
    seconds = stamp.astype(np.float64)
    steps = np.sort(np.diff(np.unique(seconds)))
    # The lower median: one wrong stamp among three has no effect.
    step = float(steps[(len(steps) - 1) // 2]) if len(steps) else 0.0
    largest = float(np.abs(seconds).max())
    # A single step may be from a stamp of 0 to one in seconds since 1970.
    if step >= _NANOSECOND_STEP and (len(steps) > 1 or largest > _MAX_STAMP_S or step < 1e9):
        notes.append(
            f"stamp is in nanoseconds, as the step of {step:.4g} from image to image shows; "
            "converted to seconds"
        )
        seconds, step = seconds / 1e9, step / 1e9
    elif step >= _NO_SECOND_STEP or largest > _MAX_STAMP_S:
        raise RecordingError(
            f"stamp must be in seconds, or in nanoseconds: it reaches {largest:.4g}, with a median "
            f"step of {step:.4g} from image to image"
        )
    if step > _LONG_STEP_S:
        notes.append(
            f"images are {step:.3g} s apart, too far for motion to be seen; stamp must be in "
            "seconds, or in nanoseconds"
        )
    return seconds


def _camera(arrays: Mapping[str, np.ndarray], size: tuple[int, int]) -> Camera | None:
    """The intrinsics; None where they are unknown."""
    if "camera_matrix" not in arrays:
        return None
    matrix = _numbers(arrays["camera_matrix"], "camera_matrix").astype(np.float64)
    # Unknown intrinsics are NaN in this format and zero in sensor_msgs/CameraInfo.
    if np.isnan(matrix).all() or not matrix.any():
        return None
    if matrix.size != 9:
        raise RecordingError(f"camera_matrix is {matrix.shape}, not (3, 3)")
    distortion = _numbers(arrays.get("distortion", np.zeros(0)), "distortion")
    model = _text(arrays, "distortion_model") if "distortion_model" in arrays else "plumb_bob"
    return Camera(matrix, size, distortion.astype(np.float64), model)


def _in_order(recording: Recording) -> Recording:
    """The recording with its rows in the order of the images.

    A file may have all rows of one person before those of the next: then the stamps of each person
    rise, and the rows are sorted. Where the stamps of one person step back, the rows stay in their
    order, and the pipeline treats the step as in a live image stream.
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
    return recording.rows(order)
