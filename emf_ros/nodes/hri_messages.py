"""People in the messages that REP-155 (ROS4HRI) names.

The classes of hri_msgs are arguments: the package is optional.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped, TransformStamped, TwistStamped, Vector3
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from ..body.chain import CHAIN
from ..body.rotations import matrices, quaternions
from ..body.state import BodyState, Gesture
from ..geometry.boxes import keypoint_boxes
from ..skeletons import HRI18, convert_keypoints, get_layout
from ..types import Frame2D, Pose3D
from .standard_messages import point_msg, quaternion_msg

#: Name of the constant of hri_msgs/BodyPosture by our posture; of all others it is OTHER. REP-155
#: does not tell people who walk from those who stand.
POSTURES = {
    "standing": "STANDING",
    "walking": "STANDING",
    "running": "STANDING",
    "sitting": "SITTING",
    "crouching": "CROUCHING",
    "lying": "LAYING",
}


def body_id(camera: str, track_id: int) -> str:
    """The id of a body, which can stand in the name of a topic: these do not begin with a digit."""
    prefix = f"{camera.replace('/', '_')}_" if camera else ""
    return f"{prefix}b{track_id}"


def shares_of_image(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Points in px as shares of the image, 0..1.

    The middle of the first pixel is at 0 px, and half a pixel from the image's edge.

    Args:
        points: (..., 2) px.
        size: (width, height) px.
    """
    return np.asarray((points + 0.5) / np.array(size))


def points_of(frame: Frame2D) -> np.ndarray:
    """(N, 18, 3) keypoints of the people in an image: shares of the image and score.

    A point that is missing or outside of the image is 0, with score 0.
    """
    keypoints = np.stack([person.keypoints for person in frame.people])
    points = convert_keypoints(keypoints, get_layout(frame.layout), HRI18)
    places = shares_of_image(points[..., :2], frame.image_size)
    inside = ((places >= 0) & (places <= 1)).all(axis=-1)
    scores = np.where(inside, np.clip(points[..., 2], 0.0, 1.0), 0.0)
    rows = np.concatenate([places, scores[..., None]], axis=-1)
    return np.where(np.greater(scores, 0.0)[..., None], rows, 0.0)


def rois_of(frame: Frame2D) -> np.ndarray:
    """(N, 5) left, top, right, bottom of the people in an image, shares of it, and score.

    The box is around the keypoints, and ends at the image's edge. NaN where no keypoint is in it.
    """
    corners = keypoint_boxes(np.stack([p.keypoints for p in frame.people]), 0.0).reshape(-1, 2, 2)
    corners = np.clip(shares_of_image(corners, frame.image_size), 0.0, 1.0)
    known = (corners[:, 0] < corners[:, 1]).all(axis=-1)
    scores = np.clip(np.nan_to_num([person.score for person in frame.people]), 0.0, 1.0)
    rows = np.concatenate([corners.reshape(-1, 4), scores[:, None]], axis=-1)
    return np.where(known[:, None], rows, np.nan)


def skeleton_2d_msg(types: Any, points: np.ndarray, header: Header) -> Any:
    """hri_msgs/Skeleton2D.

    Args:
        types: hri_msgs.msg.
        points: (18, 3), of one person of `points_of`.
        header: of the skeletons.
    """
    kind = types.NormalizedPointOfInterest2D
    skeleton = [kind(x=x, y=y, c=c) for x, y, c in points.tolist()]
    return types.Skeleton2D(header=header, skeleton=skeleton)


def roi_msg(types: Any, roi: np.ndarray, header: Header) -> Any:
    """hri_msgs/NormalizedRegionOfInterest2D.

    Args:
        types, header: as of `skeleton_2d_msg`.
        roi: (5,), of one person of `rois_of`; not NaN.
    """
    left, top, right, bottom, score = roi.tolist()
    return types.NormalizedRegionOfInterest2D(
        header=header, xmin=left, ymin=top, xmax=right, ymax=bottom, c=score
    )


def posture_msg(types: Any, state: BodyState, header: Header) -> Any:
    """hri_msgs/BodyPosture of a posture that is known."""
    kind = types.BodyPosture
    return kind(header=header, posture=getattr(kind, POSTURES.get(state.posture, "OTHER")))


def gesture_msg(types: Any, gesture: Gesture, header: Header) -> Any:
    """hri_msgs/Gesture. Those that REP-155 does not know are OTHER."""
    kind = types.Gesture
    name = {
        "wave": "WAVING",
        "hands_up": "BOTH_HANDS_RAISED",
        "raise_hand": f"{gesture.arm.upper()}_HAND_RAISED",
    }.get(gesture.name, "OTHER")
    return kind(header=header, gesture=getattr(kind, name))


def position_msg(person: Pose3D, header: Header) -> PointStamped:
    """The pelvis of a person whose place is known."""
    return PointStamped(header=header, point=point_msg(person.root))


def velocity_msg(person: Pose3D, header: Header) -> TwistStamped:
    """The velocity of the pelvis in the frame of the header. The turning is not known: NaN."""
    message = TwistStamped(header=header)
    x, y, z = person.velocity.tolist()
    nan = float("nan")
    message.twist.linear = Vector3(x=x, y=y, z=z)
    message.twist.angular = Vector3(x=nan, y=nan, z=nan)
    return message


def joint_states_msg(body: str, positions: np.ndarray, header: Header) -> JointState:
    """The known positions of the joints of the URDF.

    robot_state_publisher takes no NaN. So joints that are not known are left out.

    Args:
        body: id of the body.
        positions: (31,) in the order of `chain.CHAIN`.
        header: of the skeletons.
    """
    known = np.flatnonzero(np.isfinite(positions)).tolist()
    return JointState(
        header=header,
        name=[f"{CHAIN[joint]}_{body}" for joint in known],
        position=array("d", positions[known].tolist()),
    )


#: From the axes of ISB (x forward, y up, z right) to those of REP-103 (x forward, y left, z up).
_REP_103 = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def body_transform(body: str, person: Pose3D, state: BodyState, header: Header) -> Any:
    """The TF frame `body_ID`: the middle of the hips, x forward, z up along the trunk.

    Args:
        body: id of the body.
        person, state: of the person, whose place and pelvis are known.
        header: of the skeletons.
    """
    message = TransformStamped(header=header, child_frame_id=f"body_{body}")
    x, y, z = person.root.tolist()
    message.transform.translation = Vector3(x=x, y=y, z=z)
    turned = matrices(state.segment("pelvis")) @ _REP_103
    message.transform.rotation = quaternion_msg(quaternions(turned))
    return message
