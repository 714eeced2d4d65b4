"""The lifter on a GPU that fails: smaller batches, the CPU, and the way back."""

from collections import Counter

import numpy as np
import pytest
from test_backends import OTHER, OUT_OF_MEMORY, STICKY
from test_engine import export_small, keypoints

from emf_ros.lift.batching import BUCKETS, bucket_of, buckets_up_to
from emf_ros.lift.engine import EngineError, OnnxEngine, make_engine
from emf_ros.lift.gpu_guard import GpuGuard
from emf_ros.runtime import device as device_module
from emf_ros.runtime import onnx_gpu
from emf_ros.runtime.backends import RETRY_AFTER_S, Backend
from emf_ros.runtime.device import DevicePolicy

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_small(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def cpu(exported):
    return OnnxEngine(exported.with_suffix(".onnx"), 1)


@pytest.fixture(autouse=True)
def gpu_present(monkeypatch):
    monkeypatch.setattr(device_module, "gpu_present", lambda: True)


class Gpu:
    """An engine on a GPU that has memory for so many people."""

    def __init__(self, engine, fits=BUCKETS[-1], error=None):
        self._engine, self.fits = engine, fits
        self.error = error or RuntimeError(OUT_OF_MEMORY[0])
        self.config, self.device, self.description = engine.config, "cuda", "a GPU"
        self.sizes, self.limits = [], []

    def lift(self, keypoints):
        self.sizes.append(bucket_of(len(keypoints)))
        if self.sizes[-1] > self.fits:
            raise self.error
        return self._engine.lift(keypoints)

    def warm_up(self, largest):
        for bucket in buckets_up_to(largest):
            self.lift(np.zeros((bucket, 9, 17, 3)))

    def limit(self, largest):
        self.limits.append(largest)


class Guarded:
    """A guard of a GPU, with a clock."""

    def __init__(self, gpu, cpu, device="auto"):
        self.now, self.said, self.counts, self.gpu = 0.0, [], Counter(), gpu
        self.engine = GpuGuard(
            [Backend("GPU", "cuda", lambda: self.gpu), Backend("CPU", "cpu", lambda: cpu)],
            DevicePolicy(device, EngineError),
            self.said.append,
            self.counts,
            clock=lambda: self.now,
        )
        gpu.sizes.clear()

    def wait_a_minute(self, x):
        self.now += RETRY_AFTER_S
        self.engine.lift(x)
        self.engine._backends._attempt.join()


def test_gpu_with_memory_enough_is_left_alone(cpu):
    gpu = Gpu(cpu)
    guarded = Guarded(gpu, cpu)
    guarded.engine.warm_up(3)
    assert gpu.sizes == [4, 2, 1]
    x = keypoints(70)
    assert np.array_equal(guarded.engine.lift(x)[0], cpu.lift(x)[0])
    assert gpu.sizes[3:] == [64, 8] and not guarded.said and not guarded.counts
    assert guarded.engine.lift(x[:0])[0].shape == (0, 9, 17, 3)
    assert (guarded.engine.device, guarded.engine.description) == ("cuda", "a GPU")


@pytest.mark.parametrize("text", OUT_OF_MEMORY)
def test_out_of_gpu_memory_batches_are_split_and_stay_split(cpu, text):
    gpu = Gpu(cpu, fits=8, error=RuntimeError(text))
    guarded = Guarded(gpu, cpu)
    x = keypoints(33)
    for _ in range(2):
        for mine, theirs in zip(guarded.engine.lift(x), cpu.lift(x), strict=True):
            assert np.allclose(mine, theirs, rtol=0, atol=1e-5)
    assert gpu.sizes == [40, 16, *[8, 8, 8, 8, 1] * 2]
    assert guarded.counts == {"gpu_out_of_memory": 2} and len(guarded.said) == 2
    assert "out of GPU memory with 33 people in one pass: at most 16" in guarded.said[0]
    assert guarded.engine.device == "cuda"
    assert "at most 8 people" in guarded.engine.description
    # What larger batches need is freed.
    assert gpu.limits == [16, 8]


def test_warm_up_finds_what_fits(cpu):
    gpu = Gpu(cpu, fits=4)
    guarded = Guarded(gpu, cpu)
    guarded.engine.warm_up(16)
    assert gpu.sizes == [16, 8, 4, 2, 1] and guarded.counts == {"gpu_out_of_memory": 2}


def test_where_not_even_one_person_fits_the_cpu_takes_over(cpu):
    gpu = Gpu(cpu)
    guarded = Guarded(gpu, cpu)
    gpu.fits = 0
    x = keypoints(2)
    assert np.array_equal(guarded.engine.lift(x)[0], cpu.lift(x)[0])
    assert guarded.counts == {"gpu_out_of_memory": 2, "gpu_lost": 1}
    assert "the lifter runs on the CPU (CUDA out of memory" in guarded.said[-1]
    assert guarded.engine.device == "cpu"
    for text in ("onnxruntime", "the GPU has failed: CUDA out of"):
        assert text in guarded.engine.description
    guarded.engine.lift(x)
    guarded.engine.warm_up(1)
    assert gpu.sizes == [2, 1] and guarded.counts["gpu_lost"] == 1


@pytest.mark.parametrize("text", [*STICKY, *OTHER])
def test_after_any_other_error_the_cpu_takes_over_at_once(cpu, text):
    gpu = Gpu(cpu, 1, RuntimeError(f"{text}\nmore of it"))
    guarded = Guarded(gpu, cpu)
    guarded.engine.lift(keypoints(1))
    x = keypoints(2)
    assert np.array_equal(guarded.engine.lift(x)[0], cpu.lift(x)[0])
    assert gpu.sizes == [1, 2] and guarded.counts == {"gpu_lost": 1}
    assert guarded.said[0].startswith(f"the GPU has failed, the lifter runs on the CPU ({text}); ")


def test_returned_gpu_is_warm_for_as_many_people_as_fit(cpu):
    guarded = Guarded(Gpu(cpu), cpu)
    guarded.engine.warm_up(16)
    guarded.gpu.fits = 0
    x = keypoints(16)
    guarded.engine.lift(x)
    assert guarded.engine.device == "cpu"
    guarded.gpu = Gpu(cpu, fits=8)
    guarded.wait_a_minute(x)
    assert guarded.gpu.sizes == [16, 8, 4, 2, 1]
    assert np.allclose(guarded.engine.lift(x)[0], cpu.lift(x)[0], rtol=0, atol=1e-5)
    assert guarded.gpu.sizes[5:] == [8, 8] and guarded.engine.device == "cuda"
    assert guarded.engine.description == "a GPU; out of GPU memory, at most 8 people in one pass"


def test_bad_keypoints_are_not_the_gpus_fault(cpu):
    guarded = Guarded(Gpu(cpu), cpu)
    with pytest.raises(ValueError, match="finite"):
        guarded.engine.lift(np.full((1, 9, 17, 3), np.nan))
    assert guarded.engine.device == "cuda" and not guarded.said and not guarded.counts


def test_where_a_gpu_is_required_there_is_no_cpu(cpu):
    gpu = Gpu(cpu)
    guarded = Guarded(gpu, cpu, "cuda")
    gpu.fits = 0
    with pytest.raises(EngineError, match="required and has failed: CUDA out of memory"):
        guarded.engine.lift(keypoints(1))
    # It may have memory again at the next frame.
    gpu.fits = 1
    assert guarded.engine.lift(keypoints(1))[0].shape == (1, 9, 17, 3)
    assert guarded.engine.device == "cuda" and guarded.counts == {"gpu_out_of_memory": 1}


def test_chosen_engine_takes_the_next_backend_where_one_does_not_start(exported, cpu, monkeypatch):
    """TensorRT is not there and CUDA fails in its first pass; torch works and is guarded."""
    from emf_ros.lift import engine as module

    def onnxruntime(provider, *given):
        if provider == onnx_gpu.CPU:
            return OnnxEngine(exported.with_suffix(".onnx"), 1)
        if provider == onnx_gpu.CUDA:
            Gpu(cpu, 0, RuntimeError(OTHER[0])).lift(keypoints(1))
        raise onnx_gpu.BackendUnavailable("libnvinfer.so.10 is not installed")

    gpu, fakes = Gpu(cpu), {"onnxruntime": onnxruntime, "torch": lambda *given: gpu}

    def fake(name, device, library, make):
        return name, device, library, lambda *given: fakes[library](*make.args, *given)

    monkeypatch.setattr(module, "_ENGINES", tuple(fake(*row) for row in module._ENGINES))
    counts = Counter()
    engine = make_engine(weights=exported, threads=1, say=lambda text: None, counts=counts)
    assert engine.description == (
        f"a GPU (TensorRT: libnvinfer.so.10 is not installed; CUDA: {OTHER[0]})"
    )
    # Without a call of `warm_up` it is ready for some people.
    assert gpu.sizes == [8, 4, 2, 1]
    gpu.fits = 1
    engine.lift(keypoints(2))
    assert engine.device == "cuda" and counts == {"gpu_out_of_memory": 1}
    gpu.fits = 0
    assert engine.lift(keypoints(1))[0].shape == (1, 9, 17, 3)
    assert engine.device == "cpu" and "onnxruntime" in engine.description
