"""Training: motion capture, synthetic views, losses and metrics."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_people import RATE_HZ, STANDING, mocap_folder, smooth_motion, write_mocap

from emf_ros.lift.root import solve_root
from emf_ros.skeletons import H36M17
from emf_ros.train.detector_errors import DetectorErrors
from emf_ros.train.losses import (
    LossWeights,
    motion_terms,
    pose_losses,
    total_loss,
)
from emf_ros.train.metrics import acceleration_error, mpjpe, mpjve, n_mpjpe, p_mpjpe
from emf_ros.train.mocap import (
    RIG_OFFSETS,
    MocapError,
    WindowSampler,
    held_back,
    load_mocap,
    to_anatomical_centres,
)
from emf_ros.train.synthesis import CameraRanges, Synthesizer

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_torch_thread")


SIDES = ("left", "right")


@pytest.fixture
def mocap(tmp_path):
    return mocap_folder(tmp_path / "mocap")


# ------------------------------------------------------------------------------ motion capture


def test_mocap_is_split_by_subject_in_metres(mocap):
    train, validation = load_mocap(mocap, "train"), load_mocap(mocap, "validation")
    assert sorted(train.subjects) == ["a", "b"]
    assert sorted(validation.subjects) == ["cmu02", "cmu49"]
    assert set(train.sources) == {"tiny"} and set(train.rates) == {RATE_HZ}
    assert sorted(load_mocap(mocap).subjects) == ["a", "b", "cmu02", "cmu49"]
    for clips, subject, seed, length in ((train, "b", 2, 190), (validation, "cmu49", 7, 90)):
        i = list(clips.subjects).index(subject)
        found = clips.positions[clips.starts[i] : clips.starts[i] + clips.lengths[i]]
        moved = to_anatomical_centres(smooth_motion(length, seed))
        assert found == pytest.approx(moved, abs=6e-4)


def test_hips_and_shoulders_are_moved_to_anatomical_centres():
    """A person who stands upright: the shifts are shares of the trunk, sideways and upwards."""
    pose = STANDING[None].astype(float)
    joint = {name: H36M17.index(name) for name in H36M17.joints}
    trunk = 0.5 * sum(pose[0, joint[f"{s}_shoulder"]] - pose[0, joint[f"{s}_hip"]] for s in SIDES)
    length, up = np.linalg.norm(trunk), trunk / np.linalg.norm(trunk)
    moved = to_anatomical_centres(pose)[0] - pose[0]
    assert set(RIG_OFFSETS) == {"hip", "shoulder"}
    for kind, offset in RIG_OFFSETS.items():
        across = pose[0, joint[f"left_{kind}"]] - pose[0, joint[f"right_{kind}"]]
        across /= np.linalg.norm(across)
        for side, sign in zip(SIDES, (1, -1), strict=True):
            expected = length * (sign * offset.out * across + offset.up * up)
            assert moved[joint[f"{side}_{kind}"]] == pytest.approx(expected, abs=1e-9)
    new = pose[0] + moved
    middle = 0.5 * (new[joint["left_hip"]] + new[joint["right_hip"]])
    assert new[joint["pelvis"]] == pytest.approx(middle, abs=1e-9)
    others = [i for name, i in joint.items() if not name.endswith(("hip", "shoulder", "pelvis"))]
    assert (moved[others] == 0).all()


def test_a_source_with_anatomical_joints_stays_as_it_is(tmp_path):
    write_mocap(tmp_path / "nimble.npz", [("a", smooth_motion(20, 3))])
    assert load_mocap(tmp_path).positions == pytest.approx(smooth_motion(20, 3), abs=6e-4)


def test_clips_that_overlap_have_their_joints_moved_once(tmp_path):
    """Windows of a long recording, as a user may cut it."""
    motion = smooth_motion(90, 3)
    path = tmp_path / "mine.npz"
    write_mocap(path, [("a", motion), ("b", smooth_motion(40, 4))])
    starts, lengths = [0, 30, 0, 50, 90], [60, 60, 90, 2, 40]
    subjects = np.array([*"aaaa", "b"])
    actions = np.array(["walk"] * 5)
    changes = {"starts": np.array(starts), "lengths": np.array(lengths)}
    spoilt(path, **changes, subject=subjects, action=actions)
    clips = load_mocap(tmp_path)
    assert list(clips.lengths) == lengths
    for start, own, length in zip(starts[:4], clips.starts, lengths, strict=False):
        moved = to_anatomical_centres(motion[start : start + length])
        assert clips.positions[own : own + length] == pytest.approx(moved, abs=6e-4)
    of_b = clips.positions[clips.starts[4] : clips.starts[4] + 40]
    assert of_b == pytest.approx(to_anatomical_centres(smooth_motion(40, 4)), abs=6e-4)


def test_clips_of_two_subjects_that_share_frames_are_refused(tmp_path):
    """Else training and validation might share them."""
    path = tmp_path / "mine.npz"
    write_mocap(path, [("a", smooth_motion(60, 3)), ("b", smooth_motion(40, 4))])
    spoilt(path, starts=np.array([0, 59]))
    with pytest.raises(MocapError, match="mine.npz .*clip mine_1 of subject b .*one subject"):
        load_mocap(tmp_path)


def test_clips_without_motion_are_left_out_and_counted(mocap):
    assert load_mocap(mocap, "train").left_out == 1
    write_mocap(mocap / "none.npz", [("d", STANDING[None][:0]), ("e", smooth_motion(20, 3))])
    train = load_mocap(mocap, "train")
    assert train.left_out == 2 and "d" not in train.subjects and "e" in train.subjects


def test_a_folder_of_nothing_but_stills_is_refused(tmp_path):
    write_mocap(tmp_path / "still.npz", [("a", STANDING[None]), ("b", STANDING[None])])
    with pytest.raises(MocapError, match="no clip of two frames"):
        load_mocap(tmp_path)


def test_minutes_and_clips_of_some_subjects(mocap):
    clips = load_mocap(mocap)
    some = clips.of({"a", "cmu49"})
    assert sorted(some.subjects) == ["a", "cmu49"]
    assert some.minutes == pytest.approx((150 + 90) / RATE_HZ / 60)


def test_sources_that_repeat_themselves_are_drawn_less(mocap):
    write_mocap(mocap / "snu_walk.npz", [("d", smooth_motion(60, 1))])
    train = load_mocap(mocap, "train")
    share = train.weights / train.lengths
    walk, other = share[train.sources == "snu_walk"], share[train.sources != "snu_walk"]
    assert walk == pytest.approx(0.15 * other[0] * np.ones(1))


def test_invalid_motion_capture_files_are_refused(mocap, tmp_path):
    with pytest.raises(MocapError, match="no .npz"):
        load_mocap(tmp_path, "train")
    with pytest.raises(ValueError, match="'test'"):
        load_mocap(mocap, "test")
    np.savez(mocap / "wrong.npz", positions=np.zeros(3))
    with pytest.raises(MocapError, match="wrong.npz has no .*pos_mm"):
        load_mocap(mocap, "train")
    whole = (mocap / "tiny.npz").read_bytes()
    (mocap / "wrong.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MocapError, match="wrong.npz is no readable npz"):
        load_mocap(mocap, "train")
    (mocap / "wrong.npz").write_bytes(b"no zip file")
    with pytest.raises(MocapError, match="wrong.npz is no readable npz"):
        load_mocap(mocap, "train")


def spoilt(path, **changes):
    """The file again with some arrays replaced."""
    with np.load(path) as data:
        arrays = {**data, **changes}
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos_mm": np.zeros((510, 16, 3), np.int16)}, r"\(510, 16, 3\), not \(N, 17, 3\)"),
        ({"fps": 0.0}, "0.0 is no frame rate"),
        ({"fps": np.nan}, "nan is no frame rate"),
        ({"fps": np.array(["fast"])}, "fast.* is no frame rate"),
        ({"starts": np.array([0, 150, 400])}, "outside of its 510 frames"),
        ({"lengths": np.array([150, 170])}, "3 starts, 2 lengths"),
        ({"joints": np.array([*H36M17.joints[:-1], "tail"])}, "missing: right_wrist"),
        ({"joints": np.array(H36M17.joints[::-1])}, "not those of h36m17 in their order$"),
        ({"pos_mm": np.full((510, 17, 3), "x")}, "must be numbers"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(mocap, changes, message):
    spoilt(mocap / "tiny.npz", **changes)
    with pytest.raises(MocapError, match=f"tiny.npz.*{message}"):
        load_mocap(mocap)


def test_markers_that_are_not_numbers_are_refused_by_frame(mocap):
    with np.load(mocap / "tiny.npz") as data:
        positions = data["pos_mm"].astype(np.float32)
    positions[37, 4, 1] = np.nan
    spoilt(mocap / "tiny.npz", pos_mm=positions)
    with pytest.raises(MocapError, match="tiny.npz: frame 37"):
        load_mocap(mocap)


@pytest.mark.parametrize(
    ("unit", "factor"), [("metres", 0.001), ("feet", 0.00328), ("cm", 0.1), ("10 um", 100.0)]
)
def test_other_units_are_refused(mocap, unit, factor):
    with np.load(mocap / "tiny.npz") as data:
        positions = data["pos_mm"] * factor
    spoilt(mocap / "tiny.npz", pos_mm=positions.astype(np.float32))
    with pytest.raises(MocapError, match="tiny.npz: legs are .* millimetres"):
        load_mocap(mocap)


def test_subjects_are_held_back_by_name_or_every_eighth():
    assert held_back({"cmu02", "cmu03", "x"}) == {"cmu02"}
    assert held_back({f"s{i}" for i in range(1, 10)}) == {"s1", "s9"}
    assert held_back({"a", "b", "c"}) == {"a"}
    assert held_back({"a", "b", "c"}, ["c", "b"]) == {"b", "c"}
    assert held_back({"a", "b", "cmu02"}, (), {"a", "cmu02", "x"}) == {"b"}


@pytest.mark.parametrize(
    ("subjects", "asked", "message"),
    [
        ({"a"}, (), "must not share subjects.*there is a"),
        ({"cmu02", "cmu07"}, (), "must not share.*there are cmu02, cmu07"),
        ({"a", "b"}, ("a", "b"), "must not share"),
        ({"a", "b"}, ("c",), "no clip of the validation subjects c; there are a, b"),
    ],
)
def test_no_subject_is_on_both_sides_of_the_split(subjects, asked, message):
    with pytest.raises(MocapError, match=message):
        held_back(subjects, asked)


def even_motion(speed):
    """Clips of a person who moves evenly along x, at 50 Hz; m/s."""
    motion = np.repeat(STANDING[None], 400, axis=0)
    motion[..., 0] += speed * np.arange(400)[:, None] / RATE_HZ
    return motion


def test_files_of_other_rates_play_at_the_same_speed(tmp_path):
    write_mocap(tmp_path / "slow.npz", [("a", even_motion(1.5)[:200])])
    write_mocap(tmp_path / "fast.npz", [("b", even_motion(0.6)[:200])], fps=125.0)
    step = drawn(tmp_path, split="all")[..., 0].diff(dim=1)
    assert torch.allclose(step, torch.full_like(step, 1.5 / 30), atol=2e-3)


def drawn(folder, rate_hz=30.0, frames=9, batch=32, speed=(1.0, 1.0), seed=0, split="all"):
    sampler = WindowSampler(load_mocap(folder, split), rate_hz, CPU)
    return sampler.draw(batch, frames, torch.Generator().manual_seed(seed), speed)


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.4])
def test_windows_have_the_models_rate_and_the_speed_asked_for(tmp_path, speed):
    write_mocap(tmp_path / "even.npz", [("a", even_motion(1.5))])
    step = drawn(tmp_path, speed=(speed, speed))[..., 0].diff(dim=1)
    assert torch.allclose(step, torch.full_like(step, 1.5 * speed / 30), atol=2e-3)


def test_windows_never_cross_into_another_clip(tmp_path):
    clips = [(f"s{i}", np.repeat(STANDING[None], 40, axis=0) + float(i)) for i in range(5)]
    write_mocap(tmp_path / "steps.npz", clips)
    windows = drawn(tmp_path, frames=27, batch=200)
    assert torch.allclose(windows, windows[:, :1].expand_as(windows), atol=1e-5)
    assert set(windows[:, 0, 0, 0].round(decimals=3).tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}


def test_a_clip_shorter_than_the_window_ends_by_standing_still(tmp_path):
    write_mocap(tmp_path / "short.npz", [("a", even_motion(1.5)[:6])])
    windows = drawn(tmp_path, frames=27)
    assert torch.allclose(windows[:, 0, 0, 0], torch.zeros(32), atol=1e-3)
    assert torch.allclose(windows[:, 10:, 0, 0], torch.tensor(1.5 * 5 / 50), atol=1e-3)


# ------------------------------------------------------------------------------ synthesis


def motion_batch(batch=64, frames=9):
    return torch.from_numpy(
        np.stack([smooth_motion(frames, seed) for seed in range(batch)]).astype(np.float32)
    )


def exact(motion=None, **ranges):
    motion = motion_batch() if motion is None else motion
    return Synthesizer(CPU, 0, replace(CameraRanges(), **ranges)).batch(motion)


@pytest.fixture(scope="module")
def noisy():
    return Synthesizer(CPU, 0, errors=DetectorErrors()).batch(motion_batch(256, 27))


def test_people_are_in_front_of_the_camera_at_the_distance_asked_for():
    joints = exact(distance_m=(4.0, 6.0)).joints
    assert (joints[..., 2] > 0.5).all()
    nearest = joints[:, :, 0].norm(dim=-1).amin(dim=1), joints[:, :, 0].norm(dim=-1).amax(dim=1)
    # At one frame of the window the pelvis is at that distance; it moves a little in the others.
    assert (nearest[0] < 6.1).all() and (nearest[1] > 3.9).all()


def test_people_stand_upright_in_a_level_image():
    joints = exact(pitch_deg=(0.0, 0.0), roll_deg=0.0).joints
    down = joints[:, :, H36M17.index("left_ankle")] - joints[:, :, H36M17.index("head_top")]
    assert (down[..., 1] > 1.2).all() and (down[..., [0, 2]].abs() < 0.7).all()


def test_a_camera_that_looks_down_sees_the_head_nearer_than_the_feet():
    def feet_behind_head(pitch):
        joints = exact(pitch_deg=(pitch, pitch), roll_deg=0.0).joints
        feet, head = H36M17.index("left_ankle"), H36M17.index("head_top")
        return joints[:, :, feet, 2] - joints[:, :, head, 2]

    assert (feet_behind_head(40.0) > 0.5).all() and (feet_behind_head(-25.0) < -0.1).all()


def test_bones_keep_their_lengths_up_to_the_body_scale():
    def bones(x):
        return torch.stack([(x[:, :, a] - x[:, :, b]).norm(dim=-1) for a, b in H36M17.edges], -1)

    share = bones(exact(mirror=0.0, body_scale=(0.8, 1.2)).joints) / bones(motion_batch())
    assert torch.allclose(share, share[:, :1, :1].expand_as(share), atol=1e-4)
    scales = share[:, 0, 0]
    assert 0.8 <= scales.min() < 0.88 and 1.12 < scales.max() <= 1.2


def handedness(joints):
    """Signed volume of left, down and forward: its sign tells a person from the mirror image."""

    def at(name):
        return joints[:, :, H36M17.index(name)]

    left = at("left_shoulder") - at("right_shoulder")
    down = at("pelvis") - at("thorax")
    ahead = at("nose") - (at("thorax") + at("head_top")) / 2
    return (torch.linalg.cross(left, down) * ahead).sum(-1).mean(dim=1)


def test_mirrored_people_have_their_left_on_the_left():
    standing = torch.tensor(STANDING, dtype=torch.float32).expand(64, 9, 17, 3)
    assert (handedness(standing) < -0.01).all()
    for share in (0.0, 1.0):
        assert (handedness(exact(standing, mirror=share).joints) < -0.005).all()


def test_mirroring_changes_the_motion():
    a, b = exact(mirror=0.0), exact(mirror=1.0)
    arm, leg = H36M17.index("left_wrist"), H36M17.index("right_wrist")
    length = (a.joints[:, :, arm] - a.joints[:, :, 0]).norm(dim=-1)
    mirrored = (b.joints[:, :, leg] - b.joints[:, :, 0]).norm(dim=-1)
    assert torch.allclose(length, mirrored, atol=1e-4)
    assert not torch.allclose(a.joints, b.joints, atol=1e-2)


def test_exact_keypoints_are_the_projected_joints():
    batch = exact()
    seen = batch.joints[..., 2] > 0.05
    rays = batch.joints[..., :2] / batch.joints[..., 2:]
    assert torch.allclose(batch.rays[seen], rays[seen], atol=1e-5)
    assert (batch.scores[seen] == 1).all()


def test_targets_are_the_joints_in_the_virtual_camera():
    batch = exact()
    relative = batch.joints - batch.joints[:, :, :1]
    back = torch.einsum("bij,btkj->btki", batch.rotation.mT, batch.targets)
    assert torch.allclose(back, relative, atol=1e-5)
    # The virtual camera looks at the person.
    middle = batch.joints.mean(dim=(1, 2))
    turned = torch.einsum("bij,bj->bi", batch.rotation, middle / middle.norm(dim=-1, keepdim=True))
    assert (turned[:, 2] > 0.97).all()


def test_targets_and_exact_rays_fix_the_root():
    batch = exact()
    relative = torch.einsum("bij,bkj->bki", batch.rotation.mT, batch.targets[:, -1])
    args = (relative.double(), batch.rays[:, -1].double(), batch.scores[:, -1].double())
    solved = solve_root(*args)
    ahead = (batch.joints[:, -1, :, 2] > 0.1).all(dim=-1)
    assert solved.valid[ahead].all() and ahead.sum() > 50
    assert torch.allclose(solved.root[ahead], batch.joints[:, -1, 0].double()[ahead], atol=1e-3)


def test_noisy_batches_are_finite(noisy):
    for name in ("keypoints", "targets", "rays", "scores", "joints", "rotation"):
        assert getattr(noisy, name).isfinite().all(), name


def test_scores_are_scores_and_missing_keypoints_are_zero(noisy):
    scores = noisy.keypoints[..., 2]
    assert scores.min() == 0 and 0.9 < scores.max() <= 1
    assert (noisy.keypoints[scores == 0] == 0).all()
    assert 0.01 < (scores == 0).float().mean() < 0.3


def test_some_frames_are_gone_and_some_windows_begin_still(noisy):
    gone = (noisy.scores == 0).all(dim=-1)
    assert 0.03 < gone.any(dim=1).float().mean() < 0.35
    still = (noisy.joints[:, 1] == noisy.joints[:, 0]).all(dim=-1).all(dim=-1)
    # The live system repeats an observation with its error.
    assert torch.equal(noisy.rays[still, 0], noisy.rays[still, 1])
    assert 0.05 < still.float().mean() < 0.3


def test_the_same_seed_gives_the_same_batches():
    def two(seed):
        synthesizer = Synthesizer(CPU, seed, errors=DetectorErrors())
        return [synthesizer.batch(motion_batch(4)).keypoints for _ in range(2)]

    first, again, other = two(5), two(5), two(6)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])


# ------------------------------------------------------------------------------ losses


def test_losses_of_a_hand_computed_example():
    """One person of pelvis and one joint, four frames. The joint is 0, 3, 0, 0 mm off along x and
    0, 4, 0, 0 along y: norms 5; differences 5, 5, 0; second differences 10, 5."""
    targets = torch.zeros(1, 4, 2, 3)
    targets[:, :, 1, 2] = torch.tensor([1.0, 2, 3, 4])  # moves evenly: no second difference
    positions = targets.clone()
    positions[0, 1, 1, :2] = torch.tensor([0.003, 0.004])
    log_scale = torch.full((1, 4, 2), math.log(0.002))
    terms = pose_losses(positions, log_scale, targets)
    # Means are over pelvis and joint.
    assert terms["position"].item() == pytest.approx(0.005 / 8, abs=2e-6)
    assert terms["velocity"].item() == pytest.approx(0.010 / 6, abs=2e-6)
    assert terms["acceleration"].item() == pytest.approx(0.015 / 4, abs=2e-6)
    assert terms["smoothness"].item() == pytest.approx(0.015 / 4, abs=2e-6)
    # 3 log b + |error| / b, of the joint alone: |0.003| + |0.004| in one frame of four.
    expected = 3 * math.log(0.002) + 0.007 / 0.002 / 4
    assert terms["likelihood"].item() == pytest.approx(expected, rel=1e-5)
    total = total_loss(terms, LossWeights(1.0, 0.5, 0.1, 0.05)).item()
    assert total == pytest.approx(
        0.000625 + 0.01 / 6 + 0.5 * 0.00375 + 0.1 * 0.00375 + 0.05 * expected, abs=2e-5
    )


def test_the_papers_objective_as_printed_by_hand():
    """The same motion with squared norms: 25; 25, 25, 0; 100, 25 mm^2."""
    targets = torch.zeros(1, 4, 2, 3)
    targets[:, :, 1, 2] = torch.tensor([1.0, 2, 3, 4])
    positions = targets.clone()
    positions[0, 1, 1, :2] = torch.tensor([0.003, 0.004])
    terms = motion_terms(positions, targets, "squared")
    expected = {
        "position": 25e-6 / 8,
        "velocity": 50e-6 / 6,
        "acceleration": 125e-6 / 4,
        "smoothness": 125e-6 / 4,
    }
    # float32 beside positions of metres.
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(expected, rel=1e-3)
    total = 25e-6 / 8 + 1.0 * 50e-6 / 6 + 0.5 * 125e-6 / 4 + 0.1 * 125e-6 / 4
    terms["likelihood"] = torch.tensor(3.0)
    weighted = total_loss(terms, LossWeights(likelihood=0.0))
    assert weighted.item() == pytest.approx(total, rel=1e-3)
    weighted = total_loss(terms, LossWeights(0.0, 0.0, 2.0, 0.1))
    assert weighted.item() == pytest.approx(25e-6 / 8 + 2 * 125e-6 / 4 + 0.3, rel=1e-3)


def test_the_objective_of_a_constant_error_is_its_position_alone():
    targets = torch.randn(2, 5, 17, 3)
    shifted = targets + torch.tensor([0.0, 0.3, 0.4])
    terms = motion_terms(shifted, targets, "squared")
    assert terms["position"].item() == pytest.approx(0.25, rel=1e-5)
    assert terms["velocity"].item() < 1e-12 and terms["acceleration"].item() < 1e-12
    assert terms["smoothness"].item() > 1.0


@pytest.mark.parametrize("frames", [1, 2])
def test_a_clip_too_short_for_a_difference_has_no_term_of_it(frames):
    positions = torch.ones(1, frames, 3, 3, requires_grad=True)
    terms = motion_terms(positions, torch.zeros(1, frames, 3, 3), "euclidean")
    assert terms["acceleration"].item() == 0.0 and terms["smoothness"].item() == 0.0
    sum(terms.values()).backward()
    assert positions.grad.isfinite().all()


def test_an_objective_of_other_shapes_or_distances_is_refused():
    with pytest.raises(ValueError, match="not .*4, 17, 3.* and .*5, 17, 3"):
        motion_terms(torch.zeros(1, 4, 17, 3), torch.zeros(1, 5, 17, 3), "squared")
    with pytest.raises(ValueError, match="euclidean, squared, not 'manhattan'"):
        motion_terms(torch.zeros(1, 4, 17, 3), torch.zeros(1, 4, 17, 3), "manhattan")


def test_smoothness_is_of_the_prediction_and_not_of_the_error():
    jumping = torch.zeros(1, 3, 2, 3)
    jumping[0, 1, 1, 0] = 1.0
    terms = pose_losses(jumping, torch.zeros(1, 3, 2), jumping)
    assert terms["acceleration"].item() < 1e-5
    assert terms["smoothness"].item() == pytest.approx(1.0, abs=1e-5)


def test_the_default_weights_are_the_papers():
    weights = LossWeights()
    assert (weights.velocity, weights.acceleration, weights.smoothness) == (1.0, 0.5, 0.1)


def test_the_confidence_loss_has_no_gradient_for_the_pose():
    positions = torch.randn(1, 4, 17, 3, requires_grad=True)
    log_scale = torch.zeros(1, 4, 17, requires_grad=True)
    pose_losses(positions, log_scale, torch.zeros(1, 4, 17, 3))["likelihood"].backward()
    assert positions.grad is None and log_scale.grad.abs().sum() > 0


def test_the_likelihood_is_best_at_the_true_scale():
    errors = torch.distributions.Laplace(0.0, 0.05).sample((1, 4, 4000, 3))
    scales = torch.tensor([0.03, 0.045, 0.05, 0.055, 0.08])
    losses = [
        pose_losses(errors, torch.full((1, 4, 4000), math.log(s)), torch.zeros_like(errors))[
            "likelihood"
        ].item()
        for s in scales
    ]
    assert int(np.argmin(losses)) in (1, 2, 3)


def test_a_perfect_prediction_has_finite_gradients():
    positions = torch.zeros(1, 4, 17, 3, requires_grad=True)
    terms = pose_losses(positions, torch.zeros(1, 4, 17), torch.zeros(1, 4, 17, 3))
    total_loss(terms, LossWeights()).backward()
    assert positions.grad.isfinite().all()


# ------------------------------------------------------------------------------ metrics


def poses(*shape, seed=0):
    return torch.randn(*shape, 17, 3, generator=torch.Generator().manual_seed(seed)).double()


def random_rotation(seed):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.linalg.det(q)
    return torch.from_numpy(q)


def test_mpjpe_is_the_mean_distance():
    truth = poses(2)
    off = torch.zeros_like(truth)
    off[0, 3] = torch.tensor([3.0, 0, 4.0])
    assert mpjpe(truth + off, truth).tolist() == pytest.approx([5 / 17, 0])


@pytest.mark.parametrize("seed", range(5))
def test_p_mpjpe_ignores_similarity_transforms(seed):
    truth = poses(6, seed=seed)
    moved = 1.7 * truth @ random_rotation(seed).T + torch.tensor([0.3, -2.0, 5.0])
    assert torch.allclose(p_mpjpe(moved, truth), torch.zeros(6).double(), atol=1e-9)
    noise = 0.1 * poses(6, seed=seed + 100)
    turned = (truth + noise) @ random_rotation(seed).T
    assert torch.allclose(p_mpjpe(turned, truth), p_mpjpe(truth + noise, truth))


def test_p_mpjpe_does_not_ignore_mirroring():
    truth = poses(6)
    mirrored = truth * torch.tensor([-1.0, 1, 1])
    assert (p_mpjpe(mirrored, truth) > 0.1).all()


def test_p_mpjpe_finds_the_best_transform():
    truth, predicted = poses(20), poses(20) + 0.3 * poses(20, seed=9)
    best = p_mpjpe(predicted, truth)
    # The squared error is what is minimised, so the mean distance is smaller all but always.
    assert (best < mpjpe(predicted, truth)).float().mean() > 0.9
    assert (best > 0.05).all()


def test_n_mpjpe_ignores_scale_alone():
    truth = poses(4)
    assert torch.allclose(n_mpjpe(0.4 * truth, truth), torch.zeros(4).double(), atol=1e-9)
    assert (n_mpjpe(truth @ random_rotation(1).T, truth) > 0.1).all()


def test_mpjve_sees_motion_and_no_offsets():
    truth = poses(2, 9)
    assert torch.allclose(mpjve(truth + 3, truth), torch.zeros(2).double(), atol=1e-9)
    drift = torch.arange(9).double()[:, None, None] * torch.tensor([0.0, 0.03, 0.04])
    assert mpjve(truth + drift, truth).tolist() == pytest.approx([0.05, 0.05])


def test_acceleration_error_is_in_metres_per_second_squared():
    truth = poses(2, 9)
    t = torch.arange(9).double()[:, None, None] / 30
    falling = truth + 0.5 * t**2 * torch.tensor([0, 9.81, 0])
    assert acceleration_error(falling, truth, 30.0).tolist() == pytest.approx([9.81, 9.81])
    assert acceleration_error(truth + 2 * t, truth, 30.0).tolist() == pytest.approx([0, 0])
