"""What became of each frame of a video: by its stamps, and by the counters of the nodes.

A listener tells which frames were published, detected and lifted. The nodes count what they leave
out. Both must agree for a stretch of time at whose begin and end the camera is silent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from graph import LISTENER_QOS, Graph
from listener import raw_stamp_ns
from sensor_msgs.msg import CameraInfo

from emf_ros.nodes.conversions import stamp_ns
from emf_ros.nodes.missed_messages import HAS_NUMBERS, MissedMessages
from emf_ros.reasons import Reason
from emf_ros.stamps import StampVerdict
from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray

#: Maximum difference between two stamps of the same frame, ns.
SAME_NS = 2_000

_STAMPS = tuple(verdict.reason for verdict in StampVerdict if verdict.reason)

#: Counters of frames that a node leaves out, by the name of the node.
LEFT_OUT: dict[str, tuple[Reason, ...]] = {
    "video_source": (
        Reason.LATE_FRAME_SKIPPED,
        Reason.FRAME_UNREADABLE,
        Reason.FRAME_SIZE_CHANGED,
    ),
    "keypoint_detector": (
        Reason.IMAGE_MISSED,
        Reason.BAD_IMAGE,
        Reason.OVER_MAX_RATE,
        Reason.DETECTOR_FAILED,
        *_STAMPS,
    ),
    "skeleton_lifter": (
        Reason.COALESCED,
        Reason.KEYPOINTS_MISSED,
        Reason.KEYPOINTS_OVERRUN,
        Reason.LIFTER_FAILED,
        Reason.FRAME_ID_MISMATCH,
        *_STAMPS,
    ),
}


class FrameListener:
    """Notes the stamps of all frames, keypoints and skeletons.

    Args:
        graph: that is listened to.

    Attributes:
        published, detected: stamps of `camera_info` and of `keypoints`, ns.
        lifted: of each skeleton message of images: stamp of the newest image, age of that image
            when the message came, both ns.
        unheard: number of messages that this listener has missed.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.forget()
        for kind, topic, note, raw in (
            (CameraInfo, "camera_info", self._note_info, False),
            (Skeleton2DArray, "keypoints", self._note_keypoints, True),
            (Skeleton3DArray, "skeletons", self._note_skeletons, False),
        ):
            self._listen(kind, topic, note, raw)

    def forget(self) -> None:
        """Begin anew."""
        self.published: list[int] = []
        self.detected: list[int] = []
        self.lifted: list[tuple[int, int]] = []
        self.unheard = 0

    def numbers(self) -> tuple[int, int, int]:
        """Numbers of published, detected and lifted frames so far."""
        return len(self.published), len(self.detected), len(self.lifted)

    def _listen(self, kind: type, topic: str, note: Any, raw: bool) -> None:
        missed = MissedMessages(self._miss)

        def take(message: Any, info: Mapping[str, Any]) -> None:
            missed.note(info)
            note(message)

        taker = take if HAS_NUMBERS else note
        self._graph.node.create_subscription(kind, topic, taker, LISTENER_QOS, raw=raw)

    def _miss(self, count: int) -> None:
        self.unheard += count

    def _note_info(self, message: CameraInfo) -> None:
        self.published.append(stamp_ns(message.header.stamp))

    def _note_keypoints(self, message: bytes) -> None:
        self.detected.append(raw_stamp_ns(message))

    def _note_skeletons(self, message: Skeleton3DArray) -> None:
        if message.images_arrive:
            newest_ns = stamp_ns(message.header.stamp) + stamp_ns(message.lag)
            now_ns = self._graph.node.get_clock().now().nanoseconds
            self.lifted.append((newest_ns, now_ns - newest_ns))


def skipped_frames(stamps: Sequence[int], times_s: np.ndarray) -> int:
    """The number of frames that a looping video has skipped between the first and the last stamp.

    Args:
        stamps: of the published frames, ns, sorted. The first one is of the first frame.
        times_s: (N,) of the frames of the video, s; the first is 0.
    """
    times_ns = np.round(np.asarray(times_s) * 1e9).astype(np.int64)
    skipped = 0
    index, begin = -1, stamps[0] if stamps else 0
    for stamp in stamps:
        at = int(np.argmin(abs(times_ns - (stamp - begin))))
        if at <= index or abs(int(times_ns[at]) - (stamp - begin)) > SAME_NS:
            # The first frame of the next round, which is never late.
            skipped += len(times_ns) - 1 - index
            begin, at, index = stamp, 0, -1
        skipped += at - index - 1
        index = at
    return skipped


@dataclass
class Account:
    """What became of the frames of a stretch of time.

    Attributes:
        published, detected, lifted: numbers of frames.
        skipped: number that the source did not publish, by the stamps.
        left_out: numbers by the counters, which are left out where they are 0.
        unheard: number of messages that the listener has missed.
        after_last: number of frames that may have been skipped after the last one.
        unexplained: number of frames for which stamps and counters differ, by node.
    """

    published: int = 0
    detected: int = 0
    lifted: int = 0
    skipped: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    unheard: int = 0
    after_last: int = 0
    unexplained: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Account) -> Account:
        keys = self.left_out.keys() | other.left_out.keys()
        nodes = self.unexplained.keys() | other.unexplained.keys()
        return Account(
            self.published + other.published,
            self.detected + other.detected,
            self.lifted + other.lifted,
            self.skipped + other.skipped,
            {key: self.left_out.get(key, 0) + other.left_out.get(key, 0) for key in sorted(keys)},
            self.unheard + other.unheard,
            self.after_last + other.after_last,
            {n: self.unexplained.get(n, 0) + other.unexplained.get(n, 0) for n in sorted(nodes)},
        )

    def __str__(self) -> str:
        reasons = ", ".join(f"{key} {count}" for key, count in self.left_out.items()) or "none"
        unexplained = ", ".join(f"{n} {count}" for n, count in self.unexplained.items()) or "none"
        return (
            f"{self.published + self.skipped} frames: {self.lifted} lifted; left out and counted: "
            f"{reasons}; unexplained: {unexplained}; not heard by the listener: {self.unheard}"
        )


def account(
    listener: FrameListener,
    before: Mapping[str, Mapping[str, str]],
    after: Mapping[str, Mapping[str, str]],
    times_s: np.ndarray,
    after_last: int,
    before_first: int = 0,
) -> Account:
    """Compare the stamps with the counters.

    Args:
        listener: has noted the frames of the stretch.
        before, after: values of the diagnostics by node, at the begin and at the end.
        times_s: (N,) of the frames of the video, s; the first is 0.
        after_last: number of frames that may have been skipped after the last one.
        before_first: number of frames that may have been skipped before the first one of a round.
    """
    published = sorted(set(listener.published))
    detected = set(listener.detected)
    lifted = {newest for newest, _ in listener.lifted}
    skipped = skipped_frames(published, times_s)
    missing = {
        "video_source": skipped,
        "keypoint_detector": len(published) - len(detected),
        "skeleton_lifter": len(detected) - len(lifted),
    }
    made = Account(
        len(published),
        len(detected),
        len(lifted),
        skipped,
        unheard=listener.unheard,
        after_last=after_last,
    )
    for node, reasons in LEFT_OUT.items():
        counted = 0
        for reason in reasons:
            grown = int(after[node].get(reason, 0)) - int(before[node].get(reason, 0))
            counted += grown
            if grown:
                made.left_out[reason] = made.left_out.get(reason, 0) + grown
        low, high = missing[node] - listener.unheard, missing[node] + listener.unheard
        if node == "video_source":
            # By the stamps nothing tells of frames before the first one of a round.
            high += after_last + min(counted, before_first)
        # A frame is counted too little, or too often.
        if not low <= counted <= high:
            made.unexplained[node] = max(low - counted, counted - high)
    return made
