"""The region of interest of images, cropped and shrunk, for raw and compressed images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry.crops import shrink
from .images import JPEG_MARKER, ImageError, compressed_size, decode_compressed


@dataclass(frozen=True)
class RoiCrop:
    """The region of interest of one image, shrunk.

    Attributes:
        image: (h, w, 3) uint8 RGB, the crop.
        full_size: (width, height) px of the full image.
        corner: (x, y) px of the full image, upper left pixel of the crop.
        factor: number of pixels of the full image, along each side, for one pixel of the crop.
    """

    image: np.ndarray
    full_size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    factor: int = 1

    def in_full_image(self, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints of the crop, (K, 3) px, px, score, in pixels of the full image."""
        out = keypoints.copy()
        # Pixel centres are at whole numbers.
        out[:, :2] = (out[:, :2] + 0.5) * self.factor - 0.5 + self.corner
        return out

    def in_full_view(self) -> tuple[np.ndarray, np.ndarray]:
        """The crop in its place in the whole view, which is black around it.

        Returns:
            (H, W, 3) uint8 RGB, with pixels as large as the crop's, and (2,) the crop's upper left
            pixel in it.
        """
        height, width = self.image.shape[:2]
        left, top = (side // self.factor for side in self.corner)
        # A shrunk image has a pixel more or less than its share.
        across, down = (side // self.factor for side in self.full_size)
        across, down = max(across, left + width), max(down, top + height)
        if (down, across) == (height, width):
            return self.image, np.zeros(2)
        view = np.zeros((down, across, 3), np.uint8)
        view[top : top + height, left : left + width] = self.image
        return view, np.array([left, top], float)


@dataclass(frozen=True)
class RoiCropper:
    """Crops images to a region of interest and shrinks the crop.

    Attributes:
        roi: x, y, width and height, px of the full image, as in sensor_msgs/RegionOfInterest; a
            width or height of 0 reaches to the edge.
        max_side: maximum side of the crop, px: a larger one is shrunk by 2, 4 or 8, whichever
            suffices; 0 shrinks none.
    """

    roi: tuple[int, int, int, int] = (0, 0, 0, 0)
    max_side: int = 0

    def crop(self, image: np.ndarray) -> RoiCrop:
        """The crop of an image (H, W, 3) uint8.

        Raises:
            ImageError: the region is outside the image.
        """
        size = image.shape[1], image.shape[0]
        left, top, right, bottom = self._bounds(size)
        part = image[top:bottom, left:right]
        factor = self._factor(right - left, bottom - top)
        part = shrink(part, factor) if factor > 1 else part
        return RoiCrop(part, size, (left, top), factor)

    def crop_compressed(self, data: np.ndarray) -> RoiCrop:
        """The crop of a JPEG or PNG, (N,) uint8; a JPEG is shrunk while it is decoded.

        Raises:
            ImageError: the bytes are no JPEG or PNG, or the region is outside the image.
        """
        size = compressed_size(data)
        # OpenCV decodes a PNG completely before it shrinks it, and shrinks less exactly.
        if size is None or data[0] != JPEG_MARKER:
            return self.crop(decode_compressed(data))
        left, top, right, bottom = self._bounds(size)
        factor = self._factor(right - left, bottom - top)
        image = decode_compressed(data, factor)
        # In whole pixels of the shrunk image.
        left, top = left // factor, top // factor
        part = image[top : -(-bottom // factor), left : -(-right // factor)]
        return RoiCrop(part, size, (left * factor, top * factor), factor)

    def _bounds(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right, bottom, px, the last two exclusive."""
        (width, height), (x, y, across, down) = size, self.roi
        right = min(x + across, width) if across else width
        bottom = min(y + down, height) if down else height
        if x >= right or y >= bottom:
            raise ImageError(f"the region of interest is outside of {width}x{height} pixels")
        return x, y, right, bottom

    def _factor(self, width: int, height: int) -> int:
        if not self.max_side:
            return 1
        return next((k for k in (1, 2, 4) if max(width, height) <= k * self.max_side), 8)
