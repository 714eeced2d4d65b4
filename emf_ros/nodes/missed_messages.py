"""Messages of a topic that a subscription never gets: replaced by newer ones, or lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.subscription import Subscription

#: Whether callbacks can take the number that the publisher gives to a message: not up to Humble.
HAS_NUMBERS = hasattr(Subscription, "CallbackType")

#: Maximum number of messages that are missed at once. A larger gap is between two publishers.
MAX_GAP = 1000

#: Maximum number of publishers whose last numbers are kept.
MAX_PUBLISHERS = 16


class MissedMessages:
    """Counts missed messages by the gaps in the numbers that their publisher gives them.

    A middleware without such numbers counts none.

    Args:
        count: takes the number of missed messages, whenever there are some.
    """

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._last: dict[bytes, int] = {}

    def note(self, info: Mapping[str, Any]) -> None:
        """Note a message that was taken.

        Args:
            info: of the message, as rclpy gives it.
        """
        number = info.get("publication_sequence_number")
        if number is None:
            return
        # Up to Jazzy the publisher is not known: one that begins anew has a smaller number.
        publisher = bytes((info.get("publisher_gid") or {}).get("data", b""))
        last = self._last.get(publisher)
        if len(self._last) >= MAX_PUBLISHERS:
            self._last.clear()
        self._last[publisher] = number
        if last is not None and 0 < number - last - 1 <= MAX_GAP:
            self._count(number - last - 1)
