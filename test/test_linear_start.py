"""EMF's first weights: a linear map of keypoints and motion, where its form allows it."""

import pytest
import torch
from moving_people import mocap_folder

from emf_ros.model.lifter import Lifter, join_frames
from emf_ros.model.presets import get_preset
from emf_ros.train.linear_start import begin_linear
from emf_ros.train.settings import TrainConfig, resized
from emf_ros.train.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL = {"frames": 9, "layers": 1, "dim": 32, "dim_rep": 32}


def lifter_of(**settings):
    torch.manual_seed(0)
    return Lifter(resized(get_preset("lite"), {**SMALL, **settings})).eval()


def embedded(lifter, keypoints):
    """W_embed EMF(X) + b_embed."""
    with torch.no_grad():
        tokens = join_frames(lifter.features(keypoints), lifter.config.frame_stride)
        return lifter.trunk.embed(tokens)


def keypoints(seed):
    return torch.randn(2, 9, 17, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("stride", [1, 3])
def test_emf_begins_as_a_linear_map(stride):
    lifter = lifter_of(frame_stride=stride)
    a, b = keypoints(1), keypoints(2)

    def distance_from_linear():
        both = embedded(lifter, 2 * a - 3 * b)
        return float((both - 2 * embedded(lifter, a) + 3 * embedded(lifter, b)).abs().max())

    assert distance_from_linear() > 0.1
    assert begin_linear(lifter)
    assert distance_from_linear() < 1e-4
    assert embedded(lifter, torch.zeros(1, 9, 17, 3)).abs().max() == 0


def test_the_first_features_hold_the_keypoints_and_their_motion():
    lifter = lifter_of()
    begin_linear(lifter)
    still = keypoints(1)[:, :1].expand(-1, 9, -1, -1)
    no_motion = [torch.zeros_like(still) for _ in lifter.config.motion.scales]
    flow = lifter.motion_flow
    # Each feature and its counterpart are the two signs of one value, as large as the keypoint.
    halves = flow.original(still).chunk(2, dim=-1)
    sizes = (halves[0] - halves[1]).norm(dim=-1)
    assert torch.allclose(sizes, still.norm(dim=-1), rtol=1e-4)
    assert torch.equal(flow.fuse(still, no_motion), flow.original(still))
    for scale in range(len(no_motion)):
        moving = [m + still if i == scale else m for i, m in enumerate(no_motion)]
        assert not torch.allclose(flow.fuse(still, moving), flow.original(still), atol=0.01)


def test_a_new_network_begins_as_large_as_one_without_emf():
    spread = {}
    for features in ("emf", "none"):
        lifter = lifter_of(features=features)
        begin_linear(lifter)
        # Without motion: that of random keypoints is larger than people's.
        still = keypoints(1)[:, :1].expand(-1, 9, -1, -1)
        with torch.no_grad():
            lifter.trunk.embed.bias.zero_()
        spread[features] = float(embedded(lifter, still).std())
    assert 0.6 < spread["emf"] / spread["none"] < 1.7


@pytest.mark.parametrize(
    "settings",
    [
        {"features": "none"},
        {"features": "difference"},
        {"motion": {"combine": "motion_only"}},
        {"motion": {"combine": "compressed"}},
        {"motion": {"final_relu": False}},
        {"motion": {"dim": 63}},
    ],
)
def test_a_network_of_another_form_stays_as_it_is(settings):
    lifter = lifter_of(**settings)
    before = {name: value.clone() for name, value in lifter.state_dict().items()}
    assert not begin_linear(lifter)
    assert all(torch.equal(value, before[name]) for name, value in lifter.state_dict().items())


def test_training_begins_so_and_given_weights_stay(tmp_path):
    mocap = str(mocap_folder(tmp_path / "mocap"))
    config = TrainConfig("lite", mocap, str(tmp_path / "run"), lifter=SMALL, steps=1, batch=2)
    trainer = Trainer(config)
    for lifter in (trainer.lifter, trainer.averaged):
        assert embedded(lifter, torch.zeros(1, 9, 17, 3)).abs().max() == 0
    trainer.train(1)
    trained = Trainer(
        TrainConfig("lite", mocap, str(tmp_path / "next"), init=str(trainer.weights_path), steps=1)
    )
    state = trainer.averaged.state_dict()
    for name, value in trained.lifter.motion_flow.state_dict().items():
        assert torch.equal(value, state[f"motion_flow.{name}"]), name
