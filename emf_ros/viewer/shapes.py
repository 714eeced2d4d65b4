"""Poses as instances of spheres and cylinders: positions, turns, sizes, colours, opacities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..io.render.palette import bone_side, color_of, side_colors
from ..skeletons import H36M17
from ..types import Pose3D, TrackState

#: Radius of a joint, m.
JOINT_RADIUS_M = 0.032
#: Radius of a bone, m.
BONE_RADIUS_M = 0.02
#: Opacity of a joint of confidence 0; that of confidence 1 is 1.
MIN_OPACITY = 0.2
#: Opacity of an ellipsoid.
ELLIPSOID_OPACITY = 0.22
#: Maximum semi-axis of an ellipsoid, m; beyond it the position says nothing.
MAX_SEMI_AXIS_M = 20.0
#: Maximum distance from the camera of what is drawn, m.
MAX_DISTANCE_M = 1000.0

_EDGES = np.array(H36M17.edges)
_SIDES_OF_BONES = [bone_side(H36M17, edge) for edge in H36M17.edges]


@dataclass
class Instances:
    """Copies of one shape; rows belong together.

    Attributes:
        positions: (N, 3) m.
        wxyz: (N, 4) unit quaternions.
        scales: (N, 3) m, along the shape's own axes.
        colors: (N, 3) uint8 RGB.
        opacities: (N,) 0..1.
    """

    positions: np.ndarray
    wxyz: np.ndarray
    scales: np.ndarray
    colors: np.ndarray
    opacities: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    @classmethod
    def none(cls) -> Instances:
        """No instances."""
        return cls(
            np.zeros((0, 3)),
            np.zeros((0, 4)),
            np.zeros((0, 3)),
            np.zeros((0, 3), np.uint8),
            np.zeros(0),
        )

    @classmethod
    def joined(cls, parts: Sequence[Instances]) -> Instances:
        """The instances of several, in their order."""
        names = ("positions", "wxyz", "scales", "colors", "opacities")
        all_parts = [cls.none(), *parts]
        return cls(*(np.concatenate([getattr(p, name) for p in all_parts]) for name in names))

    def padded(self, count: int) -> Instances:
        """The same with invisible instances at the end, `count` in all."""
        more = count - len(self)
        if more <= 0:
            return self
        upright = np.tile([1.0, 0.0, 0.0, 0.0], (more, 1))
        # A scale of 0 has no inverse, which shading needs.
        invisible = Instances(
            np.zeros((more, 3)),
            upright,
            np.full((more, 3), 1e-6),
            np.zeros((more, 3), np.uint8),
            np.zeros(more),
        )
        return Instances.joined([self, invisible])


def is_placed(person: Pose3D) -> bool:
    """Whether a person has a position and joints to draw."""
    return (
        person.state != TrackState.ENDED
        and person.root_valid
        and bool(_is_drawn(person.joints).any())
    )


def joint_spheres(people: Sequence[Pose3D]) -> Instances:
    """A unit sphere for each known joint; the opacity is the confidence."""
    parts = []
    for person in filter(is_placed, people):
        known = _is_drawn(person.joints)
        count = int(known.sum())
        colors = np.array([_rgb(person, side) for side in H36M17.sides], np.uint8)
        parts.append(
            Instances(
                person.joints[known],
                np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)),
                np.full((count, 3), JOINT_RADIUS_M),
                colors[known],
                _opacity(person.confidence[known]),
            )
        )
    return Instances.joined(parts)


def bone_cylinders(people: Sequence[Pose3D]) -> Instances:
    """A cylinder of radius 1 and length 1 along z for each bone whose two joints are known."""
    parts = []
    for person in filter(is_placed, people):
        drawn = _is_drawn(person.joints)
        known = drawn[_EDGES].all(axis=1)
        begin, end = person.joints[_EDGES[known, 0]], person.joints[_EDGES[known, 1]]
        lengths = np.linalg.norm(end - begin, axis=1)
        colors = np.array([_rgb(person, side) for side in _SIDES_OF_BONES], np.uint8)
        radii = np.full(len(lengths), BONE_RADIUS_M)
        parts.append(
            Instances(
                0.5 * (begin + end),
                turns_of_z(end - begin),
                np.stack([radii, radii, np.maximum(lengths, 1e-6)], axis=1),
                colors[known],
                _opacity(person.confidence[_EDGES[known]].min(axis=1)),
            )
        )
    return Instances.joined(parts)


def root_ellipsoids(people: Sequence[Pose3D]) -> Instances:
    """A unit sphere for each last known root, as the ellipsoid of one standard deviation.

    That of a coasting person grows, as its covariance does.
    """
    parts = []
    for person in people:
        if person.state == TrackState.ENDED or not _is_drawn(person.last_root[None])[0]:
            continue
        found = ellipsoid(person.last_root_covariance)
        if found is not None:
            wxyz, semi_axes = found
            parts.append(_ellipsoids(person, person.last_root[None], wxyz[None], semi_axes[None]))
    return Instances.joined(parts)


def joint_ellipsoids(people: Sequence[Pose3D]) -> Instances:
    """A unit sphere for each known joint with a standard deviation, which is its radius."""
    parts = []
    for person in filter(is_placed, people):
        known = _is_drawn(person.joints) & (person.stddev > 0) & (person.stddev < MAX_SEMI_AXIS_M)
        count = int(known.sum())
        upright = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))
        semi_axes = np.repeat(person.stddev[known, None], 3, axis=1)
        parts.append(_ellipsoids(person, person.joints[known], upright, semi_axes))
    return Instances.joined(parts)


def _ellipsoids(
    person: Pose3D, positions: np.ndarray, wxyz: np.ndarray, semi_axes: np.ndarray
) -> Instances:
    count = len(positions)
    colors = np.tile(np.array(_rgb(person, "middle"), np.uint8), (count, 1))
    opacities = np.full(count, ELLIPSOID_OPACITY)
    return Instances(positions, wxyz, semi_axes, colors, opacities)


def ellipsoid(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The ellipsoid of one standard deviation.

    Args:
        covariance: (3, 3) m^2.

    Returns:
        (4,) turn as a quaternion w, x, y, z, and (3,) semi-axes, m. None where the covariance is
        unknown, is none, or says nothing about the position.
    """
    if not np.isfinite(covariance).all():
        return None
    variances, axes = np.linalg.eigh(0.5 * (covariance + covariance.T))
    if variances[0] < -1e-9 or not 0 < variances[2] < MAX_SEMI_AXIS_M**2:
        return None
    if np.linalg.det(axes) < 0:
        axes[:, 0] = -axes[:, 0]
    return quaternion(axes), np.sqrt(np.maximum(variances, 1e-8))


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """The unit quaternion w, x, y, z of a rotation (3, 3)."""
    trace = np.trace(matrix)
    # The squares of w, x, y, z, times 4; the largest one divides.
    squares = np.array([1 + trace, *(1 - trace + 2 * np.diag(matrix))])
    largest = int(squares.argmax())
    skew = np.array(
        [
            matrix[2, 1] - matrix[1, 2],
            matrix[0, 2] - matrix[2, 0],
            matrix[1, 0] - matrix[0, 1],
        ]
    )
    products = np.empty((4, 4))
    products[1:, 1:] = matrix + matrix.T
    products[0, 1:] = products[1:, 0] = skew
    found: np.ndarray = products[largest]
    found[largest] = squares[largest]
    return found / np.linalg.norm(found)


def turns_of_z(directions: np.ndarray) -> np.ndarray:
    """The quaternions that turn the z axis to directions.

    Args:
        directions: (N, 3), of any length.

    Returns:
        (N, 4) w, x, y, z; no turn for a direction of length 0.
    """
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    unit = np.where(lengths > 1e-9, directions / np.maximum(lengths, 1e-9), [0.0, 0.0, 1.0])
    half = np.empty((len(unit), 4))
    half[:, 0] = 1 + unit[:, 2]
    half[:, 1:] = np.stack([-unit[:, 1], unit[:, 0], np.zeros(len(unit))], axis=1)
    # The opposite direction: any turn of half a circle about a level axis.
    half[half[:, 0] < 1e-6] = [0.0, 1.0, 0.0, 0.0]
    turned: np.ndarray = half / np.linalg.norm(half, axis=1, keepdims=True)
    return turned


def _is_drawn(points: np.ndarray) -> np.ndarray:
    """(N,) bool: whether points (N, 3) m are known and near enough to be drawn."""
    with np.errstate(invalid="ignore"):
        near: np.ndarray = (np.abs(points) < MAX_DISTANCE_M).all(axis=-1)
    return near


def _opacity(confidence: np.ndarray) -> np.ndarray:
    known = np.clip(np.nan_to_num(confidence), 0.0, 1.0)
    opacity: np.ndarray = MIN_OPACITY + (1 - MIN_OPACITY) * known
    return opacity


def _rgb(person: Pose3D, side: str) -> tuple[int, int, int]:
    blue, green, red = side_colors(color_of(person.track_id))[side]
    return red, green, blue
