"""The motion of one person at a constant rate, as the files of motion capture hold it.

Their axes are those of a room: x right, y up, z towards the camera, m. The origin is the camera,
and the camera is taken to be level. Unknown is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...skeletons import H36M17
from ..mocap.body import axis_along, to_y_up
from ..mocap.joints import limbs_by_name
from ..mocap.text import quote
from ..recordings import Recording, RecordingError, checked

#: Maximum distance of a stamp from a constant rate's at which the pose is taken as it is, in
#: periods. It is above the rounding of stamps to a millisecond.
MAX_JITTER = 0.05
#: Maximum time between two poses that are interpolated, s.
MAX_STEP_S = 0.2
#: Maximum number of frames; more come from a stamp that is wrong.
MAX_FRAMES = 1_000_000
#: Factors from the camera's optical frame (x right, y down, z forward) to the room, and back.
_ROOM = np.array([1.0, -1.0, -1.0])

_PELVIS = H36M17.index("pelvis")
_HIPS = [H36M17.index("left_hip"), H36M17.index("right_hip")]


@dataclass(frozen=True)
class Motion:
    """One person.

    Attributes:
        rate_hz: frames a second.
        start_s: stamp of the first frame, s.
        joints: (N, 17, 3) m, h36m17, axes of the room.
        notes: sentences on what is not as recorded.
    """

    rate_hz: float
    start_s: float
    joints: np.ndarray
    notes: list[str]

    @property
    def time_s(self) -> np.ndarray:
        """(N,) s, the stamps of the frames."""
        return self.start_s + np.arange(len(self.joints)) / self.rate_hz


def motion_of(recording: Recording) -> Motion:
    """The motion of the one person of a recording.

    Where the stamps have a constant rate, poses are taken as they are. Otherwise they are
    interpolated linearly between poses that are at most `MAX_STEP_S` apart. Images without the
    person, and poses without a root, are frames of NaN.

    Raises:
        RecordingError: the person is nowhere known, or the stamps do not rise or are too far apart.
    """
    known = recording.root_valid & np.isfinite(recording.joints_3d).any(axis=(1, 2))
    if not known.any():
        raise RecordingError(
            "the place of the person is not known in any image, so the file would be empty; lift "
            "with intrinsics (--camera-info or --fov)"
        )
    stamp = recording.stamp
    if (np.diff(stamp) <= 0).any():
        raise RecordingError("the stamps of the person do not rise")
    step_s = _step_s(stamp)
    stamp, joints = stamp[known], recording.joints_3d[known] * _ROOM
    count = round((stamp[-1] - stamp[0]) / step_s) + 1
    if count > MAX_FRAMES:
        raise RecordingError(
            f"the person's stamps span {stamp[-1] - stamp[0]:.4g} s, which is too long"
        )
    place = (stamp - stamp[0]) / step_s
    out = np.full((count, *joints.shape[1:]), np.nan)
    notes = []
    row = np.round(place).astype(np.int64)
    if np.abs(place - row).max() <= MAX_JITTER:
        out[row] = joints
    else:
        notes.append(f"the times are not even: poses are interpolated at {1 / step_s:.4g} Hz")
        after = np.searchsorted(place, np.arange(count)).clip(1, max(1, len(place) - 1))
        if len(place) > 1:
            low, high = place[after - 1], place[after]
            share = ((np.arange(count) - low) / (high - low)).clip(0, 1)[:, None, None]
            out = (1 - share) * joints[after - 1] + share * joints[after]
            out[(high - low) * step_s > MAX_STEP_S] = np.nan
        # A pose that is in its place needs no neighbour.
        exact = np.abs(place - row) <= MAX_JITTER
        out[row[exact]] = joints[exact]
    return Motion(1 / step_s, float(stamp[0]), out, notes)


def recording_of(
    time_s: np.ndarray,
    points: np.ndarray,
    names: list[str],
    notes: list[str] | None = None,
    up: str = "auto",
    stated_up: str = "",
) -> Recording:
    """A recording of the points of one person; the inverse of `motion_of`.

    Args:
        time_s: (N,) s.
        points: (N, K, 3) m, axes of the room, or with z up.
        names: K names. Those of h36m17 are used, and those that other programs give to the joints
            of the limbs. Others are left out with a note. Without a pelvis the middle of the hips
            takes its place. Frames without either are left out.
        notes: sentences on the reading so far.
        up: the axis that points up, "y" or "z"; "auto": by `stated_up` and by the people.
        stated_up: the direction that the file calls up, such as "+Z"; empty where it says nothing.

    Raises:
        RecordingError: no joint, or no pelvis, is among the names; up cannot be told; or a stamp is
            impossible.
    """
    notes = list(notes or [])
    joints = np.full((len(points), len(H36M17), 3), np.nan)
    used = {**limbs_by_name(names), **{j: names.index(j) for j in H36M17.joints if j in names}}
    for joint, index in used.items():
        joints[:, H36M17.index(joint)] = points[:, index]
    others = [name for index, name in enumerate(names) if index not in used.values()]
    if not used:
        raise RecordingError(f"none of its points is a joint of h36m17: {', '.join(others[:9])}")
    if others:
        notes.append(f"points that are not joints of h36m17 are not read: {', '.join(others)}")
    middle = joints[:, _HIPS].mean(axis=1)
    pelvis = joints[:, _PELVIS]
    joints[:, _PELVIS] = np.where(np.isfinite(pelvis), pelvis, middle)
    known = np.isfinite(joints[:, _PELVIS]).all(axis=1)
    if not known.any():
        raise RecordingError("it has neither a pelvis nor both hips in any frame")
    partly = int((np.isfinite(joints).any(axis=(1, 2)) & ~known).sum())
    if partly:
        notes.append(f"{partly} frames have no pelvis: left out")
    joints = joints[known]
    if up == "auto":
        up, why = _find_up(joints, stated_up)
        notes.append(f"{up} is up, {why}")
    joints, rows = to_y_up(joints, up) * _ROOM, int(known.sum())
    keypoints = np.full((rows, len(H36M17), 3), np.nan)
    keypoints[..., 2] = 0.0
    recording = Recording(
        time_s[known],
        np.full(rows, -1),
        np.ones(rows, dtype=np.int64),
        keypoints,
        joints,
        np.full((rows, len(H36M17)), np.nan),
        joints[:, _PELVIS],
        np.ones(rows, dtype=bool),
        H36M17,
        (0, 0),
        notes=notes,
    )
    return checked(recording)


def _find_up(joints: np.ndarray, stated: str) -> tuple[str, str]:
    """The axis that points up, "y" or "z", and by what it is told.

    Args:
        joints: (N, 17, 3) m, with the pelvis.
        stated: see `recording_of`.

    Raises:
        RecordingError: the file and the people tell no axis, or different ones.
    """
    advice = "give --up y or --up z of emf-ros convert"
    upwards = _upwards(joints)
    shown = "" if upwards is None else axis_along(upwards)
    if not stated:
        if shown:
            return shown, "as the people's trunk or legs show"
        why = "it has neither trunk nor legs"
        if upwards is not None:
            mean = ", ".join(f"{part:.2f}" for part in upwards)
            why = f"the people's trunk or legs point along ({mean}) on average"
        raise RecordingError(f"it does not say which axis is up, and {why}: {advice}")
    axis = {"+Y": "y", "Y": "y", "+Z": "z", "Z": "z"}.get(stated)
    if axis is None:
        raise RecordingError(
            f"{quote(stated)} is up by its Y_SCREEN, and only y or z are read: {advice}"
        )
    if shown not in ("", axis):
        raise RecordingError(
            f"{axis} is up by its Y_SCREEN, and {shown} by the people's trunk or legs: {advice}"
        )
    return axis, "by its Y_SCREEN"


def _upwards(joints: np.ndarray) -> np.ndarray | None:
    """(3,) mean direction of the trunk, or else of the legs; None where neither is known."""

    def middle(joint: str) -> np.ndarray:
        return joints[:, [H36M17.index(f"{side}_{joint}") for side in ("left", "right")]].mean(1)

    hips, pelvis = middle("hip"), joints[:, _PELVIS]
    for low, high in (
        (pelvis, joints[:, H36M17.index("thorax")]),
        (pelvis, middle("shoulder")),
        (middle("ankle"), hips),
        (middle("knee"), hips),
    ):
        step = high - low
        length = np.linalg.norm(step, axis=1)
        # NaN is not above 0.
        if (length > 0).any():
            mean: np.ndarray = (step[length > 0] / length[length > 0, None]).mean(axis=0)
            return mean
    return None


def _step_s(stamp: np.ndarray) -> float:
    """The usual time from image to image, s, without the gaps."""
    steps = np.diff(stamp)
    if not len(steps):
        return 1 / 30
    # One of the steps: the mean of a short and a long one may be near none.
    median = float(np.sort(steps)[(len(steps) - 1) // 2])
    return float(steps[np.abs(steps - median) <= 0.5 * median].mean())
