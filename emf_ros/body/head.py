"""Where a head is turned, and whether to the camera.

The head's direction is that of the nose, square to the line from the neck to the top of the head.
Eyes are not seen: a person may look aside without turning the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .rotations import along, clipped, dot
from .upright import in_plane, signed_angle

#: Pitch of that direction in people who look straight ahead, rad: the mean of the motion capture.
#: Between its sources it differs by 10 degrees.
NEUTRAL_PITCH_RAD = math.radians(-6.0)
#: Angle up to which a head that is turned to the camera looks at it, rad.
LOOKING_RAD = math.radians(20.0)


@dataclass
class Heads:
    """Directions of heads. Unknown is NaN.

    Attributes:
        yaw_rad: (P,) about the vertical, from the direction to the camera; positive to the person's
            left.
        pitch_rad: (P,) over the horizontal; positive up.
        yaw_stddev_rad, pitch_stddev_rad: (P,).
        looking_at_camera: (P,) probability that the head is turned to the camera.
    """

    yaw_rad: np.ndarray
    pitch_rad: np.ndarray
    yaw_stddev_rad: np.ndarray
    pitch_stddev_rad: np.ndarray
    looking_at_camera: np.ndarray


def normal_below(z: np.ndarray) -> np.ndarray:
    """The share of a normal distribution below z standard deviations, within 0.01."""
    return np.asarray(1.0 / (1.0 + np.exp(clipped(-1.702 * z, -500.0, 500.0))))


def heads(
    rotation: np.ndarray, stddev_rad: np.ndarray, position: np.ndarray, up: np.ndarray
) -> Heads:
    """Directions of heads.

    Args:
        rotation: (P, 3, 3) of the head, see `segments`.
        stddev_rad: (P, 3) rad, about its x, y and z.
        position: (P, 3) m of the head in the camera's frame; NaN where it is not known.
        up: the vertical.
    """
    forward, to_camera = rotation[..., 0], -position
    sines = np.array([along(forward, up), along(to_camera, up) / np.sqrt(dot(position, position))])
    rise, wanted = np.arcsin(clipped(sines, -1.0, 1.0))
    yaw = signed_angle(in_plane(to_camera, up), forward, up)
    pitch = rise - NEUTRAL_PITCH_RAD
    level = np.maximum(np.cos(rise), 0.2)
    # A turn about the neck is a yaw as long as the neck stands.
    stddevs = np.array([stddev_rad[:, 1] / level, stddev_rad[:, 2]])
    off = np.array([yaw, pitch - wanted])
    below = normal_below(np.array([LOOKING_RAD - off, -LOOKING_RAD - off]) / stddevs)
    inside = below[0] - below[1]
    values = np.array([yaw, pitch, stddevs[0], stddevs[1], inside[0] * inside[1]])
    known = np.isfinite(stddevs[0] + stddevs[1] + rise)
    return Heads(*np.where(known, values, np.nan))
