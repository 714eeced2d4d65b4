"""The node video_source: publishes a video file, a webcam or a folder as a camera driver does."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from ..geometry.camera import Camera, CameraError
from ..io.bags import is_bag
from ..io.calibration.reader import choose_camera, read_camera
from ..io.frame_source import FrameSource, VideoError
from ..io.paths import from_home
from ..io.video import losses, open_source
from ..reasons import Reason
from . import conversions
from .base import BaseNode, NodeError
from .diagnostics import Level, Task
from .exit_codes import FAILED
from .params import VideoSourceParams
from .qos import RELIABLE_QOS
from .rate import RateMeter
from .running import run

#: Time between two attempts to open a missing source, s.
RETRY_S = 2.0

#: Maximum time that the end of a run waits for its thread, s. A camera that has been unplugged can
#: hold it for longer.
STOP_TIMEOUT_S = 5.0

#: Maximum time for which all frames of a file are skipped because they are late, s. On a machine
#: that decodes more slowly than the video plays, no frame would ever be in time.
MAX_SKIP_S = 1.0

#: Time between the end of the video and the end of the process, s, where nodes of the same process
#: work on the last frames.
LINGER_S = 2.0

#: Share of a period for which a frame waits until the detector is idle. In the rest of the period
#: the next frame is decoded.
HOLD_SHARE = 0.75


class Detector(Protocol):
    """A detector in the same process; it takes images by reference.

    Attributes:
        synchronous: whether it takes every image, in the thread that brings it.
    """

    @property
    def synchronous(self) -> bool: ...

    def is_wanted(self) -> bool:
        """Whether its results are wanted."""
        ...

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until it would process an image at once; False where it is still busy."""
        ...

    def submit(self, image: Image) -> None:
        """Give it an image. It is not written to before `wait_idle` is true again."""
        ...


class VideoSource(BaseNode[VideoSourceParams]):
    """Publishes `image` and `camera_info` at the times of the frames; late frames are skipped.

    In composed mode the detector gets frames by reference. A frame for which it has no time is
    neither converted nor copied, unless the topic `image` has a subscriber.

    Args:
        detector: of the same process, in composed mode.
        on_info: takes the intrinsics of the images for that detector.
    """

    #: The playing thread; None while the node is not active.
    _worker: threading.Thread | None = None

    def __init__(
        self,
        detector: Detector | None = None,
        on_info: Callable[[CameraInfo], None] = lambda message: None,
    ) -> None:
        super().__init__(VideoSourceParams)
        self._detector, self._on_info = detector, on_info
        self._notes: list[str] = []
        self._rate = RateMeter()
        self._state, self._fault = "starting", ""
        self._skipped = 0
        self._stopping = threading.Event()
        self._finished_s: float | None = None

    # ------------------------------------------------------------------ life cycle

    def load(self) -> None:
        self._file = self.params.camera_info_file
        fov = self.params.fov_deg
        self._fov_deg = None if isinstance(fov, str) else fov
        try:
            # The image size is unknown yet; errors that do not depend on it are reported at once.
            if self._file:
                read_camera(self._file, self.params.rectified)
            elif self._fov_deg is None and is_bag(from_home(self.params.source)):
                # A bag brings its intrinsics.
                pass
            elif self._fov_deg != 0:
                choose_camera((16, 9), None, self._fov_deg, rectified=self.params.rectified)
            else:
                self.get_logger().warning(
                    "fov_deg is 0 and there is no camera_info_file: camera_info has no intrinsics, "
                    "and people have no root; give one of the two"
                )
        except CameraError as error:
            raise NodeError(str(error)) from None
        self._image = self.publish_on(Image, "image", RELIABLE_QOS)
        self._info = self.publish_on(CameraInfo, "camera_info", RELIABLE_QOS)

    def start(self) -> None:
        # A new one: a thread that was too late for the end of the last run must not go on.
        self._stopping = threading.Event()
        self._finished_s, self._state, self._fault = None, "starting", ""
        if self.params.exit_at_end:
            self.every(0.2, self._exit_when_finished)
        self._worker = threading.Thread(
            target=self._work, args=(self._stopping,), name="play", daemon=True
        )
        self._worker.start()

    def stop(self) -> None:
        if self._worker is not None:
            self._stopping.set()
            self._worker.join(timeout=STOP_TIMEOUT_S)
            self._worker = None

    # ------------------------------------------------------------------ images

    def _exit_when_finished(self) -> None:
        linger_s = 0.0 if self._detector is None else LINGER_S
        if self._finished_s is not None and time.monotonic() >= self._finished_s + linger_s:
            self.exit_code = FAILED if self._fault else 0
            self.context.try_shutdown()

    def _work(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                source = open_source(
                    self.params.source,
                    self.params.rate_hz or None,
                    self.params.source_topic,
                    self.params.rectified,
                )
            except VideoError as error:
                self._fault = str(error)
                again = "" if self.params.exit_at_end else "; trying again"
                self.refuse(Reason.SOURCE_NOT_OPEN, f"{error}{again}")
                if self.params.exit_at_end:
                    self._finished_s = time.monotonic()
                    return
                # A webcam may be plugged in later; a file may appear later.
                stopping.wait(RETRY_S)
                continue
            try:
                ended = self._play(source, stopping)
            except Exception as error:
                if stopping.is_set() or self.shutting_down:
                    return
                why = str(error) if isinstance(error, VideoError) else repr(error)
                self._fault = f"the source failed: {why}"
                self.refuse(Reason.SOURCE_FAILED, self._fault)
                # Opened again, a file would begin again: only a loop does that.
                ended = self.params.exit_at_end or not self.params.loop
            finally:
                source.close()
            if ended and not source.live:
                self._state = "the video has ended"
                self.get_logger().info(f"{self.params.source} has ended")
                for sentence in losses(source):
                    self.get_logger().warning(f"{self.params.source}: {sentence}")
                self._finished_s = time.monotonic()
                return
            stopping.wait(RETRY_S)

    def _camera(self, source: FrameSource) -> Camera | None:
        if not self._file and self._fov_deg == 0:
            return None
        try:
            camera, notes = choose_camera(
                source.size,
                self._file,
                self._fov_deg,
                source.pixel_aspect,
                self.params.rectified,
                source.camera,
            )
        except CameraError as error:
            of_bag = not self._file and isinstance(source.camera, CameraError)
            reason = Reason.BAD_CAMERA_INFO if of_bag else Reason.CAMERA_INFO_SIZE_MISMATCH
            self.refuse(reason, f"{error}: publishing no intrinsics")
            return None
        if notes != self._notes:
            self._notes = notes
            for note in notes:
                self.get_logger().warning(note)
        return camera

    def _play(self, source: FrameSource, stopping: threading.Event) -> bool:
        """Publish all frames; True at the end, False when stopped or when the camera failed."""
        camera = self._camera(source)
        self.get_logger().info(
            f"{self.params.source}: {source.size[0]}x{source.size[1]} at {source.rate_hz:g} Hz"
        )
        if source.notice:
            self.get_logger().warning(source.notice)
        self._prepare(source, camera)
        while self.params.start_when_subscribed and not self._has_taker():
            self._state = "waiting for a subscriber"
            if stopping.wait(0.05):
                return False
        self._state = self._fault = ""
        period_s, times_s = 1.0 / source.rate_hz, source.times()
        every = self._detector is not None and self._detector.synchronous
        begin, due = time.monotonic(), 0.0
        first_ns = self.get_clock().now().nanoseconds
        delivered_s = begin
        counted = (0, 0)
        while not stopping.is_set():
            grabbed = source.grab()
            if stopping.is_set():
                return False
            # The last frame lasts for one period.
            due = grabbed[1] if grabbed is not None else due + period_s
            late = time.monotonic() - (begin + due)
            if not source.live and late < 0 and stopping.wait(-late):
                return False
            if grabbed is not None and self._wanted():
                # Without skipping, a slow machine would play the file in slow motion.
                skips = not (source.live or every) and late > period_s
                if skips and time.monotonic() - delivered_s < MAX_SKIP_S:
                    self.counts[Reason.LATE_FRAME_SKIPPED] += 1
                else:
                    delivered_s = time.monotonic()
                    # Stamps of a file have its own time steps, whenever the frames are read.
                    taken_ns = first_ns + round(due * 1e9)
                    now_ns = self.get_clock().now().nanoseconds
                    number = grabbed[0] + 1
                    next_s = due + period_s
                    if times_s is not None and number < len(times_s):
                        next_s = float(times_s[number])
                    hold_s = begin + next_s - time.monotonic() - (1 - HOLD_SHARE) * period_s
                    self._deliver(
                        source,
                        now_ns if source.live else taken_ns,
                        HOLD_SHARE * period_s if source.live else hold_s,
                    )
            counted = self._count_losses(source, counted)
            if grabbed is None:
                if source.live:
                    self._fault = "the camera gave no frame"
                    self.refuse(Reason.SOURCE_FAILED, self._fault)
                    return False
                if not (self.params.loop and source.rewind()):
                    return True
                begin, due, counted = time.monotonic(), 0.0, (0, 0)
                first_ns = self.get_clock().now().nanoseconds
        return False

    def _count_losses(self, source: FrameSource, before: tuple[int, int]) -> tuple[int, int]:
        """Count and log the frames that were left out since `before` (unreadable, other sizes)."""
        after = (source.unreadable, sum(source.other_sizes.values()))
        reasons = (Reason.FRAME_UNREADABLE, Reason.FRAME_SIZE_CHANGED)
        for reason, old, new in zip(reasons, before, after, strict=True):
            if new > old:
                self.counts[reason] += new - old
                summary = "; ".join(losses(source))
                self.warn_throttled(reason, f"{self.params.source}: so far {summary}")
        return after

    def _has_taker(self) -> bool:
        """Whether images are wanted, here or by a subscriber."""
        if self._detector is not None and self._detector.is_wanted():
            return True
        return self._image.get_subscription_count() > 0

    def _wanted(self) -> bool:
        return self._has_taker() or self._info.get_subscription_count() > 0

    def _prepare(self, source: FrameSource, camera: Camera | None) -> None:
        """Make the messages, which all frames of a source share."""
        width, height = source.size
        self._info_message = CameraInfo(width=width, height=height)
        if camera is not None and camera.size == source.size:
            self._info_message = conversions.camera_info_msg(camera, Header())
        # The detector reads one while the other is written and published.
        self._buffers = [conversions.ImageBuffer(source.size, "bgr8") for _ in range(2)]

    def _deliver(self, source: FrameSource, stamp_ns: int, hold_s: float) -> None:
        """Give the grabbed frame to the subscribers and to the detector.

        Args:
            source: has grabbed the frame.
            stamp_ns: of the frame, ns.
            hold_s: maximum time for which the frame waits for the detector, s.
        """
        until_s = time.monotonic() + hold_s
        header = Header(stamp=conversions.time_msg(stamp_ns), frame_id=self.params.frame_id)
        shown = self._image.get_subscription_count() > 0
        if shown and not self._retrieve(source, header):
            return
        self._rate.tick()
        self._info_message.header = header
        if self._info.get_subscription_count() > 0:
            self._info.publish(self._info_message)
        if shown:
            self._image.publish(self._buffers[0].message)
        detector = self._detector
        if detector is None or not detector.is_wanted():
            return
        if not detector.wait_idle(until_s - time.monotonic()):
            self.counts[Reason.DETECTOR_BUSY] += 1
            return
        if shown or self._retrieve(source, header):
            self._on_info(self._info_message)
            detector.submit(self._buffers[0].message)
            self._buffers.reverse()

    def _retrieve(self, source: FrameSource, header: Header) -> bool:
        """Write the grabbed frame into the first buffer; False where it is left out."""
        buffer = self._buffers[0]
        frame = source.retrieve(buffer.pixels)
        if frame is None:
            return False
        if frame is not buffer.pixels:
            np.copyto(buffer.pixels, frame)
        buffer.message.header = header
        return True

    def diagnose(self) -> list[Task]:
        rate_hz = self._rate.read()
        task = Task(
            "source",
            text=self._state or f"{rate_hz:.1f} images/s",
            values={"rate_hz": f"{rate_hz:.1f}", "source": self.params.source},
            hardware=self.params.frame_id,
        )
        task.worsen(Level.ERROR, self._fault)
        skipped = self.counts[Reason.LATE_FRAME_SKIPPED]
        new, self._skipped = skipped - self._skipped, skipped
        if new > self._rate.last_count:
            task.worsen(
                Level.WARN,
                f"{new} of the last {new + self._rate.last_count} frames were skipped: play a "
                "smaller video or a lower rate, or free the processor",
            )
        return [task]


def main(args: list[str] | None = None) -> int:
    return run(lambda: [VideoSource()], args, sends_images=True)


if __name__ == "__main__":
    sys.exit(main())
