"""The inputs of BlazePose's networks: crops of the image with normalised contrast."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from ...geometry.crops import ImagePyramid, Roi, crop_roi
from .decode import DETECTION_INPUT_PX, LANDMARK_INPUT_PX

#: Standard deviation of a crop's tones, 0..255, below which the contrast is raised to it.
TARGET_TONE_STDDEV = 45.0
#: Mean of the tones of a crop with raised contrast, 0..255; images in daylight have it.
TARGET_TONE_MEAN = 118.0
#: Maximum factor by which the contrast is raised.
MAX_CONTRAST_GAIN = 6.0


def normalise_contrast(image: np.ndarray) -> np.ndarray:
    """Raise the contrast of a dark or pale image; return other images unchanged.

    The networks were trained on images in daylight.

    Args:
        image: (H, W, 3) uint8.
    """
    means, deviations = cv2.meanStdDev(image)
    mean = float(means.mean())
    deviation = math.sqrt(float((deviations**2 + means**2).mean()) - mean**2)
    if not 0 < deviation < TARGET_TONE_STDDEV:
        return image
    gain = min(TARGET_TONE_STDDEV / deviation, MAX_CONTRAST_GAIN)
    tones = (np.arange(256) - mean) * gain + TARGET_TONE_MEAN
    return cv2.LUT(image, tones.clip(0, 255).astype(np.uint8))


def detection_input(pyramid: ImagePyramid, tiles: Sequence[Roi]) -> np.ndarray:
    """(N, 3, 224, 224) float32, -1..1: the person detection network's input for N tiles."""
    crops = _crops(pyramid, tiles, DETECTION_INPUT_PX, cv2.BORDER_CONSTANT)
    planes = _planes(crops, 2 / 255)
    planes -= np.float32(1)
    return planes


def landmark_input(
    pyramid: ImagePyramid, rois: Sequence[Roi], mirrored: bool = False
) -> np.ndarray:
    """(N, 3, 256, 256) float32, 0..1: the landmark network's input for N ROIs.

    Args:
        mirrored: exchange left and right in each crop.
    """
    crops = _crops(pyramid, rois, LANDMARK_INPUT_PX, cv2.BORDER_REPLICATE)
    if mirrored:
        crops = [cv2.flip(crop, 1) for crop in crops]
    return _planes(crops, 1 / 255)


def _crops(pyramid: ImagePyramid, rois: Sequence[Roi], size: int, border: int) -> list[np.ndarray]:
    return [normalise_contrast(crop_roi(pyramid, roi, size, border)) for roi in rois]


def _planes(crops: Sequence[np.ndarray], scale: float) -> np.ndarray:
    """N of (H, W, 3) uint8 to (N, 3, H, W) float32, times a scale."""
    planes = np.empty((len(crops), 3, *crops[0].shape[:2]), dtype=np.float32)
    for of_crop, crop in zip(planes, crops, strict=True):
        # numpy reads one channel after the other twice as fast as all from where they lie.
        for plane, channel in zip(of_crop, cv2.split(crop), strict=True):
            np.multiply(channel, np.float32(scale), out=plane, dtype=np.float32)
    return planes
