"""The network: EMF, TCPFormer, the lifter, and its weights as files."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from emf_ros.model.checkpoint import WeightsError, load_weights, save_weights
from emf_ros.model.lifter import Lifter, join_frames, split_frames
from emf_ros.model.presets import FORMAT, PRESETS, LifterConfig, MotionFlowConfig, get_preset
from emf_ros.model.tcpformer import TCPFormer

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL = LifterConfig(
    frames=9,
    layers=1,
    dim=16,
    dim_rep=24,
    heads=2,
    mlp_ratio=2.0,
    motion=MotionFlowConfig(dim=12),
)


PATCHED = replace(SMALL, frame_stride=3)


def small_lifter(seed=0):
    torch.manual_seed(seed)
    return Lifter(SMALL).eval()


def keypoints(batch, frames=SMALL.frames, seed=0):
    return torch.randn(batch, frames, 17, 3, generator=torch.Generator().manual_seed(seed))


# ------------------------------------------------------------------------------ TCPFormer


def test_tcpformer_alone_does_not_know_which_way_time_runs():
    torch.manual_seed(0)
    trunk = TCPFormer(3, 16, 8, layers=2, frames=9, heads=2, layer_scale=0.5).eval()
    x = keypoints(1)
    with torch.inference_mode():
        assert torch.allclose(trunk(x.flip(1)).flip(1), trunk(x), atol=1e-5)


def test_the_local_branch_attends_inside_thirds():
    torch.manual_seed(0)
    trunk = TCPFormer(
        3, 16, 8, layers=1, frames=9, heads=2, layer_scale=0.5, local_branch=True
    ).eval()
    block = trunk.local_blocks[0]
    x = torch.randn(1, 9, 17, 16)
    changed = x.clone()
    changed[:, 4] = torch.randn(17, 16)
    moved = (block(x) - block(changed)).abs().amax(dim=(0, 2, 3)) > 0
    assert moved.tolist() == [False] * 3 + [True] * 3 + [False] * 3


@pytest.mark.parametrize("frames", [3, 4, 5, 7, 8, 9, 27, 81, 243])
def test_any_length_of_three_or_more_runs(frames):
    trunk = TCPFormer(3, 8, 4, layers=1, frames=frames, heads=2).eval()
    assert trunk.proxy.shape[0] == frames // 3
    assert trunk(keypoints(1, frames)).shape == (1, frames, 17, 4)
    if frames != 4:
        local = TCPFormer(3, 8, 4, layers=1, frames=frames, heads=2, local_branch=True).eval()
        assert local(keypoints(1, frames)).shape == (1, frames, 17, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": 2}, "3 or more, not 2"),
        ({"frames": 1}, "3 or more, not 1"),
        ({"frames": 4, "local_branch": True}, "4 frames do not part into thirds"),
        ({"frames": 9, "heads": 3}, "dim 16 is no multiple of the 3 heads"),
    ],
)
def test_impossible_trunk_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TCPFormer(3, 16, 8, layers=1, **settings)


def test_a_temporal_position_tells_which_way_time_runs():
    torch.manual_seed(0)
    trunk = TCPFormer(
        3, 16, 8, layers=1, frames=9, heads=2, layer_scale=0.5, temporal_position=True
    ).eval()
    x = keypoints(1)
    with torch.inference_mode():
        assert not torch.allclose(trunk(x.flip(1)).flip(1), trunk(x), atol=1e-3)
        # A shorter clip takes the newest frames' vectors.
        assert trunk(keypoints(1, 5)).shape == (1, 5, 17, 8)


# ------------------------------------------------------------------------------ lifter


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_build_and_lift(preset):
    lifter = Lifter(replace(PRESETS[preset], layers=1)).eval()
    with torch.inference_mode():
        positions, log_scale = lifter(keypoints(1, lifter.config.frames))
    assert positions.shape == (1, lifter.config.frames, 17, 3)
    assert log_scale.shape == (1, lifter.config.frames, 17)


def test_the_pelvis_is_the_origin():
    positions, _ = small_lifter()(keypoints(3))
    assert (positions[:, :, 0] == 0).all() and (positions[:, :, 1:] != 0).all()


def test_the_lifter_knows_which_way_time_runs():
    lifter, x = small_lifter(), keypoints(1)
    with torch.inference_mode():
        assert (lifter(x.flip(1))[0].flip(1) - lifter(x)[0]).abs().max() > 1e-3


def test_clips_of_a_batch_do_not_touch_each_other():
    lifter, x = small_lifter(), keypoints(4)
    with torch.inference_mode():
        together = lifter(x)[0]
        for i in range(4):
            assert torch.allclose(lifter(x[i : i + 1])[0][0], together[i], atol=1e-5)


def test_a_shorter_clip_fits_the_same_weights():
    assert small_lifter()(keypoints(2, frames=5))[0].shape == (2, 5, 17, 3)


# ------------------------------------------------------------------------------ temporal patches


def test_joining_frames_and_splitting_them_again_changes_nothing():
    x = torch.arange(2 * 6 * 4 * 5).view(2, 6, 4, 5)
    joined = join_frames(x, 3)
    assert joined.shape == (2, 2, 4, 15)
    # A token holds its frames in their order.
    assert torch.equal(joined[0, 1, 2], x[0, 3:6, 2].flatten())
    assert torch.equal(split_frames(joined, 3), x)


def test_a_frame_stride_divides_the_tokens_and_answers_for_every_frame():
    torch.manual_seed(0)
    lifter = Lifter(PATCHED).eval()
    assert lifter.trunk.proxy.shape[0] == PATCHED.tokens // 3 == 1
    positions, log_scale = lifter(keypoints(2))
    assert positions.shape == (2, 9, 17, 3) and log_scale.shape == (2, 9, 17)
    # Each frame of a token has an answer of its own.
    assert (positions[:, 1:, 1:] - positions[:, :-1, 1:]).abs().amax(dim=(0, 2, 3)).min() > 1e-4


@pytest.mark.parametrize("frames", [3, 5, 7, 8, 9])
def test_a_shorter_clip_of_a_strided_lifter_is_continued_backwards(frames):
    torch.manual_seed(0)
    lifter, x = Lifter(PATCHED).eval(), keypoints(2, frames)
    repeated = torch.cat([x[:, :1].expand(-1, 9 - frames, -1, -1), x], dim=1)
    with torch.inference_mode():
        for short, whole in zip(lifter(x), lifter(repeated), strict=True):
            assert short.shape[1] == frames
            assert torch.allclose(short, whole[:, -frames:], atol=1e-6)


def test_weights_from_before_the_frame_stride_have_a_stride_of_one():
    stored = SMALL.as_dict()
    del stored["frame_stride"]
    assert LifterConfig.from_dict(stored) == SMALL


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(9, 17, 3), r"\(B, T, 17, 3\), four dimensions, not \(9, 17, 3\)"),
        (torch.zeros(1, 9, 16, 3), r"\(B, T, 17, 3\), not \(1, 9, 16, 3\)"),
        (torch.zeros(1, 9, 17, 2), r"not \(1, 9, 17, 2\)"),
        (torch.zeros(1, 9, 17, 3, dtype=torch.int32), "floating-point numbers, not torch.int32"),
        (torch.zeros(1, 2, 17, 3), "3 frames or more, not 2"),
        (torch.full((1, 9, 17, 3), float("nan")), "finite; 459 of 459 values"),
        (torch.full((1, 9, 17, 3), float("-inf")), "finite"),
    ],
)
def test_wrong_clip_shapes_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        small_lifter()(x)


def test_the_trunk_refuses_wrong_clip_shapes():
    trunk = TCPFormer(3, 16, 8, layers=1, frames=9, heads=2)
    for x, message in (
        (torch.zeros(1, 9, 17, 12), r"the input must be \(B, T, 17, 3\), not \(1, 9, 17, 12\)"),
        (torch.zeros(1, 2, 17, 3), "3 frames or more"),
        (torch.full((1, 9, 17, 3), float("nan")), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            trunk(x)


def test_rivals_of_emf_read_what_their_names_say():
    x = keypoints(1)
    assert torch.equal(Lifter(replace(SMALL, features="none")).features(x), x)
    features = Lifter(replace(SMALL, features="difference")).features(x)
    assert torch.equal(features[..., :3], x) and (features[:, 0, :, 3:] == 0).all()
    assert torch.equal(features[:, 1:, :, 3:], x[:, 1:] - x[:, :-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": "flow"}, "features must be one of emf, difference, none, not 'flow'"),
        ({"position": "none"}, "position must be one of"),
        ({"normalization": "pixels"}, "normalization must be one of"),
        ({"frame_stride": 2}, "frames 9 is no multiple of the frame_stride 2"),
        ({"frame_stride": 0}, "frame_stride must be a whole number in 1..10000"),
        ({"frame_stride": 9}, "9 frames with a frame_stride of 9 are 1 tokens; TCPFormer needs 3"),
    ],
)
def test_impossible_lifter_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **settings)


def test_an_unknown_preset_is_named():
    with pytest.raises(ValueError, match="unknown preset 'huge'; known: lite, small, base"):
        get_preset("huge")


@pytest.mark.parametrize(
    "settings",
    [
        {"features": "none"},
        {"features": "difference"},
        {"features": "none", "temporal_position": True},
        {"position": "after_embedding"},
        {"local_branch": True},
        {"motion": MotionFlowConfig(dim=12, combine="compressed")},
    ],
)
def test_all_that_is_trained_gets_a_gradient(settings):
    torch.manual_seed(0)
    lifter = Lifter(replace(SMALL, **settings)).train()
    positions, log_scale = lifter(keypoints(2))
    (positions.square().sum() + log_scale.square().sum()).backward()
    still = [
        name
        for name, p in lifter.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().max() > 0)
    ]
    assert still == []


# ------------------------------------------------------------------------------ weights files


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.safetensors"
    save_weights(path, small_lifter(), {"card": "made by a test"})
    return path


def rewrite(path, tensors=None, **metadata):
    """Save a weights file again with something changed; None takes an entry away."""
    kept = {"format": FORMAT, "config": json.dumps(SMALL.as_dict()), **metadata}
    kept = {k: v for k, v in kept.items() if v is not None}
    save_file(load_file(path) if tensors is None else tensors, path, kept)


def test_saved_weights_come_back_the_same(saved):
    loaded, lifter = load_weights(saved), small_lifter()
    assert loaded.config == SMALL and not loaded.training
    x = keypoints(2)
    assert all(torch.equal(a, b) for a, b in zip(loaded(x), lifter(x), strict=True))
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match="no weights file .*none.safetensors"):
        load_weights(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="no weights file"):
        load_weights(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_weights_file_is_named(saved, share):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError, match="small.safetensors is no readable safetensors"):
        load_weights(saved)


@pytest.mark.parametrize("content", [b"hello", b"\xff" * 4096, b"PK\x03\x04" + b"\0" * 64])
def test_a_file_of_another_kind_is_no_weights_file(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="no readable safetensors"):
        load_weights(path)


@pytest.mark.parametrize("stated", [None, "emf_ros-lifter-0", "pt"])
def test_weights_of_another_format_are_refused(saved, stated):
    rewrite(saved, format=stated)
    with pytest.raises(WeightsError, match=f"format is {stated!r}.*reads '{FORMAT}'"):
        load_weights(saved)


@pytest.mark.parametrize(
    "config",
    [
        None,
        "no json",
        "{}",
        json.dumps({**SMALL.as_dict(), "wings": 2}),
        json.dumps({**SMALL.as_dict(), "layout": "octopus"}),
        json.dumps({**SMALL.as_dict(), "frames": "many"}),
        json.dumps({**SMALL.as_dict(), "frames": -1}),
        "[1, 2]",
    ],
)
def test_weights_that_describe_no_lifter_are_refused(saved, config):
    rewrite(saved, config=config)
    with pytest.raises(WeightsError, match="describes no lifter"):
        load_weights(saved)


def test_weights_of_another_size_are_refused(saved):
    rewrite(saved, config=json.dumps({**SMALL.as_dict(), "layers": 3}))
    with pytest.raises(WeightsError, match="does not fit"):
        load_weights(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(saved, value):
    tensors = load_file(saved)
    tensors["position_head.weight"][1, 2] = value
    rewrite(saved, tensors)
    with pytest.raises(WeightsError, match="not finite"):
        load_weights(saved)
