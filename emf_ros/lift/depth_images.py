"""The depth images of one camera that poses may still need, by their stamps."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..reasons import Reason
from ..stamps import LATE_NS, StampFilter, StampVerdict

#: Maximum time between a depth image and the described image, ns. Half the period of an
#: unsynchronised camera at 30 Hz is within it.
MAX_APART_NS = 34_000_000

#: Maximum time for which live depth images wait for the keypoints of their moment, ns, by their
#: stamps, besides the lag. A detector on a slow CPU takes a second.
WAIT_NS = 2_000_000_000

#: Maximum size of the depth images of one camera, bytes: of 640x480 pixels of 16 bits those of a
#: minute at 30 Hz, of 4K and 32 bits those of a second.
MAX_BYTES = 2**30


@dataclass(frozen=True)
class DepthImage:
    """A depth image.

    Attributes:
        run: number of jumps back of the depth images' clock before it.
        stamp_ns: of the image, ns.
        pixels: (H, W), see `depth.trunk_depth`.
    """

    run: int
    stamp_ns: int
    pixels: np.ndarray


class DepthImages:
    """Keeps each depth image until the poses of its moment are made. Any thread may add one.

    A bag that starts again takes both clocks back, of the depth images and of the keypoints, one
    before the other. So images of the next run stay while keypoints of this one come.

    Args:
        expected: whether poses without an image are counted before the first one.
        every: whether images wait for their keypoints for any time, as in a replay.

    Attributes:
        stamps: the rule on the images' stamps.
    """

    def __init__(self, expected: bool = False, every: bool = True) -> None:
        self._expected, self._every = expected, every
        self._lock = threading.Lock()
        # In the order of their arrival.
        self._images: deque[DepthImage] = deque()
        self.clear()

    def clear(self) -> None:
        """Forget all images, and take the next stamp as the first."""
        with self._lock:
            self.stamps = StampFilter()
            self._images.clear()
            # The run of the newest image, and that of the keypoints.
            self._newest_run = self._run = 0
            # Stamp of the newest keypoints, ns; None before the first.
            self._keypoints_ns: int | None = None
            # Time from the described image to the newest keypoints, ns.
            self._lag_ns = 0
            # Stamps of the first and the last image in a row that was dropped in need, ns.
            self._dropped_ns: tuple[int, int] | None = None

    def add(self, stamp_ns: int, pixels: np.ndarray, counts: Counter[Reason]) -> Reason | None:
        """Take an image.

        Args:
            stamp_ns: of the image, ns.
            pixels: (H, W), see `depth.trunk_depth`.
            counts: takes the number of refused images, by reason.

        Returns:
            why it is refused; None where it is taken.
        """
        with self._lock:
            self._expected = True
            verdict = self.stamps.take(stamp_ns)
            if verdict.reason is not None:
                counts[verdict.reason] += 1
                return verdict.reason
            self._newest_run += verdict is StampVerdict.JUMPED_BACK
            self._images.append(DepthImage(self._newest_run, stamp_ns, pixels))
            size = sum(image.pixels.nbytes for image in self._images)
            while size > MAX_BYTES or (not self._every and self._waits_long()):
                dropped = self._images.popleft()
                size -= dropped.pixels.nbytes
                first_ns = dropped.stamp_ns if self._dropped_ns is None else self._dropped_ns[0]
                self._dropped_ns = (min(first_ns, dropped.stamp_ns), dropped.stamp_ns)
        return None

    def _waits_long(self) -> bool:
        oldest, newest = self._images[0], self._images[-1]
        apart_ns = newest.stamp_ns - oldest.stamp_ns
        return oldest.run != newest.run or apart_ns > self._lag_ns + WAIT_NS

    def at(self, stamp_ns: int) -> tuple[np.ndarray | None, Reason | None]:
        """The image of the moment of poses.

        Args:
            stamp_ns: of the described image, ns.

        Returns:
            the pixels, None where there is no such image; and why, None where there is one or
            none is expected.
        """
        with self._lock:
            if not self._expected:
                return None, None
            nearest = min(
                self._images, key=lambda image: abs(image.stamp_ns - stamp_ns), default=None
            )
            if nearest is not None and abs(nearest.stamp_ns - stamp_ns) <= MAX_APART_NS:
                self._run = nearest.run
                return nearest.pixels, None
            if self._dropped_ns is not None:
                first_ns, last_ns = self._dropped_ns
                if first_ns - MAX_APART_NS <= stamp_ns <= last_ns + MAX_APART_NS:
                    return None, Reason.DEPTH_OVERRUN
            return None, Reason.DEPTH_IMAGE_MISSING

    def has_all_until(self, stamp_ns: int) -> bool:
        """Whether all images until the stamp of the next keypoints, ns, have come.

        Images come in order, so a later one tells it. True where none are expected.
        """
        with self._lock:
            back = self._keypoints_ns is not None and stamp_ns < self._keypoints_ns - LATE_NS
            run = self._run + back
            return not self._expected or any(
                image.run > run or (image.run == run and image.stamp_ns >= stamp_ns)
                for image in reversed(self._images)
            )

    def keypoints_came(self, stamp_ns: int) -> None:
        """Forget the images between those of the newest keypoints, stamp in ns, and those before.

        Where the keypoints' clock has jumped back, forget all of its last run.
        """
        with self._lock:
            before_ns, self._keypoints_ns = self._keypoints_ns, stamp_ns
            if before_ns is not None and stamp_ns <= before_ns:
                self._run += 1
                self._images = deque(i for i in self._images if i.run >= self._run)
                before_ns = self._dropped_ns = None
        until_ns = -math.inf if before_ns is None else before_ns + MAX_APART_NS
        self._keep(lambda ns: ns <= until_ns or ns >= stamp_ns - MAX_APART_NS)

    def described(self, stamp_ns: int) -> None:
        """Forget the images before those that poses after a stamp, ns, may need."""
        if self._keypoints_ns is not None:
            self._lag_ns = self._keypoints_ns - stamp_ns
        self._keep(lambda ns: ns >= stamp_ns - MAX_APART_NS)

    def _keep(self, is_needed: Callable[[int], bool]) -> None:
        """Keep the images with some stamps, ns, and those of the next run."""
        with self._lock:
            kept = [i for i in self._images if i.run > self._run or is_needed(i.stamp_ns)]
            self._images = deque(kept)
