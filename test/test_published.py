"""Published TCPFormer checkpoints: the same numbers, safe reading, and lifters begun from them.

`data/tcpformer_parity.npz` holds what the published implementation (MIT, arXiv 2501.01770) returned
on a CPU in float32 and evaluation mode, one array per entry of `CASES`. To make it again, build its
`MemoryInducedTransformer` for each case with the case's sizes (`n_layers`, `dim_in`, `dim_feat`,
`dim_rep`, `dim_out`, `mlp_ratio`, `num_heads`, `num_joints`, `n_frames`; `use_layer_scale=True`,
all else as it comes), replace every tensor of its `state_dict` by `drawn_from_its_name`, call it on
`drawn_input`, and keep every `every`-th frame. Where a case says `local`, the six layer scales that
it keeps in each `temporal_layers[i].layer_scale` are drawn as well, by the name
`temporal_layers.{i}.layer_scale.{k}`; else they stay at 1e-5, at which the local branch hides from
any comparison. That code moves these scales to 'cuda', which has to be let pass without a GPU.
"""

import argparse
import copy
import os
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from emf_ros.cli.main import main
from emf_ros.model.checkpoint import load_weights, save_weights
from emf_ros.model.presets import LifterConfig, MotionFlowConfig
from emf_ros.model.published import (
    LOCAL_SCALE,
    PublishedSizes,
    PublishedTCPFormer,
    lifter_from_published,
    load_published,
)
from emf_ros.model.published_file import PublishedError
from emf_ros.model.published_names import published_names

SHARED = Path(__file__).resolve().parents[2] / "shared" / "parity" / "tcpformer_T27_L2.npz"
OWN = Path(__file__).parent / "data" / "tcpformer_parity.npz"
TOLERANCE = 2e-5

#: As published, but for layers and frames; and one in which all is different.
FULL = PublishedSizes(1, 128, 3, 512, 3, 4.0, 17, 9)
ODD = PublishedSizes(2, 48, 2, 40, 4, 2.5, 13, 11, heads=6)
#: For all that is not about numbers.
TINY = PublishedSizes(1, 16, 3, 24, 3, 2.0, 17, 9, heads=2)


@dataclass(frozen=True)
class Case:
    sizes: PublishedSizes
    length: int
    every: int = 1
    local: bool = False


CASES = {
    "T9_L3": Case(replace(FULL, frames=9, layers=3), 9),
    "T81_L1": Case(replace(FULL, frames=81), 81),
    "T5_L1": Case(replace(FULL, frames=5), 5),
    "T10_L2": Case(replace(FULL, frames=10, layers=2), 10),
    "T243_L1": Case(replace(FULL, frames=243), 243, every=6),
    "T27_L2_clip31": Case(replace(FULL, frames=27, layers=2), 31),
    "T11_L2_odd": Case(ODD, 11),
    "T9_L1_local": Case(FULL, 9, local=True),
    "T10_L2_local": Case(replace(FULL, frames=10, layers=2), 10, local=True),
    "T5_L1_local": Case(replace(FULL, frames=5), 5, local=True),
}


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def drawn_from_its_name(key, shape):
    """The tensor that a published name stands for in the parity data."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    w = rng.standard_normal(shape).astype(np.float32)
    norm = key.endswith("norm.weight") or (
        key.endswith(".weight") and (".norm" in key or "_norms." in key)
    )
    if key.endswith(".bias"):
        w = 0.02 * w
    elif "layer_scale" in key:
        w = 0.3 + 0.1 * w
    elif norm:
        w = 1 + 0.1 * w
    elif w.ndim >= 2:
        w = w / np.sqrt(shape[-1])
    else:
        w = 0.5 * w
    return torch.from_numpy(np.asarray(w, dtype=np.float32))


def drawn_input(name, shape):
    """Float32 from numpy's default generator, seeded with the case's name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def published_state(sizes):
    """The state dict of a published network, drawn from the names."""
    with torch.device("meta"):  # for the shapes alone
        ours = PublishedTCPFormer(sizes).state_dict()
    return {
        key: drawn_from_its_name(key, tuple(ours[name].shape[0 if third is None else 1 :]))
        for key, (name, third) in published_names(sizes.layers).items()
    }


def save_published(path, state, prefix="module.", min_mpjpe=37.9, legacy=False, **others):
    """A file as the published training code writes it."""
    checkpoint = {
        "epoch": 90,
        "lr": 2e-4,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 2e-4}]},
        "model": {prefix + key: tensor for key, tensor in state.items()},
        "min_mpjpe": min_mpjpe,
        "wandb_id": "abc",
        **others,
    }
    torch.save(checkpoint, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.fixture(scope="module")
def tiny_state():
    return published_state(TINY)


@pytest.fixture
def state(tiny_state):
    """The tiny network's weights, to be changed."""
    return {key: tensor.clone() for key, tensor in tiny_state.items()}


@pytest.fixture(scope="module")
def published(tmp_path_factory, tiny_state):
    """Its file, not to be changed."""
    return save_published(tmp_path_factory.mktemp("published") / "tiny.pth.tr", tiny_state)


@pytest.fixture(scope="module")
def network(published):
    """What is loaded of it, not to be changed."""
    return load_published(published, heads=2)


def clip(length=TINY.frames, sizes=TINY):
    return drawn_input("clip", (2, length, sizes.joints, sizes.dim_in))


# ------------------------------------------------------------------------------ the same numbers


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_the_published_network_does(name, tmp_path):
    case = CASES[name]
    path = save_published(tmp_path / "drawn.pth.tr", published_state(case.sizes))
    network = load_published(path, frames=case.sizes.frames, heads=case.sizes.heads)
    assert network.sizes == case.sizes and not network.training
    if case.local:
        for i, block in enumerate(network.trunk.local_blocks):
            keys = [f"temporal_layers.{i}.layer_scale.{k}" for k in range(6)]
            scales = torch.stack([drawn_from_its_name(k, (case.sizes.dim,)) for k in keys])
            block.scale1.data.copy_(scales[:3])
            block.scale2.data.copy_(scales[3:])
    x = drawn_input(name, (1, case.length, case.sizes.joints, case.sizes.dim_in))
    with torch.inference_mode():
        ours = network(x)[:, :: case.every].numpy()
    with np.load(OWN) as data:
        assert ours.shape == data[name].shape
        assert np.abs(ours - data[name]).max() < TOLERANCE


def test_it_computes_what_the_shared_parity_data_says(tmp_path):
    if not SHARED.is_file():
        pytest.skip(
            f"there is no {SHARED}: the published network's answers lie beside the checkout"
        )
    with np.load(SHARED) as data:
        shapes = {
            str(key): tuple(int(n) for n in str(shape).split(","))
            for key, shape in zip(data["keys"], data["shapes"], strict=True)
        }
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    state = {key: drawn_from_its_name(key, shape) for key, shape in shapes.items()}
    assert set(published_names(2)) == set(shapes)
    network = load_published(save_published(tmp_path / "drawn.pth.tr", state))
    with torch.inference_mode():
        assert (network(x) - y).abs().max() < TOLERANCE


def test_every_parameter_but_the_local_scales_has_published_names():
    places = list(published_names(2).values())
    assert len(places) == len(set(places))
    ours = dict(PublishedTCPFormer(replace(TINY, layers=2)).named_parameters())
    unnamed = set(ours) - {place.name for place in places}
    assert unnamed == {f"trunk.local_blocks.{i}.scale{k}" for i in (0, 1) for k in (1, 2)}
    thirds = [place for place in places if place.third is not None]
    assert {name for name, _ in thirds} == {n for n in ours if ".local_blocks." in n} - unnamed
    assert {third for _, third in thirds} == {0, 1, 2}


def test_the_local_scales_are_the_ones_that_were_never_trained(network):
    scales = {n: p for n, p in network.named_parameters() if not p.requires_grad}
    assert sorted(scales) == [f"trunk.local_blocks.0.scale{k}" for k in (1, 2)]
    assert all(p.shape == (3, 16) and (p == 1e-5).all() for p in scales.values())


# ------------------------------------------------------------------------------ lengths and heads


@pytest.mark.parametrize("length", [3, 5, 6, 7, 8, 9, 10, 11, 27, 31, 81, 243])
def test_clips_of_other_lengths_run(network, length):
    with torch.inference_mode():
        out = network(clip(length))
    assert out.shape == (2, length, 17, 3) and out.isfinite().all()


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_clip_without_thirds_is_refused(network, length):
    with pytest.raises(ValueError, match="thirds|3 frames or more"):
        network(clip(length))


def test_the_frames_trained_for_can_be_told(published, network):
    assert network.sizes.frames == 9
    told = load_published(published, frames=11, heads=2)
    assert told.sizes.frames == 11
    assert torch.equal(told(clip()), network(clip()))
    for frames in (8, 12, 0):
        with pytest.raises(ValueError, match=f"3 proxies, as for 9 to 11 frames, not for {frames}"):
            load_published(published, frames=frames, heads=2)


def test_four_frames_are_refused(tmp_path):
    path = save_published(tmp_path / "x.pth.tr", published_state(replace(TINY, frames=5)))
    with pytest.raises(ValueError, match="4 frames do not part into thirds"):
        load_published(path, frames=4, heads=2)


@pytest.mark.parametrize("heads", [-2, 0, 3])
def test_heads_that_do_not_divide_the_width_are_refused(published, heads):
    with pytest.raises(ValueError, match=f"16 wide, which does not part into {heads} heads"):
        load_published(published, heads=heads)


def test_any_mlp_width_is_read_exactly(tmp_path):
    # 29 / 50 * 50 is 28.999..., of which a network of ratio 29 / 50 would make 28.
    sizes = replace(TINY, dim=50, mlp_ratio=0.5800000000000001)
    assert int(50 * (29 / 50)) == 28
    path = save_published(tmp_path / "x.pth.tr", published_state(sizes))
    assert load_published(path, heads=2).trunk.local_blocks[0].fc1.weight.shape == (3, 29, 50)


# ------------------------------------------------------------------------------ the file


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_the_prefix_and_the_format_of_the_file_make_no_difference(
    tmp_path, network, state, prefix, legacy
):
    other = save_published(tmp_path / "other", state, prefix, legacy=legacy)
    assert torch.equal(load_published(other, heads=2)(clip()), network(clip()))


def test_a_bare_state_dict_is_taken(tmp_path, network, state):
    bare = tmp_path / "bare.pth"
    torch.save({f"module.{key}": tensor.double() for key, tensor in state.items()}, bare)
    assert torch.equal(load_published(bare, heads=2)(clip()), network(clip()))


SPELLINGS = (b"numpy.core.multiarray\nscalar\n", b"numpy._core.multiarray\nscalar\n")


@pytest.mark.parametrize("scalar", [np.float64(37.9), np.float32(37.9)])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_best_error_may_be_a_scalar_of_either_numpy(tmp_path, state, spelling, scalar):
    saved = save_published(tmp_path / "saved", state, min_mpjpe=scalar)
    path = tmp_path / "tiny.pth.tr"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.namelist():
            content = old.read(item)
            if item.endswith("data.pkl"):
                assert sum(content.count(known) for known in SPELLINGS) == 1
                for known in SPELLINGS:
                    content = content.replace(known, spelling)
                assert spelling in content
            new.writestr(item, content)
    before = set(torch.serialization.get_safe_globals())
    assert load_published(path, heads=2).sizes == TINY
    # What has been allowed was for this file alone.
    assert set(torch.serialization.get_safe_globals()) == before


class Harm:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("place", ["min_mpjpe", "optimizer", "more"])
def test_a_file_that_would_run_something_is_refused_unrun(tmp_path, state, place, legacy):
    mark = tmp_path / "mark"
    path = tmp_path / "harm.pth.tr"
    save_published(path, state, legacy=legacy, **{place: Harm(f"touch '{mark}'")})
    with pytest.raises(PublishedError, match=r"refused: reading it would take \w+\.system"):
        load_published(path)
    assert not mark.exists()
    # The file is one that does harm to who reads it without care.
    torch.load(path, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (argparse.Namespace(), r"argparse\.Namespace"),
        (np.zeros(3), r"numpy\._?core\.multiarray\._reconstruct"),
        (Path("x"), r"pathlib\.\w+"),
        (eval, "eval"),
    ],
)
def test_any_other_type_is_refused_by_its_name(tmp_path, state, value, named):
    path = save_published(tmp_path / "x.pth.tr", state, more=value)
    with pytest.raises(PublishedError, match=f"x.pth.tr is refused: reading it would take {named}"):
        load_published(path)


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.pth.tr", tmp_path):
        with pytest.raises(PublishedError, match=f"there is no checkpoint {path}"):
            load_published(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path, published, share):
    data, path = published.read_bytes(), tmp_path / "cut.pth.tr"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(PublishedError, match="cut.pth.tr is no checkpoint that torch can read"):
        load_published(path)


@pytest.mark.parametrize("content", [b"hello", b"\xff" * 4096, b"\x80\x02.", b"PK\x03\x04" * 20])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    path = tmp_path / "other.pth.tr"
    path.write_bytes(content)
    with pytest.raises(PublishedError, match="other.pth.tr is no checkpoint that torch can read"):
        load_published(path)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {},
        {"model": None},
        {"model": {}},
        {"epoch": 3, "lr": 0.1},
        {"model": {"norm.weight": [1.0, 2.0]}},
        {"model": {"norm.weight": torch.arange(3)}},
        {"model": {"norm.weight": torch.zeros(3).to_sparse()}},
        {"model": {3: torch.zeros(3)}},
    ],
)
def test_a_file_without_weights_is_named(tmp_path, content):
    path = tmp_path / "other.pth.tr"
    torch.save(content, path)
    with pytest.raises(PublishedError, match="other.pth.tr holds no state dict"):
        load_published(path)


# ------------------------------------------------------------------------------ the tensors


def refusal(path, state):
    save_published(path, state)
    with pytest.raises(PublishedError) as refused:
        load_published(path, heads=2)
    return str(refused.value)


def test_missing_and_unknown_tensors_are_listed(tmp_path, state):
    del state["head.bias"], state["temporal_layers.0.local_norms.5.weight"]
    state["layers.0.att_spatial.mixer.qkv.bias"] = torch.zeros(48)
    message = refusal(tmp_path / "x.pth.tr", state)
    assert "2 tensors are missing (head.bias, temporal_layers.0.local_norms.5.weight)" in message
    assert "1 are unknown (layers.0.att_spatial.mixer.qkv.bias)" in message


def test_another_network_is_refused_without_listing_all_of_it(tmp_path):
    other = {f"backbone.{i}.{'x' * 500}": torch.zeros(2) for i in range(1000)}
    message = refusal(tmp_path / "x.pth.tr", other)
    assert "and 147 more" in message and "and 992 more" in message and len(message) < 3000


def test_a_layer_less_is_noticed(tmp_path):
    state = published_state(replace(TINY, layers=2))
    cut = {k: v for k, v in state.items() if not k.startswith("temporal_layers.1.")}
    assert "90 tensors are missing (temporal_layers.1." in refusal(tmp_path / "x.pth.tr", cut)


def test_wrong_shapes_are_listed(tmp_path, state):
    state["temporal_layers.0.cross_temporal.att_weight"] = torch.tensor(0.3)
    state["layers.0.fusion.bias"] = torch.zeros(3)
    state["temporal_layers.0.local_norms.4.bias"] = torch.zeros(3, 16)
    message = refusal(tmp_path / "x.pth.tr", state)
    assert "3 tensors have shapes" in message
    assert "att_weight (), not (1,)" in message
    assert "layers.0.fusion.bias (3,), not (2,)" in message
    assert "local_norms.4.bias (3, 16), not (16,)" in message


@pytest.mark.parametrize("shape", [(17, 16), (0, 17, 16)])
def test_sizes_that_cannot_be_read_are_named(tmp_path, state, shape):
    state["center_pose"] = torch.zeros(shape)
    assert f"here it is {shape}" in refusal(tmp_path / "x.pth.tr", state)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_values_that_are_not_finite_are_refused(tmp_path, state, value):
    keys = ["norm.bias", "temporal_layers.0.loacl_mlps.2.fc1.weight"]
    for key in keys:
        state[key] = state[key].double()
        state[key].view(-1)[3] = value
    message = refusal(tmp_path / "x.pth.tr", state)
    assert f"not finite, in {', '.join(keys)}" in message


# ------------------------------------------------------------------------------ lifters


@pytest.fixture
def hybrid(published):
    torch.manual_seed(0)
    return lifter_from_published(published, heads=2)


def test_a_lifter_takes_all_but_the_embedding(network, hybrid):
    theirs, ours = network.trunk.state_dict(), hybrid.trunk.state_dict()
    assert list(ours) == list(theirs)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == [
        "embed.weight",
        "embed.bias",
    ]
    assert hybrid.trunk.embed.in_features == hybrid.config.motion.dim
    assert torch.equal(hybrid.position_head.weight, network.head.weight)
    assert torch.equal(hybrid.position_head.bias, network.head.bias)
    # Block by block, and from the embedding's output to the end.
    x, proxy = torch.randn(1, 9, 17, 16), torch.randn(1, 3, 17, 16)
    with torch.inference_mode():
        for name in ("blocks", "local_blocks"):
            a, b = (getattr(t, name)[0](x) for t in (hybrid.trunk, network.trunk))
            assert torch.equal(a, b)
        a, b = (t.proxy_blocks[0](x, proxy) for t in (hybrid.trunk, network.trunk))
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
        whole = copy.deepcopy(network)
        whole.trunk.embed = hybrid.trunk.embed
        features = hybrid.features(clip())
        assert torch.equal(hybrid.position_head(hybrid.trunk(features)), whole(features))


def test_the_lifters_configuration_is_the_files(hybrid):
    assert hybrid.config == LifterConfig(
        frames=9,
        layers=1,
        dim=16,
        dim_rep=24,
        heads=2,
        mlp_ratio=2.0,
        layer_scale=1e-5,
        local_branch=True,
        normalization="image_width",
    )


def test_a_lifter_from_published_weights_trains(hybrid):
    hybrid.train()
    before = {name: p.detach().clone() for name, p in hybrid.named_parameters()}
    frozen = {n for n, p in hybrid.named_parameters() if not p.requires_grad}
    scales = {f"trunk.local_blocks.0.scale{k}" for k in (1, 2)}
    assert frozen == {"trunk.joint_position"} | scales
    optimizer = torch.optim.SGD(hybrid.parameters(), lr=0.01)
    positions, log_scale = hybrid(clip())
    (positions.square().sum() + log_scale.square().sum()).backward()
    still = {n for n, p in hybrid.named_parameters() if p.grad is None or not p.grad.any()}
    assert still == frozen
    optimizer.step()
    after = dict(hybrid.named_parameters())
    assert not torch.equal(after["position"], before["position"])
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    assert (after["trunk.local_blocks.0.scale1"] == LOCAL_SCALE).all()
    moved = [n for n in before if n.startswith("motion_flow.")]
    assert moved and not any(torch.equal(after[n], before[n]) for n in moved)


def test_a_lifter_from_published_weights_is_saved_and_loaded(tmp_path, hybrid):
    path = tmp_path / "hybrid.safetensors"
    save_weights(path, hybrid)
    loaded = load_weights(path)
    assert loaded.config == hybrid.config
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(loaded(clip()), hybrid(clip()), strict=True))


def test_a_given_configuration_is_used(published, network):
    config = replace(
        network.sizes.lifter_config(),
        frames=10,
        rate_hz=50.0,
        local_branch=False,
        temporal_position=True,
        motion=MotionFlowConfig(dim=12),
    )
    lifter = lifter_from_published(published, config)
    assert lifter.config == config and lifter.trunk.embed.in_features == 12
    assert not lifter.trunk.local_blocks
    assert torch.equal(lifter.trunk.proxy, network.trunk.proxy)
    with pytest.raises(ValueError, match="frames and heads are the config's"):
        lifter_from_published(published, config, heads=2)


def test_without_features_in_front_a_lifter_is_the_published_network(published, network):
    config = replace(network.sizes.lifter_config(), features="none", position="after_embedding")
    with torch.inference_mode():
        theirs = network(clip())
        ours, _ = lifter_from_published(published, config)(clip())
    assert torch.allclose(ours, theirs - theirs[:, :, :1], atol=1e-6)


def test_a_configuration_of_other_sizes_is_refused(published):
    config = LifterConfig(
        frames=9, layers=2, dim=32, dim_rep=24, heads=2, layout="blazepose33", local_branch=True
    )
    with pytest.raises(ValueError) as refused:
        lifter_from_published(published, config)
    for said in (
        "layers 2, not 1",
        "dim 32, not 16",
        "mlp_ratio 4, not 2",
        "layout blazepose33, not one of 17 joints",
    ):
        assert said in str(refused.value)
    assert "dim_rep" not in str(refused.value)
    with pytest.raises(ValueError, match="3 proxies"):
        lifter_from_published(published, replace(config, frames=27))


def test_an_output_that_is_no_position_is_left_out(tmp_path):
    state = published_state(replace(TINY, dim_out=5))
    lifter = lifter_from_published(save_published(tmp_path / "x.pth.tr", state), heads=2)
    assert lifter.position_head.out_features == 3


def test_the_command_imports_a_checkpoint_that_training_goes_on_from(tmp_path, published, capsys):
    out = tmp_path / "hybrid.safetensors"
    heads = str(TINY.heads)
    arguments = ["import-published", str(published), "--heads", heads, "--out", str(out)]
    assert main(arguments) == 0
    assert f"emf-ros train --init {out}" in capsys.readouterr().out
    config = load_weights(out).config
    assert config.normalization == "virtual_camera" and config.local_branch
    assert config.frames == TINY.frames
    arguments[1] = str(tmp_path / "none.pth")
    assert main(arguments) == 1
    assert "none.pth" in capsys.readouterr().err
