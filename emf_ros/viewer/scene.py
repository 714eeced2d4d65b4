"""The 3D scene in the browser: people, trails, labels, floor, and the camera with its image."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..geometry.transforms import Transform
from ..io.render.floor import Floor
from ..io.render.id_labels import id_labels
from ..io.render.palette import BACKGROUND, GRID, MUTED, color_of, mixed
from ..skeletons import H36M17
from ..types import Frame3D, Pose3D, TrackState
from . import shapes
from .frustum import Frustum
from .shapes import Instances

#: Time for which a trail stays, s.
TRAIL_S = 4.0
#: Minimum time between two points of a trail, s.
TRAIL_STEP_S = 0.1
#: Maximum gap in a trail that is drawn as a line, s.
MAX_TRAIL_GAP_S = 1.0
#: Height of a label over the highest joint, m.
LABEL_HEIGHT_M = 0.22
#: Distance in steps of which the floor of a fixed frame follows the people, m.
GRID_STEP_M = 5.0
#: Number of instances by which a batch grows.
BATCH_STEP = 128

#: Turn of a grid in the plane xy to the level floor of an optical frame (y down).
_PLANES = {"-y": "xz", "+z": "xy"}


class Scene:
    """Draws people into the scene of a viser server.

    Positions are in one frame: an optical frame (y down), or a fixed frame (z up).

    Args:
        server: viser.ViserServer, or one of its clients.

    Attributes:
        show_trails, show_joint_uncertainty, show_root_uncertainty, show_labels, show_image:
            what is drawn.
        floor: estimated from the people.
        camera: the camera's field of view and image.
        middle: (3,) m, the middle of the people when the floor was last placed; None before.
    """

    def __init__(self, server: Any) -> None:
        self._scene = server.scene
        self.camera = Frustum(server.scene)
        self.show_trails = self.show_labels = self.show_image = True
        self.show_root_uncertainty = self.show_joint_uncertainty = True
        self.floor = Floor()
        self._up = ""
        self.middle: np.ndarray | None = None
        self._stamp_ns: int | None = None
        self._shown: Frame3D | None = None
        self._trails: dict[int, deque[tuple[int, np.ndarray]]] = {}
        self._labels: dict[int, Any] = {}
        self._scene.configure_default_lights(enabled=True, cast_shadow=False)
        self._scene.world_axes.visible = False
        self._background(BACKGROUND)
        sphere, cylinder = _sphere(), _cylinder()
        self._joints = _Batch(self._scene, "/people/joints", sphere)
        self._bones = _Batch(self._scene, "/people/bones", cylinder)
        self._roots = _Batch(self._scene, "/people/root_uncertainty", sphere)
        self._spreads = _Batch(self._scene, "/people/joint_uncertainty", sphere)
        self._lines: Any = None
        self.set_up("-y")

    def _background(self, color: tuple[int, int, int]) -> None:
        pixel = np.array(color[::-1], np.uint8).reshape(1, 1, 3)
        self._scene.set_background_image(np.tile(pixel, (8, 8, 1)), format="png")

    # ------------------------------------------------------------------ frame and floor

    def set_up(self, up: str) -> None:
        """Set where up is: "-y" in an optical frame, "+z" in a fixed one."""
        if up == self._up:
            return
        self._up, self.middle = up, None
        # An optical frame is the camera's own.
        self.camera.place(Transform.identity() if up == "-y" else None)
        self._scene.set_up_direction(up)
        self._grid = self._scene.add_grid(
            "/floor",
            width=24.0,
            height=24.0,
            plane=_PLANES[up],
            cell_size=1.0,
            cell_thickness=1.0,
            cell_color=GRID[::-1],
            section_size=5.0,
            section_thickness=1.5,
            section_color=MUTED[::-1],
            shadow_opacity=0.0,
        )
        self._place_floor()
        self.apply_switches()

    def apply_switches(self) -> None:
        """Draw the people of the last image again, with changed switches."""
        self.camera.show_image(self.show_image)
        if self._shown is not None:
            self._draw(self._shown)

    def _place_floor(self) -> None:
        depth = self.floor.depth
        if self._up == "-y":
            self._grid.position = (0.0, depth, 6.0)
            return
        # Around the people, with its lines at whole metres.
        middle = np.zeros(3) if self.middle is None else self.middle
        x, y = GRID_STEP_M * np.round(middle[:2] / GRID_STEP_M)
        self._grid.position = (float(x), float(y), -depth)

    # ------------------------------------------------------------------ people

    def show(self, frame: Frame3D) -> None:
        """Draw the people of one image. A step back in time forgets trails."""
        step_s = 0.0
        if self._stamp_ns is not None:
            step_s = (frame.stamp_ns - self._stamp_ns) / 1e9
        if step_s < 0:
            self.restart()
        self._stamp_ns = frame.stamp_ns
        self._shown = frame
        placed = [person for person in frame.people if shapes.is_placed(person)]
        joints = np.array([person.joints for person in placed]).reshape(-1, len(H36M17), 3)
        before = self.floor.depth
        self.floor.follow(joints[..., 1] if self._up == "-y" else -joints[..., 2], max(step_s, 0.0))
        moved = False
        if placed:
            middle = np.mean([person.root for person in placed], axis=0)
            moved = self.middle is None or np.abs(middle - self.middle)[:2].max() > GRID_STEP_M
            self.middle = middle if moved else self.middle
        if moved or abs(self.floor.depth - before) > 1e-3:
            self._place_floor()
        self._lengthen_trails(placed, frame.stamp_ns)
        self._draw(frame)

    def _draw(self, frame: Frame3D) -> None:
        people = [person for person in frame.people if person.state != TrackState.ENDED]
        placed = [person for person in people if shapes.is_placed(person)]
        none = Instances.none()
        self._joints.show(shapes.joint_spheres(placed))
        self._bones.show(shapes.bone_cylinders(placed))
        self._roots.show(shapes.root_ellipsoids(people) if self.show_root_uncertainty else none)
        spreads = shapes.joint_ellipsoids(placed) if self.show_joint_uncertainty else none
        self._spreads.show(spreads)
        self._draw_trails(frame.stamp_ns)
        self._draw_labels(people)

    @property
    def people(self) -> list[Pose3D]:
        """The people that are shown."""
        return [] if self._shown is None else self._shown.people

    def restart(self) -> None:
        """Forget trails and the time."""
        self._trails.clear()
        self._stamp_ns = self._shown = None

    def _lengthen_trails(self, placed: Sequence[Pose3D], now_ns: int) -> None:
        for person in placed:
            trail = self._trails.setdefault(person.track_id, deque())
            root = person.root
            if np.isfinite(root).all() and np.abs(root).max() < shapes.MAX_DISTANCE_M:
                if not trail or now_ns - trail[-1][0] >= TRAIL_STEP_S * 1e9:
                    trail.append((now_ns, root.copy()))

    def _draw_trails(self, now_ns: int) -> None:
        points, colors = [], []
        for track_id, trail in list(self._trails.items()):
            while trail and now_ns - trail[0][0] > TRAIL_S * 1e9:
                trail.popleft()
            if not trail:
                del self._trails[track_id]
            if not self.show_trails:
                continue
            color = color_of(track_id)
            for (t0, a), (t1, b) in zip(list(trail), list(trail)[1:], strict=False):
                if (t1 - t0) / 1e9 <= MAX_TRAIL_GAP_S:
                    points.append((a, b))
                    age = (now_ns - t1) / 1e9 / TRAIL_S
                    shade = mixed(color, BACKGROUND, 0.15 + 0.7 * age)[::-1]
                    colors.append((shade, shade))
        self._set_lines(points, colors)

    def _set_lines(self, points: list[Any], colors: list[Any]) -> None:
        """Lines between pairs of points; their number is that of the last time or more."""
        count = 0 if self._lines is None else len(self._lines.points)
        if len(points) > count:
            count = BATCH_STEP * math.ceil(len(points) / BATCH_STEP)
            self._lines = None
        if count == 0:
            return
        all_points, all_colors = np.zeros((count, 2, 3)), np.zeros((count, 2, 3), np.uint8)
        if points:
            all_points[: len(points)], all_colors[: len(points)] = points, colors
            # On the floor where it is now known to be, so that lines and grid do not cross.
            depth = self.floor.depth - 0.01
            axis, height = (1, depth) if self._up == "-y" else (2, -depth)
            all_points[..., axis] = height
        if self._lines is None:
            self._lines = self._scene.add_line_segments(
                "/trails", points=all_points, colors=all_colors, thickness=0.015
            )
            return
        self._lines.points, self._lines.colors = all_points, all_colors

    def _draw_labels(self, people: Sequence[Pose3D]) -> None:
        at: dict[int, np.ndarray] = {}
        for person in people if self.show_labels else []:
            top = _top_of(person, self._up)
            if top is not None:
                at[person.track_id] = top
        for track_id in self._labels.keys() - at.keys():
            self._labels.pop(track_id).remove()
        texts = id_labels(at)
        for person in people:
            place = at.get(person.track_id)
            if place is None:
                continue
            text = texts[person.track_id]
            if not shapes.is_placed(person):
                text += " last seen here"
            label = self._labels.get(person.track_id)
            if label is None:
                self._labels[person.track_id] = self._scene.add_label(
                    f"/labels/{person.track_id}",
                    text,
                    position=tuple(place),
                    anchor="bottom-center",
                    font_screen_scale=1.1,
                )
            else:
                label.text = text
                label.position = tuple(place)


class _Batch:
    """The instances of one shape, with room for more: a batch of another size is a new one."""

    def __init__(self, scene: Any, name: str, mesh: tuple[np.ndarray, np.ndarray]) -> None:
        self._scene, self._name, self._mesh = scene, name, mesh
        self._handle: Any = None
        self._room = 0

    def show(self, instances: Instances) -> None:
        if len(instances) > self._room:
            self._room = BATCH_STEP * math.ceil(len(instances) / BATCH_STEP)
            self._handle = None
        if self._room == 0:
            return
        padded = instances.padded(self._room)
        if self._handle is None:
            vertices, faces = self._mesh
            self._handle = self._scene.add_batched_meshes_simple(
                self._name,
                vertices,
                faces,
                batched_wxyzs=padded.wxyz,
                batched_positions=padded.positions,
                batched_scales=padded.scales.astype(np.float32),
                batched_colors=padded.colors,
                batched_opacities=padded.opacities,
                lod="off",
                cast_shadow=False,
                receive_shadow=False,
            )
            return
        self._handle.batched_positions = padded.positions
        self._handle.batched_wxyzs = padded.wxyz
        self._handle.batched_scales = padded.scales
        self._handle.batched_colors = padded.colors
        self._handle.batched_opacities = padded.opacities


def _top_of(person: Pose3D, up: str) -> np.ndarray | None:
    """Where the label of a person stands, (3,) m: over the head, or over the last known root."""
    axis, sign = (1, -1.0) if up == "-y" else (2, 1.0)
    if shapes.is_placed(person):
        joints = person.joints[np.isfinite(person.joints).all(axis=1)]
        top = joints[np.argmax(sign * joints[:, axis])].copy()
    elif np.isfinite(person.last_root).all():
        top = person.last_root.copy()
    else:
        return None
    if np.abs(top).max() > shapes.MAX_DISTANCE_M:
        return None
    top[axis] += sign * LABEL_HEIGHT_M
    return top


def _sphere() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (F, 3) of a sphere of radius 1."""
    return _lathe([(math.sin(a), -math.cos(a)) for a in np.linspace(0, math.pi, 10)])


def _cylinder() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and faces (F, 3) of a closed cylinder of radius 1 and length 1 along z."""
    return _lathe([(0.0, -0.5), (1.0, -0.5), (1.0, -0.5), (1.0, 0.5), (1.0, 0.5), (0.0, 0.5)])


def _lathe(profile: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """The surface that a profile of radius and z makes when it turns about z; z rises."""
    sides = 14
    angles = np.arange(sides) * 2 * math.pi / sides
    rings = [
        np.stack([r * np.cos(angles), r * np.sin(angles), np.full(sides, z)], axis=1)
        for r, z in profile
    ]
    faces = []
    for ring in range(len(profile) - 1):
        for side in range(sides):
            a, b = ring * sides + side, ring * sides + (side + 1) % sides
            faces += [(a, b, b + sides), (a, b + sides, a + sides)]
    return np.concatenate(rings).astype(np.float32), np.array(faces, np.uint32)
