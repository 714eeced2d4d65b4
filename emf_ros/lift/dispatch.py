"""Which keypoints of a lifter's cameras are lifted: the newest, or all of them in their order.

`LiftNewest` is for live images. Its thread reads the waiting keypoints of all cameras, and lifts
the newest. Keypoints whose transforms are on their way hold up no other camera. `LiftEvery` is for
replays. It lifts each image in the thread that delivers it. So the same input gives the same output
at any speed.
"""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ..reasons import Reason
from ..stamps import CONFIRM_NS
from ..types import Frame2D
from .feed import CameraReport, Feed, Log, Output, Received
from .together import lift_together

#: Time without keypoints that are used after which all tracks of a camera end, s, wall time.
SILENCE_S = 1.0

#: Maximum time for which keypoints of a replay wait for the intrinsics, transforms or depth images,
#: ns, by their stamps.
INTRINSICS_WAIT_NS = 10_000_000_000

#: Time within which nodes that were started together discover each other, also on a busy machine,
#: s, wall time.
DISCOVERY_S = 5.0

#: Topic of the transforms.
TRANSFORMS = "/tf"

#: Number of ticks in which keypoints wait for a transform, or a depth image, and none comes, after
#: which a replay has no more of them. The time does not tell it: where the process has stood still,
#: they wait to be read.
TICKS_IN_VAIN = 3

#: Maximum time that `LiftNewest.stop` waits for its thread, s.
STOP_TIMEOUT_S = 5.0

Batch = tuple[Feed, Sequence[Received]]


class Dispatcher(ABC):
    """Takes the keypoints of all cameras, and has them lifted.

    Args:
        feeds: the cameras; their pipelines share one engine.
        log: counts and says what fails.
        publish: takes the poses of a camera.

    Attributes:
        feeds: as given.
        lift_ms: time of the last forward pass, ms; NaN before the first.
    """

    def __init__(
        self, feeds: Sequence[Feed], log: Log, publish: Callable[[Feed, Output], None]
    ) -> None:
        self.feeds = tuple(feeds)
        self.lift_ms = float("nan")
        self._log, self._publish = log, publish
        self._stopping = False
        # Held while keypoints are processed.
        self._lock = threading.Lock()

    @abstractmethod
    def submit(self, feed: Feed, frame: Frame2D) -> None:
        """Take the keypoints of one image, from any thread."""

    def report(self, feed: Feed, report: CameraReport) -> None:
        """Take intrinsics, from any thread."""
        feed.put_report(report)

    def submit_depth(self, feed: Feed, stamp_ns: int, image: np.ndarray) -> None:
        """Take a depth image, see `LiftPipeline.add_depth`, from any thread."""
        feed.put_depth(stamp_ns, image)

    @abstractmethod
    def waiting(self, feed: Feed) -> int:
        """The number of images of a camera whose keypoints wait."""

    @abstractmethod
    def transforms_came(self) -> None:
        """Lift what has waited for transforms; call it after each new transform."""

    @abstractmethod
    def start(self) -> None:
        """Begin to lift."""

    def stop(self) -> None:
        """Lift no more."""
        self._stopping = True

    def between(self, action: Callable[[], None]) -> None:
        """Run an action between two images, in the thread of the caller."""
        with self._lock:
            action()

    def restart(self, feed: Feed) -> None:
        """Forget the people of a camera and all that waits, and publish the ends of the tracks.

        Call it in `between`.
        """
        self._publish(feed, feed.restart())

    def _process(self, batches: Sequence[Batch]) -> None:
        """Take in keypoints of all cameras, lift in one forward pass, and publish."""
        due = [(feed, newest) for feed, batch in batches if (newest := feed.take_in(batch))]
        if not due:
            return
        begin_s = time.perf_counter()
        results = lift_together([feed.pipeline for feed, _ in due])
        for (feed, newest), result in zip(due, results, strict=True):
            if result is not None:
                self.lift_ms = result.lift_ms
                output = feed.output(result, newest, begin_s)
                self._publish(feed, output)
                feed.choose_lag(output)

    def _safely(self, action: Callable[[], None]) -> None:
        """Run an action. An error is counted and logged; it must not end the stream."""
        try:
            action()
        except Exception as error:
            if not (self._stopping or self._log.shutting_down):
                self._log.refuse(Reason.LIFTER_FAILED, f"lifting failed: {error!r}")

    def end_all(self, feed: Feed) -> None:
        """End all people of a camera, and publish their ends, where there are any."""
        ended = feed.end_all()
        if ended.result.people:
            self._publish(feed, ended)


class LiftNewest(Dispatcher):
    """Lifts in its own thread: all keypoints are read, and the newest are lifted.

    Keypoints wait for the transforms of their image, each for at most `TRANSFORM_WAIT_S`.
    """

    def __init__(
        self, feeds: Sequence[Feed], log: Log, publish: Callable[[Feed, Output], None]
    ) -> None:
        super().__init__(feeds, log, publish)
        # Guards the queues.
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="lift", daemon=True)

    def waiting(self, feed: Feed) -> int:
        return len(feed.queue)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._arrived:
            self._stopping = True
            self._arrived.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=STOP_TIMEOUT_S)

    def submit(self, feed: Feed, frame: Frame2D) -> None:
        received = Received(frame)
        with self._arrived:
            feed.put(received)
            self._arrived.notify()

    def transforms_came(self) -> None:
        with self._arrived:
            if any(feed.queue for feed in self.feeds):
                self._arrived.notify()

    def between(self, action: Callable[[], None]) -> None:
        with self._lock, self._arrived:
            action()

    def _work(self) -> None:
        while (batches := self._take_ready()) is not None:
            now_s = time.perf_counter()
            with self._lock:
                self._safely(partial(self._process, batches))
                # Keypoints that are refused are no sign of people.
                for feed in self.feeds:
                    if now_s - feed.used_s > SILENCE_S:
                        self._safely(partial(self.end_all, feed))

    def _take_ready(self) -> list[Batch] | None:
        """Wait for keypoints that need not wait any more, for at most half of `SILENCE_S`.

        Returns:
            those of each camera; None when no more are to be lifted.
        """
        end_s = time.perf_counter() + SILENCE_S / 2
        with self._arrived:
            while not self._stopping:
                now_s = time.perf_counter()
                batches: list[Batch] = [(f, f.take_ready(now_s)) for f in self.feeds]
                if now_s >= end_s or any(batch for _, batch in batches):
                    return batches
                until_s = min([end_s, *(feed.ready_at_s for feed in self.feeds)])
                self._arrived.wait(until_s - now_s)
        return None


class LiftEvery(Dispatcher):
    """Lifts every image in its order, in the thread that brings it.

    The first keypoints of a camera wait for its intrinsics, and all keypoints for the transforms
    and the depth images of their time. Otherwise the load of the machine decides which of two
    topics is discovered and read first, and a replay would begin with or without positions by
    chance.

    Args:
        feeds, log, publish: as of any dispatcher.
        discovery_s: time within which a publisher of intrinsics is discovered, s, wall time.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        log: Log,
        publish: Callable[[Feed, Output], None],
        discovery_s: float = DISCOVERY_S,
    ) -> None:
        super().__init__(feeds, log, publish)
        self._discovery_s = discovery_s
        self._waiting = {feed.name: IntrinsicsWait(discovery_s) for feed in feeds}
        # The topics that keypoints have waited for since the last tick, and for each the number of
        # ticks in which they waited and nothing came.
        self._awaited: set[str] = set()
        self._ticks: dict[str, int] = {}

    def waiting(self, feed: Feed) -> int:
        return len(self._waiting[feed.name].queue)

    def start(self) -> None:
        """Nothing is to begin: the lifting happens in the threads of the callers."""

    def submit(self, feed: Feed, frame: Frame2D) -> None:
        with self._lock:
            self._waiting[feed.name].put(Received(frame))
            self._lift_waiting(feed)

    def report(self, feed: Feed, report: CameraReport) -> None:
        super().report(feed, report)
        self.look_again()

    def restart(self, feed: Feed) -> None:
        self._waiting[feed.name] = IntrinsicsWait(self._discovery_s)
        self._ticks.clear()
        super().restart(feed)

    def submit_depth(self, feed: Feed, stamp_ns: int, image: np.ndarray) -> None:
        super().submit_depth(feed, stamp_ns, image)
        self._ticks[feed.topic("depth")] = 0
        with self._lock:
            self._lift_waiting(feed)

    def look_again(self) -> None:
        """Lift what need not wait any more."""
        with self._lock:
            for feed in self.feeds:
                self._lift_waiting(feed)

    def transforms_came(self) -> None:
        self._ticks[TRANSFORMS] = 0
        self.look_again()

    def tick(self) -> None:
        """Lift what has waited in vain.

        Call it every `SILENCE_S`, in the thread that reads the messages.
        """
        with self._lock:
            # A node that has nothing to do waits for nothing.
            for topic in self._awaited:
                self._ticks[topic] = self._ticks.get(topic, 0) + 1
            self._awaited.clear()
        self.look_again()

    def _lift_waiting(self, feed: Feed) -> None:
        waiting = self._waiting[feed.name]
        while (
            waiting.queue
            and not waiting.goes_on(feed.report is not None, feed.announced)
            and not self._transforms_come(feed, waiting.queue)
            and not self._depth_comes(feed, waiting.queue)
        ):
            self._safely(partial(self._process, [(feed, [waiting.queue.popleft()])]))
        if waiting.timed_out:
            self._log.warn_once(
                f"no intrinsics {feed.name}",
                f"no {feed.topic('camera_info')} in {INTRINSICS_WAIT_NS / 1e9:g} s of keypoints, "
                "though it is announced: they are lifted without a position",
            )
        elif waiting.queue and feed.report is None:
            self._log.warn_once(
                f"intrinsics awaited {feed.name}",
                f"keypoints wait for {feed.topic('camera_info')}",
            )

    def _transforms_come(self, feed: Feed, queue: deque[Received]) -> bool:
        """Whether the transforms of the oldest keypoints are not there, and may still come."""
        frames, frame = feed.pipeline.frames, queue[0].frame
        if frames is None or frames.known(frame.frame_id, frame.stamp_ns):
            return False
        return not _waits_long(queue) and self._comes(TRANSFORMS)

    def _depth_comes(self, feed: Feed, queue: deque[Received]) -> bool:
        """Whether depth images of the oldest keypoints are not there, and may still come."""
        if feed.pipeline.depths.has_all_until(queue[0].frame.stamp_ns):
            return False
        return not _waits_long(queue) and self._comes(feed.topic("depth"))

    def _comes(self, topic: str) -> bool:
        """Whether more of a topic that keypoints wait for may come."""
        self._awaited.add(topic)
        return self._ticks.get(topic, 0) < TICKS_IN_VAIN


def _waits_long(queue: deque[Received]) -> bool:
    """Whether the oldest keypoints have waited for long, by the stamps.

    One odd stamp, far ahead or far back, has nothing to wait for.
    """
    return abs(queue[-1].frame.stamp_ns - queue[0].frame.stamp_ns) > INTRINSICS_WAIT_NS


class IntrinsicsWait:
    """The keypoints of one camera that wait for its intrinsics.

    Args:
        discovery_s: time within which a publisher of intrinsics is discovered, s, wall time.

    Attributes:
        queue: the keypoints.
        timed_out: whether they have waited for longer than `INTRINSICS_WAIT_NS`.
    """

    def __init__(self, discovery_s: float = DISCOVERY_S) -> None:
        self.queue: deque[Received] = deque()
        self.timed_out = False
        self._waited_ns = 0
        self._discovery_s, self._since_s = discovery_s, math.nan
        self._was_announced = False

    def put(self, received: Received) -> None:
        """Add keypoints.

        The waiting time is counted by the stamps, so that it is the same whatever the load. Steps
        to or from an odd stamp do not count.
        """
        if math.isnan(self._since_s):
            self._since_s = time.monotonic()
        if self.queue:
            step_ns = received.frame.stamp_ns - self.queue[-1].frame.stamp_ns
            self._waited_ns += step_ns if 0 < step_ns <= CONFIRM_NS else 0
        self.queue.append(received)

    def goes_on(self, known: bool, announced: Callable[[], bool]) -> bool:
        """Whether the keypoints still wait.

        Args:
            known: whether intrinsics have come.
            announced: whether a publisher of intrinsics is there.
        """
        if known or self.timed_out:
            return False
        if not announced():
            # It is not discovered yet, or it has gone.
            young = time.monotonic() - self._since_s < self._discovery_s
            return young and not self._was_announced
        self._was_announced = True
        self.timed_out = self._waited_ns > INTRINSICS_WAIT_NS
        return not self.timed_out
