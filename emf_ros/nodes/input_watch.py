"""Watches a topic that a node needs: no publisher, silent, or everything refused. Needs no ROS."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .diagnostics import Level, Task

#: Time without a publisher after which the log says so, s.
NO_PUBLISHER_S = 5.0

#: Minimum time without a message after which a topic is silent, s.
SILENT_S = 3.0

#: Number of its last interval after which the topic of a slow camera is silent.
SILENT_INTERVALS = 3

#: Number of messages in a row that are refused until all are said to be.
REFUSED_IN_A_ROW = 3

#: Maximum time for which a killed publisher still counts, s: until then DDS waits for a sign of its
#: life, by default 20 s, and is told of its end with some delay.
REMAINS_S = 30.0


@dataclass(frozen=True)
class PublisherId:
    """A publisher of a topic, as far as its origin is known.

    Attributes:
        node: full name of its node; empty while it has not come.
        process: the same for all publishers of a process.
    """

    node: str
    process: bytes


def surely_alive(publishers: Sequence[PublisherId]) -> int:
    """The minimum number of publishers that are alive.

    Two processes with a node of the same name are a killed node and the one that was started in
    its place, or two nodes by mistake. A publisher whose node is not known yet may be the latter.
    """
    known = {publisher.node for publisher in publishers} - {""}
    return sum(
        max(Counter(p.process for p in publishers if p.node == node).values())
        for node in known or {publisher.node for publisher in publishers}
    )


class InputWatch:
    """The state of one topic that a node subscribes to.

    Args:
        topic: full name.
        content: what its messages hold, such as "images".
        remedy: what to do where it has no publisher, an imperative sentence without a full stop.
        publishers: gives its publishers.
        warn: takes a line for the log.
        clock_s: monotonic time, s.

    Attributes:
        rate_hz: mean number of messages a second between the last two readings.
    """

    def __init__(
        self,
        topic: str,
        content: str,
        remedy: str,
        publishers: Callable[[], Sequence[PublisherId]],
        warn: Callable[[str], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.topic, self.content = topic, content
        self._remedy, self._publishers, self._warn, self._clock_s = (
            remedy,
            publishers,
            warn,
            clock_s,
        )
        now_s = clock_s()
        self._arrivals = self._refused = 0
        self._arrived_s = self._wanted_s = self._published_s = self._read_s = now_s
        self._interval_s = 0.0
        # The publishers, and since when they are these.
        self._known, self._known_s = set[PublisherId](), now_s
        self._said = False
        self.rate_hz = 0.0

    def arrived(self) -> None:
        """Note a message."""
        now_s = self._clock_s()
        self._interval_s, self._arrived_s = now_s - self._arrived_s, now_s
        self._arrivals += 1
        self._refused += 1

    def used(self) -> None:
        """Note that the newest message was used, or left out on purpose."""
        self._refused = 0

    def read(self, wanted: bool = True, needed: bool = True) -> Task:
        """How the topic stands since the last reading.

        Args:
            wanted: whether messages would be taken.
            needed: whether a publisher that sends none is a fault.
        """
        now_s = self._clock_s()
        rate_hz = self.rate_hz = self._arrivals / max(now_s - self._read_s, 1e-6)
        self._arrivals, self._read_s = 0, now_s
        if not wanted:
            self._wanted_s = now_s
        publishers = self._publishers()
        count = len(publishers)
        if self._known != set(publishers):
            self._known, self._known_s = set(publishers), now_s
        values = {"topic": self.topic, "publishers": str(count), "arrivals_hz": f"{rate_hz:.1f}"}
        task = Task(self.content, values=values)
        if count:
            self._published_s, self._said = now_s, False
        if not count and self._arrived_s < now_s - 1.0:
            text = f"no publisher on {self.topic}: {self._remedy}"
            task.worsen(Level.STALE, text)
            if not self._said and now_s - self._published_s >= NO_PUBLISHER_S:
                self._said = True
                self._warn(text)
            return task
        if surely_alive(publishers) > 1 or (count > 1 and now_s - self._known_s > REMAINS_S):
            task.worsen(
                Level.WARN,
                f"{count} publishers on {self.topic}: their {self.content} would get mixed up",
            )
        if not wanted:
            task.worsen(Level.OK, "at rest: no subscriber wants the results")
            return task
        silent_s = now_s - max(self._arrived_s, self._wanted_s)
        if needed and silent_s > max(SILENT_S, SILENT_INTERVALS * self._interval_s):
            task.worsen(
                Level.STALE,
                f"nothing on {self.topic} for {silent_s:.0f} s, though it has a publisher: check "
                "the camera and the network",
            )
        elif self._refused >= REFUSED_IN_A_ROW:
            task.worsen(
                Level.ERROR,
                f"the last {self._refused} messages on {self.topic} were refused: see the counters "
                "and the log",
            )
        else:
            task.worsen(Level.OK, f"{rate_hz:.1f} {self.content}/s")
        return task
