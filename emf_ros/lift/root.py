"""The metric position of the root, from relative joints and rays.

`solve_root` works on numpy arrays and on torch tensors, through the array API.
"""

from __future__ import annotations

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

#: Maximum difference of a measured distance and the solved one, in standard deviations of it. A
#: larger distance is refused; a smaller one is of a person smaller than adults.
GATE_STDDEVS = 3.0
#: Maximum factor between the two distances. Beyond it another object was measured.
GATE_FACTOR = 2.0

#: Time up to the described frame that the velocity across the ray is measured in, s.
TURN_S = 0.28
#: Minimum number of known frames in it. With fewer there is no velocity.
MIN_FRAMES = 4


@dataclass
class Root:
    """Solved roots.

    Attributes:
        root: (B, 3) m, the pelvis in the camera's optical frame; NaN where not valid.
        covariance: (B, 3, 3) m^2, widest along the ray; NaN where not valid.
        valid: (B,) whether the joints fix a position in front of the camera.
        residual: (B,) root mean square of the reprojection error on the plane z = 1.
    """

    root: Any
    covariance: Any
    valid: Any
    residual: Any


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
    kind = joints.dtype
    seen = scores > 0
    finite = xp.all(xp.isfinite(joints), axis=-1) & xp.all(xp.isfinite(rays), axis=-1) & seen
    zero = xp.zeros_like(scores)
    weight = xp.where(finite, scores, zero)
    joints = xp.where(finite[..., None], joints, xp.zeros_like(joints))
    rays = xp.where(finite[..., None], rays, xp.zeros_like(rays))
    count = xp.sum(xp.astype(finite, kind), axis=-1)

    one = xp.ones_like(scores)
    rows_x = xp.stack([one, zero, -rays[..., 0]], axis=-1)
    rows_y = xp.stack([zero, one, -rays[..., 1]], axis=-1)
    right = rays * joints[..., 2:3] - joints[..., :2]

    def solve(per_joint: Any) -> tuple[Any, Any, Any]:
        w = per_joint[..., None]
        normal = xp.matmul(xp.matrix_transpose(rows_x * w), rows_x) + xp.matmul(
            xp.matrix_transpose(rows_y * w), rows_y
        )
        moment = xp.sum(w * (rows_x * right[..., :1] + rows_y * right[..., 1:]), axis=1)
        # If all joints are on one ray the depth is not determined. The matrix is then replaced.
        trace = normal[..., 0, 0] + normal[..., 1, 1] + normal[..., 2, 2]
        determinant = xp.linalg.det(normal)
        regular = determinant > 1e-9 * xp.where(trace > 0, trace, xp.ones_like(trace)) ** 3
        regular = regular & (trace > 0)
        eye = xp.zeros_like(normal) + xp.asarray([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], normal)
        inverse = xp.linalg.inv(xp.where(regular[..., None, None], normal, eye))
        return xp.matmul(inverse, moment[..., None])[..., 0], inverse, regular

    def reprojected(root: Any, nearest: float) -> tuple[Any, Any]:
        """The joints' depths, `nearest` at least, m, and their errors on the plane z = 1."""
        depth = joints[..., 2] + root[..., 2:3]
        depth = xp.where(depth > nearest, depth, nearest * one)
        return depth, (joints[..., :2] + root[:, None, :2]) / depth[..., None] - rays

    root, inverse, regular = solve(weight)
    robust = weight
    for _ in range(1 if stddev is None else REWEIGHTINGS):
        depth, error = reprojected(root, 0.1)
        if stddev is not None:
            known = xp.where(stddev > SURE_M, stddev, SURE_M * one)
            off = depth**2 * xp.sum(error**2, axis=-1)
            robust = weight / (1.0 + off / known**2)
        root, inverse, regular_too = solve(robust / depth**2)
        regular = regular & regular_too

    ahead = xp.all((joints[..., 2] + root[..., 2:3] > 0.05) | ~finite, axis=-1)
    _, error = reprojected(root, 0.05)
    total = xp.sum(weight, axis=-1)
    total = xp.where(total > 0, total, xp.ones_like(total))
    squared = xp.sum(weight[..., None] * error**2, axis=(1, 2)) / (2 * total)

    valid = regular & ahead & (count >= min_joints)
    valid = valid & xp.all(xp.isfinite(root), axis=-1)

    distance2 = xp.sum(root**2, axis=-1)
    valid = valid & (distance2 < MAX_DISTANCE_M**2)
    # Errors in the image, at least those of a detector on a body of about 1.5 m.
    floor = (KEYPOINT_ERROR * 1.5) ** 2 / xp.where(
        distance2 > 0, distance2, xp.ones_like(distance2)
    )
    noise = xp.where(squared > floor, squared, floor)
    covariance = noise[:, None, None] * inverse
    unsure = (xp.zeros_like(noise) + height_spread)[:, None] * root
    covariance = covariance + unsure[:, :, None] * unsure[:, None, :]

    nan = xp.full_like(root, float("nan"))
    root = xp.where(valid[:, None], root, nan)
    covariance = xp.where(valid[:, None, None], covariance, nan[:, :, None])
    return Root(root, covariance, valid, xp.sqrt(squared))


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


def smooth_root(roots: np.ndarray, frame: int, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """The root of a frame, its distance smoothed over the window, and the velocity.

    One image fixes the direction to a person within a centimetre, but the distance within a tenth
    of it. So the distance comes from a line through the distances of the window, without delay:
    Bayesian linear regression with a normal prior on the slope (Bishop 2006, 3.3), for errors that
    are correlated over some frames.

    Args:
        roots: (T, 3) m in the camera's frame; NaN where unknown.
        frame: index of the frame to smooth; its root is known.
        rate_hz: of the frames.

    Returns:
        (3,) m, and the velocity (3,) m/s, NaN where too few frames are known.
    """
    known = np.isfinite(roots).all(axis=-1)
    t = (np.arange(len(roots)) - frame) / rate_hz
    recent = known & (t <= 0) & (t > -TURN_S)
    if recent.sum() < MIN_FRAMES:
        return roots[frame], np.full(3, np.nan)
    distances = np.linalg.norm(roots, axis=-1)
    mean = distances[known].mean()
    noise = (DISTANCE_ERROR * mean) ** 2 * ALIKE_S * rate_hz
    slope = _slope(t[known], distances[known], noise / SPEED_SPREAD**2)
    distance = mean - slope * t[known].mean()
    if not distance > 0:
        return roots[frame], np.full(3, np.nan)
    rays = roots / distances[:, None]
    turning = _slope(t[recent], rays[recent])
    return rays[frame] * distance, distance * turning + slope * rays[frame]


def _slope(t: np.ndarray, values: np.ndarray, prior: float = 0.0) -> np.ndarray:
    """Least-squares slope of values (N, ...) over t (N,) s.

    `prior`, s^2, is the variance of a value over that of the slope, and draws the slope to 0.
    """
    centred = t - t.mean()
    moment = np.tensordot(centred, values - values.mean(axis=0), axes=1)
    return moment / ((centred**2).sum() + prior)
