"""The policy for devices with torch."""

from __future__ import annotations

import os

import torch

from .device import DevicePolicy, GpuUnavailable


def check_cuda() -> None:
    """Raise GpuUnavailable if torch cannot use a CUDA GPU; the message says why."""
    if torch.version.cuda is None:
        raise GpuUnavailable("torch was built without CUDA")
    if not torch.cuda.is_available():
        raise GpuUnavailable("torch finds no CUDA GPU")


def torch_device(name: str, error: type[Exception] = ValueError) -> torch.device:
    """The device for training and evaluation, see `runtime.device`.

    With `torchrun` each process gets its own GPU.

    Args:
        name: 'auto', 'cuda' or 'cpu'.
        error: type of the error raised.

    Raises:
        error: the device is unknown, or a GPU is required and cannot be used.
    """

    def on_gpu() -> torch.device:
        check_cuda()
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
        return device

    policy = DevicePolicy(name, error)
    return policy.choose(on_gpu, lambda reason: torch.device("cpu"))
