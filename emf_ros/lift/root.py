"""The metric position of the root, from relative joints and rays.

`solve_root` works on numpy arrays and on torch tensors, through the array API.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..geometry.array_namespace import array_namespace

#: Standard deviation of a keypoint in the image, as a share of the person's size. It is the floor
#: of the covariance: joints may fit by chance better than a detector measures.
KEYPOINT_ERROR = 0.01

#: Relative standard deviation of the size of adults. The distance has the same, as an unknown
#: height is an unknown distance: it dominates the covariance along the ray.
HEIGHT_SPREAD = 0.07

#: Maximum distance, m. Beyond it the rays of the joints are parallel within a detector's error.
MAX_DISTANCE_M = 60.0

#: Number of solves with weights from the residuals of the last one.
REWEIGHTINGS = 2
#: Minimum standard deviation of a joint in these weights, m.
SURE_M = 0.01

#: Standard deviation of people's speed along the ray, m/s: the prior on the slope of the line
#: through the distances of a window. On validation motion the 95th percentile of the speed is 2.2
#: m/s with this prior (true: 0.85), 5.1 by a line through nine frames, and 10.5 frame by frame, at
#: the same error of the root.
SPEED_SPREAD = 1.5
#: Relative standard deviation of the distances. On validation motion it is 6 to 7 %.
DISTANCE_ERROR = 0.06
#: Time for which the errors of the distances are correlated, s.
ALIKE_S = 1 / 3
#: The same of the errors that change within a window, as a share of the distance. Most of the error
#: is that of the person's size. It is the same in all frames of a window, and changes no velocity.
DISTANCE_CHANGE = 0.02

#: Maximum difference of a measured distance and the solved one, in standard deviations of it. A
#: larger distance is refused; a smaller one is of a person smaller than adults.
GATE_STDDEVS = 3.0
#: Maximum factor between the two distances. Beyond it another object was measured.
GATE_FACTOR = 2.0

#: Time up to the described frame whose rays are in the velocity, s.
TURN_S = 0.28
#: Minimum number of known frames in it. With fewer there is no velocity.
MIN_FRAMES = 4
#: Minimum share of the distances in the velocity along the ray; the rest is the prior's. With less
#: there is no velocity: a person who comes would seem to stand.
MIN_MEASURED = 0.5


@dataclass
class Root:
    """Solved roots.

    Attributes:
        root: (B, 3) m, the pelvis in the camera's optical frame; NaN where not valid.
        valid: (B,) whether the joints fix a position in front of the camera.
        residual: (B,) root mean square of the reprojection error on the plane z = 1.
        across2, along2: (B,) m^2, variance across the mean ray, and along it over its length.
        mean_ray: (B, 2) on the plane z = 1.
        height_spread: relative standard deviation of the joints' scale, a number or (B,).
    """

    root: Any
    valid: Any
    residual: Any
    across2: Any
    along2: Any
    mean_ray: Any
    height_spread: Any

    @property
    def covariance(self) -> Any:
        """(B, 3, 3) m^2, widest along the ray; NaN where not valid."""
        xp = array_namespace(self.root)
        plane = xp.asarray([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]], self.root)
        plane = self.across2[:, None, None] * plane
        one = xp.ones_like(self.mean_ray[:, :1])
        ray = xp.concat([self.mean_ray, one], axis=1)
        covariance = plane + _outer(xp.sqrt(self.along2)[:, None] * ray)
        spread = xp.zeros_like(self.along2) + self.height_spread
        return covariance + _outer(spread[:, None] * self.root)

    def of(self, rows: Any) -> Root:
        """Some of the roots."""
        spread = self.height_spread
        return Root(
            self.root[rows],
            self.valid[rows],
            self.residual[rows],
            self.across2[rows],
            self.along2[rows],
            self.mean_ray[rows],
            spread[rows] if hasattr(spread, "shape") else spread,
        )


def solve_root(
    joints: Any,
    rays: Any,
    scores: Any,
    min_joints: int = 5,
    stddev: Any = None,
    height_spread: Any = HEIGHT_SPREAD,
) -> Root:
    """The translation t that best puts joints X_j + t onto rays u_j = (x_j, y_j, 1).

    A joint on its ray has (X + t)_x - x (X + t)_z = 0, and the same for y: two linear equations per
    joint. Their errors are in metres at the joint's depth, but those of the image are angles. So a
    second solve divides each equation by the depth from the first one: the Gauss-Newton step for
    the reprojection error.

    Args:
        joints: (B, J, 3) m, relative to the pelvis, in the camera's optical frame.
        rays: (B, J, 2); ignored where the score is 0.
        scores: (B, J) 0..1, the weights.
        min_joints: minimum number of joints with a score; with fewer the root is unknown.
        stddev: (B, J) m, standard deviation of the joints. Where given, joints that fit worse than
            that count less: Cauchy's weights 1 / (1 + (r / stddev)^2) of their distances r from
            their rays, iteratively reweighted (Holland & Welsch 1977).
        height_spread: relative standard deviation of the joints' scale, a number or (B,).
    """
    xp = array_namespace(joints)
    batch, number = scores.shape

    def or_one(values: Any) -> Any:
        """The values, and 1 where they are not positive."""
        return xp.where(values > 0, values, 1.0)

    # (6 or 7, J, B), contiguous: sums over leading axes are the fastest.
    table = xp.empty((6 if stddev is None else 7, number, batch), joints)
    table[:3], table[3:5] = xp.swapaxes(joints, 0, 2), xp.swapaxes(rays, 0, 2)
    table[5] = xp.swapaxes(scores, 0, 1)
    if stddev is not None:
        table[6] = xp.swapaxes(stddev, 0, 1)
    finite = xp.all(xp.isfinite(table[:5]), axis=0) & (table[5] > 0)
    table = xp.where(finite, table, 0.0)
    xy, z, ray, weight = table[:2], table[2], table[3:5], table[5]
    if stddev is not None:
        variance = xp.where(table[6] > SURE_M, table[6], SURE_M) ** 2
    count = xp.sum(xp.astype(finite, z.dtype), axis=0)

    # The image about the mean ray: the normal equations then have a solution in closed form
    # without cancellation.
    middle = xp.sum(ray, axis=1) / or_one(count)
    about = ray - middle[:, None]
    right = ray * z - xy
    squares = xp.stack([_dot(about, about), _dot(about, right)])
    terms = xp.concat([about, right, squares], axis=0)

    def solve(per_joint: Any) -> tuple[Any, ...]:
        """Root (2, B) across and (B,) along the axis; whether it is determined; and of the weights
        their sum, the mean ray (2, B) and the spread of the rays about it."""
        total = xp.sum(per_joint, axis=0)
        some, total = total > 0, or_one(total)
        sums = xp.sum(terms * per_joint, axis=1)
        mean = sums[:4] / total
        spread = sums[4] - total * _dot(mean[:2], mean[:2])
        product = sums[5] - total * _dot(mean[:2], mean[2:])
        mean_ray = mean[:2] + middle
        # By determinant and trace of the normal matrix. If all joints are on one ray the depth is
        # not determined.
        trace = 2.0 * total + spread + total * _dot(mean_ray, mean_ray)
        regular = some & (total**2 * spread > 1e-9 * trace**3)
        spread = xp.where(regular, spread, 1.0)
        along = -product / spread
        return mean[2:] + mean_ray * along, along, regular, total, mean_ray, spread

    def reprojected(across: Any, along: Any, nearest: float) -> tuple[Any, Any]:
        """The joints' depths, `nearest` at least, m; their squared errors on the plane z = 1."""
        depth = z + along
        depth = xp.where(depth > nearest, depth, nearest)
        off = (xy + across[:, None]) / depth - ray
        return depth, _dot(off, off)

    across, along, regular, total, mean_ray, spread = solve(weight)
    for _ in range(1 if stddev is None else REWEIGHTINGS):
        depth, error2 = reprojected(across, along, 0.1)
        depth2 = depth * depth
        robust = weight if stddev is None else weight / (1.0 + depth2 * error2 / variance)
        across, along, regular_too, total, mean_ray, spread = solve(robust / depth2)
        regular = regular & regular_too

    ahead = xp.all((z + along > 0.05) | ~finite, axis=0)
    _, error2 = reprojected(across, along, 0.05)
    squared = xp.sum(weight * error2, axis=0) / (2 * or_one(xp.sum(weight, axis=0)))
    distance2 = _dot(across, across) + along**2
    # A comparison with NaN is false.
    valid = regular & ahead & (count >= min_joints) & (distance2 < MAX_DISTANCE_M**2)

    # Errors in the image, at least those of a detector on a body of about 1.5 m.
    floor = (KEYPOINT_ERROR * 1.5) ** 2 / or_one(distance2)
    noise = xp.where(squared > floor, squared, floor)
    # The inverse of the normal matrix: across the mean ray, and along it.
    root = xp.where(valid, xp.concat([across, along[None]], axis=0), float("nan"))
    return Root(
        xp.swapaxes(root, 0, 1),
        valid,
        xp.sqrt(squared),
        noise / total,
        noise / spread,
        xp.swapaxes(mean_ray, 0, 1),
        height_spread,
    )


def _dot(a: Any, b: Any) -> Any:
    """(2, ...) and (2, ...) -> (...), their scalar product."""
    products = a * b
    # For two terms the sum over an axis takes three times as long.
    return products[0] + products[1]


def _outer(vectors: Any) -> Any:
    """(B, 3) -> (B, 3, 3), v v^T."""
    return vectors[:, :, None] * vectors[:, None, :]


def update_along(
    root: np.ndarray,
    covariance: np.ndarray,
    direction: np.ndarray,
    value: np.ndarray,
    variance: np.ndarray | float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fuse roots with their distances measured along a direction, where the two agree.

    This is the Kalman filter's measurement update for one scalar. The covariance of the root is
    widest along the ray, so the root moves along its ray.

    The solved distance of a child is too large, because the model assumes the size of an adult. A
    measured distance that is smaller than the gate allows is therefore accepted. The variance of
    the solved distance is then set to its most likely value, at which the two are one standard
    deviation apart. A skeleton stays on its rays when it is scaled with the distance of its root.

    Args:
        root: (P, 3) m.
        covariance: (P, 3, 3) m^2.
        direction: (P, 3) or (3,), unit vectors.
        value: (P,) m, measured `direction @ root`; NaN where unknown.
        variance: (P,) or a number, m^2, of `value`.

    Returns:
        root (P, 3) m and covariance (P, 3, 3) m^2, unchanged where there is no value, no root, or
        no agreement (`GATE_STDDEVS`, `GATE_FACTOR`); and (P,) bool, whether the value was used.
    """
    direction = np.broadcast_to(direction, root.shape)
    predicted = np.einsum("pi,pi->p", direction, root)
    off = value - predicted
    total = np.einsum("pi,pij,pj->p", direction, covariance, direction) + variance
    # Comparisons with NaN are false.
    agrees = off**2 <= GATE_STDDEVS**2 * total
    within = (value * GATE_FACTOR >= predicted) & (value <= GATE_FACTOR * predicted) & (total > 0)
    smaller = within & ~agrees & (off < 0)
    taken = (within & agrees) | smaller

    lacking = np.where(smaller, off**2 - total, 0.0)
    ray = np.where(smaller[:, None], root / predicted[:, None], 0.0)
    covariance = covariance + lacking[:, None, None] * ray[:, :, None] * ray[:, None, :]
    total = np.where(smaller, off**2, np.where(taken, total, 1.0))
    gain = np.einsum("pij,pj->pi", covariance, direction)
    gain = np.where(taken[:, None], gain, 0.0)
    moved = root + gain * (np.where(taken, off, 0.0) / total)[:, None]
    narrowed = covariance - gain[:, :, None] * gain[:, None, :] / total[:, None, None]
    return moved, narrowed, taken


def smooth_root(roots: np.ndarray, frame: int, rate_hz: float) -> np.ndarray:
    """The root of a frame, its distance smoothed over the window.

    One image fixes the direction to a person within a centimetre, but the distance within a tenth
    of it. So the distance comes from a line through the distances of the window, without delay.

    Args:
        roots: (..., T, 3) m in the camera's frame; NaN where unknown.
        frame: index of the frame to smooth.
        rate_hz: of the frames.

    Returns:
        (..., 3) m, NaN where the root of the frame is unknown; as given where too few frames are
        known.
    """
    line = _Line.through(roots, frame, rate_hz, DISTANCE_ERROR)
    return np.where(line.usable, line.rays[..., frame, :] * line.distance, roots[..., frame, :])


def root_velocity(roots: np.ndarray, frame: int, rate_hz: float) -> np.ndarray:
    """The velocity of the root in a frame.

    It is the slope of the smoothed roots of the last `TURN_S`. Each is on its own ray, at the
    distance of its time by the line through the distances of the window. With the distance of
    `frame` in its place, a person who comes closer would seem too slow across the ray.

    Args:
        roots: (..., T, 3) m in the camera's frame, all of one size of the person; NaN where the
            person was not observed.
        frame: index of the frame.
        rate_hz: of the frames.

    Returns:
        (..., 3) m/s; NaN where the root of the frame is unknown, where too few frames are known
        (`MIN_FRAMES`), and where they tell less than the prior (`MIN_MEASURED`).
    """
    line = _Line.through(roots, frame, rate_hz, DISTANCE_CHANGE)
    (recent_t,) = _means((line.t,), line.recent)
    places = line.rays * (line.distance + line.slope * line.t)[..., None]
    velocity, _ = _slope(line.t, recent_t, places, line.recent)
    measured = line.usable & (line.measured >= MIN_MEASURED)[..., None]
    return np.where(measured, velocity, np.nan)


@dataclass
class _Line:
    """A line through the distances of a window.

    It is a Bayesian linear regression with a normal prior on the slope (Bishop 2006, 3.3), for
    errors that are correlated over some frames.

    Attributes:
        t: (T,) s from the frame.
        rays: (..., T, 3) of length 1.
        recent: (..., T) whether a frame is known, and within `TURN_S` up to the frame.
        distance: (..., 1) m, in the frame.
        slope: (..., 1) m/s.
        measured: (...) 0..1, share of the distances in the slope; the rest is the prior's.
        usable: (..., 1) whether enough frames are known, and the frame itself.
    """

    t: np.ndarray
    rays: np.ndarray
    recent: np.ndarray
    distance: np.ndarray
    slope: np.ndarray
    measured: np.ndarray
    usable: np.ndarray

    @classmethod
    def through(cls, roots: np.ndarray, frame: int, rate_hz: float, error: float) -> _Line:
        """The line, for distances of a relative standard deviation `error`."""
        known = np.isfinite(roots).all(axis=-1)
        t = (np.arange(roots.shape[-2]) - frame) / rate_hz
        recent = known & ((t <= 0) & (t > -TURN_S))
        placed = np.where(known[..., None], roots, 0.0)
        distances = np.sqrt((placed**2).sum(axis=-1))
        rays = placed / np.where(distances > 0, distances, 1.0)[..., None]
        mean_t, mean = _means((t, distances), known)
        noise = (error * mean) ** 2 * ALIKE_S * rate_hz
        prior = noise / SPEED_SPREAD**2
        slope, measured = _slope(t, mean_t, distances[..., None], known, prior)
        distance = (mean - slope[..., 0] * mean_t)[..., None]
        usable = (recent.sum(axis=-1) >= MIN_FRAMES)[..., None] & known[..., frame, None]
        usable &= distance > 0
        return cls(t, rays, recent, distance, slope, measured, usable)


def _means(of: Sequence[np.ndarray], taken: np.ndarray) -> list[np.ndarray]:
    """(...) the means of those of the values (..., N) that are taken; 0 where none is."""
    count = np.maximum(taken.sum(axis=-1), 1)
    return [(values * taken).sum(axis=-1) / count for values in of]


def _slope(
    t: np.ndarray,
    mean_t: np.ndarray,
    values: np.ndarray,
    taken: np.ndarray,
    prior: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares slope (..., C) of values (..., N, C) over t (N,) s, of those that are taken.

    And (...) the share of the values in it, 0..1; the rest is the prior's.

    `mean_t` (...), s, is the mean of their times. `prior` (...), s^2, is the variance of a value
    over that of the slope, and draws the slope to 0.
    """
    centred = np.where(taken, t - mean_t[..., None], 0.0)
    spread = (centred**2).sum(axis=-1)
    total = spread + prior
    total = np.where(total > 0, total, 1.0)
    moment = (centred[..., None] * values).sum(axis=-2)
    return moment / total[..., None], spread / total
