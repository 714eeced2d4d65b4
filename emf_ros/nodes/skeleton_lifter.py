"""2D keypoints to metric 3D skeletons."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from typing import Any

from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray, SkeletonLayout

from ..camera import CameraError
from ..lift.engine import DEVICES, EngineError, make_engine
from ..lift.pipeline import KeypointFrame, LiftPipeline, LiftResult, PipelineConfig
from ..model.presets import PRESETS
from ..skeletons import get_layout
from . import conversions
from .common import (
    LATCHED_QOS,
    RELIABLE_QOS,
    SENSOR_QOS,
    BaseNode,
    NodeError,
    Param,
    RateMeter,
    run,
)

PARAMS = (
    Param("preset", "lite", "size of the lifting model", choices=tuple(PRESETS)),
    Param("weights", "", "a .safetensors or .onnx file to use in place of the preset's"),
    Param(
        "device", "auto", "where the model runs; auto takes a GPU if there is one", choices=DEVICES
    ),
    Param("require_gpu", False, "refuse to start where the model would run on the CPU"),
    Param("threads", 0, "CPU threads of the model; 0 chooses", low=0, high=64),
    Param(
        "lag",
        0,
        "frames of the model (30 Hz) that the pose is behind the newest image; a few "
        "make it more exact",
        low=0,
        high=26,
    ),
    Param("max_people", 8, "how many people are lifted, best scores first", low=1, high=64),
    Param("min_frames", 5, "images until a person's state is TRACKED", low=1, high=100),
    Param("coast_s", 1.0, "how long a person outlives the last keypoints, s", low=0.0, high=5.0),
    Param("keep_sides", True, "put right what the detector takes for the other side of the body"),
    Param(
        "bone_memory_s",
        10.0,
        "how long a person's bones are remembered, s; 0: each pose has its own",
        low=0.0,
        high=3600.0,
    ),
    Param("publish_tf", False, "publish each person's pelvis as a TF frame (needs tf2_msgs)"),
)

#: Without keypoints for this long, wall time, every track ends.
SILENCE_S = 1.0

#: How often is looked whether anyone listens.
LAZY_PERIOD_S = 0.2


class SkeletonLifter(BaseNode):
    """Lifts off the executor's thread; keypoints that pile up are taken in, the newest is lifted.

    Args:
        subscribe: listen to the topic `keypoints`; in composed mode `submit` is called instead.
    """

    #: None until the node is built: one that could not be is destroyed all the same.
    _worker: threading.Thread | None = None

    def __init__(self, subscribe: bool = True) -> None:
        super().__init__("skeleton_lifter", PARAMS)
        try:
            engine = make_engine(
                self.value("preset"),
                self.value("weights") or None,
                self.value("device"),
                self.value("require_gpu"),
                self.value("threads") or None,
            )
            config = PipelineConfig(
                lag=self.value("lag"),
                max_people=self.value("max_people"),
                min_frames=self.value("min_frames"),
                coast_s=self.value("coast_s"),
                keep_sides=self.value("keep_sides"),
                bone_memory_s=self.value("bone_memory_s"),
            )
            self._pipeline = LiftPipeline(engine, config, self.counts)
            self._pipeline.warm_up()
        except (EngineError, ValueError) as error:
            raise NodeError(str(error)) from None
        self._engine = engine
        self._target = get_layout(engine.config.layout)
        self._rate = RateMeter()
        self._people = 0
        self._lift_ms = float("nan")
        self._camera_text = "no camera_info yet"
        self._shown: set[int] = set()
        self._frame_id = ""

        self._skeletons = self.create_publisher(Skeleton3DArray, "skeletons", RELIABLE_QOS)
        self._markers = self.create_publisher(MarkerArray, "markers", RELIABLE_QOS)
        self._layout = self.create_publisher(SkeletonLayout, "layout", LATCHED_QOS)
        self._layout.publish(conversions.layout_msg(self._target))
        self._tf, self._tf_type = self._tf_publisher()

        # Shared with the worker, under the lock.
        self._queue: deque[tuple[KeypointFrame, float]] = deque(maxlen=64)
        self._info: CameraInfo | None = None
        self._arrived = threading.Condition()
        self._stopping = False
        self._last_heard = time.monotonic()

        self.create_subscription(CameraInfo, "camera_info", self._take_info, SENSOR_QOS)
        self._subscription: Subscription | None = None
        if subscribe:
            self._unwanted = 0
            self.create_timer(LAZY_PERIOD_S, self._subscribe_when_wanted)
        self._worker = threading.Thread(target=self._work, name="lift", daemon=True)
        self._worker.start()
        self.get_logger().info(f"lag {config.lag}, {engine.description}")

    def _tf_publisher(self) -> tuple[Any, Any]:
        if not self.value("publish_tf"):
            return None, None
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            raise NodeError(
                "publish_tf needs the package tf2_msgs, which is not installed"
            ) from None
        return self.create_publisher(TFMessage, "/tf", RELIABLE_QOS), TFMessage

    def is_wanted(self) -> bool:
        """Whether anyone listens."""
        return (
            self._tf is not None
            or self._skeletons.get_subscription_count() > 0
            or self._markers.get_subscription_count() > 0
        )

    def _subscribe_when_wanted(self) -> None:
        """Listen to keypoints only while someone listens to us: the detector rests meanwhile."""
        if self.is_wanted():
            self._unwanted = 0
            if self._subscription is None:
                self._subscription = self.create_subscription(
                    Skeleton2DArray,
                    "keypoints",
                    lambda message: self.submit(conversions.keypoint_frame(message)),
                    SENSOR_QOS,
                )
        elif self._subscription is not None:
            # A listener that restarts should not restart the tracks.
            self._unwanted += 1
            if self._unwanted * LAZY_PERIOD_S > SILENCE_S:
                self.destroy_subscription(self._subscription)
                self._subscription = None

    def _take_info(self, message: CameraInfo) -> None:
        with self._arrived:
            self._info = message

    def submit(self, frame: KeypointFrame) -> None:
        """Hand over one image's keypoints, from any thread."""
        with self._arrived:
            if len(self._queue) == self._queue.maxlen:
                self.counts["keypoints_overrun"] += 1
            self._queue.append((frame, time.perf_counter()))
            self._last_heard = time.monotonic()
            self._arrived.notify()

    def _work(self) -> None:
        info_seen: CameraInfo | None = None
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._queue or self._stopping, timeout=SILENCE_S / 2)
                if self._stopping:
                    return
                batch, info = list(self._queue), self._info
                self._queue.clear()
                silent = time.monotonic() - self._last_heard > SILENCE_S
            try:
                if info is not None and info is not info_seen:
                    info_seen = info
                    self._use_info(info)
                if batch:
                    self._process(batch)
                elif silent and self._pipeline.active:
                    self._end_all()
            except Exception as error:
                # One bad moment must not end the stream; it is said and counted.
                if self._stopping or self.going_down:
                    return
                self.refuse("lifter_failed", f"lifting failed: {error!r}")

    def _use_info(self, info: CameraInfo) -> None:
        try:
            camera = conversions.camera_from_info(info)
        except CameraError as error:
            self.refuse("bad_camera_info", f"camera_info refused: {error}")
            self._camera_text = f"camera_info refused: {error}"
            camera = None
        else:
            if camera is None:
                self._camera_text = "camera_info has no intrinsics (K is zero): no root"
                self.say_now_and_then("no_intrinsics", self._camera_text)
            else:
                self._camera_text = ""
        self._pipeline.set_camera(camera)

    def _process(self, batch: list[tuple[KeypointFrame, float]]) -> None:
        before = Counter(self.counts)
        used = None
        for frame, received in batch:
            if self._pipeline.observe(frame):
                if used is not None:
                    self.counts["coalesced"] += 1
                used = (frame, received)
        for reason, number in (self.counts - before).items():
            if reason != "coalesced":
                self.say_now_and_then(
                    reason, f"keypoints refused: {reason} ({before[reason] + number} so far)"
                )
        if used is None:
            return
        frame, received = used
        queue_ms = 1000 * (time.perf_counter() - received)
        result = self._pipeline.lift()
        self._frame_id = frame.frame_id
        self._lift_ms, self._people = result.lift_ms, len(result.people)
        self._publish(result, frame.detect_ms, queue_ms)

    def _end_all(self) -> None:
        # The stamps may be of another clock than ours: the stream's own last one fits it.
        newest_ns = self._pipeline.newest_ns
        ended = self._pipeline.end_all()
        self._people = 0
        self._publish(LiftResult(newest_ns, 0, ended, float("nan")), float("nan"), float("nan"))

    def _publish(self, result: LiftResult, detect_ms: float, queue_ms: float) -> None:
        total_ms = (self.get_clock().now().nanoseconds - result.stamp_ns) / 1e6
        if not 0 <= total_ms < 60_000:
            # The stamps are of another clock than ours.
            total_ms = float("nan")
        self._rate.tick()
        header = Header(stamp=conversions.time_msg(result.stamp_ns), frame_id=self._frame_id)
        if self._skeletons.get_subscription_count() > 0:
            self._skeletons.publish(
                conversions.skeletons_msg(
                    result, self._frame_id, self._target.name, detect_ms, queue_ms, total_ms
                )
            )
        if self._markers.get_subscription_count() > 0:
            markers = conversions.markers_msg(result.people, header, self._target, self._shown)
            if markers.markers:
                self._markers.publish(markers)
        if self._tf is not None:
            self._tf.publish(conversions.tf_msg(self._tf_type, result.people, header))

    def diagnose(self) -> tuple[bool, str, dict[str, str]]:
        rate = self._rate.read()
        values = {
            "rate_hz": f"{rate:.1f}",
            "people": str(self._people),
            "lift_ms": f"{self._lift_ms:.1f}",
            "device": self._engine.device,
            "engine": self._engine.description,
        }
        if self._camera_text:
            return False, self._camera_text, values
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
