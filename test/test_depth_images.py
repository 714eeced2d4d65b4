"""Depth images by their stamps: which are kept, live and in a replay, and what is counted."""

from collections import Counter

import numpy as np
import pytest
from test_feed import Lines, Outputs, report_of
from test_pipeline import CAMERA, engine, frame_of, pipeline_of  # noqa: F401
from test_swaps import walker

from emf_ros.geometry.transform_tree import TransformTree
from emf_ros.lift import depth_images
from emf_ros.lift.depth_images import WAIT_NS, DepthImages
from emf_ros.lift.dispatch import TICKS_IN_VAIN, LiftEvery
from emf_ros.lift.feed import Feed, Received
from emf_ros.lift.reference_frames import ReferenceFrames
from emf_ros.reasons import Reason

SECOND = 10**9
STEP = SECOND // 30
PIXELS = np.full((72, 128), 3.0, np.float32)


def add(images: DepthImages, *stamps_ns: int) -> Counter:
    counts: Counter = Counter()
    for stamp_ns in stamps_ns:
        images.add(stamp_ns, PIXELS, counts)
    return counts


def stamps(images: DepthImages) -> list[int]:
    return [image.stamp_ns for image in images._images]


# ------------------------------------------------------------------------------------------ kept


def test_live_images_wait_for_two_seconds_and_the_lag() -> None:
    images = DepthImages(every=False)
    images.keypoints_came(0)
    images.described(-SECOND // 2)
    add(images, *range(0, 5 * SECOND, STEP))
    newest_ns = stamps(images)[-1]
    assert 0 < stamps(images)[0] - (newest_ns - WAIT_NS - SECOND // 2) < STEP
    # The poses of a moment whose image was dropped say so, and those of another moment do not.
    assert images.at(SECOND) == (None, Reason.DEPTH_OVERRUN)
    assert images.at(newest_ns + SECOND) == (None, Reason.DEPTH_IMAGE_MISSING)
    assert images.at(newest_ns)[0] is PIXELS


def test_images_of_a_replay_wait_for_any_time_in_bounded_memory(monkeypatch) -> None:
    images = DepthImages()
    add(images, *range(0, 60 * SECOND, SECOND))
    assert len(stamps(images)) == 60
    monkeypatch.setattr(depth_images, "MAX_BYTES", 10 * PIXELS.nbytes)
    add(images, 60 * SECOND)
    assert stamps(images) == [n * SECOND for n in range(51, 61)]
    assert images.at(5 * SECOND) == (None, Reason.DEPTH_OVERRUN)


def test_images_that_no_pose_needs_are_forgotten() -> None:
    images = DepthImages()
    add(images, *range(0, 30 * STEP, STEP))
    images.keypoints_came(5 * STEP)
    images.keypoints_came(20 * STEP)
    near = [*range(4, 7), *range(19, 30)]
    assert stamps(images) == [n * STEP for n in near]
    images.described(5 * STEP)
    assert stamps(images) == [n * STEP for n in near]
    images.described(20 * STEP)
    assert stamps(images) == [n * STEP for n in range(19, 30)]


def test_stamps_of_depth_images_have_the_rule_of_all_images() -> None:
    images = DepthImages()
    counts = add(images, 100 * SECOND, 0, 100 * SECOND + STEP, 100 * SECOND + STEP)
    assert counts == {Reason.STAMP_OUTLIER: 1, Reason.STAMP_NOT_NEWER: 1}
    assert stamps(images) == [100 * SECOND, 100 * SECOND + STEP]
    # A driver that sets no stamps.
    images.clear()
    assert add(images, *[0] * 20)[Reason.STAMPS_ALL_EQUAL] and images.stamps.trouble


@pytest.mark.parametrize("depth_first", [True, False])
def test_a_bag_that_starts_again_takes_both_clocks_back(depth_first) -> None:
    images = DepthImages()
    old_ns, new_ns = 100 * SECOND, SECOND
    add(images, old_ns, old_ns + STEP)
    images.keypoints_came(old_ns)
    again = [new_ns + n * STEP for n in range(3)]
    if depth_first:
        add(images, *again)
        # The last keypoints before the jump still have their image.
        assert images.has_all_until(old_ns + STEP) and images.at(old_ns + STEP)[0] is PIXELS
        images.keypoints_came(old_ns + STEP)
        images.described(old_ns + STEP)
        assert images.has_all_until(again[1])
        images.keypoints_came(again[1])
    else:
        images.keypoints_came(old_ns + STEP)
        assert not images.has_all_until(again[1])
        images.keypoints_came(again[1])
        # An image from before the jump is none of the keypoints after it.
        add(images, old_ns + 2 * STEP)
        assert not images.has_all_until(again[2])
        add(images, *again)
    assert images.has_all_until(again[2]) and images.at(again[2])[0] is PIXELS


def test_a_clock_of_the_keypoints_that_hiccups_loses_no_depth_for_long() -> None:
    images = DepthImages()
    add(images, *range(0, 2 * SECOND, STEP))
    images.keypoints_came(SECOND + STEP)
    images.keypoints_came(0)
    add(images, 2 * SECOND)
    assert not images.has_all_until(2 * SECOND)
    # Its image is there all the same, so that the next keypoints need not wait.
    assert images.at(2 * SECOND)[0] is PIXELS and images.has_all_until(2 * SECOND)


# ------------------------------------------------------------------------------------------ live


@pytest.mark.parametrize(
    ("rate_hz", "lag", "latency_s"), [(60, 13, 0.12), (90, 8, 0.3), (30, 26, 0.25)]
)
def test_live_poses_have_the_depth_of_their_moment_at_any_rate_and_lag(
    engine,  # noqa: F811
    rate_hz,
    lag,
    latency_s,
) -> None:
    rays = walker(60)
    pipeline = pipeline_of(engine, lag=lag)
    pipeline.depths = DepthImages(expected=True, every=False)
    feed = Feed("", pipeline, Lines(pipeline.counts))
    step_ns, behind = SECOND // rate_hz, round(latency_s * rate_hz)
    described = 0
    for index in range(2 * rate_hz):
        feed.put_depth(index * step_ns, PIXELS)
        # A detector that looks at every third image.
        came = index - behind
        if came < 0 or came % 3:
            continue
        feed.take_in([Received(frame_of([rays[came * 30 // rate_hz]], came * step_ns))])
        described += pipeline.lift() is not None
    assert described > 4
    assert not {Reason.DEPTH_IMAGE_MISSING, Reason.DEPTH_OVERRUN} & set(pipeline.counts)


def test_poses_without_any_depth_image_are_counted_from_the_first_on(engine) -> None:  # noqa: F811
    rays, pipeline = walker(8), pipeline_of(engine)
    pipeline.depths = DepthImages(expected=True)
    for index in range(8):
        pipeline.update(frame_of([rays[index]], index * STEP))
    assert pipeline.counts == {Reason.DEPTH_IMAGE_MISSING: 8}


# ---------------------------------------------------------------------------------------- replays


class Replay:
    """A synchronous lifter of a walker, 30 images and depth images a second."""

    def __init__(self, engine):  # noqa: F811
        pipeline = pipeline_of(engine)
        pipeline.depths = DepthImages(expected=True)
        self.log, self.outputs = Lines(pipeline.counts), Outputs()
        self.feed = Feed("", pipeline, self.log)
        self.feed.put_report(report_of(CAMERA))
        self.lifter = LiftEvery([self.feed], self.log, self.outputs)
        self.rays = walker(60)

    def image(self, index: int, first_ns: int = 0) -> None:
        frame = frame_of([self.rays[index]], first_ns + index * STEP, frame_id="camera")
        self.lifter.submit(self.feed, frame)

    def depth(self, index: int, first_ns: int = 0) -> None:
        # The camera of depth has a clock of its own.
        self.lifter.submit_depth(self.feed, first_ns + index * STEP + STEP // 3, PIXELS)

    def results(self) -> list:
        return [
            (output.result.stamp_ns, output.result.people[0].root.tobytes())
            for _, output in self.outputs.all
        ]


def test_a_replay_gives_the_same_whichever_topic_is_read_first(engine) -> None:  # noqa: F811
    ahead, behind = Replay(engine), Replay(engine)
    for index in range(50):
        ahead.depth(index)
    for index in range(40):
        ahead.image(index)
        behind.image(index)
    assert len(ahead.outputs.all) == 40
    assert not behind.outputs.all and behind.lifter.waiting(behind.feed) == 40
    for index in range(50):
        behind.depth(index)
    assert behind.results() == ahead.results()
    assert not ahead.log.counts and not behind.log.counts


@pytest.mark.parametrize("depth_first", [True, False])
def test_a_replay_of_a_bag_in_a_loop_has_depth_in_every_round(engine, depth_first) -> None:  # noqa: F811
    replay = Replay(engine)
    rounds = {True: (replay.depth, replay.image), False: (replay.image, replay.depth)}[depth_first]
    for _ in range(2):
        for topic in rounds:
            for index in range(30):
                topic(index, 100 * SECOND)
    # The first image after a jump is refused until the next one confirms its stamp.
    assert len(replay.outputs.all) == 59
    assert not {Reason.DEPTH_IMAGE_MISSING, Reason.DEPTH_OVERRUN} & set(replay.log.counts)


def test_a_replay_has_no_more_depth_after_three_seconds_in_vain(engine) -> None:  # noqa: F811
    replay = Replay(engine)
    # A node that has nothing to do waits for nothing.
    for _ in range(10):
        replay.lifter.tick()
    replay.image(0)
    for _ in range(TICKS_IN_VAIN):
        assert replay.lifter.waiting(replay.feed) == 1
        replay.lifter.tick()
    assert len(replay.outputs.all) == 1
    replay.image(1)
    assert len(replay.outputs.all) == 2
    assert replay.log.counts == {Reason.DEPTH_IMAGE_MISSING: 2}
    # It comes after all: the next images wait again.
    replay.depth(1)
    replay.image(2)
    assert replay.lifter.waiting(replay.feed) == 1
    replay.lifter.between(lambda: replay.lifter.restart(replay.feed))
    assert replay.lifter.waiting(replay.feed) == 0 and stamps(replay.feed.pipeline.depths) == []


@pytest.mark.parametrize("kind", ["depth", "transforms"])
def test_one_odd_stamp_holds_up_no_replay(engine, kind) -> None:  # noqa: F811
    replay, tree = Replay(engine), TransformTree()
    if kind == "transforms":
        frames = ReferenceFrames(tree, "odom", "", "", replay.log)
        replay.feed.pipeline.frames, replay.feed.pipeline.depths = frames, DepthImages()
    for index in range(6):
        # An image of another clock is among them.
        replay.image(index, 10**18 if index == 3 else 0)
        tree.add("odom", "camera", index * STEP, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        replay.lifter.transforms_came()
        replay.depth(index)
    assert [stamp_ns // STEP for stamp_ns, _ in replay.results()] == [0, 1, 2, 4, 5]
    assert replay.log.counts == {Reason.STAMP_OUTLIER: 1}
