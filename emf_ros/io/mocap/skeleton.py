"""Trees of named joints, and the positions of their joints in a pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from . import FormatError

#: Meaning of a point's name: the joint where the bone of that name begins (BVH, SMPL), the
#: point where it ends (Acclaim), or a joint of h36m17 itself.
Naming = Literal["joints", "bone ends", "h36m17"]

#: Maximum number of joints. Rigs with fingers and face have a few hundred.
MAX_JOINTS = 1000

#: Maximum length of the name of a joint, characters.
MAX_NAME_LENGTH = 200

#: Maximum number of frames times joints: an hour of 60 joints at 120 Hz. A short line of a file may
#: stand for a frame of all joints.
MAX_POSES = 30_000_000


def refuse_too_large(names: Sequence[str], frames: int = 1) -> None:
    """Refuse joints, or frames of them, that would fill the memory.

    Raises:
        FormatError: there are too many, or a name is too long.
    """
    if len(names) > MAX_JOINTS:
        raise FormatError(f"has over {MAX_JOINTS} joints")
    if max(map(len, names), default=0) > MAX_NAME_LENGTH:
        raise FormatError(f"has a joint whose name is over {MAX_NAME_LENGTH} characters long")
    if frames * len(names) > MAX_POSES:
        raise FormatError(f"has {frames} frames of {len(names)} joints, too many: split it")


def axis_rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotations about a coordinate axis.

    Args:
        axis: 0, 1 or 2 for x, y or z.
        angle: (...) rad, right-handed.

    Returns:
        (..., 3, 3), to be multiplied onto columns.
    """
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., axis, axis] = 1.0
    matrix[..., i, i] = matrix[..., j, j] = np.cos(angle)
    matrix[..., j, i] = np.sin(angle)
    matrix[..., i, j] = -np.sin(angle)
    return matrix


def euler_rotation(axes: Sequence[int], angles: np.ndarray) -> np.ndarray:
    """Rotations about axes that turn along: the product in the order written.

    Args:
        axes: the C axes, each 0, 1 or 2.
        angles: (..., C) rad.

    Returns:
        (..., 3, 3).
    """
    matrix = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for column, axis in enumerate(axes):
        matrix = matrix @ axis_rotation(axis, angles[..., column])
    return matrix


def rotation_vectors(vectors: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3) rad to matrices (..., 3, 3), by Rodrigues' formula."""
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vectors / np.maximum(angle[..., 0], 1e-12), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


@dataclass(frozen=True)
class Skeleton:
    """A tree of joints.

    Attributes:
        names: (J,) the joints, parents before their children.
        parents: (J,) the parent's index, -1 for a root.
        offsets: (J, 3) from the parent to the joint, in the parent's frame, in any unit.

    Raises:
        FormatError: at construction, when a joint comes before its parent or an offset is missing.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray

    def __post_init__(self) -> None:
        if len(self.parents) != len(self.names) or self.offsets.shape != (len(self.names), 3):
            raise FormatError("a skeleton needs one parent and one offset for each joint")
        if not self.names:
            raise FormatError("the skeleton has no joints")
        for joint, parent in enumerate(self.parents):
            if not -1 <= parent < joint:
                raise FormatError(f"joint {self.names[joint]} comes before its parent")
        if not np.isfinite(self.offsets).all():
            joint = int(np.flatnonzero(~np.isfinite(self.offsets).all(axis=1))[0])
            raise FormatError(f"the offset of joint {self.names[joint]} is not finite")

    def rest(self) -> np.ndarray:
        """(J, 3), positions of the joints without rotations, the root at its offset."""
        still = np.broadcast_to(np.eye(3), (1, len(self.names), 3, 3))
        return self.pose(still)[0][0]

    def pose(
        self, rotations: np.ndarray, translations: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Forward kinematics.

        Args:
            rotations: (N, J, 3, 3) of each joint in its parent's frame.
            translations: (N, J, 3) in place of the offsets, in the same unit and frames.

        Returns:
            (N, J, 3) positions and (N, J, 3, 3) orientations, both in the world's frame.
        """
        frames = len(rotations)
        if translations is None:
            translations = np.broadcast_to(self.offsets, (frames, *self.offsets.shape))
        positions = np.empty((frames, len(self.names), 3))
        orientations = np.empty((frames, len(self.names), 3, 3))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                positions[:, joint] = translations[:, joint]
                orientations[:, joint] = rotations[:, joint]
                continue
            frame = orientations[:, parent]
            offset = np.einsum("nij,nj->ni", frame, translations[:, joint])
            positions[:, joint] = positions[:, parent] + offset
            orientations[:, joint] = frame @ rotations[:, joint]
        return positions, orientations


@dataclass
class Motion:
    """Named points over time, in the file's own unit and axes.

    Attributes:
        names: (P,) the points, parents before their children.
        parents: (P,) the parent's index, -1 for a root.
        positions: (N, P, 3); NaN where a point was not captured.
        orientations: (N, P, 3, 3), of the body part at each point, relative to the rest pose.
        rest: (P, 3) the pose without rotations.
        rate_hz: frames per second.
        naming: meaning of the names.
        unit_m: metres for one unit, where the format prescribes it.
        up: the axis that points up, 'y' or 'z', where the format prescribes it. The rest pose may
            have another, as SMPL's has.
        notes: assumptions of the reader, for the user.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    positions: np.ndarray
    orientations: np.ndarray
    rest: np.ndarray
    rate_hz: float
    naming: Naming = "joints"
    unit_m: float | None = None
    up: str | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def posed(
        cls,
        skeleton: Skeleton,
        rotations: np.ndarray,
        translations: np.ndarray,
        rate_hz: float,
        naming: Naming = "joints",
        notes: tuple[str, ...] = (),
    ) -> Motion:
        """The motion of a skeleton: see `Skeleton.pose` for the arrays."""
        positions, orientations = skeleton.pose(rotations, translations)
        return cls(
            skeleton.names,
            skeleton.parents,
            positions,
            orientations,
            skeleton.rest(),
            rate_hz,
            naming,
            notes=notes,
        )
