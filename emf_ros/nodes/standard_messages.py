"""People in messages of the common packages, for users who build no messages of ours."""

from __future__ import annotations

from array import array

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion
from sensor_msgs.msg import JointState, PointCloud2, PointField
from std_msgs.msg import Header

from ..body.angles import ANGLES
from ..body.rotations import cross, quaternions
from ..body.state import BodyState
from ..types import Pose3D, TrackState

#: One point of `joint_points`, without gaps.
_POINT = np.dtype(
    [
        *((name, "<f4") for name in ("x", "y", "z", "confidence", "stddev")),
        ("joint_id", "<u4"),
        ("track_id", "<u4"),
    ]
)
_FIELDS = [
    PointField(
        name=name,
        offset=4 * number,
        datatype=PointField.UINT32 if name.endswith("_id") else PointField.FLOAT32,
        count=1,
    )
    for number, name in enumerate(_POINT.names or ())
]


def placed(people: list[Pose3D]) -> list[Pose3D]:
    """The people whose place is known."""
    return [p for p in people if p.root_valid and p.state != TrackState.ENDED]


def poses_msg(
    people: list[Pose3D], states: list[BodyState], up: np.ndarray | None, header: Header
) -> PoseArray:
    """The roots of the people whose place is known, in the order of the skeletons.

    x points where the person faces, and z up. Tools refuse quaternions with NaN. So a person whose
    facing is not known has the identity, which turns nothing.

    Args:
        people: the poses.
        states: of the same people; may lack some.
        up: (3,) the floor's normal; None where it is not known.
        header: of the skeletons.
    """
    facing = {state.track_id: state.facing for state in states}
    unknown = np.full(3, np.nan)
    poses = [
        Pose(
            position=point_msg(person.root),
            orientation=_facing(facing.get(person.track_id, unknown), up),
        )
        for person in placed(people)
    ]
    return PoseArray(header=header, poses=poses)


def _facing(forward: np.ndarray, up: np.ndarray | None) -> Quaternion:
    if up is None or not np.isfinite(forward).all():
        return Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
    return quaternion_msg(quaternions(np.stack([forward, cross(up, forward), up], axis=-1)))


def quaternion_msg(quaternion: np.ndarray) -> Quaternion:
    """(4,) x, y, z, w."""
    x, y, z, w = quaternion.tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def point_msg(place: np.ndarray) -> Point:
    """(3,) m."""
    x, y, z = place.tolist()
    return Point(x=x, y=y, z=z)


def joint_points_msg(people: list[Pose3D], header: Header) -> PointCloud2:
    """The known joints of the people whose place is known, one point for each.

    Args:
        people: the poses.
        header: of the skeletons.
    """
    shown = placed(people)
    points = np.zeros(0, _POINT)
    if shown:
        joints = np.stack([person.joints for person in shown])
        person, joint = np.nonzero(np.isfinite(joints).all(axis=-1))
        points = np.zeros(len(person), _POINT)
        points["x"], points["y"], points["z"] = joints[person, joint].T
        points["confidence"] = np.stack([p.confidence for p in shown])[person, joint]
        points["stddev"] = np.stack([p.stddev for p in shown])[person, joint]
        points["joint_id"] = joint
        points["track_id"] = np.array([p.track_id for p in shown])[person]
    data = array("B")
    data.frombytes(points.tobytes())
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=_FIELDS,
        is_bigendian=False,
        point_step=_POINT.itemsize,
        row_step=points.nbytes,
        data=data,
        is_dense=True,
    )


def joint_angles_msg(states: list[BodyState], header: Header) -> JointState:
    """The known clinical angles of all people; `left_knee_flexion_12` is that of person 12.

    Tools refuse positions that are NaN. So an angle that is not known is left out.

    Args:
        states: of the people.
        header: of the skeletons.
    """
    names, positions = [], array("d")
    for state in states:
        for name, angle in zip(ANGLES, state.angle_rad.tolist(), strict=True):
            if angle == angle:
                names.append(f"{name}_{state.track_id}")
                positions.append(angle)
    return JointState(header=header, name=names, position=positions)
