"""The policy for devices: the choice between GPU and CPU, and the fallback from one to the other.

- `cpu`: the CPU.
- `cuda`: a GPU. Without a GPU the start fails; a later failure of the GPU is an error.
- `auto`: a GPU if one works, otherwise the CPU, and the description says why. A later failure of
  the GPU is logged and counted (`gpu_lost`). The CPU then runs the same batch and all later ones.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..reasons import Reason

#: Names of the devices, as parameters and options take them.
DEVICES = ("auto", "cuda", "cpu")

#: Paths that exist with a CUDA GPU, at least one of them: desktop, Jetson, WSL.
_GPU_PATHS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu", "/dev/nvmap", "/dev/dxg")

T = TypeVar("T")
R = TypeVar("R")


class GpuUnavailable(RuntimeError):
    """A GPU cannot be used here; the message says why."""


def gpu_present(paths: Sequence[str] = _GPU_PATHS) -> bool:
    """Whether a CUDA GPU is likely. The import of torch would take seconds."""
    return sys.platform != "linux" or any(os.path.exists(path) for path in paths)


def first_line(error: BaseException) -> str:
    """The first line of an error: errors of CUDA have pages."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


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

    def choose(self, make_on_gpu: Callable[[], T], make_on_cpu: Callable[[str], T]) -> T:
        """Make a runner on the GPU if possible, otherwise on the CPU.

        Args:
            make_on_gpu: makes the runner on a GPU; raises GpuUnavailable.
            make_on_cpu: makes the runner on the CPU; takes the reason, for the description.

        Raises:
            error: a GPU is required and cannot be used.
        """
        if self.device == "cpu":
            reason = "device is cpu"
        elif not gpu_present():
            reason = "no CUDA GPU"
        else:
            try:
                return make_on_gpu()
            except GpuUnavailable as error:
                reason = str(error)
        if self.device == "cuda":
            raise self.error(f"a GPU is required and cannot be used: {reason}")
        return make_on_cpu(reason)


class GpuFallback(Generic[T]):
    """Runs calls on a GPU until it fails, and from then on on the CPU.

    There is no return to the GPU: after most errors a process cannot use CUDA any more.

    Args:
        runner: on the GPU or on the CPU.
        make_cpu: makes the runner for the CPU; None if `runner` is on the CPU.
        policy: with the device 'cuda' the failure is raised.
        name: of the network, for the log.
        say: takes a line for the log, when the GPU fails.
        counts: counter for `gpu_lost`.

    Attributes:
        runner: the current one.
    """

    def __init__(
        self,
        runner: T,
        make_cpu: Callable[[], T] | None,
        policy: DevicePolicy,
        name: str,
        say: Callable[[str], None],
        counts: Counter[Reason],
    ) -> None:
        self.runner = runner
        self._make_cpu, self._policy, self._name = make_cpu, policy, name
        self._say, self._counts = say, counts
        self._reason = ""

    @property
    def on_gpu(self) -> bool:
        """Whether the runner is on a GPU."""
        return self._make_cpu is not None

    @property
    def device(self) -> str:
        """'cuda' or 'cpu'."""
        return "cuda" if self.on_gpu else "cpu"

    @property
    def note(self) -> str:
        """The failure of the GPU, for the end of a description; empty without one."""
        return f"; the GPU has failed: {self._reason}" if self._reason else ""

    def run(self, call: Callable[[T], R]) -> R:
        """Call with the runner, and again with the CPU's runner if the GPU fails.

        Raises:
            Exception: the call failed on the CPU.
            error of the policy: the GPU has failed and is required.
        """
        if not self.on_gpu:
            return call(self.runner)
        try:
            return call(self.runner)
        except Exception as error:  # the libraries' errors have no common base class
            reason = first_line(error)
        # Outside the handler: the error keeps the memory of its stack frames alive.
        self.leave_gpu(reason)
        return call(self.runner)

    def leave_gpu(self, reason: str) -> None:
        """Replace the runner by the CPU's runner, and log and count the failure.

        Raises:
            error of the policy: a GPU is required.
        """
        if self._policy.device == "cuda":
            raise self._policy.error(f"a GPU is required and has failed: {reason}")
        assert self._make_cpu is not None
        self.runner = self._make_cpu()
        self._make_cpu, self._reason = None, reason
        self._counts[Reason.GPU_LOST] += 1
        self._say(f"the GPU has failed, {self._name} runs on the CPU from now on ({reason})")
