"""The focal length from people of a known height who walk about, with its doubt.

A standing person is a vertical pole on the floor. Seen by a camera that looks down on the floor,
the poles converge towards the nadir, and their heights in the image fall towards the horizon. Both
together determine the focal length f, the camera's pitch and roll, and with the people's height the
camera's height. A level camera sees parallel poles: then f cannot be told, whatever the
measurement.

For each f of a grid, pitch, roll and height are fitted. How the misfit grows away from the best f
is the doubt. The lens has no distortion here, and the principal point is the middle of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..geometry.camera import Camera
from ..lift.ground import GroundPlane
from ..skeletons import Layout
from .solve import CalibrationError

#: Height of the ankles over the floor, as a share of the body's height (Drillis & Contini 1966, in
#: Winter, Biomechanics and Motor Control of Human Movement, figure 4.1).
ANKLE = 0.039

#: Height of the ears over the floor, as a share of the body's height: the mean of eyes (0.936, same
#: source) and of the point where the skull rests on the neck.
EAR = 0.93

#: Minimum score of a keypoint that is used.
MIN_SCORE = 0.5

#: Minimum ratio of hips to ankles over shoulders to hips, in the image, of a standing person.
MIN_LEG_RATIO = 1.15

#: Maximum distance of a knee from the line of hip and ankle, as a share of its length.
MAX_KNEE_BEND = 0.12

#: Standard deviation of the head's place over the feet, as a share of the height in the image. It
#: is of gait, lean and detector, and the scale of the robust weights.
LEAN = 0.03

#: Lean of all people towards the camera that cannot be excluded, as a share of their height: 2.3
#: degrees, or ears 7 cm in front of the ankles.
COMMON_LEAN = 0.04

#: Distance of the principal point from the middle of the image, as a share of its height: one
#: standard deviation.
MIDDLE_ERROR = 0.01

#: Time in which errors are alike, s: gait and lean repeat, so frames in it count as one.
ALIKE_S = 0.5

#: Minimum number of such periods.
MIN_PERIODS = 12

#: Fields of view that are tried, across the longer side, degrees.
FOV_RANGE_DEG = (25.0, 125.0)

#: Number of focal lengths that are tried.
GRID = 31

#: Maximum number of rows that are fitted; neighbouring images say the same.
MAX_ROWS = 600

#: Pitches from which the fit starts, rad.
START_PITCHES = (0.05, 0.3, 0.7)

#: Maximum relative standard deviation of f of an estimate that is given.
MAX_DOUBT = 0.15


@dataclass(frozen=True)
class Walkers:
    """Standing and walking people, one row per person and image.

    Attributes:
        feet: (N, 2) px, the middle of the ankles.
        heads: (N, 2) px, the middle of the ears.
        periods: (N,) int, number of the person's period of `ALIKE_S`.
    """

    feet: np.ndarray
    heads: np.ndarray
    periods: np.ndarray


@dataclass(frozen=True)
class FocalEstimate:
    """The focal length, and what was found with it.

    Attributes:
        camera: with that focal length, without distortion.
        doubt: relative standard deviation of the focal length.
        ground: the floor as the camera sees it.
        periods: number of independent observations.
    """

    camera: Camera
    doubt: float
    ground: GroundPlane
    periods: int


def walkers(
    keypoints: np.ndarray, stamps: np.ndarray, track_ids: np.ndarray, layout: Layout
) -> Walkers:
    """The upright people of recorded keypoints.

    Args:
        keypoints: (M, K, 3) px, px, score; NaN where missing.
        stamps: (M,) s.
        track_ids: (M,).
        layout: of the keypoints.

    Raises:
        CalibrationError: the layout has no ears or ankles.
    """
    sides = ("left", "right")
    names = [f"{s}_{j}" for j in ("ankle", "ear", "hip", "shoulder", "knee") for s in sides]
    missing = [name for name in names if name not in layout.joints]
    if missing:
        raise CalibrationError(
            f"keypoints of layout {layout.name} have no {missing[0]}: use blazepose33 or coco17"
        )
    own = keypoints[:, [layout.joints.index(name) for name in names]].astype(np.float64)
    usable = np.isfinite(own).all(axis=(1, 2)) & (own[..., 2] >= MIN_SCORE).all(axis=1)
    ankle, ear, hip, shoulder, knee = np.moveaxis(own[..., :2].reshape(-1, 5, 2, 2), 1, 0)
    feet, heads, hips = ankle.mean(axis=1), ear.mean(axis=1), hip.mean(axis=1)
    legs = np.linalg.norm(feet - hips, axis=-1)
    trunk = np.linalg.norm(hips - shoulder.mean(axis=1), axis=-1)
    leg = ankle - hip
    length = np.linalg.norm(leg, axis=-1)
    to_knee = knee - hip
    bend = np.abs(leg[..., 0] * to_knee[..., 1] - leg[..., 1] * to_knee[..., 0])
    # The swing leg bends; the other one shows whether the person stands.
    with np.errstate(invalid="ignore", divide="ignore"):
        straight = (bend / length**2).min(axis=1) <= MAX_KNEE_BEND
        usable &= straight & (legs / trunk >= MIN_LEG_RATIO)
    keys = np.stack([track_ids, np.floor(stamps / ALIKE_S).astype(np.int64)], axis=-1)[usable]
    _, periods = np.unique(keys, axis=0, return_inverse=True)
    return Walkers(feet[usable], heads[usable], periods.reshape(-1))


def estimate(
    people: Walkers, size: tuple[int, int], height_m: float, pixel_aspect: float = 1.0
) -> FocalEstimate:
    """The focal length, pitch, roll and camera height that fit best.

    Args:
        people: upright, all of that height.
        size: (width, height) of the images, px.
        height_m: height of the people, m.
        pixel_aspect: width of a pixel over its height; 1 for square pixels.

    Raises:
        CalibrationError: there are too few of them, or they do not tell the focal length.
    """
    count = len(np.unique(people.periods))
    if count < MIN_PERIODS:
        raise CalibrationError(
            f"{count * ALIKE_S:.0f} s of people upright, with ears and ankles visible, are too "
            f"few: {MIN_PERIODS * ALIKE_S:.0f} s are needed"
        )
    step = -(-len(people.feet) // MAX_ROWS)
    # The fit has square pixels, as high as those of the images.
    middle, shape = (np.array(size) - 1) / 2, np.array([pixel_aspect, 1.0])
    feet, heads = (middle + (p[::step] - middle) * shape for p in (people.feet, people.heads))
    people = Walkers(feet, heads, people.periods[::step])
    longer = float((np.array(size) * shape).max())
    low, high = (0.5 * longer / math.tan(math.radians(f) / 2) for f in reversed(FOV_RANGE_DEG))
    grid = np.geomspace(low, high, GRID)
    costs, fits = _profile(people, size, grid)
    best = int(np.argmin(costs))
    # Frames of a period have one error in common; the four unknowns use up as many periods.
    per_period = len(people.feet) / count
    scale = costs[best] / per_period / max(count - 4, 1) / 2
    misfit = (costs - costs[best]) / per_period / max(scale, 1e-12)
    stddev = _curvature_doubt(np.log(grid), misfit, best)
    systematic = _systematic_doubt(people, size, grid[max(best - 4, 0) : best + 5])
    doubt = math.hypot(stddev, systematic)
    pitch, roll, camera_height = fits[best]
    if not doubt <= MAX_DOUBT or best in (0, GRID - 1):
        said = f"+- {100 * doubt:.0f} %" if doubt < 1 else "by no means"
        raise CalibrationError(
            f"these people do not tell the focal length ({said}; the camera looks "
            f"{math.degrees(pitch):.0f} degrees below the horizon): let them walk near and far and "
            "to all sides, before a camera that looks down by 15 degrees or more"
        )
    focal = _refined(np.log(grid), costs, best)
    (cost,), (fit,) = _profile(people, size, np.array([focal]))
    pitch, roll, camera_height = fit
    matrix = np.array([[focal / pixel_aspect, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
    ground = GroundPlane(max(camera_height * height_m, 0.1), pitch, roll)
    return FocalEstimate(Camera(matrix, size), doubt, ground, count)


def _systematic_doubt(people: Walkers, size: tuple[int, int], grid: np.ndarray) -> float:
    """How far f moves, relatively, where all people lean, and where the middle is elsewhere.

    Args:
        grid: focal lengths around the best one, px.
    """

    def between(first: dict[str, float], second: dict[str, float]) -> float:
        focal = []
        for change in (first, second):
            costs, _ = _profile(people, size, grid, **change)
            focal.append(_refined(np.log(grid), costs, int(np.argmin(costs))))
        return 0.5 * abs(math.log(focal[1] / focal[0]))

    lean = between({"lean": -COMMON_LEAN}, {"lean": COMMON_LEAN})
    middle = between({"lower": -MIDDLE_ERROR}, {"lower": MIDDLE_ERROR})
    return math.hypot(lean, middle)


def _refined(x: np.ndarray, costs: np.ndarray, best: int) -> float:
    """The minimum of the parabola through the three lowest costs, px; at an end, that end."""
    if best in (0, len(x) - 1):
        return float(np.exp(x[best]))
    step = x[1] - x[0]
    a, b, c = costs[best - 1 : best + 2]
    bend = a - 2 * b + c
    return float(np.exp(x[best] + (0.5 * step * (a - c) / bend if bend > 0 else 0.0)))


def _curvature_doubt(x: np.ndarray, misfit: np.ndarray, best: int) -> float:
    """Standard deviation of x: where the misfit is 1 over its minimum; infinite where it is not."""
    distances = []
    for side in (range(best, -1, -1), range(best, len(x))):
        path = np.array(list(side))
        over = np.flatnonzero(misfit[path] >= 1.0)
        if not len(over):
            return math.inf
        last = path[over[0] - 1] if over[0] else path[0]
        first = path[over[0]]
        share = (1.0 - misfit[last]) / max(misfit[first] - misfit[last], 1e-12)
        distances.append(abs(x[last] + share * (x[first] - x[last]) - x[best]))
    return max(distances)


def _profile(
    people: Walkers,
    size: tuple[int, int],
    grid: np.ndarray,
    lean: float = 0.0,
    lower: float = 0.0,
) -> tuple[np.ndarray, list[tuple[float, float, float]]]:
    """The best cost for each focal length, and pitch, roll and camera height in body heights.

    Args:
        lean: of all people towards the camera, as a share of their height.
        lower: the principal point under the middle of the image, as a share of its height.
    """
    costs, fits = [], []
    middle = (np.array(size) - 1) / 2 + (0.0, lower * size[1])
    start: tuple[float, float, float] | None = None
    for focal in grid:
        feet, heads = (people.feet - middle) / focal, (people.heads - middle) / focal
        starts = [(pitch, 0.0, 1.0) for pitch in START_PITCHES] + ([start] if start else [])
        found = [_fit(feet, heads, np.array(s), lean) for s in starts]
        cost, fit = min(found, key=lambda pair: pair[0])
        costs.append(cost)
        fits.append(fit)
        start = fit
    return np.array(costs), fits


def _fit(
    feet: np.ndarray, heads: np.ndarray, start: np.ndarray, lean: float
) -> tuple[float, tuple[float, float, float]]:
    """Pitch, roll and camera height that fit rays of feet and heads best (Levenberg-Marquardt).

    The errors are shares of a person's height in the image. Weights are Cauchy's.
    """
    size = np.linalg.norm(heads - feet, axis=-1)[:, None]

    def errors(state: np.ndarray) -> np.ndarray:
        return np.asarray((_heads(feet, state, lean) - heads) / size / LEAN).ravel()

    def cost_of(residual: np.ndarray) -> float:
        return float(np.log1p(residual**2).sum()) if np.isfinite(residual).all() else math.inf

    state, damping = start.astype(float), 1e-2
    residual = errors(state)
    cost = cost_of(residual)
    for _ in range(25):
        if not math.isfinite(cost):
            break
        steps = 1e-5 * np.eye(3)
        slopes = np.stack([(errors(state + s) - residual) / 1e-5 for s in steps], axis=-1)
        weights = 1.0 / (1.0 + residual**2)
        if not np.isfinite(slopes).all():
            break
        normal = slopes.T @ (weights[:, None] * slopes)
        right = slopes.T @ (weights * residual)
        trial = state - np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), right)
        trial_residual = errors(trial)
        trial_cost = cost_of(trial_residual)
        if trial_cost < cost:
            gain = cost - trial_cost
            state, residual, cost, damping = trial, trial_residual, trial_cost, damping / 5
            if gain < 1e-7 * cost:
                break
        else:
            damping *= 6
            if damping > 1e6:
                break
    pitch, roll, height = state.tolist()
    return cost, (pitch, roll, height)


def _heads(feet: np.ndarray, state: np.ndarray, lean: float) -> np.ndarray:
    """(N, 2) on the plane z = 1, where heads are over feet (N, 2); NaN for an impossible state."""
    pitch, roll, height = state
    level = math.cos(pitch)
    up = np.array([-math.sin(roll) * level, -math.cos(roll) * level, -math.sin(pitch)])
    rays = np.concatenate([feet, np.ones((len(feet), 1))], axis=-1)
    falls = -(rays @ up)
    with np.errstate(invalid="ignore", divide="ignore"):
        points = rays * ((height - ANKLE) / falls)[:, None]
        towards = -(points + (height - ANKLE) * up)
        towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
        tops = points + (EAR - ANKLE) * up + lean * towards
        heads = tops[:, :2] / tops[:, 2:]
    possible = (falls > 1e-4) & (tops[:, 2] > 0.05) & (height > ANKLE + 0.02)
    return np.where(possible[:, None], heads, np.nan)
