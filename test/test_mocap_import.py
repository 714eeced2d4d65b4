"""Motion capture of the usual formats to the npz that training reads."""

import argparse
import math
import re

import numpy as np
import pytest

from emf_ros.cli.mocap import UNITS as COMMAND_UNITS
from emf_ros.cli.mocap import add_parser
from emf_ros.skeletons import H36M17
from emf_ros.train.formats import FormatError
from emf_ros.train.formats.acclaim import find_asf, read_amc
from emf_ros.train.formats.archive import Archive, Clip, read_archive, write_archive
from emf_ros.train.formats.body import UNITS, check_bones, find_unit, put_on_floor
from emf_ros.train.formats.bvh import read_bvh
from emf_ros.train.formats.clips import cut, fill_gaps, recentre, resample
from emf_ros.train.formats.importer import ImportOptions, import_mocap
from emf_ros.train.formats.joints import map_joints, to_h36m17
from emf_ros.train.formats.plot import facing, side_on
from emf_ros.train.formats.skeleton import rotation_vectors
from emf_ros.train.formats.smpl import BODY_JOINTS, load_body_model, read_smpl
from emf_ros.train.mocap import load_mocap, to_anatomical_centres

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


@pytest.fixture
def bvh(tmp_path):
    """Writes the figure as `subject/name.bvh`."""

    def write(name="clip", turns=None, root=None, subject="anna", **settings):
        turns = angles() if turns is None else turns
        root = walk(len(turns)) if root is None else root
        path = tmp_path / "in" / subject / f"{name}.bvh"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(bvh_text(turns, root, **settings))
        return path

    return write


def imported(paths, tmp_path, **options):
    out = tmp_path / "out.npz"
    paths = paths if isinstance(paths, list) else [paths]
    report = import_mocap(paths, out, ImportOptions(**options))
    return read_archive(out).clips, report


# ------------------------------------------------------------------------------------------- BVH


@pytest.mark.parametrize("order", ["ZXY", "XYZ", "YXZ"])
def test_bvh_joints_are_where_explicit_transforms_put_them(bvh, order):
    turns = angles(size=60)
    motion = read_bvh(bvh(turns=turns, order=order))
    places, frames = truth(turns, walk(), order)
    for name in NAMES:
        index = motion.names.index(name)
        assert motion.positions[:, index] == pytest.approx(places[name], abs=1e-5), name
        assert motion.orientations[:, index] == pytest.approx(frames[name], abs=1e-5)
    end = motion.positions[:, motion.names.index("Head_End")]
    assert end == pytest.approx(places["Head"] + frames["Head"] @ CROWN, abs=1e-5)
    assert motion.rate_hz == pytest.approx(RATE_HZ, abs=1e-3)


def test_what_is_imported_is_what_moved(bvh, tmp_path):
    turns, root = angles(40), walk(40, 1.3)
    (clip,), report = imported(bvh(turns=turns, root=root, scale=100), tmp_path, licence="mine")
    places, frames = truth(turns, root)
    assert_same_pose(clip.positions, places)
    steps = clip.positions[:, 0] - clip.positions[0, 0]
    pelvis = 0.5 * (places["LeftUpLeg"] + places["RightUpLeg"])
    assert steps == pytest.approx(z_up(pelvis - pelvis[0]), abs=1.2e-3)
    assert clip.positions[0, 0, :2] == pytest.approx([0, 0], abs=1e-3)
    assert (clip.name, clip.subject, clip.action, clip.source) == ("clip", "anna", "clip", "out")
    assert report.clips == 1 and report.subjects == ("anna",) and not report.refused
    assert report.minutes == pytest.approx(40 / 30 / 60)


def test_the_face_turns_with_the_head(bvh, tmp_path):
    turns = angles()
    turns[:, NAMES.index("Head"), 2] += np.linspace(-50, 50, len(turns))
    (clip,), _ = imported(bvh(turns=turns), tmp_path)
    places, frames = truth(turns, walk())
    pelvis = 0.5 * (places["LeftUpLeg"] + places["RightUpLeg"])
    crown = z_up(places["Head"] + frames["Head"] @ CROWN - pelvis)
    relative = clip.positions - clip.positions[:, :1]
    assert relative[:, J("head_top")] == pytest.approx(crown, abs=2e-3)
    base = z_up(places["Head"] - pelvis)
    ahead = relative[:, J("nose")] - (base + 0.3 * (crown - base))
    assert np.linalg.norm(ahead, axis=-1) == pytest.approx(0.09, abs=0.006)
    looking = z_up(frames["Head"] @ [0.0, 0.0, 1.0])
    assert ((ahead / np.linalg.norm(ahead, axis=-1)[:, None]) * looking).sum(-1).min() > 0.99


@pytest.mark.parametrize("height", [0.0, 0.01, 0.5])
def test_an_end_of_the_head_that_is_no_crown_is_not_taken_for_it(bvh, tmp_path, height):
    (clip,), _ = imported(bvh(turns=angles() * 0, crown=np.array([0, height, 0])), tmp_path)
    places, _ = truth(angles() * 0, walk())
    base = z_up(places["Head"] - places["Neck"])
    relative = clip.positions - clip.positions[:, [J("thorax")]]
    above = relative[:, J("head_top")] - base
    assert np.linalg.norm(above, axis=-1) == pytest.approx(np.full(8, 0.19), abs=0.01)
    assert relative[:, J("nose")] == pytest.approx(base + [0, -0.09, 0.057], abs=0.01)


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


def test_a_rest_pose_in_which_nobody_stands_does_not_matter(bvh, tmp_path):
    turns = angles(12, size=8)
    rest, same = scrambled(turns)
    (clip,), _ = imported(bvh(turns=same, rest=rest, root=walk(12)), tmp_path)
    places, frames = truth(turns, walk(12))
    assert_same_pose(clip.positions, places)
    ahead = clip.positions[:, J("nose")] - clip.positions[:, J("head_top")]
    looking = z_up(frames["Head"] @ [0.0, 0.0, 1.0])
    assert (ahead * looking).sum(-1) == pytest.approx(0.09 * np.ones(12), abs=0.04)


def test_the_rest_pose_in_front_of_the_motion_is_left_out(bvh, tmp_path):
    turns = np.concatenate([np.zeros((1, len(NAMES), 3)), angles(9)])
    (clip,), _ = imported(bvh(turns=turns), tmp_path)
    places, _ = truth(turns[1:], walk(10)[1:])
    assert len(clip.positions) == 9
    assert_same_pose(clip.positions, places)


RENAMED = {
    "mixamo": lambda n: f"mixamorig:{n}",
    "gltf": lambda n: f"mixamorig{n}",
    "namespace": lambda n: f"Model_{n}",
    "lower": str.lower,
}
#: Names of hip, knee, ankle, collar, shoulder, elbow, wrist; and how a side is put to them.
SIDED = {
    "poser": (lambda s, n: s + n, "Hip Knee Ankle Collar Shoulder Elbow Wrist"),
    "xsens": (lambda s, n: s + n, "UpperLeg LowerLeg Foot Shoulder UpperArm ForeArm Hand"),
    "rokoko": (lambda s, n: s + n, "Thigh Shin Foot Shoulder Arm ForeArm Hand"),
    "daz": (lambda s, n: s[0].lower() + n, "Thigh Shin Foot Collar Shldr ForeArm Hand"),
    "rigify": (
        lambda s, n: f"{n}.{s[0]}",
        "thigh shin foot shoulder upper_arm forearm hand",
    ),
    "deform": (
        lambda s, n: f"DEF-{n}.{s[0]}",
        "thigh shin foot shoulder upper_arm forearm hand",
    ),
    "unreal": (
        lambda s, n: f"{n}_{s[0].lower()}",
        "thigh calf foot clavicle upperarm lowerarm hand",
    ),
    "motive": (lambda s, n: f"Skeleton 001_{s[0]}{n}", "Thigh Shin Foot Shoulder UArm FArm Hand"),
    "vroid": (
        lambda s, n: f"J_Bip_{s[0]}_{n}",
        "UpperLeg LowerLeg Foot Shoulder UpperArm LowerArm Hand",
    ),
    "genesis": (
        lambda s, n: s[0].lower() + n,
        "ThighBend Shin Foot Collar ShldrBend ForearmBend Hand",
    ),
    "makehuman": (
        lambda s, n: f"{n}.{s[0]}",
        "upperleg01 lowerleg01 foot clavicle upperarm01 lowerarm01 wrist",
    ),
    "makehuman bvh": (lambda s, n: f"{n}_{s[0]}", "UpLeg LoLeg Foot Shoulder UpArm LoArm Hand"),
    "advanced skeleton": (
        lambda s, n: f"{n}_{s[0]}",
        "Hip Knee Ankle Scapula Shoulder Elbow Wrist",
    ),
    "second life": (lambda s, n: f"m{n}{s}", "Hip Knee Ankle Collar Shoulder Elbow Wrist"),
    "character creator": (
        lambda s, n: f"CC_Base_{s[0]}_{n}",
        "Thigh Calf Foot Clavicle Upperarm Forearm Hand",
    ),
    "source engine": (
        lambda s, n: f"ValveBiped.Bip01_{s[0]}_{n}",
        "Thigh Calf Foot Clavicle UpperArm Forearm Hand",
    ),
    "deepmotion": (
        lambda s, n: f"{s[0].lower()}_{n}_JNT",
        "upleg leg foot shoulder arm forearm hand",
    ),
    "kinect": (lambda s, n: f"{n}_{s.upper()}", "HIP KNEE ANKLE CLAVICLE SHOULDER ELBOW WRIST"),
    "acclaim as BVH": (
        lambda s, n: s[0].lower() + n,
        "femur tibia foot clavicle humerus radius hand",
    ),
    "biped": (lambda s, n: f"Bip01 {s[0]} {n}", "Thigh Calf Foot Clavicle UpperArm Forearm Hand"),
    "vrm": (
        lambda s, n: s.lower() + n,
        "UpperLeg LowerLeg Foot Shoulder UpperArm LowerArm Hand",
    ),
}


#: How a convention writes the joints in the middle, where it is not as the figure does.
MIDDLE = {
    "biped": lambda n: f"Bip01 {n}",
    "motive": lambda n: f"Skeleton 001_{n}",
    "vroid": lambda n: f"J_Bip_C_{n}",
    "genesis": lambda n: {"Neck": "neckLower", "Head": "head"}.get(n, n),
    "makehuman": lambda n: {"Neck": "neck01", "Head": "head"}.get(n, n),
    "advanced skeleton": lambda n: f"{n}_M",
    "second life": lambda n: f"m{n}",
    "character creator": lambda n: "CC_Base_" + {"Neck": "NeckTwist01"}.get(n, n),
    "source engine": lambda n: "ValveBiped.Bip01_" + {"Neck": "Neck1", "Head": "Head1"}.get(n, n),
    "deepmotion": lambda n: f"{n.lower()}_JNT",
    "kinect": str.upper,
    "acclaim as BVH": lambda n: {"Neck": "lowerneck", "Head": "head"}.get(n, n),
}


def sided(convention):
    put, names = SIDED[convention]
    table = dict(
        zip(
            ("UpLeg", "Leg", "Foot", "Shoulder", "Arm", "ForeArm", "Hand"),
            names.split(),
            strict=True,
        )
    )

    def rename(name):
        for side in ("Left", "Right"):
            if name.startswith(side):
                return put(side, table[name.removeprefix(side)])
        return MIDDLE.get(convention, lambda n: n)(name)

    return rename


@pytest.mark.parametrize("convention", [*RENAMED, *SIDED])
def test_joints_are_found_by_the_names_that_programs_give(bvh, tmp_path, convention):
    rename = RENAMED.get(convention) or sided(convention)
    (clip,), _ = imported(bvh(rename=rename), tmp_path)
    assert_same_pose(clip.positions, truth(angles(), walk())[0])


@pytest.mark.parametrize(
    ("convention", "more"),
    [("vroid", "J_Sec_Hair"), ("makehuman bvh", "Hand_L_Thumb"), ("deepmotion", "l_finger")],
)
def test_many_hair_or_finger_joints_do_not_hide_the_body(bvh, tmp_path, convention, more):
    path = bvh(rename=sided(convention))
    text = path.read_text()
    joint = "JOINT {}{}\n{{\nOFFSET 0 1 0\nCHANNELS 0\nEnd Site\n{{\nOFFSET 0 1 0\n}}\n}}\n"
    path.write_text(
        text.replace("End Site", "".join(joint.format(more, i) for i in range(80)) + "End Site", 1)
    )
    (clip,), _ = imported(path, tmp_path)
    assert_same_pose(clip.positions, truth(angles(), walk())[0])


def test_missing_joints_are_listed_with_the_names_there_are(bvh, tmp_path):
    path = bvh(rename=lambda n: {"LeftLeg": "Zog", "Neck": "Giraffe"}.get(n, n))
    with pytest.raises(FormatError, match=r"left_knee, thorax|thorax.*left_knee") as error:
        imported(path, tmp_path)
    assert "Zog" in str(error.value) and "Giraffe" in str(error.value)
    assert "right_knee" not in str(error.value)


def test_a_map_names_joints_and_means_of_joints(bvh, tmp_path):
    path = bvh(rename=lambda n: {"LeftLeg": "Zog", "Neck": "Giraffe"}.get(n, n))
    table = tmp_path / "map.yaml"
    table.write_text("left_knee: Zog\nthorax: [LeftArm, RightArm]\n")
    (clip,), _ = imported(path, tmp_path, joints=table)
    places, _ = truth(angles(), walk())
    places["Neck"] = 0.5 * (places["LeftArm"] + places["RightArm"])
    assert_same_pose(clip.positions, places)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tail: Hips", "tail"),
        ("left_knee: Nowhere", "Nowhere"),
        ("left_knee: []", "left_knee"),
        ("- a", "no map"),
        ("a: [", "cannot read"),
    ],
)
def test_maps_that_cannot_be_meant_are_refused(bvh, tmp_path, text, message):
    table = tmp_path / "map.yaml"
    table.write_text(text)
    with pytest.raises(FormatError, match=message):
        imported(bvh(), tmp_path, joints=table)


BROKEN = {
    "no BVH": (lambda t: "hello", "HIERARCHY"),
    "empty": (lambda t: "", "is empty"),
    "no motion": (lambda t: t.split("MOTION")[0], "MOTION"),
    "cut header": (lambda t: t[: t.index("MOTION") // 2], "ends on line"),
    "no frames": (lambda t: t[: t.index("Frame Time:")] + "Frame Time: 0.03\n", "0 frames"),
    "one frame": (
        lambda t: "\n".join(t.replace("Frames: 8", "Frames: 1").split("\n")[:-8]) + "\n",
        "1 frames",
    ),
    "no time": (lambda t: t.replace("Frame Time: 0.03333333", "Frame Time: 0"), "Frame Time"),
    "words": (lambda t: t[:-12] + " spam\n", "spam|numbers"),
    "offset": (lambda t: t.replace("OFFSET 0.000000", "OFFSET x", 1), "OFFSET of Hips"),
    "channel": (lambda t: t.replace("Xrotation", "Wrotation", 1), "Wrotation"),
    "channel count": (lambda t: t.replace("CHANNELS 3", "CHANNELS 4", 1), "CHANNELS"),
    "braces": (lambda t: t.replace("}", "", 1), "inside of joint"),
    "more braces": (lambda t: t.replace("}", "}}}}}}}}", 1), "braces|End Site|unknown"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_damaged_bvh_files_are_refused(bvh, tmp_path, broken):
    path = bvh()
    damage, message = BROKEN[broken]
    path.write_text(damage(path.read_text()))
    with pytest.raises(FormatError, match=message):
        imported(path, tmp_path)


# ------------------------------------------------------------------------- units, axes, the floor


def test_the_command_offers_the_units_there_are():
    assert set(COMMAND_UNITS) == {"auto", *UNITS}


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_found_by_the_size_of_the_person(bvh, tmp_path, unit):
    (clip,), _ = imported(bvh(scale=1 / UNITS[unit]), tmp_path)
    assert_same_pose(clip.positions, truth(angles(), walk())[0])


def test_a_unit_that_is_said_is_believed_and_checked(bvh, tmp_path):
    (clip,), _ = imported(bvh(scale=100), tmp_path, unit="cm")
    assert_same_pose(clip.positions, truth(angles(), walk())[0])
    with pytest.raises(FormatError, match=r"pelvis to right_hip is 9\d\.?\d* m long"):
        imported(bvh(scale=1000), tmp_path, unit="m")
    with pytest.raises(FormatError, match="unknown unit 'ell'"):
        imported(bvh(), tmp_path, unit="ell")


def test_sizes_that_fit_no_unit_or_two_are_errors_with_the_measure():
    with pytest.raises(FormatError, match="7.1 units.*none fits.*--unit"):
        find_unit(7.1)
    with pytest.raises(FormatError, match="inch or cmu"):
        find_unit(1.74 / UNITS["cmu"])


@pytest.mark.parametrize("lies", [False, True])
@pytest.mark.parametrize("up", ["y", "z"])
def test_up_is_found_though_the_person_may_lie(bvh, tmp_path, up, lies):
    turns = angles(size=5)
    turns[:, 0] = [0, 85, 0] if lies else [0, 5, 0]
    rest = T_POSE if up == "y" else z_up(T_POSE)
    root = walk(height=0.3 if lies else 0.95)
    if up == "z":
        # ZXY about the axes of a figure that stands along z: x stays, y is z, z is -y.
        turns = turns * (-1, 1, 1)
        text = bvh_text(turns, z_up(root), rest=rest, order="YXZ")
        path = tmp_path / "in" / "anna" / "z.bvh"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        turns = turns * (-1, 1, 1)
    else:
        path = bvh(turns=turns, root=root)
    (clip,), _ = imported(path, tmp_path)
    assert_same_pose(clip.positions, truth(turns, root)[0])
    trunk = clip.positions[:, J("thorax")] - clip.positions[:, 0]
    assert (trunk[:, 2] > 0.4).all() != lies


def test_an_axis_that_is_said_is_believed(bvh, tmp_path):
    (clip,), _ = imported(bvh(turns=angles(size=5)), tmp_path, up="z")
    trunk = clip.positions[:, J("thorax")] - clip.positions[:, 0]
    assert (trunk[:, 1] > 0.4).all()
    with pytest.raises(FormatError, match="'x'"):
        imported(bvh(), tmp_path, up="x")


def test_no_axis_that_could_be_up_is_an_error(bvh, tmp_path):
    turns = angles(12, size=5)
    turns[:, 0] = [85, 0, 0]
    rest, same = scrambled(turns)
    with pytest.raises(FormatError, match="Give --up"):
        imported(bvh(turns=same, rest=rest, root=walk(12)), tmp_path)


def test_the_floor_is_under_the_feet_and_nothing_is_tilted(bvh, tmp_path):
    (clip,), _ = imported(bvh(turns=angles() * 0, root=walk(height=5.0)), tmp_path)
    ankles = clip.positions[:, [J("left_ankle"), J("right_ankle")], 2]
    assert ankles == pytest.approx(np.full((8, 2), 0.08), abs=0.005)
    spread = put_on_floor(person()[None] + np.arange(50)[:, None, None] * (0, 0, 0.02))
    assert np.diff(spread[:, 0, 2]) == pytest.approx(np.full(49, 0.02))


# --------------------------------------------------------------------------------- what is a person


def person(frames=None):
    """(17, 3), or (N, 17, 3), m: the figure as h36m17, z up."""
    joints = dict(zip(NAMES, T_POSE, strict=True))
    places = {joint: joints[name] for joint, name in PLAIN.items()}
    places["pelvis"] = np.array([0, 0.93, 0])
    places["head_top"] = joints["Head"] + CROWN
    places["nose"] = joints["Head"] + 0.3 * CROWN + (0, 0, 0.09)
    pose = z_up(np.stack([places[j] for j in H36M17.joints]))
    return pose if frames is None else np.repeat(pose[None], frames, axis=0)


def test_people_of_all_sizes_pass():
    for size in (0.62, 1.0, 1.25):
        check_bones(size * person(4))


def test_a_dog_is_refused_by_its_bones(bvh, tmp_path):
    dog = T_POSE.copy()
    thighs = [NAMES.index(f"{s}Leg") for s in ("Left", "Right")]
    feet = [NAMES.index(f"{s}Foot") for s in ("Left", "Right")]
    dog[thighs, 1], dog[feet, 1] = 0.78, 0.60
    with pytest.raises(FormatError, match=r"(hip to \w+_knee).*0\.15.*m on a person"):
        imported(bvh(rest=dog), tmp_path)


def test_bones_of_two_lengths_or_of_changing_length_are_refused():
    uneven = person(4)
    uneven[:, J("left_wrist"), 0] += 0.08
    with pytest.raises(FormatError, match=r"wrist is 0\.33\d m long on the left"):
        check_bones(uneven)
    growing = person(20)
    growing[:, J("right_wrist"), 0] -= np.linspace(0, 0.05, 20)
    with pytest.raises(FormatError, match="right_elbow to right_wrist changes its length"):
        check_bones(growing)


@pytest.mark.parametrize("joint", [j for j in H36M17.joints if j != "pelvis"])
def test_each_joint_that_is_far_off_is_refused(joint):
    far = person(3)
    far[:, J(joint)] += (0.0, 0.9, 0.0)
    with pytest.raises(FormatError, match=joint.split("_")[-1]):
        check_bones(far)


# ------------------------------------------------------------------------------ gaps, jumps, rates


def test_short_gaps_are_filled_and_long_ones_cut():
    motion = person(60) + np.arange(60)[:, None, None] * (0.01, 0, 0)
    whole = motion.copy()
    motion[10:15, J("left_wrist")] = np.nan
    motion[30:37, J("nose")] = np.inf
    motion[:2, 0] = np.nan
    filled = fill_gaps(motion, RATE_HZ)
    assert filled[2:30] == pytest.approx(whole[2:30])
    assert cut(filled, RATE_HZ) == [(2, 30), (37, 60)]
    # At twice the rate the gap of seven frames lasts half as long.
    assert cut(fill_gaps(motion, 2 * RATE_HZ), RATE_HZ) == [(2, 60)]


def test_jumps_are_cut():
    motion = person(20)
    motion[8:] += (0.5, 0, 0)
    assert cut(motion, RATE_HZ) == [(0, 8), (8, 20)]
    motion[8:] -= (0.15, 0, 0)
    assert cut(motion, RATE_HZ) == [(0, 20)]
    # A T-pose in front of the motion.
    motion[0, J("left_wrist")] += (0, 0.3, 0.0)
    assert cut(motion, RATE_HZ) == [(0, 20)]
    assert cut(motion, 120.0) == [(0, 1), (1, 8), (8, 20)]


@pytest.mark.parametrize("rate", [24.0, 30.0, 59.94, 120.0])
def test_resampled_motion_is_at_its_times(rate):
    motion = person(91) + np.arange(91)[:, None, None] / rate * (1.3, 0, 0)
    found = resample(motion, rate)
    assert len(found) == math.floor(90 / rate * 30 + 1e-6) + 1
    assert found[:, 0, 0] == pytest.approx(np.arange(len(found)) / 30 * 1.3)


def test_far_walks_are_cut_and_begin_over_the_origin_again():
    motion = person(900) + np.arange(900)[:, None, None] * (0.1, 0, 0) + (50, 7, 0)
    pieces = recentre(motion)
    assert sum(map(len, pieces)) == 900 and len(pieces) == 3
    for piece in pieces:
        assert piece[0, 0, :2] == pytest.approx([0, 0]) and np.abs(piece).max() <= 32
        assert piece[0, 0, 2] == pytest.approx(0.93)
    with pytest.raises(FormatError, match="above"):
        recentre(person(2) + (0, 0, 40))


def test_a_file_is_cut_at_gaps_and_its_scraps_are_counted(bvh, tmp_path):
    turns = angles(60)
    turns[20:40, NAMES.index("LeftArm")] = np.nan
    turns[41:55, NAMES.index("LeftArm")] = np.nan
    clips, report = imported(bvh(turns=turns), tmp_path)
    assert [(c.name, len(c.positions)) for c in clips] == [("clip#0", 20), ("clip#1", 5)]
    assert report.scraps == 1


def test_a_file_of_gaps_alone_is_refused(bvh, tmp_path):
    turns = angles(30)
    turns[:, NAMES.index("LeftArm")] = np.nan
    with pytest.raises(FormatError, match="no frame|wrist|all joints"):
        imported(bvh(turns=turns), tmp_path)


# --------------------------------------------------------------------------------------- Acclaim

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


def fixed(angle):
    """About x, then y, then z, which all stay."""
    return turn("z", angle[2]) @ turn("y", angle[1]) @ turn("x", angle[0])


def acclaim_truth(values, root):
    """Where the bones end (N, 3) by joint of the figure, y up."""
    vectors, ends = bone_vectors(), {}
    for n in range(len(root)):
        frame, place = {"root": fixed(root[n, 3:])}, {"root": root[n, :3]}
        for i, (bone, (parent, joint)) in enumerate(BONES.items()):
            axis = fixed(bone_axis(bone))
            moved = np.eye(3) if bone in FIXED else axis @ fixed(values[n, i]) @ axis.T
            frame[bone] = frame[parent] @ moved
            place[bone] = place[parent] + frame[bone] @ vectors[bone]
            ends.setdefault(joint, []).append(place[bone])
    return {joint: np.array(places) for joint, places in ends.items()}


def acclaim_motion(frames=8):
    rng = np.random.default_rng(5)
    start, rate = rng.uniform(-20, 20, (2, len(BONES), 3))
    values = start + rate * np.arange(frames)[:, None, None] / frames
    turned = np.tile([10.0, 30.0, -5.0], (frames, 1))
    return values, np.concatenate([walk(frames), turned], axis=1)


@pytest.mark.parametrize(("length", "unit"), [(0.45, 0.0254), (1.0, 0.0254), (1.0, 0.01)])
def test_acclaim_bones_end_where_explicit_matrices_put_them(tmp_path, length, unit):
    values, root = acclaim_motion()
    path = write_acclaim(tmp_path / "07", values, root, length, unit)
    motion, expected = read_amc(path), acclaim_truth(values, root)
    for bone, (_, joint) in BONES.items():
        found = motion.positions[:, motion.names.index(bone)] * unit
        assert found == pytest.approx(expected[joint], abs=1e-4), bone
    (clip,), report = imported(path, tmp_path, rate_hz=30.0)
    assert_same_pose(clip.positions, expected)
    relative = clip.positions - clip.positions[:, :1]
    pelvis = 0.5 * (expected["LeftUpLeg"] + expected["RightUpLeg"])
    crown = z_up(expected["Crown"] - pelvis)
    assert relative[:, J("head_top")] == pytest.approx(crown, abs=1.2e-3)
    assert clip.subject == "07" and not any("rate" in note for note in report.notes)


def test_amc_files_are_taken_for_120_hz_with_a_note(tmp_path):
    path = write_acclaim(tmp_path / "07", *acclaim_motion(41))
    (clip,), report = imported(path, tmp_path)
    assert len(clip.positions) == 11
    assert any("120 Hz" in note for note in report.notes)


ACCLAIM_BROKEN = {
    "missing bone": ("amc", lambda t: t.replace("lfemur", "#"), "frames lack lfemur"),
    "bone twice": ("amc", lambda t: t.replace("rfemur", "lfemur", 1), "lfemur twice.*line"),
    "unknown bone": ("amc", lambda t: t.replace("lfemur", "tail", 1), "tail"),
    "too few values": ("amc", lambda t: t.replace("lfemur ", "lfemur #", 1), "lfemur has 0"),
    "words": (
        "amc",
        lambda t: re.sub(r"lfemur \S+", "lfemur x", t, count=1),
        "'x' on line 10 is no number",
    ),
    "one frame": ("amc", lambda t: t[: t.index("\n2\n")], "1 frames"),
    "no bones": ("asf", lambda t: t.replace(":bonedata", ":other"), "bonedata"),
    "no length": ("asf", lambda t: t.replace("    length", "    lngth", 1), "bone lowerback"),
    "unknown child": ("asf", lambda t: t.replace("name lfemur", "name xfemur"), "lfemur"),
    "child twice": (
        "asf",
        lambda t: t.replace("    lfemur ltibia", "    lfemur ltibia\n    ltibia lfemur"),
        "bone lfemur a second time on line",
    ),
    "translating": ("asf", lambda t: t.replace("dof rx ry rz", "dof tx ry rz", 1), "tx"),
    "scale": ("asf", lambda t: t.replace("length 0.45", "length 0"), "divides"),
}


@pytest.mark.parametrize("broken", ACCLAIM_BROKEN)
def test_damaged_acclaim_files_are_refused(tmp_path, broken):
    path = write_acclaim(tmp_path / "07", *acclaim_motion())
    suffix, damage, message = ACCLAIM_BROKEN[broken]
    target = path if suffix == "amc" else path.with_name("07.asf")
    target.write_text(damage(target.read_text()))
    with pytest.raises(FormatError, match=message):
        imported(path, tmp_path)


def test_the_skeleton_is_the_one_whose_name_the_motion_has(tmp_path):
    path = tmp_path / "07_01.amc"
    with pytest.raises(FormatError, match="07.asf.*there is no"):
        find_asf(path)
    for name in ("70", "8"):
        (tmp_path / f"{name}.asf").touch()
    with pytest.raises(FormatError, match="there are 70.asf, 8.asf"):
        find_asf(path)
    (tmp_path / "07.asf").touch()
    assert find_asf(path).name == "07.asf"


# ------------------------------------------------------------------------------------------ SMPL

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


@pytest.fixture
def body_model(tmp_path):
    """A body whose vertices are its joints; the shape's first number is a tenth of its size."""
    joints = smpl_joints()
    path = tmp_path / "model.npz"
    tree = np.array([SMPL_TREE, range(22)]).astype(np.uint32)
    arrays = dict(
        v_template=joints,
        shapedirs=np.stack([0.1 * joints, 0 * joints], axis=-1),
        J_regressor=np.eye(22),
        kintree_table=tree,
        weights=np.eye(22),
    )
    np.savez(path, **arrays)
    return path


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


@pytest.mark.parametrize("rate", ["mocap_framerate", "mocap_frame_rate"])
def test_smpl_joints_are_where_explicit_transforms_put_them(tmp_path, body_model, rate):
    path = smpl_motion(tmp_path / "eva" / "walk_poses.npz", rate=rate)
    motion = read_smpl(path, load_body_model(body_model))
    poses = np.load(path)["poses"][:, :66].reshape(-1, 22, 3)
    rest = 1.05 * smpl_joints()
    local = rotation_vectors(poses)
    expected, _ = posed(local, rest[0] + z_up(walk()), rest, SMPL_TREE)
    assert motion.positions == pytest.approx(expected, abs=1e-9)
    (clip,), _ = imported(path, tmp_path, body_model=body_model)
    hips = expected[:, [BODY_JOINTS.index("left_hip"), BODY_JOINTS.index("right_hip")]].mean(1)
    for joint in ("left_knee", "right_wrist", "left_elbow"):
        relative = clip.positions[:, J(joint)] - clip.positions[:, 0]
        assert relative == pytest.approx(expected[:, BODY_JOINTS.index(joint)] - hips, abs=1.2e-3)
    assert clip.subject == "eva"


def test_up_is_z_in_smpl_files_where_the_person_lies(tmp_path, body_model):
    poses = np.zeros((8, 156))
    path = smpl_motion(tmp_path / "eva" / "lie_poses.npz", poses=poses)
    (clip,), _ = imported(path, tmp_path, body_model=body_model)
    trunk = clip.positions[:, J("thorax")] - clip.positions[:, 0]
    assert np.abs(trunk[:, 2]).max() < 0.05


def test_rotation_vectors_are_rotations():
    for axis, vector in (("x", [0.7, 0, 0]), ("y", [0, -2.1, 0]), ("z", [0, 0, 3.0])):
        expected = turn(axis, math.degrees(sum(vector)))
        assert rotation_vectors(np.array(vector)) == pytest.approx(expected)
    assert rotation_vectors(np.zeros((2, 3))) == pytest.approx(np.eye(3)[None].repeat(2, 0))
    vector = np.array([0.3, -0.4, 1.2])
    matrix = rotation_vectors(vector)
    assert matrix @ vector == pytest.approx(vector) and np.linalg.det(matrix) == pytest.approx(1)
    assert np.trace(matrix) == pytest.approx(1 + 2 * math.cos(1.3))


def test_a_regressor_gives_points_of_the_posed_surface(tmp_path, body_model):
    path = smpl_motion(tmp_path / "eva" / "walk_poses.npz")
    of_model = read_smpl(path, load_body_model(body_model))
    matrix = np.zeros((17, 22))
    for joint in H36M17.joints:
        at = joint if joint in BODY_JOINTS else {"thorax": "neck", "spine": "spine2"}.get(joint)
        matrix[J(joint), BODY_JOINTS.index(at or "head")] = 1
    matrix[J("pelvis")] = 0
    matrix[J("pelvis"), [1, 2]] = 0.5
    regressor = tmp_path / "regressor.npy"
    np.save(regressor, matrix)
    found = read_smpl(path, load_body_model(body_model, regressor))
    expected = np.einsum("pk,nkc->npc", matrix, of_model.positions)
    assert found.positions == pytest.approx(expected, abs=1e-9)
    assert to_h36m17(found, map_joints(found)) == pytest.approx(expected, abs=1e-9)


def test_smpl_needs_a_body_model_and_says_where_it_is_found(tmp_path):
    path = smpl_motion(tmp_path / "eva" / "walk_poses.npz")
    with pytest.raises(FormatError, match=r"--body-model.*smpl\.is\.tue\.mpg\.de"):
        imported(path, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trans": None}, "trans"),
        ({"mocap_framerate": None}, "mocap_framerate"),
        ({"mocap_framerate": 0.0}, "frame rate"),
        ({"poses": np.zeros((8, 30))}, "poses are"),
        ({"trans": np.zeros((7, 3))}, "trans is"),
        ({"poses": np.zeros((1, 156)), "trans": np.zeros((1, 3))}, "1 frames"),
        ({"betas": np.full(16, np.nan)}, "betas"),
        ({"betas": np.array([None, "x"], dtype=object)}, "cannot be read"),
    ],
)
def test_damaged_smpl_files_are_refused(tmp_path, body_model, changes, message):
    path = smpl_motion(tmp_path / "eva" / "walk_poses.npz", **changes)
    with pytest.raises(FormatError, match=message):
        imported(path, tmp_path, body_model=body_model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"J_regressor": None}, "no J_regressor"),
        ({"J_regressor": np.eye(21)}, "fit together"),
        ({"v_template": np.array([{}], dtype=object)}, "v_template cannot be read"),
    ],
)
def test_damaged_body_models_are_refused(body_model, changes, message):
    arrays = {**np.load(body_model), **changes}
    np.savez(body_model, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(FormatError, match=message):
        load_body_model(body_model)


def test_pickles_are_not_opened(tmp_path, body_model):
    (tmp_path / "model.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(FormatError, match="cannot be read"):
        load_body_model(tmp_path / "model.pkl")
    with pytest.raises(FormatError, match="regressor .* cannot be read"):
        load_body_model(body_model, tmp_path / "model.pkl")


# ---------------------------------------------------------------------------------- the npz itself


def clip_of(motion, name="a", subject="anna"):
    return Clip(name, subject, "stand", motion, "here")


def test_the_trainer_reads_what_is_written(bvh, tmp_path):
    folder = tmp_path / "mocap"
    paths = [bvh("one", angles(20, 1)), bvh("two", angles(30, 2), subject="bert")]
    import_mocap(paths, folder / "mine.npz", ImportOptions(licence="CC0 1.0", source="home"))
    read = load_mocap(folder)
    assert list(read.subjects) == ["anna", "bert"] and list(read.lengths) == [20, 30]
    stored = read_archive(folder / "mine.npz").clips[1].positions
    assert_same_pose(stored, truth(angles(30, 2), walk(30))[0])
    assert read.positions[20:] == pytest.approx(to_anatomical_centres(stored), abs=1e-5)
    with np.load(folder / "mine.npz", allow_pickle=False) as data:
        assert data["pos_mm"].dtype == np.int16 and float(data["fps"]) == 30
        assert data["starts"].dtype == data["lengths"].dtype == np.int64
        assert str(data["licence"]) == "CC0 1.0" and str(data["up"]) == "z"
        assert set(data["source"]) == {"home"} and "nose" in str(data["note"])
        assert set(data.files) == {
            *("pos_mm", "starts", "lengths", "clip", "subject", "action", "source"),
            *("joints", "parents", "fps", "up", "licence", "note"),
        }


def test_our_own_format_is_read_checked_and_resampled(tmp_path):
    path = tmp_path / "own.npz"
    motion = person(100) + np.arange(100)[:, None, None] / 50 * (0.5, 0, 0)
    clips = [clip_of(motion), clip_of(motion[:51], "b", "bert"), clip_of(motion[:1], "c")]
    write_archive(path, Archive(clips, 50.0, "CC0", "as it was"))
    found, report = imported(path, tmp_path)
    assert [(c.name, c.subject, len(c.positions)) for c in found] == [
        ("a", "anna", 60),
        ("b", "bert", 31),
    ]
    assert found[0].positions == pytest.approx(resample(motion, 50.0), abs=1.1e-3)
    assert report.scraps == 1 and not report.notes
    archive = read_archive(tmp_path / "out.npz")
    assert (archive.licence, archive.note, archive.rate_hz) == ("CC0", "as it was", 30.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos_mm": None, "fps": None}, "no fps, pos_mm"),
        ({"pos_mm": np.zeros((9, 16, 3))}, "16"),
        ({"up": "y"}, "y up"),
        ({"fps": np.nan}, "frame rate"),
        ({"fps": "fast"}, "frame rate"),
        ({"fps": np.array([30.0, 30.0])}, "frame rate"),
        ({"joints": np.array(H36M17.joints[::-1])}, "joints"),
        ({"lengths": np.array([99])}, "outside"),
        ({"subject": np.array(["a", "b"])}, "one length"),
        ({"starts": np.array([0.5])}, "whole numbers"),
        ({"pos_mm": np.rint(person(9)).astype(np.int16)}, "m long|one place"),
    ],
)
def test_damaged_archives_are_refused(tmp_path, changes, message):
    path = tmp_path / "own.npz"
    write_archive(path, Archive([clip_of(person(9))], 50.0))
    arrays = {**np.load(path), **changes}
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(FormatError, match=message):
        imported(path, tmp_path)


def test_files_that_are_no_npz_are_refused(tmp_path):
    whole, bad = tmp_path / "own.npz", tmp_path / "bad.npz"
    write_archive(whole, Archive([clip_of(person(90))], 30.0))
    data = whole.read_bytes()
    for damaged in (b"", b"PK\x03\x04 no", data[: len(data) // 2], data[:400] + data[420:]):
        bad.write_bytes(damaged)
        with pytest.raises(FormatError, match="bad.npz.*is no readable npz"):
            imported(bad, tmp_path)
    with open(bad, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(FormatError, match="bad.npz.*is no readable npz"):
        imported(bad, tmp_path)


def test_a_bad_clip_does_not_cost_the_others(tmp_path):
    path = tmp_path / "own.npz"
    write_archive(path, Archive([clip_of(person(9)), clip_of(person(9) * 2, "giant")], 30.0))
    (clip,), report = imported(path, tmp_path)
    assert clip.name == "a"
    ((_, why),) = report.refused
    assert "clip giant" in why and "m long" in why


def test_what_does_not_fit_is_not_written(tmp_path):
    path = tmp_path / "own.npz"
    for motion in (person(2) + 40, person(2) * np.nan):
        with pytest.raises(FormatError, match="within 32.767 m"):
            write_archive(path, Archive([clip_of(motion)], 30.0))
    with pytest.raises(FormatError, match="no clips"):
        write_archive(path, Archive([], 30.0))
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------- folders, commands


def test_one_bad_file_does_not_stop_the_others(bvh, tmp_path):
    bvh("good")
    bvh("broken").write_text("no")
    (tmp_path / "in" / "readme.txt").touch()
    clips, report = imported([tmp_path / "in", tmp_path / "absent.bvh"], tmp_path)
    assert [c.name for c in clips] == ["anna/good"]
    assert [(p.name, bool(why)) for p, why in report.refused] == [
        ("broken.bvh", True),
        ("absent.bvh", True),
    ]
    assert any("licence" in note for note in report.notes)


def test_when_nothing_is_left_the_old_file_stays(bvh, tmp_path):
    out = tmp_path / "out.npz"
    out.write_text("old")
    path = bvh()
    path.write_text("no")
    with pytest.raises(FormatError, match=r"HIERARCHY"):
        import_mocap([path], out)
    path.unlink()
    with pytest.raises(FormatError, match="holds no .bvh"):
        import_mocap([path.parent], out)
    with pytest.raises(FormatError, match="must be an .npz"):
        import_mocap([path], tmp_path / "out.txt")
    assert out.read_text() == "old" and not list(tmp_path.glob("*.part*"))


def test_subjects_come_from_folders_or_a_pattern(bvh, tmp_path):
    paths = [bvh("s1_walk"), bvh("s2_walk"), bvh("other")]
    clips, report = imported(paths, tmp_path, subject_pattern=r"(s\d)_")
    assert [c.subject for c in clips] == ["s1", "s2"]
    assert "pattern" in report.refused[0][1]
    with pytest.raises(FormatError, match="regular expression"):
        imported(paths, tmp_path, subject_pattern="(")


def test_clips_of_one_name_are_numbered(bvh, tmp_path):
    clips, _ = imported([bvh("walk"), bvh("walk", subject="bert")], tmp_path)
    assert [c.name for c in clips] == ["walk", "walk~2"]


def command(*arguments):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    args = parser.parse_args([str(a) for a in arguments])
    args.run(args)


def test_the_commands_import_and_show(bvh, tmp_path, capsys):
    bvh("good")
    bvh("broken").write_text("no")
    out, pictures = tmp_path / "out.npz", tmp_path / "pictures"
    command("mocap", "import", tmp_path / "in", "--out", out, "--unit", "m", "--licence", "mine")
    printed = capsys.readouterr()
    assert "1 clips" in printed.out and "1 refused" in printed.out
    assert "broken.bvh: is no BVH" in printed.err
    command("mocap", "show", out, "--clip", "*good", "--out", pictures)
    assert [p.name for p in pictures.iterdir()] == ["anna_good.png"]
    assert (pictures / "anna_good.png").read_bytes().startswith(b"\x89PNG")
    for arguments, message in (
        ((out, "--clip", "bad*"), "anna/good"),
        ((tmp_path / "none.npz",), "none.npz"),
    ):
        with pytest.raises(FormatError, match=message):
            command("mocap", "show", *arguments, "--out", pictures)
    with pytest.raises(SystemExit):
        command("mocap", "show", out, "--limit", "0", "--out", pictures)
    assert "from 1, not '0'" in capsys.readouterr().err


def test_pictures_show_the_person_from_where_they_say():
    pose = person(2)
    assert facing(pose) == pytest.approx(-math.pi / 2)
    front, left = (side_on(pose, facing(pose) + a)[0] for a in (0.0, math.pi / 2))
    assert front[J("left_wrist"), 0] > 0.5 > -0.5 > front[J("right_wrist"), 0]
    # Seen from the left, a person faces left.
    assert left[J("nose"), 0] < left[J("head_top"), 0] - 0.05
    assert front[:, 1] == pytest.approx(pose[0, :, 2])
