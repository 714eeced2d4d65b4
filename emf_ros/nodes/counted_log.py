"""A log that counts what is refused: of a node, or of one of its cameras."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from ..reasons import Reason
from ..stamps import StampFilter


class CountedLog:
    """Counts reasons, and says them at most every few seconds.

    Attributes:
        counts: number of events by reason. Only grows.
    """

    def __init__(self) -> None:
        self.counts: Counter[Reason] = Counter()

    def warn_once(self, key: str, text: str) -> None:
        """Log a warning once for each key."""
        raise NotImplementedError

    def warn_throttled(self, key: str, text: str) -> None:
        """Log a warning at most every few seconds for each key."""
        raise NotImplementedError

    def refuse(self, reason: Reason, detail: str) -> None:
        """Count a reason, and log the detail at most every few seconds."""
        self.counts[reason] += 1
        self.log_counted(reason, detail)

    def log_counted(self, reason: Reason, detail: str) -> None:
        """Log a reason that was counted, at most every few seconds."""
        self.warn_throttled(reason, f"{detail} ({reason}: {self.counts[reason]} so far)")

    def log_refused_stamp(self, reason: Reason, topic: str, stamps: StampFilter) -> None:
        """Log that a message was dropped for its stamp, and counted.

        Args:
            reason: of the refusal.
            topic: of the message.
            stamps: the filter that has refused the stamp.
        """
        if reason is Reason.STAMPS_ALL_EQUAL:
            self.warn_once(f"{reason} {topic}", f"{topic} refused: {stamps.trouble}")
        else:
            self.log_counted(reason, f"{topic}: {reason.explanation.meaning}")


class NodeLog(Protocol):
    """The log of a node."""

    @property
    def shutting_down(self) -> bool: ...

    def warn_once(self, key: str, text: str) -> None: ...

    def warn_throttled(self, key: str, text: str) -> None: ...


class CameraLog(CountedLog):
    """Counts of one camera; their lines go to the log of the node.

    Args:
        node: of the camera.
        camera: its name; empty where there is one only.
    """

    def __init__(self, node: NodeLog, camera: str) -> None:
        super().__init__()
        self._node, self._camera = node, camera

    @property
    def shutting_down(self) -> bool:
        """Whether ROS has been shut down."""
        return self._node.shutting_down

    def warn_once(self, key: str, text: str) -> None:
        self._node.warn_once(f"{self._camera} {key}", text)

    def warn_throttled(self, key: str, text: str) -> None:
        self._node.warn_throttled(f"{self._camera} {key}", text)
