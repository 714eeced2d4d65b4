"""A figure with known joints as BVH, ASF/AMC and SMPL files, and what an import makes of it."""

import math

import numpy as np
import pytest

from emf_ros.io.mocap.skeleton import rotation_vectors
from emf_ros.skeletons import H36M17
from emf_ros.train.formats.archive import Clip, read_archive
from emf_ros.train.formats.importer import ImportOptions, import_mocap
from emf_ros.train.formats.smpl import BODY_JOINTS

RATE_HZ = 30.0


J = H36M17.index


# A person in a T-pose, m: y up, looking along z, left on the side of x. Joint: (parent, place).
SIDE = {
    "UpLeg": ("Hips", (0.09, 0.93, 0.0)),
    "Leg": ("UpLeg", (0.10, 0.50, 0.01)),
    "Foot": ("Leg", (0.10, 0.08, -0.02)),
    "Shoulder": ("Spine1", (0.03, 1.40, 0.0)),
    "Arm": ("Shoulder", (0.17, 1.41, -0.01)),
    "ForeArm": ("Arm", (0.45, 1.40, -0.02)),
    "Hand": ("ForeArm", (0.70, 1.40, -0.01)),
}


FIGURE = {
    "Hips": ("", (0.0, 0.95, 0.0)),
    "Spine": ("Hips", (0.0, 1.03, 0.0)),
    "Spine1": ("Spine", (0.0, 1.17, -0.01)),
    "Neck": ("Spine1", (0.0, 1.43, 0.0)),
    "Head": ("Neck", (0.0, 1.54, 0.01)),
}


for _side, _sign in (("Left", 1), ("Right", -1)):
    for _name, (_parent, (_x, _y, _z)) in SIDE.items():
        FIGURE[_side + _name] = (
            _side + _parent if _parent in SIDE else _parent,
            (_sign * _x, _y, _z),
        )


NAMES = tuple(FIGURE)


PARENTS = tuple(NAMES.index(p) if p else -1 for p, _ in FIGURE.values())


T_POSE = np.array([place for _, place in FIGURE.values()])


CROWN = np.array([0.0, 0.19, 0.0])


#: h36m17 by the figure's joints; the others are derived.
PLAIN = {
    "thorax": "Neck",
    "spine": "Spine1",
    **{
        f"{side.lower()}_{joint}": side + name
        for side in ("Left", "Right")
        for joint, name in (
            *(("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot")),
            *(("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand")),
        )
    },
}


def turn(axis, degrees):
    """A rotation about x, y or z, written out."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array(
        {
            "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[axis]
    )


def posed(rotations, root, rest=T_POSE, parents=PARENTS):
    """Joints (N, K, 3), and the frames (N, K, 3, 3), by chains of 4 x 4 transforms.

    Args:
        rotations: (N, K, 3, 3) of each joint in its parent's frame.
        root: (N, 3) where the first joint is.
    """
    chains = np.zeros((len(rotations), len(parents), 4, 4))
    for n in range(len(rotations)):
        for k, parent in enumerate(parents):
            local = np.eye(4)
            local[:3, :3] = rotations[n, k]
            local[:3, 3] = root[n] if parent < 0 else rest[k] - rest[parent]
            chains[n, k] = local if parent < 0 else chains[n, parent] @ local
    return chains[..., :3, 3], chains[..., :3, :3]


def angles(frames=8, seed=0, size=25.0):
    """(N, K, 3) degrees that change slowly."""
    rng = np.random.default_rng(seed)
    base, rate = rng.uniform(-size, size, (2, len(NAMES), 3))
    return base + rate * np.arange(frames)[:, None, None] / frames


def walk(frames=8, speed=1.0, height=0.95):
    """(N, 3) m along z, y up."""
    along = speed * np.arange(frames) / RATE_HZ
    return np.stack([0 * along + 3.0, 0 * along + height, along], axis=-1)


def bvh_text(turns, root, scale=1.0, rename=lambda n: n, order="ZXY", rest=T_POSE, crown=CROWN):
    """A BVH of the figure: turns (N, K, 3) degrees by channel, root (N, 3) m."""
    lines = ["HIERARCHY"]

    def joint(k, depth):
        tab = "\t" * depth
        offset = rest[k] * 0 if PARENTS[k] < 0 else (rest[k] - rest[PARENTS[k]]) * scale
        lines.append(f"{tab}{'JOINT' if depth else 'ROOT'} {rename(NAMES[k])}")
        lines.append(f"{tab}{{")
        lines.append(f"{tab}\tOFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}")
        channels = [f"{axis}rotation" for axis in order]
        channels = channels if depth else ["Xposition", "Yposition", "Zposition", *channels]
        lines.append(f"{tab}\tCHANNELS {len(channels)} {' '.join(channels)}")
        visited.append(k)
        children = [c for c, p in enumerate(PARENTS) if p == k]
        for child in children:
            joint(child, depth + 1)
        if not children:
            end = (crown if NAMES[k] == "Head" else np.array([0.0, 0.0, 0.05])) * scale
            lines.append(f"{tab}\tEnd Site\n{tab}\t{{")
            lines.append(f"{tab}\t\tOFFSET {end[0]:.6f} {end[1]:.6f} {end[2]:.6f}\n{tab}\t}}")
        lines.append(f"{tab}}}")

    visited = []
    joint(0, 0)
    lines += ["MOTION", f"Frames: {len(turns)}", f"Frame Time: {1 / RATE_HZ:.8f}"]
    for frame, place in zip(turns, root, strict=True):
        values = [*(place * scale), *(v for k in visited for v in frame[k])]
        lines.append(" ".join(f"{v:.6f}" for v in values))
    return "\n".join(lines) + "\n"


def rotations_of(turns, order="ZXY"):
    a, b, c = order.lower()
    return np.array([[turn(a, x) @ turn(b, y) @ turn(c, z) for x, y, z in f] for f in turns])


def truth(turns, root, order="ZXY"):
    """The figure's joints and frames by name, y up."""
    places, frames = posed(rotations_of(turns, order), root)
    return {n: places[:, k] for k, n in enumerate(NAMES)}, {
        n: frames[:, k] for k, n in enumerate(NAMES)
    }


def z_up(points):
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def assert_same_pose(found, places, tolerance=1.2e-3):
    """found (N, 17, 3) z up shows the joints in `places`, y up, apart from where it stands."""
    pelvis = 0.5 * (places["LeftUpLeg"] + places["RightUpLeg"])
    relative = found - found[:, :1]
    for joint, name in PLAIN.items():
        expected = z_up(places[name] - pelvis)
        assert relative[:, J(joint)] == pytest.approx(expected, abs=tolerance), joint


def bvh_writer(folder):
    """A function that writes the figure as `in/SUBJECT/NAME.bvh` of a folder."""

    def write(name="clip", turns=None, root=None, subject="anna", **settings):
        turns = angles() if turns is None else turns
        root = walk(len(turns)) if root is None else root
        path = folder / "in" / subject / f"{name}.bvh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(bvh_text(turns, root, **settings))
        return path

    return write


def imported(paths, tmp_path, **options):
    out = tmp_path / "out.npz"
    paths = paths if isinstance(paths, list) else [paths]
    report = import_mocap(paths, out, ImportOptions(**options))
    return read_archive(out).clips, report


def zxy_angles(matrix):
    """Degrees of Z, X, Y whose rotations multiply to the matrix."""
    y = math.atan2(-matrix[2, 0], matrix[2, 2])
    return np.degrees([math.atan2(-matrix[0, 1], matrix[1, 1]), math.asin(matrix[2, 1]), y])


def scrambled(turns, seed=3):
    """Another rest pose, in which nobody stands, and the turns (N, K, 3) that show the same."""
    vectors = np.random.default_rng(seed).normal(size=(len(NAMES), 3))
    frames = rotation_vectors(vectors)
    frames[[k for k in range(len(NAMES)) if k not in PARENTS]] = np.eye(3)
    rest, local = np.zeros_like(T_POSE), rotations_of(turns)
    for k, parent in enumerate(PARENTS):
        if parent >= 0:
            rest[k] = rest[parent] + frames[parent].T @ (T_POSE[k] - T_POSE[parent])
            local[:, k] = frames[parent].T @ local[:, k]
        local[:, k] = local[:, k] @ frames[k]
    return rest, np.array([[zxy_angles(m) for m in frame] for frame in local])


def person(frames=None):
    """(17, 3), or (N, 17, 3), m: the figure as h36m17, z up."""
    joints = dict(zip(NAMES, T_POSE, strict=True))
    places = {joint: joints[name] for joint, name in PLAIN.items()}
    places["pelvis"] = np.array([0, 0.93, 0])
    places["head_top"] = joints["Head"] + CROWN
    places["nose"] = joints["Head"] + 0.3 * CROWN + (0, 0, 0.09)
    pose = z_up(np.stack([places[j] for j in H36M17.joints]))
    return pose if frames is None else np.repeat(pose[None], frames, axis=0)


#: Bone: parent, the joint of the figure at its end.
BONES = {
    "lowerback": ("root", "Spine1"),
    "thorax": ("lowerback", "Neck"),
    "upperneck": ("thorax", "Head"),
    "head": ("upperneck", "Crown"),
    **{
        s[0].lower() + bone: (
            parent if parent in ("root", "thorax") else s[0].lower() + parent,
            s + n,
        )
        for s in ("Left", "Right")
        for bone, parent, n in (
            *(("hipjoint", "root", "UpLeg"), ("femur", "hipjoint", "Leg")),
            *(("tibia", "femur", "Foot"), ("clavicle", "thorax", "Arm")),
            *(("humerus", "clavicle", "ForeArm"), ("radius", "humerus", "Hand")),
        )
    },
}


FIXED = ("lhipjoint", "rhipjoint")


def bone_vectors():
    ends = {**dict(zip(NAMES, T_POSE, strict=True)), "root": T_POSE[0]}
    ends["Crown"] = ends["Head"] + CROWN
    start = {bone: ends["root" if p == "root" else BONES[p][1]] for bone, (p, _) in BONES.items()}
    return {bone: ends[joint] - start[bone] for bone, (_, joint) in BONES.items()}


def bone_axis(bone):
    """Degrees about x, y and z, the frame about whose axes a bone turns."""
    return np.random.default_rng(len(bone) + ord(bone[0])).uniform(-60, 60, 3)


def write_acclaim(folder, values, root, length=0.45, unit=0.0254, name="07_01"):
    """07.asf and 07_01.amc: values (N, bones, 3) and root (N, 6), degrees and m."""
    factor = length / unit
    lines = [":version 1.10", ":name figure", ":units", f"  length {length}", "  angle deg"]
    lines += [":root", "  order TX TY TZ RX RY RZ", "  axis XYZ", "  position 0 0 0"]
    lines += ["  orientation 0 0 0", ":bonedata"]
    for i, (bone, vector) in enumerate(bone_vectors().items()):
        size = np.linalg.norm(vector)
        lines += ["  begin", f"    id {i + 1}", f"    name {bone}"]
        lines += ["    direction " + " ".join(f"{v:.8f}" for v in vector / size)]
        lines += [f"    length {size * factor:.8f}"]
        lines += ["    axis " + " ".join(f"{v:.6f}" for v in bone_axis(bone)) + "  XYZ"]
        if bone not in FIXED:
            lines += [
                "    dof rx ry rz",
                "    limits (-160 20)",
                "      (-70 70)",
                "      (-60 70)",
            ]
        lines += ["  end"]
    lines += [":hierarchy", "  begin"]
    for parent in ("root", *BONES):
        children = [b for b, (p, _) in BONES.items() if p == parent]
        if children:
            lines.append(f"    {parent} {' '.join(children)}")
    lines += ["  end"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "07.asf").write_text("\n".join(lines) + "\n")
    rows = ["#!OML:ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for n, (frame, base) in enumerate(zip(values, root, strict=True)):
        base = [*(base[:3] * factor), *base[3:]]
        rows += [str(n + 1), "root " + " ".join(f"{v:.6f}" for v in base)]
        for bone, angle in zip(BONES, frame, strict=True):
            if bone not in FIXED:
                rows.append(f"{bone} " + " ".join(f"{v:.6f}" for v in angle))
    path = folder / f"{name}.amc"
    path.write_text("\n".join(rows) + "\n")
    return path


def acclaim_motion(frames=8):
    rng = np.random.default_rng(5)
    start, rate = rng.uniform(-20, 20, (2, len(BONES), 3))
    values = start + rate * np.arange(frames)[:, None, None] / frames
    turned = np.tile([10.0, 30.0, -5.0], (frames, 1))
    return values, np.concatenate([walk(frames), turned], axis=1)


SMPL_TREE = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)


SMPL_FIGURE = {
    **{"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "neck": "Neck", "head": "Head"},
    **{
        f"{s.lower()}_{joint}": s + name
        for s in ("Left", "Right")
        for joint, name in (
            *(("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("collar", "Shoulder")),
            *(("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand")),
        )
    },
}


def smpl_joints():
    """(22, 3) m, y up: the figure with the pelvis near the origin."""
    places = {j: T_POSE[NAMES.index(n)] for j, n in SMPL_FIGURE.items()}
    places["spine3"] = 0.5 * (places["spine2"] + places["neck"])
    for side in ("left", "right"):
        places[f"{side}_foot"] = places[f"{side}_ankle"] + (0, -0.05, 0.12)
    return np.stack([places[j] for j in BODY_JOINTS]) - (0, 0.93, 0)


def smpl_motion(path, frames=8, rate="mocap_framerate", **changes):
    rng = np.random.default_rng(9)
    poses = 0.3 * rng.normal(size=(1, 156)) * np.linspace(0.5, 1, frames)[:, None]
    # AMASS has z up, the model y: the person stands.
    poses[:, :3] = [math.pi / 2, 0, 0]
    arrays = {
        "poses": poses,
        "trans": z_up(walk(frames)),
        "betas": np.array([0.5, *[0.0] * 15]),
        rate: RATE_HZ,
    }
    arrays.update(changes)
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def clip_of(motion, name="a", subject="anna"):
    return Clip(name, subject, "stand", motion, "here")
