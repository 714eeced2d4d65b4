"""A recording as a video: the image with keypoints on the left, the 3D view on the right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from ..frame_source import FrameSource, VideoError
from ..outputs import replacing
from ..recordings import Recording
from ..video import times_of
from ..video_match import nothing_shown, time_mismatch
from .drawing import check_image, write
from .overlay import draw_keypoints
from .palette import TEXT
from .scene import SceneView

#: MPEG-4 part 2: every OpenCV writes it and players open it, but browsers do not.
CODEC = "mp4v"

#: Percentile of the steps between images that is taken for a step of a dense stretch.
DENSE_PERCENTILE = 10.0
#: Maximum standard deviation of the steps at a constant rate, as a share of their mean.
CONSTANT_RATE_SPREAD = 0.05
#: Maximum rate of a rendered video, Hz.
MAX_PLAYBACK_HZ = 1000.0
#: Maximum time between two images, for which a rendered video repeats the first, s.
MAX_GAP_S = 3600.0
#: Minimum and maximum height of a rendered video, px.
HEIGHT_RANGE_PX = (160, 4320)
#: Maximum relative difference between an image's aspect ratio and the recording's.
MAX_ASPECT_DIFFERENCE = 0.02
#: Percentile of the steps between images with people for which people stay in view.
HOLD_PERCENTILE = 95.0
#: Maximum time for which people of a sparse recording stay in view, s.
MAX_HOLD_S = 0.4


class RenderError(RuntimeError):
    """A video that could not be written."""


def render_recording(
    recording: Recording,
    frames: Iterable[tuple[int, float, np.ndarray]],
    path: str | Path,
    fps: float,
    height: int = 720,
    progress: Callable[[int], None] | None = None,
    hold_s: float = 0.0,
) -> int:
    """Write a video: the image with its keypoints on the left, the 3D view on the right.

    The video's rate is constant. Each frame is shown from its own time after the first frame. A
    frame is repeated until the time of the next one. Of several frames within one period the last
    is shown.

    Rows belong to the frame of their number. Rows without a number belong to the frame with the
    nearest stamp, if it is within half a period. A frame without rows shows the newest rows before
    it, for at most `hold_s`. After that it shows the image and an empty scene.

    Args:
        recording: the people.
        frames: number, stamp (s) and image (H, W, 3) uint8 BGR, with rising stamps. The stamps need
            the clock of the recording only for rows without a number.
        path: of the video, ending in .mp4; an existing file is replaced when the new one is
            complete.
        fps: frames per second of the video; `playback_rate_hz` gives one that suits `frames`.
        height: of the video, px; made even.
        progress: called with the number of frames taken so far.
        hold_s: time for which people stay in view after their row, s. It is for recordings with
            fewer rows than the video has frames.

    Returns:
        number of rows whose frame was shown.

    Raises:
        RenderError: there are no frames, the recording was not made of them, a frame has not the
            recording's aspect ratio, a frame is over an hour after the one before, or OpenCV cannot
            write the video.
        OutputError: the file cannot be written.
        ValueError: fps or height are out of range, or a frame is no image.
    """
    if not (math.isfinite(fps) and 0 < fps <= MAX_PLAYBACK_HZ):
        raise ValueError(f"fps is {fps}")
    if not HEIGHT_RANGE_PX[0] <= height <= HEIGHT_RANGE_PX[1]:
        raise ValueError(
            f"a height of {height} px is outside {HEIGHT_RANGE_PX[0]}..{HEIGHT_RANGE_PX[1]}"
        )
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise RenderError(f"{path} does not end in .mp4")
    height = _even(height)
    image_width = _even(height * recording.image_size[0] / recording.image_size[1])
    scene = SceneView(_even(1.25 * height), height, recording.camera)
    size = (image_width + scene.width, height)

    taken, written = 0, 0
    first_s, last_s, composed = 0.0, 0.0, np.zeros(0, np.uint8)
    shown, shown_at = np.zeros(0, dtype=np.int64), -math.inf
    rows_of = _RowsOfFrames(recording, 0.5 / fps)
    with replacing(path) as part, ExitStack() as at_end:
        writer: cv2.VideoWriter | None = None
        for number, stamp, image in frames:
            stamp = float(stamp)
            if writer is None:
                writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*CODEC), fps, size)
                at_end.callback(writer.release)
                if not writer.isOpened():
                    raise RenderError(
                        f"{path} cannot be written: this OpenCV ({cv2.__version__}) opens no "
                        f"{CODEC} video of {size[0]}x{size[1]}"
                    )
                first_s = stamp
            # Images whose clock was set would fill the disk with copies of one.
            if taken and stamp - last_s > MAX_GAP_S:
                raise RenderError(
                    f"{path} was not written: images jump from {last_s:.3f} s to {stamp:.3f} s, "
                    f"over {MAX_GAP_S / 3600:g} h; cut the source there"
                )
            last_s = stamp
            for _ in range(round((stamp - first_s) * fps) - written):
                writer.write(composed)
                written += 1
            rows = rows_of.at(number, stamp)
            if len(rows):
                shown, shown_at = rows, stamp
            elif 0 <= stamp - shown_at <= hold_s:
                rows = shown
            left = _overlay(recording, rows, image, (image_width, height), stamp)
            right = scene.render(
                recording.joints_3d[rows],
                recording.track_id[rows],
                recording.root_valid[rows],
                stamp,
            )
            composed = np.hstack([left, right])
            taken += 1
            if progress is not None:
                progress(taken)
        if writer is None:
            raise RenderError("there are no frames to render")
        rows_of.check_any_shown(first_s, stamp)
        writer.write(composed)
        written += 1
        writer.release()
        # OpenCV's writer does not report errors, such as a full disk.
        count, read_size = _read_back(part)
        if count != written or read_size != size:
            raise RenderError(
                f"{path} was written with {written} frames of {size[0]}x{size[1]} but reads as "
                f"{count} of {read_size[0]}x{read_size[1]}"
            )
    return rows_of.shown


def playback_rate_hz(source: FrameSource) -> float:
    """A constant rate, Hz, at which a video shows nearly all images of a source in time.

    Where the source's rate varies, it is the rate of the dense stretches. A source that cannot list
    its times is read to its end, and then rewound.
    """
    if source.live:
        return min(source.rate_hz, MAX_PLAYBACK_HZ)
    try:
        times = times_of(source)
    except VideoError:
        # A damaged bag: the video shows what comes before, and then says so.
        times = None
    source.rewind()
    steps_s = np.zeros(0) if times is None else np.diff(times)
    # Stamps of a bag may step back, or stay.
    steps_s = steps_s[steps_s > 0]
    if not len(steps_s):
        return min(source.rate_hz, MAX_PLAYBACK_HZ)
    if steps_s.std() <= CONSTANT_RATE_SPREAD * steps_s.mean():
        return float(min(1 / steps_s.mean(), MAX_PLAYBACK_HZ))
    dense_s = float(np.percentile(steps_s, DENSE_PERCENTILE))
    return min(1 / max(dense_s, 1e-6), MAX_PLAYBACK_HZ)


def hold_s_of(recording: Recording, fps: float) -> float:
    """Time for which people stay in view after their row, s, see `render_recording`.

    Live nodes leave out images, and people would flicker. Where each image was lifted, it is 0.

    Args:
        fps: frames per second of the video.
    """
    steps_s = np.diff(np.unique(recording.stamp))
    if not len(steps_s):
        return 0.0
    held_s = float(np.percentile(steps_s, HOLD_PERCENTILE)) - 1 / fps
    # In spite of rounding.
    return 0.0 if held_s < 0.5 / fps else min(held_s + 0.5 / fps, MAX_HOLD_S)


class _RowsOfFrames:
    """The rows of a recording by the frames of its video.

    The stamps of live recordings are of another clock than the times of a video. So numbers go
    first.

    Args:
        recording: the rows.
        reach_s: maximum time between a frame and rows without a number, s.
    """

    def __init__(self, recording: Recording, reach_s: float) -> None:
        self._stamps, self._numbers, self._reach_s = recording.stamp, recording.frame, reach_s
        self._unnumbered = np.flatnonzero(recording.frame < 0)
        self._was_shown = np.zeros(len(recording), dtype=bool)
        # The first frame with numbered rows: its number, its stamp and that of its rows, s.
        self._first: tuple[int, float, float] | None = None

    @property
    def shown(self) -> int:
        """Number of rows whose frame has come."""
        return int(self._was_shown.sum())

    def at(self, number: int, stamp: float) -> np.ndarray:
        """Indices of the rows of a frame.

        Raises:
            RenderError: the stamps of the rows are far from the times of the frames.
        """
        rows = np.flatnonzero(self._numbers == number)
        if len(rows):
            self._check_time(number, stamp, self._stamps[rows])
        else:
            rows = self._nearest(stamp)
        self._was_shown[rows] = True
        return rows

    def _nearest(self, stamp: float) -> np.ndarray:
        """Indices of the rows without a number whose stamp is nearest, if it is within reach."""
        stamps = self._stamps[self._unnumbered]
        away = np.abs(stamps - stamp)
        # Exactly half a period is within reach, in spite of rounding.
        if len(away) == 0 or away.min() > self._reach_s + 1e-6:
            return np.zeros(0, dtype=np.int64)
        return self._unnumbered[stamps == stamps[away.argmin()]]

    def _check_time(self, number: int, stamp: float, stamps: np.ndarray) -> None:
        """Refuse poses of another video, or of another rate: they would be on wrong images."""
        if self._first is None:
            self._first = number, stamp, float(stamps[0])
        mismatch = time_mismatch(self._first, number, stamp, stamps)
        if mismatch:
            raise RenderError(mismatch)

    def check_any_shown(self, first_s: float, last_s: float) -> None:
        """Refuse a video none of whose frames has rows, though there are some.

        Args:
            first_s, last_s: stamps of the first and the last frame, s.
        """
        if len(self._stamps) and not self._was_shown.any():
            raise RenderError(nothing_shown(self._numbers, self._stamps, first_s, last_s))


def _overlay(
    recording: Recording, rows: np.ndarray, image: np.ndarray, size: tuple[int, int], stamp: float
) -> np.ndarray:
    """The image scaled to size (width, height), with the rows' keypoints and a caption."""
    check_image(image)
    aspect = image.shape[1] / image.shape[0]
    recorded_aspect = recording.image_size[0] / recording.image_size[1]
    if abs(aspect / recorded_aspect - 1) > MAX_ASPECT_DIFFERENCE:
        raise RenderError(
            f"a frame is {image.shape[1]}x{image.shape[0]}, the recording's images were "
            f"{recording.image_size[0]}x{recording.image_size[1]}"
        )
    smaller = size[1] < image.shape[0]
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    keypoints = recording.keypoints_2d[rows].copy()
    # Pixel centres are at whole numbers: between two scales the grids differ by half a pixel.
    scale = np.array(size) / np.array(recording.image_size)
    keypoints[..., :2] = (keypoints[..., :2] + 0.5) * scale - 0.5
    draw_keypoints(scaled, keypoints, recording.track_id[rows], recording.layout)
    people = len(keypoints)
    text = f"{stamp:.2f} s    {people} {'person' if people == 1 else 'people'}"
    letters = size[1] / 50
    write(scaled, text, (1.4 * letters, size[1] - 1.4 * letters), letters, TEXT, plate=True)
    return scaled


def _even(value: float) -> int:
    """The nearest even number, at least 2: codecs store colour at half the size."""
    return max(2, 2 * round(value / 2))


def _read_back(path: Path) -> tuple[int, tuple[int, int]]:
    """The number of frames that can be read from a video, and their size (px)."""
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.isOpened() and capture.grab():
        count += 1
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    capture.release()
    return count, (width, height)
