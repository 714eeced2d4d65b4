"""A recording as a table: a row for each person and image, a column for each number.

The columns are those of docs/reference/formats.md. The layout, the image size and the intrinsics
are the same in all rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...skeletons import H36M17, get_layout
from ..recordings import Recording, RecordingError, recording_of_arrays

#: Ending of the columns of a point's coordinates.
_AXES = ("x", "y", "z")
#: Beginning of the columns of the 2D keypoints, whose layout may have joints of the same names.
_KEYPOINT = "keypoint_"
#: Beginning of the columns of `Recording.body`.
_BODY = "body_"
#: Columns of text.
TEXTS = ("layout", "camera_matrix", "distortion", "distortion_model")


def columns_of(recording: Recording) -> dict[str, np.ndarray]:
    """The columns, (M,) each, in their order; unknown is NaN or an empty text."""
    rows, camera = len(recording), recording.camera

    def constant(value: object) -> np.ndarray:
        return np.full(rows, value)

    out: dict[str, np.ndarray] = {
        "stamp": recording.stamp,
        "frame": recording.frame,
        "track_id": recording.track_id,
        "root_valid": recording.root_valid,
    }
    for axis, name in enumerate(_AXES):
        out[f"root_{name}"] = recording.root[:, axis].astype(np.float32)
    for joint, name in enumerate(H36M17.joints):
        for axis, letter in enumerate(_AXES):
            out[f"{name}_{letter}"] = recording.joints_3d[:, joint, axis].astype(np.float32)
        out[f"{name}_stddev"] = recording.joint_stddev[:, joint].astype(np.float32)
    for joint, name in enumerate(recording.layout.joints):
        for column, ending in enumerate(("x", "y", "score")):
            values = recording.keypoints_2d[:, joint, column].astype(np.float32)
            out[f"{_KEYPOINT}{name}_{ending}"] = values
    for column, name in enumerate(recording.body_names):
        out[_BODY + name] = recording.body[:, column].astype(np.float32)
    out["layout"] = constant(recording.layout.name)
    out["image_width"], out["image_height"] = (constant(side) for side in recording.image_size)
    matrix = () if camera is None else camera.matrix.ravel()
    out["camera_matrix"] = constant(_text_of(matrix))
    out["distortion"] = constant(_text_of(() if camera is None else camera.distortion))
    out["distortion_model"] = constant("" if camera is None else camera.model)
    return out


def recording_of(columns: Mapping[str, np.ndarray]) -> Recording:
    """The inverse of `columns_of`. Columns of other names are ignored with a note.

    Raises:
        RecordingError: a column is missing or has no numbers; the message names it.
    """
    if "stamp" not in columns or "layout" not in columns:
        raise RecordingError("it has no columns stamp and layout, which emf_ros writes")
    rows = len(columns["stamp"])
    if not rows:
        raise RecordingError("it has no rows, and so no layout and no image size")
    try:
        layout = get_layout(str(columns["layout"][0]))
    except ValueError as error:
        raise RecordingError(f"{error}") from None
    used: set[str] = set()

    def take(name: str) -> np.ndarray:
        if name not in columns:
            raise RecordingError(f"it has no column {name}")
        used.add(name)
        return columns[name]

    def numbers(names: Iterable[str]) -> np.ndarray:
        taken = []
        for name in names:
            values = take(name)
            try:
                # Texts and dates have numbers, too, which mean something else.
                if values.dtype.kind not in "iufbO":
                    raise ValueError
                taken.append(np.asarray(values, dtype=np.float64))
            except (TypeError, ValueError):
                raise RecordingError(f"the column {name} holds no numbers") from None
        return np.stack(taken, axis=1)

    def text(name: str) -> str:
        value = take(name)[0]
        return "" if value is None or value != value else str(value)

    body_names = [name.removeprefix(_BODY) for name in columns if name.startswith(_BODY)]
    arrays: dict[str, Any] = {
        name: np.asarray(take(name)) for name in ("stamp", "frame", "track_id", "root_valid")
    }
    arrays["root"] = numbers(f"root_{axis}" for axis in _AXES)
    joints = [f"{joint}_{axis}" for joint in H36M17.joints for axis in _AXES]
    arrays["joints_3d"] = numbers(joints).reshape(rows, len(H36M17), 3)
    arrays["joint_stddev"] = numbers(f"{joint}_stddev" for joint in H36M17.joints)
    keypoints = [
        f"{_KEYPOINT}{joint}_{ending}" for joint in layout.joints for ending in ("x", "y", "score")
    ]
    arrays["keypoints_2d"] = numbers(keypoints).reshape(rows, len(layout), 3)
    if body_names:
        arrays["body"] = numbers(_BODY + name for name in body_names)
        arrays["body_names"] = np.array(body_names)
    arrays["layout"] = np.array(text("layout"))
    sides = numbers(("image_width", "image_height"))[0]
    arrays["image_size"] = sides
    matrix = _numbers_of(text("camera_matrix"), "camera_matrix")
    if len(matrix):
        arrays["camera_matrix"] = matrix
        arrays["distortion"] = _numbers_of(text("distortion"), "distortion")
        arrays["distortion_model"] = np.array(text("distortion_model"))
    notes = []
    unknown = sorted(set(columns) - used - set(TEXTS))
    if unknown:
        notes.append(f"columns that are not of this format are not read: {', '.join(unknown)}")
    return recording_of_arrays(arrays, notes)


def _text_of(values: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _numbers_of(text: str, name: str) -> np.ndarray:
    try:
        return np.array([float(word) for word in text.split()])
    except ValueError:
        raise RecordingError(f"the column {name} holds no numbers") from None
