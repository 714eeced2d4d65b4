"""Lines, dots, polygons and text in an image, at fractions of a pixel."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from .palette import DARK, Color

#: Number of fractional bits of a coordinate that OpenCV draws at: slow motion is not in steps.
SHIFT = 4

_FONT = cv2.FONT_HERSHEY_SIMPLEX
#: Height of a capital letter of the font at scale 1, px.
_FONT_HEIGHT_PX = 21.0
#: Minimum height of a capital letter that can be read, px.
_MIN_TEXT_HEIGHT_PX = 7.0


def check_image(image: np.ndarray) -> None:
    """Raise ValueError unless this is an image: (H, W, 3) uint8, H and W above 0."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError("the image is no (H, W, 3) array")
    if image.dtype != np.uint8:
        raise ValueError(f"the image is {image.dtype}, not uint8")
    if image.size == 0:
        raise ValueError("the image has no pixels")


def fixed_point(point: Any) -> tuple[int, int]:
    """A pixel in the fixed-point numbers of OpenCV's parameter `shift`."""
    return round(float(point[0]) * (1 << SHIFT)), round(float(point[1]) * (1 << SHIFT))


def line(image: np.ndarray, a: Any, b: Any, color: Color, width: int = 1) -> None:
    """Draw a line from pixel a to pixel b."""
    cv2.line(image, fixed_point(a), fixed_point(b), color, max(1, width), cv2.LINE_AA, SHIFT)


def dot(image: np.ndarray, at: Any, radius: float, color: Color) -> None:
    """Draw a filled circle; radius in px."""
    cv2.circle(image, fixed_point(at), round(radius * (1 << SHIFT)), color, -1, cv2.LINE_AA, SHIFT)


def polygon(image: np.ndarray, corners: Any, color: Color) -> None:
    """Fill a convex polygon; corners (N, 2) px."""
    fixed = np.array([fixed_point(corner) for corner in corners], dtype=np.int32)
    cv2.fillConvexPoly(image, fixed, color, cv2.LINE_AA, SHIFT)


def text_size(text: str, height: float) -> tuple[int, int, float, int]:
    """Width and height (px), font scale and stroke width (px) of a text.

    Args:
        height: of a capital letter, px.
    """
    height = max(height, _MIN_TEXT_HEIGHT_PX)
    scale = height / _FONT_HEIGHT_PX
    stroke = max(1, round(height / 9))
    (width, tall), _ = cv2.getTextSize(text, _FONT, scale, stroke)
    return width, tall, scale, stroke


def write(
    image: np.ndarray,
    text: str,
    at: tuple[float, float],
    height: float,
    color: Color,
    plate: bool = False,
) -> None:
    """Write a text.

    Args:
        at: lower left corner, px.
        height: of a capital letter, px.
        plate: darken the image behind the text, for a background that varies.
    """
    width, tall, scale, stroke = text_size(text, height)
    x, y = round(at[0]), round(at[1])
    if plate:
        pad = max(2, round(0.45 * height))
        _darken(image, x - pad, y - tall - pad, width + 2 * pad, tall + 2 * pad, 0.65)
    cv2.putText(image, text, (x, y), _FONT, scale, color, stroke, cv2.LINE_AA)


def _darken(image: np.ndarray, x: int, y: int, width: int, height: int, share: float) -> None:
    """Mix a share of near-black into the part of a rectangle that is inside the image."""
    part = image[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)]
    if part.size:
        part[:] = cv2.addWeighted(part, 1 - share, np.full_like(part, DARK), share, 0)
