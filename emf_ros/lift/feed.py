"""One camera of a lifter: what comes in, in its order, and what goes out. Needs no ROS."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ..geometry.camera import Camera
from ..intrinsics import IntrinsicsFilter
from ..reasons import Reason
from ..stamps import StampFilter, StampVerdict
from ..types import Frame2D, Frame3D, TrackState
from .config import PipelineConfig
from .lag import AutoLag
from .pipeline import LiftPipeline

#: Maximum number of images whose keypoints wait: two seconds of a fast camera.
MAX_QUEUE = 64

#: Maximum wall time that live keypoints wait for the transforms of their image, s. A base or a head
#: publishes its own 10 to 100 times a second.
TRANSFORM_WAIT_S = 0.2

#: Maximum age of a pose when it is published, ms. An older one has a stamp of another clock.
MAX_AGE_MS = 60_000.0

#: Number of poses that the latency in the diagnostics is measured on.
LATENCY_POSES = 256

#: Counters that are part of ordinary operation.
_NOT_LOGGED = (Reason.COALESCED, Reason.SWAP_CORRECTED)

#: Counters of keypoints that were refused for their stamps.
_STAMP_REASONS = tuple(verdict.reason for verdict in StampVerdict if verdict.reason)


class Log(Protocol):
    """Counts what is refused, and says so. Nodes are such logs.

    Attributes:
        counts: by reason.
        shutting_down: whether errors mean nothing any more.
    """

    counts: Counter[Reason]

    @property
    def shutting_down(self) -> bool: ...

    def refuse(self, reason: Reason, detail: str) -> None:
        """Count a reason, and say the detail."""
        ...

    def log_counted(self, reason: Reason, detail: str) -> None:
        """Say the detail of a reason that is counted already."""
        ...

    def log_refused_stamp(self, reason: Reason, topic: str, stamps: StampFilter) -> None:
        """Say that a message was refused for its stamp."""
        ...

    def warn_once(self, key: str, text: str) -> None:
        """Say a text once for each key."""
        ...


@dataclass(frozen=True)
class CameraReport:
    """The content of a message with intrinsics.

    Attributes:
        camera: the intrinsics; None where the message has no usable ones.
        size: (width, height) px of the images.
        fault: why there are none, with the remedy; empty where there are.
    """

    camera: Camera | None
    size: tuple[int, int]
    fault: str = ""


@dataclass(frozen=True)
class Received:
    """The keypoints of one image, and when they came, as `time.perf_counter` reads, s."""

    frame: Frame2D
    at_s: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Output:
    """Poses to publish.

    Attributes:
        result: the poses.
        frame_id: name of the frame of the poses.
        detect_ms: time of the detection, ms; NaN where it is not known.
        queue_ms: time that the keypoints waited, ms; NaN likewise.
        own_ms: age of the newest image, ms; NaN where its stamp is of another clock.
        images_arrive: false where no image has been used for a second.
    """

    result: Frame3D
    frame_id: str
    detect_ms: float
    queue_ms: float
    own_ms: float
    images_arrive: bool = True


def topic_of(camera: str, name: str) -> str:
    """The name of a topic of a camera; the camera's name may be empty."""
    return f"{camera}/{name}" if camera else name


class Feed:
    """One camera: the keypoints that wait, the intrinsics, the pipeline, the lag.

    Keypoints, intrinsics and depth images may come from one thread and be used by another one.

    Args:
        name: of the camera, in front of its topics; empty where there is one only.
        pipeline: of the camera.
        log: counts and says what is refused.
        now_ns: the time, ns, by the clock of the stamps.
        announced: whether a publisher of intrinsics is there.
        auto_lag: chooses the lag; None where it stays as it is.

    Attributes:
        name, pipeline, announced, auto_lag: as given.
        queue: keypoints that wait.
        used_s: when the last keypoints that were used came, as `time.perf_counter` reads, s.
        report: the newest intrinsics, None before the first.
        fault: why poses have no position; empty while they have.
        people: number of people in the last output.
    """

    def __init__(
        self,
        name: str,
        pipeline: LiftPipeline,
        log: Log,
        now_ns: Callable[[], int] = time.time_ns,
        announced: Callable[[], bool] = lambda: False,
        auto_lag: AutoLag | None = None,
    ) -> None:
        self.name, self.pipeline, self.announced = name, pipeline, announced
        self._log, self._now_ns, self.auto_lag = log, now_ns, auto_lag
        self.queue: deque[Received] = deque(maxlen=MAX_QUEUE)
        self.used_s = time.perf_counter()
        self.report: CameraReport | None = None
        self.fault = f"no {self.topic('camera_info')} yet"
        self.people = 0
        self._intrinsics = IntrinsicsFilter()
        # Intrinsics that are not processed yet, the accepted ones, and those to be repeated.
        self._new_reports: deque[CameraReport] = deque(maxlen=MAX_QUEUE)
        self._accepted: CameraReport | None = None
        self._pending: CameraReport | None = None
        self._frame_id = ""
        self._ages_ms: deque[float] = deque(maxlen=LATENCY_POSES)
        # When `restart` was called last, as `time.perf_counter` reads, s.
        self._restarted_s = -math.inf

    def topic(self, name: str) -> str:
        """The name of one of the camera's topics."""
        return topic_of(self.name, name)

    def configure(self, config: PipelineConfig, auto_lag: AutoLag | None) -> None:
        """Change the settings between two images.

        Args:
            config: as of the pipeline; its lag is taken where `auto_lag` is None.
            auto_lag: chooses the lag; None where it stays as it is.
        """
        lag = self.pipeline.lag if auto_lag is not None else config.lag
        self.pipeline.configure(replace(config, lag=lag))
        self.auto_lag = auto_lag

    # ------------------------------------------------------------------ what comes in

    def put(self, received: Received) -> None:
        """Add keypoints to the queue; a full one loses its oldest."""
        if len(self.queue) == self.queue.maxlen:
            self._log.counts[Reason.KEYPOINTS_OVERRUN] += 1
        self.queue.append(received)

    def put_report(self, report: CameraReport) -> None:
        """Take intrinsics, to be used with the next keypoints."""
        self.report = report
        if self._accepted is None:
            self.fault = report.fault
        self._new_reports.append(report)

    def put_depth(self, stamp_ns: int, image: np.ndarray) -> None:
        """Take a depth image, see `LiftPipeline.add_depth`."""
        reason = self.pipeline.add_depth(stamp_ns, image)
        if reason is not None:
            self._log.log_refused_stamp(reason, self.topic("depth"), self.pipeline.depths.stamps)

    def take_ready(self, now_s: float) -> list[Received]:
        """Take the keypoints from the queue, up to the first that wait for their transforms.

        Args:
            now_s: the time, as `time.perf_counter` reads, s.
        """
        taken: list[Received] = []
        while self.queue and not self._waits_for_transforms(self.queue[0], now_s):
            taken.append(self.queue.popleft())
        return taken

    def _waits_for_transforms(self, received: Received, now_s: float) -> bool:
        frames, frame = self.pipeline.frames, received.frame
        if frames is None or now_s >= received.at_s + TRANSFORM_WAIT_S:
            return False
        return frames.may_come(frame.frame_id, frame.stamp_ns)

    @property
    def ready_at_s(self) -> float:
        """When the oldest keypoints in the queue wait no longer; infinite where there are none.

        As `time.perf_counter` reads, s.
        """
        return self.queue[0].at_s + TRANSFORM_WAIT_S if self.queue else math.inf

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(width, height) px of the images, by the intrinsics; None before the first."""
        report = self._accepted or self.report
        return report.size if report else None

    # ------------------------------------------------------------------ the lifting thread

    def take_in(self, batch: Sequence[Received]) -> Received | None:
        """Have the pipeline observe keypoints; those that came before `restart` are left out.

        Returns:
            the newest that were used; None where none were.
        """
        batch = [received for received in batch if received.at_s >= self._restarted_s]
        self._use_reports(len(batch))
        counts = self._log.counts
        before = Counter(counts)
        used = None
        for received in batch:
            if self.pipeline.observe(received.frame):
                if used is not None:
                    counts[Reason.COALESCED] += 1
                used = received
        # Of a copy, which is made at once: other threads count meanwhile.
        for reason in Counter(counts) - before:
            self._log_refused(reason)
        if used is not None:
            self._frame_id, self.used_s = used.frame.frame_id, used.at_s
        return used

    @property
    def frame_id(self) -> str:
        """Name of the camera's optical frame; empty before the first image that was used."""
        return self._frame_id

    def output(self, result: Frame3D, newest: Received, begin_s: float) -> Output:
        """Poses as they are published.

        Args:
            result: the poses.
            newest: the newest keypoints that were used.
            begin_s: when the lifting began, as `time.perf_counter` reads.
        """
        queue_ms = 1000 * (begin_s - newest.at_s)
        return self._output(result, newest.frame.detect_ms, queue_ms)

    def choose_lag(self, output: Output) -> None:
        """Choose the lag of the next poses by those that were published."""
        if self.auto_lag is None:
            return
        spent_ms = output.own_ms
        if not math.isfinite(spent_ms):
            # Stamps of another clock tell no age. The times that were measured here replace it.
            known_ms = [output.detect_ms, output.queue_ms, output.result.lift_ms]
            spent_ms = float(np.nansum(known_ms))
        self.pipeline.lag = self.auto_lag.update(spent_ms, self.pipeline.period_ms)

    def end_all(self) -> Output:
        """End all tracks; the output says so, and that no images arrive."""
        # The stamp of the newest image: the stream's clock may be another one than ours.
        ended = Frame3D(self.pipeline.newest_ns, 0, self.pipeline.end_all(), math.nan)
        self.people = 0
        return Output(ended, self.poses_in, math.nan, math.nan, math.nan, images_arrive=False)

    def silence(self) -> Output:
        """An output without people, which says that no images arrive."""
        nobody = Frame3D(self.pipeline.newest_ns, 0, [], math.nan)
        return Output(nobody, self.poses_in, math.nan, math.nan, math.nan, images_arrive=False)

    def restart(self) -> Output:
        """End all tracks, and take the next image as the first; the output ends the tracks.

        What has come before is not used any more, wherever it waits.
        """
        self._restarted_s = time.perf_counter()
        self.queue.clear()
        ended = self.end_all()
        self.pipeline.restart()
        return ended

    def _output(self, result: Frame3D, detect_ms: float, queue_ms: float) -> Output:
        newest_ns = result.stamp_ns + result.lag_ns
        own_ms = (self._now_ns() - newest_ns) / 1e6
        if not 0 <= own_ms < MAX_AGE_MS:
            own_ms = math.nan
        self.people = sum(person.state != TrackState.ENDED for person in result.people)
        self._ages_ms.append(own_ms + result.lag_ns / 1e6)
        return Output(result, self.poses_in, detect_ms, queue_ms, own_ms)

    @property
    def poses_in(self) -> str:
        """Name of the frame of the poses."""
        frames = self.pipeline.frames
        return frames.target or self._frame_id if frames is not None else self._frame_id

    def _log_refused(self, reason: Reason) -> None:
        topic = self.topic("keypoints")
        if reason in _STAMP_REASONS:
            self._log.log_refused_stamp(reason, topic, self.pipeline.stamps)
        elif reason not in _NOT_LOGGED:
            detail = reason.explanation.meaning
            if reason is Reason.CAMERA_INFO_SIZE_MISMATCH:
                detail = self.pipeline.camera_error
            self._log.log_counted(reason, f"{topic}: {detail}")

    # ------------------------------------------------------------------ intrinsics

    def _use_reports(self, images: int) -> None:
        """Give the pipeline the accepted ones of the intrinsics that have arrived.

        Args:
            images: number of images whose keypoints have come since.
        """
        while self._new_reports:
            report = self._new_reports.popleft()
            if self._intrinsics.take(report.camera):
                self._accept(report)
            else:
                self._pending = report
                self._log.refuse(
                    Reason.CAMERA_INFO_OUTLIER,
                    f"{self.topic('camera_info')} differs from the messages before it: dropped, "
                    "unless it is repeated",
                )
        if self._intrinsics.take_images(images) and self._pending is not None:
            self._accept(self._pending)

    def _accept(self, report: CameraReport) -> None:
        self._accepted, self._pending, self.fault = report, None, report.fault
        if report.fault:
            self._log.warn_once(f"unknown intrinsics {self.name}", report.fault)
        camera = self._intrinsics.camera
        doubts = camera.doubts() if camera is not None else ""
        if doubts:
            text = f"{self.topic('camera_info')}: {doubts}"
            self._log.warn_once(text, text)
        self.pipeline.set_camera(camera)

    # ------------------------------------------------------------------ diagnostics

    def latency_ms(self) -> tuple[float, float]:
        """Median and 95th percentile of the age of the poses since the last call, ms."""
        ages = [age for age in list(self._ages_ms) if math.isfinite(age)]
        self._ages_ms.clear()
        if not ages:
            return math.nan, math.nan
        median, most = np.percentile(ages, [50, 95])
        return float(median), float(most)
