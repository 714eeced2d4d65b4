"""The distance from the floor: who stands on it is where the ray to his foot meets it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..reasons import Reason
from ..skeletons import H36M17
from .root import KEYPOINT_ERROR, MAX_DISTANCE_M, update_along

_ANKLES = np.array([H36M17.index("left_ankle"), H36M17.index("right_ankle")])

#: The lower ankle's height over the floor, m: 0.039 of the body's (Drillis & Contini 1966, in
#: Winter, Biomechanics and Motor Control of Human Movement, figure 4.1), and a sole; and its stddev
#: in people who walk. It is one of several centimetres in motion capture, too.
ANKLE_HEIGHT_M, ANKLE_STDDEV_M = 0.08, 0.03

#: How far off, m, the model's ankle may be along the ray.
POSE_STDDEV_M = 0.05

#: Why the floor was not used.


@dataclass(frozen=True)
class GroundPlane:
    """A level floor as the camera sees it.

    Attributes:
        height_m: of the camera over the floor.
        pitch_rad: of the optical axis below the horizon.
        roll_rad: about the optical axis; positive where the camera's right side is down.
        height_stddev_m, angle_stddev_rad: of the height, and of the pitch and a floor's slope.

    Raises:
        ValueError: at construction: the camera is no higher than an ankle, or an angle or a stddev
            makes no sense.
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
            raise ValueError("a stddev must not be negative")

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
    """Fuse roots with the distance at which the lower ankle is over the floor by an ankle's height.

    The foot is where its ray meets that plane, whatever the skeleton's size; the root is measured
    from it along the root's own ray. Of a ray that falls by the angle b, the foot is at
    D = h / sin(b), h being the camera's height over the ankle's, so that an error of the height
    makes one of D/h, and one of the angle one of D^2 cos(b) / h: with the square of the distance.
    A foot in the air seems further off than it is; only the solved distance can contradict it.

    Args:
        root: (P, 3) m, camera optical frame.
        covariance: (P, 3, 3) m^2.
        joints: (P, 17, 3) m, relative to the root, in that frame.
        rays: (P, 17, 2); what stands at score 0 is ignored.
        scores: (P, 17) 0..1.
        ground: the floor.
        min_score: an ankle below it is not seen.

    Returns:
        root, covariance, and (P,) str: why the floor was not used, empty where it was and where
        there was no root.
    """
    up = ground.up
    people = np.arange(len(root))
    ankles = joints[:, _ANKLES]
    # A NaN of either is the lowest, and then not seen.
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
    # The keypoint's own error turns the ray, too.
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
