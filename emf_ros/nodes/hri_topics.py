"""The topics of REP-155 (ROS4HRI) of one camera: `humans/bodies/tracked` and a tree for each body.

A body has topics while its track lives, also while it coasts. Then they end. Each is computed while
it has a subscriber.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped, TwistStamped
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String

from ..body.chain import chain_positions, lengths_of
from ..body.size import BodySize
from ..body.state import BodyState
from ..body.urdf import urdf_of
from ..lift.feed import topic_of
from ..types import Frame2D, Frame3D, Pose3D, TrackState
from . import hri_messages
from .life_cycle import ManagedNode, NodeError
from .qos import LATCHED_QOS, RELIABLE_QOS

#: Maximum number of images whose keypoints wait for their poses: four seconds of 60 Hz.
MAX_IMAGES = 240
#: Topics of a body that are made of a person's state.
OF_STATE = frozenset(("joint_states", "urdf", "posture", "gesture"))


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


class _Body:
    """The topics of one body, and its lengths.

    Args:
        node: publishes.
        types: hri_msgs.msg.
        folder: name in front of the topics.
        name: id of the body.
        qos: of the publishers.
    """

    def __init__(
        self, node: ManagedNode, types: Any, folder: str, name: str, qos: QoSProfile
    ) -> None:
        self._node, self.name = node, name
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
        self._size = BodySize()
        # Whether the newest URDF has not been published, and the trunk in the one that has, m.
        self._due = True
        self._trunk_m: float | None = None

    def wanted(self) -> set[str]:
        """The topics that have subscribers."""
        return {t for t, p in self._publishers.items() if p.get_subscription_count() > 0}

    def publish(self, topic: str, message: Any) -> None:
        """Publish on one of the topics."""
        self._publishers[topic].publish(message)

    def end(self) -> None:
        """Remove the topics."""
        for publisher in self._publishers.values():
            self._node.forget(publisher)

    def describe(self, lengths: np.ndarray, wanted: bool) -> float:
        """Take the lengths that an image shows, and publish the URDF where it is not out yet.

        Args:
            lengths: (11,) m, of `chain.LENGTHS`.
            wanted: whether the URDF has a subscriber.

        Returns:
            length of the trunk in the URDF, m.
        """
        self._due |= self._size.take(lengths)
        if wanted and self._due:
            self.publish("urdf", String(data=urdf_of(self.name, self._size.described)))
            self._due, self._trunk_m = False, self._size.trunk_m
        return self._size.trunk_m if self._trunk_m is None else self._trunk_m


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
            not body.wanted().isdisjoint(OF_STATE) for body in self._bodies.values()
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
        wanted = {number: self._bodies[number].wanted() for number in living}
        topics = set().union(*wanted.values())
        if frame is not None and frame.people and topics & {"roi", "skeleton2d"}:
            self._publish_2d(frame, wanted, header)
        if topics & {"position", "velocity"}:
            self._publish_places(living, wanted, header)
        # What is told of a person who coasts is a guess.
        seen = [s for s in states if living[s.track_id].state != TrackState.COASTING]
        if topics & {"posture", "gesture"}:
            self._publish_states(seen, wanted, header)
        chains = [s for s in seen if wanted[s.track_id] & {"urdf", "joint_states"}]
        if chains:
            self._publish_chains(chains, living, wanted, header)
        if self._tf.get_subscription_count() > 0:
            self._publish_frames(seen, living, header)

    def end_all(self) -> None:
        """Remove the topics of all bodies."""
        self._follow({})
        self._frames.clear()

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

    def _publish_2d(self, frame: Frame2D, wanted: dict[int, set[str]], header: Header) -> None:
        """Where each body is in the image."""
        points, rois = hri_messages.points_of(frame), hri_messages.rois_of(frame)
        for row, person in enumerate(frame.people):
            topics = wanted.get(person.track_id, set())
            if "roi" in topics and np.isfinite(rois[row]).all():
                message = hri_messages.roi_msg(self._types, rois[row], header)
                self._bodies[person.track_id].publish("roi", message)
            if "skeleton2d" in topics:
                message = hri_messages.skeleton_2d_msg(self._types, points[row], header)
                self._bodies[person.track_id].publish("skeleton2d", message)

    def _publish_places(
        self, living: dict[int, Pose3D], wanted: dict[int, set[str]], header: Header
    ) -> None:
        """Where each body is, and how it moves."""
        for number, person in living.items():
            if person.root_valid and "position" in wanted[number]:
                message: Any = hri_messages.position_msg(person, header)
                self._bodies[number].publish("position", message)
            if "velocity" in wanted[number] and np.isfinite(person.velocity).all():
                message = hri_messages.velocity_msg(person, header)
                self._bodies[number].publish("velocity", message)

    def _publish_states(
        self, seen: list[BodyState], wanted: dict[int, set[str]], header: Header
    ) -> None:
        """Postures that are known, and gestures that go on."""
        for state in seen:
            body, topics = self._bodies[state.track_id], wanted[state.track_id]
            if "posture" in topics and state.posture:
                body.publish("posture", hri_messages.posture_msg(self._types, state, header))
            if "gesture" in topics:
                for gesture in state.gestures:
                    message = hri_messages.gesture_msg(self._types, gesture, header)
                    body.publish("gesture", message)

    def _publish_chains(
        self,
        chains: list[BodyState],
        living: dict[int, Pose3D],
        wanted: dict[int, set[str]],
        header: Header,
    ) -> None:
        """The URDF of each body whose size is new, and the positions of the joints."""
        quaternion = np.stack([state.orientation for state in chains])
        joints = np.stack([living[state.track_id].joints for state in chains]).astype(np.float64)
        bodies = [self._bodies[state.track_id] for state in chains]
        topics = [wanted[state.track_id] for state in chains]
        rows = zip(bodies, lengths_of(quaternion, joints), topics, strict=True)
        trunk_m = np.array([body.describe(row, "urdf" in own) for body, row, own in rows])
        positions = chain_positions(quaternion, joints, trunk_m)
        for body, own, row in zip(bodies, topics, positions, strict=True):
            if "joint_states" in own:
                body.publish("joint_states", hri_messages.joint_states_msg(body.name, row, header))

    def _publish_frames(
        self, seen: list[BodyState], living: dict[int, Pose3D], header: Header
    ) -> None:
        """The TF frames of the bodies whose place and pelvis are known."""
        transforms = [
            hri_messages.body_transform(
                self._bodies[state.track_id].name, living[state.track_id], state, header
            )
            for state in seen
            if living[state.track_id].root_valid and np.isfinite(state.segment("pelvis")).all()
        ]
        if transforms:
            self._tf.publish(self._tf_type(transforms=transforms))
