"""The topics of one camera of a lifter: keypoints, intrinsics and depth in, skeletons out."""

from __future__ import annotations

import time

from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from emf_ros_msgs.msg import BodyStateArray, Skeleton2DArray, Skeleton3DArray

from ..body.tracker import BodyTracker
from ..lift.dispatch import SILENCE_S, Dispatcher
from ..lift.feed import CameraReport, Feed, Output, topic_of
from ..lift.reference_frames import ReferenceFrames
from ..reasons import Reason
from ..skeletons import Layout
from ..types import Frame2D
from . import body_messages, conversions
from .adapters import ThirdPartyKeypoints
from .base import BaseNode
from .counted_log import CameraLog
from .depth_topic import DepthTopic
from .diagnostics import LATE_MS, Level, Task
from .hri_topics import HriTopics
from .input_watch import InputWatch
from .intrinsics_topic import CALIBRATE, FOLLOW_PERIOD_S, IntrinsicsTopic, camera_report
from .missed_messages import MissedMessages
from .params import SkeletonLifterParams
from .qos import EVERY_QOS, RELIABLE_QOS, SENSOR_QOS
from .rate import RateMeter
from .standard_topics import StandardTopics
from .taking import is_refused_crowd

#: Period of the check for subscribers, s.
SUBSCRIBERS_PERIOD_S = 0.2

#: Number of readings in a row, one a second, with half of the images lost, until it is said.
LOSSY_READINGS = 3

#: Age of an image whose transforms have come where they are published in time, ns.
TRANSFORMS_LATE_NS = 500_000_000


class CameraTopics:
    """The topics of one camera; the keypoints are subscribed to while there are subscribers.

    The detector can rest meanwhile.

    Args:
        node: publishes and subscribes.
        name: of the camera, in front of its topics; empty where there is one only.
        layout: of the skeletons.

    Attributes:
        name: as given.
        log: counts of this camera.
        feed: takes what comes in, while the node is active.
        info: the newest camera_info, None before the first; kept while the node is inactive.
        rate: of the output.

    Raises:
        NodeError: the package of third-party keypoints is not installed.
    """

    #: QoS of the skeletons and the markers.
    output_qos = RELIABLE_QOS
    #: QoS of the subscriptions.
    input_qos = SENSOR_QOS
    #: Whether the intrinsics outlive a pause: some publishers send them once.
    keeps_intrinsics = True

    feed: Feed

    def __init__(self, node: BaseNode[SkeletonLifterParams], name: str, layout: Layout) -> None:
        self.name = name
        self.log = CameraLog(node, name)
        # Of the topics that are subscribed to.
        self._keypoints_watch: InputWatch | None = None
        self._info_watch: InputWatch | None = None
        # Number of readings in a row with half of the images lost.
        self._lossy = 0
        self.info: CameraInfo | None = None
        self.rate = RateMeter()
        self._node, self._layout = node, layout
        self._dispatcher: Dispatcher | None = None
        self._shown: set[int] = set()
        self._skeletons = node.publish_on(
            Skeleton3DArray, topic_of(name, "skeletons"), self.output_qos
        )
        self._markers = node.publish_on(MarkerArray, topic_of(name, "markers"), self.output_qos)
        self._body_states = node.publish_on(
            BodyStateArray, topic_of(name, "body_states"), self.output_qos
        )
        self._standard = StandardTopics(node, name, self.output_qos)
        self._hri = HriTopics(node, name, self.output_qos) if node.params.hri else None
        self._bodies = BodyTracker()
        self._body_markers = body_messages.BodyMarkers()
        # Content of `info`.
        self._intrinsics: CameraReport | None = None
        self._keypoints: Subscription | None = None
        #: None where poses do without.
        self._depth: DepthTopic | None = None
        self._unwanted_s = 0.0
        #: When the subscribers heard last, monotonic, s.
        self._told_s = time.monotonic()
        self._was_wanted = False
        self._third_party: ThirdPartyKeypoints | None = None
        if node.params.keypoints_type != "emf_ros":
            self._third_party = ThirdPartyKeypoints(
                node,
                node.params.keypoints_type,
                lambda topic: topic_of(name, topic),
                lambda: self.feed.image_size,
                self._submit,
                self.log.refuse,
                self._keypoints_arrived,
            )

    # ------------------------------------------------------------------ subscriptions

    def start(self, feed: Feed, dispatcher: Dispatcher, keypoints: bool, camera_info: bool) -> None:
        """Subscribe from now on, to keypoints while there are subscribers.

        Args:
            feed: of the camera.
            dispatcher: takes what comes in.
            keypoints: whether to subscribe to keypoints.
            camera_info: whether to subscribe to camera_info; a camera in the same process calls
                `take_info`.
        """
        self.feed, self._dispatcher = feed, dispatcher
        self._bodies = BodyTracker()
        if self._hri is not None:
            feed.pipeline.watch = self._hri.remember
        if camera_info:
            self._info_watch = self._node.watch(
                feed.topic("camera_info"), "camera_info", f"poses have no position; {CALIBRATE}"
            )
            infos = IntrinsicsTopic.of(
                self._node, feed.topic("camera_info"), self.take_info, self.input_qos
            )
            self._node.every(FOLLOW_PERIOD_S, infos.follow)
        if self._intrinsics is not None:
            feed.put_report(self._intrinsics)
        if self._node.params.use_depth:
            self._depth = DepthTopic(self._node, feed, dispatcher, self.log, self.input_qos)
        if not keypoints:
            self._subscribe_to_depth()
        else:
            self._keypoints_watch = self._watch_keypoints()
            self._subscribe_to_keypoints()

    def stop(self) -> None:
        """Unsubscribe. The tracks have ended."""
        self._unsubscribe()
        if self._hri is not None:
            self._hri.end_all()
        self._dispatcher = self._keypoints_watch = self._info_watch = self._depth = None
        if not self.keeps_intrinsics:
            self.info = self._intrinsics = None

    def restart(self) -> None:
        """Forget all people, and the keypoints of an image that is not complete."""
        self._bodies = BodyTracker()
        if self._third_party is not None:
            self._third_party.restart()

    def _subscribe_to_keypoints(self) -> None:
        self._node.every(SUBSCRIBERS_PERIOD_S, self._subscribe_when_wanted)

    def _watch_keypoints(self) -> InputWatch:
        topic = "keypoints" if self._third_party is None else self._third_party.topic
        return self._node.watch(
            self.feed.topic(topic), "keypoints", "start the detector, or remap the topic to its"
        )

    def is_wanted(self) -> bool:
        """Whether there are subscribers."""
        return (
            self._node.params.publish_tf
            or self._skeletons.get_subscription_count() > 0
            or self._markers.get_subscription_count() > 0
            or self._body_states.get_subscription_count() > 0
            or self._standard.is_wanted()
            or (self._hri is not None and self._hri.is_wanted())
        )

    def _subscribe(self) -> None:
        if self._keypoints is not None:
            return
        if self._third_party is not None:
            self._keypoints = self._third_party.subscribe(self.input_qos)
        else:
            self._keypoints = self._node.listen_to(
                Skeleton2DArray,
                self.feed.topic("keypoints"),
                self._take_keypoints,
                self.input_qos,
                MissedMessages(self._count_missed),
            )
        self._subscribe_to_depth()

    def _subscribe_to_depth(self) -> None:
        if self._depth is not None:
            self._depth.subscribe()

    def _subscribe_when_wanted(self) -> None:
        if self.is_wanted():
            self._unwanted_s = 0.0
            self._subscribe()
            return
        self._unwanted_s += SUBSCRIBERS_PERIOD_S
        # A subscriber that restarts must not restart the tracks.
        if self._keypoints is not None and self._unwanted_s > SILENCE_S:
            self._unsubscribe()

    def _unsubscribe(self) -> None:
        if self._keypoints is not None:
            self._node.forget(self._keypoints)
            self._keypoints = None
        if self._depth is not None:
            self._depth.unsubscribe()
        if self._third_party is not None:
            self._third_party.unsubscribe()

    # ------------------------------------------------------------------ messages in

    def _count_missed(self, messages: int) -> None:
        self.log.counts[Reason.KEYPOINTS_MISSED] += messages

    def _keypoints_arrived(self) -> None:
        if self._keypoints_watch is not None:
            self._keypoints_watch.arrived()

    def _take_keypoints(self, message: Skeleton2DArray) -> None:
        self._keypoints_arrived()
        topic = self.feed.topic("keypoints")
        if is_refused_crowd(len(message.skeletons), topic, self._node.refuse_message):
            return
        self._submit(conversions.keypoint_frame(message))

    def _submit(self, frame: Frame2D) -> None:
        if not frame.frame_id:
            self.log.warn_once(
                "frame_id",
                f"{self.feed.topic('keypoints')}: header.frame_id is empty: TF and RViz cannot "
                "place people; set frame_id in the camera's driver",
            )
        if self._dispatcher is not None:
            self._dispatcher.submit(self.feed, frame)

    def take_info(self, message: CameraInfo) -> None:
        """Take the intrinsics of the images, from any thread."""
        self.info = message
        self._intrinsics = camera_report(
            message, self.feed.topic("camera_info"), self._node.params.rectified, self.log.counts
        )
        if self._info_watch is not None:
            self._info_watch.arrived()
            self._info_watch.used()
        if self._dispatcher is not None:
            self._dispatcher.report(self.feed, self._intrinsics)

    # ------------------------------------------------------------------ messages out

    def is_silent(self) -> bool:
        """Whether the subscribers have heard nothing for a second, or almost.

        The first subscriber ends the rest. It has not waited yet, and images are about to come.
        """
        came, self._was_wanted = not self._was_wanted, self.is_wanted()
        if came:
            self._told_s = time.monotonic()
        return self._was_wanted and time.monotonic() - self._told_s > 0.9 * SILENCE_S

    def publish(self, output: Output) -> Header:
        """Publish poses to the subscribers that there are; the header of the messages."""
        if output.images_arrive:
            self.rate.tick()
            if self._keypoints_watch is not None:
                self._keypoints_watch.used()
        self._told_s = time.monotonic()
        result = output.result
        header = Header(stamp=conversions.time_msg(result.stamp_ns), frame_id=output.frame_id)
        if self._skeletons.get_subscription_count() > 0:
            self._skeletons.publish(
                conversions.skeletons_msg(
                    result,
                    output.frame_id,
                    self._layout.name,
                    output.detect_ms,
                    output.queue_ms,
                    output.own_ms,
                    output.images_arrive,
                )
            )
        shows = self._markers.get_subscription_count() > 0
        tells = self._body_states.get_subscription_count() > 0
        needed = (
            shows
            or tells
            or self._standard.needs_states()
            or (self._hri is not None and self._hri.needs_states())
        )
        bodies = self._bodies.update(result) if needed else []
        scene = result.scene
        up = scene.up if scene is not None else None
        # Without the floor that it should have, nothing is told of people but their joints.
        if tells and (scene is None or up is not None):
            self._body_states.publish(body_messages.body_states_msg(bodies, header))
        if shows:
            markers = conversions.markers_msg(result.people, header, self._layout, self._shown)
            people = {person.track_id: person for person in result.people}
            markers.markers += self._body_markers.update(bodies, people, up, header)
            if markers.markers:
                self._markers.publish(markers)
        self._standard.publish(result.people, bodies, up, header)
        if self._hri is not None:
            self._hri.publish(result, bodies, header)
        return header

    # ------------------------------------------------------------------ diagnostics

    def tasks(self) -> list[Task]:
        """The state of the camera's topics."""
        feed = self.feed
        median_ms, most_ms = feed.latency_ms()
        rate_hz = self.rate.read()
        skeletons = Task(
            "skeletons",
            text=f"{rate_hz:.1f} skeleton messages/s",
            values={
                "rate_hz": f"{rate_hz:.1f}",
                "people": str(feed.people),
                "lag_frames": str(feed.pipeline.lag),
                "waiting": str(self._dispatcher.waiting(feed) if self._dispatcher else 0),
                "latency_ms_p50": f"{median_ms:.0f}",
                "latency_ms_p95": f"{most_ms:.0f}",
            },
            counts=self.log.counts,
        )
        # The lag is delay on purpose.
        late_ms = median_ms - 1000 * feed.pipeline.lag / feed.pipeline.engine.config.rate_hz
        if late_ms > LATE_MS and not self._node.params.synchronous:
            skeletons.worsen(
                Level.WARN,
                f"poses are {late_ms:.0f} ms late: use a faster device or fewer people; compare "
                "the clocks of camera and computer",
            )
        found = [skeletons]
        if self._keypoints_watch is not None:
            keypoints = self._keypoints_watch.read(self.is_wanted())
            keypoints.worsen(Level.ERROR, feed.pipeline.stamps.trouble)
            found.append(keypoints)
        if self._info_watch is not None:
            found.append(self._info_task(self._info_watch))
        if self._depth is not None:
            found.append(self._depth.task(self.is_wanted()))
        if feed.pipeline.frames is not None:
            found.append(self._transforms_task(feed.pipeline.frames))
        for task in found:
            task.name = f"{self.name} {task.name}".strip()
            task.hardware = feed.frame_id
        if self._keypoints_watch is not None:
            self._warn_of_losses(found[1])
        return found

    def _info_task(self, watch: InputWatch) -> Task:
        """The state of camera_info: needed once, and welcome later."""
        known = self.feed.report is not None
        # Some drivers send their intrinsics once.
        task = watch.read(needed=not known)
        if not known and task.level is Level.STALE:
            task.text += ": poses have no position"
            if task.values["publishers"] != "0":
                task.text += "; a publisher that sends it once needs durability transient_local"
        if known and (task.level is Level.STALE or (task.level is Level.OK and not watch.rate_hz)):
            task.level, task.text = Level.OK, "intrinsics are known"
        task.worsen(Level.ERROR, self.feed.fault if known else "")
        return task

    def _transforms_task(self, frames: ReferenceFrames) -> Task:
        """The state of the transforms that the images need."""
        feed, params = self.feed, self._node.params
        task = Task(
            "transforms",
            text=f"poses are in {feed.poses_in}",
            values={
                name: getattr(params, name)
                for name in ("target_frame", "ground_frame", "base_frame")
            },
        )
        if not feed.frame_id:
            return task
        faults = frames.faults(feed.frame_id, feed.pipeline.newest_ns - TRANSFORMS_LATE_NS)
        if feed.pipeline.active:
            faults |= frames.missed
        for reason, text in faults.items():
            level = Level.ERROR if reason is Reason.TRANSFORM_MISSING else Level.WARN
            task.worsen(level, f"{reason}: {text}")
        return task

    def _warn_of_losses(self, keypoints: Task) -> None:
        """Warn where less than half of the camera's images have keypoints."""
        assert self._keypoints_watch is not None
        images = self._info_watch.rate_hz if self._info_watch is not None else 0.0
        came = self._keypoints_watch.rate_hz
        self._lossy = self._lossy + 1 if 0 < came < images / 2 else 0
        if self._lossy >= LOSSY_READINGS:
            keypoints.worsen(
                Level.WARN,
                f"{came:.1f} of {images:.1f} images/s have keypoints: the detector is too slow, "
                "images get lost on the network, or max_rate_hz is set",
            )


class ReplayTopics(CameraTopics):
    """The topics of one camera of a replay: every message counts, whether there are subscribers."""

    # A subscriber that is held up for a moment must not miss an answer.
    output_qos = EVERY_QOS
    # A replay may send its intrinsics only once.
    input_qos = EVERY_QOS
    # The next replay may be of another camera, and its keypoints wait for its own intrinsics.
    keeps_intrinsics = False

    def _subscribe_to_keypoints(self) -> None:
        self._subscribe()

    def is_wanted(self) -> bool:
        return True
