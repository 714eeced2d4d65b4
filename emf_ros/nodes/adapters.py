"""Adapters for third-party messages of keypoints: yolo_msgs, vision_msgs and hri_msgs.

The module of a package is imported only where the parameter keypoints_type names it. The
conversions read the fields of a message, whatever its class.
"""

from __future__ import annotations

import importlib
import math
import re
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from std_msgs.msg import Header

from ..reasons import Reason
from ..skeletons import COCO17, HRI18
from ..stamps import LATE_NS
from ..types import UNTRACKED, Frame2D, Pose2D
from .base import NodeError
from .conversions import stamp_ns
from .qos import SENSOR_QOS
from .taking import is_refused_crowd

if TYPE_CHECKING:
    from .base import BaseNode

#: Repository of each package.
_SOURCES = {
    "yolo_msgs": "https://github.com/mgonzs13/yolo_ros",
    "vision_msgs": "https://github.com/ros-perception/vision_msgs",
    "hri_msgs": "https://github.com/ros4hri/hri_msgs",
}

#: Maximum size of a third-party message, bytes: detections may bring masks.
MAX_THIRD_PARTY_BYTES = 16_000_000

#: Maximum number of bodies that are followed: the most that can be lifted.
MAX_BODIES = 256

#: Names of bodies that fit into the name of a topic.
_BODY_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9_]{0,98}[A-Za-z0-9])?", re.ASCII)

#: Class names of a person; some detectors leave it empty.
_PERSON_CLASSES = ("person", "")


def message_type(package: str, name: str) -> Any:
    """The class of a message.

    Raises:
        NodeError: the package is not installed.
    """
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise NodeError(
            f"keypoints_type {package} needs {package}/{name}, which is not installed "
            f"({error}); the package is at {_SOURCES[package]}"
        ) from None


def track_number(name: str) -> int:
    """The id of a track as a number that fits into `emf_ros_msgs`.

    Args:
        name: id in a third-party message, a text.

    Returns:
        `UNTRACKED` for an empty text; the number for a decimal number; else a hash of the text.
    """
    if not name:
        return UNTRACKED
    if name.isdecimal() and len(name) <= 9:
        return int(name)
    # Ids that count up stay below these.
    return 1_000_000_000 + zlib.crc32(name.encode()) % 1_000_000_000


def is_body_name(name: str) -> bool:
    """Whether the id of a body of hri_msgs can be a part of a topic's name."""
    return "__" not in name and _BODY_NAME.fullmatch(name) is not None


def _missing(count: int) -> np.ndarray:
    return np.tile((math.nan, math.nan, 0.0), (count, 1))


def _score(value: float) -> float:
    """A score with 0 in place of negative values. The pipeline handles scores over 1 and NaN."""
    return max(float(value), 0.0)


def _coco_frame(
    header: Header, image_size: tuple[int, int], people: list[tuple[str, np.ndarray, float]]
) -> Frame2D:
    """The frame of one image; of each person the id, keypoints (17, 3) in coco17 and score."""
    found = [Pose2D(points, score, track_number(name)) for name, points, score in people]
    return Frame2D(stamp_ns(header.stamp), header.frame_id, COCO17.name, image_size, found)


def yolo_frame(message: Any, image_size: tuple[int, int]) -> Frame2D:
    """The frame of a yolo_msgs/DetectionArray of a pose model.

    Its keypoints have ids from 1, in the order of coco17; uncertain keypoints are left out. Ids of
    its tracker are decimal numbers as text; without a tracker they are empty.

    Args:
        message: the detections.
        image_size: (width, height) px; the message has none.
    """
    people = []
    for detection in message.detections:
        given = list(detection.keypoints.data)
        if detection.class_name not in _PERSON_CLASSES or not given:
            continue
        points = _missing(len(COCO17))
        for keypoint in given:
            if 1 <= keypoint.id <= len(COCO17):
                at = keypoint.point
                points[keypoint.id - 1] = (at.x, at.y, _score(keypoint.score))
        people.append((detection.id, points, _score(detection.score)))
    return _coco_frame(message.header, image_size, people)


def vision_frame(
    message: Any, image_size: tuple[int, int], refuse: Callable[[str], None] = lambda name: None
) -> Frame2D:
    """The frame of a vision_msgs/Detection2DArray with one detection per keypoint.

    vision_msgs has no message for keypoints. Here the middle of `bbox` is the keypoint. The best
    result has the joint's name in coco17 as `class_id`, and the score. `id` is that of the person.
    Other detections, such as boxes of people, are ignored. So are ids that have a joint twice:
    their keypoints are of several people.

    Args:
        message, image_size: as of `yolo_frame`.
        refuse: called with each id that has a joint twice.
    """
    points_of: dict[str, np.ndarray] = {}
    seen: set[tuple[str, int]] = set()
    mixed: set[str] = set()
    for detection in message.detections:
        if not detection.results:
            continue
        best = max((result.hypothesis for result in detection.results), key=lambda h: h.score)
        if best.class_id in COCO17.joints:
            joint, at = COCO17.index(best.class_id), detection.bbox.center.position
            if (detection.id, joint) in seen:
                mixed.add(detection.id)
            seen.add((detection.id, joint))
            points = points_of.setdefault(detection.id, _missing(len(COCO17)))
            points[joint] = (at.x, at.y, _score(best.score))
    for name in sorted(mixed):
        del points_of[name]
        refuse(name)
    people = [(name, points, float(points[:, 2].mean())) for name, points in points_of.items()]
    return _coco_frame(message.header, image_size, people)


def hri_person(message: Any, body: str, image_size: tuple[int, int]) -> Pose2D:
    """The person of a hri_msgs/Skeleton2D, whose positions are shares of the image.

    A keypoint of confidence 0 is missing.

    Args:
        message: of one body.
        body: id of the body, from the name of the topic.
        image_size: (width, height) px.
    """
    points = _missing(len(HRI18))
    for index, point in enumerate(message.skeleton[: len(HRI18)]):
        if point.c > 0:
            points[index] = (
                point.x * image_size[0] - 0.5,
                point.y * image_size[1] - 0.5,
                _score(point.c),
            )
    return Pose2D(points, float(points[:, 2].mean()), track_number(body))


class BodyCollector:
    """Collects the bodies of an image, whose messages arrive one by one.

    The people of an image are complete when all tracked bodies have arrived, or when a body of a
    newer image arrives, or an empty list of bodies. They are also complete when a body arrives
    twice with the same stamp. The publisher then does not stamp its messages, and the pipeline logs
    it.
    """

    def __init__(self) -> None:
        self._tracked: set[str] = set()
        self._stamp: int | None = None
        self._frame_id, self._size = "", (0, 0)
        self._bodies: dict[str, Pose2D] = {}
        # Names of the image's bodies; they stay after the image is returned.
        self._names: set[str] = set()
        self._taken = True

    def track(self, bodies: set[str]) -> None:
        """Set the names of the bodies that an image waits for."""
        self._tracked = set(bodies)

    def add(self, message: Any, body: str, image_size: tuple[int, int]) -> list[Frame2D]:
        """Add a body. A body whose image has been returned already is ignored.

        Args:
            message, body, image_size: as of `hri_person`.

        Returns:
            the images that are complete now, the older first.
        """
        stamp = stamp_ns(message.header.stamp)
        frames = []
        begins = stamp != self._stamp or body in self._names
        if (not begins and self._taken) or self._is_late(stamp):
            return []
        if begins:
            frames = self._flush()
            self._stamp, self._frame_id = stamp, message.header.frame_id
            self._size, self._taken, self._names = image_size, False, set()
        self._names.add(body)
        self._bodies[body] = hri_person(message, body, image_size)
        if self._tracked and self._tracked <= set(self._bodies):
            frames.append(self._take())
        return frames

    def add_empty(self, header: Header, image_size: tuple[int, int]) -> list[Frame2D]:
        """Add an image without bodies. One that is late, or has bodies already, is ignored.

        Args:
            header: of the list of bodies. Its frame_id counts until a body has brought one: the
                list belongs to no frame, and some publishers leave the field empty.
            image_size: (width, height) px.

        Returns:
            the images that are complete now, the older first.
        """
        stamp = stamp_ns(header.stamp)
        if self._is_late(stamp):
            return []
        frames = self._flush()
        if stamp == self._stamp and self._names:
            return frames
        self._stamp, self._names = stamp, set()
        frame_id = self._frame_id or header.frame_id
        return [*frames, Frame2D(stamp, frame_id, HRI18.name, image_size, [])]

    def _is_late(self, stamp: int) -> bool:
        """Whether an image is older than the one at hand, and the clock has not jumped back."""
        return self._stamp is not None and 0 < self._stamp - stamp < LATE_NS

    def _flush(self) -> list[Frame2D]:
        """The image at hand, if it has not been returned."""
        return [] if self._taken else [self._take()]

    def _take(self) -> Frame2D:
        assert self._stamp is not None
        people, self._bodies, self._taken = list(self._bodies.values()), {}, True
        return Frame2D(self._stamp, self._frame_id, HRI18.name, self._size, people)


class ThirdPartyKeypoints:
    """Subscribes to the third-party keypoints of one camera.

    With yolo_msgs and vision_msgs the topic is the camera's `keypoints`; remap it. With hri_msgs
    the topics are `humans/bodies/tracked` and the `skeleton2d` of each tracked body.

    Args:
        node: has the subscriptions.
        package: one of `params.KEYPOINTS_TYPES`, without emf_ros.
        topic: gives the name of a topic of this camera.
        image_size: gives (width, height) px of the camera; None while it is not known.
        take: takes the keypoints of each image.
        refuse: counts and says what is refused.
        arrived: notes that the keypoints of an image have come, also where they are refused.

    Attributes:
        topic: whose publishers make the keypoints, without the camera.

    Raises:
        NodeError: the package is not installed.
    """

    def __init__(
        self,
        node: BaseNode,
        package: str,
        topic: Callable[[str], str],
        image_size: Callable[[], tuple[int, int] | None],
        take: Callable[[Frame2D], None],
        refuse: Callable[[Reason, str], None],
        arrived: Callable[[], None] = lambda: None,
    ) -> None:
        self._node, self._package, self._topic = node, package, topic
        self._image_size, self._take, self._refuse = image_size, take, refuse
        self._arrived = arrived
        self.topic = "humans/bodies/tracked" if package == "hri_msgs" else "keypoints"
        self._bodies = BodyCollector()
        self._skeletons: dict[str, Any] = {}
        self._qos: Any = SENSOR_QOS
        self._array_type: Any = None
        self._ids_type: Any = None
        self._skeleton_type: Any = None
        if package == "hri_msgs":
            self._ids_type = message_type(package, "IdsList")
            self._skeleton_type = message_type(package, "Skeleton2D")
        else:
            name = "DetectionArray" if package == "yolo_msgs" else "Detection2DArray"
            self._array_type = message_type(package, name)

    def subscribe(self, qos: Any) -> Any:
        """Subscribe. Returns the subscription whose publishers are counted."""
        self._qos = qos
        if self._package == "hri_msgs":
            tracked = self._topic("humans/bodies/tracked")
            return self._node.listen_to(self._ids_type, tracked, self._follow, qos)
        return self._node.listen_to(
            self._array_type,
            self._topic("keypoints"),
            self._take_array,
            qos,
            max_bytes=MAX_THIRD_PARTY_BYTES,
        )

    def unsubscribe(self) -> None:
        """End the subscriptions to bodies."""
        for subscription in self._skeletons.values():
            self._node.forget(subscription)
        self._skeletons.clear()
        self.restart()

    def restart(self) -> None:
        """Forget the bodies of an image that is not complete."""
        self._bodies = BodyCollector()
        self._bodies.track(set(self._skeletons))

    def _size(self) -> tuple[int, int] | None:
        size = self._image_size()
        if size is None:
            self._refuse(
                Reason.IMAGE_SIZE_UNKNOWN,
                f"keypoints refused: messages of {self._package} have no image size, and there is "
                f"no {self._topic('camera_info')} yet",
            )
        return size

    def _take_array(self, message: Any) -> None:
        self._arrived()
        topic = self._topic("keypoints")
        if is_refused_crowd(len(message.detections), topic, self._node.refuse_message):
            return
        size = self._size()
        if size is None:
            return
        if self._package == "yolo_msgs":
            self._take(yolo_frame(message, size))
            return

        def refuse(name: str) -> None:
            self._refuse(
                Reason.REPEATED_TRACK_ID,
                f"{topic}: people with the id {name!r} are refused: a joint comes twice under it; "
                "give the keypoints of each person an id of their own",
            )

        self._take(vision_frame(message, size, refuse))

    def _follow(self, message: Any) -> None:
        """Subscribe to the tracked bodies, and end the subscriptions to others.

        Without any, the list is the image: nobody is there.
        """
        named = {body for body in message.ids if is_body_name(body)}
        for body in set(message.ids) - named:
            self._refuse(
                Reason.BAD_BODY_NAME,
                f"{self._topic(self.topic)}: body {body!r} is ignored: no topic can have this name",
            )
        # Those that are followed already first: a subscription takes time to hear.
        order = sorted(named, key=lambda body: (body not in self._skeletons, body))
        if len(order) > MAX_BODIES:
            self._node.refuse_message(
                Reason.MESSAGE_TOO_LARGE,
                f"{self._topic(self.topic)}: of {len(order)} bodies {MAX_BODIES} are followed",
            )
        bodies = set(order[:MAX_BODIES])
        self._bodies.track(bodies)
        for body in set(self._skeletons) - bodies:
            self._node.forget(self._skeletons.pop(body))
        tracked = self._node.resolve_topic_name(self._topic("humans/bodies/tracked"))
        for body in bodies - set(self._skeletons):

            def take(skeleton: Any, body: str = body) -> None:
                self._take_body(skeleton, body)

            self._skeletons[body] = self._node.listen_to(
                self._skeleton_type,
                f"{tracked.rsplit('/', 1)[0]}/{body}/skeleton2d",
                take,
                self._qos,
            )
        if not message.ids:
            self._take_frames(lambda size: self._bodies.add_empty(message.header, size))
        elif not named:
            self._arrived()

    def _take_body(self, message: Any, body: str) -> None:
        self._take_frames(lambda size: self._bodies.add(message, body, size))

    def _take_frames(self, complete: Callable[[tuple[int, int]], list[Frame2D]]) -> None:
        """Take the images that a message of hri_msgs completes."""
        size = self._size()
        if size is None:
            self._arrived()
            return
        for frame in complete(size):
            self._arrived()
            self._take(frame)
