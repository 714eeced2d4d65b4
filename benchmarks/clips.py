"""Video clips of 1 to 10 people, of any size and rate, made of the demo video and kept.

People move at their real speed at each rate: a clip of 120 Hz shows each picture four times, one of
10 Hz every third. A repeated picture is cheap to decode, as a picture of a real camera is.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
from graph import GraphError

from emf_ros.io.video import frames_of, open_source

CACHE = Path(tempfile.gettempdir()) / "emf_ros_bench_clips"
#: Rate of the composites, Hz.
COMPOSITE_HZ = 30.0


def clip_of(people: int, size: tuple[int, int], rate_hz: float) -> Path:
    """Path of a clip that loops without a jump; it is made at the first call.

    Args:
        people: one of `detection.SCALES`.
        size: (width, height) px.
        rate_hz: of the camera.
    """
    path = CACHE / f"{people}_people_{size[0]}x{size[1]}_{rate_hz:g}hz.mp4"
    if path.is_file():
        return path
    source = open_source(str(_composite(people)))
    pictures = [_fitted(picture, size) for _, _, picture in frames_of(source)]
    source.close()
    pictures += pictures[-2:0:-1]
    count = round(len(pictures) * rate_hz / COMPOSITE_HZ)
    shown = [pictures[int(i * COMPOSITE_HZ / rate_hz) % len(pictures)] for i in range(count)]
    _write(path, shown, rate_hz)
    return path


def _composite(people: int) -> Path:
    """The composite of `detection.py` with so many people, at its own size."""
    path = CACHE / f"{people}_people.mp4"
    if path.is_file():
        return path
    # Cutting people out takes a minute: all composites are made at once.
    from detection import SCALES, composite, demo

    print(f"making composites, once; kept in {CACHE}", flush=True)
    _, everyone, background = demo()
    for count in SCALES:
        made = composite(everyone, background, count)
        pictures = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in made.frames]
        _write(CACHE / f"{count}_people.mp4", pictures, COMPOSITE_HZ)
    if not path.is_file():
        raise GraphError(f"there is no clip of {people} people: choose of {sorted(SCALES)}")
    return path


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture at another size, its aspect ratio kept; its edge fills what is left."""
    height, width = picture.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(picture, (round(scale * width), round(scale * height)), interpolation=how)
    right, low = size[0] - picture.shape[1], size[1] - picture.shape[0]
    return cv2.copyMakeBorder(
        picture, low // 2, low - low // 2, right // 2, right - right // 2, cv2.BORDER_REPLICATE
    )


def _write(path: Path, pictures: list[np.ndarray], rate_hz: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A clip that was not written to its end must not be taken for one.
    unfinished = path.with_name(f"unfinished_{path.name}")
    size = pictures[0].shape[1], pictures[0].shape[0]
    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(unfinished), fourcc, rate_hz, size)
    if not writer.isOpened():
        raise GraphError("this OpenCV cannot write MPEG-4 video")
    for picture in pictures:
        writer.write(picture)
    writer.release()
    unfinished.replace(path)
