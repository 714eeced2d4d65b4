"""The torch engine's CUDA graphs, with a GPU's calls replaced: what is captured, and when."""

import contextlib

import pytest
import torch
from test_backends import OUT_OF_MEMORY
from test_engine import keypoints, small_lifter

from emf_ros.lift.engine_base import EngineUnavailable
from emf_ros.lift.torch_engine import TorchEngine, _CudaGraphs
from emf_ros.model.checkpoint import save_weights
from emf_ros.model.fused import FusedLifter, half_inside
from emf_ros.model.lifter import Lifter
from emf_ros.model.presets import PRESETS

pytestmark = pytest.mark.usefixtures("one_torch_thread")


class Cuda:
    """torch.cuda without a GPU: buffers are in the CPU's memory, a replay runs the network."""

    def __init__(self, monkeypatch):
        self.pools, self.current, self.errors = [], "default", []
        self.captures, self.capturing = [], None
        fake = self

        class Stream:
            def __init__(self, priority=0):
                self.priority = priority

            def wait_stream(self, other):
                pass

        class Event:
            def __init__(self, blocking=False):
                self.blocking = blocking

            def record(self, stream):
                self.stream = stream

            def synchronize(self):
                assert self.blocking and self.stream is fake.current

        class Graph:
            def capture_begin(self, pool, capture_error_mode):
                assert pool not in fake.broken, "already recording to mempool_id"
                self.pool, fake.capturing = pool, self

            def capture_end(self):
                fake.capturing = None
                if fake.errors:
                    fake.broken.add(self.pool)
                    raise RuntimeError(fake.errors.pop(0))
                fake.captures.append(self)

            def replay(self):
                pass

        self.broken = set()

        @contextlib.contextmanager
        def stream(chosen):
            before, self.current = self.current, chosen
            try:
                yield
            finally:
                self.current = before

        def handle():
            self.pools.append(len(self.pools))
            return self.pools[-1]

        for name, value in {
            "Stream": Stream,
            "Event": Event,
            "CUDAGraph": Graph,
            "stream": stream,
            "graph_pool_handle": handle,
            "current_stream": lambda: self.current,
            "synchronize": lambda: None,
            "empty_cache": lambda: None,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

        def on_cpu(make):
            def made(*shape, pin_memory=False, device="cpu", **more):
                return make(*shape, **more)

            return made

        monkeypatch.setattr(torch, "zeros", on_cpu(torch.zeros))
        monkeypatch.setattr(torch, "empty", on_cpu(torch.empty))


@pytest.fixture
def cuda(monkeypatch):
    return Cuda(monkeypatch)


@pytest.fixture
def graphs(cuda):
    made = _CudaGraphs(FusedLifter(small_lifter()))
    run = made._forward
    made.passes = []

    def counted(x):
        made.passes.append(len(x))
        return run(x)

    made._forward = counted
    return made


def test_nothing_is_captured_or_run_eagerly_while_people_are_lifted(cuda, graphs):
    graphs.capture((8, 2, 1))
    assert len(cuda.captures) == 3 and graphs.passes == [8, 8, 2, 2, 1, 1]
    for people in (1, 2, 3, 8):
        assert graphs.run(keypoints(people))[0].shape == (people, 9, 17, 3)
    assert len(cuda.captures) == 3 and len(graphs.passes) == 6 and graphs.largest == 8


def test_more_people_than_are_captured_take_several_passes(cuda, graphs, tmp_path):
    path = tmp_path / "small.safetensors"
    save_weights(path, small_lifter())
    engine = TorchEngine(path, "cpu", 1)
    engine._graphs = graphs
    graphs.capture((2, 1))
    assert engine.lift(keypoints(5))[0].shape == (5, 9, 17, 3) and len(cuda.captures) == 2
    engine.limit(1)
    assert graphs.largest == 1


def test_broken_capture_is_repeated_with_another_pool_on_the_same_stream(cuda, graphs):
    before = cuda.current
    cuda.errors = ["CUDA error: operation failed due to a previous error during capture"]
    graphs.capture((2, 1))
    assert len(cuda.captures) == 2 and cuda.current is before
    assert [graph.pool for graph in cuda.captures] == [1, 1]


def test_shortage_of_memory_in_a_capture_is_raised_and_leaves_a_pool_for_smaller_ones(cuda, graphs):
    cuda.errors = [OUT_OF_MEMORY[0]]
    with pytest.raises(RuntimeError, match="out of memory"):
        graphs.capture((8,))
    graphs.capture((2,))
    assert [graph.pool for graph in cuda.captures] == [1]


def test_lifter_goes_before_a_detector_on_the_same_gpu(graphs):
    assert graphs._stream.priority < 0


def test_torch_that_cannot_be_imported_is_a_reason_and_not_the_end(tmp_path, monkeypatch):
    import builtins

    original = builtins.__import__

    def fail(error):
        def imported(name, *given, **more):
            if name == "torch":
                raise error
            return original(name, *given, **more)

        monkeypatch.setattr(builtins, "__import__", imported)

    for error in (
        OSError("libcurand.so.10: cannot open shared object file"),
        ImportError("libcudart.so.13: cannot open shared object file"),
        ModuleNotFoundError("No module named 'torch'"),
    ):
        fail(error)
        with pytest.raises(EngineUnavailable, match=f"torch cannot be imported: {error}"):
            TorchEngine(tmp_path / "x.safetensors", "cuda", 1)
        monkeypatch.setattr(builtins, "__import__", original)


@pytest.mark.parametrize("people", [1, 3, 64])
@pytest.mark.parametrize("preset", ["lite", "base"])
def test_every_tensor_of_a_pass_is_on_the_device_and_none_is_copied_to_the_host(preset, people):
    """With torch's device `meta`: tensors have a device and no values, and reading one fails."""
    config = PRESETS[preset]
    lifter = half_inside(FusedLifter(Lifter(config).eval())).to("meta")
    x = torch.zeros(people, config.frames, 17, 3, device="meta")
    positions, log_scale = lifter(x)
    y = torch.cat([positions, log_scale[..., None]], dim=-1)
    assert (y.device.type, y.dtype, y.shape) == ("meta", torch.float32, (*x.shape[:3], 4))
