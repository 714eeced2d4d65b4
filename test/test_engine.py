"""What runs the model: the engines, the choice between them, and what happens when a GPU fails."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_model import SMALL
from test_swaps import walker

from emf_ros.geometry.canonical_window import canonical_window
from emf_ros.io.paths import share_folder
from emf_ros.lift import onnx_engine
from emf_ros.lift.batching import (
    BUCKETS,
    ThreadedChunks,
    bucket_of,
    buckets_up_to,
    cpu_chunk,
    halved,
    in_chunks,
)
from emf_ros.lift.engine import EngineError, OnnxEngine, TorchEngine, make_engine
from emf_ros.lift.torch_engine import _CudaGraphs
from emf_ros.model.checkpoint import load_weights, save_weights
from emf_ros.model.export import export
from emf_ros.model.fused import FusedLifter, half_inside
from emf_ros.model.lifter import Lifter
from emf_ros.model.presets import PRESETS
from emf_ros.runtime import device as device_module

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("one_torch_thread")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def small_lifter(config=SMALL):
    torch.manual_seed(0)
    return Lifter(config).eval()


def keypoints(batch, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, 9, 17, 3)).astype(np.float32)


def walking(batch):
    """Windows (B, 27, 17, 3) of people who walk in as many directions."""
    rays = np.stack([walker(27, turned=6.3 * k / batch) for k in range(batch)])
    return canonical_window(rays, np.ones(rays.shape[:-1])).keypoints.astype(np.float32)


def export_small(folder):
    """Path of a small lifter as .safetensors; the same one as .onnx is beside it."""
    path = folder / "small.safetensors"
    save_weights(path, small_lifter())
    export(small_lifter(), path.with_suffix(".onnx"))
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_small(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def both(exported):
    return TorchEngine(exported, "cpu", 1), OnnxEngine(exported.with_suffix(".onnx"), 1)


# ------------------------------------------------------------------------------ batches


def test_a_batch_uses_the_smallest_bucket_that_holds_it():
    assert [bucket_of(n) for n in (1, 2, 3, 5, 9, 31, 33, 64)] == [1, 2, 4, 8, 16, 32, 40, 64]
    assert bucket_of(200) == BUCKETS[-1]
    # Above 8 at most seven people are padding: 33 people are not 64.
    assert all(bucket_of(n) - n < 8 for n in range(1, BUCKETS[-1] + 1))
    assert buckets_up_to(5) == (8, 4, 2, 1)
    assert [halved(n) for n in (64, 40, 33, 16, 9, 8, 3, 2, 1)] == [32, 16, 16, 8, 8, 4, 2, 1, 1]
    assert buckets_up_to(200) == tuple(reversed(BUCKETS))


def test_a_cpu_runs_few_of_the_large_windows_at_a_time():
    assert [cpu_chunk(PRESETS[name]) for name in ("lite", "small", "base")] == [4, 1, 1]


@pytest.mark.parametrize("people", [0, 1, 7, 8, 9, 20])
def test_large_batches_are_run_in_parts(people):
    sizes = []

    def run(part):
        sizes.append(len(part))
        return 2 * part, part[..., 0]

    x = keypoints(people)
    positions, stddev = in_chunks(run, x, 8)
    assert np.array_equal(positions, 2 * x) and np.array_equal(stddev, x[..., 0])
    assert sum(sizes) == people and all(0 < size <= 8 for size in sizes)


@pytest.mark.parametrize("people", [0, 1, 2, 3, 8, 9, 20])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_parts_on_threads_are_about_equal_and_give_what_one_batch_gives(people, threads):
    sizes = []

    def run(part):
        sizes.append(len(part))
        return 2 * part, part[..., 0]

    x = keypoints(people)
    positions, stddev = ThreadedChunks(run, 4, threads)(x)
    assert np.array_equal(positions, 2 * x) and np.array_equal(stddev, x[..., 0])
    assert sum(sizes) == people and all(0 < size <= 4 for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert len(sizes) % threads == 0 or len(sizes) == people


def test_two_people_are_lifted_at_the_same_time_on_two_threads():
    both_began = threading.Barrier(2, timeout=60)

    def run(part):
        both_began.wait()
        return part, part[..., 0]

    x = keypoints(2)
    assert np.array_equal(ThreadedChunks(run, 4, 2)(x)[0], x)


def test_an_error_of_any_part_is_raised():
    x = keypoints(4)
    for failing in range(4):

        def run(part, failing=failing):
            if np.array_equal(part, x[failing : failing + 1]):
                raise RuntimeError("no memory")
            return part, part[..., 0]

        with pytest.raises(RuntimeError, match="no memory"):
            ThreadedChunks(run, 1, 2)(x)


def test_a_person_alone_and_among_31_others_has_the_same_pose():
    crowd = walking(32)
    weights = share_folder("models") / "lite.safetensors"
    for engine in (TorchEngine(weights, "cpu", 1), OnnxEngine(weights.with_suffix(".onnx"), 1)):
        positions, stddev = engine.lift(crowd)
        for row in (0, 13, 31):
            alone, alone_stddev = engine.lift(crowd[row : row + 1])
            assert np.allclose(alone[0], positions[row], rtol=0, atol=1e-5)
            assert np.allclose(alone_stddev[0], stddev[row], rtol=0, atol=1e-5)


def test_an_empty_batch_gives_an_empty_result(both):
    for engine in both:
        positions, stddev = engine.lift(keypoints(0))
        assert positions.shape == (0, 9, 17, 3) and stddev.shape == (0, 9, 17)


def test_padding_of_a_batch_is_removed_from_its_result(both):
    """The path of GPUs, with the buffers in the CPU's memory."""
    engine = both[1]
    bound = onnx_engine._Bound(engine._session, (4, 9, 17, 3), "cpu")
    bound.run(keypoints(4, seed=1))
    x = keypoints(3)
    for ours, theirs in zip(bound.run(x), engine.lift(x), strict=True):
        assert np.allclose(ours, theirs, rtol=0, atol=1e-5)


# ------------------------------------------------------------------------------ engines


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_exported_model_equals_torch(exported, batch):
    x = keypoints(batch, seed=batch)
    with torch.inference_mode():
        positions, log_scale = small_lifter()(torch.from_numpy(x))
    engine = OnnxEngine(exported.with_suffix(".onnx"), threads=1)
    lifted, stddev = engine.lift(x)
    assert lifted.dtype == np.float32 and lifted.shape == (batch, 9, 17, 3)
    assert lifted == pytest.approx(positions.numpy(), abs=1e-4)
    # The standard deviation of a Laplace distribution is sqrt(2) times its scale.
    assert stddev == pytest.approx(2**0.5 * log_scale.exp().numpy(), rel=1e-3)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_both_engines_agree(both, batch):
    ours, theirs = both
    x = keypoints(batch, seed=batch)
    assert ours.config == theirs.config == SMALL
    for a, b in zip(ours.lift(x), theirs.lift(x), strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_any_array_of_keypoints_is_taken(both):
    x = np.asfortranarray(keypoints(2).astype(np.float64))
    for engine in both:
        assert engine.lift(x)[0].shape == (2, 9, 17, 3)


def test_both_engines_refuse_what_is_no_window(both):
    good = keypoints(2)
    bad = good.copy()
    bad[1, 3, 4, 0] = np.nan
    for engine in both:
        with pytest.raises(ValueError, match="must be finite"):
            engine.lift(bad)
        with pytest.raises(ValueError, match=r"\(B, 9, 17, 3\), not \(2, 8, 17, 3\)"):
            engine.lift(good[:, :8])
        with pytest.raises(ValueError, match=r"not \(9, 17, 3\)"):
            engine.lift(good[0])


def test_engines_refuse_broken_files(exported, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exported.with_suffix(".onnx").read_bytes()[:1000])
    with pytest.raises(EngineError, match="broken.onnx"):
        OnnxEngine(broken, threads=1)
    with pytest.raises(EngineError, match="no readable safetensors"):
        TorchEngine(broken, "cpu", threads=1)


def test_an_onnx_file_of_something_else_is_refused(exported, tmp_path):
    import onnx

    model = onnx.load(str(exported.with_suffix(".onnx")))
    del model.metadata_props[:]
    other = tmp_path / "other.onnx"
    onnx.save(model, str(other))
    with pytest.raises(EngineError, match="format is None"):
        OnnxEngine(other, threads=1)


def test_weights_that_give_no_metric_skeletons_are_refused_by_the_engine(tmp_path):
    path = tmp_path / "imported.safetensors"
    save_weights(path, small_lifter(replace(SMALL, normalization="image_width")))
    with pytest.raises(EngineError, match="no metric skeletons"):
        TorchEngine(path, "cpu", 1)


def test_warm_up_takes_any_number_of_people(both):
    for engine in both:
        for largest in (0, 1, 200):
            engine.warm_up(largest)


# ------------------------------------------------------------------------------ half precision


def test_half_precision_inside_costs_less_than_a_millimetre_on_average():
    lifter = load_weights(share_folder("models") / "lite.safetensors")
    x = torch.from_numpy(walking(4))
    with torch.inference_mode():
        exact, exact_scale = FusedLifter(lifter)(x)
        half, half_scale = half_inside(FusedLifter(lifter))(x)
    assert half.dtype == half_scale.dtype == torch.float32
    apart = (half - exact).norm(dim=-1)
    assert 0 < apart.mean() < 1e-3 and apart.max() < 3e-3
    assert (half_scale - exact_scale).abs().max() < 0.01


@on_a_gpu
def test_cuda_graphs_give_what_the_cpu_gives():
    lifter = load_weights(share_folder("models") / "lite.safetensors")
    graphs = _CudaGraphs(half_inside(FusedLifter(lifter)).cuda())
    graphs.capture(buckets_up_to(8))
    cpu = TorchEngine(share_folder("models") / "lite.safetensors", "cpu", 1)
    x = walking(8)
    expected = cpu.lift(x)[0]
    for rows in (slice(8), slice(3), slice(1), slice(2, 8)):
        lifted, stddev = graphs.run(x[rows])
        assert np.abs(lifted - expected[rows]).max() < 5e-3
        assert np.isfinite(stddev).all()


@on_a_gpu
def test_the_gpu_is_taken_where_there_is_one(exported):
    engine = make_engine(weights=exported, device="cuda")
    engine.warm_up(4)
    assert engine.device == "cuda" and "torch" in engine.description
    assert engine.lift(keypoints(70))[0].shape == (70, 9, 17, 3)


# ------------------------------------------------------------------------------ the choice


def test_on_a_cpu_the_exported_model_beside_the_weights_is_used(exported, tmp_path):
    assert isinstance(make_engine(weights=exported, device="cpu", threads=1), OnnxEngine)
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(exported.read_bytes())
    engine = make_engine(weights=alone, device="cpu", threads=1)
    assert isinstance(engine, TorchEngine)
    assert "there is no" in engine.description and "alone.onnx" in engine.description


def test_an_engine_can_be_asked_for(exported):
    for name, kind in (("torch", TorchEngine), ("onnxruntime", OnnxEngine)):
        engine = make_engine(weights=exported, device="cpu", threads=1, engine=name)
        assert isinstance(engine, kind)
        assert engine.description.endswith("on 1 CPU threads (device is cpu)")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"preset": "huge"}, "no weights for the preset 'huge' .* there are: lite"),
        ({"device": "tpu"}, "device must be one of"),
        ({"engine": "tensorflow"}, "engine must be one of"),
        ({"weights": "/nowhere/x.safetensors"}, "no weights file"),
    ],
)
def test_what_cannot_run_is_refused_with_the_reason(exported, asked, message):
    with pytest.raises(EngineError, match=message):
        make_engine(**{"weights": None if "preset" in asked else exported, **asked})


def test_weights_that_an_engine_cannot_run_are_refused(exported, tmp_path):
    with pytest.raises(EngineError, match="runs .safetensors files"):
        make_engine(weights=exported.with_suffix(".onnx"), device="cpu", engine="torch")
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(exported.read_bytes())
    with pytest.raises(EngineError, match="emf-ros export makes one"):
        make_engine(weights=alone, device="cpu", engine="onnxruntime")


def test_without_a_gpu_that_is_the_reason(exported, monkeypatch):
    monkeypatch.setattr(device_module, "gpu_present", lambda: False)
    engine = make_engine(weights=exported, threads=1)
    assert engine.device == "cpu" and engine.description.endswith("(no CUDA GPU)")
    with pytest.raises(EngineError, match="GPU is required and cannot be used: no CUDA GPU"):
        make_engine(weights=exported, device="cuda")


def test_with_a_gpu_that_cannot_be_used_the_reasons_are_told(exported, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(device_module, "gpu_present", lambda: True)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    engine = make_engine(weights=exported, threads=1)
    assert isinstance(engine, OnnxEngine) and engine.device == "cpu"
    for reason in ("(TensorRT: this", "; CUDA: this", "; torch on CUDA: torch was built without"):
        assert reason in engine.description
    with pytest.raises(EngineError, match="required.*TensorRT: .*; CUDA: .*; torch on CUDA: "):
        make_engine(weights=exported, device="cuda")
    with pytest.raises(EngineError, match="cannot be used: torch on CUDA: torch was built"):
        make_engine(weights=exported, device="cuda", engine="torch")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "torch finds no CUDA GPU" in make_engine(weights=exported, threads=1).description
