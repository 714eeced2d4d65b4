"""Changes of training motion: what each one keeps, and that no pose becomes impossible."""

from dataclasses import replace

import pytest
import torch
from moving_people import MODEL_RATE_HZ as RATE_HZ
from moving_people import SIDES, person, windows

from emf_ros.skeletons import H36M17
from emf_ros.train.articulated_body import bend_hinge, bone_offsets, hinge_angles, trunk_frames
from emf_ros.train.diversity import CHANGES, Diversity
from emf_ros.train.diversity_config import DiversityConfig
from emf_ros.train.possible_poses import trunk_clearance, valid_hinges, valid_limbs, valid_poses

NOTHING = DiversityConfig(**dict.fromkeys(CHANGES, 0.0))
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def changed_by(name, motion, seed=0, **options):
    config = replace(NOTHING, **{name: 1.0}, **options)
    return CHANGES[name](motion, config, generator(seed), RATE_HZ)


def lengths(motion):
    return bone_offsets(motion).norm(dim=-1)[..., 1:]


def directions(motion):
    """(..., 16, 3) of the bones, in the pelvis frame."""
    offsets = bone_offsets(motion)[..., 1:, :] @ trunk_frames(motion)[0]
    return offsets / offsets.norm(dim=-1, keepdim=True)


def acceleration(motion):
    """(B,) the largest of any joint, m/s^2."""
    second = (motion[:, 2:] - 2 * motion[:, 1:-1] + motion[:, :-2]) * RATE_HZ**2
    return second.norm(dim=-1).flatten(1).amax(1)


def lowest(motion):
    return motion[..., 2].amin(-1)


def joints(*names):
    return [H36M17.index(name) for name in names]


LIMB_ENDS = joints(*(f"{s}_{j}" for s in SIDES for j in ("knee", "ankle", "elbow", "wrist")))
TRUNK = [j for j in range(17) if j not in LIMB_ENDS]
ABOVE = joints("thorax", "nose", "head_top", "left_wrist", "right_wrist", "left_elbow")
LOWER = joints(*("pelvis", "left_hip", "left_knee", "left_ankle"), "right_hip", "right_ankle")


# -------------------------------------------------------------------------------- anatomy


def posed(hip=0.1, knee=0.1, shoulder=0.1, elbow=0.1, spread=0.25, heading=0.7):
    """(1, 17, 3): one pose, the same left and right."""
    angles = [[torch.tensor([a])] * 2 for a in (hip, knee, shoulder, elbow)]
    return person(torch.zeros(1), *angles, spread=spread, heading=heading)


@pytest.mark.parametrize(
    "angles",
    [
        {},
        {"knee": 2.4, "hip": 1.8},
        {"elbow": 2.4},
        {"shoulder": 1.5, "elbow": 1.0},
        {"shoulder": 2.9, "spread": 0.3},
        {"shoulder": -0.7, "elbow": 0.5},
        {"hip": 1.5, "knee": 1.5, "spread": 1.2},
    ],
)
@pytest.mark.parametrize("heading", [0.0, 2.0, 4.4])
def test_poses_of_people_are_valid(angles, heading):
    assert valid_poses(posed(**angles, heading=heading)).all()


@pytest.mark.parametrize("hip", [-0.3, 0.1, 1.2])
def test_a_knee_bent_forward_is_found(hip):
    assert valid_hinges(posed(hip=hip, knee=0.5))[0].tolist() == [True] * 4
    assert valid_hinges(posed(hip=hip, knee=-0.5))[0].tolist() == [True, True, False, False]


@pytest.mark.parametrize("shoulder", [-0.4, 0.1, 1.2])
def test_an_elbow_bent_backward_is_found(shoulder):
    assert (
        valid_hinges(posed(shoulder=shoulder, elbow=-0.6))[0].tolist() == [False] * 2 + [True] * 2
    )


def test_hinges_folded_sharper_than_flesh_lets_them_are_found():
    assert not valid_hinges(posed(elbow=2.95, spread=0.0))[0, :2].any()
    assert not valid_hinges(posed(hip=1.5, knee=3.0))[0, 2:].any()


def with_wrist(motion, place):
    """The left wrist moved to a place (forward, left, up) m from the spine joint."""
    motion = motion.clone()
    _, thorax = trunk_frames(motion)
    spine = motion[..., H36M17.index("spine"), :]
    motion[..., H36M17.index("left_wrist"), :] = spine + thorax @ torch.tensor(place)
    return motion


def test_an_arm_within_the_trunk_or_the_head_is_found():
    bent = posed(shoulder=0.2, elbow=1.4)
    assert valid_poses(with_wrist(bent, [0.25, 0.0, 0.05])).all()
    for within in ([0.0, 0.02, 0.05], [0.0, -0.1, 0.15], [-0.02, 0.05, -0.15], [0.03, 0.0, 0.48]):
        motion = with_wrist(bent, within)
        assert trunk_clearance(motion)[0, 0, -1] < 1 and not valid_limbs(motion)[0, 0], within
    # The wrist is before the belly's other side, but the forearm goes through.
    through = with_wrist(posed(shoulder=-0.8, elbow=0.4), [0.2, -0.2, 0.0])
    assert trunk_clearance(through)[0, 0, -1] > 1 and not valid_limbs(through)[0, 0]


def test_legs_within_each_other_are_found():
    crossed = posed()
    ankle, other = joints("left_ankle", "right_ankle")
    crossed[:, ankle] = crossed[:, other] + 0.01
    assert valid_limbs(crossed)[0].tolist() == [True, True, False, False]


def test_a_mirror_image_is_as_valid():
    motion = windows(30, 5)
    motion[::2, :, H36M17.index("left_ankle")] += 0.3 * torch.randn(
        15, 5, 3, generator=generator(1)
    )
    mirrored = motion[:, :, list(H36M17.mirror)] * torch.tensor([-1.0, 1.0, 1.0])
    order = [1, 0, 3, 2]
    assert (valid_limbs(motion)[..., order] == valid_limbs(mirrored)).float().mean() > 0.995
    assert 0.1 < valid_poses(motion).float().mean() < 1


def test_hinges_are_taken_apart_and_put_together():
    upper, lower = torch.nn.functional.normalize(
        torch.randn(2, 500, 4, 3, generator=generator()), dim=-1
    )
    flexion, twist = hinge_angles(upper, lower)
    assert torch.allclose(bend_hinge(upper, flexion, twist), lower, atol=1e-4)


def test_degenerate_bodies_give_frames_and_stay_finite():
    point = torch.zeros(8, 9, 17, 3)
    line = torch.linspace(0, 1, 17)[:, None] * torch.tensor([0.3, 0.5, 0.8]) + point
    for motion in (point, line):
        for frame in trunk_frames(motion):
            assert torch.allclose(frame.mT @ frame, torch.eye(3).expand_as(frame), atol=0.05)
        for name in CHANGES:
            assert changed_by(name, motion).isfinite().all(), name


# ------------------------------------------------------------------------- what all changes keep


@pytest.mark.parametrize("name", CHANGES)
def test_probability_decides_how_many_windows_change(name):
    motion = windows(300, 3)
    config = replace(NOTHING, **{name: 0.3}, limb_share=1.0)
    out = CHANGES[name](motion, config, generator(), RATE_HZ)
    assert 0.2 < (out != motion).flatten(1).any(1).float().mean() < 0.4
    never = CHANGES[name](motion, NOTHING, generator(), RATE_HZ)
    assert torch.equal(never, motion)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("shape", [(1, 9), (5, 1), (24, 9), (8, 27)])
def test_changes_are_finite_repeatable_and_do_not_write_to_their_input(name, shape):
    motion = windows(*shape)
    before = motion.clone()
    first, again = changed_by(name, motion, seed=3), changed_by(name, motion, seed=3)
    assert torch.equal(motion, before) and torch.equal(first, again)
    assert first.shape == motion.shape and first.isfinite().all()
    if shape[0] > 5:
        assert not torch.equal(first, changed_by(name, motion, seed=4))


@pytest.mark.parametrize("name", [n for n in CHANGES if n not in ("keys", "lengths")])
def test_bones_keep_their_lengths(name):
    motion = windows()
    assert torch.allclose(lengths(changed_by(name, motion)), lengths(motion), atol=1e-5)


def test_key_poses_have_the_first_frames_bones():
    motion = windows()
    out = lengths(changed_by("keys", motion))
    assert torch.allclose(out, lengths(motion[:, :1]).expand_as(out), atol=1e-5)


@pytest.mark.parametrize("name", CHANGES)
def test_motion_stays_smooth(name):
    motion = windows(48)
    out = changed_by(name, motion, limb_share=1.0)
    assert acceleration(out).quantile(0.9) < 2.0 * acceleration(motion).quantile(0.9)


@pytest.mark.parametrize("name", CHANGES)
def test_bodies_stand_where_they_stood(name):
    """No person sinks into the floor, and each touches it at some time."""
    motion = windows()
    low = lowest(changed_by(name, motion))
    assert low.min() > -1e-4
    assert low.amin(1).max() < 0.02
    assert low.mean() < 0.1


# ----------------------------------------------------------------------------- each change's own


def test_a_limb_moves_as_the_one_it_was_taken_from():
    motion = windows(3)[[0, 2]]
    out = changed_by("limbs", motion, limb_share=1.0)
    assert torch.allclose(
        out[:, :, TRUNK] - out[:, :, :1], motion[:, :, TRUNK] - motion[:, :, :1], atol=1e-5
    )
    # With two windows, arms come from the other one or are the mirror image of the arm opposite.
    bones = [H36M17.index(j) - 1 for j in ("left_elbow", "left_wrist")]
    opposite = [H36M17.index(j) - 1 for j in ("right_elbow", "right_wrist")]
    donor = directions(motion)[1]
    taken = directions(out)[0][:, bones]
    errors = [
        (taken - donor[:, bones]).abs().max(),
        (taken - donor[:, opposite] * torch.tensor([1.0, -1.0, 1.0])).abs().max(),
    ]
    assert min(errors) < 1e-3 < max(errors)


def test_an_arm_that_would_pass_through_the_trunk_stays_as_it_was():
    motion = windows(2)
    motion[1] = with_wrist(motion[1], [0.0, 0.0, 0.0])
    out = changed_by("limbs", motion, limb_share=1.0)
    assert not valid_poses(motion[1]).any() and valid_poses(out[0]).all()


def test_halves_join_at_the_pelvis():
    motion = windows(2)
    motion[1] += torch.tensor([3.0, 1.0, 0.0])
    out = changed_by("halves", motion)
    offsets = out - out[:, :, :1]
    assert torch.allclose(offsets[:, :, LOWER], (motion - motion[:, :, :1])[:, :, LOWER], atol=1e-5)
    above = [j - 1 for j in ABOVE]
    assert torch.equal(out[:, :, 0, :2], motion[:, :, 0, :2])
    swapped = directions(motion)[[1, 0]][:, :, above]
    assert torch.allclose(directions(out)[:, :, above], swapped, atol=1e-3)


def test_key_poses_go_from_one_recorded_pose_to_another():
    motion = windows(24, 60)
    out = changed_by("keys", motion, key_interval_s=(0.5, 0.5))
    speed = (directions(out)[:, 1:] - directions(out)[:, :-1]).norm(dim=-1).amax(-1)
    # A key pose is where the body rests; two of them half a second, or 15 frames, apart.
    rests = speed < 1e-2
    assert (rests[:, :15].any(1) & rests[:, 15:30].any(1) & rests[:, 30:45].any(1)).all()
    moves = speed.amax(1) > 0.03
    assert moves.float().mean() > 0.8
    recorded = directions(motion).flatten(0, 1).flatten(1)
    keys = directions(out)[torch.arange(24), speed.argmin(1)].flatten(1)
    assert torch.cdist(keys, recorded).amin(1).max() < 0.15


@pytest.mark.parametrize("turn_deg", [0.0, 90.0])
def test_key_poses_turn_no_more_than_is_wished(turn_deg):
    """The body looks where the window's first frame looks, but for the turns."""
    motion = windows(200, 9)
    out = changed_by("keys", motion, key_turn_deg=turn_deg, key_interval_s=(0.5, 0.5))
    hips = [(m[:, :, 4] - m[:, :, 1])[..., :2] for m in (out, motion[:, :1].expand_as(out))]
    turn = torch.acos(torch.cosine_similarity(*hips, dim=-1).clamp(-1, 1)).rad2deg()
    if turn_deg == 0:
        assert turn.max() < 2
    else:
        assert turn.mean() > 30


def test_limbs_stay_within_their_joints_limits_however_much_they_turn():
    motion = windows(200, 9)
    out = changed_by("rotations", motion, swing_deg=60.0, flexion_deg=80.0, twist_deg=60.0)
    assert valid_poses(out).all()
    limbs = [j - 1 for j in LIMB_ENDS]
    turned = (directions(out)[..., limbs, :] - directions(motion)[..., limbs, :]).norm(dim=-1)
    thighs = directions(out)[..., [j - 1 for j in joints("left_knee", "right_knee")], :]
    assert thighs[..., 2].max() < 0.05
    # Being kept within them, few limbs run into the body and have to stay as they were.
    assert (turned.amax(1) > 1e-3).float().mean() > 0.75
    kept = (out - out[:, :, :1])[:, :, TRUNK]
    assert torch.allclose(kept, (motion - motion[:, :, :1])[:, :, TRUNK], atol=1e-5)


def test_bones_change_alike_left_and_right_and_all_the_time():
    motion = windows(200, 4)
    out = changed_by("lengths", motion)
    factor = lengths(out) / lengths(motion)
    assert torch.allclose(factor, factor[:, :1].expand_as(factor), atol=1e-4)
    mirror = [m - 1 for m in H36M17.mirror[1:]]
    assert torch.allclose(factor, factor[..., mirror], atol=1e-4)
    before, after = bone_offsets(motion)[..., 1:, :], bone_offsets(out)[..., 1:, :]
    assert torch.allclose(torch.cosine_similarity(before, after, -1), torch.ones(1), atol=1e-5)
    legs, wrist, hips = (
        factor[:, 0, [j - 1 for j in joints(*names)]]
        for names in (("left_knee", "left_ankle"), ("left_wrist",), ("left_hip",))
    )
    assert 1.05 < legs.max() < 1.08 * 1.03 + 1e-3 and 0.92 * 0.97 - 1e-3 < legs.min() < 0.95
    assert 1.09 < hips.max() < 1.1 * 1.03 + 1e-3
    # Steps are as long as the legs.
    walked = [(m[:, -1] - m[:, 0])[::3, 0, :2].norm(dim=-1) for m in (out, motion)]
    assert torch.corrcoef(torch.stack([walked[0] / walked[1], legs.mean(1)[::3]]))[0, 1] > 0.8
    # Thigh and shank go together, leg and arm do not.
    correlation = torch.corrcoef(torch.cat([legs, wrist], 1).T)
    assert correlation[0, 1] > 0.7 and correlation[0, 2].abs() < 0.25


def upright(motion):
    """Cosine between the trunk and the vertical."""
    trunk = motion[:, :, H36M17.index("thorax")] - motion[:, :, 0]
    return trunk[..., 2] / trunk.norm(dim=-1)


def test_tilted_bodies_are_turned_as_a_whole_whichever_way():
    motion = windows(300, 9)
    out = changed_by("tilt", motion, tilt_constant=1.0)
    assert torch.allclose(torch.cdist(out, out), torch.cdist(motion, motion), atol=1e-3)
    angle = upright(out).mean(1)
    assert (angle < -0.9).any() and (angle > 0.9).any() and (angle.abs() < 0.3).float().mean() > 0.1
    assert torch.allclose(acceleration(out), acceleration(motion), rtol=0.5, atol=5.0)


def test_falling_bodies_fall_within_the_window():
    out = upright(changed_by("tilt", windows(200, 60), tilt_constant=0.0, fall_s=(0.5, 0.5)))
    assert (out[:, 0] > 0.9).float().mean() > 0.6
    assert ((out[:, 0] - out[:, -1]) > 0.5).float().mean() > 0.4


# ------------------------------------------------------------------------------------- together


def test_without_any_probability_the_motion_is_the_same():
    motion = windows()
    assert torch.equal(Diversity(NOTHING, RATE_HZ, generator())(motion), motion)


def test_nothing_bends_a_joint_backward_or_passes_through_the_trunk():
    """Thousands of windows, all changes at once and far above the usual probabilities."""
    config = DiversityConfig(**dict.fromkeys(CHANGES, 0.7))
    diversity = Diversity(config, RATE_HZ, generator())
    for seed, shape in enumerate([(1000, 9)] * 2 + [(200, 27)]):
        motion = windows(*shape, seed=seed)
        assert valid_poses(motion).all()
        out = diversity(motion)
        assert out.isfinite().all()
        assert valid_hinges(out).all()
        assert (trunk_clearance(out) >= 0.999).all()
        assert (out != motion).flatten(1).any(1).float().mean() > 0.95


@pytest.mark.parametrize("name", list(CHANGES))
def test_each_change_is_kept_in_most_windows(name):
    diversity = Diversity(replace(NOTHING, **{name: 1.0}), RATE_HZ, generator())
    motion = windows(200, 9)
    assert (diversity(motion) != motion).flatten(1).any(1).float().mean() > 0.75


def test_a_change_to_an_impossible_pose_is_undone(monkeypatch):
    def spoil(motion, config, generator, rate_hz):
        out = motion.clone()
        out[::2] = with_wrist(out[::2], [0.0, 0.0, 0.0])
        out[1::2, :, :, 0] += 1.0
        return out

    monkeypatch.setitem(CHANGES, "halves", spoil)
    motion = windows(10)
    diversity = Diversity(replace(NOTHING, halves=1.0), RATE_HZ, generator())
    out = diversity(motion)
    assert torch.equal(out[::2], motion[::2])
    assert torch.allclose(out[1::2, ..., 0], motion[1::2, ..., 0] + 1.0)


def variety(motion):
    """How many poses there are, limbs' bones told apart by their octant and a bit."""
    cells = (directions(motion)[..., [j - 1 for j in LIMB_ENDS], :] * 1.5).round()
    return len(cells.flatten(0, 1).flatten(1).unique(dim=0))


@pytest.mark.parametrize("name", ["limbs", "halves", "rotations", "keys"])
def test_poses_become_more_varied(name):
    motion = windows(240, 9)
    assert variety(changed_by(name, motion)) > 1.5 * variety(motion)


def test_ranges_that_make_no_sense_are_refused():
    for wrong in ({"limbs": 1.5}, {"tilt": -0.1}, {"fall_s": (2.0, 1.0)}, {"fall_s": (0.0, 1.0)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            DiversityConfig(**wrong)
    with pytest.raises(ValueError, match="rate_hz"):
        Diversity(NOTHING, 0.0, generator())
