"""The fused twin, exported files, and what runs them."""

import json
from dataclasses import replace

import onnx
import pytest
import torch

from emf_ros.cli.main import main
from emf_ros.lift.engine import EngineError, OnnxEngine
from emf_ros.model.checkpoint import save_weights
from emf_ros.model.export import (
    FORMATS,
    OPSET,
    TOLERANCE,
    ExportError,
    check_export,
    export,
    export_checked,
    load_exported,
)
from emf_ros.model.fused import FusedLifter
from emf_ros.model.lifter import Lifter
from emf_ros.model.presets import (
    FORMAT,
    PRESETS,
    LifterConfig,
    MotionFlowConfig,
    presets_with_weights,
)
from emf_ros.model.statistics import macs, parameters

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SMALL = LifterConfig(
    frames=9,
    layers=2,
    dim=16,
    dim_rep=24,
    heads=2,
    mlp_ratio=2.0,
    layer_scale=0.5,
    motion=MotionFlowConfig(dim=12),
)


def lifter_of(config=SMALL, seed=0):
    """A lifter all of whose weights are random: at their start many are zeros and ones, which would
    hide what the twin forgets."""
    torch.manual_seed(seed)
    lifter = Lifter(config).eval()
    with torch.no_grad():
        for p in lifter.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return lifter


def keypoints(batch, config=SMALL, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config.frames, 17, 3, generator=generator)


# ------------------------------------------------------------------------------ the fused twin


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, layers=1),
        replace(SMALL, frames=10),
        replace(SMALL, local_branch=True),
        replace(SMALL, local_branch=True, frames=11),
        replace(SMALL, temporal_position=True),
        replace(SMALL, frame_stride=3),
        replace(SMALL, frames=12, frame_stride=2, temporal_position=True),
        replace(SMALL, frame_stride=3, features="none", temporal_position=True),
        replace(SMALL, frame_stride=3, position="after_embedding"),
        replace(SMALL, position="after_embedding"),
        replace(SMALL, features="none"),
        replace(SMALL, features="difference", temporal_position=True),
        replace(SMALL, motion=MotionFlowConfig(dim=12, alignment="causal")),
        replace(SMALL, motion=MotionFlowConfig(dim=12, dilated=True)),
        replace(SMALL, motion=MotionFlowConfig(dim=10, scales=(1, 3))),
        replace(SMALL, motion=MotionFlowConfig(dim=12, padding="zero")),
        replace(SMALL, motion=MotionFlowConfig(dim=12, joint_kernels=17)),
        replace(SMALL, motion=MotionFlowConfig(dim=12, final_relu=False)),
        replace(SMALL, motion=MotionFlowConfig(dim=12, combine="motion_only")),
        replace(SMALL, motion=MotionFlowConfig(dim=12, combine="compressed")),
    ],
)
def test_the_fused_twin_computes_the_same(config):
    lifter = lifter_of(config).double()
    lifter.scale_offset.normal_()
    fused = FusedLifter(lifter)
    with torch.inference_mode():
        for batch in (1, 3):
            x = keypoints(batch, config).double()
            for mine, theirs in zip(lifter(x), fused(x), strict=True):
                assert mine.shape == theirs.shape
                assert (mine - theirs).abs().max() < 1e-10


@pytest.mark.parametrize("preset", PRESETS)
def test_the_presets_have_fused_twins(preset):
    # In double precision: float32 rounds differently by CPU, and wide random weights magnify it.
    config = replace(PRESETS[preset], layers=2)
    lifter, x = lifter_of(config).double(), keypoints(1, config).double()
    with torch.inference_mode():
        assert (lifter(x)[0] - FusedLifter(lifter)(x)[0]).abs().max() < 1e-10


def test_the_fused_twin_leaves_the_lifter_as_it_was():
    lifter, x = lifter_of(), keypoints(1)
    with torch.inference_mode():
        before = lifter(x)[0]
        FusedLifter(lifter).half()
        assert torch.equal(lifter(x)[0], before)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 8, 17, 3), "9 frames, not 8"),
        (torch.zeros(1, 9, 16, 3), "not"),
        (torch.full((1, 9, 17, 3), float("nan")), "finite"),
    ],
)
def test_the_fused_twin_refuses_what_is_no_window(x, message):
    with pytest.raises(ValueError, match=message):
        FusedLifter(lifter_of())(x)


def test_the_network_compiles_as_one_graph():
    """No graph breaks: fullgraph raises at the first. Compiled without generating code, which would
    need minutes and a compiler."""
    lifter, x = lifter_of(), keypoints(2)
    for network in (lifter, FusedLifter(lifter)):
        compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
        with torch.no_grad():
            assert torch.allclose(compiled(x)[0], lifter(x)[0], atol=1e-5)


def test_a_cuda_graph_captures_the_network():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    lifter = lifter_of().cuda()
    static, other = keypoints(2).cuda(), keypoints(2, seed=1).cuda()
    for network in (lifter, FusedLifter(lifter.cpu()).cuda()):
        network.cuda()
        with torch.inference_mode():
            network(static)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                positions, _ = network(static)
            static.copy_(other)
            graph.replay()
            assert torch.allclose(positions, network(other)[0], atol=1e-4)


# ------------------------------------------------------------------------------ export


def test_a_strided_lifter_is_exported_with_its_stride(tmp_path):
    lifter = lifter_of(replace(SMALL, frame_stride=3, temporal_position=True))
    export(lifter, tmp_path / "m.onnx")
    check_export(lifter, tmp_path / "m.onnx")
    _, metadata = load_exported(tmp_path / "m.onnx", "onnx")
    assert LifterConfig.from_metadata(metadata).frame_stride == 3


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_computes_what_torch_does_at_any_batch(tmp_path, format, half):
    # As the trained ones are: with weights as wild as `lifter_of`'s, half precision says nothing.
    torch.manual_seed(0)
    lifter = Lifter(SMALL).eval()
    path = tmp_path / f"small{FORMATS[format]}"
    export(lifter, path, format, half)
    assert check_export(lifter, path, format, half, batches=(1, 2, 5)) <= (5e-3 if half else 1e-4)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    _, metadata = load_exported(path, format)
    assert metadata["format"] == FORMAT and metadata["layout"] == "h36m17"
    assert (metadata["frames"], metadata["rate_hz"]) == ("9", "30")
    assert metadata["normalization"] == "virtual_camera" and metadata["version"]
    assert metadata["precision"] == ("float16" if half else "float32")
    assert LifterConfig.from_metadata(metadata) == SMALL


def test_an_export_that_computes_something_else_is_caught(tmp_path):
    path = tmp_path / "small.onnx"
    export(lifter_of(seed=1), path)
    with pytest.raises(ExportError, match="differs from torch by"):
        check_export(lifter_of(), path)
    with pytest.raises(ExportError, match="another lifter"):
        check_export(lifter_of(replace(SMALL, layers=1)), path)


def test_an_export_that_computes_something_else_replaces_nothing(tmp_path, monkeypatch, capsys):
    path = tmp_path / "lite.onnx"
    path.write_bytes(b"a good one")
    monkeypatch.setitem(TOLERANCE, True, 0.0)
    with pytest.raises(ExportError, match=r"lite.onnx is not written: .*differs from torch by"):
        export_checked(Lifter(SMALL), path, half=True)
    weights = tmp_path / "small.safetensors"
    save_weights(weights, Lifter(SMALL))
    assert main(["export", "--weights", str(weights), "--half", "--out", str(path)]) == 1
    assert "lite.onnx is not written" in capsys.readouterr().err.splitlines()[-1]
    assert path.read_bytes() == b"a good one" and {*tmp_path.iterdir()} == {path, weights}
    assert export_checked(Lifter(SMALL), path) < 1e-4 and path.stat().st_size > 1000


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ExportError, match="unknown format 'caffe'; known: onnx"):
        export(lifter_of(), tmp_path / "x", "caffe")


#: Operators that TensorRT's ONNX parser takes in these types, by onnx-tensorrt's operator table.
TENSORRT = set(
    "Add Cast Concat Constant Div Erf Expand Gather Gemm Identity LayerNormalization MatMul Mul "
    "Relu Reshape Shape Sigmoid Slice Softmax Split Squeeze Sub Tanh Transpose Unsqueeze".split()
)


@pytest.mark.parametrize("half", [False, True])
def test_the_onnx_graph_holds_only_what_tensorrt_parses(tmp_path, half):
    path = tmp_path / "lite.onnx"
    export(lifter_of(PRESETS["lite"]), path, half=half)
    model = onnx.load(str(path))
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert {node.op_type for node in model.graph.node} <= TENSORRT
    assert {node.domain for node in model.graph.node} == {""}
    batch, *rest = model.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param == "batch" and [d.dim_value for d in rest] == [27, 17, 3]
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_the_onnx_graph_computes_no_shapes(tmp_path):
    """Each would cost as much as a small product, and TensorRT dislikes them."""
    path = tmp_path / "lite.onnx"
    export(lifter_of(PRESETS["lite"]), path)
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert not {"Shape", "Expand", "If", "Loop"} & set(kinds)


# ------------------------------------------------------------------------------ the runtime


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    export(lifter_of(), path)
    return path


def with_metadata(path, out, **changes):
    """A copy of an exported file that says something else of itself; None takes an entry away."""
    model = onnx.load(str(path))
    kept = {p.key: p.value for p in model.metadata_props} | changes
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {k: v for k, v in kept.items() if v is not None})
    onnx.save(model, str(out))
    return out


def config_of(**changes):
    return json.dumps({**SMALL.as_dict(), **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "format is None"),
        ({"format": "emf_ros-lifter-1"}, f"'emf_ros-lifter-1'; this version reads '{FORMAT}'"),
        ({"config": None}, "describes no lifter"),
        ({"config": "{}"}, "describes no lifter"),
        ({"config": config_of(wings=2)}, "unknown settings .*wings"),
        ({"layout": "coco17"}, "says layout 'coco17' and describes a lifter of 'h36m17'"),
        ({"rate_hz": "25"}, "says rate_hz '25'"),
        ({"frames": "27"}, "says frames '27'"),
        ({"normalization": "image_width"}, "says normalization"),
        (
            {
                "normalization": "image_width",
                "config": config_of(normalization="image_width"),
            },
            "no metric skeletons",
        ),
        (
            {"frames": "27", "config": config_of(frames=27)},
            "inputs of .* are .*9, 17, 3.*; its metadata say .*27, 17, 3",
        ),
    ],
)
def test_the_runtime_refuses_a_file_that_does_not_fit(exported, tmp_path, changes, message):
    path = with_metadata(exported, tmp_path / "other.onnx", **changes)
    with pytest.raises(EngineError, match=message):
        OnnxEngine(path, 1)


# ------------------------------------------------------------------------------ sizes


def test_the_arithmetic_is_that_of_the_published_network():
    """4.07, 12.4 and 39.1 GMAC a clip at T = 9, 27 and 81 were counted in the published code."""
    full = replace(PRESETS["base"], local_branch=True)
    for frames, giga in ((9, 4.07), (27, 12.4), (81, 39.1)):
        assert macs(replace(full, frames=frames)) / 1e9 == pytest.approx(giga, rel=0.01)


def test_parameters_are_counted():
    assert parameters(SMALL) == sum(p.numel() for p in Lifter(SMALL).parameters())


# ------------------------------------------------------------------------------ commands


def test_the_command_exports_the_shipped_weights(tmp_path, capsys):
    assert main(["export", "--out", str(tmp_path), "--threads", "1"]) == 0
    assert "within" in capsys.readouterr().out
    assert OnnxEngine(tmp_path / "lite.onnx", 1).config == PRESETS["lite"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "huge"], "unknown preset 'huge'; known: lite, small, base"),
        (["--weights", "none.safetensors"], "no weights file none.safetensors"),
        (["--out", "/proc/none/lite.onnx"], "/proc/none"),
    ],
)
def test_the_command_says_what_cannot_be_exported(arguments, message, capsys):
    assert main(["export", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_the_command_lists_the_presets_that_have_weights_as_measured(monkeypatch, capsys):
    monkeypatch.setattr("emf_ros.cli.model_table.PRESETS", {**PRESETS, "lite": SMALL})
    assert main(["models", "--seconds", "0.1", "--threads", "1"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line}
    assert set(rows) & set(PRESETS) == set(presets_with_weights()) == {"lite"}
    assert rows["lite"][1:4] == ["9", "2", "16"]
    assert int(rows["lite"][4].replace(",", "")) == parameters(SMALL)
    assert float(rows["lite"][7]) > 0
