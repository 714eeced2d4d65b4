"""A robot that drives and turns its head, its transforms, and a person who stands in the room."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from bodies import Body

from emf_ros.body.rotations import quaternions
from emf_ros.geometry.transforms import Transform

#: Name of the camera's frame.
CAMERA = "camera_optical"
#: Height of the camera over the floor, m, and how far it looks down, rad.
HEIGHT_M, PITCH_RAD = 1.3, 0.15
#: Place of the pelvis of the person in the room, m; the robot starts at the origin and faces x.
PERSON = np.array([4.0, 0.5, 0.88])

#: Rotation from an optical frame to one with x forward and z up.
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def about(axis: str, angle: float) -> np.ndarray:
    """(3, 3) turn about x, y or z."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = np.eye(3)
    out[i, i] = out[j, j] = math.cos(angle)
    out[i, j], out[j, i] = -math.sin(angle), math.sin(angle)
    return out


@dataclass(frozen=True)
class Robot:
    """A robot in the room `odom`, by the time in s.

    Attributes:
        pan_rad: angle of the head over time.
        place_m: (x, y) of the base over time.
        yaw_rad: of the base over time.
    """

    pan_rad: Callable[[float], float] = lambda t: 0.0
    place_m: Callable[[float], tuple[float, float]] = lambda t: (0.0, 0.0)
    yaw_rad: Callable[[float], float] = lambda t: 0.0

    def transforms(self, t: float) -> Iterator[tuple[str, str, Transform]]:
        """(parent, child, transform) at a time."""
        yield (
            "odom",
            "base_footprint",
            Transform(about("z", self.yaw_rad(t)), np.array([*self.place_m(t), 0.0])),
        )
        yield (
            "base_footprint",
            "head",
            Transform(about("z", self.pan_rad(t)), np.array([0.1, 0.0, HEIGHT_M])),
        )

    def static(self) -> tuple[str, str, Transform]:
        return "head", CAMERA, Transform(about("y", PITCH_RAD) @ OPTICAL, np.zeros(3))

    def camera(self, t: float) -> Transform:
        """From the camera to the room at a time."""
        base, head = (transform for _, _, transform in self.transforms(t))
        return base @ head @ self.static()[2]


def numbers(transform: Transform) -> tuple[list[float], list[float]]:
    """Translation, and quaternion x, y, z, w."""
    return transform.translation.tolist(), quaternions(transform.rotation).tolist()


def standing(yaw_deg: float = 20.0) -> np.ndarray:
    """(17, 3) m in the room, of h36m17: a person stands and faces the start of the robot."""
    return Body().seen(yaw_deg) @ OPTICAL.T + PERSON


def seen(robot: Robot, t: float, person: np.ndarray) -> np.ndarray:
    """(17, 3) m, joints in the room as the camera sees them at a time."""
    return robot.camera(t).inverse().points(person)
