"""Where the person stands: the metric root from relative joints and rays.

`solve_root` works on numpy arrays and torch tensors alike, through the array API.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

#: A keypoint's error in the image, as a share of the person's size; floors the covariance where the
#: joints fit by chance better than any detector measures.
KEYPOINT_ERROR = 0.01

#: Relative spread of people's size. An unknown height is an unknown distance in the same measure:
#: it dominates the covariance along the ray. Adults: about 7 % of the mean.
HEIGHT_SPREAD = 0.07

#: Beyond it the joints' rays are parallel to within a detector's error, and the distance is chance.
MAX_DISTANCE_M = 60.0

#: Where the joints' stddev are given: solves with weights from the last one's residuals, and the
#: least stddev that is believed, m.
REWEIGHTINGS, SURE_M = 2, 0.01

#: What the slope of a line through a window's distances is held against: the spread of people's
#: speed along the ray, m/s, and the distances' errors as a share of them, and for how long
#: they are alike, s. Measured on validation motion: 6 to 7 %, errors that last. The speed at
#: which the distance changes (95th percentile; true: 0.85 m/s) is 10.5 m/s frame by frame, 5.1 by a
#: line through nine frames and 2.2 by this one, at the same error of the root.
SPEED_SPREAD, DISTANCE_ERROR, ALIKE_S = 1.5, 0.06, 1 / 3

#: A measured distance is refused where it is further than the solved one by more stddevs of their
#: difference than this, or nearer by more than the factor: it is likelier something else's then.
#: Nearer than the stddevs allow is who is smaller than adults are.
GATE_STDDEVS, GATE_FACTOR = 3.0, 2.0

#: Seconds up to the described frame that the turning of the ray to the root is taken from; with
#: fewer than so many known frames in it there is no velocity.
TURN_S, FEWEST_FRAMES = 0.28, 4


@dataclass
class Root:
    """Solved roots.

    Attributes:
        root: (B, 3) m, the pelvis in the camera's optical frame; NaN where not valid.
        covariance: (B, 3, 3) m^2, widest along the ray; NaN where not valid.
        valid: (B,) the joints fix a position in front of the camera.
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
    joint. They measure metres at the joint's depth where the picture measures angles, so a second
    solve divides each by the depth that the first one found; that is the Gauss-Newton step for the
    reprojection error.

    Args:
        joints: (B, J, 3) m, relative to the pelvis, in the camera's optical frame.
        rays: (B, J, 2); what stands at score 0 is ignored.
        scores: (B, J) 0..1, the weights.
        min_joints: fewer than these leave the root unknown.
        stddev: (B, J) m, how far off each joint may be; where given, those that do not fit by as
            much count less: Cauchy's weights 1 / (1 + (r / stddev)^2) of their distances r from
            their rays, iteratively reweighted (Holland & Welsch 1977).
        height_spread: relative stddev of the joints' scale, a number or (B,).
    """
    xp = array_api_compat.array_namespace(joints, rays, scores)
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
        # Joints all on one ray leave the depth open; such a matrix is replaced, and marked.
        trace = normal[..., 0, 0] + normal[..., 1, 1] + normal[..., 2, 2]
        determinant = xp.linalg.det(normal)
        regular = determinant > 1e-9 * xp.where(trace > 0, trace, xp.ones_like(trace)) ** 3
        regular = regular & (trace > 0)
        eye = xp.zeros_like(normal) + xp.asarray(
            [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]],
            dtype=kind,
            device=array_api_compat.device(normal),
        )
        inverse = xp.linalg.inv(xp.where(regular[..., None, None], normal, eye))
        return xp.matmul(inverse, moment[..., None])[..., 0], inverse, regular

    def reprojected(root: Any, nearest: float) -> tuple[Any, Any]:
        """The joints' depths, none under `nearest`, and their errors on the plane z = 1."""
        depth = joints[..., 2] + root[..., 2:3]
        depth = xp.where(depth > nearest, depth, nearest * one)
        return depth, (joints[..., :2] + root[:, None, :2]) / depth[..., None] - rays

    root, inverse, regular = solve(weight)
    trusted = weight
    for _ in range(1 if stddev is None else REWEIGHTINGS):
        depth, error = reprojected(root, 0.1)
        if stddev is not None:
            known = xp.where(stddev > SURE_M, stddev, SURE_M * one)
            off = depth**2 * xp.sum(error**2, axis=-1)
            trusted = weight / (1.0 + off / known**2)
        root, inverse, regular_too = solve(trusted / depth**2)
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
    # Errors in the picture, at least the detector's own for a body of about a metre and a half.
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

    The Kalman filter's measurement update for one scalar: the root also moves across the direction
    as its covariance says, that is, along the ray on which the picture holds it. A child is taken
    for an adult who stands further off; what measures it as much nearer contradicts the solved
    distance, whose variance is then the likeliest one, by which the two are one stddev apart.
    A skeleton stays on its rays when it is scaled as its root's distance is.

    Args:
        root: (P, 3) m.
        covariance: (P, 3, 3) m^2.
        direction: (P, 3) or (3,), unit vectors.
        value: (P,) m, measured `direction @ root`; NaN where there is none.
        variance: (P,) or a number, m^2, of `value`.

    Returns:
        root (P, 3) and covariance (P, 3, 3), which stay as they are where there is no value, no
        root, or no agreement (`GATE_STDDEVS`, `GATE_FACTOR`); and (P,) bool, whether the value was
        taken.
    """
    direction = np.broadcast_to(direction, root.shape)
    foretold = np.einsum("pi,pi->p", direction, root)
    off = value - foretold
    total = np.einsum("pi,pij,pj->p", direction, covariance, direction) + variance
    # Comparisons with NaN are false.
    agrees = off**2 <= GATE_STDDEVS**2 * total
    within = (value * GATE_FACTOR >= foretold) & (value <= GATE_FACTOR * foretold) & (total > 0)
    smaller = within & ~agrees & (off < 0)
    taken = (within & agrees) | smaller

    lacking = np.where(smaller, off**2 - total, 0.0)
    ray = np.where(smaller[:, None], root / foretold[:, None], 0.0)
    covariance = covariance + lacking[:, None, None] * ray[:, :, None] * ray[:, None, :]
    total = np.where(smaller, off**2, np.where(taken, total, 1.0))
    gain = np.einsum("pij,pj->pi", covariance, direction)
    gain = np.where(taken[:, None], gain, 0.0)
    moved = root + gain * (np.where(taken, off, 0.0) / total)[:, None]
    narrowed = covariance - gain[:, :, None] * gain[:, None, :] / total[:, None, None]
    return moved, narrowed, taken


def steady_root(roots: np.ndarray, frame: int, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """A frame's root, its distance steadied by those of the frames around, and the velocity.

    One picture fixes the direction to a person to a centimetre and the distance to a tenth of it,
    so the distance is taken from a line through the window's, which adds no lag: Bayesian linear
    regression with a normal prior on the slope (Bishop 2006, 3.3), for errors that are alike for
    some frames on end.

    Args:
        roots: (T, 3) m in the camera's frame; NaN where unknown.
        frame: the one to steady, which is known.
        rate_hz: of the frames.

    Returns:
        (3,) m, and the velocity (3,) m/s, NaN where too few frames are known.
    """
    known = np.isfinite(roots).all(axis=-1)
    t = (np.arange(len(roots)) - frame) / rate_hz
    recent = known & (t <= 0) & (t > -TURN_S)
    if recent.sum() < FEWEST_FRAMES:
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
    """Least-squares slope of values (N, ...) over t (N,) s, drawn to 0 by `prior`: the variance
    of a value over that of the slope, s^2."""
    centred = t - t.mean()
    moment = np.tensordot(centred, values - values.mean(axis=0), axes=1)
    return moment / ((centred**2).sum() + prior)
