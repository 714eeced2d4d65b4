"""The rule for the time stamps of images, the same for detector, tracker and lifter.

An image continues the last one when its stamp is a plausible step later. An image is dropped when
its stamp is not newer, or is far from the last one. A jump of the clock is accepted when the next
image confirms it: its stamp continues from the refused one.

The rule reads no clock, so a replay gives the same result at any speed. Stamps may have any epoch:
Unix time, time since boot or since the start of a file. They may be negative.
"""

from __future__ import annotations

import enum
from collections import deque
from statistics import median_low

from .reasons import Reason

NANOSECONDS = 1_000_000_000

#: Maximum time by which a late stamp is older than the newest one, ns. An older one is a jump.
LATE_NS = 500_000_000

#: Maximum plausible step from image to image of a fast camera, ns. Tracks bridge such a gap.
STEP_NS = 1_000_000_000

#: Maximum plausible step of a slow camera, as a multiple of its usual step.
STEPS = 3

#: Number of steps whose median is the usual step.
STEPS_KEPT = 5

#: Maximum step, ns, from a refused stamp to the stamp that confirms it.
CONFIRM_NS = 10_000_000_000

#: Number of outliers in a row after which a jump is accepted, however far apart their stamps are.
#: Without it a camera that slows down to one image a minute would be refused for ever.
OUTLIERS_IN_A_ROW = 5

#: Number of images in a row with the same stamp after which the driver is said to set no stamps.
EQUAL_IN_A_ROW = 10


class StampVerdict(enum.Enum):
    """What the stamp of an image says about the image."""

    CONTINUES = enum.auto()
    JUMPED_AHEAD = enum.auto()
    JUMPED_BACK = enum.auto()
    NOT_NEWER = enum.auto()
    OUTLIER = enum.auto()
    ALL_EQUAL = enum.auto()

    @property
    def accepted(self) -> bool:
        """Whether the image is used."""
        return self.reason is None

    @property
    def reason(self) -> Reason | None:
        """Why the image is dropped; None where it is used."""
        return _REASONS.get(self)


_REASONS = {
    StampVerdict.NOT_NEWER: Reason.STAMP_NOT_NEWER,
    StampVerdict.OUTLIER: Reason.STAMP_OUTLIER,
    StampVerdict.ALL_EQUAL: Reason.STAMPS_ALL_EQUAL,
}


class StampFilter:
    """The rule on the stamps of one camera's images.

    Attributes:
        newest_ns: stamp of the newest image that was accepted, ns; None before the first.
    """

    def __init__(self) -> None:
        self.newest_ns: int | None = None
        # Stamp of the accepted image before the newest.
        self._previous_ns = 0
        self._steps: deque[int] = deque(maxlen=STEPS_KEPT)
        # Stamp of the last image if it was an outlier.
        self._outlier_ns: int | None = None
        self._outliers = 0
        # Stamp of the last image, accepted or not, and the number of images in a row with it.
        self._last_ns: int | None = None
        self._equal = 0

    @property
    def trouble(self) -> str:
        """The fault of the driver's stamps, with the remedy; empty while there is none."""
        if self._equal < EQUAL_IN_A_ROW or self._last_ns is None:
            return ""
        return (
            f"the last {self._equal} images have the same stamp, "
            f"{self._last_ns / NANOSECONDS:.9g} s: the driver does not stamp its images; make it "
            "set header.stamp to the time of each image (under use_sim_time /clock must be "
            "published)"
        )

    def accepts(self, stamp_ns: int) -> bool:
        """Whether the next image is used. The newest accepted stamp may be asked about again."""
        return stamp_ns == self.newest_ns or self.take(stamp_ns).accepted

    def take(self, stamp_ns: int, next_ns: int | None = None) -> StampVerdict:
        """Judge the next image by its stamp, and remember the stamp.

        Args:
            stamp_ns: of the image, ns. Every image counts, in the order of arrival.
            next_ns: of the image after it, ns, where it is known, as in a recording. A jump ahead
                that it confirms is accepted at once.
        """
        self._equal = self._equal + 1 if stamp_ns == self._last_ns else 1
        self._last_ns = stamp_ns
        verdict = self._judge(stamp_ns, next_ns)
        if not verdict.accepted and self._equal >= EQUAL_IN_A_ROW:
            return StampVerdict.ALL_EQUAL
        return verdict

    def _judge(self, stamp_ns: int, next_ns: int | None) -> StampVerdict:
        if self.newest_ns is None:
            self.newest_ns = self._previous_ns = stamp_ns
            return StampVerdict.CONTINUES
        step_ns = stamp_ns - self.newest_ns
        usual_ns = median_low(self._steps) if self._steps else 0
        if 0 < step_ns <= max(STEP_NS, STEPS * usual_ns):
            self._accept(stamp_ns, self.newest_ns)
            return StampVerdict.CONTINUES
        # A stamp between the last two may be far older than the newest: two images came in the
        # wrong order, or the newest stamp was a little ahead.
        if step_ns <= 0 and (step_ns >= -LATE_NS or stamp_ns >= self._previous_ns):
            self._outlier_ns, self._outliers = None, 0
            return StampVerdict.NOT_NEWER
        if step_ns > 0 and next_ns is not None and 0 < next_ns - stamp_ns <= STEP_NS:
            self._steps.clear()
            self._accept(stamp_ns, self.newest_ns)
            return StampVerdict.JUMPED_AHEAD
        before_ns, self._outlier_ns = self._outlier_ns, stamp_ns
        self._outliers += 1
        if before_ns is None or stamp_ns <= before_ns:
            return StampVerdict.OUTLIER
        confirmed = stamp_ns - before_ns <= max(CONFIRM_NS, STEPS * usual_ns)
        # After a single accepted image the usual step is not known, so any step is plausible.
        if not (confirmed or not self._steps or self._outliers >= OUTLIERS_IN_A_ROW):
            return StampVerdict.OUTLIER
        self._steps.clear()
        self._accept(stamp_ns, before_ns)
        return StampVerdict.JUMPED_AHEAD if step_ns > 0 else StampVerdict.JUMPED_BACK

    def _accept(self, stamp_ns: int, previous_ns: int) -> None:
        self._steps.append(stamp_ns - previous_ns)
        self.newest_ns, self._previous_ns = stamp_ns, previous_ns
        self._outlier_ns, self._outliers = None, 0
