"""Degraded pictures of a video, and what a detector finds in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from emf_ros.detect.factory import make_detector
from emf_ros.detect.protocol import Detector
from emf_ros.io.video import frames_of, open_source

#: Number of people of the video.
PEOPLE = 2
#: Minimum score of a detection.
MIN_SCORE = 0.4


@dataclass(frozen=True)
class Condition:
    """What is done to the images before the detector sees them.

    Attributes:
        name: of the table's row.
        spoil: (H, W, 3) uint8 and a random generator -> the same size; None leaves it.
        scale: of the resolution.
        window: left, top, right and bottom of what is cut out, in shares of the image.
        people: maximum number of people; MediaPipe smooths over time with 1.
        mirrored: left and right exchanged, and back in the result.
    """

    name: str
    spoil: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None
    scale: float = 1.0
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    people: int = PEOPLE
    mirrored: bool = False


def gaussian_blur(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), 6.0)


def motion_blur(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
    length = 31
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    return cv2.filter2D(picture, -1, kernel)


def tone(gain: float, gamma: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    """Brightness and contrast: output = (gain * input) ** gamma, over 0..1."""
    curve = 255 * (gain * np.linspace(0, 1, 256)).clip(0, 1) ** gamma

    def spoil(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
        return cv2.LUT(picture, curve.round().astype(np.uint8))

    return spoil


def low_contrast(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return cv2.convertScaleAbs(picture, alpha=0.2, beta=100)


def jpeg(picture: np.ndarray, _: np.random.Generator) -> np.ndarray:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 8])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))


def sensor_noise(picture: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    noise = generator.normal(0, 40, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


CONDITIONS = (
    Condition("native"),
    Condition("scale 1/2", scale=0.5),
    Condition("scale 1/4", scale=0.25),
    Condition("scale 1/8", scale=0.125),
    Condition("gaussian blur 6 px", gaussian_blur),
    Condition("motion blur 31 px", motion_blur),
    Condition("dark", tone(0.5, 1.3)),
    Condition("overexposed", tone(2.5, 1.0)),
    Condition("low contrast", low_contrast),
    Condition("jpeg quality 8", jpeg),
    Condition("sensor noise 40", sensor_noise),
    Condition("cut above, below", window=(0.0, 0.14, 1.0, 0.8)),
    Condition("cut left", window=(0.3, 0.0, 1.0, 1.0)),
    Condition("one person, smoothed", window=(0.0, 0.47, 1.0, 1.0), people=1),
)
MIRRORED = Condition("native, mirrored", mirrored=True)


def pictures(video: Path, condition: Condition) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Degraded RGB images (H, W, 3), and the window's corner in the original, px (2,)."""
    generator = np.random.default_rng(0)
    for _, _, picture in frames_of(open_source(video)):
        height, width = picture.shape[:2]
        box = np.array(condition.window) * [width, height, width, height]
        left, top, right, bottom = box.round().astype(int)
        part = picture[top:bottom, left:right]
        if condition.spoil is not None:
            part = condition.spoil(part, generator)
        if condition.scale != 1:
            part = cv2.resize(
                part, None, fx=condition.scale, fy=condition.scale, interpolation=cv2.INTER_AREA
            )
        if condition.mirrored:
            part = part[:, ::-1]
        rgb = cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_BGR2RGB)
        yield rgb, np.array([left, top], dtype=float)


def detect(video: Path, variant: str, condition: Condition, rate_hz: float) -> np.ndarray:
    """(F, people, 33, 3): px of the original video and score; NaN without a detection."""
    detector: Detector = make_detector("mediapipe", variant, condition.people, MIN_SCORE)
    frames = []
    for index, (picture, corner) in enumerate(pictures(video, condition)):
        found = detector.detect(picture, round(index * 1e9 / rate_hz))
        people = np.full((PEOPLE, len(detector.layout), 3), np.nan)
        for row, detection in zip(people, found[:PEOPLE], strict=False):
            row[:] = detection.keypoints
        if condition.mirrored:
            people[..., 0] = picture.shape[1] - 1 - people[..., 0]
            people = people[:, list(detector.layout.mirror)]
        # Pixel centres lie at whole numbers.
        people[..., :2] = (people[..., :2] + 0.5) / condition.scale - 0.5 + corner
        frames.append(people)
    detector.close()
    return np.stack(frames)


def cached_detections(
    video: Path, variant: str, condition: Condition, rate_hz: float, folder: Path | None
) -> np.ndarray:
    """`detect`, remembered in a folder under names that tell the video, variant and condition."""
    if folder is None:
        return detect(video, variant, condition, rate_hz)
    name = "".join(c if c.isalnum() else "_" for c in f"{video.stem} {variant} {condition.name}")
    path = folder / f"{name}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, keypoints=detect(video, variant, condition, rate_hz))
        print(f"  {variant}, {condition.name}: done", flush=True)
    with np.load(path) as data:
        return data["keypoints"]
