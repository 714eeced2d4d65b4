"""Where a stretched arm points: a ray from the head through the wrist, and the floor under it.

People who point bring the hand into the line from the eye to the target (Mayer et al. 2015, CHI).
So the ray starts at the middle of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rotations import along, dot, unit
from .upright import HEAD_TOP, THORAX, WRISTS

#: Maximum distance of a target on the floor from the person, m.
MAX_TARGET_M = 10.0
#: Standard deviation of a ray that comes from people and not from joints, rad: they aim that well.
AIM_RAD = 0.1


@dataclass
class Rays:
    """Rays of both arms, (P, 2, ...), the left one first. Unknown is NaN.

    Attributes:
        origin: (P, 3) m, the middle of the head.
        direction: (P, 2, 3) of length 1.
        stddev_rad: (P, 2) of the direction: the half angle of the cone with 68 % of the rays.
        target: (P, 2, 3) m on the floor; NaN where the ray does not meet the known floor.
    """

    origin: np.ndarray
    direction: np.ndarray
    stddev_rad: np.ndarray
    target: np.ndarray


def rays(
    joints: np.ndarray,
    stddev: np.ndarray,
    up: np.ndarray,
    camera_height_m: float | np.ndarray,
    placed: np.ndarray,
) -> Rays:
    """Rays of both arms, whether or not they point.

    Args:
        joints: (P, 17, 3) m.
        stddev: (P, 17) m along each axis.
        up: the vertical.
        camera_height_m: of the camera over the floor; NaN where it is not known.
        placed: (P,) whether the joints are in the camera's frame.
    """
    origin = 0.5 * (joints[:, THORAX] + joints[:, HEAD_TOP])
    line = joints[:, WRISTS] - origin[:, None]
    length = np.sqrt(dot(line, line))
    direction = unit(line)
    joint_m = np.sqrt(stddev[:, WRISTS] ** 2 + stddev[:, [HEAD_TOP]] ** 2)
    spread = np.sqrt((joint_m / length) ** 2 + AIM_RAD**2)
    over = along(origin, up) + camera_height_m
    falls = -along(direction, up)
    reach = over[:, None] / np.where(falls > 0, falls, np.nan)
    meets = placed[:, None] & (reach > 0) & (reach < MAX_TARGET_M)
    target = origin[:, None] + np.where(meets, reach, np.nan)[..., None] * direction
    return Rays(origin, direction, spread, target)
