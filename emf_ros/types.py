"""The types that the rooms hand each other: people in 2D, and the same people in 3D.

Units are px, m, s and ns. Points in 3D are in the camera's optical frame: x right, y down, z
forward. Where a lifter has a target frame, they are in that frame. Unknown is NaN.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

import numpy as np

from .geometry.boxes import keypoint_boxes
from .geometry.transforms import Transform
from .skeletons import H36M17
from .stamps import StampVerdict

#: The track id of people that nothing has tracked yet. The lifter then tracks them.
UNTRACKED = -1


class TrackState(enum.IntEnum):
    """How a track stands; the values are those of emf_ros_msgs/Skeleton3D.

    WARMING_UP: seen in fewer than five images. TRACKED: seen in the described image.
    COASTING: not seen; the joints are a prediction. ENDED: deleted; given once, without a pose.
    """

    WARMING_UP = 0
    TRACKED = 1
    COASTING = 2
    ENDED = 3


@dataclass
class Pose2D:
    """One person's keypoints in one image.

    Attributes:
        keypoints: (K, 3) px, px, score 0..1. A missing keypoint is NaN with score 0.
        score: of the person, 0..1.
        track_id: the person's number from image to image; `UNTRACKED` before the tracking.
        world: (K, 3) m, the detector's own 3D points, relative to the middle of the hips, axes as
            the camera's optical frame. None where the detector has none, or was not asked for them.
            Only evaluations use it.
    """

    keypoints: np.ndarray
    score: float = 1.0
    track_id: int = UNTRACKED
    world: np.ndarray | None = None

    def box(self, min_score: float = 0.0) -> np.ndarray:
        """(4,) x, y, width, height, px, around the keypoints of this score; NaN for none."""
        low_high = keypoint_boxes(self.keypoints[None], min_score)[0]
        return np.concatenate([low_high[:2], low_high[2:] - low_high[:2]])


@dataclass
class Frame2D:
    """The people in one image.

    Attributes:
        stamp_ns: of the image, ns.
        frame_id: name of the camera's optical frame.
        layout: name of the keypoints' layout, see `skeletons.LAYOUTS`.
        image_size: (width, height) px.
        people: may be empty.
        detect_ms: time that the detection took, ms; NaN where it is not known.
        stamp_verdict: of the `StampFilter` that the image has passed; None where its stamp has not
            been judged yet.
    """

    stamp_ns: int
    frame_id: str
    layout: str
    image_size: tuple[int, int]
    people: list[Pose2D]
    detect_ms: float = math.nan
    stamp_verdict: StampVerdict | None = None


@dataclass
class Pose3D:
    """One person's pose, in the layout `skeletons.H36M17`.

    Attributes:
        track_id: as it came in.
        state: what is known about the person.
        score: of the person, 0..1.
        joints: (17, 3) m; relative to the pelvis where `root_valid` is false; NaN where unknown.
        confidence: (17,) 0..1, the keypoints' scores; 0 for unknown.
        stddev: (17,) m, standard deviation of each joint along each axis.
        root: (3,) m, the pelvis; NaN where unknown.
        root_valid: whether the root is known.
        root_covariance: (3, 3) m^2.
        velocity: (3,) m/s of the root; NaN where unknown.
        last_root: (3,) m, the last known root: `root` while it is known, else where the person was
            last seen; NaN before the first, and of an ended track.
        last_root_covariance: (3, 3) m^2, of the root about `last_root`. It grows while the root is
            not known, see `lift.last_place`.
        face: (3, 3) of nose, left ear and right ear in the described image: x / z and y / z in the
            camera's optical frame, and score; NaN where the image or the layout does not have it.
    """

    track_id: int
    state: TrackState
    score: float
    joints: np.ndarray
    confidence: np.ndarray
    stddev: np.ndarray
    root: np.ndarray
    root_valid: bool
    root_covariance: np.ndarray
    velocity: np.ndarray
    last_root: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    last_root_covariance: np.ndarray = field(default_factory=lambda: np.full((3, 3), np.nan))
    face: np.ndarray = field(default_factory=lambda: np.full((3, 3), np.nan))

    @classmethod
    def unknown(cls, track_id: int, state: TrackState) -> Pose3D:
        """A person of whom nothing but the state is known."""
        count = len(H36M17)
        return cls(
            track_id,
            state,
            0.0,
            np.full((count, 3), np.nan),
            np.zeros(count),
            np.full(count, np.nan),
            np.full(3, np.nan),
            False,
            np.full((3, 3), np.nan),
            np.full(3, np.nan),
        )


@dataclass(frozen=True)
class Scene:
    """The camera, the floor and the robot, in the frame of the poses of one image.

    Attributes:
        camera: from the camera's optical frame to the frame of the poses.
        up: (3,) the floor's normal; that of a level camera where the floor is not known. None where
            the floor should be known and is not: nothing is then said about the vertical.
        camera_height_m: of the camera over the floor; NaN where it is not known.
        base: (3,) m, the place that people come close to: the camera's, or that of the robot's
            base; NaN where it is not known.
        base_velocity: (3,) m/s.
    """

    camera: Transform
    up: np.ndarray | None
    camera_height_m: float
    base: np.ndarray = field(default_factory=lambda: np.zeros(3))
    base_velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))


@dataclass
class Frame3D:
    """The poses of the people in one image.

    Attributes:
        stamp_ns: of the image that the poses describe, ns.
        lag_ns: how much older that image is than the newest one, ns.
        people: the poses; ENDED ones carry no pose.
        lift_ms: time that the lifting took, ms; NaN where nothing was lifted.
        scene: camera, floor and robot; None where nothing was lifted.
    """

    stamp_ns: int
    lag_ns: int
    people: list[Pose3D]
    lift_ms: float
    scene: Scene | None = None
