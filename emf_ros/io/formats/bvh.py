"""Biovision hierarchies (.bvh): the rotations of one person's bones, for animation; m, y up.

The skeleton has a bone for each pair of joints of h36m17, with its mean length. Each bone has the
direction that it has in the recording. So the joints of the file are those of the recording but for
the changes of a bone's length. The rest pose is a T-pose that looks along +z.

Files of other programs are read, too, by the names of their joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...body.orientation import OrientationTracker
from ...body.rotations import cross, dot, turned, unit
from ...body.segments import NAMES
from ...skeletons import H36M17
from ...stamps import NANOSECONDS
from ..mocap import FormatError
from ..mocap.body import UNITS, check_bones, pose_of, to_y_up
from ..mocap.bvh import read_bvh
from ..mocap.joints import read_joint_map
from ..mocap.skeleton import Motion as FileMotion
from ..outputs import replacing
from ..recordings import Recording, RecordingError
from .motion import Motion, motion_of, recording_of


@dataclass(frozen=True)
class Bone:
    """A bone; as a joint of the file it lies at the bone's beginning.

    Attributes:
        name: in the file.
        parent: of the file's hierarchy; "" for the root.
        begins, ends: joints of h36m17.
        segment: of `body.segments`, which gives the turn about the bone.
        rest: (3,) direction in the rest pose, of any length.
    """

    name: str
    parent: str
    begins: str
    ends: str
    segment: str
    rest: tuple[float, float, float]


def _arm(side: str, x: float) -> tuple[Bone, ...]:
    """The bones of an arm, on the side of x in the rest pose."""
    name, shoulder, elbow = side.capitalize(), f"{side}_shoulder", f"{side}_elbow"
    aside = (x, 0.0, 0.0)
    return (
        Bone(f"{name}Shoulder", "Spine", "thorax", shoulder, "trunk", (x, -0.1, 0.0)),
        Bone(f"{name}Arm", f"{name}Shoulder", shoulder, elbow, f"{side}_upper_arm", aside),
        Bone(f"{name}ForeArm", f"{name}Arm", elbow, f"{side}_wrist", f"{side}_forearm", aside),
    )


def _leg(side: str, x: float) -> tuple[Bone, ...]:
    """The bones of a leg, on the side of x in the rest pose."""
    name, hip, knee = side.capitalize(), f"{side}_hip", f"{side}_knee"
    first, down = f"{name[0]}HipJoint", (0.0, -1.0, 0.0)
    return (
        Bone(first, "Hips", "pelvis", hip, "pelvis", (x, 0.0, 0.0)),
        Bone(f"{name}UpLeg", first, hip, knee, f"{side}_thigh", down),
        Bone(f"{name}Leg", f"{name}UpLeg", knee, f"{side}_ankle", f"{side}_shank", down),
    )


#: The bones below the root "Hips", in the order of the file: each before its children.
BONES: tuple[Bone, ...] = (
    Bone("LowerBack", "Hips", "pelvis", "spine", "trunk", (0.0, 1.0, 0.0)),
    Bone("Spine", "LowerBack", "spine", "thorax", "trunk", (0.0, 1.0, 0.0)),
    Bone("Neck", "Spine", "thorax", "nose", "head", (0.0, 1.0, 0.8)),
    Bone("Head", "Neck", "nose", "head_top", "head", (0.0, 1.0, -0.6)),
    *_arm("left", 1.0),
    *_arm("right", -1.0),
    *_leg("left", 1.0),
    *_leg("right", -1.0),
)

_BEGINS = np.array([H36M17.index(bone.begins) for bone in BONES])
_ENDS = np.array([H36M17.index(bone.ends) for bone in BONES])
_REST = unit(np.array([bone.rest for bone in BONES]))
_SEGMENT = np.array([NAMES.index(bone.segment) for bone in BONES])
#: Index of each bone's parent among the bones; -1 for the root.
_PARENT = np.array(
    [next((i for i, b in enumerate(BONES) if b.name == bone.parent), -1) for bone in BONES]
)
#: (3, 3) frame of a segment of a person who stands and looks along +z: its columns are the axes of
#: `body.segments`, x forward, y up and z to the right.
_STANDING = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def _rest_frames() -> np.ndarray:
    """(B, 3, 3) frames of the bones' segments in the rest pose: the arms point aside."""
    out = np.repeat(_STANDING[None], len(BONES), axis=0)
    for row, bone in enumerate(BONES):
        if "Arm" in bone.name:
            # y of an arm points to the shoulder; x stays forward.
            y = -_REST[row]
            x = _STANDING[:, 0]
            out[row] = np.stack([x, y, np.cross(x, y)], axis=1)
    return out


_REST_FRAMES = _rest_frames()
_PELVIS = H36M17.index("pelvis")

#: Parent of each point of our files, by their names.
_OWN_PARENTS = {
    "Hips": "",
    **{bone.name: bone.parent for bone in BONES},
    **{f"{name}_End": name for name in {b.name for b in BONES} - {b.parent for b in BONES}},
}
#: Name of each joint of h36m17 in our files: of the bone that begins there, or of a last end.
_NAMED = {
    joint: "Hips"
    if joint == "pelvis"
    else next(
        (bone.name for bone in BONES if bone.begins == joint),
        next((f"{bone.name}_End" for bone in BONES if bone.ends == joint), ""),
    )
    for joint in H36M17.joints
}
#: Minimum height and maximum size of a person in a rest pose that is in metres with y up, m.
_REST_HEIGHT_M = 0.4
_REST_SIZE_M = 4.0

#: Standard deviation of joints that come without one, m.
UNKNOWN_STDDEV_M = 0.03


def write(recording: Recording, path: Path) -> list[str]:
    """Write the one person of a recording.

    The format has no unknown: a bone without a direction keeps its last one, and the root its last
    place.

    Returns:
        sentences on what is not as recorded.

    Raises:
        RecordingError: the person is nowhere known, or a bone is in no frame.
        OutputError: the file cannot be written.
    """
    motion = motion_of(recording)
    lengths = bone_lengths(motion.joints)
    root, local = rotations(motion, _stddev_m(recording))
    values = np.concatenate([root[:, None], _euler_deg(local)], axis=1).reshape(len(root), -1)
    with replacing(path) as part, open(part, "w", encoding="utf-8") as file:
        file.write("HIERARCHY\n")
        file.writelines(f"{line}\n" for line in _hierarchy(lengths))
        file.write(f"MOTION\nFrames: {len(values)}\nFrame Time: {1 / motion.rate_hz:.9f}\n")
        for row in values:
            file.write(" ".join(f"{value:.6f}" for value in row) + "\n")
    held = int((~np.isfinite(motion.joints).all(axis=(1, 2))).sum())
    if not held:
        return motion.notes
    words = (
        f"{held} of {len(values)} frames have an unknown joint: its bone keeps its last direction"
    )
    return [*motion.notes, words]


def read(
    path: Path, joints: str | Path | None = None, unit: str = "auto", up: str = "auto"
) -> Recording:
    """Read the person of a file, of this module or of another program.

    Of another program's file the joints are found by their names, and joints of h36m17 that it
    lacks are derived. Its origin stands for the camera, as that of our files does.

    Args:
        path: of the file.
        joints: YAML of `mocap.joints.read_joint_map`; None where the names tell the joints.
        unit: "auto", or one of `mocap.body.UNITS`.
        up: the axis that points up: "auto", "y" or "z".

    Raises:
        RecordingError: it cannot be read, or its joints, unit or axes cannot be told.
    """
    try:
        given = read_joint_map(joints) if joints else None
        motion = read_bvh(path, cut=False)
        notes = list(motion.notes)
        own = given is None and _is_own(motion)
        if own:
            given = {joint: (name,) for joint, name in _NAMED.items()}
        if own and unit == up == "auto" and _is_as_written(motion):
            points = motion.positions[:, [motion.names.index(name) for name in _NAMED.values()]]
        else:
            points, up, metres = pose_of(motion, given, unit, up)
            whole = points[np.isfinite(points).all(axis=(1, 2))]
            if len(whole) and not own:
                check_bones(whole)
            points = to_y_up(points, up)
            name = next(name for name, value in UNITS.items() if value == metres)
            notes.append(f"joints are found by their names; the unit is {name}, and {up} is up")
        time_s = np.arange(len(points)) / motion.rate_hz
        return recording_of(time_s, points, list(H36M17.joints), notes, up="y")
    except (FormatError, RecordingError) as error:
        raise RecordingError(f"{path} {error}") from None


def _is_own(motion: FileMotion) -> bool:
    """Whether a file has the bones of `BONES` and no others."""
    parents = [motion.names[i] if i >= 0 else "" for i in motion.parents]
    named = dict(zip(motion.names, parents, strict=True))
    return len(named) == len(parents) and named == _OWN_PARENTS


def _is_as_written(motion: FileMotion) -> bool:
    """Whether no program has written a file of this module in another unit or axes."""
    size = np.ptp(motion.rest, axis=0)
    return bool(size[1] > _REST_HEIGHT_M and size.max() < _REST_SIZE_M)


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """(B,) m, the mean length of each bone.

    Args:
        joints: (N, 17, 3) m.

    Raises:
        RecordingError: a bone has no length, as its joints are never known.
    """
    length = np.linalg.norm(joints[:, _ENDS] - joints[:, _BEGINS], axis=2)
    known = np.isfinite(length)
    if not known.any(axis=0).all():
        bone = BONES[int(np.flatnonzero(~known.any(axis=0))[0])]
        raise RecordingError(
            f"the length of the bone from {bone.begins} to {bone.ends} is not known in any image"
        )
    return np.where(known, length, 0.0).sum(axis=0) / known.sum(axis=0)


def constant_lengths(joints: np.ndarray) -> np.ndarray:
    """(N, 17, 3) m, the joints with the directions of the bones and their mean lengths.

    These are the joints that a BVH file of (N, 17, 3) `joints` has.
    """
    lengths, out = bone_lengths(joints), np.full_like(joints, np.nan)
    out[:, _PELVIS] = joints[:, _PELVIS]
    for row in range(len(BONES)):
        begin, end = _BEGINS[row], _ENDS[row]
        direction = unit(joints[:, end] - joints[:, begin])
        out[:, end] = out[:, begin] + lengths[row] * direction
    return out


def rotations(motion: Motion, stddev: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place of the root, and rotations in the frame of the parent.

    Args:
        motion: the person.
        stddev: (17,) m, usual standard deviation of each joint.

    Returns:
        (N, 3) m and (N, 1 + B, 3, 3), the root first.
    """
    joints, tracker = motion.joints, OrientationTracker()
    held = np.broadcast_to(_STANDING, (len(NAMES), 3, 3)).copy()
    direction_held = _REST.copy()
    # Before the first frame with a direction, a bone has that direction.
    directions = unit(joints[:, _ENDS] - joints[:, _BEGINS])
    for row in range(len(BONES)):
        known = np.flatnonzero(np.isfinite(directions[:, row, 0]))
        if len(known):
            direction_held[row] = directions[known[0], row]
    root = _held(joints[:, _PELVIS])
    world = np.empty((len(joints), 1 + len(BONES), 3, 3))
    for frame in range(len(joints)):
        stamp_ns = round(frame / motion.rate_hz * NANOSECONDS)
        seen = tracker.update(stamp_ns, [1], joints[frame][None], stddev[None]).rotation[0]
        known = np.isfinite(seen).all(axis=(1, 2))
        held = np.where(known[:, None, None], seen, held)
        found = np.isfinite(directions[frame, :, 0])
        direction_held = np.where(found[:, None], directions[frame], direction_held)
        turn = held[_SEGMENT] @ _REST_FRAMES.swapaxes(1, 2)
        world[frame, 0] = held[0] @ _STANDING.T
        world[frame, 1:] = _shortest(turned(turn, _REST), direction_held) @ turn
    parents = world[:, 1 + _PARENT]
    local = world.copy()
    local[:, 1:] = parents.swapaxes(2, 3) @ world[:, 1:]
    return root, local


def _stddev_m(recording: Recording) -> np.ndarray:
    """(17,) m, the usual standard deviation of each joint."""
    known = np.isfinite(recording.joint_stddev)
    count = known.sum(axis=0)
    mean = np.where(known, recording.joint_stddev, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(count > 0, mean, UNKNOWN_STDDEV_M)


def _held(values: np.ndarray) -> np.ndarray:
    """(N, 3), where unknown the last known value, and before the first the first one."""
    known = np.isfinite(values).all(axis=1)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return values[np.where(last < 0, np.flatnonzero(known)[0], last)]


def _shortest(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(B, 3, 3), the shortest rotation from each direction to another, (B, 3) of length 1."""
    axis, cosine = cross(before, after), dot(before, after)
    skew = np.zeros((len(axis), 3, 3))
    skew[:, [2, 0, 1], [1, 2, 0]] = axis
    skew[:, [1, 2, 0], [2, 0, 1]] = -axis
    # Rodrigues' formula with (1 - cos) / sin^2 = 1 / (1 + cos).
    opposite = cosine < -1 + 1e-9
    share = 1 / np.where(opposite, 1.0, 1 + cosine)
    out = np.eye(3) + skew + share[:, None, None] * (skew @ skew)
    for row in np.flatnonzero(opposite):
        # Half a turn about any direction that is square to it.
        square = unit(np.cross(before[row], np.eye(3)[np.abs(before[row]).argmin()]))
        out[row] = 2 * np.outer(square, square) - np.eye(3)
    return out


def _euler_deg(local: np.ndarray) -> np.ndarray:
    """(N, J, 3) degrees, turns about z, x and y in this order (R = Rz Rx Ry), without jumps."""
    x = np.arcsin(local[..., 2, 1].clip(-1, 1))
    z = np.arctan2(-local[..., 0, 1], local[..., 1, 1])
    y = np.arctan2(-local[..., 2, 0], local[..., 2, 2])
    first = np.stack([z, x, y], axis=-1)
    second = np.stack([z + np.pi, np.pi - x, y + np.pi], axis=-1)
    out = np.empty_like(first)
    out[0] = first[0]
    turn = 2 * np.pi
    for frame in range(1, len(first)):
        # The same rotation has two triples of angles, each up to whole turns.
        choices = np.stack([first[frame], second[frame]])
        choices += turn * np.round((out[frame - 1] - choices) / turn)
        better = np.abs(choices - out[frame - 1]).sum(axis=-1).argmin(axis=0)
        out[frame] = np.take_along_axis(choices, better[None, :, None], axis=0)[0]
    return np.degrees(out)


def _hierarchy(lengths: np.ndarray) -> list[str]:
    """The lines of the rest pose."""
    lines: list[str] = []

    def offset(value: np.ndarray) -> str:
        return "OFFSET " + " ".join(f"{number:.6f}" for number in value)

    def add(name: str, kind: str, at: np.ndarray, depth: int) -> None:
        pad = "\t" * depth
        moves = "6 Xposition Yposition Zposition " if kind == "ROOT" else "3 "
        channels = f"CHANNELS {moves}Zrotation Xrotation Yrotation"
        lines.extend([f"{pad}{kind} {name}", pad + "{", f"{pad}\t{offset(at)}"])
        lines.append(f"{pad}\t{channels}")
        row = next((i for i, bone in enumerate(BONES) if bone.name == name), -1)
        end = np.zeros(3) if row < 0 else lengths[row] * _REST[row]
        below = [bone for bone in BONES if bone.parent == name]
        for bone in below:
            add(bone.name, "JOINT", end, depth + 1)
        if not below:
            lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\t{offset(end)}", pad + "\t}"])
        lines.append(pad + "}")

    add("Hips", "ROOT", np.zeros(3), 0)
    return lines
