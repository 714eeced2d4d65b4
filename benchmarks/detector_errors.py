"""How the 2D detectors err on real video: the measurements behind emf_ros/train/detector_model.py.

python benchmarks/detector_errors.py --cache /tmp/errors            # some five minutes
python benchmarks/detector_errors.py --cache /tmp/errors            # again: at once, from the cache
python benchmarks/detector_errors.py --cache /tmp/errors --plot errors.png --mocap FOLDER

The detector runs on a video as it is and degraded. What it finds is held against a reference: the
heaviest variant on the original and on the mirrored image, averaged and low-pass filtered without
phase. Errors are in shares of the person's size: the diagonal of the box around the keypoints, mean
over a window, as in training. Since the variants share their training data, what is wrong with all
of them alike, the clips' constant offsets above all, is seen only in part.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from emf_ros.detect.factory import make_detector
from emf_ros.detect.protocol import Detector
from emf_ros.detect.weights import available_variants
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.io.video import frames_of, open_source
from emf_ros.runtime.machine import load, machine
from emf_ros.skeletons import BLAZEPOSE33, H36M17, convert_keypoints
from emf_ros.track import Tracker
from emf_ros.train import detector_layouts
from emf_ros.train.detector_errors import DetectorErrors, Failure
from emf_ros.train.detector_model import NEAREST_M, DetectorModel
from emf_ros.train.mocap import WindowSampler, load_mocap
from emf_ros.train.synthesis import Synthesizer
from emf_ros.types import Pose2D

PEOPLE = 2
MIN_SCORE = 0.4
CUTOFF_HZ = 6.0

# ---------------------------------------------------------------------------------- conditions


@dataclass(frozen=True)
class Condition:
    """What is done to the images before the detector sees them.

    Attributes:
        name: of the table's row.
        spoil: (H, W, 3) uint8 and a random generator -> the same size; None leaves it.
        scale: of the resolution.
        window: left, top, right and bottom of what is cut out, in shares of the image.
        people: maximum number of people; MediaPipe smooths over time with 1.
        mirrored: left and right exchanged, and back in the result.
    """

    name: str
    spoil: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None
    scale: float = 1.0
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    people: int = PEOPLE
    mirrored: bool = False


def gaussian_blur(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), 6.0)


def motion_blur(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
    length = 31
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    return cv2.filter2D(picture, -1, kernel)


def tone(gain: float, gamma: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Brightness and contrast: output = (gain * input) ** gamma, over 0..1."""
    curve = 255 * (gain * np.linspace(0, 1, 256)).clip(0, 1) ** gamma

    def spoil(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return cv2.LUT(picture, curve.round().astype(np.uint8))

    return spoil


def low_contrast(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return cv2.convertScaleAbs(picture, alpha=0.2, beta=100)


def jpeg(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 8])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def sensor_noise(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    noise = generator.normal(0, 40, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


CONDITIONS = (
    Condition("native"),
    Condition("scale 1/2", scale=0.5),
    Condition("scale 1/4", scale=0.25),
    Condition("scale 1/8", scale=0.125),
    Condition("gaussian blur 6 px", gaussian_blur),
    Condition("motion blur 31 px", motion_blur),
    Condition("dark", tone(0.5, 1.3)),
    Condition("overexposed", tone(2.5, 1.0)),
    Condition("low contrast", low_contrast),
    Condition("jpeg quality 8", jpeg),
    Condition("sensor noise 40", sensor_noise),
    Condition("cut above, below", window=(0.0, 0.14, 1.0, 0.8)),
    Condition("cut left", window=(0.3, 0.0, 1.0, 1.0)),
    Condition("one person, smoothed", window=(0.0, 0.47, 1.0, 1.0), people=1),
)
MIRRORED = Condition("native, mirrored", mirrored=True)

# ---------------------------------------------------------------------------------- detection


def pictures(video: Path, condition: Condition) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Degraded RGB images (H, W, 3), and the window's corner in the original, px (2,)."""
    generator = np.random.default_rng(0)
    for _, _, picture in frames_of(open_source(video)):
        height, width = picture.shape[:2]
        box = np.array(condition.window) * [width, height, width, height]
        left, top, right, bottom = box.round().astype(int)
        part = picture[top:bottom, left:right]
        if condition.spoil is not None:
            part = condition.spoil(part, generator)
        if condition.scale != 1:
            part = cv2.resize(
                part, None, fx=condition.scale, fy=condition.scale, interpolation=cv2.INTER_AREA
            )
        if condition.mirrored:
            part = part[:, ::-1]
        rgb = cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_BGR2RGB)
        yield rgb, np.array([left, top], dtype=float)


def detect(video: Path, variant: str, condition: Condition, rate_hz: float) -> np.ndarray:
    """(F, people, 33, 3): px of the original video and score; NaN without a detection."""
    detector: Detector = make_detector("mediapipe", variant, condition.people, MIN_SCORE)
    frames = []
    for index, (picture, corner) in enumerate(pictures(video, condition)):
        found = detector.detect(picture, round(index * 1e9 / rate_hz))
        people = np.full((PEOPLE, len(detector.layout), 3), np.nan)
        for row, detection in zip(people, found[:PEOPLE], strict=False):
            row[:] = detection.keypoints
        if condition.mirrored:
            people[..., 0] = picture.shape[1] - 1 - people[..., 0]
            people = people[:, list(detector.layout.mirror)]
        # Pixel centres lie at whole numbers.
        people[..., :2] = (people[..., :2] + 0.5) / condition.scale - 0.5 + corner
        frames.append(people)
    detector.close()
    return np.stack(frames)


def cached_detections(
    video: Path, variant: str, condition: Condition, rate_hz: float, folder: Path | None
) -> np.ndarray:
    """`detect`, remembered in a folder under names that tell the video, variant and condition."""
    if folder is None:
        return detect(video, variant, condition, rate_hz)
    name = "".join(c if c.isalnum() else "_" for c in f"{video.stem} {variant} {condition.name}")
    path = folder / f"{name}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, keypoints=detect(video, variant, condition, rate_hz))
        print(f"  {variant}, {condition.name}: done", flush=True)
    with np.load(path) as data:
        return data["keypoints"]


# ---------------------------------------------------------------------------------- the reference

#: What the noise model works on, as far as BlazePose marks it.
POINTS = tuple(p for p in detector_layouts.POINTS if p in BLAZEPOSE33.joints)
ROWS = [BLAZEPOSE33.index(p) for p in POINTS]
MIRROR = [POINTS.index(BLAZEPOSE33.joints[BLAZEPOSE33.mirror[row]]) for row in ROWS]
KINDS = ("nose", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
KIND_OF = np.array([p.split("_")[-1] for p in POINTS])

#: Minimum distance of another person's detection from a reference, as a share of its size.
SAME_PERSON = 0.3
#: Maximum difference of the reference's two halves; with more it is not used.
UNSURE = 0.06
#: Shorter tracks are no reference, frames.
SHORTEST_TRACK = 45


def sizes(keypoints: np.ndarray) -> np.ndarray:
    """(..., 33, 3) -> (...): diagonal of the box around the h36m17 joints, px."""
    points = convert_keypoints(keypoints, BLAZEPOSE33, H36M17)[..., :2]
    return np.linalg.norm(points.max(axis=-2) - points.min(axis=-2), axis=-1)


def low_pass(track: np.ndarray, rate_hz: float) -> np.ndarray:
    """Gaussian filter over the first axis, -3 dB at CUTOFF_HZ, NaN left out of the weights."""
    sigma = np.sqrt(np.log(2)) / (2 * np.pi * CUTOFF_HZ) * rate_hz
    reach = int(np.ceil(3 * sigma))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    total, weight = np.zeros_like(track), np.zeros_like(track)
    for offset, w in zip(offsets.tolist(), weights, strict=True):
        moved = np.full_like(track, np.nan)
        inside = slice(max(0, offset), len(track) + min(0, offset))
        moved[inside] = track[max(0, -offset) : len(track) - max(0, offset)]
        here = np.isfinite(moved)
        total[here] += w * moved[here]
        weight[here] += w
    smooth = total / np.where(weight > 0, weight, np.nan)
    return np.where(np.isfinite(track), smooth, np.nan)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over the body's points of two poses (33, 3), left and right not told apart, px."""
    p, q = a[ROWS, :2], b[ROWS, :2]
    return min(float(np.linalg.norm(p - r, axis=-1).mean()) for r in (q, q[MIRROR]))


def match(found: np.ndarray, tracks: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Sort detections by the people of the reference.

    Args:
        found: (F, people, 33, 3).
        tracks: (P, F, 33, 3), and their size (P, F).

    Returns:
        (P, F, 33, 3), NaN where a person was not found.
    """
    out = np.full_like(tracks, np.nan)
    for frame, people in enumerate(found):
        pairs = sorted(
            (distance(pose, track[frame]) / size[p, frame], p, i)
            for i, pose in enumerate(people)
            for p, track in enumerate(tracks)
            if np.isfinite(pose).all() and np.isfinite(track[frame]).all()
        )
        taken: set[int] = set()
        for far, p, i in pairs:
            if far < SAME_PERSON and np.isnan(out[p, frame]).all() and i not in taken:
                out[p, frame] = people[i]
                taken.add(i)
    return out


def tracks_of(found: np.ndarray, rate_hz: float) -> np.ndarray:
    """Join detections (F, people, 33, 3) to the tracks (P, F, 33, 3) that are long enough."""
    tracker = Tracker(min_age_s=0.0)
    tracks: dict[int, np.ndarray] = {}
    for frame, people in enumerate(found):
        poses = [Pose2D(p, float(p[:, 2].mean())) for p in people if np.isfinite(p).all()]
        for number, pose in tracker.update(poses, round(frame * 1e9 / rate_hz)):
            empty = np.full((len(found), *pose.keypoints.shape), np.nan)
            tracks.setdefault(number, empty)[frame] = pose.keypoints
    long = [t for t in tracks.values() if np.isfinite(t[:, 0, 0]).sum() >= SHORTEST_TRACK]
    return np.stack(long)


@dataclass
class Reference:
    """Pseudo-truth.

    Attributes:
        tracks: (P, F, 15, 2) px, the POINTS; NaN where the person or the place is unsure.
        poses: (P, F, 33, 3) px and score, of the heaviest variant alone, unfiltered.
        size: (P, F) px.
        rate_hz: of the video.
        unsure: share of the points that are left out.
    """

    tracks: np.ndarray
    poses: np.ndarray
    size: np.ndarray
    rate_hz: float
    unsure: float


def reference(straight: np.ndarray, mirrored: np.ndarray, rate_hz: float) -> Reference:
    """Mean of both runs of the heaviest variant, filtered; (F, people, 33, 3) each."""
    poses = tracks_of(straight, rate_hz)
    size = sizes(poses)
    other = match(mirrored, poses, size)[:, :, ROWS, :2]
    own = poses[:, :, ROWS, :2]
    gap = np.linalg.norm(own - other, axis=-1) / size[..., None]
    sure = gap < UNSURE
    mean = np.where(sure[..., None], 0.5 * (own + other), np.nan)
    present = np.isfinite(own[..., 0])
    tracks = np.stack([low_pass(track, rate_hz) for track in mean])
    return Reference(tracks, poses, size, rate_hz, 1 - float(sure[present].mean()))


# ---------------------------------------------------------------------------------- statistics

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


# ---------------------------------------------------------------------------------- proportions


def proportions(truth: Reference) -> Iterator[str]:
    """The reference's own proportions, per person, for the layouts' constant offsets."""
    row = {name: i for i, name in enumerate(BLAZEPOSE33.joints)}

    def between(pose: np.ndarray, a: str, b: str) -> np.ndarray:
        return np.linalg.norm(pose[:, row[a]] - pose[:, row[b]], axis=-1)

    def middle(pose: np.ndarray, joint: str) -> np.ndarray:
        return 0.5 * (pose[:, row[f"left_{joint}"]] + pose[:, row[f"right_{joint}"]])

    for person, pose in enumerate(truth.poses[..., :2]):
        shoulders, hips, ears = (middle(pose, j) for j in ("shoulder", "hip", "ear"))
        trunk = float(np.nanpercentile(np.linalg.norm(shoulders - hips, axis=-1), 75))
        wide = between(pose, "left_shoulder", "right_shoulder")
        # Where the shoulders look widest the person faces the camera, or shows it the back.
        facing = wide > np.nanpercentile(wide, 75)
        narrow = between(pose, "left_hip", "right_hip")
        leg = [between(pose, "left_hip", "left_knee"), between(pose, "left_knee", "left_ankle")]
        sizes_ = {
            "shoulders": np.nanmedian(wide[facing]),
            "hips": np.nanmedian(narrow[facing]),
            "thigh": np.nanpercentile(leg[0], 90),
            "shank": np.nanpercentile(leg[1], 90),
            "ears over shoulders": np.nanpercentile(np.linalg.norm(ears - shoulders, axis=-1), 75),
            "nose to ears": np.nanpercentile(
                np.linalg.norm(pose[:, row["nose"]] - ears, axis=-1), 90
            ),
        }
        shares = ", ".join(f"{name} {value / trunk:.2f}" for name, value in sizes_.items())
        yield f"person {person + 1}, in trunks: {shares}"


# ---------------------------------------------------------------------------------- the output


def mean_of(values: dict[str, float]) -> float:
    return float(np.mean(list(values.values())))


def print_tables(rows: list[tuple[str, Statistics]]) -> None:
    """Markdown; lengths in percent of the person's size, stretches as share x mean frames."""
    print("| condition | " + " | ".join(KINDS) + " | mean | bias | tails | x / y | lag |")
    print("|---|" + "---|" * (len(KINDS) + 5))
    for name, s in rows:
        spread = " | ".join(f"{s.spread[k]:.2f}" for k in KINDS)
        print(
            f"| {name} | {spread} | {mean_of(s.spread):.2f} | {mean_of(s.bias):.2f} | "
            f"{s.tails:.1f} | {s.anisotropy:.2f} | {s.lag:.2f} |"
        )
    print(
        "\n| condition | autocorrelation at lags " + ", ".join(map(str, LAGS)) + " | slow | fast |"
    )
    print("|---|---|---|---|")
    for name, s in rows:
        lags = ", ".join(f"{a:.2f}" for a in s.autocorrelation)
        slow, slow_rho, fast, fast_rho = s.processes
        print(
            f"| {name} | {lags} | {100 * slow:.2f} %, {slow_rho:.2f} | "
            f"{100 * fast:.2f} %, {fast_rho:.2f} |"
        )
    bins = [
        f"{low:g} to {high:g}" for low, high in zip(SCORE_EDGES[:-1], SCORE_EDGES[1:], strict=True)
    ]
    print("\n| median, 90th percentile of the error at scores of | " + " | ".join(bins) + " |")
    print("|---|" + "---|" * len(bins))
    for name, s in rows:
        cells = [f"{half:.1f}, {most:.1f}" if n > 20 else "-" for n, half, most in s.by_score]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print("\n| correlation of the noise | " + " | ".join(NEIGHBOURS) + " |")
    print("|---|" + "---|" * len(NEIGHBOURS))
    for name, s in rows:
        cells = [f"{s.correlation[pair]:.2f}" for pair in NEIGHBOURS]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(
        f"\n| condition | over {100 * ASTRAY:g} % off | score < 0.5 | legs swapped | arms | both "
        "| lost |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, s in rows:
        swaps = " | ".join(s.swaps[limb] for limb in ("legs", "arms", "both"))
        print(f"| {name} | {s.astray} | {s.low_score} | {swaps} | {s.lost} |")


@dataclass
class Strip:
    """A stretch of one person: h36m17 in shares of its size around its middle, and scores.

    Attributes:
        points: (T, 17, 2); NaN where there is none.
        scores: (T, 17).
    """

    title: str
    points: np.ndarray
    scores: np.ndarray


STRIP_FRAMES = 60


def strip(title: str, keypoints: np.ndarray) -> Strip:
    """Of (T, 17, 3) in any unit."""
    points, scores = keypoints[..., :2], keypoints[..., 2]
    points = np.where(scores[..., None] > 0, points, np.nan)
    span = np.nanmax(points, axis=1) - np.nanmin(points, axis=1)
    size = np.nanmean(np.linalg.norm(span, axis=-1))
    return Strip(title, (points - np.nanmean(points, axis=(0, 1))) / size, scores)


def real_strips(found: dict[str, np.ndarray], truth: Reference) -> list[Strip]:
    """Each detection's stretch of a person with the fewest gaps, people taking turns."""
    strips = []
    for i, (name, detections) in enumerate(found.items()):
        person = i % len(truth.poses)
        track = match(detections, truth.poses, truth.size)[person]
        seen = np.isfinite(track[:, 0, 0])
        starts = range(0, len(track) - STRIP_FRAMES + 1, 5)
        begin = max(starts, key=lambda s: seen[s : s + STRIP_FRAMES].sum())
        part = track[begin : begin + STRIP_FRAMES]
        strips.append(strip(f"real: {name}", convert_keypoints(part, BLAZEPOSE33, H36M17)))
    return strips


def model_strips(mocap: Path, rate_hz: float, spreads: list[float], seed: int) -> list[Strip]:
    filmed = windows_of_motion(mocap, 40 * len(spreads), STRIP_FRAMES, rate_hz)
    generator = torch.Generator().manual_seed(seed)
    # Of people that are whole in the image and move, as those in the video do.
    rays = filmed.joints[..., :2] / filmed.joints[..., 2:].clamp(min=0.05)
    half = torch.stack([filmed.half_width, filmed.half_height], -1)[:, None, None]
    inside = (rays.abs() < half).all(-1).float().mean(dim=(1, 2))
    moves = filmed.joints.diff(dim=1).norm(dim=-1).mean(dim=(1, 2))
    best = (inside + moves.clamp(max=0.03)).argsort(descending=True)
    chosen = best[torch.randperm(2 * len(spreads), generator=generator)[: len(spreads)]]
    strips = []
    for index, spread in zip(chosen.tolist(), spreads, strict=True):
        # The real stretches are those with the fewest gaps.
        errors = DetectorErrors(spread=(spread, spread), missing=Failure(0.0, 1.0))
        model = DetectorModel(torch.device("cpu"), generator, errors, ("blazepose33",))
        one = slice(index, index + 1)
        observed, scores = model.observe(
            filmed.joints[one], filmed.half_width[one], filmed.half_height[one]
        )
        keypoints = torch.cat([observed, scores[..., None]], dim=-1)[0].numpy()
        strips.append(strip(f"model: spread {100 * spread:.1f} %", keypoints))
    return strips


SHOWN = ("left_wrist", "right_wrist", "left_hip", "left_ankle", "right_ankle")


def draw_strips(columns: list[list[Strip]], path: Path) -> None:
    """One strip a row: x and y of some joints over time, their scores, and stick figures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = max(len(c) for c in columns)
    widths = [3, 3, 2, 7] * len(columns)
    figure, axes = plt.subplots(
        rows,
        len(widths),
        figsize=(11 * len(columns), 2.3 * rows),
        width_ratios=widths,
        constrained_layout=True,
        squeeze=False,
    )
    colors = [f"C{i}" for i in range(len(SHOWN))]
    for c, column in enumerate(columns):
        for r, shown in enumerate(column):
            cells = axes[r, 4 * c : 4 * c + 4]
            for i, joint in enumerate(SHOWN):
                k = H36M17.index(joint)
                for axis in range(2):
                    cells[axis].plot(shown.points[:, k, axis], color=colors[i], lw=1)
                cells[2].plot(shown.scores[:, k], color=colors[i], lw=1)
            cells[0].set_title(shown.title, fontsize=9, loc="left")
            cells[2].set_ylim(-0.05, 1.05)
            for j, frame in enumerate(range(0, len(shown.points), 5)):
                pose = shown.points[frame] - np.nanmean(shown.points[frame], axis=0) + [0.8 * j, 0]
                for a, b in H36M17.edges:
                    sure = min(shown.scores[frame, [a, b]])
                    side = H36M17.sides[b]
                    color = {"left": "tab:red", "right": "tab:blue", "middle": "0.3"}[side]
                    cells[3].plot(*pose[[a, b]].T, color=color, lw=1.2, alpha=0.25 + 0.75 * sure)
            cells[3].invert_yaxis()
            cells[3].set_aspect("equal")
            cells[3].axis("off")
            for cell in cells[:3]:
                cell.tick_params(labelsize=6)
    if columns:
        axes[0, 0].legend(SHOWN, fontsize=5, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, help="video of moving people; default: the demo's")
    parser.add_argument("--cache", type=Path, help="folder for what the detector finds")
    parser.add_argument("--mocap", type=Path, help="folder of motion capture: adds the noise model")
    parser.add_argument(
        "--plot", type=Path, help="PNG of real and synthetic keypoints; --mocap too"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the plot's synthetic half")
    args = parser.parse_args()
    if args.plot and not args.mocap:
        parser.error("--plot needs --mocap")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN, as wanted
    video = args.video or ensure_demo_video()
    source = open_source(video)
    rate_hz = source.rate_hz
    source.close()
    variants = available_variants()
    heavy = variants[-1]

    def found(variant: str, condition: Condition) -> np.ndarray:
        return cached_detections(video, variant, condition, rate_hz, args.cache)

    truth = reference(found(heavy, CONDITIONS[0]), found(heavy, MIRRORED), rate_hz)
    print(f"{machine()}, {load()}; {video.name}, {truth.size.shape[1]} frames at {rate_hz:g} Hz")
    print(
        f"reference: {heavy}, {len(truth.poses)} people, "
        f"{np.nanmean(truth.size):.0f} px, {100 * truth.unsure:.0f} % of the points left out\n"
    )
    rows = [(f"{heavy}, native", statistics(observe(found(heavy, CONDITIONS[0]), truth)))]
    for variant in [v for v in variants if v != heavy] or [heavy]:
        for condition in CONDITIONS:
            observed = observe(found(variant, condition), truth)
            if np.isfinite(observed.error).any():
                rows.append((f"{variant}, {condition.name}", statistics(observed)))
    if args.mocap:
        filmed = windows_of_motion(args.mocap, 300, STRIP_FRAMES, rate_hz)
        for spread in (0.0104, 0.015, 0.022):
            observed = observe_model(filmed, spread)
            rows.append((f"model, spread {100 * spread:.2f} %", statistics(observed)))
    print_tables(rows)
    print()
    for line in proportions(truth):
        print(line)
    if args.plot:
        light = variants[0]
        chosen = (("full", 0), ("full", 1), (light, 0), (light, 1), ("full", 2), (light, 5))
        shown = {
            f"{variant}, {CONDITIONS[i].name}": found(variant, CONDITIONS[i])
            for variant, i in chosen
        }
        spreads = [0.0104, 0.0106, 0.0135, 0.014, 0.0122, 0.02]
        real = real_strips(shown, truth)
        synthetic = model_strips(args.mocap, rate_hz, spreads, args.seed)
        draw_strips([real, synthetic], args.plot)
        print(f"\nreal and synthetic keypoints: {args.plot}")


if __name__ == "__main__":
    main()
