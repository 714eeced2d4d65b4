"""The policy for backends: what runs a network, and what happens when a GPU fails.

The order is TensorRT, CUDA in onnxruntime, torch on CUDA, the CPU. A backend is used if it makes a
first pass. The reason of each backend before it is kept, and stands in the description.

A GPU that fails later is lost: this is logged and counted (`gpu_lost`). The CPU then runs the same
batch and the next ones. After a minute a thread of its own tries the GPU again, in the same order.
So it does where the GPU had no memory at the start. An error is final where it ends the use of CUDA
in this process, see `gpu_errors.is_sticky`. With the device 'cuda' the CPU is not used: the batch
is an error, and the next one tries the GPU again.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..reasons import Reason
from .device import BackendUnavailable, DevicePolicy
from .gpu_errors import first_line, free_gpu_memory, is_out_of_memory, is_sticky, keep_for_ever

#: Maximum number of failures whose objects are kept, see `keep_for_ever`. After it no GPU is tried.
MAX_KEPT_FAILURES = 10
#: Time from the loss of a GPU to the next attempt, and between two attempts, s.
RETRY_AFTER_S = 60.0


class Runner(Protocol):
    """A network on a device.

    Attributes:
        description: library, version and device, one line for the log.
    """

    @property
    def description(self) -> str: ...


T = TypeVar("T", bound=Runner)
R = TypeVar("R")


@dataclass(frozen=True)
class Backend(Generic[T]):
    """A way to run a network.

    Attributes:
        name: for the log.
        device: 'cuda' or 'cpu'.
        make: makes the runner and runs a first pass; raises `BackendUnavailable`, the error of the
            policy where the network itself is at fault, or any error of a library.
    """

    name: str
    device: str
    make: Callable[[], T]


class Backends(Generic[T]):
    """Runs a network on the first backend that works.

    One thread at a time may use it.

    Args:
        backends: the preferred one first; at least one for the CPU.
        policy: the device.
        name: of the network, for the log.
        say: takes a line for the log: the GPU is lost, or it is back.
        counts: counter for `gpu_lost`.
        clock: s, from an arbitrary beginning.

    Attributes:
        runner: the current one.

    Raises:
        error of the policy: no backend works, or the network is at fault.
    """

    def __init__(
        self,
        backends: Sequence[Backend[T]],
        policy: DevicePolicy,
        name: str,
        say: Callable[[str], None],
        counts: Counter[Reason],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy, self._name, self._say, self._counts = policy, name, say, counts
        self._clock = clock
        self._gpus = [b for b in backends if b.device == "cuda"]
        self._cpus = [b for b in backends if b.device == "cpu"]
        #: The last failure of the GPU; whether the GPU is tried again, when, and never any more.
        self._lost, self._waits, self._retry_s, self._final = "", False, 0.0, False
        self._short_of_memory, self._kept = False, 0
        self._attempt: threading.Thread | None = None
        self._returned: tuple[Backend[T], T, list[str]] | None = None
        self._reasons: list[str] = []
        reason = policy.why_no_gpu()
        made = None
        if reason:
            self._reasons.append(reason)
        else:
            made = self._first_of(self._gpus, self._reasons)
        if made is None and policy.device == "cuda":
            raise policy.refusal(self._reasons)
        if made is None and self._short_of_memory:
            self._wait()
        self._backend, self.runner = made or self._on_cpu(self._reasons)

    @property
    def on_gpu(self) -> bool:
        """Whether the runner is on a GPU."""
        return self._backend.device == "cuda"

    @property
    def device(self) -> str:
        """'cuda' or 'cpu'."""
        return self._backend.device

    @property
    def description(self) -> str:
        """What runs, why nothing before it does, and the loss of the GPU; one line for the log."""
        why = f" ({'; '.join(self._reasons)})" if self._reasons else ""
        lost = f"; the GPU has failed: {self._lost}" if self._lost else ""
        return self.runner.description + why + lost

    @property
    def waits(self) -> bool:
        """Whether the GPU will be tried again."""
        return self._waits

    def run(self, call: Callable[[T], R]) -> R:
        """Call with the runner, and again with the CPU's runner if the GPU fails.

        Raises:
            Exception: the call failed on the CPU.
            error of the policy: the GPU has failed and is required.
        """
        self.look_for_gpu()
        try:
            return call(self.runner)
        except Exception as error:  # the libraries' errors have no common base class
            if not self.on_gpu:
                raise
            reason = self.judge(error)
        # Outside the handler: the error keeps the memory of its stack frames alive.
        self.leave_gpu(reason)
        return call(self.runner)

    def judge(self, error: BaseException) -> str:
        """The first line of an error of the runner on a GPU, before `leave_gpu`.

        The objects of an error that may be final are kept.
        """
        if not is_out_of_memory(error):
            self._keep(error, self.runner)
        self._final |= is_sticky(error)
        return first_line(error)

    def leave_gpu(self, reason: str) -> None:
        """Replace the runner by one on the CPU, and log and count the failure.

        Raises:
            error of the policy: a GPU is required, or the CPU's runner cannot be made.
        """
        if self._policy.device == "cuda":
            raise self._policy.error(f"a GPU is required and has failed: {reason}")
        self._backend, self.runner = self._on_cpu([])
        self._lost, self._reasons = reason, []
        self._wait()
        free_gpu_memory()
        self._counts[Reason.GPU_LOST] += 1
        then = (
            "this process cannot use it again" if self._final else "it is tried again in a minute"
        )
        self._say(f"the GPU has failed, {self._name} runs on the CPU ({reason}); {then}")

    def look_for_gpu(self) -> None:
        """Try the GPU again when it is time, in a thread; take it where it works again."""
        if not self._waits:
            return
        if self._returned is not None:
            (self._backend, self.runner, self._reasons), self._returned = self._returned, None
            self._lost, self._waits = "", False
            self._say(f"the GPU works again, {self._name} runs on it: {self.description}")
            return
        due = not self._final and self._clock() >= self._retry_s
        if due and (self._attempt is None or not self._attempt.is_alive()):
            self._retry_s = self._clock() + RETRY_AFTER_S
            self._attempt = threading.Thread(target=self._try_gpu, name="gpu")
            self._attempt.start()

    def close(self) -> None:
        """Wait for an attempt in progress; no other follows."""
        self._waits = False
        if self._attempt is not None:
            self._attempt.join()
        self._returned = None

    def _wait(self) -> None:
        self._waits, self._retry_s = True, self._clock() + RETRY_AFTER_S

    def _keep(self, *things: object) -> None:
        """Keep objects that cannot be freed safely; so that memory is bounded, not many."""
        if self._kept < MAX_KEPT_FAILURES:
            self._kept += 1
            keep_for_ever(*things)
        else:
            self._final = True

    def _try_gpu(self) -> None:
        reasons: list[str] = []
        try:
            made = self._first_of(self._gpus, reasons)
        except Exception as error:  # a thread has no caller to tell
            reasons.append(first_line(error))
            made = None
        if made is not None:
            self._returned = (*made, reasons)
        else:
            self._lost = "; ".join(reasons)

    def _first_of(
        self, backends: Sequence[Backend[T]], reasons: list[str]
    ) -> tuple[Backend[T], T] | None:
        """The first backend that works; the reasons against those before it are added."""
        for backend in backends:
            try:
                return backend, backend.make()
            except BackendUnavailable as error:
                reasons.append(f"{backend.name}: {error}")
            except self._policy.error:
                raise
            except Exception as error:  # the libraries' errors have no common base class
                if backend.device == "cpu":
                    raise
                self._final |= is_sticky(error)
                if is_out_of_memory(error):
                    self._short_of_memory = True
                else:
                    self._keep(error)
                reasons.append(f"{backend.name}: {first_line(error)}")
        return None

    def _on_cpu(self, reasons: list[str]) -> tuple[Backend[T], T]:
        made = self._first_of(self._cpus, reasons)
        if made is None:
            raise self._policy.error(f"nothing runs {self._name} here: {'; '.join(reasons)}")
        return made
