"""The noise model says what it is configured to say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from moving_people import STANDING

from emf_ros.skeletons import H36M17, convert_keypoints, get_layout
from emf_ros.train.detector_errors import (
    JOINT_SPREAD,
    DetectorErrors,
    Failure,
    point_correlation,
)
from emf_ros.train.detector_layouts import LAYOUT_MODELS, OFFSET_SPREAD, POINTS
from emf_ros.train.detector_model import LIMBS, NEAREST_M, DetectorModel

CPU = torch.device("cpu")
NONE = DetectorErrors.none()
#: Gaussian noise of one spread and nothing else.
PLAIN = replace(
    NONE, spread=(0.02, 0.02), volatility=0.0, difficulty=0.0, bias=0.0, anisotropy=(1.0, 1.0)
)
LEGS = [POINTS.index(f"{s}_{j}") for s in ("left", "right") for j in ("knee", "ankle")]
LAYOUTS = tuple(LAYOUT_MODELS)
pytestmark = pytest.mark.usefixtures("one_torch_thread")


def standing_people(clips, frames=27, distance_m=4.0):
    """(B, T, 17, 3) m: people who look at the camera, 1 m below whose axis they stand."""
    x, y, z = torch.tensor(STANDING, dtype=torch.float32).unbind(-1)
    pose = torch.stack([x, 1.0 - z, y + distance_m], dim=-1)
    return pose.expand(clips, frames, -1, -1).clone()


def wide(clips):
    return torch.full((clips,), 100.0)


def model(errors, layouts=("blazepose33",), seed=0):
    return DetectorModel(CPU, torch.Generator().manual_seed(seed), errors, layouts)


def mark(errors, clips=400, frames=27, layouts=("blazepose33",), seed=0):
    """Points and scores, and the errors in shares of the size, (B, T, P, 2); offsets are off."""
    detector = model(replace(errors, offsets=0.0), layouts, seed)
    joints = standing_people(clips, frames)
    points, scores, clip = detector.mark(joints, wide(clips), wide(clips))
    body = detector.body_points(joints, clip.layout)
    return points, scores, (points - body[..., :2] / body[..., 2:]) / clip.size


def autocorrelation(values, lag):
    return float((values[:, lag:] * values[:, :-lag]).mean() / (values**2).mean())


# ------------------------------------------------------------------------------ no errors


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_errors_the_limbs_are_projected_exactly(layout):
    shaken = torch.randn(3, 5, 17, 3, generator=torch.Generator().manual_seed(0))
    joints = standing_people(3, 5) + 0.1 * shaken
    rays, scores = model(NONE, (layout,)).observe(joints, wide(3), wide(3))
    exact = joints[..., :2] / joints[..., 2:]
    limbs = [i for i, side in enumerate(H36M17.sides) if side != "middle"]
    assert rays[:, :, limbs] == pytest.approx(exact[:, :, limbs].numpy(), abs=1e-6)
    # The middle of the hips in the image is not quite that in space.
    assert (rays[:, :, 0] - exact[:, :, 0]).abs().max() < 0.1
    assert ((scores >= 0) & (scores <= 1)).all()


def test_the_head_is_where_an_adults_is():
    detector = model(NONE)
    points = detector.body_points(standing_people(1, 1), torch.zeros(1, dtype=torch.long))[0, 0]

    def height(point):
        return -float(points[POINTS.index(point), 1])

    assert height("head") > height("left_ear") > height("nose") > height("neck")
    assert height("left_ear") == pytest.approx(height("right_ear"))
    # They look at the camera: the nose is nearer, the left ear on the image's right.
    left, right, nose = (points[POINTS.index(p)] for p in ("left_ear", "right_ear", "nose"))
    assert nose[2] < left[2] and left[0] > 0 > right[0]


# ------------------------------------------------------------------------------ the noise


def test_spread_is_as_configured_for_each_joint():
    _, _, error = mark(replace(PLAIN, difficulty=0.28, volatility=0.45), clips=2000, frames=9)
    measured = error.square().mean(dim=(0, 1, 3)).sqrt() / 0.02
    wanted = [JOINT_SPREAD[p.split("_")[-1]] for p in POINTS]
    assert measured.numpy() == pytest.approx(np.array(wanted), rel=0.08)


def test_spread_is_drawn_log_uniformly_from_its_range():
    _, _, error = mark(replace(PLAIN, spread=(0.005, 0.027)), clips=2000)
    per_clip = error.square().mean(dim=(1, 2, 3)).sqrt()
    assert 0.003 < per_clip.quantile(0.01) < 0.0065 and 0.02 < per_clip.quantile(0.99) < 0.04
    assert float(per_clip.median()) == pytest.approx((0.005 * 0.027) ** 0.5 * 0.97, rel=0.1)


def test_autocorrelation_is_that_of_both_processes():
    errors = replace(
        PLAIN, slow_share=(0.5, 0.5), slow_correlation=(0.9, 0.9), fast_correlation=(0.3, 0.3)
    )
    _, _, error = mark(errors, clips=1500)
    for lag in (1, 2, 4, 8):
        wanted = 0.5 * 0.9**lag + 0.5 * 0.3**lag
        assert autocorrelation(error, lag) == pytest.approx(wanted, abs=0.02)


def test_noise_of_neighbours_is_correlated_as_measured():
    _, _, error = mark(PLAIN, clips=1500, frames=9)
    flat = error.permute(0, 1, 3, 2).reshape(-1, len(POINTS))
    assert torch.corrcoef(flat.T).numpy() == pytest.approx(point_correlation().numpy(), abs=0.04)


def test_volatility_makes_the_tails_heavy():
    def tail(volatility):
        _, _, error = mark(replace(PLAIN, volatility=volatility), clips=800, frames=9)
        elbow = error[:, :, POINTS.index("left_elbow")].abs().flatten()
        return float(elbow.quantile(0.99) / elbow.quantile(0.6827))

    assert tail(0.0) == pytest.approx(2.58, rel=0.05)
    assert 3.1 < tail(0.45) < 4.2


def test_anisotropy_leaves_the_area():
    _, _, error = mark(replace(PLAIN, anisotropy=(1.5, 1.5)), clips=800, frames=9)
    x, y = error.square().mean(dim=(0, 1, 2)).sqrt()
    assert float(x / y) == pytest.approx(1.5, rel=0.05)
    assert float(x * y) == pytest.approx(0.02**2 * 1.0, rel=0.15)


def test_bias_lasts_the_clip():
    errors = replace(PLAIN, spread=(0.02, 0.02), bias=1.0)
    _, _, error = mark(errors, clips=800, frames=27)
    with_bias = error.mean(dim=1).square().mean()
    _, _, error = mark(replace(errors, bias=0.0), clips=800, frames=27)
    difference = float(with_bias - error.mean(dim=1).square().mean())
    wanted = np.mean([(0.02 * JOINT_SPREAD[p.split("_")[-1]]) ** 2 for p in POINTS])
    assert difference == pytest.approx(wanted, rel=0.15)


# ------------------------------------------------------------------------------ scores


def test_scores_of_blazepose_are_as_measured():
    _, scores, _ = mark(NONE, clips=3000, frames=9)

    def doubted(*kinds):
        rows = [i for i, p in enumerate(POINTS) if p.split("_")[-1] in kinds and p != "hip"]
        return float((scores[:, :, rows] < 0.5).float().mean())

    assert doubted("nose", "ear", "shoulder", "hip") < 0.001
    assert 0.15 < doubted("elbow", "wrist") < 0.32
    assert 0.04 < doubted("knee", "ankle") < 0.14


def test_points_of_low_score_err_two_to_three_times_as_much():
    errors = replace(PLAIN, difficulty=DetectorErrors().difficulty, volatility=0.45)
    _, scores, error = mark(errors, clips=1500)
    limbs = [i for i, p in enumerate(POINTS) if p.split("_")[-1] in ("elbow", "wrist", "knee")]
    size, score = error.norm(dim=-1)[:, :, limbs], scores[:, :, limbs]
    ratio = size[score < 0.2].median() / size[score > 0.99].median()
    assert 1.8 < float(ratio) < 3.2


def test_scores_of_a_limb_go_together():
    _, scores, _ = mark(NONE, clips=1000)
    logit = torch.logit(scores.double(), eps=1e-9)

    def correlation(a, b):
        pair = [logit[:, :, POINTS.index(p)].flatten() for p in (a, b)]
        return float(torch.corrcoef(torch.stack(pair))[0, 1])

    assert correlation("left_elbow", "left_wrist") > 0.9
    assert 0.2 < correlation("left_elbow", "left_knee") < 0.6
    assert abs(correlation("left_elbow", "right_knee")) < 0.15


# ------------------------------------------------------------------------------ failures


@pytest.mark.parametrize(("rate", "length"), [(0.02, 1.0), (0.02, 1.7), (0.05, 6.0)])
def test_bursts_have_their_rate_and_length(rate, length):
    busy = model(NONE).bursts(Failure(rate, length), torch.ones(6000, 4), 60)
    assert float(busy.float().mean()) == pytest.approx(rate, rel=0.12)
    begins = (busy[:, 1:] & ~busy[:, :-1]).sum()
    mean_length = float(busy[:, 1:].sum()) / float(begins)
    # Bursts that overlap join, the more so as clips differ in their rates.
    assert length * 0.95 < mean_length < length * 1.35
    # No frame of the clip is special.
    by_frame = busy.float().mean(dim=(0, 2))
    assert by_frame[:5].mean() == pytest.approx(float(by_frame[-5:].mean()), rel=0.25)


def test_bursts_gather_in_few_clips():
    busy = model(NONE).bursts(Failure(0.02, 2.0), torch.ones(4000, 1), 27)[..., 0]
    assert 0.55 < float((~busy.any(dim=1)).float().mean()) < 0.9


def test_failures_grow_with_the_spread():
    def share(spread):
        errors = replace(PLAIN, spread=(spread, spread), astray=Failure(0.05, 2.0))
        _, _, error = mark(errors, clips=1000, frames=9)
        return float((error.norm(dim=-1) > 0.15).float().mean())

    assert share(0.02) > 1.6 * share(0.01) > 0


def test_outliers_move_whole_limbs_and_keep_most_of_their_score():
    errors = replace(NONE, astray=Failure(0.05, 2.0))
    _, scores, error = mark(errors, clips=1500)
    far = error.norm(dim=-1)
    wrist, elbow, shoulder = (POINTS.index(f"left_{j}") for j in ("wrist", "elbow", "shoulder"))
    moved = far > 1e-4
    assert (moved[..., elbow] <= moved[..., wrist]).all()
    assert (moved[..., shoulder] <= moved[..., elbow]).all()
    assert 0.1 < float(far[..., wrist][moved[..., wrist]].median()) < 0.22
    assert float(moved[..., POINTS.index("nose")].float().mean()) < 0.5 * float(
        moved[..., wrist].float().mean()
    )
    assert float(scores[..., wrist][moved[..., wrist]].median()) > 0.5


@pytest.mark.parametrize("what", ["legs", "arms", "body"])
def test_swaps_exchange_left_and_right_and_nothing_else(what):
    errors = replace(NONE, **{f"{what}_swapped": Failure(0.1, 3.0)})
    points, scores, error = mark(errors, clips=500)
    moved = error.norm(dim=-1) > 1e-3
    frames = moved.any(dim=-1)
    assert 0.03 < float(frames.float().mean()) < 0.2
    knee, wrist, hip = (POINTS.index(f"left_{j}") for j in ("knee", "wrist", "hip"))
    assert bool(moved[..., knee].any()) == (what != "arms")
    assert bool(moved[..., wrist].any()) == (what != "legs")
    assert bool(moved[..., hip].any()) == (what == "body")
    a, b = (POINTS.index(f"{s}_{'wrist' if what == 'arms' else 'knee'}") for s in ("left", "right"))
    straight = points[~frames][0]
    assert points[frames][:, a] == pytest.approx(straight[b].expand(int(frames.sum()), -1).numpy())
    _, calm, _ = mark(NONE, clips=500)
    assert float(scores.mean()) == pytest.approx(float(calm.mean()), abs=0.02)


def test_lost_limbs_have_low_scores_and_the_trunk_stays():
    errors = replace(NONE, limb_lost=Failure(0.3, 6.0))
    detector = model(errors, ("coco17",))
    _, scores, _ = detector.mark(standing_people(500), wide(500), wide(500))
    _, calm, _ = mark(NONE, clips=500, layouts=("coco17",))
    wrist, hip = POINTS.index("left_wrist"), POINTS.index("left_hip")
    low, usual = ((s[..., wrist] < 0.35).float().mean() for s in (scores, calm))
    assert float(low - usual) > 0.12
    assert float((scores[..., hip] < 0.35).float().mean()) < 0.01
    assert (scores[..., wrist] == 0).any()


def test_blazepose_reports_every_point_of_a_person():
    errors = replace(NONE, limb_lost=Failure(0.3, 6.0))
    _, scores = model(errors).observe(standing_people(300), wide(300), wide(300))
    assert (scores > 0).all()


def test_frames_go_missing_as_a_whole_but_never_most_of_a_clip():
    errors = replace(NONE, missing=Failure(0.1, 5.0))
    _, scores = model(errors).observe(standing_people(2000), wide(2000), wide(2000))
    gone = (scores == 0).any(dim=-1)
    assert (gone == (scores == 0).all(dim=-1)).all()
    assert 0.04 < float(gone.float().mean()) < 0.11
    assert float(gone.float().mean(dim=1).max()) <= 0.5


def test_points_outside_the_image_are_moved_inside_with_low_scores():
    errors = replace(NONE, edge_pull=(0.2, 1.3), edge_spread=0.06)
    people = standing_people(500)
    half_height = torch.full((500,), 0.05)
    detector = model(errors)
    points, scores, clip = detector.mark(people, wide(500), half_height)
    exact = detector.body_points(people, clip.layout)
    exact = exact[..., :2] / exact[..., 2:]
    outside = exact[..., 1].abs() > 0.05
    assert set(np.array(POINTS)[outside[0, 0].numpy()]) >= {"left_ankle", "right_knee", "nose"}
    # Measured on cut off legs: 0.44 at knees, 0.14 at ankles.
    assert 0.03 < float(scores[..., LEGS].median()) < 0.5
    _, calm, _ = mark(NONE, clips=500)
    assert float(calm[..., LEGS].median()) > 0.9
    assert points[..., LEGS, 1].mean() < exact[..., LEGS, 1].mean() - 0.03
    assert (points[~outside] == exact[~outside]).all()


# ------------------------------------------------------------------------------ layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_conversion_is_the_live_one(layout):
    detector = model(replace(DetectorErrors(), missing=Failure(0.0, 1.0)), (layout,))
    points, scores, clip = detector.mark(standing_people(4, 9), wide(4), wide(4))
    rays, converted = detector.to_h36m17(points, scores, clip.layout)
    source = get_layout(layout)
    full = np.ones((4, 9, len(source), 3))
    for i, name in enumerate(source.joints):
        if name in POINTS:
            k = POINTS.index(name)
            full[:, :, i, :2], full[:, :, i, 2] = points[:, :, k], scores[:, :, k]
    live = convert_keypoints(full, source, H36M17)
    seen = live[..., 2] > 0
    assert converted.numpy() == pytest.approx(live[..., 2], abs=1e-6)
    assert rays.numpy()[seen] == pytest.approx(live[seen][:, :2], abs=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_offsets_by_layout_last_the_clip(layout):
    detector = model(replace(NONE, offsets=1.0), (layout,), seed=3)
    people = standing_people(3000, 2)
    points = detector.body_points(people, torch.zeros(3000, dtype=torch.long))
    assert torch.equal(points[:, 0], points[:, 1])
    left, hip = H36M17.index("left_hip"), POINTS.index("left_hip")
    trunk = 1.42 - 0.93
    offset = (points[:, 0, hip] - people[:, 0, left]) / trunk
    wanted = LAYOUT_MODELS[layout].offsets["hip"]
    # Left is +x for someone who looks at the camera, and up is -y.
    assert float(offset[:, 0].mean()) == pytest.approx(wanted.out, abs=0.005)
    assert float(-offset[:, 1].mean()) == pytest.approx(wanted.up, abs=0.005)
    assert float(offset[:, 0].std()) == pytest.approx(OFFSET_SPREAD["hip"], rel=0.1)


def test_layouts_are_drawn_by_their_shares():
    detector = model(NONE, LAYOUTS)
    _, _, clip = detector.mark(standing_people(3000, 1), wide(3000), wide(3000))
    counts = torch.bincount(clip.layout, minlength=len(LAYOUTS)) / 3000
    assert counts.numpy() == pytest.approx([m.share for m in LAYOUT_MODELS.values()], abs=0.03)


def test_limbs_name_every_point_once():
    named = [p for limb in LIMBS.values() for p in limb]
    assert sorted(named) == sorted(POINTS)


def test_the_table_of_correlations_is_one():
    table = point_correlation()
    assert torch.equal(table, table.T)
    assert float(torch.linalg.eigvalsh(table)[0]) > 0.01


# ------------------------------------------------------------------------------ all together


def test_the_same_seed_gives_the_same_and_another_not():
    people = standing_people(8, 9)

    def observe(seed):
        return model(DetectorErrors(), LAYOUTS, seed).observe(people, wide(8), wide(8))

    for a, b in zip(observe(1), observe(1), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(observe(1)[0], observe(2)[0])


@pytest.mark.parametrize("frames", [1, 2, 27])
def test_everything_is_finite_whatever_the_geometry(frames):
    people = standing_people(60, frames)
    people[:20, :, :, 2] -= 4.0  # through the camera's plane
    people[20:40] = people[20:40, :, :1]  # all joints in one place
    narrow = torch.full((60,), 0.1)
    rays, scores = model(DetectorErrors(), LAYOUTS).observe(people, narrow, narrow)
    assert rays.shape == (60, frames, 17, 2) and scores.shape == (60, frames, 17)
    assert rays.isfinite().all() and scores.isfinite().all()
    assert ((scores >= 0) & (scores <= 1)).all()


def test_points_behind_the_camera_have_score_zero():
    people = standing_people(50)
    people[..., 2] -= 8.0
    assert (people[..., 2] < NEAREST_M).all()
    _, scores = model(DetectorErrors(), LAYOUTS).observe(people, wide(50), wide(50))
    assert (scores == 0).all()
