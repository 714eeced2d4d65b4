"""The policy for devices with torch."""

from __future__ import annotations

import os

import torch

from .device import BackendUnavailable, DevicePolicy


def check_cuda() -> None:
    """Raise BackendUnavailable if torch cannot use a CUDA GPU; the message says why."""
    if torch.version.cuda is None:
        raise BackendUnavailable("torch was built without CUDA")
    if not torch.cuda.is_available():
        raise BackendUnavailable("torch finds no CUDA GPU")


def torch_device(name: str, error: type[Exception] = ValueError) -> torch.device:
    """The device for training and evaluation, see `runtime.device`.

    With `torchrun` each process gets its own GPU.

    Args:
        name: 'auto', 'cuda' or 'cpu'.
        error: type of the error raised.

    Raises:
        error: the device is unknown, or a GPU is required and cannot be used.
    """

    policy = DevicePolicy(name, error)
    reason = policy.why_no_gpu()
    if not reason:
        try:
            check_cuda()
        except BackendUnavailable as unavailable:
            reason = str(unavailable)
    if reason:
        if name == "cuda":
            raise policy.refusal([reason])
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def release_memory() -> None:
    """Give the memory that torch keeps for later back to the GPU."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
