"""The policy for devices: what runs where, and the fallback from a GPU that fails."""

from collections import Counter

import pytest

from emf_ros.runtime import device
from emf_ros.runtime.device import DevicePolicy, GpuFallback, GpuUnavailable


class PolicyError(Exception):
    """The error type of these tests' caller."""


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(device, "gpu_present", lambda: True)


def choose(name, gpu_error=None):
    def on_gpu():
        if gpu_error is not None:
            raise GpuUnavailable(gpu_error)
        return "on the GPU"

    policy = DevicePolicy(name, PolicyError)
    return policy.choose(on_gpu, lambda reason: f"on the CPU: {reason}")


def test_auto_takes_a_working_gpu_and_else_says_why_not(monkeypatch):
    assert choose("auto") == "on the GPU"
    assert choose("auto", gpu_error="driver too old") == "on the CPU: driver too old"
    monkeypatch.setattr(device, "gpu_present", lambda: False)
    assert choose("auto") == "on the CPU: no CUDA GPU"


def test_cpu_never_tries_the_gpu():
    assert choose("cpu") == "on the CPU: device is cpu"


def test_required_gpu_that_does_not_work_is_an_error_with_the_reason():
    with pytest.raises(PolicyError, match="^a GPU is required and cannot be used: driver too old$"):
        choose("cuda", "driver too old")


def test_unknown_device_is_refused():
    with pytest.raises(PolicyError, match="^device must be one of auto, cuda, cpu, not 'gpu'$"):
        choose("gpu")


def guarded(name="auto", make_cpu=lambda: "CPU"):
    said, counts = [], Counter()
    policy = DevicePolicy(name, PolicyError)
    return GpuFallback("GPU", make_cpu, policy, "the test", said.append, counts), said, counts


def failing(batch):
    """A call that fails on the GPU, with this batch."""

    def call(runner):
        if runner == "GPU":
            raise RuntimeError("CUDA error 700\nand pages of it")
        return runner, batch

    return call


def test_failed_gpu_is_logged_counted_and_the_batch_runs_again_on_the_cpu():
    fallback, said, counts = guarded()
    assert fallback.run(lambda runner: runner) == "GPU"
    assert (fallback.device, fallback.note) == ("cuda", "")
    assert fallback.run(failing("batch 1")) == ("CPU", "batch 1")
    assert fallback.run(failing("batch 2")) == ("CPU", "batch 2")
    assert (fallback.device, fallback.note) == ("cpu", "; the GPU has failed: CUDA error 700")
    assert counts == {"gpu_lost": 1}
    assert said == ["the GPU has failed, the test runs on the CPU from now on (CUDA error 700)"]


def test_failed_required_gpu_is_an_error_and_no_fallback():
    fallback, said, counts = guarded("cuda")
    with pytest.raises(PolicyError, match="^a GPU is required and has failed: CUDA error 700$"):
        fallback.run(failing("batch"))
    assert fallback.run(lambda runner: runner) == "GPU"
    assert not said and not counts


def test_error_on_the_cpu_is_raised_as_it_is():
    fallback, said, counts = guarded()
    fallback.leave_gpu("lost")
    with pytest.raises(ZeroDivisionError):
        fallback.run(lambda runner: 1 // 0)
    assert counts == {"gpu_lost": 1} and len(said) == 1


def test_fallback_that_cannot_be_made_leaves_the_gpu_in_use():
    def make_cpu():
        raise PolicyError("the file is gone")

    fallback, said, counts = guarded(make_cpu=make_cpu)
    with pytest.raises(PolicyError, match="the file is gone"):
        fallback.run(failing("batch"))
    assert fallback.on_gpu and not said and not counts


def test_torch_device_follows_the_policy(monkeypatch):
    torch = pytest.importorskip("torch")
    from emf_ros.runtime.torch import torch_device

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == torch_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="GPU is required and cannot be used: torch finds no CUDA"):
        torch_device("cuda")
    with pytest.raises(PolicyError, match="device must be one of"):
        torch_device("gpu", PolicyError)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert torch_device("auto") == torch.device("cuda", 2)
