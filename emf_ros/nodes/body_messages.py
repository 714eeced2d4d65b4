"""Messages of what is known of people: body_states, and the markers that show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from emf_ros_msgs.msg import BodyState as BodyStateMsg
from emf_ros_msgs.msg import BodyStateArray
from emf_ros_msgs.msg import Gesture as GestureMsg

from ..body.posture import POSTURES
from ..body.state import BodyState
from ..io.render.palette import rgb_of
from ..stamps import NANOSECONDS
from ..types import Pose3D
from .conversions import MARKER_LIFETIME

#: Ids of the markers in the namespace of a person, after those of joints and bones.
FACING, RAY, TEXT = 2, 3, 4

#: Length of the arrow that shows where a person faces, m.
ARROW_M = 0.5
#: Length of the ray of a person who points at no known floor, m.
RAY_M = 3.0
#: Height of the letters, m.
TEXT_M = 0.15
#: Height of the middle of the letters over the highest joint, m.
OVER_M = 0.25


def _duration(seconds: float) -> Duration:
    """A duration; 0 for unknown."""
    total = round(seconds * NANOSECONDS) if np.isfinite(seconds) else 0
    return Duration(sec=total // NANOSECONDS, nanosec=total % NANOSECONDS)


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = values.tolist()
    return Vector3(x=x, y=y, z=z)


def _point(values: np.ndarray) -> Point:
    x, y, z = values.tolist()
    return Point(x=x, y=y, z=z)


def body_states_msg(states: list[BodyState], header: Header) -> BodyStateArray:
    """A message of what is known of the people in one image."""
    return BodyStateArray(header=header, people=[_state_msg(state) for state in states])


def _state_msg(state: BodyState) -> BodyStateMsg:
    unknown = np.full(3, np.nan)
    aim = state.pointing
    posture = BodyStateMsg.UNKNOWN
    if state.posture:
        posture = POSTURES.index(state.posture)
    left_height, right_height = state.hand_height_m.tolist()
    left_raised, right_raised = state.hand_raised.tolist()
    yaw_stddev, pitch_stddev = state.head_stddev_rad.tolist()
    return BodyStateMsg(
        track_id=state.track_id,
        facing=_vector(state.facing),
        facing_camera=state.facing_camera_rad,
        facing_stddev=state.facing_stddev_rad,
        velocity=_vector(state.velocity),
        speed=state.speed,
        closest_time=state.closest_s,
        closest_distance=state.closest_m,
        posture=posture,
        posture_probability=state.posture_probability.astype(np.float32),
        posture_duration=_duration(state.posture_s),
        fallen=state.fallen,
        head_height=state.head_height_m,
        left_hand_height=left_height,
        right_hand_height=right_height,
        height_stddev=state.height_stddev_m,
        left_hand_raised=left_raised,
        right_hand_raised=right_raised,
        head_yaw=state.head_yaw_rad,
        head_pitch=state.head_pitch_rad,
        head_yaw_stddev=yaw_stddev,
        head_pitch_stddev=pitch_stddev,
        looking_at_camera=state.looking_at_camera,
        gestures=[
            GestureMsg(
                name=gesture.name,
                arm=gesture.arm,
                probability=gesture.probability,
                duration=_duration(gesture.duration_s),
            )
            for gesture in state.gestures
        ],
        gesture_probability=state.gesture_probability.astype(np.float32),
        pointing_origin=_point(unknown if aim is None else aim.origin),
        pointing_direction=_vector(unknown if aim is None else aim.direction),
        pointing_stddev=float("nan") if aim is None else aim.stddev_rad,
        pointing_target=_point(unknown if aim is None else aim.target),
        orientations=[Quaternion(x=x, y=y, z=z, w=w) for x, y, z, w in state.orientation.tolist()],
        orientation_stddev=state.orientation_stddev_rad.ravel().astype(np.float32),
        angles=state.angle_rad.astype(np.float32),
        angle_stddev=state.angle_stddev_rad.astype(np.float32),
    )


class BodyMarkers:
    """Markers that show what is known of people: an arrow where the trunk faces, the ray of an arm
    that points, and posture and gestures in words. Each is deleted once."""

    def __init__(self) -> None:
        # Person and marker's id.
        self._shown: set[tuple[int, int]] = set()

    def update(
        self,
        states: list[BodyState],
        people: Mapping[int, Pose3D],
        up: np.ndarray | None,
        header: Header,
    ) -> list[Marker]:
        """The markers of one image.

        Args:
            states: of the people.
            people: the poses by id; people without one, or without a root, are not shown.
            up: (3,) the vertical; None where there are no states.
            header: of the skeletons.
        """
        made = [
            marker
            for state in states
            if state.track_id in people and people[state.track_id].root_valid
            for marker in _markers(state, people[state.track_id], up, header)
        ]
        now = {(int(marker.ns.removeprefix("person_")), marker.id) for marker in made}
        gone = sorted(self._shown - now)
        self._shown = now
        return made + [
            Marker(header=header, ns=f"person_{person}", id=number, action=Marker.DELETE)
            for person, number in gone
        ]


def _markers(
    state: BodyState, person: Pose3D, up: np.ndarray | None, header: Header
) -> Iterator[Marker]:
    """The markers of one person that have something to show."""
    root = person.root
    red, green, blue = rgb_of(state.track_id)

    def marker(marker_id: int, kind: int) -> Marker:
        made = Marker(header=header, ns=f"person_{state.track_id}", id=marker_id, type=kind)
        made.action = Marker.ADD
        made.lifetime = MARKER_LIFETIME
        made.pose.orientation.w = 1.0
        made.color = ColorRGBA(r=red, g=green, b=blue, a=0.9)
        return made

    if np.isfinite(state.facing).all():
        arrow = marker(FACING, Marker.ARROW)
        arrow.points = [_point(root), _point(root + ARROW_M * state.facing)]
        arrow.scale = Vector3(x=0.04, y=0.1, z=0.12)
        yield arrow
    aim = state.pointing
    if aim is not None:
        ray = marker(RAY, Marker.ARROW)
        far = aim.origin + RAY_M * aim.direction
        ray.points = [_point(aim.origin), _point(aim.target if np.isfinite(aim.target[0]) else far)]
        ray.scale = Vector3(x=0.02, y=0.06, z=0.1)
        yield ray
    words = [state.posture] if state.posture else []
    words += ["fallen"] if state.fallen > 0.5 else []
    words += [gesture.name.replace("_", " ") for gesture in state.gestures]
    if words:
        text = marker(TEXT, Marker.TEXT_VIEW_FACING)
        text.text = ", ".join(words)
        text.pose.position = _point(root if up is None else root + _top_m(person, up) * up)
        text.scale.z = TEXT_M
        yield text


def _top_m(person: Pose3D, up: np.ndarray) -> float:
    """Height of the words over the pelvis, m: over the head, or over a hand that is raised."""
    return float(np.nanmax((person.joints - person.root) @ up, initial=0.0)) + OVER_M
