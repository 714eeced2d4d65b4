"""The distance of people from a known floor: the ray to a foot meets the floor at the person."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..reasons import Reason
from ..skeletons import H36M17
from .root import KEYPOINT_ERROR, MAX_DISTANCE_M, update_along

_ANKLES = np.array([H36M17.index("left_ankle"), H36M17.index("right_ankle")])

#: Height of the lower ankle over the floor, m: 0.039 of the body's height (Drillis & Contini 1966,
#: in Winter, Biomechanics and Motor Control of Human Movement, figure 4.1), and a sole.
ANKLE_HEIGHT_M = 0.08
#: Standard deviation of that height in people who walk, m. In motion capture it is the same.
ANKLE_STDDEV_M = 0.03

#: Standard deviation of the model's ankle along the ray, m.
POSE_STDDEV_M = 0.05

#: Why the floor was not used.


@dataclass(frozen=True)
class GroundPlane:
    """A level floor as the camera sees it.

    Attributes:
        height_m: height of the camera over the floor, m.
        pitch_rad: angle of the optical axis below the horizon, rad.
        roll_rad: angle about the optical axis, rad; positive where the camera's right side is down.
        height_stddev_m: standard deviation of the height, m.
        angle_stddev_rad: standard deviation of the pitch and of the floor's slope, rad.

    Raises:
        ValueError: at construction: the camera is no higher than an ankle, an angle is out of its
            range, or a standard deviation is negative.
    """

    height_m: float
    pitch_rad: float
    roll_rad: float = 0.0
    height_stddev_m: float = 0.02
    angle_stddev_rad: float = math.radians(1.0)

    def __post_init__(self) -> None:
        if not ANKLE_HEIGHT_M < self.height_m < math.inf:
            raise ValueError(
                f"the camera must be over {ANKLE_HEIGHT_M} m above the floor, is {self.height_m}"
            )
        if not (abs(self.pitch_rad) <= math.pi / 2 and abs(self.roll_rad) <= math.pi):
            raise ValueError(
                f"a pitch of {self.pitch_rad} rad, a roll of {self.roll_rad} rad: pitch must be "
                "within half a turn, roll within a whole one"
            )
        if not (self.height_stddev_m >= 0 and self.angle_stddev_rad >= 0):
            raise ValueError("a standard deviation must not be negative")

    @classmethod
    def of_normal(cls, height_m: float, up: np.ndarray) -> GroundPlane:
        """The floor of a height and a normal (3,) of length 1, in the camera's optical frame.

        Raises:
            ValueError: as at construction.
        """
        x, y, z = up.tolist()
        return cls(height_m, math.asin(max(-1.0, min(-z, 1.0))), math.atan2(-x, -y))

    @property
    def up(self) -> np.ndarray:
        """(3,) the unit vector up from the floor, in the camera's optical frame."""
        level = math.cos(self.pitch_rad)
        return np.array(
            [
                -math.sin(self.roll_rad) * level,
                -math.cos(self.roll_rad) * level,
                -math.sin(self.pitch_rad),
            ]
        )


def on_ground(
    root: np.ndarray,
    covariance: np.ndarray,
    joints: np.ndarray,
    rays: np.ndarray,
    scores: np.ndarray,
    ground: GroundPlane,
    min_score: float = 0.2,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fuse roots with the distance at which the lower ankle has its height over the floor.

    The ankle is where its ray meets the plane of that height, whatever the size of the skeleton.
    The root is measured from the ankle, along the root's own ray. On a ray that falls by the angle
    b the ankle is at D = h / sin(b), where h is the height of the camera over the plane. An error
    of the height is multiplied by D/h. An error of the angle is multiplied by D^2 cos(b) / h, so it
    grows with the square of the distance. A foot in the air seems too far away; only the solved
    distance can contradict it.

    Args:
        root: (P, 3) m, camera optical frame.
        covariance: (P, 3, 3) m^2.
        joints: (P, 17, 3) m, relative to the root, in that frame.
        rays: (P, 17, 2) on the plane z = 1; ignored where the score is 0.
        scores: (P, 17) 0..1.
        ground: the floor.
        min_score: minimum score of an ankle that is seen, 0..1.

    Returns:
        root, covariance, and (P,) str: the `Reason` why the floor was not used, empty where it was
        used or where there was no root.
    """
    up = ground.up
    people = np.arange(len(root))
    ankles = joints[:, _ANKLES]
    # An ankle that is NaN counts as the lower one, and is then not seen.
    lower = _ANKLES[np.argmin(ankles @ up, axis=1)]
    ankle = joints[people, lower]
    ray = np.concatenate([rays[people, lower], np.ones((len(root), 1))], axis=-1)
    seen = scores[people, lower] >= min_score
    seen &= np.isfinite(ankle).all(axis=-1) & np.isfinite(ray).all(axis=-1)

    ray = np.where(seen[:, None], ray, 1.0)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    falls = -(ray @ up)
    height = ground.height_m - ANKLE_HEIGHT_M
    below = falls * MAX_DISTANCE_M > height
    distance = height / np.where(below, falls, 1.0)
    level = distance * np.sqrt(np.maximum(1.0 - falls**2, 0.0))
    # The error of the keypoint turns the ray, too.
    angle2 = ground.angle_stddev_rad**2 + (1.5 * KEYPOINT_ERROR / distance) ** 2
    height2 = ground.height_stddev_m**2 + ANKLE_STDDEV_M**2
    variance = (distance / height) ** 2 * (height2 + level**2 * angle2) + POSE_STDDEV_M**2

    known = np.isfinite(root).all(axis=-1)
    along = root / np.linalg.norm(root, axis=-1, keepdims=True)
    value = np.einsum("pi,pi->p", along, distance[:, None] * ray - ankle)
    value = np.where(seen & below, value, np.nan)
    root, covariance, taken = update_along(root, covariance, along, value, variance)
    reasons = np.select(
        [~known | taken, ~seen, ~below],
        ["", Reason.GROUND_ANKLES_MISSING, Reason.GROUND_ABOVE_HORIZON],
        Reason.GROUND_DISAGREES,
    )
    return root, covariance, reasons
