"""Frames of the body's segments by their joints, with the spread of each.

The axes are those of the International Society of Biomechanics (Wu et al. 2002 and 2005, Journal of
Biomechanics): in a person who stands upright x points forward, y up and z to the right. So y is the
long axis of a limb, towards its proximal joint. The bony landmarks of the ISB are not visible to a
camera; `SEGMENTS` says which joints take their place.

Each frame comes from two directions. The primary one fixes an axis. The secondary one fixes the
turn about this axis, its *twist*:

- A line of joints does not show its twist. The hinge of the elbow shows that of the upper arm, and
  the hinge of the knee those of thigh and shank, as long as the limb is bent. The twist of a
  straight limb is unknown.
- The hinge of the elbow does not show the twist of the forearm (pronation). It is always unknown.

Shapes: P people, S segments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..skeletons import H36M17
from .rotations import cross, dot, unit


@dataclass(frozen=True)
class Segment:
    """How the frame of a segment is built.

    Attributes:
        name: of the segment.
        parent: of the kinematic tree; empty for the pelvis.
        primary: axis that the line between two joints fixes.
        ends: these joints, from and to.
        secondary: axis that fixes the twist.
        hint: joints, from and to, whose line shows the secondary axis. For a hinge the line of the
            other bone, which lies in the plane that the secondary axis is perpendicular to.
        hinge: +1 where the hint lies on the side of +x of a bent limb (elbow), -1 where it lies on
            the side of -x (knee), and 0 where the segment is no part of a hinge.
        twist_shown: whether the twist can be known at all.
    """

    name: str
    parent: str
    primary: str
    ends: tuple[str, str]
    secondary: str
    hint: tuple[str, str]
    hinge: int = 0
    twist_shown: bool = True


def _limb(side: str) -> tuple[Segment, ...]:
    shoulder, elbow, wrist = f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"
    hip, knee, ankle = f"{side}_hip", f"{side}_knee", f"{side}_ankle"
    arm, thigh = f"{side}_upper_arm", f"{side}_thigh"
    return (
        Segment(arm, "trunk", "y", (elbow, shoulder), "z", (elbow, wrist), 1),
        Segment(f"{side}_forearm", arm, "y", (wrist, elbow), "z", (elbow, shoulder), 1, False),
        Segment(thigh, "pelvis", "y", (knee, hip), "z", (knee, ankle), -1),
        Segment(f"{side}_shank", thigh, "y", (ankle, knee), "z", (knee, hip), -1),
    )


#: The segments, parents first.
SEGMENTS: tuple[Segment, ...] = (
    Segment("pelvis", "", "z", ("left_hip", "right_hip"), "y", ("pelvis", "spine")),
    Segment("trunk", "pelvis", "y", ("pelvis", "thorax"), "z", ("left_shoulder", "right_shoulder")),
    Segment("head", "trunk", "y", ("thorax", "head_top"), "x", ("thorax", "nose")),
    *_limb("left"),
    *_limb("right"),
)
#: Names of the segments.
NAMES = tuple(segment.name for segment in SEGMENTS)
#: (S,) index of the parent of each segment; -1 for the pelvis.
PARENTS = tuple(NAMES.index(s.parent) if s.parent else -1 for s in SEGMENTS)

_AXES = "xyz"
_PRIMARY = np.array([_AXES.index(s.primary) for s in SEGMENTS])
_SECONDARY = np.array([_AXES.index(s.secondary) for s in SEGMENTS])
_THIRD = 3 - _PRIMARY - _SECONDARY
#: Whether primary, secondary and third axis have the order of x, y, z.
_ORDER = np.where((_SECONDARY - _PRIMARY) % 3 == 1, 1.0, -1.0)
_FROM, _TO, _HINT_FROM, _HINT_TO = (
    [H36M17.index(ends[i]) for ends in lines]
    for lines in ([s.ends for s in SEGMENTS], [s.hint for s in SEGMENTS])
    for i in (0, 1)
)
#: (2 S,) joints from and to which the lines and the hints go.
_STARTS, _ENDS = np.array(_FROM + _HINT_FROM), np.array(_TO + _HINT_TO)
_HINGE = np.array([float(s.hinge) for s in SEGMENTS])
#: (S,) whether the twist can be known at all.
TWIST_SHOWN = np.array([s.twist_shown for s in SEGMENTS])
#: (S,) segment that a twist of which nothing is known is taken from: legs follow the pelvis.
_BASE = np.array([int(not ("thigh" in s.name or "shank" in s.name)) for s in SEGMENTS])
#: (S, 3) place of primary, secondary and third axis among x, y and z.
_PLACE = np.stack([_PRIMARY, _SECONDARY, _THIRD], axis=-1)
#: (S, 3) which of these three is x, y and z.
_PICK = np.argsort(_PLACE, axis=-1)
_COUNT = len(SEGMENTS)
_ALL = np.arange(_COUNT)
#: (S * 9,) entries of the rotation matrices among those of the three axes (3, S, 3) of a person.
_OF_AXES = (
    _PICK[:, None, :] * 3 * _COUNT + _ALL[:, None, None] * 3 + np.arange(3)[None, :, None]
).ravel()
#: Those of the first two segments.
_OF_TRUNK = (
    _PICK[:2, None, :] * 6 + _ALL[:2, None, None] * 3 + np.arange(3)[None, :, None]
).ravel()
#: (S * 3,) entries of the secondary axes among those of the matrices of pelvis and trunk (2, 3, 3).
_BASE_SECONDARY = (_BASE[:, None] * 9 + np.arange(3) * 3 + _SECONDARY[:, None]).ravel()

#: Factors on the standard deviations about x, y and z, which come from those of the joints with
#: errors that are taken as independent. Joints of one segment err alike, and the model does not
#: know how well it knows the pelvis. `benchmarks/body.py` measures them.
SPREAD_FACTORS = {
    "pelvis": (0.94, 1.84, 0.42),
    "trunk": (0.52, 0.74, 0.78),
    "head": (0.42, 0.29, 0.61),
    "upper_arm": (0.70, 0.65, 0.79),
    "forearm": (0.65, 1.00, 0.70),
    "thigh": (1.05, 0.61, 1.24),
    "shank": (0.68, 0.92, 0.79),
}
_FACTORS = np.array([SPREAD_FACTORS[n.removeprefix("left_").removeprefix("right_")] for n in NAMES])
_TWIST_FACTOR = _FACTORS[_ALL, _PRIMARY]
#: (S, 3) factors on the turns about x, y and z where these are not the twist.
_SWING_FACTORS = np.where(np.arange(3) == _PRIMARY[:, None], 1.0, _FACTORS)
_IS_TWIST = np.arange(3) == _PRIMARY[:, None]
#: (S, 1) sign of the third axis of a hinge; 0 where the segment is no part of one.
_SIDEWAYS = -_HINGE[:, None]
_IS_HINGE = _SIDEWAYS != 0


@dataclass
class Frames:
    """Frames as one image shows them.

    Attributes:
        primary: (P, S, 3) the primary axes, of length 1; NaN where unknown.
        secondary: (P, S, 3) the secondary axes, of length 1; NaN where the twist is unknown.
        swing_rad: (P, S) standard deviation of the direction of the primary axis, rad; before the
            factors of `SPREAD_FACTORS`.
        twist_rad: (P, S) that of the turn about it, rad; infinite where it cannot be known.
    """

    primary: np.ndarray
    secondary: np.ndarray
    swing_rad: np.ndarray
    twist_rad: np.ndarray


def frames_of(joints: np.ndarray, stddev: np.ndarray) -> Frames:
    """Frames of all segments.

    Args:
        joints: (P, 17, 3) m, h36m17; NaN where unknown.
        stddev: (P, 17) m, standard deviation of each joint along each axis.
    """
    lines = joints.take(_ENDS, 1) - joints.take(_STARTS, 1)
    line, hint = lines[:, :_COUNT], lines[:, _COUNT:]
    variance = stddev * stddev
    lines_m = np.sqrt(variance.take(_ENDS, 1) + variance.take(_STARTS, 1))
    line_m, hint_m = lines_m[:, :_COUNT], lines_m[:, _COUNT:]
    length = np.sqrt(dot(line, line))
    primary = line / np.where(length > 1e-6, length, np.nan)[..., None]
    # The part of the hint that shows the twist: square to the primary axis.
    aside = hint - dot(hint, primary)[..., None] * primary
    lever = np.sqrt(dot(aside, aside))
    lever = np.where(lever > 1e-6, lever, np.nan)
    aside /= lever[..., None]
    # Of a hinge the hint is along x or -x: z = x cross y.
    secondary = np.where(_IS_HINGE, _SIDEWAYS * cross(primary, aside), aside)
    twist = _TWIST_FACTOR * hint_m / lever
    twist[np.isnan(twist)] = np.inf
    return Frames(primary, secondary, line_m / length, twist)


def rotations_of(primary: np.ndarray, secondary: np.ndarray) -> np.ndarray:
    """Rotation matrices of frames.

    Args:
        primary, secondary: (P, S, 3) axes of length 1, square to each other; or (P, 2, 3) of pelvis
            and trunk alone.

    Returns:
        (P, S, 3, 3); the columns are x, y and z of each segment.
    """
    people, count = primary.shape[:2]
    third = _ORDER[:count, None] * cross(primary, secondary)
    axes = np.concatenate([primary, secondary, third], axis=1).reshape(people, 9 * count)
    return axes.take(_OF_AXES if count > 2 else _OF_TRUNK, 1).reshape(people, count, 3, 3)


def spreads_of(swing_rad: np.ndarray, twist_rad: np.ndarray) -> np.ndarray:
    """(P, S, 3) rad, standard deviation of the turn about the segment's own x, y and z.

    Args:
        swing_rad: (P, S) of the direction of the primary axis.
        twist_rad: (P, S) of the turn about it.
    """
    return np.where(_IS_TWIST, twist_rad[..., None], _SWING_FACTORS * swing_rad[..., None])


def neutral_secondary(primary: np.ndarray, base: np.ndarray) -> np.ndarray:
    """(P, S, 3) secondary axes of segments whose twist is that of the pelvis or the trunk.

    Args:
        primary: (P, S, 3) axes of length 1.
        base: (P, 2, 3, 3) rotations of pelvis and trunk.
    """
    column = base.reshape(len(base), 18).take(_BASE_SECONDARY, 1).reshape(primary.shape)
    return unit(column - dot(column, primary)[..., None] * primary)


def bases_of(base: np.ndarray) -> np.ndarray:
    """(P, 2, 3, 3) of pelvis and trunk -> (P, S, 3, 3): the pelvis' for legs, and the trunk's."""
    return base.take(_BASE, 1)
