"""The 3D view: metric skeletons on a floor with a grid, seen by an observer and from the top."""

from __future__ import annotations

import math

import cv2
import numpy as np

from ...geometry.camera import Camera
from ...skeletons import H36M17
from .body import draw_body
from .drawing import dot, line, polygon, text_size, write
from .id_labels import id_labels
from .observer import Observer, camera_frustum
from .palette import (
    AXIS,
    BACKGROUND,
    FLOOR,
    GRID,
    MUTED,
    PANEL,
    SHADOW,
    TEXT,
    Color,
    color_of,
    mixed,
    side_colors,
)
from .top_view import TopView

#: Minimum width and height of a scene, px.
MIN_SIDE_PX = 160
#: Width of a limb, m.
LIMB_WIDTH_M = 0.045
#: Width of a limb's shadow, m.
SHADOW_WIDTH_M = 0.07
#: Distance between the dots of a dotted line, m.
DOT_STEP_M = 0.08
#: Maximum number of dots of a dotted line.
MAX_DOTS = 60
#: Maximum coordinate of a joint of a person without root, m from the pelvis.
MAX_ROOTLESS_M = 3.0

_PELVIS = H36M17.index("pelvis")


class SceneView:
    """Metric skeletons as an image; `Observer` says how the view adapts.

    Args:
        width, height: of the image, px; at least 160.
        camera: its field of view is drawn in the top view. None: no field of view is drawn.

    Attributes:
        width, height: of the image, px.
        observer: projection of the 3D view.
        top: the top view, in the upper right corner.

    Raises:
        ValueError: width or height is below 160 px.
    """

    def __init__(self, width: int, height: int, camera: Camera | None = None) -> None:
        if width < MIN_SIDE_PX or height < MIN_SIDE_PX:
            raise ValueError(f"a scene of {width}x{height} px is too small")
        self.width, self.height = int(width), int(height)
        self._unit = min(self.width, self.height) / 480
        self._gap = round(9 * self._unit)
        wedge, self._frustum = camera_frustum(camera)
        self.observer = Observer(self.width, self.height, self._frustum)
        side = round(0.31 * min(self.width, self.height))
        area = (self.width - side - self._gap, self._gap, side, side)
        self.top = TopView(area, self._unit, wedge)
        # Copied for every image: filling one with a colour takes ten times as long.
        self._empty = np.full((self.height, self.width, 3), BACKGROUND, dtype=np.uint8)
        self._stamp: float | None = None

    def render(
        self, joints: np.ndarray, ids: np.ndarray, root_valid: np.ndarray, stamp: float
    ) -> np.ndarray:
        """Draw the people at one time. Calls follow the order of time.

        Args:
            joints: (P, 17, 3) m, camera optical frame, layout h36m17; NaN joints are left out.
                People without a valid root are relative to the pelvis, and are drawn in boxes.
            ids: (P,) track ids.
            root_valid: (P,) bool.
            stamp: s; a step back in time deletes the trails.

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
        # A joint without one of its coordinates is unknown.
        joints = np.where(np.isfinite(joints).all(axis=-1, keepdims=True), joints, np.nan)
        known = np.isfinite(joints[..., 0]).any(axis=-1)
        placed, rootless = known & root_valid, known & ~root_valid
        people, people_ids = joints[placed], ids[placed]

        self._follow(people, people_ids, stamp)
        image = self._empty.copy()
        self._draw_floor(image)
        for person in people:
            self._draw_shadow(image, person)
        self._draw_camera(image)
        centres = np.nanmean(people, axis=1) if len(people) else np.zeros((0, 3))
        for i in np.argsort(-self.observer.depth(centres)):
            self._draw_person(image, people[i], int(people_ids[i]))
        # One person has the same label everywhere in the view.
        labels = id_labels(ids)
        self._draw_labels(image, people, people_ids, labels)
        self.top.draw(image, people, people_ids, labels, stamp)
        self._draw_rootless(image, joints[rootless], ids[rootless], labels)
        at = (9 * self._unit, self.height - 9 * self._unit)
        write(image, "lighter limbs: right side", at, 6.5 * self._unit, MUTED)
        return image

    def _follow(self, joints: np.ndarray, ids: np.ndarray, stamp: float) -> None:
        """Update trails, floor and framing."""
        step_s = 0.0 if self._stamp is None else stamp - self._stamp
        if step_s < 0:
            self.top.restart()
            step_s = 0.0
        self._stamp = stamp
        self.top.follow(joints, ids, stamp)
        self.observer.follow(joints, step_s)
        self.top.fit(self.observer.low, self.observer.high)

    def _draw_floor(self, image: np.ndarray) -> None:
        """Draw the floor with cells of 1 m, and the distances along the camera's axis."""
        low, high, y = self.observer.low, self.observer.high, self.observer.floor
        x_low = min(math.floor(low[0]) - 1, -2)
        x_high = max(math.ceil(high[0]) + 1, 2)
        z_high = max(math.ceil(high[2]) + 1, 4)
        outline = np.array([[x_low, y, 0], [x_high, y, 0], [x_high, y, z_high], [x_low, y, z_high]])
        pixels = self.observer.project(outline)
        if np.isfinite(pixels).all():
            polygon(image, pixels, FLOOR)
        columns = [[[x, y, 0], [x, y, z_high]] for x in range(x_low, x_high + 1)]
        rows = [[[x_low, y, z], [x_high, y, z]] for z in range(z_high + 1)]
        self._draw_lines(image, np.array(columns + rows), GRID)
        self._draw_lines(image, np.array([[[0, y, 0], [0, y, z_high]]]), AXIS)
        letters = 6.5 * self._unit
        labels = self.observer.project(np.array([[0.0, y, z] for z in range(1, z_high + 1)]))
        for z, at in enumerate(labels, start=1):
            if np.isfinite(at).all():
                corner = (at[0] + 0.7 * letters, at[1] + 1.6 * letters)
                write(image, f"{z} m", corner, letters, MUTED)

    def _draw_lines(
        self, image: np.ndarray, lines: np.ndarray, color: Color, width: int = 1
    ) -> None:
        """Draw lines (N, 2, 3) m; a line with an end that has no pixel is left out."""
        pixels = self.observer.project(lines)
        for a, b in pixels[np.isfinite(pixels).all(axis=(1, 2))]:
            line(image, a, b, color, width)

    def _draw_dotted(self, image: np.ndarray, a: np.ndarray, b: np.ndarray, color: Color) -> None:
        """Draw a dotted line from one point (3,) m to another."""
        count = int(min(MAX_DOTS, np.linalg.norm(b - a) / DOT_STEP_M)) + 1
        for pixel in self.observer.project(a + np.linspace(0, 1, count)[:, None] * (b - a)):
            if np.isfinite(pixel).all():
                dot(image, pixel, 0.9 * self._unit, color)

    def _draw_shadow(self, image: np.ndarray, person: np.ndarray) -> None:
        """Draw a person's bones vertically projected onto the floor."""
        flat = person.copy()
        flat[:, 1] = np.where(np.isfinite(flat[:, 1]), self.observer.floor, np.nan)
        width = self.observer.length_px(np.nanmean(flat, axis=0), SHADOW_WIDTH_M)
        self._draw_lines(image, flat[list(H36M17.edges)], SHADOW, round(width))

    def _draw_camera(self, image: np.ndarray) -> None:
        """Draw the camera as a small pyramid at the origin, with its foot point on the floor."""
        origin, foot = np.zeros(3), np.array([0.0, self.observer.floor, 0.0])
        self._draw_dotted(image, origin, foot, MUTED)
        width = max(1, round(1.2 * self._unit))
        spokes = np.stack([np.zeros((4, 3)), self._frustum], axis=1)
        rim = np.stack([self._frustum, np.roll(self._frustum, -1, axis=0)], axis=1)
        self._draw_lines(image, np.concatenate([spokes, rim]), TEXT, width)
        at = self.observer.project(origin)
        if np.isfinite(at).all():
            letters = 6.5 * self._unit
            wide = text_size("camera", letters)[0]
            left = float(np.clip(at[0] - wide / 2, letters, self.width - wide - letters))
            top = np.nanmin(self.observer.project(self._frustum)[:, 1])
            write(image, "camera", (left, min(top, at[1]) - letters), letters, TEXT)

    def _draw_person(self, image: np.ndarray, person: np.ndarray, track_id: int) -> None:
        """Draw a body (17, 3) m, and a dotted line from its pelvis to the floor."""
        color = color_of(track_id)
        if np.isfinite(person[_PELVIS]).all():
            foot = person[_PELVIS].copy()
            foot[1] = self.observer.floor
            self._draw_dotted(image, person[_PELVIS], foot, mixed(color, FLOOR, 0.35))
        unit = self.observer.length_px(np.nanmean(person, axis=0), LIMB_WIDTH_M)
        pixels, depths = self.observer.project(person), self.observer.depth(person)
        draw_body(image, pixels, depths, side_colors(color), unit)

    def _draw_labels(
        self, image: np.ndarray, joints: np.ndarray, ids: np.ndarray, labels: dict[int, str]
    ) -> None:
        """Write id and distance of each person above the head.

        The nearest person's label comes first. A label that would cover an earlier one moves up.
        """
        letters = 9.0 * self._unit
        taken: list[tuple[float, float, float]] = []
        roots = joints[:, _PELVIS]
        near_first = np.argsort(np.nan_to_num(np.linalg.norm(roots, axis=-1), nan=np.inf))
        for i in near_first:
            pixels = self.observer.project(joints[i])
            if not np.isfinite(pixels).any():
                continue
            known = np.isfinite(roots[i]).all()
            distance = f"  {np.linalg.norm(roots[i]):.1f} m" if known else ""
            text = f"{labels[int(ids[i])]}{distance}"
            wide, tall, _, _ = text_size(text, letters)
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
            write(image, text, (left, base), letters, color_of(int(ids[i])), plate=True)

    def _draw_rootless(
        self, image: np.ndarray, joints: np.ndarray, ids: np.ndarray, labels: dict[int, str]
    ) -> None:
        """Draw people whose position is unknown, each in a box, as the camera sees them."""
        if len(joints) == 0:
            return
        gap, side = self._gap, round(0.19 * min(self.width, self.height))
        tall = round(1.45 * side)
        boxes = max(1, (self.top.area[0] - gap) // (side + gap))
        letters = 6.5 * self._unit
        for i, (person, track_id) in enumerate(zip(joints[:boxes], ids[:boxes], strict=True)):
            x = gap + i * (side + gap)
            part = image[gap : gap + tall, x : x + side]
            part[:] = PANEL
            cv2.rectangle(part, (0, 0), (part.shape[1] - 1, part.shape[0] - 1), GRID, 1)
            scale = (tall - 3.5 * letters) / 2.1  # px per m: an adult fits in any pose
            middle = np.array([0.5 * side, 2.5 * letters + 0.47 * (tall - 3 * letters)])
            pixels = middle + scale * person[:, :2]
            pixels[np.abs(person).max(axis=-1) > MAX_ROOTLESS_M] = np.nan
            color = color_of(int(track_id))
            draw_body(part, pixels, person[:, 2], side_colors(color), 0.05 * scale)
            at = (0.7 * letters, 1.7 * letters)
            write(part, f"{labels[int(track_id)]} no root", at, letters, color)
        if len(joints) > boxes:
            text = f"+{len(joints) - boxes} more without root"
            write(image, text, (gap, gap + tall + 2 * letters), letters, MUTED)
