"""A callback group for images: a busy node takes no message from the middleware."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup


class WhenIdle(CallbackGroup):
    """Callbacks that are put off while a worker is busy, or no one wants what it makes.

    An image that will not be looked at is then never taken from the middleware, where a newer one
    replaces it: turning it into a Python message costs milliseconds a megapixel. The executor asks
    whenever it wakes, which a timer of `BaseNode` has it do every second.

    Args:
        wanted: whether there is anything to work for.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        super().__init__()
        self.wanted, self.busy = wanted, False

    def can_execute(self, entity: Any) -> bool:
        return not self.busy and self.wanted()

    def beginning_execution(self, entity: Any) -> bool:
        return self.can_execute(entity)

    def ending_execution(self, entity: Any) -> None:
        return None
