"""Poses of one person compared with a truth: the errors, and the table of errors.

Joints are compared relative to the middle of the hips, as far as the truth has them. A truth in a
laboratory's frame and clock gets one rotation and one time offset for the whole recording, equally
for every method. The scale is never fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..body.angles import inner_angle
from ..io.recordings import Recording
from ..skeletons import H36M17
from .evaluate import EvaluationError
from .metrics import p_mpjpe
from .truth import HIPS, PELVIS, Truth

#: Maximum difference of the two clocks, s.
MAX_OFFSET_S = 1.0
#: Step of the search for the difference of the clocks, s.
OFFSET_STEP_S = 1 / 60
#: Larger differences that are looked at, to tell that the clocks differ by more, s.
FAR_OFFSETS_S = np.arange(1.1, 5.05, 0.1)
#: The clocks differ by more where a far offset has less than this share of the smallest error up
#: to `MAX_OFFSET_S`. Steps repeat, and a person who stands still fits everywhere.
FAR_GAIN = 0.9
#: Minimum share of the shorter recording that lies inside the other one.
MIN_OVERLAP = 0.6
#: Minimum number of frames that are compared.
MIN_FRAMES = 3

#: Joints whose inner angle is compared: indices of the joints before, at and after it.
_ANGLES = {
    kind: [tuple(H36M17.index(f"{side}_{joint}") for joint in joints) for side in ("left", "right")]
    for kind, joints in (
        ("knee", ("hip", "knee", "ankle")),
        ("elbow", ("shoulder", "elbow", "wrist")),
    )
}


@dataclass(frozen=True)
class Poses:
    """Poses of one person by one method.

    Attributes:
        stamp: (M,) s, rising.
        joints: (M, 17, 3) m, h36m17; NaN where unknown.
        stddev: (M, 17) m, standard deviation along each axis, or None.
        root: (M, 3) m, position of the pelvis in the camera's optical frame, or None.
    """

    stamp: np.ndarray
    joints: np.ndarray
    stddev: np.ndarray | None = None
    root: np.ndarray | None = None

    @classmethod
    def of_recording(cls, recording: Recording) -> Poses:
        """The poses of a recording of one person."""
        root = np.where(recording.root_valid[:, None], recording.root, np.nan)
        return cls(
            recording.stamp,
            recording.joints_3d.astype(np.float64),
            recording.joint_stddev.astype(np.float64),
            root.astype(np.float64),
        )


@dataclass(frozen=True)
class Errors:
    """Distance of poses from a truth. NaN where the recording does not tell it.

    Attributes:
        frames: number of frames that were compared.
        mpjpe_mm, p_mpjpe_mm: mean over frames and joints, mm.
        acceleration_m_s2: mean acceleration of the poses themselves, m/s^2.
        acceleration_error_m_s2: mean acceleration of the error, m/s^2.
        knee_deg, elbow_deg: mean error of the joints' inner angles, degrees.
        root_share: median error of the root's position, as a share of its distance.
        inside_stddev: share of the errors along an axis inside one `stddev`.
    """

    frames: int
    mpjpe_mm: float
    p_mpjpe_mm: float
    acceleration_m_s2: float
    acceleration_error_m_s2: float
    knee_deg: float
    elbow_deg: float
    root_share: float
    inside_stddev: float

    @classmethod
    def mean(cls, several: Sequence[Errors]) -> Errors:
        """The mean over recordings with equal weights, each figure over those that tell it."""
        names = [name for name in cls.__dataclass_fields__ if name != "frames"]
        rows = np.array([[getattr(errors, name) for name in names] for errors in several])
        known = np.isfinite(rows)
        sums = np.where(known, rows, 0.0).sum(axis=0)
        counts = known.sum(axis=0)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return cls(sum(errors.frames for errors in several), *means.tolist())


def compare(poses: Poses, truth: Truth) -> Errors:
    """Compare poses with a truth.

    Raises:
        EvaluationError: the two do not overlap.
    """
    rows, true, predicted = align(poses, truth)
    error = predicted - true
    dt = np.diff(poses.stamp[rows])
    # Accelerations count where three frames follow one another at the recording's own rate.
    step = float(np.median(dt))
    regular = np.isclose(dt, step, rtol=0.2)
    regular = regular[1:] & regular[:-1]

    def acceleration(x: np.ndarray) -> float:
        sizes = np.linalg.norm(np.diff(x, n=2, axis=0), axis=-1).mean(axis=-1) / step**2
        return float(sizes[regular].mean()) if regular.any() else float("nan")

    def angle_error(kind: str) -> float:
        whole = [np.full((len(x), len(H36M17), 3), np.nan) for x in (predicted, true)]
        for target, values in zip(whole, (predicted, true), strict=True):
            target[:, truth.known] = values
        errors = [np.abs(_angle(whole[0], j) - _angle(whole[1], j)) for j in _ANGLES[kind]]
        values = np.concatenate(errors)
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")

    inside = float("nan")
    if poses.stddev is not None:
        stddev = poses.stddev[rows][:, truth.known]
        # The pelvis is the origin, and the hips about it hardly err: neither has a stddev to test.
        moving = ~np.isin(truth.known, [PELVIS, *HIPS])
        inside = float((np.abs(error[:, moving]) < stddev[:, moving, None]).mean())
    return Errors(
        len(rows),
        1000 * float(np.linalg.norm(error, axis=-1).mean()),
        1000 * float(p_mpjpe(torch.from_numpy(predicted), torch.from_numpy(true)).mean()),
        acceleration(predicted),
        acceleration(error),
        angle_error("knee"),
        angle_error("elbow"),
        _root_share(poses, truth, rows),
        inside,
    )


def _root_share(poses: Poses, truth: Truth, rows: np.ndarray) -> float:
    """Median error of the root, as a share of its distance; NaN where it is not known."""
    if poses.root is None or not truth.in_camera_frame:
        return float("nan")
    true = truth.at(poses.stamp[rows])[:, HIPS].mean(axis=1)
    share = np.linalg.norm(poses.root[rows] - true, axis=-1) / np.linalg.norm(true, axis=-1)
    share = share[np.isfinite(share)]
    return float(np.median(share)) if len(share) else float("nan")


def _about_hips(joints: np.ndarray) -> np.ndarray:
    return joints - joints[:, HIPS].mean(axis=1, keepdims=True)


def align(poses: Poses, truth: Truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring poses into the truth's frame and clock.

    Returns:
        (F,) the indices of the poses that are compared; (F, K, 3) m, the truth's K known joints at
        that time, relative to the middle of the hips; (F, K, 3) m, the poses likewise.

    Raises:
        EvaluationError: the two do not overlap.
    """
    joints, known = _about_hips(poses.joints), truth.known
    own = joints[:, known]
    whole = np.isfinite(own).all(axis=(1, 2))
    if truth.in_camera_frame:
        true = _about_hips(truth.at(poses.stamp))[:, known]
        rows = np.flatnonzero(np.isfinite(true).all(axis=(1, 2)) & whole)
        if len(rows) < MIN_FRAMES:
            raise EvaluationError(
                f"{len(rows)} poses have a truth at their time, and {MIN_FRAMES} are needed"
            )
        return rows, true[rows], own[rows]
    steps = np.diff(poses.stamp)
    step_s = max(float(np.median(steps)), 1e-6) if len(steps) else 1e-6
    shorter = min(len(poses.stamp), np.ptp(truth.stamp) / step_s)
    best: tuple[float, np.ndarray, np.ndarray, np.ndarray] | None = None
    far: tuple[float, float] = (np.inf, 0.0)
    near = np.arange(-MAX_OFFSET_S, MAX_OFFSET_S + 1e-9, OFFSET_STEP_S)
    for offset in (*near, *FAR_OFFSETS_S, *-FAR_OFFSETS_S):
        true = _about_hips(truth.at(poses.stamp + offset))[:, known]
        rows = np.flatnonzero(np.isfinite(true).all(axis=(1, 2)) & whole)
        if len(rows) < max(MIN_FRAMES, MIN_OVERLAP * shorter):
            continue
        turned = own[rows] @ _rotation(own[rows], true[rows])
        error = float(np.linalg.norm(turned - true[rows], axis=-1).mean())
        if abs(offset) > MAX_OFFSET_S + 1e-9:
            far = min(far, (error, float(offset)))
        elif best is None or error < best[0]:
            best = (error, rows, true[rows], turned)
    if best is None:
        raise EvaluationError(
            f"poses and truth overlap by less than {MIN_OVERLAP:.0%} whatever the difference of "
            f"their clocks up to {MAX_OFFSET_S:g} s"
        )
    if far[0] < FAR_GAIN * best[0]:
        raise EvaluationError(
            f"poses and truth fit best where {far[1]:.1f} s are added to the stamps of the poses, "
            f"and {MAX_OFFSET_S:g} s are allowed: shift the stamps of the truth"
        )
    return best[1:]


def _rotation(moved: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """(3, 3) R that minimises |moved @ R - fixed| over all points (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(moved.reshape(-1, 3).T @ fixed.reshape(-1, 3))
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def _angle(joints: np.ndarray, hinge: tuple[int, ...]) -> np.ndarray:
    """(M, 17, 3) -> (M,) the inner angle at a joint, degrees; 180 is straight."""
    return np.degrees(inner_angle(*(joints[:, joint] for joint in hinge)))


def error_table(rows: Mapping[tuple[str, str], Errors]) -> Iterator[str]:
    """Lines of a Markdown table: errors by recording and method, then the mean of each method."""
    head = ["recording", "method", "MPJPE, mm", "P-MPJPE, mm", "knee, °", "elbow, °"]
    head += ["acceleration, m/s²", "its error, m/s²", "root's error, % of its distance"]
    head += ["inside one stddev, %", "frames"]
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    by_method: dict[str, list[Errors]] = {}
    for (_, method), errors in rows.items():
        by_method.setdefault(method, []).append(errors)
    means = {
        (f"mean of {len(several)}", method): Errors.mean(several)
        for method, several in by_method.items()
        if len(several) > 1
    }
    for (recording, method), e in {**rows, **means}.items():
        values = [e.mpjpe_mm, e.p_mpjpe_mm, e.knee_deg, e.elbow_deg, e.acceleration_m_s2]
        values += [e.acceleration_error_m_s2, 100 * e.root_share, 100 * e.inside_stddev]
        cells = ["-" if np.isnan(v) else f"{v:.1f}" for v in values]
        yield f"| {recording} | {method} | {' | '.join(cells)} | {e.frames} |"
