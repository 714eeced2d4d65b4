"""A body of known angles, for tests: joints of h36m17 in the camera's optical frame."""

from __future__ import annotations

import math

import numpy as np

from emf_ros.skeletons import H36M17

#: Standard deviation of each joint, m.
STDDEV_M = 0.02

#: Joints of a person who stands upright: forward, up and right of the pelvis, m.
STANDING = {
    "pelvis": (0.0, 0.0, 0.0),
    "right_hip": (0.0, 0.0, 0.1),
    "right_knee": (0.0, -0.4, 0.1),
    "right_ankle": (0.0, -0.8, 0.1),
    "left_hip": (0.0, 0.0, -0.1),
    "left_knee": (0.0, -0.4, -0.1),
    "left_ankle": (0.0, -0.8, -0.1),
    "spine": (0.0, 0.25, 0.0),
    "thorax": (0.0, 0.5, 0.0),
    "nose": (0.12, 0.65, 0.0),
    "head_top": (0.0, 0.8, 0.0),
    "left_shoulder": (0.0, 0.5, -0.18),
    "left_elbow": (0.0, 0.2, -0.18),
    "left_wrist": (0.0, -0.05, -0.18),
    "right_shoulder": (0.0, 0.5, 0.18),
    "right_elbow": (0.0, 0.2, 0.18),
    "right_wrist": (0.0, -0.05, 0.18),
}
#: Joints that move with a joint, by its name.
BELOW = {
    "hip": ("knee", "ankle"),
    "knee": ("ankle",),
    "shoulder": ("elbow", "wrist"),
    "elbow": ("wrist",),
}
ABOVE_PELVIS = tuple(j for j in H36M17.joints if not j.endswith(("pelvis", "hip", "knee", "ankle")))


def turn(axis: str, degrees: float) -> np.ndarray:
    """(3, 3) turn about the body's axis forward (x), up (y) or right (z)."""
    a = math.radians(degrees)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = np.eye(3)
    out[i, i] = out[j, j] = math.cos(a)
    out[i, j], out[j, i] = -math.sin(a), math.sin(a)
    return out


class Body:
    """A body that can be bent at its joints, from the outer joints inwards."""

    def __init__(self) -> None:
        self.points = np.array([STANDING[j] for j in H36M17.joints])

    def bend(self, joint: str, axis: str, degrees: float) -> Body:
        """Turn all that hangs on a joint about an axis of the standing body."""
        side, _, kind = joint.partition("_")
        moved = [f"{side}_{name}" for name in BELOW[kind]]
        return self._turn(joint, moved, axis, degrees)

    def bend_trunk(self, axis: str, degrees: float) -> Body:
        """Turn the trunk above the spine, with arms and head."""
        above = [j for j in ABOVE_PELVIS if j != "spine"]
        return self._turn("pelvis", above, axis, degrees)

    def _turn(self, at: str, moved: list[str], axis: str, degrees: float) -> Body:
        centre = self.points[H36M17.index(at)]
        rows = [H36M17.index(j) for j in moved]
        self.points[rows] = (self.points[rows] - centre) @ turn(axis, degrees).T + centre
        return self

    def seen(
        self, yaw_deg: float = 0.0, root: tuple[float, float, float] = (0, 0, 0)
    ) -> np.ndarray:
        """(17, 3) m in the optical frame; at a yaw of 0 the person faces the camera.

        A positive yaw turns the person to the own left, which is to the right in the image.
        """
        points = self.points @ turn("y", yaw_deg).T
        # Forward is towards the camera, up is -y, and the own right is the image's left.
        return np.stack([-points[:, 2], -points[:, 1], -points[:, 0]], axis=-1) + np.array(root)


def stddevs(people: int = 1) -> np.ndarray:
    """(P, 17) m."""
    return np.full((people, len(H36M17)), STDDEV_M)
