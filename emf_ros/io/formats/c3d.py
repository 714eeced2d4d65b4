"""The format of biomechanics (.c3d): the joints of one person, mm, y up."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from ...skeletons import H36M17
from ..outputs import replacing
from ..recordings import Recording, RecordingError
from .c3d_process import read_arrays
from .motion import motion_of, recording_of
from .trc import UNITS

#: Millimetres per metre.
_MM = 1000.0
#: Maximum number of frames, which are counted in 16 bits. ezc3d reads no more, and does not say so.
MAX_FRAMES = 65_535
#: Length of a block of a C3D, bytes.
_BLOCK = 512
#: Group and parameter of the stamp of the first frame, s, as text: a number would be 32 bits.
#: `c3d_process` reads it.
_GROUP, _START = "EMF_ROS", "START_TIME"
#: The direction that programs show upwards, in the files that are written here.
_Y_SCREEN = "+Y"


def write(recording: Recording, path: Path) -> list[str]:
    """Write the one person of a recording; unknown joints have the residual -1.

    Returns:
        sentences on what is not as recorded.

    Raises:
        RecordingError: the person is nowhere known.
        OutputError: the file cannot be written.
    """
    import ezc3d

    motion = motion_of(recording)
    if len(motion.joints) > MAX_FRAMES:
        raise RecordingError(
            f"C3D holds at most {MAX_FRAMES} frames, not {len(motion.joints)}: split the recording"
        )
    known = np.isfinite(motion.joints).all(axis=2)
    points = np.ones((4, len(H36M17), len(motion.joints)))
    points[:3] = np.where(known[..., None], _MM * motion.joints, np.nan).transpose(2, 1, 0)
    file = ezc3d.c3d()
    file.add_parameter("POINT", "RATE", [motion.rate_hz])
    file.add_parameter("POINT", "LABELS", list(H36M17.joints))
    file.add_parameter("POINT", "UNITS", ["mm"])
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", [_Y_SCREEN])
    file.add_parameter(_GROUP, _START, [repr(motion.start_s)])
    file["data"]["points"] = points
    file["data"]["meta_points"]["residuals"] = np.where(known, 0.0, -1.0).T[None]
    with replacing(path) as part:
        file.write(str(part))
        # ezc3d does not report errors, such as a full disk. The points are four floats each.
        if part.stat().st_size < 2 * _BLOCK + 16 * points[0].size:
            raise RecordingError("ezc3d did not write all of it")
    return motion.notes


def read(path: Path, up: str = "auto") -> Recording:
    """Read the person of a file; `motion.recording_of` says which names of points are known.

    Args:
        path: of the file.
        up: the axis that points up: "auto", "y" or "z".

    Raises:
        RecordingError: it cannot be read, none of its points is known, or its axes cannot be told.
    """
    try:
        claimed, held = _frames(path)
        if held < claimed:
            raise ValueError("it ends before its last frame: it was cut")
        arrays = read_arrays(path)
        names, unit = arrays["labels"].tolist(), str(arrays["unit"])
        points, rate_hz = arrays["points"], float(arrays["rate_hz"])
        if points.shape[2] == MAX_FRAMES and held >= MAX_FRAMES + 1:
            raise ValueError(f"it has over {MAX_FRAMES} frames, and no more are read: split it")
        if unit not in UNITS:
            raise ValueError(f"its unit is {unit!r}; known: {', '.join(UNITS)}")
        if not 0 < rate_hz < math.inf or len(names) != points.shape[1]:
            raise ValueError(f"it has {len(names)} names of {points.shape[1]} points, {rate_hz} Hz")
        start = str(arrays["start"])
        start_s = float(start or 0.0)
        stated = str(arrays["y_screen"])
        if up == "auto" and start and stated == _Y_SCREEN:
            # Written here: the people may lie.
            up = "y"
        metres = UNITS[unit] * np.where(arrays["residuals"] < 0, np.nan, points).transpose(2, 1, 0)
        time_s = start_s + np.arange(len(metres)) / rate_hz
        return recording_of(time_s, metres, names, up=up, stated_up=stated)
    except ValueError as error:
        raise RecordingError(f"{path}: {error}") from None


def _frames(path: Path) -> tuple[int, float]:
    """The number of frames that the header claims, and the number that the file has room for.

    ezc3d reads a shorter file as if it were whole, and of a longer one the first `MAX_FRAMES`.
    """
    with path.open("rb") as file:
        head = file.read(_BLOCK)
    if len(head) < _BLOCK:
        return 1, 0.0
    # Number of points, of analog samples a frame, first and last frame; scale; block of the data.
    points, samples, first, last = struct.unpack_from("<4H", head, 2)
    (scale,), (block,) = struct.unpack_from("<f", head, 12), struct.unpack_from("<H", head, 16)
    # A negative scale means floats.
    frame = (4 if scale < 0 else 2) * (4 * points + samples)
    room = path.stat().st_size - (block - 1) * _BLOCK
    return last - first + 1, room / frame if frame else math.inf
