"""The feed of one camera and the dispatchers, without ROS: queues, intrinsics, errors, silence."""

import threading
from collections import Counter

import numpy as np
import pytest
from ros_session import poll
from test_pipeline import CAMERA, STEP, by_id, engine, frame_of, pipeline_of  # noqa: F401
from test_swaps import walker

import emf_ros.lift.dispatch as dispatch_module
import emf_ros.lift.feed as feed_module
from emf_ros.geometry.camera import Camera
from emf_ros.geometry.transform_tree import TransformTree
from emf_ros.lift.dispatch import INTRINSICS_WAIT_NS, IntrinsicsWait, LiftEvery, LiftNewest
from emf_ros.lift.feed import (
    MAX_AGE_MS,
    MAX_QUEUE,
    TRANSFORM_WAIT_S,
    CameraReport,
    Feed,
    Received,
)
from emf_ros.lift.lag import AutoLag
from emf_ros.lift.reference_frames import ReferenceFrames
from emf_ros.reasons import Reason
from emf_ros.types import TrackState

WAIT_S = 60.0


class Lines:
    """A log that keeps its lines."""

    shutting_down = False

    def __init__(self, counts):
        self.counts, self.lines = counts, []
        self.refused = threading.Event()

    def refuse(self, reason, detail):
        self.counts[reason] += 1
        self.lines.append(detail)
        self.refused.set()

    def log_counted(self, reason, detail):
        self.lines.append(detail)

    def log_refused_stamp(self, reason, topic, stamps):
        self.lines.append(f"{topic}: {reason}")

    def warn_once(self, key, text):
        self.lines.append(text)


class Outputs:
    """Takes what a dispatcher publishes; `wait` waits for the next."""

    def __init__(self):
        self.all, self._arrived = [], threading.Condition()

    def __call__(self, feed, output):
        with self._arrived:
            self.all.append((feed.name, output))
            self._arrived.notify_all()

    def wait(self, is_met):
        with self._arrived:
            assert self._arrived.wait_for(lambda: is_met(self.all), WAIT_S)


def frames(count, first=0):
    rays = walker(60)
    return [frame_of([rays[t]], STEP * (t + 30), frame_id="camera") for t in range(first, count)]


def hour_later_in_another_shape(later):
    """Images whose stamps end all tracks, and whose size has no intrinsics."""
    for frame in later:
        frame.stamp_ns += 3600 * 10**9
        frame.image_size = (640, 640)
    return later


def feed_of(engine, name="", **more):  # noqa: F811
    pipeline = pipeline_of(engine)
    log = Lines(pipeline.counts)
    return Feed(name, pipeline, log, **more), log


def report_of(camera):
    return CameraReport(camera, CAMERA.size, "" if camera else "no intrinsics")


class TestFeed:
    def test_all_keypoints_are_observed_and_the_newest_is_the_result(self, engine):  # noqa: F811
        feed, log = feed_of(engine)
        batch = [Received(frame, 5.0) for frame in frames(10)]
        newest = feed.take_in(batch)
        assert newest is batch[-1] and log.counts == Counter({Reason.COALESCED: 9})
        result = feed.pipeline.lift()
        output = feed.output(result, newest, 5.25)
        assert output.result.stamp_ns == batch[-1].frame.stamp_ns
        assert output.frame_id == "camera" and output.queue_ms == 250.0 and feed.people == 1
        # All ten are in the window, which is why the person is TRACKED.
        other = pipeline_of(engine)
        assert all(other.observe(frame) for frame in frames(10))
        expected = other.lift().people[0]
        assert np.array_equal(output.result.people[0].joints, expected.joints)
        assert output.result.people[0].state == TrackState.TRACKED

    def test_a_full_queue_loses_its_oldest_and_counts_it(self, engine):  # noqa: F811
        feed, log = feed_of(engine)
        received = [Received(frame) for frame in frames(1) * (MAX_QUEUE + 3)]
        for one in received:
            feed.put(one)
        assert feed.take_ready(0.0) == received[3:] and not feed.queue
        assert log.counts == Counter({Reason.KEYPOINTS_OVERRUN: 3})

    def test_refused_keypoints_are_logged_by_their_reason(self, engine):  # noqa: F811
        feed, log = feed_of(engine, "front")
        (frame,) = frames(1)
        assert feed.take_in([Received(frame)]) is not None
        assert feed.take_in([Received(frame)]) is None
        frame.layout = "unheard_of"
        assert feed.take_in([Received(frame)]) is None
        assert log.lines[0] == "front/keypoints: stamp_not_newer"
        assert Reason.UNKNOWN_LAYOUT.explanation.meaning in log.lines[1]
        assert log.counts[Reason.STAMP_NOT_NEWER] == log.counts[Reason.UNKNOWN_LAYOUT] == 1

    def test_other_threads_may_count_while_refused_keypoints_are_logged(self, engine):  # noqa: F811
        class Counted(Counter):
            """Another thread counts something new whenever this one reads one by one."""

            def items(self):
                for number, pair in enumerate(super().items()):
                    self[f"of another thread {number}"] += 1
                    yield pair

        pipeline = pipeline_of(engine)
        pipeline.counts = Counted({Reason.BAD_CAMERA_INFO: 1})
        feed, (frame,) = Feed("", pipeline, Lines(pipeline.counts)), frames(1)
        frame.layout = "unheard_of"
        assert feed.take_in([Received(frame)]) is None
        assert pipeline.counts[Reason.UNKNOWN_LAYOUT] == 1
        assert Reason.UNKNOWN_LAYOUT.explanation.meaning in feed._log.lines[0]

    def test_keypoints_wait_for_their_transforms_no_longer_than_once_in_all(self, engine):  # noqa: F811
        feed, log = feed_of(engine)
        tree = TransformTree()
        feed.pipeline.frames = ReferenceFrames(tree, "odom", "floor", "base", log)
        early, late = map(Received, frames(2), (5.0, 5.05))
        assert feed.ready_at_s == np.inf

        def tell(stamp_ns):
            for parent, child in (("odom", "base"), ("base", "floor"), ("base", "camera")):
                tree.add(parent, child, stamp_ns, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))

        feed.put(early)
        # A frame that no transform has is not waited for.
        assert feed.take_ready(5.0) == [early]
        tell(early.frame.stamp_ns - 1)
        for received in (early, late):
            feed.put(received)
        # Three transforms are missing, and the time begins with the arrival of the keypoints.
        assert feed.take_ready(5.19) == [] and feed.ready_at_s == early.at_s + TRANSFORM_WAIT_S
        assert feed.take_ready(5.2) == [early] and feed.ready_at_s == late.at_s + TRANSFORM_WAIT_S
        tell(late.frame.stamp_ns)
        assert feed.take_ready(5.2) == [late] and not feed.queue

    @pytest.mark.parametrize(("age_ms", "is_known"), [(20.0, True), (-5.0, False), (1e8, False)])
    def test_the_age_by_another_clock_is_unknown(self, engine, age_ms, is_known):  # noqa: F811
        assert age_ms < MAX_AGE_MS or not is_known
        (frame,) = frames(1)
        feed, _ = feed_of(engine, now_ns=lambda: frame.stamp_ns + round(age_ms * 1e6))
        newest = feed.take_in([Received(frame)])
        output = feed.output(feed.pipeline.lift(), newest, newest.at_s)
        assert (output.own_ms == pytest.approx(age_ms)) if is_known else np.isnan(output.own_ms)
        assert np.isfinite(feed.latency_ms()).all() == is_known
        # The figures begin anew after each look.
        assert np.isnan(feed.latency_ms()).all()

    def test_the_lag_grows_where_the_budget_has_room(self, engine):  # noqa: F811
        feed, _ = feed_of(engine, auto_lag=AutoLag(400.0, 1000 / 30, 13))
        for frame in frames(60):
            feed.take_in([Received(frame, 1.0)])
            result = feed.pipeline.lift()
            if result is not None:
                result.lift_ms = 10.0
                feed.choose_lag(feed.output(result, Received(frame, 1.0), 1.01))
        # 380 ms are left of the budget: eleven frames of 33 ms.
        assert feed.pipeline.lag == 11

    def test_intrinsics_are_used_with_the_next_keypoints(self, engine):  # noqa: F811
        feed, log = feed_of(engine)
        feed.pipeline.set_camera(None)
        assert feed.fault == "no camera_info yet" and feed.image_size is None
        feed.put_report(report_of(CAMERA))
        assert feed.image_size == CAMERA.size and feed.fault == ""
        feed.take_in([Received(frames(1)[0])])
        assert feed.fault == ""
        assert feed.pipeline.lift().people[0].root_valid
        # One message of another camera between good ones changes nothing.
        for camera in (Camera.from_fov(1280, 720, 30.0), CAMERA):
            feed.put_report(report_of(camera))
        feed.take_in([Received(frames(2)[1])])
        assert log.counts == Counter({Reason.CAMERA_INFO_OUTLIER: 1}) and len(log.lines) == 1
        assert feed.pipeline.lift().people[0].root_valid

    def test_a_restart_leaves_out_keypoints_that_came_before(self, engine):  # noqa: F811
        feed, log = feed_of(engine)
        # A dispatcher has them in its hands.
        batch = [Received(frame) for frame in frames(8)]
        feed.put_depth(batch[-1].frame.stamp_ns, np.ones((72, 128), np.float32))
        feed.restart()
        assert feed.take_in(batch) is None and not feed.pipeline.active
        # An earlier stamp is no jump back: it is the first.
        first = Received(frame_of([walker(1)[0]], STEP, frame_id="camera"))
        assert feed.take_in([first]) is first
        # Its depth images are forgotten, too.
        assert feed.pipeline.lift().people and log.counts == {Reason.DEPTH_IMAGE_MISSING: 1}

    def test_unusable_intrinsics_say_why_there_is_no_position(self, engine):  # noqa: F811
        feed, log = feed_of(engine)
        feed.put_report(report_of(None))
        feed.take_in([Received(frames(1)[0])])
        assert feed.fault == "no intrinsics" and log.lines == ["no intrinsics"]
        assert not feed.pipeline.lift().people[0].root_valid


class TestLiftNewest:
    def run(self, engine, names=("",)):  # noqa: F811
        feeds = [feed_of(engine, name)[0] for name in names]
        log, outputs = Lines(Counter()), Outputs()
        dispatcher = LiftNewest(feeds, log, outputs)
        dispatcher.start()
        return dispatcher, feeds, log, outputs

    def test_the_newest_is_lifted_and_silence_ends_the_tracks(self, engine):  # noqa: F811
        dispatcher, (feed,), _, outputs = self.run(engine)
        try:
            for frame in frames(20):
                dispatcher.submit(feed, frame)
            newest_ns = frames(20)[-1].stamp_ns
            outputs.wait(lambda all: any(o.result.stamp_ns == newest_ns for _, o in all))
            # No more keypoints come: the person is ended once, at the newest stamp.
            ended = TrackState.ENDED
            outputs.wait(lambda all: [p.state for p in all[-1][1].result.people] == [ended])
            last = outputs.all[-1][1]
            assert last.result.stamp_ns == newest_ns and np.isnan(last.queue_ms)
            assert feed.pipeline.active == () and dispatcher.waiting(feed) == 0
        finally:
            dispatcher.stop()

    def ends(self, outputs):
        """How often a track was said to have ended."""
        people = [p for _, output in list(outputs.all) for p in output.result.people]
        return sum(person.state == TrackState.ENDED for person in people)

    def test_keypoints_that_are_refused_keep_no_track(self, engine):  # noqa: F811
        dispatcher, (feed,), _, outputs = self.run(engine)
        try:
            for frame in frames(10):
                dispatcher.submit(feed, frame)
            # The driver's stamps stick, and its images go on.
            stuck = frames(10)[-1]
            outputs.wait(lambda all: any(o.result.stamp_ns == stuck.stamp_ns for _, o in all))

            def has_ended():
                dispatcher.submit(feed, stuck)
                return self.ends(outputs)

            assert poll(has_ended, WAIT_S)
            assert feed.pipeline.active == () and not outputs.all[-1][1].images_arrive
        finally:
            dispatcher.stop()
        assert self.ends(outputs) == 1

    def test_a_track_that_refused_keypoints_have_ended_is_told_of_in_the_silence(self, engine):  # noqa: F811
        dispatcher, (feed,), _, outputs = self.run(engine)
        try:
            for frame in frames(10):
                dispatcher.submit(feed, frame)
            outputs.wait(lambda all: bool(all))
            for frame in hour_later_in_another_shape(frames(12)[10:]):
                dispatcher.submit(feed, frame)
            outputs.wait(lambda all: self.ends(outputs))
        finally:
            dispatcher.stop()
        assert feed.pipeline.counts[Reason.CAMERA_INFO_SIZE_MISMATCH] == 1
        assert self.ends(outputs) == 1

    def late_rear(self, engine, names=("rear", "front")):  # noqa: F811
        """A running dispatcher whose first camera waits for a transform, and a way to send it."""
        dispatcher, feeds, log, outputs = self.run(engine, names)
        tree, (image,) = TransformTree(), frames(1)
        feeds[0].pipeline.frames = ReferenceFrames(tree, "odom", "", "", log)

        def tell(stamp_ns):
            tree.add("odom", "camera", stamp_ns, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
            dispatcher.transforms_came()

        tell(image.stamp_ns - 1)
        dispatcher.submit(feeds[0], image)
        return dispatcher, feeds, log, outputs, lambda: tell(image.stamp_ns)

    def test_a_camera_with_late_transforms_holds_up_no_other(self, engine, monkeypatch):  # noqa: F811
        monkeypatch.setattr(feed_module, "TRANSFORM_WAIT_S", 600.0)
        dispatcher, (rear, front), _, outputs, tell = self.late_rear(engine)
        try:
            for frame in frames(5):
                dispatcher.submit(front, frame)
            newest_ns = frames(5)[-1].stamp_ns
            outputs.wait(lambda all: any(o.result.stamp_ns == newest_ns for _, o in all))
            assert {name for name, _ in outputs.all} == {"front"} and dispatcher.waiting(rear) == 1
            tell()
            outputs.wait(lambda all: all[-1][0] == "rear" and all[-1][1].result.people)
        finally:
            dispatcher.stop()

    def test_keypoints_whose_transforms_never_come_are_refused_in_time(self, engine, monkeypatch):  # noqa: F811
        # Nothing else wakes the thread.
        monkeypatch.setattr(dispatch_module, "SILENCE_S", 600.0)
        dispatcher, (rear,), log, outputs, _ = self.late_rear(engine, ("rear",))
        try:
            assert poll(lambda: log.counts[Reason.TRANSFORM_MISSING], WAIT_S) == 1
        finally:
            dispatcher.stop()
        assert not outputs.all and not rear.queue

    def test_a_restart_forgets_keypoints_that_wait_for_transforms(self, engine, monkeypatch):  # noqa: F811
        monkeypatch.setattr(feed_module, "TRANSFORM_WAIT_S", 600.0)
        dispatcher, (rear, _), _, outputs, tell = self.late_rear(engine)
        try:
            dispatcher.between(rear.restart)
            tell()
            later = frames(2)[1]
            later.frame_id = "unheard_of"
            dispatcher.submit(rear, later)
            assert poll(lambda: rear.frame_id, WAIT_S) == "unheard_of"
        finally:
            dispatcher.stop()
        assert not outputs.all

    def test_an_error_is_counted_and_the_stream_goes_on(self, engine):  # noqa: F811
        dispatcher, (bad, good), log, outputs = self.run(engine, ("bad", "good"))
        try:
            first, second = frames(2)
            first.image_size = None
            dispatcher.submit(bad, first)
            assert log.refused.wait(WAIT_S)
            dispatcher.submit(good, second)
            outputs.wait(lambda all: [name for name, _ in all] == ["good"])
        finally:
            dispatcher.stop()
        assert log.counts == Counter({Reason.LIFTER_FAILED: 1})
        assert "lifting failed: TypeError" in log.lines[0]

    def test_a_stopped_dispatcher_has_no_thread(self, engine):  # noqa: F811
        dispatcher, _, _, _ = self.run(engine)
        dispatcher.stop()
        assert "lift" not in [thread.name for thread in threading.enumerate()]


class TestLiftEvery:
    def run(self, engine, announced, discovery_s=0.0):  # noqa: F811
        feed, log = feed_of(engine, announced=announced)
        feed.pipeline.set_camera(None)
        outputs = Outputs()
        return LiftEvery([feed], log, outputs, discovery_s), feed, log, outputs

    def test_every_image_is_lifted_in_its_order(self, engine):  # noqa: F811
        dispatcher, feed, _, outputs = self.run(engine, lambda: False)
        for frame in frames(8):
            dispatcher.submit(feed, frame)
        assert [o.result.stamp_ns for _, o in outputs.all] == [f.stamp_ns for f in frames(8)]

    def test_keypoints_wait_for_announced_intrinsics(self, engine):  # noqa: F811
        dispatcher, feed, _, outputs = self.run(engine, lambda: True)
        for frame in frames(8):
            dispatcher.submit(feed, frame)
        assert dispatcher.waiting(feed) == 8 and not outputs.all
        dispatcher.report(feed, report_of(CAMERA))
        assert dispatcher.waiting(feed) == 0
        assert [o.result.people[0].root_valid for _, o in outputs.all] == [True] * 8

    def test_keypoints_wait_no_longer_when_the_publisher_has_gone(self, engine):  # noqa: F811
        there = [True]
        dispatcher, feed, _, outputs = self.run(engine, lambda: there[0])
        dispatcher.submit(feed, frames(1)[0])
        dispatcher.look_again()
        assert not outputs.all
        there[0] = False
        dispatcher.look_again()
        assert len(outputs.all) == 1 and not outputs.all[0][1].result.people[0].root_valid

    def test_keypoints_wait_for_intrinsics_whose_publisher_is_discovered_late(self, engine):  # noqa: F811
        dispatcher, feed, log, outputs = self.run(engine, lambda: False, discovery_s=600.0)
        for frame in frames(8):
            dispatcher.submit(feed, frame)
        dispatcher.look_again()
        assert dispatcher.waiting(feed) == 8 and not outputs.all
        assert set(log.lines) == {"keypoints wait for camera_info"}
        dispatcher.report(feed, report_of(CAMERA))
        assert [o.result.people[0].root_valid for _, o in outputs.all] == [True] * 8

    def test_keypoints_wait_no_longer_than_discovery_takes(self, engine):  # noqa: F811
        dispatcher, feed, _, outputs = self.run(engine, lambda: False, discovery_s=0.05)
        dispatcher.submit(feed, frames(1)[0])
        assert not outputs.all
        poll(lambda: dispatcher.look_again() or outputs.all, WAIT_S)
        assert len(outputs.all) == 1 and not outputs.all[0][1].result.people[0].root_valid

    def test_keypoints_wait_ten_seconds_by_their_stamps(self, engine):  # noqa: F811
        dispatcher, feed, log, outputs = self.run(engine, lambda: True)
        count = 1 + round(INTRINSICS_WAIT_NS / 1e9)
        people = [walker(1)[0]]
        for second in range(count):
            dispatcher.submit(feed, frame_of(people, second * 1e9))
        said = len(log.lines)
        assert dispatcher.waiting(feed) == count
        dispatcher.submit(feed, frame_of(people, count * 1e9))
        assert dispatcher.waiting(feed) == 0 and len(outputs.all) == count + 1
        assert "lifted without a position" in log.lines[said]

    def test_a_replay_has_no_more_transforms_after_three_seconds_in_which_others_were_read(
        self,
        engine,  # noqa: F811
    ):
        dispatcher, feed, log, outputs = self.run(engine, lambda: False)
        tree = TransformTree()
        feed.pipeline.frames = ReferenceFrames(tree, "odom", "", "", log)
        image = frames(1)[0]
        # The node has started long before the bag.
        for _ in range(10):
            dispatcher.tick()
        dispatcher.submit(feed, image)
        # However long they take: a process that stands still has one tick.
        for _ in range(2):
            dispatcher.tick()
            dispatcher.tick()
            dispatcher.transforms_came()
        assert dispatcher.waiting(feed) == 1 and not log.counts
        for stamp_ns in (0, image.stamp_ns):
            tree.add("odom", "camera", stamp_ns, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        dispatcher.transforms_came()
        assert len(outputs.all) == 1
        dispatcher.submit(feed, frames(2)[1])
        for _ in range(3):
            assert not log.counts
            dispatcher.tick()
        assert dispatcher.waiting(feed) == 0 and log.counts[Reason.TRANSFORM_MISSING] == 1

    def test_a_restart_forgets_keypoints_that_wait(self, engine):  # noqa: F811
        dispatcher, feed, log, outputs = self.run(engine, lambda: True)
        for frame in frames(8):
            dispatcher.submit(feed, frame)
        assert dispatcher.waiting(feed) == 8
        dispatcher.between(lambda: dispatcher.restart(feed))
        assert dispatcher.waiting(feed) == 0
        assert [output.images_arrive for _, output in outputs.all] == [False]
        # The bag starts again: its stamps are the first ones, not a jump back.
        again = [frame_of([walker(4)[t]], STEP * t, frame_id="camera") for t in range(4)]
        for frame in again:
            dispatcher.submit(feed, frame)
        dispatcher.report(feed, report_of(CAMERA))
        lifted = [o.result.stamp_ns for _, o in outputs.all[1:]]
        assert lifted == [frame.stamp_ns for frame in again] and not log.counts

    def test_a_step_of_an_odd_stamp_is_no_waiting_time(self):
        waiting = IntrinsicsWait()
        for stamp_ns in (0, 3600 * 10**9, 10**9):
            waiting.put(Received(frame_of([], stamp_ns, ())))
        assert waiting.goes_on(False, lambda: True) and not waiting.timed_out
