"""From the image to the networks' inputs: image pyramid, crops and contrast normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from .decode import DETECTION_INPUT_PX, LANDMARK_INPUT_PX
from .roi import Roi, rotation

#: Maximum number of times that the pyramid halves the image.
MAX_PYRAMID_LEVEL = 5
#: Minimum standard deviation of a crop's tones, 0..255; below it the contrast is raised to this.
TARGET_TONE_STDDEV = 45.0
#: Mean of the tones of a normalised crop, 0..255: that of daylight.
TARGET_TONE_MEAN = 118.0
#: Maximum factor by which the contrast is raised.
MAX_CONTRAST_GAIN = 6.0


class ImagePyramid:
    """An image and its halvings, each made when it is first needed.

    A crop that shrinks the image by more than two is taken from the nearest level. Taken from the
    image itself, it would skip most pixels and keep the noise of the others.

    Args:
        image: (H, W, 3) uint8.

    Attributes:
        width, height: px, of the image.
        levels: the image and the halvings made so far.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.height, self.width = image.shape[:2]
        self.levels = [image]

    def level_for(self, scale: float) -> int:
        """The index of the smallest level that still has the resolution needed.

        Args:
            scale: px of the image per px of the crop.
        """
        wanted = min(int(math.log2(scale)), MAX_PYRAMID_LEVEL) if scale >= 2 else 0
        while len(self.levels) <= wanted:
            last = self.levels[-1]
            height, width = (side // 2 for side in last.shape[:2])
            if min(height, width) < 1:
                return len(self.levels) - 1
            # An odd row or column has no partner.
            even = last[: 2 * height, : 2 * width]
            self.levels.append(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
        return wanted


def normalise_contrast(image: np.ndarray) -> np.ndarray:
    """Raise the contrast of a dark or pale image; return others as they are.

    The networks learned from images in daylight.

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


def crop_roi(pyramid: ImagePyramid, roi: Roi, size: int, border: int) -> np.ndarray:
    """(size, size, 3) uint8 of an ROI, with normalised contrast.

    Args:
        border: OpenCV's border type, for what lies outside the image.
    """
    level = pyramid.level_for(roi.side / size)
    factor = 2.0**level
    # Between one and two px per px of the crop remain: the crop is drawn twice as fine, then
    # halved, so that each of its pixels is the mean of four points.
    finer = 2 if roi.side / size > factor else 1
    matrix = np.empty((2, 3))
    matrix[:, :2] = roi.side / (finer * size) / factor * rotation(roi.angle)
    # The centres of the pixels of all levels lie on the same places of the image.
    matrix[:, 2] = (roi.to_image(np.zeros(2)) + 0.5) / factor - 0.5
    crop = cv2.warpAffine(
        pyramid.levels[level],
        matrix,
        (finer * size, finer * size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
    if finer > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return normalise_contrast(crop)


def detection_input(pyramid: ImagePyramid, tiles: Sequence[Roi]) -> np.ndarray:
    """(N, 3, 224, 224) float32, -1..1: the person detection network's input for N tiles."""
    crops = [crop_roi(pyramid, tile, DETECTION_INPUT_PX, cv2.BORDER_CONSTANT) for tile in tiles]
    return _planes(crops, 2 / 255) - np.float32(1)


def landmark_input(
    pyramid: ImagePyramid, rois: Sequence[Roi], mirrored: bool = False
) -> np.ndarray:
    """(N, 3, 256, 256) float32, 0..1: the landmark network's input for N ROIs."""
    crops = [crop_roi(pyramid, roi, LANDMARK_INPUT_PX, cv2.BORDER_REPLICATE) for roi in rois]
    if mirrored:
        crops = [crop[:, ::-1] for crop in crops]
    return _planes(crops, 1 / 255)


def _planes(crops: Sequence[np.ndarray], scale: float) -> np.ndarray:
    """N of (H, W, 3) uint8 to (N, 3, H, W) float32, times a scale."""
    planes = np.empty((len(crops), 3, *crops[0].shape[:2]), dtype=np.float32)
    for plane, crop in zip(planes, crops, strict=True):
        np.multiply(crop.transpose(2, 0, 1), np.float32(scale), out=plane)
    return planes
