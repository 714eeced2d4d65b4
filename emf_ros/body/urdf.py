"""A person as a URDF, scaled to the person's lengths; its joints are those of `chain`.

The frames are those of REP-103: x forward, y to the left, z up. In the zero pose the person stands
upright with hanging arms, and all links have these axes. The root is `body_ID` in the middle of the
hips. Links at joints have the names of REP-155. All names end in the body's id.

A chain of hinges turns a limb about axes that the turns before have moved. The swing of an arm is
about a fixed vertical axis. So it is turned to its plane, raised, and turned back. The way back is
a joint with `mimic`, which needs no position. Likewise the shoulder, which a clavicle moves, keeps
the trunk's axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import numpy as np

from .chain import CLAVICLE_RAD, LENGTHS, SIGNS, TRUNK_STRETCH

#: Thickness of the drawn links, as a share of their lengths.
THICKNESS = 0.2
#: Colour of the drawn links: red, green, blue, opacity.
COLOUR = "0.55 0.6 0.7 0.9"
#: Torque limit that the format wants, N m.
EFFORT = 300
#: Limit of the speed of a joint, rad/s: faster than a pitcher's shoulder is not human.
SPEED = 120

#: Range of each joint in degrees, without the side: what healthy people reach, and 20 degrees more
#: for the error of the estimate. The direction and twist of an arm have every value: an arm that
#: hangs points nowhere, and a straight one shows no twist.
LIMITS_DEG: dict[str, tuple[float, float]] = {
    "trunk_flexion": (-60, 130),
    "trunk_lateral_bend": (-70, 70),
    "trunk_rotation": (-90, 90),
    "head_flexion": (-90, 90),
    "head_lateral_bend": (-75, 75),
    "head_rotation": (-120, 120),
    "hip_flexion": (-60, 160),
    "hip_abduction": (-60, 90),
    "hip_rotation": (-180, 180),
    "knee_flexion": (-40, 175),
    "knee_abduction": (-70, 70),
    "clavicle_elevation": (-60, 60),
    "clavicle_protraction": (-60, 60),
    "shoulder_elevation": (0, 180),
    "shoulder_plane": (-180, 180),
    "shoulder_rotation": (-180, 180),
    "elbow_flexion": (-40, 175),
    "elbow_abduction": (-70, 70),
}

#: Range of the trunk's stretch, m: a spine that is bent brings the neck near to the hips.
STRETCH_M = (-0.3, 0.2)

_Vector = tuple[float, float, float]
_NOWHERE: _Vector = (0.0, 0.0, 0.0)
#: Prefix of the links of a side in REP-155.
_PREFIX = {"left": "l_", "right": "r_"}


@dataclass(frozen=True)
class _Joint:
    """A joint of the URDF, and the link that it moves.

    Attributes:
        name: of the joint; of a fixed one that of the link.
        parent, child: links.
        axis: of the turn; None for a fixed joint.
        place: m, in the frame of the parent.
        roll_rad: fixed turn about x in front of the joint's own.
        mimics: name of the joint whose turn it takes back; empty for none.
    """

    name: str
    parent: str
    child: str
    axis: _Vector | None = None
    place: _Vector = _NOWHERE
    roll_rad: float = 0.0
    mimics: str = ""


def _flip(axis: _Vector, sign: float) -> _Vector:
    return (sign * axis[0], sign * axis[1], sign * axis[2])


#: Axes of turns: of the right side they are about x forward and z up; the left side mirrors them.
_FORWARD, _LEFT, _UP = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def _middle(m: Mapping[str, float]) -> Iterator[_Joint]:
    yield _Joint("trunk_flexion", "body", "waist_flexion", _LEFT)
    yield _Joint("trunk_lateral_bend", "waist_flexion", "waist_bend", _FORWARD)
    yield _Joint("trunk_rotation", "waist_bend", "waist", _UP)
    yield _Joint("spine", "body", "spine", place=(0.0, 0.0, m["spine"]))
    yield _Joint(TRUNK_STRETCH, "waist", "torso", _UP, (0.0, 0.0, m["trunk"]))
    yield _Joint("head_flexion", "torso", "head_flexion", _LEFT)
    yield _Joint("head_lateral_bend", "head_flexion", "head_bend", _FORWARD)
    yield _Joint("head_rotation", "head_bend", "head", _UP)
    yield _Joint("nose", "head", "nose", place=(m["nose_forward"], 0.0, m["nose_up"]))
    yield _Joint("head_top", "head", "head_top", place=(0.0, 0.0, m["head"]))


def _side(side: str, m: Mapping[str, float]) -> Iterator[_Joint]:
    sign, p = SIGNS[side], _PREFIX[side]
    flexion, outward, inward = _flip(_LEFT, -1), _flip(_FORWARD, -sign), _flip(_UP, sign)
    at_hip = (0.0, -sign * m["hips"] / 2, 0.0)
    yield _Joint(f"{side}_hip_flexion", "body", f"{p}hip_flexion", flexion, at_hip)
    yield _Joint(f"{side}_hip_abduction", f"{p}hip_flexion", f"{p}hip_abduction", outward)
    yield _Joint(f"{side}_hip_rotation", f"{p}hip_abduction", f"{p}hip", inward)
    at_knee = (0.0, 0.0, -m["thigh"])
    yield _Joint(f"{side}_knee_flexion", f"{p}hip", f"{p}knee_flexion", _LEFT, at_knee)
    yield _Joint(f"{side}_knee_abduction", f"{p}knee_flexion", f"{p}knee", outward)
    yield _Joint(f"{p}ankle", f"{p}knee", f"{p}ankle", place=(0.0, 0.0, -m["shank"]))

    roll, forward, raised = sign * -CLAVICLE_RAD, f"{p}clavicle_protraction", f"{p}clavicle"
    protraction, elevation = f"{side}_clavicle_protraction", f"{side}_clavicle_elevation"
    yield _Joint(protraction, "torso", forward, inward)
    yield _Joint(elevation, forward, raised, outward, roll_rad=roll)
    outer = (0.0, -sign * m["clavicle"], 0.0)
    level, trunk = f"{p}acromion_level", f"{p}acromion"
    yield _Joint(f"{elevation}_back", raised, level, outward, outer, mimics=elevation)
    yield _Joint(f"{protraction}_back", level, trunk, inward, roll_rad=-roll, mimics=protraction)

    plane, swung, back = f"{p}shoulder_plane", f"{p}shoulder_elevation", f"{p}shoulder_back"
    yield _Joint(f"{side}_shoulder_plane", trunk, plane, inward)
    yield _Joint(f"{side}_shoulder_elevation", plane, swung, outward)
    yield _Joint(
        f"{side}_shoulder_plane_back", swung, back, inward, mimics=f"{side}_shoulder_plane"
    )
    yield _Joint(f"{side}_shoulder_rotation", back, f"{p}shoulder", inward)
    at_elbow = (0.0, 0.0, -m["upper_arm"])
    yield _Joint(f"{side}_elbow_flexion", f"{p}shoulder", f"{p}elbow_flexion", flexion, at_elbow)
    yield _Joint(f"{side}_elbow_abduction", f"{p}elbow_flexion", f"{p}elbow", outward)
    yield _Joint(f"{p}wrist", f"{p}elbow", f"{p}wrist", place=(0.0, 0.0, -m["forearm"]))


#: Link of the URDF at each joint of h36m17, without the id.
LINK_OF: dict[str, str] = {
    "pelvis": "body",
    "spine": "spine",
    "thorax": "torso",
    "nose": "nose",
    "head_top": "head_top",
    **{
        f"{side}_{joint}": f"{prefix}{joint}"
        for side, prefix in _PREFIX.items()
        for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    },
}


def urdf_of(body: str, lengths: np.ndarray) -> str:
    """The URDF of a person.

    Args:
        body: id of the body, at the end of all names.
        lengths: (11,) m, in the order of `chain.LENGTHS`.

    Raises:
        ValueError: a length is not a positive number.
    """
    m = dict(zip(LENGTHS, lengths.tolist(), strict=True))
    for name, length in m.items():
        # A nose may be anywhere.
        if not math.isfinite(length) or (length <= 0 and not name.startswith("nose")):
            raise ValueError(f"the length {name} is {length} m; it must be positive")
    joints = [*_middle(m), *_side("left", m), *_side("right", m)]
    drawn = {
        "waist": _drawn(0.0, m["trunk"], 0.35 * m["hips"]),
        "head": _drawn(0.4 * m["head"], m["head"], 0.3 * m["head"]),
    }
    for prefix in _PREFIX.values():
        for link, length in (
            ("hip", "thigh"),
            ("knee", "shank"),
            ("shoulder", "upper_arm"),
            ("elbow", "forearm"),
        ):
            drawn[prefix + link] = _drawn(-m[length], 0.0, 0.5 * THICKNESS * m[length])
    lines = ['<?xml version="1.0"?>', f"<robot name={quoteattr('human_' + body)}>"]
    for link in ("body", *(joint.child for joint in joints)):
        named = f"<link name={quoteattr(f'{link}_{body}')}"
        lines.append(f"{named}>{drawn[link]}</link>" if link in drawn else f"{named}/>")
    lines += [_joint_text(joint, body) for joint in joints]
    return "\n".join([*lines, "</robot>\n"])


def _drawn(low: float, high: float, radius: float) -> str:
    """A cylinder along z between two heights, m, as what a link looks like."""
    return (
        f'<visual><origin xyz="0 0 {(low + high) / 2:.4f}"/>'
        f'<geometry><cylinder radius="{radius:.4f}" length="{high - low:.4f}"/></geometry>'
        f'<material name="person"><color rgba="{COLOUR}"/></material></visual>'
    )


def _numbers(*values: float) -> str:
    # Without the -0 that a factor makes of 0.
    return " ".join(f"{value + 0.0:.6g}" for value in values)


def _joint_text(joint: _Joint, body: str) -> str:
    slides = joint.name == TRUNK_STRETCH
    kind = "fixed" if joint.axis is None else "prismatic" if slides else "revolute"
    parts = [
        f'<joint name="{joint.name}_{body}" type="{kind}">',
        f'<parent link="{joint.parent}_{body}"/><child link="{joint.child}_{body}"/>',
        f'<origin xyz="{_numbers(*joint.place)}" rpy="{_numbers(joint.roll_rad, 0, 0)}"/>',
    ]
    if joint.axis is not None:
        low, high = limits_of(joint.mimics or joint.name)
        if joint.mimics:
            low, high = -high, -low
            parts.append(f'<mimic joint="{joint.mimics}_{body}" multiplier="-1"/>')
        parts.append(f'<axis xyz="{_numbers(*joint.axis)}"/>')
        parts.append(
            f'<limit lower="{low:.5f}" upper="{high:.5f}" effort="{EFFORT}" velocity="{SPEED}"/>'
        )
    return "".join([*parts, "</joint>"])


def limits_of(joint: str) -> tuple[float, float]:
    """The range of a joint of `chain.CHAIN`, rad, or m of the one that slides."""
    if joint == TRUNK_STRETCH:
        return STRETCH_M
    low, high = LIMITS_DEG[joint.removeprefix("left_").removeprefix("right_")]
    return math.radians(low), math.radians(high)
