"""From the poses of people to what a robot wants to know of them, image by image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..geometry.transforms import Transform
from ..stamps import NANOSECONDS
from ..types import Frame3D, Pose3D, Scene, TrackState
from .angles import joint_angles
from .gestures import GESTURES, HANDS_UP, POINT, STOP, Gestures, GestureTracker
from .head import heads, normal_below
from .orientation import OrientationTracker
from .pointing import rays
from .posture import POSTURES, PostureTracker
from .posture_features import PostureFeatures
from .rotations import cross, dot, unit
from .segments import NAMES
from .state import BodyState, Gesture, Pointing
from .upright import (
    HEAD_TOP,
    THORAX,
    WRISTS,
    approach,
    facing,
    height_over_floor,
    heights,
    in_plane,
    level_up,
    signed_angle,
)

_HEAD = NAMES.index("head")
_LYING = POSTURES.index("lying")
#: Standard deviation of a height, as a share of the distance: the distance is not well known.
HEIGHT_SHARE = 0.012
#: Standard deviation of a height besides that, m.
HEIGHT_M = 0.03
#: Factor on the joints' standard deviations that tells whether a hand is raised.
RAISED_FACTOR = 0.8


class Floor(Protocol):
    """A level floor as a camera sees it: its normal, and the camera's height over it, m."""

    @property
    def up(self) -> np.ndarray: ...

    @property
    def height_m(self) -> float: ...


class BodyTracker:
    """The states of one camera's people. Call it with each frame of poses, in their order.

    The arguments are for frames without a scene.

    Args:
        up: (3,) the floor's normal in the camera's optical frame, as `lift.ground.GroundPlane.up`
            gives it; None where it is not known: the camera is then taken to be level.
        camera_height_m: of the camera over the floor; NaN where it is not known.
    """

    def __init__(self, up: np.ndarray | None = None, camera_height_m: float = math.nan) -> None:
        self.up = level_up() if up is None else np.asarray(up, dtype=np.float64)
        self.camera_height_m = camera_height_m
        self._features = PostureFeatures()
        self._postures = PostureTracker()
        self._gestures = GestureTracker()
        self._orientations = OrientationTracker()

    @classmethod
    def on(cls, floor: Floor | None) -> BodyTracker:
        """A tracker of people on a floor, `lift.ground.GroundPlane`; None where it is not known."""
        return cls() if floor is None else cls(floor.up, floor.height_m)

    def update(self, frame: Frame3D) -> list[BodyState]:
        """The states of the people in a frame, but those whose tracks have ended.

        Camera and floor are those of `frame.scene`, where it has one. No states where it does not
        know the vertical.
        """
        people = [pose for pose in frame.people if pose.state != TrackState.ENDED]
        scene = frame.scene or Scene(Transform.identity(), self.up, self.camera_height_m)
        if not people or scene.up is None:
            return []
        return self._states(
            frame.stamp_ns, [pose.track_id for pose in people], people, scene, scene.up
        )

    def _states(
        self,
        stamp_ns: int,
        ids: Sequence[int],
        people: Sequence[Pose3D],
        scene: Scene,
        up: np.ndarray,
    ) -> list[BodyState]:
        joints = np.stack([pose.joints for pose in people]).astype(np.float64)
        stddev = np.stack([pose.stddev for pose in people]).astype(np.float64)
        root = np.stack([pose.root for pose in people])
        velocity = np.stack([pose.velocity for pose in people])
        placed = np.array([pose.root_valid for pose in people])
        # The first poses of a track are guesses, and those of a coasting one are predictions.
        seen = np.array([pose.state == TrackState.TRACKED for pose in people])
        count, camera = len(people), scene.camera.translation
        # From here on the camera is at the origin.
        root = root - camera
        joints = np.where(placed[:, None, None], joints - camera, joints)
        height_m = scene.camera_height_m
        with np.errstate(invalid="ignore", divide="ignore"):
            front = facing(joints, stddev, up)
            moves = approach(root, velocity, up, scene.base - camera, scene.base_velocity)
            features = self._features.update(
                stamp_ns, ids, joints, up, front.direction, moves.speed
            )
            postures = self._postures.update(stamp_ns, ids, features, seen)
            lies = postures.index == _LYING
            direction = np.where(lies[:, None], np.nan, front.direction)
            to_camera = signed_angle(direction, unit(in_plane(-root, up)), up)
            over = height_over_floor(joints, up, height_m, placed)
            distance = np.where(placed, np.sqrt(dot(root, root)), 0.0)
            told = np.isfinite(over[:, [HEAD_TOP, *WRISTS]]).any(axis=1)
            over_stddev = np.where(told, np.hypot(HEIGHT_M, HEIGHT_SHARE * distance), np.nan)
            raised = self._raised(heights(joints, up), stddev)
            right = cross(front.direction, np.broadcast_to(up, (count, 3)))
            signs = self._gestures.update(stamp_ns, ids, joints, up, right, placed, seen)
            pointing = rays(joints, stddev, up, height_m, placed)
            turned = self._orientations.update(stamp_ns, ids, joints, stddev)
            angles = joint_angles(joints, stddev, turned)
            head = np.where(placed[:, None], joints[:, HEAD_TOP], np.nan)
            look = heads(turned.rotation[:, _HEAD], turned.stddev_rad[:, _HEAD], head, up)
        out = []
        for row, track_id in enumerate(ids):
            index = int(postures.index[row])
            found = self._found(signs, row, stamp_ns)
            aims = [g for g in found if g.name == GESTURES[POINT] or g.name == GESTURES[STOP]]
            aim = None
            if aims:
                arm = int(aims[0].arm == "right")
                aim = Pointing(
                    pointing.origin[row] + (camera if placed[row] else 0.0),
                    pointing.direction[row, arm],
                    float(pointing.stddev_rad[row, arm]),
                    pointing.target[row, arm] + camera,
                )
            out.append(
                BodyState(
                    track_id,
                    direction[row],
                    float(to_camera[row]),
                    float(front.stddev_rad[row]) if not lies[row] else math.nan,
                    moves.velocity[row],
                    float(moves.speed[row]),
                    float(moves.time_s[row]),
                    float(moves.distance_m[row]),
                    POSTURES[index] if index >= 0 else "",
                    postures.probability[row],
                    (stamp_ns - int(postures.since_ns[row])) / NANOSECONDS
                    if index >= 0
                    else math.nan,
                    float(postures.fallen[row]),
                    float(over[row, HEAD_TOP]),
                    over[row, WRISTS],
                    float(over_stddev[row]),
                    raised[row],
                    float(look.yaw_rad[row]),
                    float(look.pitch_rad[row]),
                    np.array([look.yaw_stddev_rad[row], look.pitch_stddev_rad[row]]),
                    float(look.looking_at_camera[row]),
                    found,
                    signs.probability[row],
                    aim,
                    turned.quaternion[row],
                    turned.stddev_rad[row],
                    angles.angle_rad[row],
                    angles.stddev_rad[row],
                )
            )
        return out

    def _raised(self, over: np.ndarray, stddev: np.ndarray) -> np.ndarray:
        """(P, 2) probability that a wrist is higher than the middle of the head."""
        head = 0.5 * (over[:, THORAX] + over[:, HEAD_TOP])
        spread = np.sqrt(stddev[:, WRISTS] ** 2 + stddev[:, [HEAD_TOP]] ** 2)
        return normal_below((over[:, WRISTS] - head[:, None]) / (RAISED_FACTOR * spread))

    def _found(self, signs: Gestures, row: int, stamp_ns: int) -> tuple[Gesture, ...]:
        """The gestures of a person that go on."""
        out = []
        for number in np.flatnonzero(signs.active[row]).tolist():
            arm = "both"
            if number != HANDS_UP:
                arm = ("left", "right")[int(signs.arm[row, number])]
            out.append(
                Gesture(
                    GESTURES[number],
                    arm,
                    float(signs.probability[row, number]),
                    (stamp_ns - int(signs.since_ns[row, number])) / NANOSECONDS,
                )
            )
        return tuple(out)
