"""Joints of one person by an independent measurement, and the files that hold them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..io.formats.trc import read_points
from ..io.mocap.joints import limbs_by_name
from ..skeletons import H36M17
from .evaluate import EvaluationError
from .formats.npz import array_names, checked_numbers, load_arrays

#: Minimum number of joints of a truth beside the hips.
MIN_JOINTS = 3
#: Minimum share of the frames in which a joint is known that is compared, of those of the joint
#: that is known most often. Frames in which a compared joint is unknown do not count.
KNOWN_SHARE = 0.9
#: Maximum time between two frames that a truth is interpolated between, s.
MAX_STEP_S = 0.15

#: Indices of the hips.
HIPS = [H36M17.index("left_hip"), H36M17.index("right_hip")]
PELVIS = H36M17.index("pelvis")


@dataclass(frozen=True)
class Truth:
    """Joint centres of one person over time.

    Attributes:
        stamp: (N,) s, rising.
        joints: (N, 17, 3) m, h36m17; NaN for joints that are not known.
        in_camera_frame: whether the joints are in the camera's optical frame and the stamps are
            those of the video. Otherwise frame and clock are those of a laboratory, and a rotation
            and a time offset have to be fitted.
    """

    stamp: np.ndarray
    joints: np.ndarray
    in_camera_frame: bool = False

    def __post_init__(self) -> None:
        if len(self.stamp) != len(self.joints) or self.joints.shape[1:] != (len(H36M17), 3):
            raise EvaluationError(
                f"the truth has {len(self.stamp)} stamps and joints of the shape "
                f"{self.joints.shape}, not (N,) and (N, 17, 3)"
            )
        if len(self.stamp) < 2 or not (np.diff(self.stamp) > 0).all():
            raise EvaluationError("the truth's stamps do not rise, or there are fewer than two")
        step_s = float(np.median(np.diff(self.stamp)))
        if step_s > MAX_STEP_S:
            raise EvaluationError(
                f"the truth has a frame every {step_s:.3g} s, and {1 / MAX_STEP_S:.1f} frames per "
                "second are needed; are its stamps in seconds?"
            )
        if len(self.known) < MIN_JOINTS + 2 or not set(HIPS) <= set(self.known.tolist()):
            raise EvaluationError(
                f"the truth must have both hips and {MIN_JOINTS} joints more; it has "
                f"{', '.join(H36M17.joints[i] for i in self.known) or 'none'}"
            )

    @property
    def known(self) -> np.ndarray:
        """Indices of the joints that are compared: those that are known in most frames."""
        frames = self._frames_known
        return np.flatnonzero((frames > 0) & (frames >= KNOWN_SHARE * frames.max()))

    @property
    def _frames_known(self) -> np.ndarray:
        """(17,) the number of frames in which each joint is known."""
        return np.isfinite(self.joints).all(axis=2).sum(axis=0)

    def notes(self) -> list[str]:
        """Sentences on joints that are known too seldom to be compared."""
        frames = self._frames_known
        return [
            f"the truth's {H36M17.joints[joint]} is known in {frames[joint]} of "
            f"{len(self.stamp)} frames, and is not compared"
            for joint in np.flatnonzero(frames)
            if joint not in self.known
        ]

    def at(self, stamps: np.ndarray) -> np.ndarray:
        """(M,) s -> (M, 17, 3) m, interpolated linearly.

        NaN outside the truth, and between frames that are more than `MAX_STEP_S` apart.
        """
        flat = self.joints.reshape(len(self.joints), -1)
        out = np.stack([np.interp(stamps, self.stamp, column) for column in flat.T], axis=1)
        after = np.searchsorted(self.stamp, stamps).clip(1, len(self.stamp) - 1)
        gap = (np.diff(self.stamp) > MAX_STEP_S)[after - 1] & ~np.isin(stamps, self.stamp)
        out[(stamps < self.stamp[0]) | (stamps > self.stamp[-1]) | gap] = np.nan
        return out.reshape(len(stamps), *self.joints.shape[1:])

    @classmethod
    def from_points(
        cls,
        stamp: np.ndarray,
        points: np.ndarray,
        names: Sequence[str],
        in_camera_frame: bool = False,
    ) -> Truth:
        """A truth of points (N, K, 3) m, of which the limbs' joints are found by their names."""
        joints = np.full((len(points), len(H36M17), 3), np.nan)
        for joint, index in limbs_by_name(names).items():
            joints[:, H36M17.index(joint)] = points[:, index]
        return cls(stamp, joints, in_camera_frame)

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        """Read a .trc file or an .npz file.

        An npz holds `truth` (N, K, 3) m, `truth_time` (N,) s and `truth_joints`, the K names: in
        the frame and clock of a laboratory. Or it holds `stamp` (N,) s and `joints` (N, 17, 3) m,
        h36m17: in the camera's optical frame and the clock of the video.

        Raises:
            EvaluationError: the file cannot be read, contradicts itself, or holds too few joints.
        """
        path = Path(path)
        try:
            if path.suffix.lower() == ".trc":
                return cls.from_points(*read_points(path))
            names = array_names(path)
            if "truth" not in names and {"stamp", "joints"} <= set(names):
                return _in_camera_frame(load_arrays(path, ("stamp", "joints")))
            return _in_laboratory_frame(load_arrays(path, ("truth", "truth_time", "truth_joints")))
        except (OSError, ValueError, csv.Error) as error:
            raise EvaluationError(f"{path}: {error}") from None


def _in_camera_frame(arrays: dict[str, np.ndarray]) -> Truth:
    """The truth of the arrays `stamp` and `joints`."""
    stamp, joints = (checked_numbers(name, arrays[name]) for name in ("stamp", "joints"))
    if stamp.ndim != 1 or joints.ndim != 3:
        raise EvaluationError(
            f"stamp is {stamp.shape} and joints {joints.shape}, not (N,) and (N, 17, 3)"
        )
    return Truth(stamp, joints, in_camera_frame=True)


def _in_laboratory_frame(arrays: dict[str, np.ndarray]) -> Truth:
    """The truth of the arrays `truth`, `truth_time` and `truth_joints`."""
    names = [str(name) for name in np.atleast_1d(arrays["truth_joints"]).ravel()]
    points = checked_numbers("truth", arrays["truth"])
    if points.ndim != 3 or points.shape[1:] != (len(names), 3):
        raise EvaluationError(
            f"truth is {points.shape}, not (N, {len(names)}, 3) as truth_joints says"
        )
    stamp = arrays["truth_time"]
    if stamp.dtype.kind not in "iuf" or stamp.ndim != 1:
        raise EvaluationError(
            f"truth_time is {stamp.dtype} of {stamp.shape}, not numbers of the shape (N,)"
        )
    return Truth.from_points(stamp.astype(np.float64), points, names)
