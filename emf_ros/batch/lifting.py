"""One source lifted to files: the work that `emf-ros lift` does for each source."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.camera import Camera, CameraError
from ..io.bag_source import COMPRESSED_IMAGE, IMAGE
from ..io.bags import BagReader, is_bag
from ..io.calibration.reader import choose_camera
from ..io.formats.registry import READABLE, check_output, read_recording, write_recording
from ..io.frame_source import FrameSource, VideoError
from ..io.outputs import OutputError, check_file
from ..io.progress import track
from ..io.recordings import Recording, RecordingError
from ..io.render.video import RenderError, hold_s_of, playback_rate_hz, render_recording
from ..io.video import frames_of, losses, open_source
from ..lift.engine import Engine, make_engine
from ..lift.offline import lift_recording, lift_video
from ..reasons import Reason
from ..types import UNTRACKED

#: Ending of the video that shows the image with its keypoints and the 3D view.
VIDEO_SUFFIX = ".mp4"


@dataclass(frozen=True)
class LiftSettings:
    """How sources are lifted: the options of `emf-ros lift`.

    Attributes:
        preset, weights, device: of the model, see `lift.engine.make_engine`.
        threads: number of CPU threads of the model; None for the usual number.
        detector, variant, model: of the detector, see `detect.factory.make_detector`.
        people: maximum number of people.
        lag: frames of the model behind the newest.
        rate_hz, topic: of the source, see `io.video.open_source`.
        camera_info, fov_deg, rectified: intrinsics, see `io.calibration.reader.choose_camera`.
        body: also record the answers about people.
    """

    preset: str = "lite"
    weights: str | None = None
    device: str = "auto"
    threads: int | None = None
    detector: str = "blazepose"
    variant: str = "full"
    model: str = ""
    people: int = 8
    lag: int = 0
    rate_hz: float | None = None
    topic: str = ""
    camera_info: str | None = None
    fov_deg: float | None = None
    rectified: bool = False
    body: bool = False

    def engine(self) -> Engine:
        """The model. `EngineError` where it does not load."""
        return make_engine(self.preset, self.weights, self.device, self.threads)

    def camera(
        self,
        size: tuple[int, int],
        aspect: float,
        tell: Callable[[str], None],
        brought: Camera | CameraError | None = None,
    ) -> Camera:
        """The intrinsics of images of this size; tells notes. `CameraError` for useless ones."""
        camera, notes = choose_camera(
            size, self.camera_info, self.fov_deg, aspect, self.rectified, brought
        )
        for note in notes:
            tell(note)
        return camera

    @property
    def camera_given(self) -> bool:
        """Whether the user has described the camera."""
        return self.camera_info is not None or self.fov_deg is not None

    def open(self, source: str | Path) -> FrameSource:
        """The video of a source. `VideoError` where there is none."""
        return open_source(source, self.rate_hz, self.topic, self.rectified)


@dataclass
class Lifted:
    """What came of a source.

    Attributes:
        recording: the people.
        counts: number of rejected inputs, by reason.
        total: number of images; 0 where it is not known.
        sentences: for the user, on what was left out.
    """

    recording: Recording
    counts: Counter[Reason]
    total: int
    sentences: list[str]

    def rejections(self) -> list[str]:
        """A sentence for each reason for which inputs were rejected."""
        return [
            f"{reason}: {number}. {reason.explanation.meaning}"
            for reason, number in sorted(self.counts.items())
            if number
        ]


def check_outputs(outputs: list[str], sources: list[str | None]) -> None:
    """Refuse outputs that cannot be written, before the work.

    Raises:
        RecordingError: an ending is unknown, or a package is missing.
        OutputError: a file cannot be written.
    """
    for path in outputs:
        if _is_video(path):
            check_file(path, sources)
        else:
            try:
                check_output(path, sources)
            except RecordingError as error:
                also = "" if "which is not installed" in str(error) else f", or {VIDEO_SUFFIX}"
                raise RecordingError(f"{error}{also}") from None
    same = {os.path.realpath(path) for path in outputs}
    if len(same) < len(outputs):
        raise RecordingError("two of the outputs are the same file")


def check_shown(outputs: list[str], source: str, topic: str = "") -> None:
    """Refuse a video of a source whose images are not there when it is lifted.

    Raises:
        BagError: the source is a bag that cannot be read.
        VideoError: the source is a webcam, or holds keypoints.
    """
    for path in outputs:
        if not _is_video(path):
            continue
        if source.strip().isdecimal() and not Path(source).exists():
            raise VideoError(f"cannot write {path}: the images of a webcam are not kept")
        if Path(source).exists() and is_recording(source, topic):
            raise VideoError(
                f"cannot write {path}: {source} has no images; use emf-ros render with the video"
            )


def is_recording(source: str | Path, topic: str = "") -> bool:
    """Whether a source holds keypoints, in place of images.

    A bag with a topic of images counts as a video, unless another topic is chosen.

    Raises:
        BagError: the bag cannot be read.
    """
    path = Path(source)
    if is_bag(path):
        with BagReader(path) as bag:
            images = bag.of_type(IMAGE, COMPRESSED_IMAGE)
            return not images or bool(topic and not {topic, f"/{topic}"} & set(images))
    return path.suffix.lower() in READABLE


def lift_source(
    source: str | Path,
    settings: LiftSettings,
    engine: Callable[[], Engine],
    tell: Callable[[str], None],
    progress: bool = True,
    stopping: Callable[[int], bool] = lambda done: False,
) -> Lifted:
    """Lift a video, a bag or recorded keypoints.

    Args:
        source: file, folder, bag or the number of a webcam.
        settings: how.
        engine: makes the model of these settings; called when the source is known to be good.
        tell: called with each sentence for the user, before the work.
        progress: show the progress on stderr.
        stopping: see `lift.offline.lift_video`.

    Raises:
        BagError, CameraError, RecordingError, VideoError: the source or an option cannot be used.
    """
    if is_recording(source, settings.topic):
        bag = is_bag(source)
        options: dict[str, Any] = {}
        if bag:
            given = settings.camera_given
            options = {"topic": settings.topic, "to_lift": True, "camera_given": given}
        keypoints = read_recording(source, **options)
        if bag:
            # In a message the id 0 says that the publisher does not track, as in a live stream.
            unknown = keypoints.track_id == 0
            keypoints.track_id = np.where(unknown, UNTRACKED, keypoints.track_id)
        if settings.camera_given or settings.rectified:
            if keypoints.image_size == (0, 0):
                raise RecordingError(f"{source} holds no 2D keypoints, which are what is lifted")
            keypoints.camera = settings.camera(keypoints.image_size, 1.0, tell)
        try:
            recording, counts = lift_recording(
                keypoints,
                engine(),
                settings.lag,
                settings.people,
                progress,
                stopping,
                settings.body,
            )
        except RecordingError as error:
            raise RecordingError(f"{source}: {error}") from None
        notes = [f"note: {source}: {note}" for note in keypoints.notes]
        return Lifted(recording, counts, len(set(keypoints.stamp.tolist())), notes)
    video = settings.open(source)
    try:
        if video.notice:
            tell(video.notice)
        camera = settings.camera(video.size, video.pixel_aspect, tell, video.camera)
        total = video.count
        recording, counts = lift_video(
            video,
            camera,
            engine(),
            settings.lag,
            settings.people,
            settings.variant,
            progress,
            stopping=stopping,
            detector=settings.detector,
            model=settings.model,
            device=settings.device,
            body=settings.body,
        )
    finally:
        video.close()
    return Lifted(recording, counts, total, losses(video))


def write_outputs(
    recording: Recording,
    outputs: list[str],
    source: str | Path,
    settings: LiftSettings,
    tell: Callable[[str], None],
    progress: bool = True,
) -> tuple[list[Path], list[Exception]]:
    """Write the files of a source, each complete or absent, also after one that fails.

    Videos come last: they take minutes, and the other files are there if they are interrupted.

    Returns:
        the files that were written, and an error for each output that was not: `RecordingError`
        where a format cannot hold the recording, `OutputError` where a file cannot be written,
        `RenderError` or `VideoError` where the source cannot be shown.
    """
    written: list[Path] = []
    errors: list[Exception] = []
    for path in sorted(outputs, key=_is_video):
        try:
            if _is_video(path):
                render_source(recording, source, settings, path, lambda sentence: None, progress)
                written.append(Path(path))
            else:
                written += write_recording(recording, path, [source], tell)
        except (OutputError, RecordingError, RenderError, VideoError) as error:
            errors.append(error)
    return written, errors


def _is_video(path: str | Path) -> bool:
    return Path(path).suffix.lower() == VIDEO_SUFFIX


def render_source(
    recording: Recording,
    source: str | Path,
    settings: LiftSettings,
    path: str,
    tell: Callable[[str], None],
    progress: bool = True,
) -> list[str]:
    """Write a video of a recording and the images that it was made of.

    Returns:
        sentences on the frames and poses that were left out.

    Raises:
        OutputError, RenderError, VideoError: the video cannot be read or written.
    """
    video = settings.open(source)
    if video.notice:
        tell(video.notice)
    if recording.image_size == (0, 0):
        # A file of 3D joints alone.
        recording = replace(recording, image_size=video.size)
    try:
        shown = track(frames_of(video), "rendering", video.count or None, shown=progress)
        frames = ((number, video.start_s + time_s, image) for number, time_s, image in shown)
        fps = playback_rate_hz(video)
        hold_s = hold_s_of(recording, fps)
        rows = render_recording(recording, frames, path, fps, hold_s=hold_s)
    finally:
        video.close()
    left_out = losses(video)
    if rows < len(recording):
        left_out.append(
            f"{len(recording) - rows} of {len(recording)} poses are of no image of this video"
        )
    return left_out
