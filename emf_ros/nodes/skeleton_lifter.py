"""2D keypoints to metric 3D skeletons, of one camera or several."""

from __future__ import annotations

import math
import re
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray, SkeletonLayout

from ..geometry.camera import CameraError
from ..intrinsics import IntrinsicsFilter
from ..io.images import ImageError
from ..lift.config import PipelineConfig
from ..lift.engine import EngineError, make_engine
from ..lift.ground import GroundPlane
from ..lift.lag import AutoLag
from ..lift.pipeline import LiftPipeline, lift_together
from ..reasons import Reason
from ..skeletons import Layout, get_layout
from ..stamps import CONFIRM_NS, StampVerdict
from ..types import Frame2D, Frame3D, TrackState
from . import conversions
from .adapters import ThirdPartyKeypoints
from .base import BaseNode, NodeError
from .params import SMOOTHING, SkeletonLifterParams
from .qos import EVERY_QOS, IGNORE_INCOMPATIBLE, LATCHED_QOS, RELIABLE_QOS, SENSOR_QOS
from .rate import RateMeter
from .running import run

#: Without keypoints for this long, wall time, every track of a camera ends.
SILENCE_S = 1.0

#: Keypoints of this long, by their stamps, wait for the intrinsics of a replay in full.
INFO_WAIT_NS = 10_000_000_000

#: How often is looked whether anyone listens.
LAZY_PERIOD_S = 0.2

#: Keypoints that wait for the worker, per camera: two seconds of a fast one.
QUEUE = 64

#: What to do about a camera whose intrinsics are not known.
CALIBRATE = (
    "run camera_calibration and give its file to the camera's driver, or set fov_deg or "
    "camera_info_file of video_source"
)

#: Counters that are part of ordinary operation.
_NOT_LOGGED = (Reason.COALESCED, Reason.SWAP_CORRECTED)

#: Counters of keypoints that were refused for their stamps.
_STAMP_REASONS = tuple(verdict.reason for verdict in StampVerdict if verdict.reason)

#: A pose older than this when it is published has a stamp of another clock.
OLDEST_MS = 60_000.0

#: Period of the check whether the images' topic is called rectified, s.
RECTIFIED_PERIOD_S = 1.0

#: Topics of rectified images: image_rect, image_rect_color, color/rect/image, rectified.
_RECTIFIED_TOPIC = re.compile(r"(?<![a-z0-9])rect(ified)?(?![a-z0-9])")

_CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")


class CameraFeed:
    """One camera: its topics, its pipeline, and the keypoints that wait for the worker.

    Args:
        node: that it belongs to.
        name: in front of its topics; empty for a node with one.
        pipeline: its people.
        auto_lag: None where the lag stays what it is.

    Attributes:
        queue: keypoints that wait for the worker.
        waiting: keypoints that wait for intrinsics, where all are to be lifted.
        last_heard: when keypoints came last, s, monotonic.
        info: the newest camera_info, None before the first.
        camera_text: what is wrong with the one that is believed; empty: nothing.
    """

    def __init__(
        self,
        node: SkeletonLifter,
        name: str,
        pipeline: LiftPipeline,
        auto_lag: AutoLag | None,
    ) -> None:
        self.node, self.name, self.pipeline, self.auto_lag = node, name, pipeline, auto_lag
        self.queue: deque[tuple[Frame2D, float]] = deque(maxlen=QUEUE)
        self.waiting: deque[tuple[Frame2D, float]] = deque()
        # Time that those have waited, by their stamps.
        self._waited_ns = 0
        self.info: CameraInfo | None = None
        # Those that the worker has not seen yet.
        self._new_infos: deque[CameraInfo] = deque(maxlen=QUEUE)
        self._intrinsics = IntrinsicsFilter()
        # The camera_info that is believed; and the last one that is not, with its fault.
        self._info_used: CameraInfo | None = None
        self._doubted: tuple[CameraInfo, str] | None = None
        self.last_heard = time.monotonic()
        self._depths: deque[Image] = deque(maxlen=8)
        self._depth_subscription: Subscription | None = None
        self.camera_text = f"no {self.topic('camera_info')} yet"
        self.rate = RateMeter()
        self.people = 0
        self._frame_id = ""
        self._doubts = ""
        self._shown: set[int] = set()
        self._ages_ms: deque[float] = deque(maxlen=256)
        in_full = node.params.synchronous
        # A listener that is held up for a moment must not miss a replay's answers.
        qos = EVERY_QOS if in_full else RELIABLE_QOS
        self._skeletons = node.publish_on(Skeleton3DArray, self.topic("skeletons"), qos)
        self._markers = node.publish_on(MarkerArray, self.topic("markers"), qos)
        self._infos = node.listen_to(
            CameraInfo, self.topic("camera_info"), self._take_info, SENSOR_QOS
        )
        self._hears_every_info = self._waited_enough = False
        if in_full:
            # A replay may send its intrinsics but once. The other subscription stays for those
            # who publish them with best effort, which this one can't hear.
            node.create_subscription(
                CameraInfo,
                self.topic("camera_info"),
                self._take_every_info,
                EVERY_QOS,
                event_callbacks=IGNORE_INCOMPATIBLE,
            )
        self.subscription: Subscription | None = None
        self._third_party: ThirdPartyKeypoints | None = None
        if node.params.keypoints_type != "emf_ros":
            self._third_party = ThirdPartyKeypoints(
                node,
                node.params.keypoints_type,
                self.topic,
                self._image_size,
                lambda frame: node.submit(frame, self),
            )
        self._unwanted = 0

    def topic(self, name: str) -> str:
        return f"{self.name}/{name}" if self.name else name

    def _image_size(self) -> tuple[int, int] | None:
        """(width, height) px of the delivered image by camera_info; None before the first."""
        info = self._info_used or self.info
        return conversions.delivered_size(info) if info else None

    def _take_info(self, message: CameraInfo) -> None:
        if not self._hears_every_info:
            self._set_info(message)

    def _take_every_info(self, message: CameraInfo) -> None:
        # From here on the other subscription would tell the same, some of it late.
        self._hears_every_info = True
        self._set_info(message)

    def _set_info(self, message: CameraInfo) -> None:
        self.info = message
        self._new_infos.append(message)
        self.node.info_came(self)

    def wait(self, item: tuple[Frame2D, float]) -> None:
        """Have keypoints wait for intrinsics.

        The time is counted by the stamps: the same keypoints wait whatever the load. A step that is
        no camera's, to or from an odd stamp, does not count.
        """
        if self.waiting:
            step_ns = item[0].stamp_ns - self.waiting[-1][0].stamp_ns
            self._waited_ns += step_ns if 0 < step_ns <= CONFIRM_NS else 0
        self.waiting.append(item)

    def awaits_info(self) -> bool:
        """Whether intrinsics are still to come, and what waits for them goes on waiting."""
        if self.info is not None or self._waited_enough:
            return False
        if self.node.count_publishers(self._infos.topic_name) == 0:
            return False
        if self._waited_ns > INFO_WAIT_NS:
            self._waited_enough = True
            self.node.get_logger().warning(
                f"no {self.topic('camera_info')} in {INFO_WAIT_NS / 1e9:g} s of keypoints, though "
                "it is announced: they are lifted without a place"
            )
        return not self._waited_enough

    def _take_depth(self, message: Image) -> None:
        self._depths.append(message)

    def _use_depths(self) -> None:
        """Hand the depth images that have come to the pipeline."""
        while self._depths:
            message = self._depths.popleft()
            try:
                image = conversions.depth_image(message)
            except ImageError as error:
                self.node.refuse(Reason.BAD_DEPTH, f"{self.topic('depth')} refused: {error}")
            else:
                self.pipeline.add_depth(conversions.stamp_ns(message.header.stamp), image)

    # ------------------------------------------------------------------ who listens to whom

    def is_wanted(self) -> bool:
        """Whether anyone listens."""
        return (
            self.node.publishes_tf
            or self._skeletons.get_subscription_count() > 0
            or self._markers.get_subscription_count() > 0
        )

    def subscribe(self, qos: QoSProfile) -> None:
        """Listen to keypoints."""
        if self.subscription is not None:
            return
        if self._third_party is not None:
            self.subscription = self._third_party.subscribe(qos)
        else:
            self.subscription = self.node.listen_to(
                Skeleton2DArray,
                self.topic("keypoints"),
                lambda message: self.node.submit(conversions.keypoint_frame(message), self),
                qos,
            )
        self.subscribe_depth()

    def subscribe_depth(self) -> None:
        """Listen to depth images, if they are to be used."""
        if self.node.params.use_depth and self._depth_subscription is None:
            self._depth_subscription = self.node.listen_to(
                Image, self.topic("depth"), self._take_depth, SENSOR_QOS
            )

    def subscribe_when_wanted(self) -> None:
        """Listen to keypoints only while someone listens to us: the detector rests meanwhile."""
        if self.is_wanted():
            self._unwanted = 0
            self.subscribe(SENSOR_QOS)
        elif self.subscription is not None:
            # A listener that restarts should not restart the tracks.
            self._unwanted += 1
            if self._unwanted * LAZY_PERIOD_S > SILENCE_S:
                self.node.destroy_subscription(self.subscription)
                self.subscription = None
                if self._third_party is not None:
                    self._third_party.unsubscribe()
                if self._depth_subscription is not None:
                    self.node.destroy_subscription(self._depth_subscription)
                    self._depth_subscription = None

    # ------------------------------------------------------------------ the worker's part

    def take_in(self, batch: list[tuple[Frame2D, float]]) -> tuple[Frame2D, float] | None:
        """Have the pipeline observe what has come; the newest that was of use, or None."""
        self._use_infos(len(batch))
        self._use_depths()
        counts = self.node.counts
        before = Counter(counts)
        used = None
        for frame, received in batch:
            if self.pipeline.observe(frame):
                if used is not None:
                    counts[Reason.COALESCED] += 1
                used = (frame, received)
        for reason in counts - before:
            self._log_refused(reason)
        if used is not None:
            self._frame_id = used[0].frame_id
        return used

    def _log_refused(self, reason: Reason) -> None:
        """Log that keypoints were refused."""
        topic = self.topic("keypoints")
        if reason in _STAMP_REASONS:
            self.node.log_refused_stamp(reason, topic, self.pipeline.stamps)
        elif reason not in _NOT_LOGGED:
            detail = reason.explanation.meaning
            if reason is Reason.CAMERA_INFO_SIZE_MISMATCH:
                detail = self.pipeline.camera_error
            self.node.log_counted(reason, f"{topic}: {detail}")

    def _use_infos(self, images: int) -> None:
        """Hand the intrinsics to the pipeline that are believed, of those that have come.

        Args:
            images: number of images whose keypoints have come since.
        """
        while self._new_infos:
            self._use_info(self._new_infos.popleft())
        if self._intrinsics.take_images(images) and self._doubted is not None:
            self._believe(*self._doubted)

    def _use_info(self, info: CameraInfo) -> None:
        topic, camera, text = self.topic("camera_info"), None, ""
        rectified = self.node.params.rectified
        try:
            camera = conversions.camera_from_info(info, rectified)
        except CameraError as error:
            self.node.counts[Reason.BAD_CAMERA_INFO] += 1
            text = f"{topic} refused: {error}"
        else:
            if camera is None:
                zero = "P, which rectified images need," if rectified else "K"
                text = f"{topic} has no intrinsics ({zero} is zero)"
        if text:
            text += f": poses have no place; {CALIBRATE}"
        if self._intrinsics.take(camera):
            self._believe(info, text)
        else:
            self._doubted = info, text
            self.node.refuse(
                Reason.CAMERA_INFO_OUTLIER,
                f"{topic} differs from the messages before it: dropped, unless it is repeated",
            )

    def _believe(self, info: CameraInfo, text: str) -> None:
        self._info_used, self._doubted, self.camera_text = info, None, text
        if text:
            self.node.warn_once(f"unknown intrinsics {self.name}", text)
        camera = self._intrinsics.camera
        doubts = camera.doubts() if camera is not None else ""
        self._say_doubts(f"{self.topic('camera_info')}: {doubts}" if doubts else "")
        self.pipeline.set_camera(camera)

    def _say_doubts(self, text: str) -> None:
        """Say what looks wrong with the intrinsics, once for each text."""
        if text and text != self._doubts:
            self.node.get_logger().warning(text)
        self._doubts = text

    def seems_rectified(self) -> bool:
        """Look whether the images are rectified by their topic's name, and say so once.

        Only where it makes a difference: without distortion K and P are mostly the same.
        """
        if self.info is None or not _rectifying_matters(self.info):
            return False
        for topic in self._image_topics():
            if _RECTIFIED_TOPIC.search(topic):
                self.node.get_logger().warning(
                    f"the keypoints are of the images on {topic}, which are rectified by their "
                    f"name, but {self.topic('camera_info')} is read as of raw images: set "
                    f"rectified:=true on {self.node.get_name()}"
                )
                return True
        return False

    def _image_topics(self) -> Iterator[str]:
        """What colour images the nodes listen to that publish the keypoints."""
        topic = self.node.resolve_topic_name(self.topic("keypoints"))
        for publisher in self.node.get_publishers_info_by_topic(topic):
            try:
                heard = self.node.get_subscriber_names_and_types_by_node(
                    publisher.node_name, publisher.node_namespace
                )
            except RuntimeError:  # the node has gone, or its name has not come yet
                continue
            for name, types in heard:
                is_image = any(kind.endswith(("/Image", "/CompressedImage")) for kind in types)
                if is_image and "depth" not in name:
                    yield name

    def end_all(self) -> None:
        """End everyone, and say so."""
        # The stamps may be of another clock than ours: the stream's own last one fits it.
        newest_ns = self.pipeline.newest_ns
        ended = self.pipeline.end_all()
        unknown = math.nan
        self.publish(Frame3D(newest_ns, 0, ended, unknown), unknown, unknown)

    def publish(self, result: Frame3D, detect_ms: float, queue_ms: float) -> None:
        """Send out a result, and choose the lag of the next one."""
        newest_ns = result.stamp_ns + result.lag_ns
        own_ms = (self.node.get_clock().now().nanoseconds - newest_ns) / 1e6
        if not 0 <= own_ms < OLDEST_MS:
            own_ms = math.nan
        self.people = sum(person.state != TrackState.ENDED for person in result.people)
        self.rate.tick()
        self._ages_ms.append(own_ms + result.lag_ns / 1e6)
        header = Header(stamp=conversions.time_msg(result.stamp_ns), frame_id=self._frame_id)
        if self._skeletons.get_subscription_count() > 0:
            self._skeletons.publish(
                conversions.skeletons_msg(
                    result, self._frame_id, self.node.layout.name, detect_ms, queue_ms, own_ms
                )
            )
        if self._markers.get_subscription_count() > 0:
            markers = conversions.markers_msg(result.people, header, self.node.layout, self._shown)
            if markers.markers:
                self._markers.publish(markers)
        self.node.publish_tf(result, header, self.name)
        if self.auto_lag is not None:
            # Stamps of another clock tell no age; then what was measured here has to do.
            known_ms = np.nansum([detect_ms, queue_ms, result.lift_ms])
            spent_ms = own_ms if math.isfinite(own_ms) else float(known_ms)
            self.pipeline.lag = self.auto_lag.update(spent_ms, self.pipeline.period_ms)

    def troubles(self) -> list[str]:
        """What is wrong with what comes in, for the diagnostics."""
        found = [self.camera_text, self.pipeline.stamps.trouble]
        for subscription, what in ((self._infos, "intrinsics"), (self.subscription, "people")):
            if subscription is None:
                continue
            publishers = self.node.count_publishers(subscription.topic_name)
            if publishers > 1:
                found.append(
                    f"{publishers} publishers on {subscription.topic_name}: their {what} would get "
                    "mixed up"
                )
        return [text for text in found if text]

    def values(self) -> dict[str, str]:
        """For the diagnostics."""
        ages = [age for age in list(self._ages_ms) if math.isfinite(age)]
        self._ages_ms.clear()
        age_p50, age_p95 = np.percentile(ages, [50, 95]) if ages else (math.nan, math.nan)
        return {
            "rate_hz": f"{self.rate.read():.1f}",
            "people": str(self.people),
            "lag_frames": str(self.pipeline.lag),
            # Keypoints of a replay that wait for intrinsics.
            "waiting": str(len(self.waiting)),
            "latency_ms_p50": f"{age_p50:.0f}",
            "latency_ms_p95": f"{age_p95:.0f}",
        }


def _rectifying_matters(info: CameraInfo) -> bool:
    """Whether intrinsics of raw and of rectified images differ."""
    projected = np.asarray(info.p, dtype=np.float64).reshape(3, 4)[:, :3]
    matrix = np.asarray(info.k, dtype=np.float64).reshape(3, 3)
    differ = projected.any() and not np.allclose(projected, matrix, rtol=1e-3, atol=1e-9)
    return bool(differ or np.any(np.asarray(info.d)))


class SkeletonLifter(BaseNode[SkeletonLifterParams]):
    """Lifts off the executor's thread; keypoints that pile up are taken in, the newest is lifted.

    Args:
        subscribe: listen to the topic `keypoints`; in composed mode `submit` is called instead.

    Attributes:
        layout: of the joints.
    """

    #: None until the node is built: one that could not be is destroyed all the same.
    _worker: threading.Thread | None = None

    def __init__(self, subscribe: bool = True) -> None:
        super().__init__(SkeletonLifterParams)
        lag = self.params.lag
        names = self._camera_names()
        if not subscribe and names != [""]:
            raise NodeError(
                "in composed mode there is one camera; the parameter 'cameras' names others"
            )
        if not subscribe and self.params.keypoints_type != "emf_ros":
            raise NodeError("in composed mode keypoints come from the detector: no keypoints_type")
        try:
            self._engine = make_engine(
                self.params.preset,
                self.params.weights or None,
                self.params.device,
                self.params.threads or None,
                say=self._engine_says,
                counts=self.counts,
            )
            jitter_filter_s, cutoff_hz = SMOOTHING[self.params.smoothing]
            config = PipelineConfig(
                lag=lag if isinstance(lag, int) else 0,
                max_people=self.params.max_people,
                coast_s=self.params.coast_s,
                max_gap_s=self.params.max_gap_s,
                person_height_m=self.params.person_height_m or math.nan,
                jitter_filter_s=jitter_filter_s,
                smoothing_cutoff_hz=cutoff_hz,
            )
            pipelines = [
                LiftPipeline(self._engine, replace(config, ground=ground), self.counts)
                for ground in self._grounds(len(names))
            ]
            self._engine.warm_up(len(names) * min(config.max_people, 8))
        except (EngineError, ValueError) as error:
            raise NodeError(str(error)) from None
        size = self._engine.config
        self.layout: Layout = get_layout(size.layout)
        self._lift_ms = math.nan
        self._tf, self._tf_type = self._tf_publisher()
        self._feeds = [
            CameraFeed(
                self,
                name,
                pipeline,
                AutoLag(self.params.latency_budget_ms, 1000 / size.rate_hz, size.frames // 2)
                if lag == "auto"
                else None,
            )
            for name, pipeline in zip(names, pipelines, strict=True)
        ]
        self._layout = self.publish_on(SkeletonLayout, "layout", LATCHED_QOS)
        self._layout.publish(conversions.layout_msg(self.layout))

        # Guards the queues.
        self._arrived = threading.Condition()
        self._stopping = False
        self._synchronous = self.params.synchronous
        if not subscribe:
            # Keypoints come by `submit`; depth images have no other way than their topic.
            self._feeds[0].subscribe_depth()
        if subscribe and self._synchronous:
            for feed in self._feeds:
                feed.subscribe(EVERY_QOS)
            # Who announced intrinsics may have gone without a word.
            self.create_timer(SILENCE_S, self._look_for_infos)
        elif subscribe:
            self.create_timer(LAZY_PERIOD_S, self._subscribe_when_wanted)
        if not self._synchronous:
            self._worker = threading.Thread(target=self._work, name="lift", daemon=True)
            self._worker.start()
        self._unhinted = [] if self.params.rectified else list(self._feeds)
        if self._unhinted:
            self._hints = self.create_timer(RECTIFIED_PERIOD_S, self._hint_at_rectified)
        self.get_logger().info(f"lag {lag}, {self._engine.description}")

    def _camera_names(self) -> list[str]:
        names = list(self.params.cameras or ("",))
        if names != [""]:
            for name in names:
                if not _CAMERA_NAME.fullmatch(name):
                    raise NodeError(
                        f"parameter 'cameras' has {name!r}, which cannot stand in a topic's name"
                    )
        if len(set(names)) < len(names):
            raise NodeError(f"parameter 'cameras' names one twice: {', '.join(names)}")
        return names

    def _grounds(self, cameras: int) -> list[GroundPlane | None]:
        """The floor as each camera sees it; None where that is not known."""
        settings: dict[str, tuple[float, ...]] = {}
        for name in ("camera_height_m", "camera_pitch_deg", "camera_roll_deg"):
            values = getattr(self.params, name)
            if len(values) not in (1, cameras):
                raise NodeError(
                    f"parameter '{name}' has {len(values)} values; there must be 1 or {cameras}"
                )
            settings[name] = values * (cameras // len(values))
        grounds: list[GroundPlane | None] = []
        for height_m, pitch_deg, roll_deg in zip(*settings.values(), strict=True):
            if not height_m:
                grounds.append(None)
                continue
            try:
                ground = GroundPlane(height_m, math.radians(pitch_deg), math.radians(roll_deg))
            except ValueError as error:
                raise NodeError(
                    f"parameters camera_height_m, _pitch_deg, _roll_deg: {error}"
                ) from None
            grounds.append(ground)
        return grounds

    def _hint_at_rectified(self) -> None:
        self._unhinted = [feed for feed in self._unhinted if not feed.seems_rectified()]
        if not self._unhinted:
            self._hints.cancel()

    def _engine_says(self, text: str) -> None:
        self.get_logger().error(text)

    # ---------------------------------------------------------------------- transforms

    def _tf_publisher(self) -> tuple[Any, Any]:
        if not self.params.publish_tf:
            return None, None
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            raise NodeError(
                "publish_tf needs the package tf2_msgs, which is not installed"
            ) from None
        return self.publish_on(TFMessage, "/tf", RELIABLE_QOS), TFMessage

    @property
    def publishes_tf(self) -> bool:
        return self._tf is not None

    def publish_tf(self, result: Frame3D, header: Header, camera: str) -> None:
        """Each person's pelvis as a frame, if that is wanted."""
        if self._tf is not None:
            prefix = camera.replace("/", "_") + "_" if camera else ""
            self._tf.publish(conversions.tf_msg(self._tf_type, result.people, header, prefix))

    # ---------------------------------------------------------------------- keypoints

    def is_wanted(self) -> bool:
        """Whether anyone listens."""
        return self._synchronous or any(feed.is_wanted() for feed in self._feeds)

    def _subscribe_when_wanted(self) -> None:
        for feed in self._feeds:
            feed.subscribe_when_wanted()

    def submit(self, frame: Frame2D, feed: CameraFeed | None = None) -> None:
        """Hand over one image's keypoints, from any thread.

        Args:
            frame: the keypoints.
            feed: whose; None for a node's only camera.
        """
        feed = feed or self._feeds[0]
        item = (frame, time.perf_counter())
        with self._arrived:
            feed.last_heard = time.monotonic()
            if not self._synchronous:
                if len(feed.queue) == feed.queue.maxlen:
                    self.counts[Reason.KEYPOINTS_OVERRUN] += 1
                feed.queue.append(item)
                self._arrived.notify()
                return
            feed.wait(item)
            self._lift_what_waits(feed)

    def info_came(self, feed: CameraFeed) -> None:
        """Intrinsics have come, or won't; they may be what keypoints have waited for."""
        if self._synchronous:
            with self._arrived:
                self._lift_what_waits(feed)

    def _look_for_infos(self) -> None:
        for feed in self._feeds:
            self.info_came(feed)

    def _lift_what_waits(self, feed: CameraFeed) -> None:
        """One at a time, in the thread that they come in: who sends has to wait.

        Which of two topics is read first depends on the machine's load; the first keypoints wait
        for the intrinsics, or a bag would begin with or without a place by chance.
        """
        while feed.waiting and not feed.awaits_info():
            self._safely(partial(self._process, [(feed, [feed.waiting.popleft()])]))

    def _work(self) -> None:
        while True:
            with self._arrived:
                self._arrived.wait_for(
                    lambda: self._stopping or any(feed.queue for feed in self._feeds),
                    timeout=SILENCE_S / 2,
                )
                if self._stopping:
                    return
                batches = [(feed, list(feed.queue)) for feed in self._feeds]
                for feed in self._feeds:
                    feed.queue.clear()
                now = time.monotonic()
                silent = [f for f in self._feeds if now - f.last_heard > SILENCE_S]
            self._safely(partial(self._process, batches))
            for feed in silent:
                if feed.pipeline.active:
                    self._safely(feed.end_all)

    def _safely(self, action: Callable[[], None]) -> None:
        """One bad moment must not end the stream; it is said and counted."""
        try:
            action()
        except Exception as error:
            if not (self._stopping or self.shutting_down):
                self.refuse(Reason.LIFTER_FAILED, f"lifting failed: {error!r}")

    def _process(self, batches: list[tuple[CameraFeed, list[tuple[Frame2D, float]]]]) -> None:
        """Everything that has come, of all cameras: taken in, lifted in one pass, published."""
        due = [(feed, newest) for feed, batch in batches if (newest := feed.take_in(batch))]
        if not due:
            return
        begin = time.perf_counter()
        results = lift_together([feed.pipeline for feed, _ in due])
        for (feed, (frame, received)), result in zip(due, results, strict=True):
            if result is not None:
                self._lift_ms = result.lift_ms
                feed.publish(result, frame.detect_ms, 1000 * (begin - received))

    # ---------------------------------------------------------------------- diagnostics

    def diagnose(self) -> tuple[bool, str, dict[str, str]]:
        values = {
            "lift_ms": f"{self._lift_ms:.1f}",
            "device": self._engine.device,
            "engine": self._engine.description,
        }
        rate, troubles = 0.0, []
        for feed in self._feeds:
            own = feed.values()
            rate += float(own["rate_hz"])
            values |= {feed.topic(key).replace("/", "."): value for key, value in own.items()}
            troubles += feed.troubles()
        if troubles:
            return False, "; ".join(troubles), values
        return True, f"{rate:.1f} skeleton messages/s", values

    def destroy_node(self) -> None:
        if self._worker is not None:
            with self._arrived:
                self._stopping = True
                self._arrived.notify()
            self._worker.join(timeout=5.0)
        super().destroy_node()


def main(args: list[str] | None = None) -> int:
    return run(lambda: [SkeletonLifter()], args)


if __name__ == "__main__":
    sys.exit(main())
