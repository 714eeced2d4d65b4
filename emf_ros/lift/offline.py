"""Videos and recorded keypoints, lifted frame by frame by the live pipeline, without ROS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np

from ..body.columns import COLUMNS, row_of
from ..body.tracker import BodyTracker
from ..detect.protocol import DetectorError
from ..geometry.camera import Camera
from ..io.frame_source import FrameSource, VideoError
from ..io.progress import track
from ..io.recording_writer import RecordingWriter
from ..io.recordings import Recording, RecordingError
from ..io.video import frames_of
from ..people import PeopleTracker
from ..reasons import Reason
from ..skeletons import Layout
from ..types import UNTRACKED, Frame2D, Frame3D, Pose2D, TrackState
from .config import PipelineConfig
from .engine import Engine
from .memory import KeypointMemory
from .pipeline import LiftPipeline
from .window import NANOSECONDS


class PoseCollector:
    """Makes recording rows of poses and the keypoints of the image that they describe.

    Args:
        layout: of the keypoints.
        image_size: (width, height) px.
        camera: the intrinsics; None where they are not known.
        body: whether the answers about people are recorded, too.

    Attributes:
        writer: holds the rows.
    """

    def __init__(
        self,
        layout: Layout,
        image_size: tuple[int, int],
        camera: Camera | None,
        body: bool = False,
    ) -> None:
        self.writer = RecordingWriter(layout, image_size, camera, COLUMNS if body else ())
        self._bodies = BodyTracker.on(None) if body else None
        self._seen: KeypointMemory[int] = KeypointMemory()

    def keypoints(self, stamp_ns: int, frame: int, people: list[Pose2D]) -> None:
        """Take the people of one image.

        Args:
            stamp_ns: of the image, ns.
            frame: number of the image.
            people: with their ids.
        """
        self._seen.add(stamp_ns, frame, people)

    def poses(self, result: Frame3D) -> None:
        """Write the poses of one image, a row each."""
        frame, keypoints = self._seen.at(result.stamp_ns, -1)
        unknown = np.full((len(self.writer.layout), 3), np.nan)
        unknown[:, 2] = 0.0
        states = self._bodies.update(result) if self._bodies is not None else []
        bodies = {state.track_id: row_of(state) for state in states}
        for person in result.people:
            if person.state == TrackState.ENDED:
                continue
            self.writer.add(
                result.stamp_ns / NANOSECONDS,
                frame,
                person.track_id,
                keypoints.get(person.track_id, unknown),
                person.joints,
                person.stddev,
                person.root,
                person.root_valid,
                bodies.get(person.track_id),
            )


def lift_video(
    source: FrameSource,
    camera: Camera | None,
    engine: Engine,
    lag: int = 0,
    people: int = 2,
    variant: str = "full",
    progress: bool = True,
    world_landmarks: bool = False,
    watch: Callable[[int, list[Pose2D]], None] | None = None,
    stopping: Callable[[int], bool] = lambda done: False,
    detector: str = "blazepose",
    model: str = "",
    device: str = "auto",
    body: bool = False,
) -> tuple[Recording, Counter[Reason]]:
    """Detect, track and lift every frame of a video.

    Args:
        source: the video; it is read to its end and closed. Its counts tell the unreadable frames.
        camera: None where the intrinsics are not known; the roots then stay unknown.
        engine: runs the model.
        lag: frames of the model behind the newest.
        people: maximum number of people.
        variant: of the detector.
        progress: show the progress on stderr.
        world_landmarks: give `watch` the detector's own 3D points, too.
        watch: called with the number of each frame and its people, with their ids.
        stopping: called before each image with the number of images lifted so far. Where it returns
            true, the reading ends; the recording holds the images so far.
        detector, model, device: of the detector, see `detect.factory.make_detector`.
        body: also record the answers about people, see `body.columns`.

    Returns:
        the recording, and the number of rejected inputs, by reason.

    Raises:
        VideoError: the detector is not available, or a setting is out of its range.
    """
    pipeline = _pipeline(engine, lag, people)
    try:
        tracker = PeopleTracker.make(
            detector,
            variant,
            people,
            counts=pipeline.counts,
            world_landmarks=world_landmarks,
            model=model,
            device=device,
        )
    except DetectorError as error:
        raise VideoError(str(error)) from None
    pipeline.set_camera(camera)
    collector = PoseCollector(tracker.layout, source.size, camera, body)
    try:
        frames = frames_of(source)
        done = 0
        for index, stamp, image in track(frames, "lifting", source.count or None, shown=progress):
            if stopping(done):
                break
            stamp_ns = round((source.start_s + stamp) * NANOSECONDS)
            verdict = tracker.stamps.take(stamp_ns)
            if verdict.reason is not None:
                pipeline.counts[verdict.reason] += 1
                continue
            rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            found = tracker.update(rgb, stamp_ns)
            if watch is not None:
                watch(index, found)
            frame = Frame2D(
                stamp_ns,
                "",
                tracker.layout.name,
                (image.shape[1], image.shape[0]),
                found,
                stamp_verdict=verdict,
            )
            collector.keypoints(stamp_ns, index, frame.people)
            for result in pipeline.update_every(frame):
                collector.poses(result)
            done += 1
        for result in pipeline.lift_every(finish=True):
            collector.poses(result)
    finally:
        tracker.close()
        source.close()
    return collector.writer.recording(), pipeline.counts


def lift_recording(
    keypoints: Recording,
    engine: Engine,
    lag: int = 0,
    people: int = 8,
    progress: bool = True,
    stopping: Callable[[int], bool] = lambda done: False,
    body: bool = False,
) -> tuple[Recording, Counter[Reason]]:
    """Lift recorded keypoints like live ones: one update per stamp, in their order.

    An image without people has no row, and so counts as a lost image. People without a track id are
    tracked. The id 0 means no id where two people of one image have it.

    Args:
        keypoints: the recording; its keypoints are used, and its camera where it is known.
        engine, lag, people, progress, stopping, body: see `lift_video`.

    Returns:
        the recording, and the number of rejected inputs, by reason.

    Raises:
        RecordingError: the recording holds no keypoints.
    """
    if not len(keypoints):
        raise RecordingError("the recording has no rows")
    if keypoints.image_size == (0, 0) or not np.isfinite(keypoints.keypoints_2d).any():
        raise RecordingError("the recording holds no 2D keypoints, which are what is lifted")
    pipeline = _pipeline(engine, lag, people)
    pipeline.set_camera(keypoints.camera)
    collector = PoseCollector(keypoints.layout, keypoints.image_size, keypoints.camera, body)
    stamps = np.round(keypoints.stamp * NANOSECONDS).astype(np.int64)
    # The rows of one image are consecutive; they are cut where the stamp changes.
    cuts = np.flatnonzero(np.diff(stamps)) + 1
    images = np.split(np.arange(len(stamps)), cuts)
    ids = keypoints.track_id.copy()
    if any((ids[rows] == 0).sum() > 1 for rows in images):
        ids[ids == 0] = UNTRACKED
    # Number of the image by its stamp: the people are known after the tracking only.
    number_of: dict[int, int] = {}
    pipeline.watch = lambda frame: collector.keypoints(
        frame.stamp_ns, number_of[frame.stamp_ns], frame.people
    )
    following: list[int | None] = [int(stamps[rows[0]]) for rows in images[1:]]
    following.append(None)
    for done, rows in enumerate(track(images, "lifting", len(images), shown=progress)):
        if stopping(done):
            break
        stamp_ns = int(stamps[rows[0]])
        number_of[stamp_ns] = int(keypoints.frame[rows[0]])
        frame = Frame2D(
            stamp_ns,
            "",
            keypoints.layout.name,
            keypoints.image_size,
            [Pose2D(keypoints.keypoints_2d[r], track_id=int(ids[r])) for r in rows],
            # After seconds without rows the stamps jump; the next image confirms the jump.
            stamp_verdict=pipeline.stamps.take(stamp_ns, following[done]),
        )
        for result in pipeline.update_every(frame):
            collector.poses(result)
    for result in pipeline.lift_every(finish=True):
        collector.poses(result)
    return collector.writer.recording(), pipeline.counts


def _pipeline(engine: Engine, lag: int, people: int) -> LiftPipeline:
    try:
        return LiftPipeline(engine, PipelineConfig(lag=lag, max_people=people))
    except ValueError as error:
        raise VideoError(str(error)) from None
