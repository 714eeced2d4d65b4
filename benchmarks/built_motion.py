"""Postures and gestures built on the bodies of real people, with what they show by frame.

Recorded motion has few people who sit, kneel, lie, fall or wave. Here joint angles are drawn from
ranges, joined by smooth courses, and put on the bone lengths of a recorded person who stands. So
the truth is exact; how people move is simplified.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from simulated_people import RATE_HZ, Motion

from emf_ros.body.orientation import OrientationTracker
from emf_ros.body.posture import POSTURES
from emf_ros.body.segments import NAMES
from emf_ros.skeletons import H36M17

#: Gestures by their number in `Motion.label`; 0 is none.
GESTURES = ("none", "wave", "come_here", "point", "stop", "raise_hand", "hands_up", "arms_crossed")
#: Height of a joint whose part of the body lies on the floor, m.
CLEARANCE = {"ankle": 0.08, "knee": 0.06, "wrist": 0.03, "elbow": 0.05, "nose": 0.08, "top": 0.02}
_LOWEST = np.array([CLEARANCE.get(j.split("_")[-1], 0.1) for j in H36M17.joints])
_I = H36M17.index
SIDES = ("left", "right")


def turn(axis: str, degrees: np.ndarray) -> np.ndarray:
    """(T,) degrees -> (T, 3, 3) turn about forward (x), up (y) or right (z)."""
    a = np.radians(degrees)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    out = np.tile(np.eye(3), (len(a), 1, 1))
    out[:, i, i] = out[:, j, j] = np.cos(a)
    out[:, i, j], out[:, j, i] = -np.sin(a), np.sin(a)
    return out


@dataclass
class Skeleton:
    """Offsets between joints in the frames of the segments, m, of a person who stands."""

    offsets: dict[str, np.ndarray]

    @classmethod
    def of(cls, joints: np.ndarray) -> Skeleton:
        """Of (T, 17, 3) m, z up."""
        tracker = OrientationTracker()
        rotation = np.stack(
            [
                tracker.update(i * 20_000_000, [1], frame[None], np.full((1, 17), 0.02)).rotation[0]
                for i, frame in enumerate(joints)
            ]
        )

        def offset(segment: str, start: str, end: str) -> np.ndarray:
            line = joints[:, _I(end)] - joints[:, _I(start)]
            own = np.einsum("tji,tj->ti", rotation[:, NAMES.index(segment)], line)
            return np.nanmedian(own, axis=0)

        out = {
            "spine": offset("pelvis", "pelvis", "spine"),
            "thorax": offset("trunk", "spine", "thorax"),
            "nose": offset("head", "thorax", "nose"),
            "head_top": offset("head", "thorax", "head_top"),
        }
        for side in SIDES:
            out[f"{side}_hip"] = offset("pelvis", "pelvis", f"{side}_hip")
            out[f"{side}_shoulder"] = offset("trunk", "thorax", f"{side}_shoulder")
            for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow")):
                line = joints[:, _I(f"{side}_{end}")] - joints[:, _I(f"{side}_{start}")]
                out[f"{side}_{end}"] = np.array([0, -np.median(np.linalg.norm(line, axis=-1)), 0])
            line = joints[:, _I(f"{side}_wrist")] - joints[:, _I(f"{side}_elbow")]
            out[f"{side}_wrist"] = np.array([0, -np.median(np.linalg.norm(line, axis=-1)), 0])
        return cls(out)


#: Angles of a pose, degrees, by name; what is not given is 0. `tilt` turns the whole body forward,
#: `roll` to its right.
Pose = dict[str, float]
STAND: Pose = {"left_abduct": 6, "right_abduct": 6, "left_elbow": 12, "right_elbow": 12}


def assemble(skeleton: Skeleton, angles: dict[str, np.ndarray], yaw: np.ndarray) -> np.ndarray:
    """(T, 17, 3) m, z up, of angles (T,) degrees; the ankles' middle stays at the origin."""
    count = len(yaw)

    def of(name: str) -> np.ndarray:
        return angles.get(name, np.zeros(count))

    def at(rotation: np.ndarray, name: str) -> np.ndarray:
        return rotation @ skeleton.offsets[name]

    out = np.zeros((count, 17, 3))
    pelvis = turn("y", yaw) @ turn("z", -of("tilt")) @ turn("x", of("roll"))
    spine = pelvis @ turn("z", -of("spine")) @ turn("x", of("bend")) @ turn("y", of("rotate"))
    head = spine @ turn("y", of("look")) @ turn("z", -of("nod"))
    out[:, _I("spine")] = at(pelvis, "spine")
    out[:, _I("thorax")] = out[:, _I("spine")] + at(spine, "thorax")
    out[:, _I("nose")] = out[:, _I("thorax")] + at(head, "nose")
    out[:, _I("head_top")] = out[:, _I("thorax")] + at(head, "head_top")
    for side, sign in (("left", 1.0), ("right", -1.0)):
        thigh = pelvis @ turn("x", sign * of(f"{side}_spread")) @ turn("z", of(f"{side}_hip"))
        thigh = thigh @ turn("y", sign * of(f"{side}_turn"))
        shank = thigh @ turn("z", -of(f"{side}_knee"))
        out[:, _I(f"{side}_hip")] = at(pelvis, f"{side}_hip")
        out[:, _I(f"{side}_knee")] = out[:, _I(f"{side}_hip")] + at(thigh, f"{side}_knee")
        out[:, _I(f"{side}_ankle")] = out[:, _I(f"{side}_knee")] + at(shank, f"{side}_ankle")
        # Azimuth 0 is forward, 90 outward; then up by the elevation.
        arm = spine @ turn("y", sign * of(f"{side}_azimuth")) @ turn("z", of(f"{side}_raise"))
        arm = arm @ turn("x", sign * of(f"{side}_abduct")) @ turn("y", sign * of(f"{side}_roll"))
        forearm = arm @ turn("z", of(f"{side}_elbow"))
        shoulder = out[:, _I("thorax")] + at(spine, f"{side}_shoulder")
        out[:, _I(f"{side}_shoulder")] = shoulder
        out[:, _I(f"{side}_elbow")] = shoulder + at(arm, f"{side}_elbow")
        out[:, _I(f"{side}_wrist")] = out[:, _I(f"{side}_elbow")] + at(forearm, f"{side}_wrist")
    # Forward, up, right -> x, y, z up.
    out = np.stack([out[..., 0], -out[..., 2], out[..., 1]], axis=-1)
    ankles = 0.5 * (out[:, _I("left_ankle")] + out[:, _I("right_ankle")])
    out[..., :2] -= ankles[:, None, :2]
    out[..., 2] -= (out[..., 2] - _LOWEST).min(axis=1)[:, None]
    return out


def smooth_noise(rng: np.random.Generator, count: int, seconds: float) -> np.ndarray:
    """(T,) of unit variance, that changes within some seconds."""
    knots = rng.normal(size=max(4, math.ceil(count / (RATE_HZ * seconds)) + 3))
    place = np.linspace(0, len(knots) - 1, count)
    low = np.minimum(place.astype(int), len(knots) - 2)
    part = place - low
    part = part * part * (3 - 2 * part)
    return np.asarray(knots[low] * (1 - part) + knots[low + 1] * part)


@dataclass
class Course:
    """Angles over time, built piece by piece.

    Attributes:
        rng: draws.
        pose: the angles now.
        frames: the angles by frame.
        labels: what each frame shows.
    """

    rng: np.random.Generator
    pose: Pose
    frames: list[Pose] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def go(self, pose: Pose, seconds: float, label: int, falls: bool = False) -> None:
        """Change to a pose; `label` names the frames on the way."""
        count = max(1, round(seconds * RATE_HZ))
        names = self.pose.keys() | pose.keys()
        for step in range(1, count + 1):
            t = step / count
            part = t**2.2 if falls else t**3 * (10 - 15 * t + 6 * t * t)
            self.frames.append(
                {n: self.pose.get(n, 0.0) * (1 - part) + pose.get(n, 0.0) * part for n in names}
            )
            self.labels.append(label)
        self.pose = dict(pose)

    def stay(self, seconds: float, label: int) -> None:
        for _ in range(round(seconds * RATE_HZ)):
            self.frames.append(dict(self.pose))
            self.labels.append(label)

    def play(self, seconds: float, label: int, move: Callable[[float], Pose]) -> None:
        """Frames of a function of time, s."""
        for step in range(round(seconds * RATE_HZ)):
            self.frames.append({**self.pose, **move(step / RATE_HZ)})
            self.labels.append(label)

    def motion(self, skeleton: Skeleton, source: str, subject: str, action: str) -> Motion:
        """The motion, with small movements of all angles."""
        count = len(self.frames)
        names = {n for frame in self.frames for n in frame} | {"look", "nod", "rotate", "bend"}
        rng = self.rng
        angles = {
            n: np.array([frame.get(n, 0.0) for frame in self.frames])
            + rng.uniform(0.5, 3.0) * smooth_noise(rng, count, 1.2)
            for n in sorted(names)
        }
        angles["look"] = angles["look"] + rng.uniform(0, 25) * smooth_noise(rng, count, 2.0)
        for side in SIDES:
            for hinge in ("knee", "elbow"):
                if f"{side}_{hinge}" in angles:
                    angles[f"{side}_{hinge}"] = np.maximum(angles[f"{side}_{hinge}"], 0.0)
        yaw = rng.uniform(0, 360) + 8 * smooth_noise(rng, count, 4.0)
        joints = assemble(skeleton, angles, yaw)
        target = np.full((count, 3), np.nan)
        return Motion(joints, source, subject, action, np.array(self.labels), target)


def _arms(rng: np.random.Generator) -> Pose:
    """Arms at rest: hanging, in the lap, or before the body."""
    out: Pose = {}
    kind = rng.random()
    for side in SIDES:
        if kind < 0.5:
            out |= {f"{side}_raise": rng.uniform(-15, 30), f"{side}_elbow": rng.uniform(5, 50)}
        else:
            out |= {f"{side}_raise": rng.uniform(0, 45), f"{side}_elbow": rng.uniform(40, 110)}
            out |= {f"{side}_roll": rng.uniform(-40, 10)}
        out[f"{side}_abduct"] = rng.uniform(3, 25)
    return out


def posture(name: str, rng: np.random.Generator) -> Pose:
    """A drawn pose of a posture."""
    u = rng.uniform
    legs: Pose = {}
    trunk: Pose = {"spine": u(-5, 15), "bend": u(-6, 6), "rotate": u(-12, 12)}
    if name == "standing":
        return {**STAND, **_arms(rng), **trunk, "spine": u(-5, 8)}
    if name == "sitting":
        floor = rng.random() < 0.25
        lean = u(-15, 20) if floor else u(-20, 25)
        for side in SIDES:
            if floor:
                knee = u(20, 130)
                thigh = knee / 2 + u(60, 85)
                legs |= {f"{side}_hip": thigh + lean, f"{side}_knee": knee}
                legs |= {f"{side}_spread": u(5, 35)}
            else:
                legs |= {f"{side}_hip": u(78, 102) + lean, f"{side}_knee": u(65, 105)}
                legs |= {f"{side}_spread": u(0, 20), f"{side}_turn": u(-15, 15)}
        trunk["tilt"] = lean
    elif name == "crouching":
        deep = u(75, 140)
        lean = u(10, 45)
        for side in SIDES:
            knee = deep + u(-8, 8)
            # The feet stay under the body.
            legs |= {f"{side}_hip": lean + knee * u(0.5, 0.62), f"{side}_knee": knee}
            legs |= {f"{side}_spread": u(0, 25)}
        trunk["tilt"] = lean
    elif name == "kneeling":
        lean = u(-5, 20)
        sits = rng.random() < 0.35
        one = rng.random() < 0.4 and not sits
        first = SIDES[int(rng.random() < 0.5)]
        for side in SIDES:
            if one and side == first:
                legs |= {f"{side}_hip": u(80, 100) + lean, f"{side}_knee": u(80, 105)}
            elif sits:
                thigh = u(50, 75)
                legs |= {f"{side}_hip": thigh + lean, f"{side}_knee": thigh + u(75, 90)}
            else:
                legs |= {f"{side}_hip": u(-8, 15) + lean, f"{side}_knee": u(75, 100)}
            legs |= {f"{side}_spread": u(0, 15)}
        trunk["tilt"] = lean
    elif name == "bending":
        deep = u(50, 110)
        share = u(0.4, 0.9)
        for side in SIDES:
            legs |= {f"{side}_hip": deep * share + u(0, 8), f"{side}_knee": u(0, 35)}
        trunk |= {"tilt": deep * share, "spine": deep * (1 - share)}
        arms = {f"{s}_raise": u(20, 110) for s in SIDES} | {f"{s}_elbow": u(0, 50) for s in SIDES}
        return {**arms, **trunk, **legs}
    elif name == "lying":
        way = rng.random()
        for side in SIDES:
            bent = u(0, 25) if rng.random() < 0.6 else u(20, 90)
            legs |= {f"{side}_hip": bent * u(0.3, 0.6), f"{side}_knee": bent}
            legs |= {f"{side}_spread": u(0, 25)}
        trunk |= {"spine": u(-5, 5)}
        if way < 0.45:
            trunk |= {"tilt": -u(78, 95)}
        elif way < 0.7:
            trunk |= {"tilt": u(82, 95)}
        else:
            trunk |= {"tilt": u(-10, 10), "roll": (1 if rng.random() < 0.5 else -1) * u(80, 95)}
    return {**_arms(rng), **trunk, **legs}


#: What the frames of postures show, by their number in `Motion.label`.
SHOWN = (*POSTURES, "falling")
#: Postures that are built, with their share.
BUILT = {"sitting": 0.3, "crouching": 0.15, "kneeling": 0.15, "bending": 0.15, "lying": 0.25}
#: Number of the label of frames that show nothing certain.
UNSURE = -1


def posture_motion(skeleton: Skeleton, subject: str, rng: np.random.Generator) -> Motion:
    """A person who stands, takes a posture, stands again and takes another one, or falls."""
    number = SHOWN.index
    course = Course(rng, posture("standing", rng))
    course.stay(rng.uniform(1.0, 2.5), number("standing"))
    names = rng.choice(list(BUILT), 2, p=list(BUILT.values()))
    said = []
    for name in names.tolist():
        said.append(name)
        pose = posture(name, rng)
        if name == "lying" and rng.random() < 0.6:
            said[-1] = "fall"
            # The knees may give way first.
            if rng.random() < 0.4:
                soft = posture("crouching", rng)
                course.go({**course.pose, **soft}, rng.uniform(0.25, 0.45), UNSURE, falls=True)
            course.go(pose, rng.uniform(0.45, 0.9), number("falling"), falls=True)
            course.stay(rng.uniform(2.0, 4.0), number("lying"))
        else:
            course.go(pose, rng.uniform(0.9, 2.0), UNSURE)
            course.stay(rng.uniform(2.0, 4.0), number(name))
        course.go(posture("standing", rng), rng.uniform(1.2, 2.2), UNSURE)
        course.stay(rng.uniform(0.5, 1.5), number("standing"))
    return course.motion(skeleton, "built", subject, "+".join(said))


def gesture_motion(skeleton: Skeleton, subject: str, rng: np.random.Generator) -> Motion:
    """A person who stands and makes three gestures, with pauses."""
    course = Course(rng, posture("standing", rng))
    course.stay(rng.uniform(1.0, 2.0), 0)
    said = []
    for number in rng.integers(1, len(GESTURES), 3).tolist():
        said.append(GESTURES[number])
        rest = dict(course.pose)
        _gesture(course, number, rng)
        course.go({**rest, **_arms(rng)}, rng.uniform(0.4, 0.8), 0)
        course.stay(rng.uniform(0.8, 1.8), 0)
    return course.motion(skeleton, "gestures", subject, "+".join(said))


def _gesture(course: Course, number: int, rng: np.random.Generator) -> None:
    u, name = rng.uniform, GESTURES[number]
    side = SIDES[int(rng.random() < 0.6)]
    rise, held = u(0.35, 0.7), u(1.2, 3.0)
    base = {k: v for k, v in course.pose.items() if not k.startswith(side)}
    rate, phase = u(1.0, 2.3), u(0, 6.28)

    def swing(t: float) -> float:
        return math.sin(2 * math.pi * rate * t + phase)

    if name == "wave":
        # The forearm stands, and swings in the plane of the trunk.
        up, size = u(60, 110), u(15, 35)
        arm = {f"{side}_azimuth": u(60, 90), f"{side}_raise": up, f"{side}_roll": 0.0}
        bend = u(50, 95)
        start = {**arm, f"{side}_elbow": bend + size * swing(0)}
        course.go({**base, **start}, rise, UNSURE)
        course.play(held, number, lambda t: {f"{side}_elbow": bend + size * swing(t)})
    elif name == "come_here":
        middle, size = u(75, 95), u(25, 45)
        arm = {f"{side}_azimuth": u(-10, 30), f"{side}_raise": u(25, 70)}
        rate = u(0.8, 1.8)
        course.go({**base, **arm, f"{side}_elbow": middle + size * swing(0)}, rise, UNSURE)
        course.play(held, number, lambda t: {f"{side}_elbow": middle + size * swing(t)})
    elif name in ("point", "stop"):
        level = u(78, 100) if name == "stop" else u(45, 110)
        aside = u(-15, 15) if name == "stop" else u(-20, 100)
        arm = {f"{side}_azimuth": aside, f"{side}_raise": level, f"{side}_elbow": u(0, 15)}
        course.go({**base, **arm}, rise, UNSURE)
        course.stay(held, number)
    elif name == "raise_hand":
        arm = {f"{side}_azimuth": u(0, 80), f"{side}_raise": u(130, 165), f"{side}_elbow": u(0, 60)}
        course.go({**base, **arm}, rise, UNSURE)
        course.stay(held, number)
    elif name == "hands_up":
        both: Pose = {}
        raised, bent = u(80, 150), u(20, 90)
        raised = max(raised, 150 - bent)
        for one in SIDES:
            both |= {f"{one}_azimuth": u(50, 90), f"{one}_raise": raised + u(-6, 6)}
            both |= {f"{one}_elbow": bent + u(-8, 8)}
        course.go({**_trunk(base), **both}, rise, UNSURE)
        course.stay(held, number)
    elif name == "arms_crossed":
        both = {}
        for one in SIDES:
            both |= {
                f"{one}_raise": u(18, 32),
                f"{one}_elbow": u(85, 105),
                f"{one}_abduct": u(2, 10),
            }
            both |= {f"{one}_roll": -u(68, 85)}
        course.go({**_trunk(base), **both}, rise, UNSURE)
        course.stay(held, number)


def _trunk(pose: Pose) -> Pose:
    return {k: v for k, v in pose.items() if not k.startswith(("left_", "right_"))}
