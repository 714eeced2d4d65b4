"""What runs the model: the engines, the choice between them, and what happens when a GPU fails."""

import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_model import SMALL
from test_swaps import walker

from emf_ros.geometry.canonical_window import canonical_window
from emf_ros.io.paths import share_folder
from emf_ros.lift import engine as engine_module
from emf_ros.lift import onnx_engine
from emf_ros.lift.batching import (
    BUCKETS,
    ThreadedChunks,
    bucket_of,
    buckets_up_to,
    cpu_chunk,
    in_chunks,
)
from emf_ros.lift.engine import EngineError, OnnxEngine, TorchEngine, make_engine
from emf_ros.lift.engine_base import EngineUnavailable
from emf_ros.lift.gpu_guard import GpuGuard, is_out_of_memory
from emf_ros.lift.onnx_engine import CPU, CUDA, TENSORRT, gpu_providers
from emf_ros.lift.torch_engine import _CudaGraphs
from emf_ros.model.checkpoint import load_weights, save_weights
from emf_ros.model.export import export
from emf_ros.model.fused import FusedLifter, half_inside
from emf_ros.model.lifter import Lifter
from emf_ros.model.presets import PRESETS
from emf_ros.runtime import device as device_module
from emf_ros.runtime.device import DevicePolicy

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


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The same lifter as .safetensors and as .onnx."""
    path = tmp_path_factory.mktemp("exported") / "small.safetensors"
    save_weights(path, small_lifter())
    export(small_lifter(), path.with_suffix(".onnx"))
    return path


@pytest.fixture(scope="module")
def both(exported):
    return TorchEngine(exported, "cpu", 1), OnnxEngine(exported.with_suffix(".onnx"), 1)


# ------------------------------------------------------------------------------ batches


def test_a_batch_uses_the_smallest_bucket_that_holds_it():
    assert [bucket_of(n) for n in (1, 2, 3, 5, 31, 32, 33, 64)] == [1, 2, 4, 8, 32, 32, 64, 64]
    assert bucket_of(200) == BUCKETS[-1]
    assert buckets_up_to(5) == (8, 4, 2, 1)
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


# ------------------------------------------------------------------------------ onnxruntime's GPUs


def test_tensorrt_goes_before_cuda_and_keeps_what_it_builds(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("EMF_ROS_CACHE", str(tmp_path))
    path = exported.with_suffix(".onnx")
    (first, options), (second, _) = gpu_providers([CPU, CUDA, TENSORRT], path, (9, 17, 3))
    assert (first, second) == (TENSORRT, CUDA)
    assert options["trt_fp16_enable"] == "1"
    assert options["trt_profile_max_shapes"] == "keypoints:64x9x17x3"
    folder = options["trt_engine_cache_path"]
    assert folder.startswith(str(tmp_path)) and options["trt_engine_cache_enable"] == "1"
    # Other weights of the same shape have another cache.
    other = tmp_path / "other.onnx"
    other.write_bytes(path.read_bytes() + b"\0")
    ((_, of_other),) = gpu_providers([TENSORRT], other, (9, 17, 3))
    assert of_other["trt_engine_cache_path"] != folder
    assert gpu_providers([CPU], path, (9, 17, 3)) == []


def test_a_cache_that_cannot_be_written_does_not_stop_tensorrt(exported, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("EMF_ROS_CACHE", str(tmp_path / "file"))
    path = exported.with_suffix(".onnx")
    ((name, options),) = gpu_providers([TENSORRT], path, (9, 17, 3))
    assert name == TENSORRT and "trt_engine_cache_enable" not in options


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.skipif(torch.cuda.is_available(), reason="here CUDA would start")
def test_onnxruntime_is_not_silently_on_the_cpu(exported, tmp_path, monkeypatch):
    """It leaves out what does not start, without an error."""
    import onnxruntime

    monkeypatch.setenv("EMF_ROS_CACHE", str(tmp_path))
    path = exported.with_suffix(".onnx")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(EngineUnavailable, match="built without CUDA"):
        OnnxEngine(path, 1, "cuda")
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])
    with pytest.raises(EngineUnavailable, match=f"has {TENSORRT}, {CUDA}, which did not start"):
        OnnxEngine(path, 1, "cuda")


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
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    engine = make_engine(weights=exported, threads=1)
    assert isinstance(engine, OnnxEngine) and engine.device == "cpu"
    for reason in ("torch on cuda: torch was built without CUDA", "onnxruntime on cuda: this"):
        assert reason in engine.description
    with pytest.raises(EngineError, match="required.*torch on cuda.*; onnxruntime on cuda.*"):
        make_engine(weights=exported, device="cuda")
    with pytest.raises(EngineError, match="cannot be used: onnxruntime on cuda"):
        make_engine(weights=exported, device="cuda", engine="onnxruntime")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "torch finds no CUDA GPU" in make_engine(weights=exported, threads=1).description


# ------------------------------------------------------------------------------ a GPU that fails


class Gpu:
    """An engine on a GPU that has memory for so many people."""

    def __init__(self, engine, fits=64, error=None):
        self._engine, self.fits = engine, fits
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.config, self.device, self.description = engine.config, "cuda", "a GPU"
        self.sizes = []

    def lift(self, keypoints):
        self.sizes.append(bucket_of(len(keypoints)))
        if self.sizes[-1] > self.fits:
            raise self.error
        return self._engine.lift(keypoints)

    def warm_up(self, largest):
        for bucket in buckets_up_to(largest):
            self.lift(np.zeros((bucket, 9, 17, 3)))


def guarded(gpu, cpu, device="auto"):
    said, counts = [], Counter()
    policy = DevicePolicy(device, EngineError)
    return GpuGuard(gpu, lambda: cpu, policy, said.append, counts), said, counts


def test_a_gpu_with_memory_enough_is_left_alone(both):
    gpu = Gpu(both[0])
    engine, said, counts = guarded(gpu, both[1])
    engine.warm_up(3)
    assert gpu.sizes == [4, 2, 1]
    x = keypoints(70)
    assert np.array_equal(engine.lift(x)[0], both[0].lift(x)[0])
    assert gpu.sizes[3:] == [64, 8] and not said and not counts
    assert engine.lift(x[:0])[0].shape == (0, 9, 17, 3)
    assert (engine.device, engine.description) == ("cuda", "a GPU")


def test_out_of_gpu_memory_batches_are_split_and_stay_split(both):
    gpu = Gpu(both[0], fits=8)
    engine, said, counts = guarded(gpu, both[1])
    x = keypoints(33)
    for _ in range(2):
        for mine, theirs in zip(engine.lift(x), both[0].lift(x), strict=True):
            assert np.allclose(mine, theirs, rtol=0, atol=1e-5)
    assert gpu.sizes == [64, 32, 16, *[8, 8, 8, 8, 1] * 2]
    assert counts == {"gpu_out_of_memory": 3} and len(said) == 3
    assert "out of GPU memory with 33 people in one pass: at most 32" in said[0]
    assert engine.device == "cuda" and "at most 8 people" in engine.description


def test_warm_up_finds_what_fits(both):
    gpu = Gpu(both[0], fits=4)
    engine, _, counts = guarded(gpu, both[1])
    engine.warm_up(16)
    assert gpu.sizes == [16, 8, 4, 2, 1] and counts == {"gpu_out_of_memory": 2}


def test_where_not_even_one_person_fits_the_cpu_takes_over(both):
    gpu = Gpu(both[0], fits=0)
    engine, said, counts = guarded(gpu, both[1])
    x = keypoints(2)
    assert np.array_equal(engine.lift(x)[0], both[1].lift(x)[0])
    assert counts == {"gpu_out_of_memory": 2, "gpu_lost": 1}
    assert "runs on the CPU from now on (CUDA out of memory" in said[-1]
    assert engine.device == "cpu"
    assert (
        "onnxruntime" in engine.description
        and "the GPU has failed: CUDA out of" in engine.description
    )
    engine.lift(x)
    engine.warm_up(1)
    assert gpu.sizes == [2, 1] and counts["gpu_lost"] == 1


def test_after_any_other_error_the_cpu_takes_over_at_once(both):
    gpu = Gpu(both[0], 1, RuntimeError("CUDA error: an illegal memory access\nmore of it"))
    engine, said, counts = guarded(gpu, both[1])
    engine.lift(keypoints(1))
    assert engine.lift(keypoints(2))[0].shape == (2, 9, 17, 3)
    assert gpu.sizes == [1, 2] and counts == {"gpu_lost": 1}
    assert said == [
        "the GPU has failed, the lifter runs on the CPU from now on "
        "(CUDA error: an illegal memory access)"
    ]


def test_bad_keypoints_are_not_the_gpus_fault(both):
    engine, said, counts = guarded(Gpu(both[0]), both[1])
    with pytest.raises(ValueError, match="finite"):
        engine.lift(np.full((1, 9, 17, 3), np.nan))
    assert engine.device == "cuda" and not said and not counts


def test_where_a_gpu_is_required_there_is_no_cpu(both):
    gpu = Gpu(both[0], fits=0)
    engine, _, counts = guarded(gpu, both[1], "cuda")
    with pytest.raises(EngineError, match="required and has failed: CUDA out of memory"):
        engine.lift(keypoints(1))
    # It may have memory again at the next frame.
    gpu.fits = 1
    assert engine.lift(keypoints(1))[0].shape == (1, 9, 17, 3)
    assert engine.device == "cuda" and counts == {"gpu_out_of_memory": 1}


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_chosen_gpu_is_guarded(exported, both, monkeypatch, device):
    monkeypatch.setattr(device_module, "gpu_present", lambda: True)
    made = dict(engine_module._MAKERS)
    monkeypatch.setitem(
        engine_module._MAKERS,
        "torch",
        lambda path, device, threads: (
            Gpu(both[0], fits=1) if device == "cuda" else made["torch"](path, device, threads)
        ),
    )
    said, counts = [], Counter()
    asked = {"threads": 1, "device": device, "say": said.append, "counts": counts}
    engine = make_engine(weights=exported, **asked)
    assert (engine.device, engine.description) == ("cuda", "a GPU")
    engine.lift(keypoints(2))
    assert engine.device == "cuda" and counts == {"gpu_out_of_memory": 1}
    engine._engines.runner.fits = 0
    if device == "cuda":
        with pytest.raises(EngineError, match="GPU is required and has failed"):
            engine.lift(keypoints(1))
    else:
        engine.lift(keypoints(1))
        assert engine.device == "cpu" and "onnxruntime" in engine.description and len(said) == 2


def test_out_of_memory_is_known_from_all_libraries():
    for text in (
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "Failed to allocate memory for requested buffer of size 1073741824",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        "Error Code 2: OutOfMemory",
    ):
        assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")
    except RuntimeError as error:
        assert is_out_of_memory(error)
