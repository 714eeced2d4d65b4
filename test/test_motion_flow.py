"""Enhanced Motion Flow: what the paper says of it, its options, and one frame at a time."""

from dataclasses import replace

import pytest
import torch

from emf_ros.model.motion_flow import EnhancedMotionFlow, MotionKernel
from emf_ros.model.presets import MotionFlowConfig

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL = MotionFlowConfig(dim=12)


def keypoints(batch, frames=9, joints=17, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, joints, 3, generator=generator)


def flow_of(config=SMALL, seed=0):
    torch.manual_seed(seed)
    return EnhancedMotionFlow(config).eval()


# ------------------------------------------------------------------------------ kernels


def test_motion_flow_has_the_papers_number_of_parameters():
    assert sum(p.numel() for p in EnhancedMotionFlow().parameters()) == 25_839


@pytest.mark.parametrize(
    ("scale", "weights", "expected"),
    [
        # Offsets -1, 0.
        (1, [1, 10], [11, 21, 42, 84, 168]),
        # Offsets -1, 0, 1.
        (2, [1, 10, 100], [211, 421, 842, 1684, 1768]),
        # Offsets -2 .. 2.
        (4, [1, 10, 100, 1000, 10_000], [42_111, 84_211, 168_421, 176_842, 177_684]),
    ],
)
def test_kernels_have_the_papers_taps_offsets_and_replicated_ends(scale, weights, expected):
    kernel = MotionKernel(scale, SMALL)
    assert kernel.weight.shape == (len(weights), 3)
    kernel.weight.data.copy_(torch.tensor(weights, dtype=torch.float32)[:, None].expand(-1, 3))
    x = torch.tensor([1.0, 2, 4, 8, 16])[None, :, None, None].expand(1, 5, 2, 3)
    assert kernel(x)[0, :, 1, 2].tolist() == expected


def test_each_channel_has_a_kernel_of_its_own_shared_by_all_joints():
    kernel = MotionKernel(1, SMALL)
    kernel.weight.data.copy_(torch.tensor([[1.0, 2, 3], [4, 5, 6]]))
    x = keypoints(2)
    before = torch.cat([x[:, :1], x[:, :-1]], dim=1)
    expected = before * torch.tensor([1.0, 2, 3]) + x * torch.tensor([4.0, 5, 6])
    assert torch.allclose(kernel(x), expected)


def test_kernels_start_as_the_papers_differences():
    x = keypoints(1)
    backward, central = MotionKernel(1, SMALL)(x), MotionKernel(2, SMALL)(x)
    assert torch.allclose(backward[:, 1:], x[:, :-1] - x[:, 1:]) and (backward[:, 0] == 0).all()
    assert torch.allclose(central[:, 1:-1], (x[:, 2:] - x[:, :-2]) / 2, atol=1e-6)


# ------------------------------------------------------------------------------ options


def test_causal_kernels_see_nothing_ahead():
    flow = flow_of(replace(SMALL, alignment="causal"))
    assert (flow.look_back, flow.look_ahead, flow.receptive_field) == (4, 0, 5)
    x = keypoints(1)
    later = torch.cat([x[:, :5], keypoints(1, 4, seed=1)], dim=1)
    assert torch.equal(flow(x)[:, :5], flow(later)[:, :5])


def test_zero_padding_puts_a_jump_at_the_ends():
    still = torch.ones(1, 6, 2, 3)
    replicate, zero = (MotionKernel(1, replace(SMALL, padding=p)) for p in ("replicate", "zero"))
    assert (replicate(still) == 0).all()
    assert zero(still)[0, :, 0, 0].tolist() == [-1, 0, 0, 0, 0, 0]


def test_dilated_taps_lie_a_scale_apart():
    offsets = {s: MotionKernel(s, replace(SMALL, dilated=True)).offsets for s in (1, 2, 4)}
    assert offsets == {1: (-1, 0), 2: (-2, 0, 2), 4: (-8, -4, 0, 4, 8)}
    flow = flow_of(replace(SMALL, dilated=True))
    assert (flow.look_back, flow.look_ahead) == (8, 8)


def test_joints_may_have_kernels_of_their_own():
    kernel = MotionKernel(1, replace(SMALL, joint_kernels=17))
    assert kernel.weight.shape == (2, 17, 3)
    kernel.weight.data[:, 4] = 0.0
    out = kernel(keypoints(1))
    assert (out[:, :, 4] == 0).all() and (out[:, 1:, 5] != 0).all()


def test_the_score_may_start_without_a_difference():
    kernel = MotionKernel(2, replace(SMALL, pattern_score=False))
    assert kernel.weight[:, 0].tolist() == [-0.5, 0.0, 0.5]
    assert kernel.weight[:, 2].tolist() == [0.0, 0.0, 0.0]


def test_the_sign_of_the_first_scale_may_run_forward():
    literal, forward = (
        MotionKernel(1, replace(SMALL, forward_sign=f)).weight for f in (False, True)
    )
    assert torch.equal(literal, -forward) and literal[:, 0].tolist() == [1.0, -1.0]


def test_without_the_final_relu_features_may_be_negative():
    flow = flow_of(replace(SMALL, final_relu=False))
    assert flow(keypoints(1)).min() < 0 <= flow_of()(keypoints(1)).min()


@pytest.mark.parametrize(
    ("combine", "width"), [("residual", 12), ("motion_only", 12), ("compressed", 3)]
)
def test_what_is_combined_decides_the_width(combine, width):
    config = replace(SMALL, combine=combine)
    assert config.width == width
    assert flow_of(config)(keypoints(2)).shape == (2, 9, 17, width)


def test_the_compressed_form_corrects_the_coordinates():
    flow = flow_of(replace(SMALL, combine="compressed"))
    flow.enhance[3].weight.data.zero_()
    flow.enhance[3].bias.data.zero_()
    x = keypoints(1)
    assert torch.equal(flow(x), x)


def test_dropout_stands_after_the_first_relu_and_only_in_training():
    flow = flow_of(replace(SMALL, dropout=0.5))
    x = keypoints(1)
    assert torch.equal(flow(x), flow(x))
    flow.train()
    assert not torch.equal(flow(x), flow(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 64}, "64 is no multiple of the 3 scales"),
        ({"scales": ()}, "scales"),
        ({"scales": (0, 1, 2)}, "scales"),
        ({"max_taps": 1}, "max_taps"),
        ({"alignment": "centre"}, "alignment must be one of paper, causal, not 'centre'"),
        ({"padding": "wrap"}, "padding"),
        ({"combine": "both"}, "combine"),
    ],
)
def test_impossible_motion_flow_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MotionFlowConfig(**settings)


# ------------------------------------------------------------------------------ the module


def test_theorem_1_without_enhancement_the_original_embedding_is_left():
    flow = flow_of()
    x = keypoints(2)
    original = flow.original(x)
    assert (flow(x) >= 0).all() and not torch.allclose(flow(x), original)
    flow.enhance[3].weight.data.zero_()
    flow.enhance[3].bias.data.zero_()
    assert torch.equal(flow(x), original)


def test_the_scales_are_weighed_by_their_softmax():
    flow = flow_of()
    flow.scale_logits.data.copy_(torch.tensor([0.0, 50.0, 0.0]))
    x = keypoints(1)
    motion = torch.zeros(1, 9, 17, 12)
    motion[..., 4:8] = flow.encoders[1](flow.kernels[1](x))
    assert torch.allclose(flow(x), flow.original(x) + flow.enhance(motion), atol=1e-6)


def test_look_back_and_ahead_are_what_the_features_depend_on():
    for config in (SMALL, replace(SMALL, scales=(1, 2)), replace(SMALL, scales=(1,), dim=12)):
        flow = flow_of(config).double()
        # Every path open: no ReLU may hide a dependence.
        x = torch.zeros(1, 21, 1, 3, dtype=torch.float64, requires_grad=True)
        for p in flow.parameters():
            p.data = p.data.abs() + 0.1
        flow(x)[0, 10].sum().backward()
        seen = x.grad[0, :, 0].abs().sum(dim=-1).nonzero().flatten()
        assert (10 - seen.min(), seen.max() - 10) == (flow.look_back, flow.look_ahead)
        assert flow.receptive_field == flow.look_back + 1 + flow.look_ahead


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(9, 17, 3), r"\(B, T, J, 3\), four dimensions, not \(9, 17, 3\)"),
        (torch.zeros(1, 9, 17, 2), r"\(B, T, J, 3\), not \(1, 9, 17, 2\)"),
        (torch.zeros(1, 9, 17, 3, dtype=torch.int64), "floating-point numbers, not torch.int64"),
        (torch.zeros(1, 0, 17, 3), "1 frames or more, not 0"),
        (torch.full((1, 9, 17, 3), float("nan")), "finite; 459 of 459"),
        (torch.full((1, 9, 17, 3), float("inf")), "finite"),
    ],
)
def test_wrong_clip_shapes_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        flow_of()(x)


def test_kernels_per_joint_refuse_other_numbers_of_joints():
    with pytest.raises(ValueError, match=r"\(B, T, 5, 3\), not \(1, 9, 17, 3\)"):
        flow_of(replace(SMALL, joint_kernels=5))(keypoints(1))
