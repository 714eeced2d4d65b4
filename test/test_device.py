"""The device that a user asks for."""

import pytest

from emf_ros.runtime import device
from emf_ros.runtime.device import DevicePolicy


class PolicyError(Exception):
    """The error type of these tests' caller."""


def test_gpu_is_tried_unless_the_user_asks_for_the_cpu_or_there_is_none(monkeypatch):
    monkeypatch.setattr(device, "gpu_present", lambda: True)
    assert DevicePolicy("cpu", PolicyError).why_no_gpu() == "device is cpu"
    for name in ("auto", "cuda"):
        assert DevicePolicy(name, PolicyError).why_no_gpu() == ""
    monkeypatch.setattr(device, "gpu_present", lambda: False)
    assert DevicePolicy("cuda", PolicyError).why_no_gpu() == "no CUDA GPU"


def test_gpu_is_found_by_its_device_file(tmp_path):
    assert not device.gpu_present([str(tmp_path / "nvidiactl")])
    (tmp_path / "nvidiactl").touch()
    assert device.gpu_present([str(tmp_path / "other"), str(tmp_path / "nvidiactl")])


def test_unknown_device_is_refused():
    with pytest.raises(PolicyError, match="^device must be one of auto, cuda, cpu, not 'gpu'$"):
        DevicePolicy("gpu", PolicyError)


def test_torch_device_follows_the_policy(monkeypatch):
    torch = pytest.importorskip("torch")
    from emf_ros.runtime.torch import torch_device

    monkeypatch.setattr(device, "gpu_present", lambda: True)
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
