"""What is known of one person, in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .angles import ANGLES
from .gestures import GESTURES
from .posture import POSTURES
from .segments import NAMES


@dataclass(frozen=True)
class Gesture:
    """A gesture that goes on.

    Attributes:
        name: one of `gestures.GESTURES`.
        arm: 'left', 'right' or 'both'.
        probability: share of such moments in which people show it, 0..1.
        duration_s: time since it began, s.
    """

    name: str
    arm: str
    probability: float
    duration_s: float


@dataclass(frozen=True)
class Pointing:
    """Where a person points; in the frame of the poses.

    Attributes:
        origin: (3,) m, the middle of the head.
        direction: (3,) of length 1.
        stddev_rad: half angle of the cone with 68 % of such rays, rad.
        target: (3,) m on the floor; NaN where the ray does not meet the known floor within 10 m.
    """

    origin: np.ndarray
    direction: np.ndarray
    stddev_rad: float
    target: np.ndarray


@dataclass
class BodyState:
    """What is known of one person. Unknown is NaN, an empty text or None.

    Vectors are in the frame of the poses. "The floor's plane" is that of the known floor. Where
    the floor is not known, the camera is taken to be level.

    Attributes:
        track_id: of the person.
        facing: (3,) of length 1 in the floor's plane, where the trunk faces; NaN for who lies.
        facing_camera_rad: turn from there to the camera, rad; 0 faces the camera, positive where
            the camera is to the person's left.
        facing_stddev_rad: of both, rad.
        velocity: (3,) m/s in the floor's plane, against the frame of the poses.
        speed: m/s.
        closest_s: time until the person is closest to the camera, or to the robot's base, at this
            velocity, s; NaN for a person who does not come closer or is slower than 0.3 m/s.
        closest_m: distance along the floor at that time, m; today's where `closest_s` is NaN.
        posture: one of `posture.POSTURES`, or empty.
        posture_probability: (8,) in the order of `posture.POSTURES`.
        posture_s: time since the posture began, s.
        fallen: probability that the person lies because of a fall.
        head_height_m, hand_height_m: of the head's top, and (2,) of the left and right wrist, over
            the floor.
        height_stddev_m: of these, m.
        hand_raised: (2,) probability that the left and the right wrist is higher than the middle of
            the head.
        head_yaw_rad, head_pitch_rad: turn of the head from the direction to the camera, positive to
            the person's left; and over the horizontal, positive up.
        head_stddev_rad: (2,) of yaw and pitch.
        looking_at_camera: probability that the head is turned to the camera.
        gestures: those that go on.
        gesture_probability: (5,) share of right ones, in the order of `gestures.GESTURES`.
        pointing: where the person points; None for a person who does not.
        orientation: (11, 4) quaternions x, y, z, w in the order of `segments.NAMES`.
        orientation_stddev_rad: (11, 3) about the segment's x, y and z; NaN for a continuation.
        angle_rad, angle_stddev_rad: (19,) in the order of `angles.ANGLES`.
    """

    track_id: int
    facing: np.ndarray
    facing_camera_rad: float
    facing_stddev_rad: float
    velocity: np.ndarray
    speed: float
    closest_s: float
    closest_m: float
    posture: str
    posture_probability: np.ndarray
    posture_s: float
    fallen: float
    head_height_m: float
    hand_height_m: np.ndarray
    height_stddev_m: float
    hand_raised: np.ndarray
    head_yaw_rad: float
    head_pitch_rad: float
    head_stddev_rad: np.ndarray
    looking_at_camera: float
    gestures: tuple[Gesture, ...]
    gesture_probability: np.ndarray
    pointing: Pointing | None
    orientation: np.ndarray
    orientation_stddev_rad: np.ndarray
    angle_rad: np.ndarray
    angle_stddev_rad: np.ndarray

    def angle(self, name: str) -> float:
        """One of the joints' angles by its name, such as "left_knee_flexion", rad.

        Raises:
            ValueError: there is no angle of that name.
        """
        if name not in ANGLES:
            raise ValueError(f"there is no angle {name!r}; there are: {', '.join(ANGLES)}")
        return float(self.angle_rad[ANGLES.index(name)])

    def probability(self, name: str) -> float:
        """The probability of a posture or a gesture by its name.

        Raises:
            ValueError: there is none of that name.
        """
        if name in POSTURES:
            return float(self.posture_probability[POSTURES.index(name)])
        if name in GESTURES:
            return float(self.gesture_probability[GESTURES.index(name)])
        known = ", ".join((*POSTURES, *GESTURES))
        raise ValueError(f"there is no posture or gesture {name!r}; there are: {known}")

    def segment(self, name: str) -> np.ndarray:
        """(4,) quaternion x, y, z, w of a segment by its name, such as "left_forearm".

        Raises:
            ValueError: there is no segment of that name.
        """
        if name not in NAMES:
            raise ValueError(f"there is no segment {name!r}; there are: {', '.join(NAMES)}")
        return np.asarray(self.orientation[NAMES.index(name)])
