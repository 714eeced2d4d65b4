"""A callback group for images: a busy node takes no message from the middleware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup


class WhenIdle(CallbackGroup):
    """Holds callbacks back while a worker is busy, or while its results are not wanted.

    An image that will not be used then stays in the middleware, where a newer one replaces it. The
    conversion into a Python message would cost milliseconds per megapixel. The executor asks again
    whenever it wakes. A timer of `BaseNode` wakes it every second.

    Args:
        wanted: whether the results are wanted.

    Attributes:
        busy: whether the worker has a message.
        rested: whether callbacks were held back because the results were not wanted; the user of
            this group sets it to false.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        super().__init__()
        self.wanted, self.busy, self.rested = wanted, False, False

    def can_execute(self, entity: Any) -> bool:
        if self.busy:
            return False
        wanted = self.wanted()
        self.rested |= not wanted
        return wanted

    def beginning_execution(self, entity: Any) -> bool:
        return self.can_execute(entity)

    def ending_execution(self, entity: Any) -> None:
        return None
