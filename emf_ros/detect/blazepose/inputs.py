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
    """(N, 224, 224, 3) uint8: the person detection network's input for N tiles."""
    return np.stack(_crops(pyramid, tiles, DETECTION_INPUT_PX, cv2.BORDER_CONSTANT))


def landmark_input(
    pyramid: ImagePyramid, rois: Sequence[Roi], mirrored: bool = False
) -> np.ndarray:
    """(N, 256, 256, 3) uint8: the landmark network's input for N ROIs.

    Args:
        mirrored: exchange left and right in each crop.
    """
    crops = _crops(pyramid, rois, LANDMARK_INPUT_PX, cv2.BORDER_REPLICATE)
    if mirrored:
        crops = [cv2.flip(crop, 1) for crop in crops]
    return np.stack(crops)


def _crops(pyramid: ImagePyramid, rois: Sequence[Roi], size: int, border: int) -> list[np.ndarray]:
    return [normalise_contrast(crop_roi(pyramid, roi, size, border)) for roi in rois]
