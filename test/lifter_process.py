"""A real skeleton_lifter process, fed frame after frame, and checks of what it publishes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from inputs import FRAME_NS, FRAME_SIZE, camera_info_message, set_stamp
from ros_session import REPEAT_S, points, poll, stamp_ns, wait_for

from emf_ros.lift.dispatch import SILENCE_S

SECOND = 1_000_000_000
FRAME_ID = "head_camera_optical_frame"


def recorded_message(recorded: list, index: int, ids: tuple[int, ...], stamp_ns: int) -> Any:
    """Keypoints of a recording that is played back and forth, so that no person jumps.

    Args:
        recorded: per frame, per person (id, keypoints (33, 3), score).
        index: number of the message, from 0.
        ids: of the people, in place of the recorded ones.
        stamp_ns: of the message.
    """
    from emf_ros_msgs.msg import Keypoint2D, Skeleton2D, Skeleton2DArray

    at = index % (2 * len(recorded))
    people = recorded[at if at < len(recorded) else 2 * len(recorded) - 1 - at]
    message = Skeleton2DArray(
        layout="blazepose33", image_width=FRAME_SIZE[0], image_height=FRAME_SIZE[1]
    )
    message.header.frame_id = FRAME_ID
    set_stamp(message, stamp_ns)
    for track_id, (_, keypoints, score) in zip(ids, people, strict=False):
        message.skeletons.append(
            Skeleton2D(
                track_id=track_id,
                score=score,
                keypoints=[
                    Keypoint2D(x=x, y=y, score=s) for x, y, s in np.asarray(keypoints).tolist()
                ],
            )
        )
    return message


class Lifter:
    """A lifter process, what it publishes, and a hand that feeds it frame after frame.

    Frames go one at a time, the next when the last one's skeletons are there: nothing is merged,
    however slow the machine. What best effort loses is published again.

    Attributes:
        slowest_s: longest time from a frame that was sent to the answer to the next, s; a test may
            reset it. In a shorter time no lifter takes the images for ended.
    """

    def __init__(
        self, ros: Any, process: Any, diagnostics: Any, keypoints: list, camera: str = ""
    ) -> None:
        from sensor_msgs.msg import CameraInfo
        from visualization_msgs.msg import MarkerArray

        from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray

        self.process, self.ros, self._recorded = process, ros, keypoints
        self.diagnostics = diagnostics(process.topic("skeleton_lifter"))
        prefix = f"{camera}/" if camera else ""
        self.skeletons = ros.listen(Skeleton3DArray, process.topic(f"{prefix}skeletons"))
        self.markers = ros.listen(MarkerArray, process.topic(f"{prefix}markers"))
        self._keypoints = ros.publisher(Skeleton2DArray, process.topic(f"{prefix}keypoints"))
        self._info = ros.publisher(CameraInfo, process.topic(f"{prefix}camera_info"))
        self._live = not process.parameters.get("synchronous")
        self.now = time.time_ns() // SECOND * SECOND
        self.index = 0
        self.slowest_s, self._sent_s = 0.0, time.monotonic()
        self._ids = iter(range(100, 1_000_000, 10))
        ros.connect(process.topic("skeleton_lifter"))

    def connect(self, info: bool = True) -> Lifter:
        """Feed until the lifter answers, with intrinsics unless told otherwise."""
        # One that is not synchronous subscribes when it has discovered a subscriber of its own.
        wait_for(lambda: self._keypoints.get_subscription_count() == 1, "the lifter listens")
        # Intrinsics come on another topic, and may be late for the first keypoints.
        self.feed_until_answered(
            camera_info_message() if info else None,
            lambda answer: any(not info or s.root_valid for s in answer.skeletons),
        )
        return self

    def feed_until_answered(
        self, info: Any = None, wanted: Callable[[Any], Any] = lambda answer: True
    ) -> None:
        """Publish keypoints that may go unanswered, until those of one image are answered.

        Args:
            info: intrinsics that are published in front of the keypoints of each image.
            wanted: whether an answer is one that is waited for.
        """
        people, asked = self.new_ids(), []

        def answered() -> bool:
            return any(wanted(a) for a in map(self.answer_to, asked) if a is not None)

        def ask() -> bool:
            if info is not None:
                self.send_info(info)
            asked.append(self.make(people))
            self._keypoints.publish(asked[-1])
            return poll(answered, 0.5)

        wait_for(ask, "an answer")

    def with_known_camera(self) -> Lifter:
        """Feed until the right intrinsics are in use, whatever was sent before."""
        ids = self.new_ids()
        self.feed_until(
            ids,
            lambda a: ids[0] in by_id(a) and by_id(a)[ids[0]].root_valid,
            "a known camera",
            camera_info_message(),
        )
        return self

    def new_ids(self) -> tuple[int, int]:
        """Track ids that were never used: their windows start empty."""
        first = next(self._ids)
        return first, first + 1

    def send_info(self, message: Any) -> None:
        self._info.publish(message)

    def make(self, ids: tuple[int, ...], step_ns: int = FRAME_NS) -> Any:
        """The next frame's message."""
        self.now += step_ns
        message = recorded_message(self._recorded, self.index, ids, self.now)
        self.index += 1
        return message

    def send(self, message: Any) -> Any:
        """Publish keypoints that must be answered; the answer to them.

        Where they or their answer got lost, they are published again, as those of the next image.
        """

        def asked() -> Any:
            self._keypoints.publish(message)
            answer = poll(lambda: self.answer_to(message), REPEAT_S)
            if answer is None:
                self.now += FRAME_NS
                set_stamp(message, self.now)
            return answer

        begin_s, before_s = time.monotonic(), self._sent_s
        if self._live:
            answer = wait_for(asked, "an answer to keypoints")
        else:
            self._keypoints.publish(message)
            answer = wait_for(lambda: self.answer_to(message), "an answer to keypoints")
        self._sent_s = begin_s
        self.slowest_s = max(self.slowest_s, time.monotonic() - before_s)
        return answer

    def answer_to(self, message: Any) -> Any:
        """The skeletons whose newest keypoints are these, or None."""
        for answer in self.skeletons.messages[:-200:-1]:
            lag = answer.lag.sec * SECOND + answer.lag.nanosec
            # A second without images is told with the stamp of the last one.
            if answer.images_arrive and stamp_ns(answer) + lag == stamp_ns(message):
                return answer
        return None

    def send_refused(self, message: Any, counter: str, times: int = 1) -> None:
        """Publish keypoints that must be counted."""
        wait_for(self.diagnostics.last, "diagnostics")
        before = self.diagnostics.count(counter)

        def counted() -> Any:
            self._keypoints.publish(message)
            return poll(lambda: self.diagnostics.count(counter) >= before + times, REPEAT_S)

        wait_for(counted, f"count of {counter}")

    def feed(self, ids: tuple[int, ...], frames: int = 1) -> Any:
        """Answer to the last of some good frames."""
        answer = None
        for _ in range(frames):
            answer = self.send(self.make(ids))
        return answer

    def feed_until(
        self, ids: tuple[int, ...], condition: Callable[[Any], Any], what: str, info: Any = None
    ) -> Any:
        """Good frames, each after the intrinsics, until an answer meets the condition; it."""
        for _ in range(300):
            if info is not None:
                self.send_info(info)
            answer = self.feed(ids)
            if condition(answer):
                return answer
        pytest.fail(f"300 frames and not once: {what}")

    def assert_goes_on(self) -> None:
        """Good keypoints of new people still become good skeletons."""
        ids = self.new_ids()
        answer = self.feed_until(
            ids, lambda a: all(i in by_id(a) and by_id(a)[i].root_valid for i in ids), "both lifted"
        )
        assert self.process.alive
        for track_id in ids:
            assert_plausible(by_id(answer)[track_id])


def by_id(message: Any) -> dict[int, Any]:
    """Skeletons that have not ended, by id; no id is there twice."""
    living = [s for s in message.skeletons if s.tracking_state != s.ENDED]
    assert len({s.track_id for s in living}) == len(living)
    return {s.track_id: s for s in living}


def joints(skeleton: Any) -> np.ndarray:
    """(17, 3) m."""
    return points(j.position for j in skeleton.joints)


def root(skeleton: Any) -> np.ndarray:
    """(3,) m."""
    return points([skeleton.root])[0]


def states(lifter: Lifter, track_id: int) -> list[int]:
    """Every tracking state that was published of an id, in order."""
    return [
        s.tracking_state
        for message in list(lifter.skeletons.messages)
        for s in message.skeletons
        if s.track_id == track_id
    ]


def assert_ended(lifter: Lifter, track_id: int) -> None:
    """An id has ended, once for each time that it began: once, unless the machine stood still.

    Args:
        lifter: its `slowest_s` was reset when the id was new.
        track_id: the id.
    """
    seen, ended = states(lifter, track_id), tracking_state("ENDED")
    times = seen.count(ended)
    assert times and all(seen[i + 1] != ended for i, s in enumerate(seen[:-1]) if s == ended), seen
    assert times == 1 or lifter.slowest_s > SILENCE_S, seen


def assert_plausible(skeleton: Any) -> None:
    """A person a few metres in front of the camera, of a person's size."""
    assert skeleton.root_valid
    assert 1.0 < skeleton.root.z < 20.0
    assert len(skeleton.joints) == 17
    where = joints(skeleton)
    known = where[np.isfinite(where).all(axis=-1)]
    assert len(known) >= 12
    assert (np.linalg.norm(known - root(skeleton), axis=-1) < 1.5).all()
    assert np.ptp(known, axis=0).max() > 0.5
    covariance = np.array(skeleton.root_covariance).reshape(3, 3)
    assert np.isfinite(covariance).all() and (np.linalg.eigvalsh(covariance) > 0).all()
    for joint, position in zip(skeleton.joints, where, strict=True):
        if np.isfinite(position).all():
            assert 0 < joint.confidence <= 1 and 0 < joint.stddev < 10
        else:
            assert np.isnan(position).all() and joint.confidence == 0


def tracking_state(name: str) -> int:
    """A constant of Skeleton3D, such as TRACKED."""
    from emf_ros_msgs.msg import Skeleton3D

    return getattr(Skeleton3D, name)
