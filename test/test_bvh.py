"""BVH files: joints, names of joints, rest poses, damage."""

import numpy as np
import pytest
from mocap_samples import (
    CROWN,
    NAMES,
    RATE_HZ,
    J,
    angles,
    assert_same_pose,
    imported,
    scrambled,
    truth,
    walk,
    z_up,
)

from emf_ros.io.mocap import FormatError
from emf_ros.io.mocap.bvh import read_bvh


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


def test_the_imported_motion_equals_that_of_the_bvh(bvh, tmp_path):
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
