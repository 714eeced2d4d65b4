"""The device that a user asks for.

- `cpu`: the CPU.
- `cuda`: a GPU. Without a GPU the start fails; a later failure of the GPU is an error.
- `auto`: a GPU if one works, otherwise the CPU. `backends` says what happens to a lost GPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

#: Names of the devices, as parameters and options take them.
DEVICES = ("auto", "cuda", "cpu")

#: Paths that exist with a CUDA GPU, at least one of them: desktop, Jetson, WSL.
_GPU_PATHS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/nvmap", "/dev/dxg")


class BackendUnavailable(RuntimeError):
    """A backend cannot be used here; the message says why."""


def gpu_present(paths: Sequence[str] = _GPU_PATHS) -> bool:
    """Whether a CUDA GPU is likely. The import of torch would take seconds."""
    return sys.platform != "linux" or any(os.path.exists(path) for path in paths)


def to_stderr(text: str) -> None:
    """Print a line to stderr at once."""
    print(text, file=sys.stderr, flush=True)


class DevicePolicy:
    """The device that a user asks for.

    Args:
        device: one of `DEVICES`. With 'cuda' there is no fallback to the CPU.
        error: type of the errors raised, with one message as its argument.

    Raises:
        error: the device is unknown.
    """

    def __init__(self, device: str, error: type[Exception]) -> None:
        if device not in DEVICES:
            raise error(f"device must be one of {', '.join(DEVICES)}, not {device!r}")
        self.device, self.error = device, error

    def why_no_gpu(self) -> str:
        """Why no GPU is tried; empty where one is."""
        if self.device == "cpu":
            return "device is cpu"
        return "" if gpu_present() else "no CUDA GPU"

    def refusal(self, reasons: Sequence[str]) -> Exception:
        """The error of a GPU that is required and cannot be used."""
        return self.error(f"a GPU is required and cannot be used: {'; '.join(reasons)}")
