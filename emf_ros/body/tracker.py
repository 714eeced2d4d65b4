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
from .face import Faces
from .gestures import GESTURES, HANDS_UP, POINT, STOP, Gestures, GestureTracker
from .head import heads, normal_below
from .orientation import OrientationTracker
from .pointing import Rays, rays
from .posture import POSTURES, PostureTracker
from .posture_features import PostureFeatures
from .rotations import along, cross, dot
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
    level_up,
    signed_angle,
)

_HEAD = NAMES.index("head")
_LYING = POSTURES.index("lying")
_WRISTS, _MEASURED = np.array(WRISTS), np.array([HEAD_TOP, *WRISTS])
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
        up = level_up() if up is None else np.asarray(up, dtype=np.float64)
        self._scene = Scene(Transform.identity(), up, camera_height_m)
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
        scene = frame.scene or self._scene
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
        joints = np.array([pose.joints for pose in people], dtype=np.float64)
        stddev = np.array([pose.stddev for pose in people], dtype=np.float64)
        root, velocity = np.array([(pose.root, pose.velocity) for pose in people]).swapaxes(0, 1)
        placed = np.array([pose.root_valid for pose in people])
        # The first poses of a track are guesses, and those of a coasting one are predictions.
        seen = np.array([pose.state == TrackState.TRACKED for pose in people])
        camera, height_m = scene.camera.translation, scene.camera_height_m
        # From here on the camera is at the origin.
        if np.count_nonzero(camera):
            root = root - camera
            joints -= np.where(placed[:, None, None], camera, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            front, over = facing(joints, stddev, up), heights(joints, up)
            moves = approach(root, velocity, up, scene.base - camera, scene.base_velocity)
            features = self._features.update(
                stamp_ns, ids, joints, over, up, front.direction, moves.speed
            )
            postures = self._postures.update(stamp_ns, ids, features, seen)
            lies = postures.index == _LYING
            direction = np.where(lies[:, None], np.nan, front.direction)
            to_camera = signed_angle(direction, -root, up)
            floor = height_over_floor(over, height_m, placed)
            distance = np.where(placed, np.sqrt(dot(root, root)), 0.0)
            told = np.isfinite(floor.take(_MEASURED, 1)).any(axis=1)
            spread = np.sqrt(HEIGHT_M**2 + (HEIGHT_SHARE * distance) ** 2)
            floor_stddev = np.where(told, spread, np.nan)
            raised = _raised(over, stddev)
            right = cross(front.direction, up)
            signs = self._gestures.update(
                stamp_ns, ids, joints, over, front.direction, right, placed, seen
            )
            faces = _faces(people, joints, placed, scene)
            turned = self._orientations.update(stamp_ns, ids, joints, stddev, faces)
            angles = joint_angles(joints, stddev, turned)
            head = np.where(placed[:, None], joints[:, HEAD_TOP], np.nan)
            look = heads(turned.rotation[:, _HEAD], turned.stddev_rad[:, _HEAD], head, up)
            pointing = None
            if np.count_nonzero(signs.active[:, POINT : STOP + 1]):
                pointing = rays(joints, stddev, up, height_m, placed)
        gestures = _gestures(signs, stamp_ns)
        aims: list[Pointing | None] = [None] * len(people)
        if pointing is not None:
            aims = [
                _aim(pointing, row, made, camera, bool(placed[row]))
                for row, made in enumerate(gestures)
            ]
        known = postures.index >= 0
        posture_s = np.where(known, (stamp_ns - postures.since_ns) / NANOSECONDS, np.nan)
        head_stddev = np.array([look.yaw_stddev_rad, look.pitch_stddev_rad]).T
        # In the order of the fields of `BodyState`.
        columns = (
            ids,
            direction,
            to_camera.tolist(),
            np.where(lies, np.nan, front.stddev_rad).tolist(),
            moves.velocity,
            moves.speed.tolist(),
            moves.time_s.tolist(),
            moves.distance_m.tolist(),
            [POSTURES[index] if index >= 0 else "" for index in postures.index.tolist()],
            postures.probability,
            posture_s.tolist(),
            postures.fallen.tolist(),
            floor[:, HEAD_TOP].tolist(),
            floor.take(_WRISTS, 1),
            floor_stddev.tolist(),
            raised,
            look.yaw_rad.tolist(),
            look.pitch_rad.tolist(),
            head_stddev,
            look.looking_at_camera.tolist(),
            gestures,
            signs.probability,
            aims,
            turned.quaternion,
            turned.stddev_rad,
            angles.angle_rad,
            angles.stddev_rad,
        )
        return [BodyState(*values) for values in zip(*columns, strict=True)]


def _faces(
    people: Sequence[Pose3D], joints: np.ndarray, placed: np.ndarray, scene: Scene
) -> Faces | None:
    """The faces of people with a known place; None where there are none.

    Args:
        people: the poses.
        joints: (P, 17, 3) m, with the camera at the origin.
        placed: (P,) whether the joints are in the camera's frame.
        scene: of the image.
    """
    points = np.array([pose.face for pose in people])
    known = placed & np.isfinite(points[:, 0, 0])
    if not np.count_nonzero(known):
        return None
    turn = scene.camera.rotation
    depth_m = np.where(known, along(joints[:, HEAD_TOP], turn[:, 2]), np.nan)
    trunk = joints[:, THORAX] - joints[:, 0]
    return Faces(points, depth_m, np.sqrt(dot(trunk, trunk)), turn)


def _raised(over: np.ndarray, stddev: np.ndarray) -> np.ndarray:
    """(P, 2) probability that a wrist is higher than the middle of the head."""
    head = 0.5 * (over[:, THORAX] + over[:, HEAD_TOP])
    square = stddev * stddev
    spread = np.sqrt(square.take(_WRISTS, 1) + square[:, HEAD_TOP, None])
    return normal_below((over.take(_WRISTS, 1) - head[:, None]) / (RAISED_FACTOR * spread))


def _gestures(signs: Gestures, stamp_ns: int) -> list[tuple[Gesture, ...]]:
    """The gestures of each person that go on."""
    out: list[tuple[Gesture, ...]] = [()] * len(signs.active)
    rows, numbers = (places.tolist() for places in signs.active.nonzero())
    for row, number in zip(rows, numbers, strict=True):
        arm = "both" if number == HANDS_UP else ("left", "right")[signs.arm[row, number]]
        since_s = (stamp_ns - int(signs.since_ns[row, number])) / NANOSECONDS
        shown = Gesture(GESTURES[number], arm, float(signs.probability[row, number]), since_s)
        out[row] += (shown,)
    return out


def _aim(
    pointing: Rays, row: int, gestures: tuple[Gesture, ...], camera: np.ndarray, placed: bool
) -> Pointing | None:
    """Where a person points, in the frame of the poses; None for a person who does not."""
    for gesture in gestures:
        if gesture.name in (GESTURES[POINT], GESTURES[STOP]):
            arm = int(gesture.arm == "right")
            return Pointing(
                pointing.origin[row] + (camera if placed else 0.0),
                pointing.direction[row, arm],
                float(pointing.stddev_rad[row, arm]),
                pointing.target[row, arm] + camera,
            )
    return None
