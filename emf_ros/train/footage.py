"""Lifted poses of real people held against motion capture of the same moments.

The motion capture has a frame and a clock of its own. One rotation and one time offset are fitted
for a whole recording, for every method alike; the size is not. Joints are compared about the middle
of the hips, as far as both have them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..geometry.camera import Camera
from ..io.recordings import Recording, RecordingWriter
from ..skeletons import BLAZEPOSE33, H36M17
from .evaluate import EvaluationError
from .formats.joints import limbs_by_name
from .formats.npz import checked_numbers, load_arrays
from .metrics import p_mpjpe

#: Largest difference of the two clocks that is looked for, s.
MAX_OFFSET_S = 1.0
#: Step of the search for the difference of the clocks, s.
OFFSET_STEP_S = 1 / 60
#: Smallest share of the shorter recording that has to lie inside the other one.
MIN_OVERLAP = 0.6
#: Smallest number of joints that a truth must have beside the hips.
MIN_JOINTS = 3
#: Metres per unit of length in a TRC file.
TRC_UNITS = {"m": 1.0, "meters": 1.0, "cm": 0.01, "mm": 0.001, "millimeters": 0.001}

#: Joints whose inner angle is compared: name, and the joints before, at and after it.
_BENDS = {
    kind: [tuple(H36M17.index(f"{side}_{joint}") for joint in joints) for side in ("left", "right")]
    for kind, joints in (
        ("knee", ("hip", "knee", "ankle")),
        ("elbow", ("shoulder", "elbow", "wrist")),
    )
}
_HIPS = [H36M17.index("left_hip"), H36M17.index("right_hip")]


@dataclass(frozen=True)
class LabTruth:
    """Joint centres of one person in the frame and the clock of a laboratory.

    Attributes:
        stamp: (N,) s, rising.
        joints: (N, 17, 3) m, h36m17; NaN for joints that it does not have.
    """

    stamp: np.ndarray
    joints: np.ndarray

    def __post_init__(self) -> None:
        if len(self.stamp) != len(self.joints) or self.joints.shape[1:] != (len(H36M17), 3):
            raise EvaluationError(
                f"the truth has {len(self.stamp)} stamps and joints of the shape "
                f"{self.joints.shape}, not (N,) and (N, 17, 3)"
            )
        if len(self.stamp) < 2 or not (np.diff(self.stamp) > 0).all():
            raise EvaluationError("the truth's stamps do not rise, or there are fewer than two")
        if len(self.known) < MIN_JOINTS + 2 or not set(_HIPS) <= set(self.known.tolist()):
            raise EvaluationError(
                f"the truth must have both hips and {MIN_JOINTS} joints more; it has "
                f"{', '.join(H36M17.joints[i] for i in self.known) or 'none'}"
            )

    @property
    def known(self) -> np.ndarray:
        """Indices of the joints that are there at some time."""
        return np.flatnonzero(np.isfinite(self.joints).all(axis=2).any(axis=0))

    def at(self, stamps: np.ndarray) -> np.ndarray:
        """(M,) s -> (M, 17, 3) m, interpolated linearly; NaN outside of the recording."""
        flat = self.joints.reshape(len(self.joints), -1)
        out = np.stack([np.interp(stamps, self.stamp, column) for column in flat.T], axis=1)
        out[(stamps < self.stamp[0]) | (stamps > self.stamp[-1])] = np.nan
        return out.reshape(len(stamps), *self.joints.shape[1:])

    @classmethod
    def from_points(cls, stamp: np.ndarray, points: np.ndarray, names: list[str]) -> LabTruth:
        """Points (N, K, 3) m by their names, of which the joints of h36m17 are taken."""
        joints = np.full((len(points), len(H36M17), 3), np.nan)
        for joint, index in limbs_by_name(names).items():
            joints[:, H36M17.index(joint)] = points[:, index]
        return cls(stamp, joints)

    @classmethod
    def load(cls, path: str | Path) -> LabTruth:
        """Read a .trc file, or an npz with truth (N, K, 3) m, truth_time (N,) s and truth_joints.

        Raises:
            EvaluationError: it cannot be read, or holds too little.
        """
        path = Path(path)
        try:
            if path.suffix.lower() == ".trc":
                return cls.from_points(*_read_trc(path))
            arrays = load_arrays(path, ("truth", "truth_time", "truth_joints"))
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
            return cls.from_points(stamp.astype(np.float64), points, names)
        except (OSError, ValueError, csv.Error) as error:
            raise EvaluationError(f"{path}: {error}") from None


def _read_trc(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Stamps (N,) s, points (N, K, 3) m and their names of OpenSim's text format of markers."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    if len(rows) < 6 or not rows[0] or not rows[0][0].startswith("PathFileType"):
        raise EvaluationError("it does not begin as a TRC file does, with PathFileType")
    head = dict(zip((cell.strip() for cell in rows[1]), rows[2], strict=False))
    unit = head.get("Units", "").strip().lower()
    if unit not in TRC_UNITS:
        raise EvaluationError(f"its unit is {unit!r}; known: {', '.join(TRC_UNITS)}")
    names = [cell.strip() for cell in rows[3][2:] if cell.strip()]
    stamps, points = [], []
    for number, row in enumerate(rows[4:], start=5):
        cells = [cell.strip() for cell in row]
        if not re.fullmatch(r"\d+", cells[0] if cells else ""):
            continue  # the axes' names, or a blank line
        cells = (cells + [""] * (2 + 3 * len(names)))[: 2 + 3 * len(names)]
        try:
            values = [float(cell) if cell else np.nan for cell in cells[1:]]
        except ValueError as error:
            raise EvaluationError(f"line {number}: {error}") from None
        stamps.append(values[0])
        points.append(values[1:])
    return (
        np.array(stamps),
        TRC_UNITS[unit] * np.array(points).reshape(len(points), len(names), 3),
        names,
    )


@dataclass(frozen=True)
class FootageClip:
    """Keypoints of one person, and where the joints were.

    Attributes:
        name: of the recording.
        keypoints: of the camera.
        truth: of the laboratory.
    """

    name: str
    keypoints: Recording
    truth: LabTruth


def read_footage(folder: str | Path, detector: str = "full") -> Iterator[FootageClip]:
    """Read recordings of keypoints with truth: npz files that have, beside the arrays of
    `LabTruth.load`, keypoints_DETECTOR (M, 33, 3) px, px, score, frame_DETECTOR (M,), rate_hz,
    camera_matrix and image_size.

    Raises:
        EvaluationError: there is none, or one lacks an array.
    """
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise EvaluationError(f"{folder} holds no npz files")
    for path in paths:
        truth = LabTruth.load(path)
        with np.load(path) as data:
            try:
                keypoints, frames = data[f"keypoints_{detector}"], data[f"frame_{detector}"]
                size = (int(data["image_size"][0]), int(data["image_size"][1]))
                camera = Camera(data["camera_matrix"], size)
                rate_hz = float(data["rate_hz"])
            except KeyError as error:
                raise EvaluationError(f"{path}: {error}") from None
        writer = RecordingWriter(BLAZEPOSE33, size, camera)
        unknown = np.full(3, np.nan)
        for frame, points in zip(frames.tolist(), keypoints, strict=True):
            writer.add(
                frame / rate_hz,
                frame,
                1,
                points,
                np.full((len(H36M17), 3), np.nan),
                np.full(len(H36M17), np.nan),
                unknown,
                False,
            )
        yield FootageClip(path.stem, writer.recording(), truth)


@dataclass(frozen=True)
class Errors:
    """How far poses are from a truth.

    Attributes:
        frames: number of frames that were compared.
        mpjpe_mm, p_mpjpe_mm: mean over frames and joints, mm.
        acceleration_m_s2: mean size of the acceleration of the poses themselves, m/s^2.
        acceleration_error_m_s2: the same of the error, m/s^2.
        knee_deg, elbow_deg: mean error of the joints' inner angles, degrees.
        inside_stddev: share of the errors along an axis inside one `stddev`; NaN without one.
    """

    frames: int
    mpjpe_mm: float
    p_mpjpe_mm: float
    acceleration_m_s2: float
    acceleration_error_m_s2: float
    knee_deg: float
    elbow_deg: float
    inside_stddev: float

    @classmethod
    def mean(cls, several: list[Errors]) -> Errors:
        """The mean over recordings, each counting the same."""
        rows = np.array([[getattr(e, name) for name in cls.__dataclass_fields__] for e in several])
        frames, *rest = rows.mean(axis=0).tolist()
        return cls(round(frames * len(several)), *rest)


def compare(
    stamps: np.ndarray, joints: np.ndarray, stddev: np.ndarray | None, truth: LabTruth
) -> Errors:
    """Hold poses against a truth, in the time offset and the rotation that fit best.

    Args:
        stamps: (M,) s, rising.
        joints: (M, 17, 3) m; NaN where unknown.
        stddev: (M, 17) m, or None.

    Raises:
        EvaluationError: the two do not overlap.
    """
    known = truth.known
    use, true, predicted = align(stamps, joints, truth)
    off = predicted - true
    dt = np.diff(stamps[use])
    # Only where three frames follow one another at the recording's own rate.
    step = float(np.median(dt))
    steady = np.isclose(dt, step, rtol=0.2)
    steady = steady[1:] & steady[:-1]

    def acceleration(x: np.ndarray) -> float:
        sizes = np.linalg.norm(np.diff(x, n=2, axis=0), axis=-1).mean(axis=-1) / step**2
        return float(sizes[steady].mean()) if steady.any() else float("nan")

    def bend_error(kind: str) -> float:
        whole = [np.full((len(x), len(H36M17), 3), np.nan) for x in (predicted, true)]
        for target, values in zip(whole, (predicted, true), strict=True):
            target[:, known] = values
        errors = [np.abs(_bend(whole[0], *j) - _bend(whole[1], *j)) for j in _BENDS[kind]]
        values = np.concatenate(errors)
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")

    inside = float("nan")
    if stddev is not None:
        spread = stddev[use][:, known]
        moving = ~np.isin(known, _HIPS)
        inside = float((np.abs(off[:, moving]) < spread[:, moving, None]).mean())
    return Errors(
        len(use),
        1000 * float(np.linalg.norm(off, axis=-1).mean()),
        1000 * float(p_mpjpe(torch.from_numpy(predicted), torch.from_numpy(true)).mean()),
        acceleration(predicted),
        acceleration(off),
        bend_error("knee"),
        bend_error("elbow"),
        inside,
    )


def _about_hips(joints: np.ndarray) -> np.ndarray:
    return joints - joints[:, _HIPS].mean(axis=1, keepdims=True)


def align(
    stamps: np.ndarray, joints: np.ndarray, truth: LabTruth
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the difference of the clocks and the rotation between the frames.

    Args:
        stamps: (M,) s, rising.
        joints: (M, 17, 3) m; NaN where unknown.

    Returns:
        the F rows that are compared, the truth (F, K, 3) m of its K known joints at that time about
        the middle of the hips, and the poses likewise in its frame (F, K, 3) m.

    Raises:
        EvaluationError: the two do not overlap.
    """
    joints, known = _about_hips(joints), truth.known
    shorter = min(len(stamps), np.ptp(truth.stamp) / max(float(np.median(np.diff(stamps))), 1e-6))
    best: tuple[float, np.ndarray, np.ndarray, np.ndarray] | None = None
    for offset in np.arange(-MAX_OFFSET_S, MAX_OFFSET_S + 1e-9, OFFSET_STEP_S):
        true = _about_hips(truth.at(stamps + offset))[:, known]
        own = joints[:, known]
        use = np.flatnonzero(np.isfinite(true).all(axis=(1, 2)) & np.isfinite(own).all(axis=(1, 2)))
        if len(use) < max(3, MIN_OVERLAP * shorter):
            continue
        turned = own[use] @ _rotation(own[use], true[use])
        error = float(np.linalg.norm(turned - true[use], axis=-1).mean())
        if best is None or error < best[0]:
            best = (error, use, true[use], turned)
    if best is None:
        raise EvaluationError(
            f"poses and truth overlap by less than {MIN_OVERLAP:.0%} whatever the difference of "
            f"their clocks up to {MAX_OFFSET_S:g} s"
        )
    return best[1:]


def _rotation(moved: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """(3, 3) R that minimises |moved @ R - fixed| over all points (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(moved.reshape(-1, 3).T @ fixed.reshape(-1, 3))
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def _bend(joints: np.ndarray, before: int, at: int, after: int) -> np.ndarray:
    """(M, 17, 3) -> (M,) the inner angle at a joint, degrees; 180 is straight."""
    a, b = joints[:, before] - joints[:, at], joints[:, after] - joints[:, at]
    cosine = (a * b).sum(axis=-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def table(title: str, rows: dict[str, Errors]) -> Iterator[str]:
    """Lines of Markdown."""
    yield (
        f"| {title} | MPJPE, mm | P-MPJPE, mm | acceleration, m/s² | its error, m/s² | knee, ° "
        "| elbow, ° | inside one stddev, % | frames |"
    )
    yield "|" + " --- |" * 9
    for name, e in rows.items():
        values = [e.mpjpe_mm, e.p_mpjpe_mm, e.acceleration_m_s2, e.acceleration_error_m_s2]
        values += [e.knee_deg, e.elbow_deg, 100 * e.inside_stddev]
        cells = ["-" if np.isnan(v) else f"{v:.1f}" for v in values]
        yield f"| {name} | {' | '.join(cells)} | {e.frames} |"
