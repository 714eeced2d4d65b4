"""Statistics of a detector's errors, and of the model of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from error_reference import KIND_OF, KINDS, MIRROR, POINTS, ROWS, Reference, match

from emf_ros.train import detector_layouts
from emf_ros.train.detector_errors import DetectorErrors
from emf_ros.train.detector_model import NEAREST_M, DetectorModel
from emf_ros.train.mocap import WindowSampler, load_mocap
from emf_ros.train.synthesis import Synthesizer

#: Number of frames of a window.
WINDOW = 27
#: Number of frames from one window to the next.
STRIDE = 9
#: Maximum error that counts as noise, as a share of the person's size. Larger ones are failures:
#: they are counted, and left out of the statistics of the noise.
ASTRAY = 0.1
LAGS = (1, 2, 4, 8, 16)
SCORE_EDGES = (0.0, 0.2, 0.5, 0.8, 0.95, 0.99, 1.0)
LIMBS = {"arms": ("elbow", "wrist"), "legs": ("knee", "ankle")}
NEIGHBOURS = {
    "nose, ear": ("nose", "left_ear"),
    "left, right ear": ("left_ear", "right_ear"),
    "shoulders": ("left_shoulder", "right_shoulder"),
    "hips": ("left_hip", "right_hip"),
    "shoulder, elbow": ("left_shoulder", "left_elbow"),
    "elbow, wrist": ("left_elbow", "left_wrist"),
    "hip, knee": ("left_hip", "left_knee"),
    "knee, ankle": ("left_knee", "left_ankle"),
    "shoulder, hip": ("left_shoulder", "left_hip"),
}


@dataclass
class Observed:
    """A detector's points beside the true ones.

    Attributes:
        error: (P, F, 15, 2) in shares of the person's size; NaN where there is none.
        score: (P, F, 15); NaN where the person was not found.
        velocity: (P, F, 15, 2) of the true points, shares of the size a frame.
        expected: (P, F) the person is there.
        swapped: {'arms', 'legs', 'both'} -> (P, F) left and right are exchanged.
    """

    error: np.ndarray
    score: np.ndarray
    velocity: np.ndarray
    expected: np.ndarray
    swapped: dict[str, np.ndarray]


@dataclass
class Filmed:
    """What `Synthesizer.film` gives."""

    joints: torch.Tensor
    half_width: torch.Tensor
    half_height: torch.Tensor


def window_size(size: np.ndarray) -> np.ndarray:
    """(P, F) -> (P, F): mean over the window around each frame, as training's `size`."""
    out = np.full_like(size, np.nan)
    half = WINDOW // 2
    for frame in range(size.shape[1]):
        near = size[:, max(0, frame - half) : frame + half + 1]
        present = np.isfinite(near)
        total = np.where(present, near, 0).sum(axis=1)
        out[:, frame] = total / np.maximum(present.sum(axis=1), 1)
    return np.where(np.isfinite(size), out, np.nan)


def is_swapped(points: np.ndarray, truth: np.ndarray, joints: tuple[str, ...]) -> np.ndarray:
    """(P, F) whether a pair of limbs fits much better with left and right exchanged.

    Only where that can be told: the true limbs are further apart than the noise.
    """
    rows = [i for i, kind in enumerate(KIND_OF) if kind in joints]
    crossed = points[:, :, [MIRROR[i] for i in rows]]
    straight = np.linalg.norm(points[:, :, rows] - truth[:, :, rows], axis=-1).mean(axis=-1)
    exchanged = np.linalg.norm(crossed - truth[:, :, rows], axis=-1).mean(axis=-1)
    return (straight > 0.04) & (exchanged < 0.6 * straight)


def compare(
    points: np.ndarray, score: np.ndarray, truth: np.ndarray, expected: np.ndarray
) -> Observed:
    """Hold points against the true ones, both (P, F, 15, 2) in shares of the person's size."""
    swapped = {limb: is_swapped(points, truth, joints) for limb, joints in LIMBS.items()}
    error = points - truth
    for limb, joints in LIMBS.items():
        both = swapped[limb][..., None] & np.isin(KIND_OF, joints)
        error = np.where(both[..., None], np.nan, error)
    swapped["both"] = swapped["arms"] & swapped["legs"]
    return Observed(error, score, np.gradient(truth, axis=1), expected, swapped)


def observe(found: np.ndarray, truth: Reference) -> Observed:
    """Hold detections (F, people, 33, 3) against the reference."""
    poses = match(found, truth.poses, truth.size)[:, :, ROWS]
    size = window_size(truth.size)[..., None, None]
    expected = np.isfinite(truth.poses[:, :, 0, 0])
    return compare(poses[..., :2] / size, poses[..., 2], truth.tracks / size, expected)


def windows_of_motion(mocap: Path, clips: int, frames: int, rate_hz: float) -> Filmed:
    """Random motion before random cameras, as in training."""
    sampler = WindowSampler(load_mocap(mocap, "train"), rate_hz, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    motion = sampler.draw(clips, frames, generator, (1.0, 1.0))
    return Filmed(*Synthesizer(torch.device("cpu"), seed=1).film(motion))


def observe_model(filmed: Filmed, spread: float) -> Observed:
    """The noise model's own points against the exact ones, of BlazePose's law of scores.

    Offsets of the layout are left out, as the reference has them too, and the image has no edges.
    """
    errors = DetectorErrors(spread=(spread, spread), offsets=0.0)
    generator = torch.Generator().manual_seed(2)
    model = DetectorModel(torch.device("cpu"), generator, errors, ("blazepose33",))
    wide = torch.full_like(filmed.half_width, 1e6)
    points, scores, clip = model.mark(filmed.joints, wide, wide)
    body = model.body_points(filmed.joints, clip.layout)
    exact = body[..., :2] / body[..., 2:].clamp(min=NEAREST_M)
    own = [detector_layouts.POINTS.index(p) for p in POINTS]
    gone = model.drop_unreported(torch.ones_like(scores), clip) == 0
    scores = torch.where(gone, torch.nan, scores)
    points = torch.where(gone[..., None], torch.nan, points)
    return compare(
        (points / clip.size)[:, :, own].numpy(),
        scores[:, :, own].numpy(),
        (exact / clip.size)[:, :, own].numpy(),
        np.ones(scores.shape[:2], dtype=bool),
    )


def runs(flags: np.ndarray) -> list[int]:
    """Lengths of the stretches of True along the second axis of (P, F)."""
    lengths = []
    for row in flags:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        lengths += list(edges[1::2] - edges[::2])
    return lengths


def rate_and_length(flags: np.ndarray, among: np.ndarray) -> str:
    """Share of the frames and mean length of the stretches, as text."""
    lengths = runs(flags & among)
    mean = f"{np.mean(lengths):.1f}" if lengths else "-"
    return f"{100 * (flags & among).sum() / max(among.sum(), 1):.1f} % x {mean}"


def windows(values: np.ndarray) -> np.ndarray:
    """(P, F, ...) -> (N, WINDOW, ...), every STRIDE frames."""
    starts = range(0, values.shape[1] - WINDOW + 1, STRIDE)
    return np.concatenate([values[:, s : s + WINDOW] for s in starts])


def noise_of(observed: Observed) -> np.ndarray:
    """The errors that are no failures (P, F, 15, 2)."""
    far = np.linalg.norm(observed.error, axis=-1) > ASTRAY
    return np.where(far[..., None], np.nan, observed.error)


def structure(noise: np.ndarray) -> np.ndarray:
    """Mean square of e(t + lag) - e(t) per axis, by lag and kind of joint: (lags, kinds)."""
    rows = []
    for lag in LAGS:
        step = (noise[:, lag:] - noise[:, :-lag]) ** 2
        rows.append([np.nanmean(step[:, :, KIND_OF == kind]) for kind in KINDS])
    return np.array(rows)


def fit_processes(noise: np.ndarray) -> tuple[float, float, float, float]:
    """Spread and lag-1 correlation of a slow and a fast AR(1) process with this structure."""
    target = np.nanmean(structure(noise), axis=1)
    if not np.isfinite(target).all():
        return (np.nan,) * 4
    lags = np.array(LAGS)
    best = (np.inf, 0.0, 0.0, 0.0, 0.0)
    for slow in (0.8, 0.85, 0.9, 0.93, 0.95, 0.97):
        for fast in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
            basis = 2 * np.stack([1 - slow**lags, 1 - fast**lags], axis=1) / target[:, None]
            power = np.linalg.lstsq(basis, np.ones(len(lags)), rcond=None)[0].clip(min=0)
            misfit = float(((basis @ power - 1) ** 2).sum())
            if misfit < best[0]:
                best = (misfit, *np.sqrt(power).tolist(), slow, fast)
    return best[1], best[3], best[2], best[4]


def lag_frames(observed: Observed) -> float:
    """How many frames the points trail behind: the slope of the error over minus the velocity."""
    error, velocity = noise_of(observed), observed.velocity
    usable = np.isfinite(error) & np.isfinite(velocity)
    return -float((error[usable] * velocity[usable]).sum() / (velocity[usable] ** 2).sum())


@dataclass
class Statistics:
    """Everything that one condition's table rows say; errors in percent of the person's size."""

    spread: dict[str, float]
    bias: dict[str, float]
    tails: float
    autocorrelation: np.ndarray
    processes: tuple[float, float, float, float]
    anisotropy: float
    correlation: dict[str, float]
    by_score: list[tuple[int, float, float]]
    lag: float
    astray: str
    lost: str
    swaps: dict[str, str]
    low_score: str


def pair_correlation(residual: np.ndarray, a: str, b: str) -> float:
    """Correlation of two points' errors, both sides of the body and both axes pooled."""
    values = []
    for one, two in ((a, b), tuple(POINTS[MIRROR[POINTS.index(p)]] for p in (a, b))):
        x, y = residual[..., POINTS.index(one), :], residual[..., POINTS.index(two), :]
        both = np.isfinite(x) & np.isfinite(y)
        values.append(
            float((x[both] * y[both]).sum()) / np.sqrt((x[both] ** 2).sum() * (y[both] ** 2).sum())
        )
    return float(np.mean(values))


def statistics(observed: Observed) -> Statistics:
    noise = noise_of(observed)
    cut = windows(noise)
    full = np.isfinite(cut).sum(axis=1, keepdims=True) >= WINDOW // 2
    mean = np.where(full, np.nanmean(cut, axis=1, keepdims=True), np.nan)
    residual = cut - mean
    # Tails are those of one joint's own noise, hence over its spread.
    spread = np.sqrt(np.nanmean(residual**2, axis=(1, 3), keepdims=True))
    relative = np.abs(residual / np.where(spread > 0, spread, np.nan))
    p68, p99 = np.nanpercentile(relative, [68.27, 99])
    power = np.nanmean(residual**2)
    correlation = [np.nanmean(residual[:, k:] * residual[:, :-k]) / power for k in LAGS]
    far = np.linalg.norm(observed.error, axis=-1)
    known = np.isfinite(far)
    by_score = []
    for low, high in zip(SCORE_EDGES[:-1], SCORE_EDGES[1:], strict=True):
        inside = known & (observed.score >= low) & (observed.score < high + (high == 1))
        values = 100 * far[inside] if inside.any() else np.array([np.nan])
        by_score.append((int(inside.sum()), *np.percentile(values, [50, 90]).tolist()))
    found = np.isfinite(observed.score[..., 0])
    per_point = [(far[:, :, i] > ASTRAY, known[:, :, i]) for i in range(len(POINTS))]
    doubted = [(observed.score[:, :, i] < 0.5, found) for i in range(len(POINTS))]

    def together(pairs: list[tuple[np.ndarray, np.ndarray]]) -> str:
        return rate_and_length(*(np.concatenate(x) for x in zip(*pairs, strict=True)))

    def by_kind(values: np.ndarray) -> dict[str, float]:
        return {k: 100 * float(np.sqrt(np.nanmean(values[:, :, KIND_OF == k] ** 2))) for k in KINDS}

    return Statistics(
        by_kind(residual),
        by_kind(mean),
        float(p99 / p68),
        np.array(correlation),
        fit_processes(noise),
        float(np.sqrt(np.nanmean(residual[..., 0] ** 2) / np.nanmean(residual[..., 1] ** 2))),
        {name: pair_correlation(residual, *pair) for name, pair in NEIGHBOURS.items()},
        by_score,
        lag_frames(observed),
        together(per_point),
        rate_and_length(~found, observed.expected),
        {limb: rate_and_length(flags, found) for limb, flags in observed.swapped.items()},
        together(doubted),
    )
