"""Recordings of real people with truth, and the errors of each method on them.

A recording is a video, or the keypoints of one. On a video the lifter is compared with the world
landmarks that BlazePose itself gives for the same detections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..downloads.cache import DownloadError
from ..geometry.camera import Camera
from ..io.progress import say
from ..io.recording_writer import RecordingWriter
from ..io.recordings import Recording
from ..io.video import FrameSource, open_source
from ..lift.engine import Engine
from ..lift.offline import lift_recording
from ..skeletons import BLAZEPOSE33, H36M17, Layout
from .comparison import Errors, Poses, compare
from .evaluate import EvaluationError
from .formats.npz import checked_numbers, load_arrays
from .four_cameras import read_views, triangulated, truth_of
from .truth import Truth
from .varied_video import Variation, VariedSource
from .video import BLAZEPOSE, LIFTER, Track, lift_tracks, poses_of_truth

#: Number of images of the four cameras per image that is used: 30 Hz of 60.
FOUR_CAMERAS_EVERY = 2


def method_name(lag: int) -> str:
    """Name of the lifter in tables."""
    return f"{LIFTER}, lag {lag}"


class Footage(Protocol):
    """A recording of one person with truth.

    Attributes:
        name: of the recording.
        truth: where the joints were.
    """

    name: str
    truth: Truth

    def errors(self, engine: Engine, lag: int, variant: str) -> Iterator[tuple[str, Errors]]:
        """Names of the methods and their errors.

        Args:
            engine: runs the model.
            lag: frames of the model behind the newest.
            variant: of BlazePose, where a detector runs.

        Raises:
            EvaluationError: poses and truth do not fit each other.
        """
        ...


@dataclass
class KeypointFootage:
    """A recording of keypoints with truth.

    Attributes:
        keypoints: of one person; the variant of the detector is already decided.
        exact: whether the keypoints are projections of the truth.
    """

    name: str
    truth: Truth
    keypoints: Recording
    exact: bool = False

    def errors(self, engine: Engine, lag: int, variant: str) -> Iterator[tuple[str, Errors]]:
        name = f"{method_name(lag)}, exact keypoints" if self.exact else method_name(lag)
        yield name, compare(self.poses(engine, lag), self.truth)

    def poses(self, engine: Engine, lag: int) -> Poses:
        """The poses of the person, as the live lifter gives them."""
        lifted, _ = lift_recording(self.keypoints, engine, lag, progress=False)
        return Poses.of_recording(lifted)


@dataclass
class VideoFootage:
    """A video with truth.

    Attributes:
        path: of the video.
        camera: the intrinsics.
        variation: what is changed in the video.
    """

    name: str
    truth: Truth
    path: Path | str
    camera: Camera
    variation: Variation = Variation()

    def open(self) -> FrameSource:
        """The video from its beginning."""
        return VariedSource(open_source(self.path), self.variation)

    def errors(self, engine: Engine, lag: int, variant: str) -> Iterator[tuple[str, Errors]]:
        tracks = lift_tracks(self.open(), self.camera, engine, lag, variant=variant)
        yield from video_errors(tracks, self.truth, lag)


def video_errors(tracks: list[Track], truth: Truth, lag: int) -> Iterator[tuple[str, Errors]]:
    """Names of the methods and their errors on a video that was lifted at a lag.

    Raises:
        EvaluationError: no track is near the truth.
    """
    poses = poses_of_truth(tracks, truth)
    yield method_name(lag), compare(poses[LIFTER], truth)
    yield BLAZEPOSE, compare(poses[BLAZEPOSE], truth)


def keypoint_recording(
    layout: Layout,
    size: tuple[int, int],
    camera: Camera,
    frames: np.ndarray,
    rate_hz: float,
    keypoints: np.ndarray,
) -> Recording:
    """The keypoints (M, K, 3) px, px, score of one person in the images (M,) of a video."""
    writer = RecordingWriter(layout, size, camera)
    unknown = np.full((len(H36M17), 3), np.nan)
    for frame, points in zip(frames.tolist(), keypoints, strict=True):
        stamp = frame / rate_hz
        writer.add(stamp, frame, 1, points, unknown, unknown[:, 0], unknown[0], False)
    return writer.recording()


def read_footage(folder: str | Path, detector: str = "full") -> Iterator[KeypointFootage]:
    """Read recordings of keypoints with truth.

    They are npz files with the arrays of `Truth.load`. They also have `keypoints_DETECTOR`
    (M, 33, 3) px, px, score, `frame_DETECTOR` (M,), `rate_hz`, `camera_matrix` and `image_size`.

    Raises:
        EvaluationError: there is none, or one lacks an array.
    """
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise EvaluationError(f"{folder} holds no npz files")
    for path in paths:
        truth = Truth.load(path)
        names = (f"keypoints_{detector}", f"frame_{detector}")
        try:
            arrays = load_arrays(path, (*names, "image_size", "camera_matrix", "rate_hz"))
            keypoints, frames = (checked_numbers(name, arrays[name]) for name in names)
            if keypoints.shape != (frames.size, len(BLAZEPOSE33), 3):
                raise EvaluationError(
                    f"{names[0]} is {keypoints.shape} and {names[1]} has {frames.size} numbers, "
                    f"not (M, {len(BLAZEPOSE33)}, 3) and M"
                )
            width, height = (int(side) for side in arrays["image_size"])
            camera = Camera(arrays["camera_matrix"], (width, height))
            rate_hz = float(arrays["rate_hz"])
            if not rate_hz > 0:
                raise EvaluationError(f"rate_hz is {rate_hz:g}; it must be above 0")
        except (OSError, TypeError, ValueError) as error:
            raise EvaluationError(f"{path}: {error}") from None
        frames, size = frames.ravel().astype(int), (width, height)
        recording = keypoint_recording(BLAZEPOSE33, size, camera, frames, rate_hz, keypoints)
        yield KeypointFootage(path.stem, truth, recording)


def four_cameras() -> Iterator[VideoFootage]:
    """The recording of four cameras, each camera alone.

    Raises:
        DownloadError: the recording is not there and cannot be fetched.
    """
    views = read_views()
    stamps, points = triangulated(views)
    for view in views:
        yield VideoFootage(
            view.video.stem,
            truth_of(view, stamps, points),
            view.video,
            view.camera,
            Variation(every=FOUR_CAMERAS_EVERY),
        )


def projected_truth() -> Iterator[KeypointFootage]:
    """The four cameras with the projections of the triangulated points as keypoints.

    So no part of the error comes from the detector.
    """
    views = read_views()
    stamps, points = triangulated(views)
    frames = np.arange(0, len(points), FOUR_CAMERAS_EVERY)
    for view in views:
        pixels = view.camera.project(view.from_world(points[frames]))
        keypoints = np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=-1)
        yield KeypointFootage(
            view.video.stem,
            truth_of(view, stamps, points),
            keypoint_recording(
                BLAZEPOSE33, view.camera.size, view.camera, frames, 1 / stamps[1], keypoints
            ),
            exact=True,
        )


def all_footage(folder: str | Path | None, variant: str = "full") -> Iterator[Footage]:
    """All recordings: the four cameras, and the recordings of a folder.

    Args:
        folder: see `read_footage`; None gives the four cameras alone.
        variant: of BlazePose.

    Raises:
        EvaluationError: see `read_footage`.
    """
    try:
        yield from four_cameras()
    except DownloadError as error:
        say(f"without the recording of four cameras: {error}")
    if folder is not None:
        yield from read_footage(folder, variant)


def evaluate_footage(
    footage: Iterable[Footage],
    engine: Engine,
    lags: tuple[int, ...] = (0,),
    variant: str = "full",
) -> dict[tuple[str, str], Errors]:
    """Errors by recording and method, as `comparison.error_table` shows them.

    Raises:
        EvaluationError: poses and truth of a recording do not fit each other.
    """
    rows: dict[tuple[str, str], Errors] = {}
    for recording in footage:
        for lag in lags:
            try:
                for method, errors in recording.errors(engine, lag, variant):
                    rows.setdefault((recording.name, method), errors)
            except EvaluationError as error:
                raise EvaluationError(f"{recording.name}: {error}") from None
    return rows
