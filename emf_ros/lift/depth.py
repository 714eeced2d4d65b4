"""The distance of people from a depth image, measured at the trunk, the widest part of the body."""

from __future__ import annotations

import numpy as np

from ..reasons import Reason
from ..skeletons import H36M17
from .root import update_along

#: Indices of the joints of the trunk.
TRUNK = np.array(
    [H36M17.index(j) for j in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")]
)

#: Minimum depth, m. A smaller one is an error of the sensor.
NEAREST_M = 0.3
#: Maximum depth, m. A larger one is an error of the sensor.
FARTHEST_M = 20.0

#: Half the width of the patch, as a share of the trunk's length in the image: 0.08 m of an adult's.
PATCH = 0.15
#: Number of samples along each side of the patch.
_SIDE = 9
#: Minimum share of the samples that have a depth.
MIN_VALID_SHARE = 0.5

#: Maximum interquartile range of the depths of a patch on one body, m, without noise. A patch with
#: more shows another object before or behind the body.
RELIEF_M = 0.10
#: Growth of that range with the depth, m/m: the noise of stereo cameras.
NOISE_SHARE = 0.02

#: Distance of the joints behind the surface, m: half the depth of the chest, which is about 0.24 m
#: (Gordon et al. 1989, ANSUR).
BEHIND_SURFACE_M = 0.12
#: Standard deviation of a measured distance, m: people are deeper from the side, and arms and
#: clothes stand before the trunk.
DEPTH_STDDEV_M = 0.06


def trunk_depth(
    image: np.ndarray, keypoints: np.ndarray, radius_px: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The depth of people's surface: the median of a patch in the middle of the trunk.

    Args:
        image: (H, W) along the optical axis: uint16 mm or float32 m (REP-118). 0, NaN and infinity
            are holes.
        keypoints: (P, 17, 2) px of h36m17 in the depth image; NaN where not seen.
        radius_px: half the width of the patch, px; None for `PATCH` of each trunk's length.

    Returns:
        (P,) m, NaN where unknown, and (P,) str: the `Reason` for that, empty where it is known.

    Raises:
        ValueError: the image is of another type or shape.
    """
    if image.ndim != 2 or not image.size or image.dtype not in (np.uint16, np.float32):
        raise ValueError(
            f"a depth image is (H, W) of uint16 mm or float32 m, not {image.shape} of {image.dtype}"
        )
    trunk = keypoints[:, TRUNK]
    seen = np.isfinite(trunk).all(axis=(1, 2))
    trunk = np.where(seen[:, None, None], trunk, 0.0)
    shoulders, hips = trunk[:, :2].mean(axis=1), trunk[:, 2:].mean(axis=1)
    middle = 0.5 * (shoulders + hips)
    radius = PATCH * np.linalg.norm(shoulders - hips, axis=-1)
    # One outlier decides a patch that is under three pixels wide.
    radius = np.maximum(radius, 1.0) if radius_px is None else np.full(len(trunk), radius_px)

    step = np.linspace(-1.0, 1.0, _SIDE)
    x = np.rint(middle[:, :1] + radius[:, None] * step)[:, None, :]
    y = np.rint(middle[:, 1:] + radius[:, None] * step)[:, :, None]
    inside = (x >= 0) & (x < image.shape[1]) & (y >= 0) & (y < image.shape[0])
    at = [np.where(inside, axis, 0).astype(np.intp) for axis in (y, x)]
    depth = image[at[0], at[1]].astype(np.float64).reshape(len(trunk), _SIDE**2)
    if image.dtype == np.uint16:
        depth *= 0.001
    valid = inside.reshape(depth.shape) & (depth >= NEAREST_M) & (depth <= FARTHEST_M)
    count = valid.sum(axis=-1)
    # Infinity sorts the holes behind the quantiles.
    ordered = np.sort(np.where(valid, depth, np.inf), axis=-1)
    low, median, high = (
        ordered[np.arange(len(ordered)), (share * (count - 1).clip(min=0)).astype(int)]
        for share in (0.25, 0.5, 0.75)
    )
    holes = count < MIN_VALID_SHARE * _SIDE**2
    spread = np.where(holes, 0.0, high) - np.where(holes, 0.0, low)
    reasons = np.select(
        [~seen, holes, spread > RELIEF_M + NOISE_SHARE * median],
        [Reason.DEPTH_TRUNK_MISSING, Reason.DEPTH_HOLES, Reason.DEPTH_SEVERAL_SURFACES],
        "",
    )
    return np.where(reasons == "", median, np.nan), reasons


def with_depth(
    root: np.ndarray,
    covariance: np.ndarray,
    joints: np.ndarray,
    depth: np.ndarray,
    stddev_m: np.ndarray | float = DEPTH_STDDEV_M,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fuse roots with the depth of the trunk's surface.

    Args:
        root: (P, 3) m, camera optical frame.
        covariance: (P, 3, 3) m^2.
        joints: (P, 17, 3) m, relative to the root, in that frame.
        depth: (P,) m, see `trunk_depth`; NaN where unknown.
        stddev_m: (P,) or a number, m: standard deviation of `depth` as the distance of the trunk,
            from sensor and body together.

    Returns:
        root, covariance, and (P,) str: the `Reason` why a depth was refused, empty where it was
        used or where there was none.
    """
    trunk = joints[:, TRUNK, 2].mean(axis=1)
    forward = np.array([0.0, 0.0, 1.0])
    value = depth + BEHIND_SURFACE_M - trunk
    root, covariance, taken = update_along(root, covariance, forward, value, np.square(stddev_m))
    refused = ~taken & np.isfinite(value) & np.isfinite(root).all(axis=-1)
    return root, covariance, np.where(refused, Reason.DEPTH_DISAGREES, "")
