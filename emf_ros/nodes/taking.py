"""What stands between a subscription and its callback: the bound, lost messages, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.serialization import deserialize_message

from ..io.one_line import one_line
from ..reasons import Reason
from .missed_messages import HAS_NUMBERS, MissedMessages

#: Maximum size of a message that holds no image, bytes: 1000 people with the joints of any layout.
#: A message of 100,000 people would keep a node busy for seconds before its callback sees it.
MAX_MESSAGE_BYTES = 4_000_000
#: Maximum number of people or detections in a message. Each becomes arrays of its own.
MAX_MESSAGE_PEOPLE = 1000


def is_refused_crowd(people: int, topic: str, refuse: Callable[[Reason, str], None]) -> bool:
    """Whether a message has too many people to be read; it is then counted and said.

    Args:
        people: number of people or detections in the message.
        topic: in the log.
        refuse: counts and says what is refused.
    """
    if people <= MAX_MESSAGE_PEOPLE:
        return False
    refuse(
        Reason.MESSAGE_TOO_LARGE,
        f"{topic}: a message of {people} people is refused; at most {MAX_MESSAGE_PEOPLE} are read",
    )
    return True


class Taking:
    """Takes the messages of a subscription, and passes them to its callback.

    A message that is too large is refused before it is read. An error of the callback drops the
    message, and does not end the node.

    Args:
        kind: of the messages.
        topic: in the log.
        callback: takes a message.
        max_bytes: maximum size of a message; None: of images, which have bounds of their own.
        missed: counts the messages that never come; None: they are not counted.
        refuse: counts and says what is refused.
        closing: whether errors mean nothing any more.
    """

    def __init__(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        max_bytes: int | None,
        missed: MissedMessages | None,
        refuse: Callable[[Reason, str], None],
        closing: Callable[[], bool],
    ) -> None:
        self._kind, self._topic, self._callback = kind, topic, callback
        self._max_bytes, self._missed = max_bytes, missed
        self._refuse, self._closing = refuse, closing

    @property
    def raw(self) -> bool:
        """Whether the subscription is to give bytes."""
        return self._max_bytes is not None

    @property
    def callback(self) -> Callable[..., None]:
        """The callback of the subscription."""
        counts = self._missed is not None and HAS_NUMBERS
        return self._take_numbered if counts else self._take

    def _take_numbered(self, message: Any, info: Any) -> None:
        assert self._missed is not None
        self._missed.note(info)
        self._take(message)

    def _take(self, message: Any) -> None:
        if self._max_bytes is not None and len(message) > self._max_bytes:
            self._refuse(
                Reason.MESSAGE_TOO_LARGE,
                f"{self._topic}: a message of {len(message)} bytes is refused; at most "
                f"{self._max_bytes} are read",
            )
            return
        try:
            self._callback(deserialize_message(message, self._kind) if self.raw else message)
        except Exception as error:  # anybody on the network may send anything
            if self._closing():
                raise
            self._refuse(
                Reason.MESSAGE_FAILED,
                f"{self._topic}: a message is dropped: {one_line(repr(error))}",
            )
