"""2D keypoints and bones over the camera's image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ...skeletons import Layout
from .drawing import SHIFT, check_image, text_size, write
from .id_labels import id_labels
from .palette import DARK, Color, bone_side, color_of, side_colors

#: Opacity of bones and joints below the score threshold.
_FAINT_OPACITY = 0.35

#: Two joints and the side of the bone between them.
_Bone = tuple[int, int, str]


@dataclass(frozen=True)
class _Style:
    """How one person is drawn: layout, colour of each side, scale of line widths."""

    layout: Layout
    shades: dict[str, Color]
    unit: float


def draw_keypoints(
    image: np.ndarray,
    keypoints: np.ndarray,
    ids: np.ndarray,
    layout: Layout,
    min_score: float = 0.3,
) -> None:
    """Draw people's 2D keypoints and bones into an image, in place.

    A joint is left out where it has a NaN, score 0, or lies more than half an image outside.
    Joints and bones below `min_score` are faint. A person's right side is lighter than the left.

    Args:
        image: (H, W, 3) uint8 BGR.
        keypoints: (P, K, 3): x, y in px of this image, score 0..1.
        ids: (P,) track ids.
        layout: of the keypoints.
        min_score: the score below which a joint is faint.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    check_image(image)
    keypoints = np.asarray(keypoints, dtype=np.float64)
    ids = np.asarray(ids).reshape(-1)
    if keypoints.ndim != 3 or keypoints.shape[1:] != (len(layout), 3):
        raise ValueError(f"keypoints are {keypoints.shape}, not (P, {len(layout)}, 3)")
    if len(ids) != len(keypoints):
        raise ValueError(f"{len(ids)} ids for {len(keypoints)} people")
    height, width = image.shape[:2]
    size = np.array([width, height])
    unit = max(1.0, 0.5 * (height + width) / 480)  # line widths follow the image's size
    labels = id_labels(ids)
    all_bones = [(a, b, bone_side(layout, (a, b))) for a, b in layout.edges]
    for person, track_id in zip(keypoints, ids, strict=True):
        xy, score = person[:, :2], person[:, 2]
        with np.errstate(invalid="ignore"):
            shown = (score > 0) & (xy > -0.5 * size).all(axis=-1) & (xy < 1.5 * size).all(axis=-1)
        if not shown.any():
            continue
        confident = shown & (score >= min_score)
        bones = [bone for bone in all_bones if confident[bone[0]] and confident[bone[1]]]
        style = _Style(layout, side_colors(color_of(int(track_id))), unit)
        if not confident[shown].all():
            faint_bones = [
                bone
                for bone in all_bones
                if shown[bone[0]] and shown[bone[1]] and bone not in bones
            ]
            _draw_faint(image, xy, faint_bones, shown & ~confident, style)
        _draw_figure(image, xy, bones, confident, style)
        highest = xy[confident if confident.any() else shown]
        _draw_id(image, highest, labels[int(track_id)], color_of(int(track_id)), unit)


def small_overlay(
    image: np.ndarray,
    keypoints: np.ndarray,
    ids: np.ndarray,
    layout: Layout,
    max_side: int,
    conversion: int | None = None,
) -> np.ndarray:
    """A copy of an image, made smaller, with people's 2D keypoints and bones on it.

    Args:
        image, keypoints, ids, layout: as of `draw_keypoints`.
        max_side: maximum width and height of the copy, px.
        conversion: of cv2.cvtColor, to BGR; None where the image is BGR.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    check_image(image)
    size = np.array(image.shape[1::-1])
    scale = min(1.0, max_side / size.max())
    width, height = np.maximum(np.round(scale * size).astype(int), 1).tolist()
    small = (
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        if scale < 1
        else image.copy()
    )
    if conversion is not None:
        small = cv2.cvtColor(small, conversion)
    keypoints = np.array(keypoints, dtype=np.float64)
    # The centres of pixels are at whole numbers.
    keypoints[..., :2] = (keypoints[..., :2] + 0.5) * (np.array((width, height)) / size) - 0.5
    draw_keypoints(small, keypoints, ids, layout)
    return small


def _draw_faint(
    image: np.ndarray, xy: np.ndarray, bones: list[_Bone], joints: np.ndarray, style: _Style
) -> None:
    """Draw translucent bones and joints; arguments as of `_draw_figure`."""
    used = joints.copy()
    used[[i for bone in bones for i in bone[:2]]] = True
    margin = round(6 * style.unit)
    low = np.maximum(np.floor(xy[used].min(axis=0)) - margin, 0).astype(int)
    high = np.ceil(xy[used].max(axis=0)).astype(int) + margin
    part = image[low[1] : max(0, high[1]), low[0] : max(0, high[0])]
    if part.size == 0:
        return
    # Only the rectangle around them is copied and mixed: the whole image would take milliseconds.
    drawn = part.copy()
    _draw_figure(drawn, xy - low, bones, joints, style)
    cv2.addWeighted(part, 1 - _FAINT_OPACITY, drawn, _FAINT_OPACITY, 0, dst=drawn)
    part[:] = drawn


def _draw_figure(
    image: np.ndarray, xy: np.ndarray, bones: list[_Bone], joints: np.ndarray, style: _Style
) -> None:
    """Draw bones and joints.

    Args:
        xy: (K, 2) px of this image.
        joints: (K,) bool, the joints to draw.
    """
    unit = style.unit
    thick = max(1, round(1.7 * unit))
    fixed = np.round(np.nan_to_num(xy) * (1 << SHIFT)).astype(np.int32)
    lines = fixed[[bone[:2] for bone in bones]] if bones else np.zeros((0, 2, 2), np.int32)
    if bones:
        # A dark rim keeps light lines visible on a bright image. For speed all rims are one call
        # without anti-aliasing, which does not show in dark under an anti-aliased line.
        rim = thick + max(2, round(unit))
        cv2.polylines(image, list(lines), False, DARK, rim, cv2.LINE_8, SHIFT)
    for side, shade in style.shades.items():
        chosen = [line for line, bone in zip(lines, bones, strict=True) if bone[2] == side]
        if chosen:
            cv2.polylines(image, chosen, False, shade, thick, cv2.LINE_AA, SHIFT)
    inner, outer = round(1.9 * unit * (1 << SHIFT)), round(2.4 * unit * (1 << SHIFT))
    for joint in np.flatnonzero(joints):
        at, shade = fixed[joint].tolist(), style.shades[style.layout.sides[joint]]
        cv2.circle(image, at, outer, DARK, -1, cv2.LINE_AA, SHIFT)
        cv2.circle(image, at, inner, shade, -1, cv2.LINE_AA, SHIFT)


def _draw_id(image: np.ndarray, xy: np.ndarray, text: str, color: Color, unit: float) -> None:
    """Write a person's label above the highest of the joints (N, 2) px, inside the image."""
    height, width = image.shape[:2]
    letters = 6.0 * unit
    wide, tall, _, _ = text_size(text, letters)
    x, y = xy[np.argmin(xy[:, 1])]
    if not (-0.1 * width < x < 1.1 * width and y < height):
        return
    left = float(np.clip(x - wide / 2, letters, max(letters, width - wide - letters)))
    base = float(np.clip(y - 2.2 * letters, tall + letters, height - letters))
    write(image, text, (left, base), letters, color, plate=True)
