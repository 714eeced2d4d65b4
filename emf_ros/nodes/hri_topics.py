"""The topics of REP-155 (ROS4HRI) of one camera: `humans/bodies/tracked` and a tree for each body.

A body has topics while its track lives, also while it coasts. Then they end. Each is computed while
it has a subscriber.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any, NamedTuple

import numpy as np
from geometry_msgs.msg import PointStamped, TwistStamped
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String

from ..body.chain import LENGTHS, chain_positions, completed, lengths_of
from ..body.state import BodyState
from ..body.urdf import urdf_of
from ..lift.feed import topic_of
from ..types import Frame2D, Frame3D, Pose2D, Pose3D, TrackState
from . import hri_messages
from .life_cycle import ManagedNode, NodeError
from .qos import LATCHED_QOS, RELIABLE_QOS

#: Maximum number of images whose keypoints wait for their poses: four seconds of 60 Hz.
MAX_IMAGES = 240
#: Number of images that the lengths of a body are the mean of; older ones fade.
LENGTH_IMAGES = 100
#: Difference of a length from that in the URDF, m, from which a new URDF is published.
NEW_URDF_M = 0.01

_TRUNK = LENGTHS.index("trunk")


def _package(name: str) -> Any:
    """The messages of a package.

    Raises:
        NodeError: it is not installed.
    """
    try:
        return importlib.import_module(f"{name}.msg")
    except ImportError as error:
        debian = name.replace("_", "-")
        raise NodeError(
            f"hri needs the package {name}, which is not installed ({error}): sudo apt install "
            f"ros-$ROS_DISTRO-{debian}, or set hri to false"
        ) from None


class _Seen(NamedTuple):
    """One person in one image.

    Attributes:
        person: the pose.
        state: None where it is not known or not computed.
        frame, keypoints: the image and the person's keypoints in it; None where it was not seen.
        header: of the skeletons.
    """

    person: Pose3D
    state: BodyState | None
    frame: Frame2D | None
    keypoints: Pose2D | None
    header: Header


class _Body:
    """The topics of one body.

    Args:
        node: publishes.
        types: hri_msgs.msg.
        folder: name in front of the topics.
        name: id of the body.
        qos: of the publishers.
    """

    #: Topics that are made of a person's state.
    OF_STATE = ("joint_states", "urdf", "posture", "gesture")

    def __init__(
        self, node: ManagedNode, types: Any, folder: str, name: str, qos: QoSProfile
    ) -> None:
        self._node, self._types, self.name = node, types, name
        kinds: dict[str, Any] = {
            "roi": types.NormalizedRegionOfInterest2D,
            "skeleton2d": types.Skeleton2D,
            "position": PointStamped,
            "velocity": TwistStamped,
            "joint_states": JointState,
            "urdf": String,
            "posture": types.BodyPosture,
            "gesture": types.Gesture,
        }
        self._publishers: dict[str, Publisher] = {
            topic: node.publish_for_now(
                kind, f"{folder}/{name}/{topic}", LATCHED_QOS if topic == "urdf" else qos
            )
            for topic, kind in kinds.items()
        }
        # Means of the lengths, the number of images in each, and those in the URDF.
        self._lengths = np.full(len(LENGTHS), np.nan)
        self._images = np.zeros(len(LENGTHS))
        self._described: np.ndarray | None = None

    def wanted(self) -> set[str]:
        """The topics that have subscribers."""
        return {t for t, p in self._publishers.items() if p.get_subscription_count() > 0}

    def end(self) -> None:
        """Remove the topics."""
        for publisher in self._publishers.values():
            self._node.forget(publisher)

    def publish(self, seen: _Seen, wanted: set[str]) -> None:
        """Publish what has subscribers, and is known."""
        person, state, types, header = seen.person, seen.state, self._types, seen.header
        if seen.frame is not None and seen.keypoints is not None:
            if "roi" in wanted:
                roi = hri_messages.roi_msg(types, seen.frame, seen.keypoints, header)
                if roi is not None:
                    self._publishers["roi"].publish(roi)
            if "skeleton2d" in wanted:
                skeleton = hri_messages.skeleton_2d_msg(types, seen.frame, seen.keypoints, header)
                self._publishers["skeleton2d"].publish(skeleton)
        if person.root_valid:
            if "position" in wanted:
                self._publishers["position"].publish(hri_messages.position_msg(person, header))
            if "velocity" in wanted and np.isfinite(person.velocity).all():
                self._publishers["velocity"].publish(hri_messages.velocity_msg(person, header))
        if state is None or person.state == TrackState.COASTING:
            return
        if "posture" in wanted and state.posture:
            self._publishers["posture"].publish(hri_messages.posture_msg(types, state, header))
        if "gesture" in wanted:
            for gesture in state.gestures:
                self._publishers["gesture"].publish(
                    hri_messages.gesture_msg(types, gesture, header)
                )
        if wanted & {"urdf", "joint_states"}:
            self._publish_chain(person, state, wanted, header)

    def _publish_chain(
        self, person: Pose3D, state: BodyState, wanted: set[str], header: Header
    ) -> None:
        """The URDF where the body's size is new, and the positions of its joints."""
        quaternion, joints = state.orientation[None], person.joints[None].astype(np.float64)
        lengths = self._described_by(lengths_of(quaternion, joints)[0])
        if "urdf" in wanted and lengths is not self._described:
            self._publishers["urdf"].publish(String(data=urdf_of(self.name, lengths)))
            self._described = lengths
        if "joint_states" in wanted:
            trunk_m = (lengths if self._described is None else self._described)[[_TRUNK]]
            positions = chain_positions(quaternion, joints, trunk_m)[0]
            self._publishers["joint_states"].publish(
                hri_messages.joint_states_msg(self.name, positions, header)
            )

    def _described_by(self, lengths: np.ndarray) -> np.ndarray:
        """The lengths that the URDF has, or should have.

        Args:
            lengths: (11,) m of the newest image.
        """
        known = np.isfinite(lengths)
        self._images = np.minimum(self._images + known, LENGTH_IMAGES)
        before = np.where(self._images > 1, self._lengths, lengths)
        step = np.where(known, lengths - before, 0.0) / np.maximum(self._images, 1)
        self._lengths = before + step
        wanted = completed(self._lengths)
        described = self._described
        if described is not None and np.abs(wanted - described).max() < NEW_URDF_M:
            return described
        return wanted


class HriTopics:
    """Publishes the bodies of one camera.

    Args:
        node: publishes.
        camera: name of the camera, in front of its topics and ids; may be empty.
        qos: of the publishers.

    Raises:
        NodeError: hri_msgs or tf2_msgs is not installed.
    """

    def __init__(self, node: ManagedNode, camera: str, qos: QoSProfile) -> None:
        self._node, self._camera, self._qos = node, camera, qos
        self._types = _package("hri_msgs")
        tf = _package("tf2_msgs")
        self._folder = topic_of(camera, "humans/bodies")
        self._tracked = node.publish_on(self._types.IdsList, f"{self._folder}/tracked", qos)
        self._tf_type = tf.TFMessage
        self._tf = node.publish_on(tf.TFMessage, "/tf", RELIABLE_QOS)
        self._bodies: dict[int, _Body] = {}
        # Held while bodies come and go, as other threads ask for their subscribers.
        self._lock = threading.Lock()
        # Images whose poses have not come, by stamp.
        self._frames: dict[int, Frame2D] = {}

    def remember(self, frame: Frame2D) -> None:
        """Take the keypoints of an image that is used, with the ids of its people."""
        self._frames[frame.stamp_ns] = frame
        while len(self._frames) > MAX_IMAGES:
            del self._frames[next(iter(self._frames))]

    def is_wanted(self) -> bool:
        """Whether there are subscribers."""
        if self._tracked.get_subscription_count() or self._tf.get_subscription_count():
            return True
        with self._lock:
            return any(body.wanted() for body in self._bodies.values())

    def needs_states(self) -> bool:
        """Whether there are subscribers of what is made of people's states."""
        return self._tf.get_subscription_count() > 0 or any(
            not body.wanted().isdisjoint(_Body.OF_STATE) for body in self._bodies.values()
        )

    def publish(self, result: Frame3D, states: list[BodyState], header: Header) -> None:
        """Publish the people of one image; topics of those who have ended are removed.

        Args:
            result: the poses.
            states: of the people; empty unless `needs_states`.
            header: of the skeletons.
        """
        living = {p.track_id: p for p in result.people if p.state != TrackState.ENDED}
        self._follow(living)
        frame = self._frame_of(result.stamp_ns)
        if self._tracked.get_subscription_count() > 0:
            ids = [self._bodies[number].name for number in living]
            self._tracked.publish(self._types.IdsList(header=header, ids=ids))
        state_of = {state.track_id: state for state in states}
        keypoints_of: dict[int, Pose2D] = {}
        if frame is not None:
            keypoints_of = {p.track_id: p for p in reversed(frame.people)}
        for number, person in living.items():
            body = self._bodies[number]
            wanted = body.wanted()
            if wanted:
                body.publish(
                    _Seen(person, state_of.get(number), frame, keypoints_of.get(number), header),
                    wanted,
                )
        if self._tf.get_subscription_count() > 0:
            self._publish_frames(living, state_of, header)

    def _follow(self, living: dict[int, Pose3D]) -> None:
        """Make the topics of people who are new, and remove those of people who have gone."""
        if self._bodies.keys() == living.keys():
            return
        with self._lock:
            for number in self._bodies.keys() - living.keys():
                self._bodies.pop(number).end()
            for number in living.keys() - self._bodies.keys():
                name = hri_messages.body_id(self._camera, number)
                made = _Body(self._node, self._types, self._folder, name, self._qos)
                self._bodies[number] = made

    def _frame_of(self, stamp_ns: int) -> Frame2D | None:
        """The image of a stamp; older ones are forgotten."""
        frame = self._frames.pop(stamp_ns, None)
        for stamp in [stamp for stamp in self._frames if stamp < stamp_ns]:
            del self._frames[stamp]
        return frame

    def _publish_frames(
        self, living: dict[int, Pose3D], state_of: dict[int, BodyState], header: Header
    ) -> None:
        """The TF frames of the bodies whose place and pelvis are known."""
        transforms = [
            hri_messages.body_transform(self._bodies[number].name, person, state_of[number], header)
            for number, person in living.items()
            if person.root_valid
            and number in state_of
            and np.isfinite(state_of[number].segment("pelvis")).all()
        ]
        if transforms:
            self._tf.publish(self._tf_type(transforms=transforms))
