"""2D keypoints to metric 3D skeletons, of one camera or several."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sensor_msgs.msg import CameraInfo

from emf_ros_msgs.msg import SkeletonLayout
from emf_ros_msgs.srv import SetPersonHeight

from ..geometry.transform_tree import TransformTree
from ..lift.config import PipelineConfig
from ..lift.depth_images import DepthImages
from ..lift.dispatch import SILENCE_S, Dispatcher, LiftEvery, LiftNewest
from ..lift.engine import Engine, EngineError, make_engine
from ..lift.feed import Feed, Output, topic_of
from ..lift.ground import GroundPlane
from ..lift.lag import AutoLag
from ..lift.pipeline import LiftPipeline
from ..lift.reference_frames import ReferenceFrames
from ..people import unique_first_id
from ..skeletons import get_layout
from ..types import Frame2D
from . import conversions
from .base import BaseNode, NodeError
from .diagnostics import Task
from .lifter_topics import CameraTopics, ReplayTopics
from .param_specs import ParamError
from .params import SMOOTHING, SkeletonLifterParams
from .qos import LATCHED_QOS, RELIABLE_QOS
from .rectified_hint import RectifiedHint
from .running import run
from .transform_listener import TransformListener, tf_message_type

#: Maximum standing height of a person, m, as of the parameter person_height_m.
MAX_HEIGHT_M = 2.5


class SkeletonLifter(BaseNode[SkeletonLifterParams]):
    """Lifts the keypoints of its cameras.

    Args:
        subscribe: subscribe to the topic `keypoints`; in composed mode `submit` is called instead.
        subscribe_info: subscribe to `camera_info`; a camera in the same process calls `take_info`.
    """

    _engine: Engine
    #: None while the node is not active.
    _dispatcher: Dispatcher | None = None

    def __init__(self, subscribe: bool = True, subscribe_info: bool = True) -> None:
        super().__init__(SkeletonLifterParams)
        self._subscribes, self._subscribes_info = subscribe, subscribe_info
        self._cameras: list[CameraTopics] = []
        self._topics_of: dict[str, CameraTopics] = {}
        self._hint: RectifiedHint | None = None
        self.create_service(SetPersonHeight, "~/set_person_height", self._on_set_person_height)

    # ------------------------------------------------------------------ life cycle

    def load(self) -> None:
        names = self._camera_names()
        if not self._subscribes and names != [""]:
            raise NodeError(
                "in composed mode there is one camera; the parameter 'cameras' names others"
            )
        if not self._subscribes and self.params.keypoints_type != "emf_ros":
            raise NodeError("in composed mode keypoints come from the detector: no keypoints_type")
        if self.params.hri and self.params.keypoints_type == "hri_msgs":
            raise NodeError(
                "hri publishes on humans/bodies/, where keypoints_type hri_msgs reads: set hri to "
                "false, or take other keypoints"
            )
        self._configs()  # refuses what does not fit, before anything is loaded
        try:
            self._engine = self._make_engine()
            self._engine.warm_up(len(names) * self.params.max_people)
        except (EngineError, ValueError) as error:
            raise NodeError(str(error)) from None
        layout = get_layout(self._engine.config.layout)
        if self.params.uses_tf:
            tf_message_type(self.params.uses_tf)
        self._tf, self._tf_type = self._tf_publisher()
        kind = ReplayTopics if self.params.synchronous else CameraTopics
        self._cameras = [kind(self, name, layout) for name in names]
        self._layout = self.publish_on(SkeletonLayout, "layout", LATCHED_QOS)
        self._layout.publish(conversions.layout_msg(layout))
        self.get_logger().info(f"lag {self.params.lag}, {self._engine.description}")

    def start(self) -> None:
        # A replay gives the same ids each time.
        first_id = 1 if self.params.synchronous else unique_first_id(time.time())
        tree = self._listen_to_transforms()
        feeds = [
            self._feed(
                camera, LiftPipeline(self._engine, config, camera.log.counts, first_id), tree
            )
            for camera, config in zip(self._cameras, self._configs(), strict=True)
        ]
        kind = LiftEvery if self.params.synchronous else LiftNewest
        self._dispatcher = kind(feeds, self, self._publish)
        self._topics_of = {camera.name: camera for camera in self._cameras}
        for camera, feed in zip(self._cameras, feeds, strict=True):
            # In composed mode keypoints come by `submit`; depth images have no other way than
            # their topic.
            camera.start(feed, self._dispatcher, self._subscribes, self._subscribes_info)
        self.every(SILENCE_S, self._tick)
        self._dispatcher.start()
        if not self.params.rectified:
            self._hint = RectifiedHint(self, list(self._cameras))

    def stop(self) -> None:
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is None:
            return
        dispatcher.stop()
        if self.context.ok():
            # Subscribers are told, and RViz deletes the markers.
            for feed in dispatcher.feeds:
                dispatcher.end_all(feed)
        for camera in self._cameras:
            camera.stop()

    def unload(self) -> None:
        # These have pipelines, which have the engine.
        self._cameras, self._topics_of, self._hint = [], {}, None
        if hasattr(self, "_engine"):
            del self._engine

    def reset(self) -> None:
        dispatcher = self._dispatcher
        assert dispatcher is not None

        def restart() -> None:
            for camera, feed in zip(self._cameras, dispatcher.feeds, strict=True):
                dispatcher.restart(feed)
                camera.restart()

        dispatcher.between(restart)

    def apply(self, changed: Mapping[str, Any]) -> None:
        configs = self._configs()
        dispatcher = self._dispatcher
        if dispatcher is None:
            return

        def configure() -> None:
            for feed, config in zip(dispatcher.feeds, configs, strict=True):
                if changed.keys() & {"lag", "latency_budget_ms"}:
                    feed.configure(config, self._auto_lag())
                else:
                    feed.configure(replace(config, lag=feed.pipeline.lag), feed.auto_lag)

        dispatcher.between(configure)

    def _on_set_person_height(
        self, request: SetPersonHeight.Request, response: SetPersonHeight.Response
    ) -> SetPersonHeight.Response:
        dispatcher = self._dispatcher
        try:
            if dispatcher is None:
                raise ValueError("the node is not active")
            feeds = {feed.name: feed for feed in dispatcher.feeds}
            if request.camera not in feeds:
                raise ValueError(f"there is no camera {request.camera!r}; there are: {list(feeds)}")
            if not 0 <= request.height_m <= MAX_HEIGHT_M:
                raise ValueError(
                    f"height_m is {request.height_m:g}; it must be in 0..{MAX_HEIGHT_M:g}"
                )
            pipeline = feeds[request.camera].pipeline
            height_m = request.height_m or math.nan
            dispatcher.between(lambda: pipeline.set_height(request.track_id, height_m))
        except ValueError as error:
            response.message = str(error)
        else:
            response.success = True
        return response

    # ------------------------------------------------------------------ settings

    def _camera_names(self) -> list[str]:
        try:
            return self.params.camera_names()
        except ParamError as error:
            raise NodeError(str(error)) from None

    def _make_engine(self) -> Engine:
        return make_engine(
            self.params.preset,
            self.params.weights or None,
            self.params.device,
            self.params.threads or None,
            say=self._log_device,
            counts=self.counts,
        )

    def _log_device(self, text: str) -> None:
        self.get_logger().warning(text)

    def _configs(self) -> list[PipelineConfig]:
        """The settings of each camera's pipeline."""
        config = self._config()
        return [replace(config, ground=ground) for ground in self._grounds()]

    def _config(self) -> PipelineConfig:
        lag = self.params.lag
        jitter_filter_s, cutoff_hz = SMOOTHING[self.params.smoothing]
        return PipelineConfig(
            lag=lag if isinstance(lag, int) else 0,
            max_people=self.params.max_people,
            birth_score=self.params.min_score,
            coast_s=self.params.coast_s,
            max_gap_s=self.params.max_gap_s,
            person_height_m=self.params.person_height_m or math.nan,
            jitter_filter_s=jitter_filter_s,
            smoothing_cutoff_hz=cutoff_hz,
        )

    def _grounds(self) -> list[GroundPlane | None]:
        """The floor as each camera sees it; None where it is not known."""
        try:
            settings = [self.params.per_camera(name) for name in self.params.PER_CAMERA]
            self.params.check_floor()
        except ParamError as error:
            raise NodeError(str(error)) from None
        grounds: list[GroundPlane | None] = []
        for height_m, pitch_deg, roll_deg in zip(*settings, strict=True):
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

    def _auto_lag(self) -> AutoLag | None:
        """A new choice of the lag; None where the parameter gives it."""
        if self.params.lag != "auto":
            return None
        size = self._engine.config
        return AutoLag(self.params.latency_budget_ms, 1000 / size.rate_hz, size.frames // 2)

    def _feed(
        self, camera: CameraTopics, pipeline: LiftPipeline, tree: TransformTree | None
    ) -> Feed:
        if tree is not None:
            own = self.params
            pipeline.frames = ReferenceFrames(
                tree, own.target_frame, own.ground_frame, own.base_frame, camera.log
            )
        pipeline.depths = DepthImages(self.params.use_depth, every=self.params.synchronous)
        topic = self.resolve_topic_name(topic_of(camera.name, "camera_info"))
        return Feed(
            camera.name,
            pipeline,
            camera.log,
            now_ns=lambda: self.get_clock().now().nanoseconds,
            announced=self._has_publisher(topic),
            auto_lag=self._auto_lag(),
        )

    def _listen_to_transforms(self) -> TransformTree | None:
        """The transforms from now on; None where no parameter needs them."""
        if not self.params.uses_tf:
            return None
        every = self.params.synchronous
        return TransformListener(self, self.params.uses_tf, every, self._transforms_came).tree

    def _transforms_came(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.transforms_came()

    def _has_publisher(self, topic: str) -> Callable[[], bool]:
        return lambda: self.count_publishers(topic) > 0

    def _tf_publisher(self) -> tuple[Any, Any]:
        if not self.params.publish_tf:
            return None, None
        kind = tf_message_type("publish_tf")
        return self.publish_on(kind, "/tf", RELIABLE_QOS), kind

    def _tf_prefix(self, camera: str) -> str:
        """The beginning of the names of people's TF frames, which are unique on a robot."""
        own = self.params.tf_prefix or "".join(
            f"{part}_" for part in self.get_namespace().split("/") if part
        )
        return own + (camera.replace("/", "_") + "_" if camera else "")

    # ------------------------------------------------------------------ keypoints and poses

    def is_wanted(self) -> bool:
        """Whether there are subscribers."""
        return self.active and any(camera.is_wanted() for camera in self._cameras)

    def submit(self, frame: Frame2D) -> None:
        """Take the keypoints of one image of the only camera, from any thread."""
        dispatcher = self._dispatcher
        if dispatcher is not None:
            dispatcher.submit(dispatcher.feeds[0], frame)

    def take_info(self, message: CameraInfo) -> None:
        """Take the intrinsics of the only camera, from any thread."""
        if self.active:
            self._cameras[0].take_info(message)

    def _tick(self) -> None:
        """Tell the subscribers once a second that this node lives, and no images arrive.

        A replay has no such seconds. What has waited in vain there is lifted.
        """
        if isinstance(self._dispatcher, LiftEvery):
            self._dispatcher.tick()
            return
        # Each is asked, as each remembers its subscribers.
        silent = [camera for camera in self._cameras if camera.is_silent()]

        def publish() -> None:
            for camera in silent:
                # Images may have come since.
                if camera.is_silent():
                    camera.publish(camera.feed.silence())

        if silent and self._dispatcher is not None:
            # Not while the dispatcher's thread publishes. It may lift for long, so the lock is
            # only taken where there is something to say.
            self._dispatcher.between(publish)

    def _publish(self, feed: Feed, output: Output) -> None:
        header = self._topics_of[feed.name].publish(output)
        if self._tf is not None:
            people, prefix = output.result.people, self._tf_prefix(feed.name)
            self._tf.publish(conversions.tf_msg(self._tf_type, people, header, prefix))

    # ------------------------------------------------------------------ diagnostics

    def diagnose(self) -> list[Task]:
        assert self._dispatcher is not None
        tasks = [task for camera in self._cameras for task in camera.tasks()]
        model = Task(
            "model",
            text=self._engine.description,
            values={
                "lift_ms": f"{self._dispatcher.lift_ms:.1f}",
                "device": self._engine.device,
                "engine": self._engine.description,
            },
        )
        return [*tasks, model]


def main(args: list[str] | None = None) -> int:
    return run(lambda: [SkeletonLifter()], args)


if __name__ == "__main__":
    sys.exit(main())
