"""Pictures of people: keypoints over the camera's image, skeletons in a metric scene, and videos.

Frames: 3D is the camera's optical frame, x right, y down, z forward, metres. Images are BGR uint8.
Nothing here opens a window or needs a display.
"""

from __future__ import annotations

import colorsys
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..geometry.camera import Camera
from ..skeletons import H36M17, Layout
from .outputs import replacing
from .recordings import Recording
from .video import FrameSource

_Point = tuple[float, float]
_Color = tuple[int, int, int]

# Drawn with fractions of a pixel, so that slow motion does not move in steps.
_SHIFT = 4
_FONT = cv2.FONT_HERSHEY_SIMPLEX

# Hues (degrees), saturations and values by hand: equal steps of hue do not look equally far apart.
# Neighbouring ids are the most likely to share a picture, so they get the most different colours.
# All have a middling luminance, neither near black nor near white.
_PALETTE = (
    (210, 0.72, 1.00),  # azure
    (24, 0.82, 1.00),  # orange
    (135, 0.65, 0.80),  # green
    (316, 0.58, 0.97),  # magenta
    (55, 0.80, 0.90),  # yellow
    (255, 0.50, 1.00),  # violet
    (175, 0.80, 0.80),  # teal
    (355, 0.70, 0.95),  # red
    (92, 0.72, 0.76),  # lime
    (338, 0.34, 1.00),  # pink
)

_BACKGROUND: _Color = (33, 29, 27)
_FLOOR: _Color = (47, 42, 39)
_GRID: _Color = (68, 62, 58)
_AXIS: _Color = (112, 104, 98)
_SHADOW: _Color = (22, 19, 18)
_MUTED: _Color = (158, 150, 144)
_TEXT: _Color = (226, 222, 218)
_DARK: _Color = (20, 18, 17)


class RenderError(RuntimeError):
    """A video that could not be written."""


def rgb_of(track_id: int) -> tuple[float, float, float]:
    """A person's colour as red, green, blue 0..1: always the same for the same id."""
    hue, saturation, value = _PALETTE[(int(track_id) - 1) % len(_PALETTE)]
    return colorsys.hsv_to_rgb(hue / 360, saturation, value)


def color_of(track_id: int) -> _Color:
    """A person's colour as blue, green, red 0..255: always the same for the same id."""
    r, g, b = rgb_of(track_id)
    return round(255 * b), round(255 * g), round(255 * r)


def _mixed(color: _Color, other: _Color, share: float) -> _Color:
    """A colour with a share of another one in it."""
    a, b, c = (round((1 - share) * p + share * q) for p, q in zip(color, other, strict=True))
    return a, b, c


def _side_colors(color: _Color) -> dict[str, _Color]:
    """A person's shades: the right side lighter, the left side darker."""
    return {
        "left": _mixed(color, (0, 0, 0), 0.30),
        "middle": color,
        "right": _mixed(color, (255, 255, 255), 0.50),
    }


def _bone_side(layout: Layout, edge: tuple[int, int]) -> str:
    """The side of a bone: that of its ends where they agree, or of the only end that has one."""
    sides = {layout.sides[i] for i in edge} - {"middle"}
    return sides.pop() if len(sides) == 1 else "middle"


def _fixed(point: Any) -> tuple[int, int]:
    """A pixel as the fixed-point numbers that cv2 takes with `shift`."""
    return round(float(point[0]) * (1 << _SHIFT)), round(float(point[1]) * (1 << _SHIFT))


def _line(image: np.ndarray, a: Any, b: Any, color: _Color, width: int = 1) -> None:
    cv2.line(image, _fixed(a), _fixed(b), color, max(1, width), cv2.LINE_AA, _SHIFT)


def _dot(image: np.ndarray, at: Any, radius: float, color: _Color) -> None:
    cv2.circle(image, _fixed(at), round(radius * (1 << _SHIFT)), color, -1, cv2.LINE_AA, _SHIFT)


def _text_box(text: str, height: float) -> tuple[int, int, float, int]:
    """Width and height (px), scale and stroke of a text whose capitals are `height` px high."""
    height = max(height, 7.0)  # smaller ones cannot be read
    scale = height / 21.0  # cv2's letters are 21 px high at scale 1
    stroke = max(1, round(height / 9))
    (width, tall), _ = cv2.getTextSize(text, _FONT, scale, stroke)
    return width, tall, scale, stroke


def _text(
    image: np.ndarray, text: str, at: _Point, height: float, color: _Color, plate: bool = False
) -> None:
    """Write a text with its lower left corner at `at`, on a dark plate where the ground varies."""
    width, tall, scale, stroke = _text_box(text, height)
    x, y = round(at[0]), round(at[1])
    if plate:
        pad = max(2, round(0.45 * height))
        _darken(image, x - pad, y - tall - pad, width + 2 * pad, tall + 2 * pad, 0.65)
    cv2.putText(image, text, (x, y), _FONT, scale, color, stroke, cv2.LINE_AA)


def _darken(image: np.ndarray, x: int, y: int, width: int, height: int, share: float) -> None:
    """Mix a share of near-black into a rectangle; what lies outside the image is left out."""
    part = image[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)]
    if part.size:
        part[:] = cv2.addWeighted(part, 1 - share, np.full_like(part, _DARK), share, 0)


def draw_keypoints(
    image: np.ndarray,
    keypoints: np.ndarray,
    ids: np.ndarray,
    layout: Layout,
    min_score: float = 0.3,
) -> None:
    """Draw people's 2D keypoints and bones into an image, in place.

    A joint with a NaN, with score 0 or more than half an image outside the image is left out.
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
    _check_image(image)
    keypoints = np.asarray(keypoints, dtype=np.float64)
    ids = np.asarray(ids).reshape(-1)
    if keypoints.ndim != 3 or keypoints.shape[1:] != (len(layout), 3):
        raise ValueError(f"keypoints are {keypoints.shape}, not (P, {len(layout)}, 3)")
    if len(ids) != len(keypoints):
        raise ValueError(f"{len(ids)} ids for {len(keypoints)} people")
    height, width = image.shape[:2]
    size = np.array([width, height])
    unit = max(1.0, 0.5 * (height + width) / 480)  # line widths follow the image
    edge_sides = [(a, b, _bone_side(layout, (a, b))) for a, b in layout.edges]
    for person, track_id in zip(keypoints, ids, strict=True):
        xy, score = person[:, :2], person[:, 2]
        with np.errstate(invalid="ignore"):
            shown = (score > 0) & (xy > -0.5 * size).all(axis=-1) & (xy < 1.5 * size).all(axis=-1)
        if not shown.any():
            continue
        sure = shown & (score >= min_score)
        bones = [bone for bone in edge_sides if sure[bone[0]] and sure[bone[1]]]
        shades = _side_colors(color_of(int(track_id)))
        if not sure[shown].all():
            faint_bones = [
                bone
                for bone in edge_sides
                if shown[bone[0]] and shown[bone[1]] and not (sure[bone[0]] and sure[bone[1]])
            ]
            _draw_faint(image, xy, faint_bones, shown & ~sure, layout, shades, unit)
        _draw_figure(image, xy, bones, sure, layout, shades, unit)
        _draw_id(image, xy[sure if sure.any() else shown], int(track_id), unit)


def _draw_faint(
    image: np.ndarray,
    xy: np.ndarray,
    bones: list[tuple[int, int, str]],
    joints: np.ndarray,
    layout: Layout,
    shades: dict[str, _Color],
    unit: float,
) -> None:
    """Draw bones and joints so that the picture shows through."""
    used = joints.copy()
    used[[i for bone in bones for i in bone[:2]]] = True
    margin = round(6 * unit)
    low = np.maximum(np.floor(xy[used].min(axis=0)) - margin, 0).astype(int)
    high = np.ceil(xy[used].max(axis=0)).astype(int) + margin
    part = image[low[1] : max(0, high[1]), low[0] : max(0, high[0])]
    if part.size == 0:
        return
    # Only the rectangle around them is copied and mixed: the whole image would take milliseconds.
    drawn = part.copy()
    _draw_figure(drawn, xy - low, bones, joints, layout, shades, unit)
    cv2.addWeighted(part, 0.65, drawn, 0.35, 0, dst=drawn)
    part[:] = drawn


def _draw_figure(
    image: np.ndarray,
    xy: np.ndarray,
    bones: list[tuple[int, int, str]],
    joints: np.ndarray,
    layout: Layout,
    shades: dict[str, _Color],
    unit: float,
) -> None:
    """Draw bones (two joints and a side each) and joints; xy (K, 2) px of this image."""
    thick = max(1, round(1.7 * unit))
    fixed = np.round(np.nan_to_num(xy) * (1 << _SHIFT)).astype(np.int32)
    lines = fixed[[bone[:2] for bone in bones]] if bones else np.zeros((0, 2, 2), np.int32)
    if bones:
        # A dark rim keeps light lines visible on a bright picture. All bones at once, and without
        # smoothing, which nobody sees in dark under a smooth line: both are for speed.
        rim = thick + max(2, round(unit))
        cv2.polylines(image, list(lines), False, _DARK, rim, cv2.LINE_8, _SHIFT)
    for side, shade in shades.items():
        chosen = [line for line, bone in zip(lines, bones, strict=True) if bone[2] == side]
        if chosen:
            cv2.polylines(image, chosen, False, shade, thick, cv2.LINE_AA, _SHIFT)
    inner, outer = round(1.9 * unit * (1 << _SHIFT)), round(2.4 * unit * (1 << _SHIFT))
    for joint in np.flatnonzero(joints):
        at = fixed[joint].tolist()
        cv2.circle(image, at, outer, _DARK, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(image, at, inner, shades[layout.sides[joint]], -1, cv2.LINE_AA, _SHIFT)


def _draw_id(image: np.ndarray, xy: np.ndarray, track_id: int, unit: float) -> None:
    """Write a person's id above the highest of the joints, inside the image."""
    height, width = image.shape[:2]
    text, letters = f"#{track_id}", 6.0 * unit
    wide, tall, _, _ = _text_box(text, letters)
    x, y = xy[np.argmin(xy[:, 1])]
    if not (-0.1 * width < x < 1.1 * width and y < height):
        return
    left = float(np.clip(x - wide / 2, letters, max(letters, width - wide - letters)))
    base = float(np.clip(y - 2.2 * letters, tall + letters, height - letters))
    _text(image, text, (left, base), letters, color_of(track_id), plate=True)


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError("the image is no (H, W, 3) array")
    if image.dtype != np.uint8:
        raise ValueError(f"the image is {image.dtype}, not uint8")
    if image.size == 0:
        raise ValueError("the image has no pixels")


_PELVIS = H36M17.index("pelvis")
_NOSE = H36M17.index("nose")
_HEAD_TOP = H36M17.index("head_top")
_ANKLES = [H36M17.index("left_ankle"), H36M17.index("right_ankle")]
_EDGE_SIDES = tuple((edge, _bone_side(H36M17, edge)) for edge in H36M17.edges)


class SceneView:
    """Metric skeletons seen by an observer beside, behind and above the camera, and from the top.

    The view adapts slowly: it widens within a second for someone who would leave it and narrows
    over several seconds. The floor is taken to be level in the optical frame, at the height of
    the lowest ankles seen. Under a pitched camera that is wrong by the pitch, but it stays the same
    for everyone, which is good enough to read positions by.

    Attributes:
        width, height: of the picture, px.
        inset: (x, y, width, height) of the view from the top within the picture, px.
    """

    YAW = math.radians(-38.0)  # the observer stands to the right of the camera and looks left
    PITCH = math.radians(21.0)  # and looks down
    TRAIL_SECONDS = 2.0
    ANKLE_HEIGHT = 0.08  # m, of the ankle joint above the floor when standing
    FLOOR_BEFORE_SEEN = 1.2  # m below the camera
    WIDEN_SECONDS, NARROW_SECONDS, FLOOR_SECONDS = 0.5, 5.0, 1.5

    def __init__(self, width: int, height: int, camera: Camera | None = None) -> None:
        """
        Args:
            width, height: of the picture, px; at least 160.
            camera: for its field of view. Without one the view from the top has no wedge.

        Raises:
            ValueError: the picture is too small to show anything.
        """
        if width < 160 or height < 160:
            raise ValueError(f"a scene of {width}x{height} px is too small")
        self.width, self.height = int(width), int(height)
        self._unit = min(self.width, self.height) / 480
        side = round(0.31 * min(self.width, self.height))
        gap = round(9 * self._unit)
        self.inset = (self.width - side - gap, gap, side, side)
        self._wedge, self._frustum = _frustum(camera)
        # Copied for every picture: filling one with a colour takes ten times as long.
        self._empty = np.full((self.height, self.width, 3), _BACKGROUND, dtype=np.uint8)

        sin_yaw, cos_yaw = math.sin(self.YAW), math.cos(self.YAW)
        sin_pitch, cos_pitch = math.sin(self.PITCH), math.cos(self.PITCH)
        ahead = np.array([sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch])
        right = np.array([cos_yaw, 0.0, -sin_yaw])
        self._axes = np.stack([right, np.cross(ahead, right), ahead])
        # A long focal length: little perspective, so that far people are not tiny.
        self._focal = 1.9 * max(self.width, self.height)
        # The sky is above the people: it holds the inset.
        self._centre = np.array([0.5 * self.width, 0.6 * self.height])

        # What the view holds: x, y, z from and to, m; and where the observer stands, along _axes.
        self._low = np.array([-1.0, -0.7, 2.0])
        self._high = np.array([1.0, self.FLOOR_BEFORE_SEEN, 4.0])
        self._seen_anyone = False
        self._ankles: deque[float] = deque(maxlen=900)
        self._floor = self.FLOOR_BEFORE_SEEN
        self._trails: dict[int, deque[tuple[float, float, float]]] = {}
        self._stamp: float | None = None
        self._place_observer()

    def render(
        self, joints: np.ndarray, ids: np.ndarray, root_valid: np.ndarray, stamp: float
    ) -> np.ndarray:
        """Draw the people of one moment; moments come in the order of time.

        Args:
            joints: (P, 17, 3) m, camera optical frame, layout h36m17; NaN joints are left out. For
                people without a valid root, relative to the pelvis: they are drawn apart, in boxes.
            ids: (P,) track ids.
            root_valid: (P,) bool.
            stamp: s; a step back starts the trails anew.

        Returns:
            (height, width, 3) uint8 BGR.

        Raises:
            ValueError: the shapes do not fit each other, or the stamp is not finite.
        """
        joints = np.asarray(joints, dtype=np.float64)
        ids = np.asarray(ids).reshape(-1)
        root_valid = np.asarray(root_valid).reshape(-1).astype(bool)
        if joints.ndim != 3 or joints.shape[1:] != (len(H36M17), 3):
            raise ValueError(f"joints are {joints.shape}, not (P, {len(H36M17)}, 3)")
        if len(ids) != len(joints) or len(root_valid) != len(joints):
            raise ValueError(
                f"{len(ids)} ids and {len(root_valid)} root_valid for {len(joints)} people"
            )
        if not math.isfinite(stamp):
            raise ValueError(f"the stamp is {stamp}")
        # A joint that lacks one coordinate is as unknown as one that lacks all.
        joints = np.where(np.isfinite(joints).all(axis=-1, keepdims=True), joints, np.nan)
        known = np.isfinite(joints[..., 0]).any(axis=-1)
        placed, rootless = known & root_valid, known & ~root_valid

        self._follow(joints[placed], ids[placed], stamp)
        image = self._empty.copy()
        self._draw_floor(image)
        for person in joints[placed]:
            self._draw_shadow(image, person)
        self._draw_camera(image)
        centres = np.nanmean(joints[placed], axis=1) if placed.any() else np.zeros((0, 3))
        far_first = np.argsort(-(centres @ self._axes[2]))
        for i in far_first:
            self._draw_person(image, joints[placed][i], int(ids[placed][i]))
        self._draw_labels(image, joints[placed], ids[placed])
        self._draw_inset(image, joints[placed], ids[placed], stamp)
        self._draw_rootless(image, joints[rootless], ids[rootless])
        _text(
            image,
            "lighter limbs: right side",
            (9 * self._unit, self.height - 9 * self._unit),
            6.5 * self._unit,
            _MUTED,
        )
        return image

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points of the optical frame to pixels of the picture, as the view stands now.

        Args:
            points: (..., 3) m.

        Returns:
            (..., 2) px; NaN for what is unknown or behind the observer.
        """
        seen = np.asarray(points, dtype=np.float64) @ self._axes.T - self._observer
        with np.errstate(invalid="ignore", divide="ignore"):
            ahead = np.where(seen[..., 2:] > 0.05, seen[..., 2:], np.nan)
            pixels = self._centre + self._focal * seen[..., :2] / ahead
            # Far outside the picture cv2's fixed-point numbers would overflow.
            return np.where(np.abs(pixels) < 20 * max(self.width, self.height), pixels, np.nan)

    def project_top(self, points: np.ndarray) -> np.ndarray:
        """Points of the optical frame to pixels of the picture, in the view from the top.

        Args:
            points: (..., 3) m.

        Returns:
            (..., 2) px; they may lie outside the inset.
        """
        points = np.asarray(points, dtype=np.float64)
        x, y, width, height = self.inset
        scale, bottom = self._top_scale()
        across = x + 0.5 * width + scale * points[..., 0]
        down = y + height - scale * (points[..., 2] + bottom)
        return np.stack([across, down], axis=-1)

    def _top_scale(self) -> tuple[float, float]:
        """Pixels per metre of the inset, and the metres below the camera."""
        bottom = 0.45
        deep = max(4.0, float(self._high[2]) + 0.3) + bottom
        wide = 2 * max(1.5, float(self._high[0]) + 0.3, 0.3 - float(self._low[0]))
        return min(self.inset[3] / deep, self.inset[2] / wide), bottom

    # Following the people.

    def _follow(self, joints: np.ndarray, ids: np.ndarray, stamp: float) -> None:
        """Take in where people are: floor, framing and trails."""
        step = 0.0 if self._stamp is None else stamp - self._stamp
        if step < 0:
            self._trails.clear()
            step = 0.0
        self._stamp = stamp
        for person, track_id in zip(joints, ids, strict=True):
            if np.isfinite(person[_PELVIS]).all() and np.abs(person[_PELVIS]).max() < 100:
                trail = self._trails.setdefault(int(track_id), deque())
                trail.append((stamp, float(person[_PELVIS, 0]), float(person[_PELVIS, 2])))
        for track_id in list(self._trails):
            trail = self._trails[track_id]
            while trail and trail[0][0] < stamp - self.TRAIL_SECONDS:
                trail.popleft()
            if not trail:
                del self._trails[track_id]
        if len(joints) == 0:
            return

        for person in joints:
            lowest = person[_ANKLES, 1]
            if np.isfinite(lowest).any():
                self._ankles.append(float(np.nanmax(lowest)))
        if self._ankles:
            # Not the very lowest: one bad depth would sink the floor for good.
            floor = float(np.percentile(self._ankles, 85)) + self.ANKLE_HEIGHT
            floor = min(max(floor, -3.0), 5.0)
            share = 1 - math.exp(-step / self.FLOOR_SECONDS) if self._seen_anyone else 1.0
            self._floor += share * (floor - self._floor)

        # Joints of a person that are farther from the middle than a body reaches are errors.
        middle = np.nanmedian(joints, axis=1, keepdims=True)
        bodies = np.clip(joints, middle - 1.2, middle + 1.2).reshape(-1, 3)
        low = np.clip(np.nanmin(bodies, axis=0) - 0.15, [-8, -3, 0.2], [7, 2, 11])
        high = np.clip(np.nanmax(bodies, axis=0) + 0.15, [-7, -2, 1.2], [8, 5, 12])
        if self._seen_anyone:
            widen = 1 - math.exp(-step / self.WIDEN_SECONDS)
            narrow = 1 - math.exp(-step / self.NARROW_SECONDS)
            self._low += np.where(low < self._low, widen, narrow) * (low - self._low)
            self._high += np.where(high > self._high, widen, narrow) * (high - self._high)
        else:
            self._low, self._high = low, high
        self._seen_anyone = True
        self._place_observer()

    def _place_observer(self) -> None:
        """Stand as near as the people, the floor below them and the camera fit into the picture."""
        low, high = self._low.copy(), self._high.copy()
        high[1] = max(high[1], self._floor)
        corners = np.array(list(product(*zip(low, high, strict=True))))
        camera = np.concatenate([self._frustum, [[0.0, 0.0, 0.0], [0.0, self._floor, 0.0]]])
        held = np.concatenate([corners, camera]) @ self._axes.T
        # The part of the picture to fill, as tangents of the viewing angle. The top is left to
        # labels and, with the corner, to the inset.
        fill_low = (np.array([0.07 * self.width, 0.27 * self.height]) - self._centre) / self._focal
        fill_high = (np.array([0.93 * self.width, 0.93 * self.height]) - self._centre) / self._focal
        # fill_low <= (p - observer) / depth <= fill_high for every point p holds when the observer
        # lies between two bounds; it stands where the bounds of the tighter axis meet.
        upper = (held[:, :2] - fill_high * held[:, 2:]).max(axis=0)
        lower = (held[:, :2] - fill_low * held[:, 2:]).min(axis=0)
        depth = float(((lower - upper) / (fill_high - fill_low)).min())
        across = 0.5 * (upper + fill_high * depth + lower + fill_low * depth)
        self._observer = np.array([across[0], across[1], depth])

    # Drawing.

    def _draw_floor(self, image: np.ndarray) -> None:
        """The floor with cells of 1 m, and the distances along the camera's axis."""
        x_low, x_high = math.floor(self._low[0]) - 1, math.ceil(self._high[0]) + 1
        x_low, x_high = min(x_low, -2), max(x_high, 2)
        z_high = max(math.ceil(self._high[2]) + 1, 4)
        y = self._floor
        outline = np.array([[x_low, y, 0], [x_high, y, 0], [x_high, y, z_high], [x_low, y, z_high]])
        pixels = self.project(outline)
        if np.isfinite(pixels).all():
            corners = np.array([_fixed(pixel) for pixel in pixels], dtype=np.int32)
            cv2.fillConvexPoly(image, corners, _FLOOR, cv2.LINE_AA, _SHIFT)
        axis = np.array([[[0, y, 0], [0, y, z_high]]])
        columns = [[[x, y, 0], [x, y, z_high]] for x in range(x_low, x_high + 1)]
        rows = [[[x_low, y, z], [x_high, y, z]] for z in range(z_high + 1)]
        self._draw_lines(image, np.array(columns + rows), _GRID)
        self._draw_lines(image, axis, _AXIS)
        letters = 6.5 * self._unit
        marks = self.project(np.array([[0.0, y, z] for z in range(1, z_high + 1)]))
        for z, at in enumerate(marks, start=1):
            if np.isfinite(at).all():
                place = (at[0] + 0.7 * letters, at[1] + 1.6 * letters)
                _text(image, f"{z} m", place, letters, _MUTED)

    def _draw_lines(
        self, image: np.ndarray, lines: np.ndarray, color: _Color, width: int = 1
    ) -> None:
        """Lines (N, 2, 3) m, optical frame; those with an end that has no pixel are left out."""
        pixels = self.project(lines)
        for a, b in pixels[np.isfinite(pixels).all(axis=(1, 2))]:
            _line(image, a, b, color, width)

    def _draw_dotted(self, image: np.ndarray, a: np.ndarray, b: np.ndarray, color: _Color) -> None:
        """Dots every 8 cm from one point in the optical frame to another."""
        count = int(min(60, np.linalg.norm(b - a) / 0.08)) + 1
        for pixel in self.project(a + np.linspace(0, 1, count)[:, None] * (b - a)):
            if np.isfinite(pixel).all():
                _dot(image, pixel, 0.9 * self._unit, color)

    def _draw_shadow(self, image: np.ndarray, person: np.ndarray) -> None:
        """A person's bones straight down on the floor, as they would be with the light above."""
        flat = person.copy()
        flat[:, 1] = np.where(np.isfinite(flat[:, 1]), self._floor, np.nan)
        width = self._pixels(np.nanmean(flat, axis=0), 0.07)
        self._draw_lines(image, flat[list(H36M17.edges)], _SHADOW, round(width))

    def _draw_camera(self, image: np.ndarray) -> None:
        """The camera as a small pyramid at the origin, with its foot point on the floor."""
        origin, foot = np.zeros(3), np.array([0.0, self._floor, 0.0])
        self._draw_dotted(image, origin, foot, _MUTED)
        width = max(1, round(1.2 * self._unit))
        spokes = np.stack([np.zeros((4, 3)), self._frustum], axis=1)
        rim = np.stack([self._frustum, np.roll(self._frustum, -1, axis=0)], axis=1)
        self._draw_lines(image, np.concatenate([spokes, rim]), _TEXT, width)
        at = self.project(origin)
        if np.isfinite(at).all():
            letters = 6.5 * self._unit
            wide, tall, _, _ = _text_box("camera", letters)
            left = float(np.clip(at[0] - wide / 2, letters, self.width - wide - letters))
            top = np.nanmin(self.project(self._frustum)[:, 1])
            _text(image, "camera", (left, min(top, at[1]) - letters), letters, _TEXT)

    def _pixels(self, at: np.ndarray, metres: float) -> float:
        """How long so many metres look at a place, px."""
        depth = float(self._axes[2] @ at - self._observer[2])
        return self._focal * metres / max(depth, 0.3)

    def _draw_person(self, image: np.ndarray, person: np.ndarray, track_id: int) -> None:
        color = color_of(track_id)
        if np.isfinite(person[_PELVIS]).all():
            foot = person[_PELVIS].copy()
            foot[1] = self._floor
            self._draw_dotted(image, person[_PELVIS], foot, _mixed(color, _FLOOR, 0.35))
        pixels = self.project(person)
        depths = person @ self._axes[2]
        unit = self._pixels(np.nanmean(person, axis=0), 0.045)
        _draw_body(image, pixels, depths, _side_colors(color), unit)

    def _draw_labels(self, image: np.ndarray, joints: np.ndarray, ids: np.ndarray) -> None:
        """Id and distance of each person above the head; near ones stay, far ones give way."""
        letters = 9.0 * self._unit
        taken: list[tuple[float, float, float]] = []
        roots = joints[:, _PELVIS]
        near_first = np.argsort(np.nan_to_num(np.linalg.norm(roots, axis=-1), nan=np.inf))
        for i in near_first:
            pixels = self.project(joints[i])
            if not np.isfinite(pixels).any():
                continue
            known = np.isfinite(roots[i]).all()
            distance = f"  {np.linalg.norm(roots[i]):.1f} m" if known else ""
            text = f"#{int(ids[i])}{distance}"
            wide, tall, _, _ = _text_box(text, letters)
            top = pixels[np.nanargmin(pixels[:, 1])]
            if not (-wide < top[0] < self.width + wide and -0.2 < top[1] / self.height < 1):
                continue
            left = float(np.clip(top[0] - wide / 2, letters, self.width - wide - letters))
            base = float(np.clip(top[1] - 1.8 * letters, tall + letters, self.height - letters))
            for x, width, y in sorted(taken, key=lambda label: -label[2]):
                beside = left + wide + letters < x or x + width + letters < left
                if not beside and abs(base - y) < 2.2 * letters:
                    base = max(y - 2.2 * letters, tall + letters)
            taken.append((left, wide, base))
            _text(image, text, (left, base), letters, color_of(int(ids[i])), plate=True)

    def _draw_inset(
        self, image: np.ndarray, joints: np.ndarray, ids: np.ndarray, stamp: float
    ) -> None:
        """The view from the top: x to the right, z up, cells of 1 m."""
        x, y, width, height = self.inset
        scale, bottom = self._top_scale()
        part = image[y : y + height, x : x + width]
        part[:] = _mixed(_BACKGROUND, _DARK, 0.6)
        origin = np.array([x, y])

        def at(x: Any, z: Any) -> np.ndarray:
            return self.project_top(np.stack([x, np.zeros_like(x, dtype=float), z], -1)) - origin

        if self._wedge is not None:
            reach = 3 * (height + width) / scale
            fan = [at(0, 0), *(at(*(reach * edge)) for edge in self._wedge)]
            corners = np.array([_fixed(pixel) for pixel in fan], dtype=np.int32)
            cv2.fillConvexPoly(part, corners, _FLOOR, cv2.LINE_AA, _SHIFT)
        half = 0.5 * width / scale
        for column in range(math.ceil(-half), math.floor(half) + 1):
            _line(part, at(column, -bottom), at(column, height / scale), _GRID)
        letters = 5.5 * self._unit
        for row in range(math.floor(height / scale - bottom) + 1):
            _line(part, at(-half, row), at(half, row), _GRID)
            place = at(-half, row) + (0.4 * letters, -0.3 * letters)
            if row > 0 and place[1] > 1.4 * letters:
                _text(part, f"{row} m" if row == 1 else f"{row}", tuple(place), letters, _MUTED)

        for track_id, trail in self._trails.items():
            color = color_of(track_id)
            times = [moment[0] for moment in trail]
            places = at(np.array(trail)[:, 1], np.array(trail)[:, 2])
            for i, (t0, t1) in enumerate(zip(times[:-1], times[1:], strict=True)):
                if t1 - t0 < 0.5:  # across a gap nobody knows the way
                    age = (stamp - t1) / self.TRAIL_SECONDS
                    shade = _mixed(color, _DARK, 0.25 + 0.6 * age)
                    _line(part, places[i], places[i + 1], shade, round(1.5 * self._unit))
        for person, track_id in zip(joints, ids, strict=True):
            root = person[_PELVIS]
            if not np.isfinite(root).all() or np.abs(root).max() >= 100:
                continue
            place = at(root[0], root[2])
            _dot(part, place, 4.6 * self._unit, _DARK)
            _dot(part, place, 3.6 * self._unit, color_of(int(track_id)))
            text, letters = f"{int(track_id)}", 6.5 * self._unit
            wide = _text_box(text, letters)[0]
            beside = 6 * self._unit
            if place[0] + beside + wide > width:
                beside = -beside - wide
            _text(part, text, (place[0] + beside, place[1] + 0.5 * letters), letters, _TEXT)
        # The camera: a triangle that points ahead.
        arrow = at(0, 0) + self._unit * np.array([[0.0, -6.0], [-4.5, 3.5], [4.5, 3.5]])
        corners = np.array([_fixed(pixel) for pixel in arrow], dtype=np.int32)
        cv2.fillConvexPoly(part, corners, _TEXT, cv2.LINE_AA, _SHIFT)
        cv2.rectangle(image, (x, y), (x + width - 1, y + height - 1), _GRID, 1)

    def _draw_rootless(self, image: np.ndarray, joints: np.ndarray, ids: np.ndarray) -> None:
        """People whose place is unknown, each in a box of its own, seen from the camera."""
        if len(joints) == 0:
            return
        gap, side = round(9 * self._unit), round(0.19 * min(self.width, self.height))
        tall = round(1.45 * side)
        room = max(1, (self.inset[0] - gap) // (side + gap))
        letters = 6.5 * self._unit
        shown = joints[:room]
        for i, (person, track_id) in enumerate(zip(shown, ids[:room], strict=True)):
            x, y = gap + i * (side + gap), gap
            part = image[y : y + tall, x : x + side]
            part[:] = _mixed(_BACKGROUND, _DARK, 0.6)
            cv2.rectangle(part, (0, 0), (part.shape[1] - 1, part.shape[0] - 1), _GRID, 1)
            scale = (tall - 3.5 * letters) / 2.1  # px per m: an adult fits, whatever the pose
            middle = np.array([0.5 * side, 2.5 * letters + 0.47 * (tall - 3 * letters)])
            pixels = middle + scale * person[:, :2]
            pixels[np.abs(person).max(axis=-1) > 3.0] = np.nan
            shades = _side_colors(color_of(int(track_id)))
            _draw_body(part, pixels, person[:, 2], shades, 0.05 * scale)
            at = (0.7 * letters, 1.7 * letters)
            _text(part, f"#{int(track_id)} no root", at, letters, color_of(int(track_id)))
        if len(joints) > room:
            text = f"+{len(joints) - room} more without root"
            _text(image, text, (gap, gap + tall + 2 * letters), letters, _MUTED)


def _draw_body(
    image: np.ndarray,
    pixels: np.ndarray,
    depths: np.ndarray,
    shades: dict[str, _Color],
    unit: float,
) -> None:
    """Draw one person of layout h36m17, the far parts first.

    Args:
        pixels: (17, 2) px; NaN joints and bones with a NaN end are left out.
        depths: (17,) the larger the farther.
        unit: the width of a limb, px.
    """
    known = np.isfinite(pixels).all(axis=-1)
    thick = max(2, round(unit))
    rim = thick + max(2, round(0.5 * unit))
    bones = [
        (float(depths[a] + depths[b]), a, b, side)
        for (a, b), side in _EDGE_SIDES
        if known[a] and known[b]
    ]
    for _, a, b, side in sorted(bones, reverse=True):
        # The dark rim separates a limb from what it passes in front of.
        _line(image, pixels[a], pixels[b], _DARK, rim)
        _line(image, pixels[a], pixels[b], shades[side], thick)
    for joint in sorted(np.flatnonzero(known), key=lambda j: -depths[j]):
        shade = shades[H36M17.sides[joint]]
        _dot(image, pixels[joint], 0.95 * unit, _DARK)
        _dot(image, pixels[joint], 0.7 * unit, shade)
    if known[_NOSE] and known[_HEAD_TOP]:
        # A round head tells at a glance where a body's upper end is.
        middle = 0.5 * (pixels[_NOSE] + pixels[_HEAD_TOP])
        radius = 2.1 * unit
        _dot(image, middle, radius + 0.25 * unit, _DARK)
        _dot(image, middle, radius, shades["middle"])


def _frustum(camera: Camera | None) -> tuple[np.ndarray | None, np.ndarray]:
    """A camera's field of view.

    Returns:
        (2, 2): x, z of the unit rays to the left and right edge, or None where they are not known;
        (4, 3): the corners of its picture, m, 0.35 m along their rays.
    """
    corners = np.array([[-0.8, -0.5, 1.0], [0.8, -0.5, 1.0], [0.8, 0.5, 1.0], [-0.8, 0.5, 1.0]])
    wedge = None
    if camera is not None:
        right, low = camera.size[0] - 1.0, camera.size[1] - 1.0
        edges = camera.rays(np.array([[0.0, low / 2], [right, low / 2]]))[:, 0]
        if np.isfinite(edges).all():
            wedge = np.stack([edges, np.ones(2)], axis=-1)
            wedge /= np.linalg.norm(wedge, axis=-1, keepdims=True)
        rays = camera.rays(np.array([[0.0, 0.0], [right, 0.0], [right, low], [0.0, low]]))
        if np.isfinite(rays).all():
            corners = np.concatenate([rays, np.ones((4, 1))], axis=-1)
    return wedge, 0.35 * corners / np.linalg.norm(corners, axis=-1, keepdims=True)


# In the order of preference. H.264 opens everywhere and is quick, but many builds of OpenCV cannot
# write it. VP9 plays in browsers and in common players, but is slow to write. MPEG-4 part 2 is
# quick and always there; players open it, browsers do not.
CODECS = ("avc1", "mp4v")

#: Percentile of the steps between pictures that is taken for a step of a dense stretch.
DENSE_PERCENTILE = 10.0
#: Maximum standard deviation of the steps at a constant rate, as a share of their mean.
CONSTANT_RATE_SPREAD = 0.05
#: Maximum rate of a rendered video, Hz.
MAX_PLAYBACK_HZ = 1000.0


def render_recording(
    recording: Recording,
    frames: Iterable[tuple[float, np.ndarray]],
    path: str | Path,
    fps: float,
    height: int = 720,
    progress: Callable[[int], None] | None = None,
    codecs: tuple[str, ...] = CODECS,
    hold_s: float = 0.0,
) -> str:
    """Write a video: the picture with its keypoints on the left, the 3D scene on the right.

    The video's rate is constant. Each frame stands in it at its own time after the first: one that
    is followed late is repeated, and of several within one period the last is shown.

    Rows belong to a frame when theirs is the stamp nearest to the frame's and within half a
    frame of it. A frame without rows shows the newest ones before it, for as long as `hold_s`, then
    the picture and an empty scene.

    Args:
        recording: the people.
        frames: stamp (s) and image (H, W, 3) uint8 BGR, with rising stamps.
        path: of the video, ending in .mp4; an existing file is replaced when the new one is
            complete.
        fps: frames per second of the video; `playback_rate_hz` gives one that suits `frames`.
        height: of the video, px; made even.
        progress: called with the number of frames taken so far.
        codecs: those to try, in this order; the first that truly works here is taken.
        hold_s: how long people stay in view between rows, s, where fewer frames were lifted than
            the video has.

    Returns:
        the codec that was taken.

    Raises:
        RenderError: there are no frames, the frames are not of the recording's shape, no codec
            works, or the finished file does not open again.
        OutputError: the file cannot be written.
        ValueError: fps or height are out of range, or a frame is no image.
    """
    if not (math.isfinite(fps) and 0 < fps <= MAX_PLAYBACK_HZ):
        raise ValueError(f"fps is {fps}")
    if not 160 <= height <= 4320:
        raise ValueError(f"a height of {height} px is outside 160..4320")
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise RenderError(f"{path} does not end in .mp4")
    height = _even(height)
    picture_width = _even(height * recording.image_size[0] / recording.image_size[1])
    scene = SceneView(_even(1.25 * height), height, recording.camera)
    size = (picture_width + scene.width, height)

    taken = 0
    first_s, composed = 0.0, np.zeros(0, np.uint8)
    shown, shown_at = np.zeros(0, dtype=np.int64), -math.inf
    with replacing(path) as part, ExitStack() as at_end:
        writer = None
        codec, count = "", 0
        for stamp, image in frames:
            if writer is None:
                codec = _working_codec(codecs, fps, size, part)
                writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*codec), fps, size)
                at_end.callback(writer.release)
                if not writer.isOpened():
                    raise RenderError(f"{path} cannot be written")
                first_s = float(stamp)
            # The frame before stays until this one's time.
            for _ in range(round((float(stamp) - first_s) * fps) - count):
                writer.write(composed)
                count += 1
            rows = _rows_at(recording.stamp, float(stamp), 0.5 / fps)
            if len(rows):
                shown, shown_at = rows, float(stamp)
            elif 0 <= float(stamp) - shown_at <= hold_s:
                rows = shown
            left = _overlay(recording, rows, image, (picture_width, height), float(stamp))
            right = scene.render(
                recording.joints_3d[rows],
                recording.track_id[rows],
                recording.root_valid[rows],
                float(stamp),
            )
            composed = np.hstack([left, right])
            taken += 1
            if progress is not None:
                progress(taken)
        if writer is None:
            raise RenderError("there are no frames to render")
        writer.write(composed)
        count += 1
        writer.release()
        # A writer says nothing when it cannot write.
        found, found_size = _read_back(part)
        if found != count or found_size != size:
            raise RenderError(
                f"{path} was written with {count} frames of {size[0]}x{size[1]} but reads as "
                f"{found} of {found_size[0]}x{found_size[1]}"
            )
    return codec


def playback_rate_hz(source: FrameSource) -> float:
    """A constant rate, Hz, at which a video shows nearly all pictures of a source in time.

    The rate of its dense stretches where the rate varies.
    """
    times = source.times()
    if times is None or len(times) < 2:
        return min(source.rate_hz, MAX_PLAYBACK_HZ)
    steps_s = np.diff(times)
    if steps_s.std() <= CONSTANT_RATE_SPREAD * steps_s.mean():
        return min(source.rate_hz, MAX_PLAYBACK_HZ)
    dense_s = float(np.percentile(steps_s, DENSE_PERCENTILE))
    return min(1 / max(dense_s, 1e-6), MAX_PLAYBACK_HZ)


def _rows_at(stamps: np.ndarray, stamp: float, reach: float) -> np.ndarray:
    """The numbers of the rows whose stamp is the nearest to this one, if it is within reach, s."""
    away = np.abs(stamps - stamp)
    if len(away) == 0 or away.min() > reach + 1e-6:  # just half a frame off is not too far
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(stamps == stamps[away.argmin()])


def _overlay(
    recording: Recording, rows: np.ndarray, image: np.ndarray, size: tuple[int, int], stamp: float
) -> np.ndarray:
    """The scaled picture with the keypoints of these rows and a caption."""
    _check_image(image)
    given = image.shape[1] / image.shape[0]
    if abs(given * recording.image_size[1] / recording.image_size[0] - 1) > 0.02:
        raise RenderError(
            f"a frame is {image.shape[1]}x{image.shape[0]}, the recording's images were "
            f"{recording.image_size[0]}x{recording.image_size[1]}"
        )
    smaller = size[1] < image.shape[0]
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    keypoints = recording.keypoints_2d[rows].copy()
    # Pixel centres lie at whole numbers: the grids are half a pixel off each other's scale.
    scale = np.array(size) / np.array(recording.image_size)
    keypoints[..., :2] = (keypoints[..., :2] + 0.5) * scale - 0.5
    draw_keypoints(picture, keypoints, recording.track_id[rows], recording.layout)
    people = len(keypoints)
    text = f"{stamp:.2f} s    {people} {'person' if people == 1 else 'people'}"
    letters = size[1] / 50
    _text(picture, text, (1.4 * letters, size[1] - 1.4 * letters), letters, _TEXT, plate=True)
    return picture


def _even(value: float) -> int:
    """The nearest even number, at least 2: codecs store colour at half the size."""
    return max(2, 2 * round(value / 2))


def _working_codec(codecs: tuple[str, ...], fps: float, size: tuple[int, int], probe: Path) -> str:
    """The first codec that writes a video which opens again.

    Args:
        probe: a file that may be overwritten, where the video will be.

    Raises:
        RenderError: none does.
    """
    with _quiet():
        for codec in codecs:
            writer = cv2.VideoWriter(str(probe), cv2.VideoWriter.fourcc(*codec), fps, size)
            # That a writer opens says little: some encoders fail only at the first frames.
            if writer.isOpened():
                for value in (40, 80, 120):
                    writer.write(np.full((size[1], size[0], 3), value, dtype=np.uint8))
            writer.release()
            if probe.exists() and _read_back(probe) == (3, size):
                return codec
    raise RenderError(
        f"this OpenCV ({cv2.__version__}) writes none of the codecs {', '.join(codecs)} at "
        f"{size[0]}x{size[1]}"
    )


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence stderr: FFmpeg writes alarming lines for every codec that it lacks.

    They come from its C code, so the descriptor itself has to be turned away for the moment.
    """
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
