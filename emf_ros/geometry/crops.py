"""Crops of images: shrinking without aliasing, image pyramid, upright and rotated crops."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import cv2
import numpy as np


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Shrink an image by a whole factor: each pixel is the mean of a block of pixels.

    Blocks that are not whole, at the right and the lower edge, are left out. OpenCV halves an image
    many times as fast as it shrinks one by other ratios.

    Args:
        image: (H, W, C) uint8.
        factor: side of a block, px.

    Returns:
        (H // factor, W // factor, C) uint8, at least one pixel wide and high.
    """
    height, width = (max(side // factor, 1) for side in image.shape[:2])
    whole = image[: height * factor, : width * factor]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


class ImagePyramid:
    """An image and its halvings, each made when it is first needed.

    A crop that shrinks the image by two or more is taken from a level. Taken from the image itself,
    it would skip most pixels and keep the noise of the others. An affine crop of a level shrinks by
    less than two.

    Several threads may use one.

    Args:
        image: (H, W, 3) uint8.

    Attributes:
        width, height: px, of the image.
        levels: the image and the halvings made so far.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.height, self.width = image.shape[:2]
        self.levels = [image]
        #: Several threads may crop the same image.
        self._halving = threading.Lock()

    def level_for(self, ratio: float) -> int:
        """The index of the smallest level that still has the resolution needed.

        Args:
            ratio: px of the image per px of the crop.
        """
        # frexp gives a mantissa of 0.5..1, so that the exponent is one more than the logarithm.
        wanted = max(math.frexp(ratio)[1] - 1, 0)
        with self._halving:
            while len(self.levels) <= wanted:
                if min(self.levels[-1].shape[:2]) < 2:
                    return len(self.levels) - 1
                self.levels.append(shrink(self.levels[-1], 2))
        return wanted


# ---------------------------------------------------------------------------------- upright crops


@dataclass(frozen=True)
class Placement:
    """Position of an image in a crop.

    Attributes:
        scale: px of the crop per px of the image.
        x, y: px, the upper left edge of the image in the crop. The origin is the crop's edge.
    """

    scale: float
    x: float
    y: float

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) px of the crop to px of the image; both count from the centre of a pixel."""
        return (points + 0.5 - (self.x, self.y)) / self.scale - 0.5

    def crop(self, image: np.ndarray, size: tuple[int, int], fill: int) -> np.ndarray:
        """Crop an image.

        Args:
            image: (H, W, 3) uint8.
            size: (width, height) px of the crop.
            fill: 0..255, value of the pixels outside the image.

        Returns:
            (height, width, 3) uint8.
        """
        height, width = image.shape[:2]
        # One pixel more than is visible, for the interpolation.
        left, top = (max(0, math.floor(-edge / self.scale) - 1) for edge in (self.x, self.y))
        right = min(width, math.ceil((size[0] - self.x) / self.scale) + 1)
        bottom = min(height, math.ceil((size[1] - self.y) / self.scale) + 1)
        if right <= left or bottom <= top:
            return np.full((size[1], size[0], 3), fill, np.uint8)
        pyramid = ImagePyramid(image[top:bottom, left:right])
        level = pyramid.level_for(1 / self.scale)
        scale = self.scale * 2.0**level
        corner = np.array([self.x + self.scale * left, self.y + self.scale * top])
        matrix = np.column_stack([scale * np.eye(2), 0.5 * scale + corner - 0.5])
        return cv2.warpAffine(
            pyramid.levels[level],
            matrix,
            size,
            flags=cv2.INTER_LINEAR,
            borderValue=(fill, fill, fill),
        )


def letterbox(shape: tuple[int, ...], size: tuple[int, int], position: str) -> Placement:
    """The whole image in a crop, as large as possible.

    Args:
        shape: (height, width, ...) px of the image.
        size: (width, height) px of the crop.
        position: of the image in the crop, 'center' or 'corner', which is the upper left one.
    """
    height, width = shape[:2]
    scale = min(size[0] / width, size[1] / height)
    if position == "corner":
        return Placement(scale, 0.0, 0.0)
    return Placement(scale, (size[0] - scale * width) / 2, (size[1] - scale * height) / 2)


def box_placement(box: np.ndarray, size: tuple[int, int], padding: float) -> Placement:
    """A box in the middle of a crop, as large as possible with its padding.

    Args:
        box: (4,) left, top, right, bottom, px, centres of pixels.
        size: (width, height) px of the crop.
        padding: size of the crop over size of the box, 1 for none.
    """
    # The origin moves from the centre of a pixel to its edge.
    centre = (box[:2] + box[2:]) / 2 + 0.5
    extent = np.maximum(box[2:] - box[:2], 1.0) * padding
    scale = float(min(size[0] / extent[0], size[1] / extent[1]))
    return Placement(
        scale, float(size[0] / 2 - scale * centre[0]), float(size[1] / 2 - scale * centre[1])
    )


# ---------------------------------------------------------------------------------- rotated crops


def rotation(angle: float) -> np.ndarray:
    """(2, 2) rotation by an angle, rad, clockwise in an image, whose y axis points down."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


@dataclass(frozen=True)
class Roi:
    """A region of interest (ROI): a square in the image, rotated to stand upright with a person.

    Attributes:
        x, y: px, its centre. The origin is the upper left corner of a pixel.
        side: px.
        angle: rad, by which the person leans to the right.
    """

    x: float
    y: float
    side: float
    angle: float

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) points in the ROI, 0..1, to px of the image."""
        return (points - 0.5) @ (self.side * rotation(self.angle)).T + (self.x, self.y)


def crop_roi(pyramid: ImagePyramid, roi: Roi, size: int, border: int) -> np.ndarray:
    """Crop an ROI.

    Args:
        pyramid: of the image.
        roi: in the image.
        size: side of the crop, px.
        border: OpenCV's border type, for the pixels outside the image.

    Returns:
        (size, size, 3) uint8.
    """
    level = pyramid.level_for(roi.side / size)
    factor = 2.0**level
    # The crop still shrinks the level by up to two. It is drawn twice as fine and then halved, so
    # that each of its pixels is the mean of four points.
    oversampling = 2 if roi.side / size > factor else 1
    matrix = np.empty((2, 3))
    matrix[:, :2] = roi.side / (oversampling * size) / factor * rotation(roi.angle)
    # Pixels of all levels have their centres at the same places of the image.
    matrix[:, 2] = (roi.to_image(np.zeros(2)) + 0.5) / factor - 0.5
    crop = cv2.warpAffine(
        pyramid.levels[level],
        matrix,
        (oversampling * size, oversampling * size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
    return shrink(crop, oversampling) if oversampling > 1 else crop
