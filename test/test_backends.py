"""The policy for backends: their order, a first pass, the loss of a GPU and its return."""

import subprocess
import sys
import textwrap
from collections import Counter
from dataclasses import dataclass

import pytest

from emf_ros.runtime import backends, device
from emf_ros.runtime.backends import MAX_KEPT_FAILURES, RETRY_AFTER_S, Backend, Backends
from emf_ros.runtime.device import BackendUnavailable, DevicePolicy
from emf_ros.runtime.gpu_errors import is_out_of_memory, is_sticky

#: Texts of libraries and drivers for too little memory: desktop, then Jetson.
OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY",
    "Failed to allocate memory for requested buffer of size 1073741824",
    "Available memory of 1024 is smaller than requested bytes of 4096",
    "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "Error Code 2: OutOfMemory",
    "std::bad_alloc",
    "NVML_SUCCESS == r INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp:1016",
    "NvMapMemAllocInternalTagged: 1075072515 error 12",
)
#: Texts of errors after which no call of CUDA works in the process.
STICKY = (
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: device-side assert triggered",
    "CUDA error: unspecified launch failure",
    "CUDA error: misaligned address",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA failure 700: an illegal memory access was encountered ; GPU=0",
    "cudaErrorIllegalAddress",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA error: the launch timed out and was terminated",
    "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
)
#: Texts of errors that may pass, and of builds that do not fit the GPU.
OTHER = (
    "CUDA error: no kernel image is available for execution on the device",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
    "CUDA error: operation failed due to a previous error during capture",
)


@pytest.mark.parametrize("text", OUT_OF_MEMORY)
def test_shortage_of_memory_is_known_from_the_text_of_each_library(text):
    assert is_out_of_memory(RuntimeError(text)) and not is_sticky(RuntimeError(text))


@pytest.mark.parametrize("text", STICKY)
def test_error_that_ends_the_use_of_cuda_is_known_from_its_text(text):
    assert is_sticky(RuntimeError(text)) and not is_out_of_memory(RuntimeError(text))


@pytest.mark.parametrize("text", OTHER)
def test_other_errors_are_neither(text):
    assert not is_sticky(RuntimeError(text)) and not is_out_of_memory(RuntimeError(text))


def test_cause_of_an_error_counts():
    assert is_out_of_memory(MemoryError())
    try:
        try:
            raise RuntimeError(OUT_OF_MEMORY[0])
        finally:
            raise RuntimeError(OTHER[2])
    except RuntimeError as error:
        assert is_out_of_memory(error)


# ------------------------------------------------------------------------------ the policy


class PolicyError(Exception):
    """The error type of these tests' caller."""


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(device, "gpu_present", lambda: True)


@dataclass
class Fake:
    """A network on a device; `error` is raised by each pass."""

    description: str
    error: Exception | None = None
    passes: int = 0

    def infer(self, batch):
        self.passes += 1
        if self.error is not None:
            raise self.error
        return self.description, batch


class Machine:
    """Backends whose state the test sets, with a clock."""

    def __init__(self, device="auto", **errors):
        #: Error of the first pass by backend; None where it works.
        self.errors = {"TensorRT": None, "CUDA": None, "torch": None, "CPU": None, **errors}
        self.now, self.made, self.said, self.counts = 0.0, [], [], Counter()
        self.chain = Backends(
            [Backend(n, "cpu" if n == "CPU" else "cuda", lambda n=n: self.make(n)) for n in errors],
            DevicePolicy(device, PolicyError),
            "the test",
            self.said.append,
            self.counts,
            clock=lambda: self.now,
        )

    def make(self, name):
        self.made.append(name)
        if self.errors[name] is not None:
            raise self.errors[name]
        return Fake(name)

    def infer(self, batch):
        return self.chain.run(lambda runner: runner.infer(batch))

    def fail(self, error, batch=1):
        """Infer a batch on which the current runner fails."""
        self.chain.runner.error = error
        return self.infer(batch)

    def wait_a_minute(self):
        """Until an attempt that is due has ended."""
        self.now += RETRY_AFTER_S
        self.infer("a batch meanwhile")
        if self.chain._attempt is not None:
            self.chain._attempt.join()


def every(**errors):
    return {"TensorRT": None, "CUDA": None, "torch": None, "CPU": None, **errors}


def test_first_backend_that_makes_a_pass_is_used_and_says_why_not_those_before():
    assert Machine(**every()).infer(1) == ("TensorRT", 1)
    no_kernels = RuntimeError(f"{OTHER[0]}\nand pages of it")
    machine = Machine(
        **every(TensorRT=BackendUnavailable("libnvinfer.so.10 is not installed"), CUDA=no_kernels)
    )
    assert machine.made == ["TensorRT", "CUDA", "torch"] and machine.chain.device == "cuda"
    assert machine.chain.description == (
        f"torch (TensorRT: libnvinfer.so.10 is not installed; CUDA: {OTHER[0]})"
    )


def test_without_a_gpu_the_cpu_runs_and_says_why(monkeypatch):
    machine = Machine("cpu", **every())
    assert (machine.made, machine.chain.description) == (["CPU"], "CPU (device is cpu)")
    monkeypatch.setattr(device, "gpu_present", lambda: False)
    machine = Machine(**every())
    assert (machine.made, machine.chain.description) == (["CPU"], "CPU (no CUDA GPU)")
    assert machine.chain.device == "cpu" and not machine.chain.waits


def test_required_gpu_that_does_not_work_is_an_error_with_each_reason(monkeypatch):
    gone = {name: RuntimeError(f"{name} is broken") for name in ("TensorRT", "CUDA", "torch")}
    wanted = (
        "^a GPU is required and cannot be used: TensorRT: TensorRT is broken; "
        "CUDA: CUDA is broken; torch: torch is broken$"
    )
    with pytest.raises(PolicyError, match=wanted):
        Machine("cuda", **every(**gone))
    monkeypatch.setattr(device, "gpu_present", lambda: False)
    with pytest.raises(PolicyError, match="cannot be used: no CUDA GPU$"):
        Machine("cuda", **every())


def test_fault_of_the_network_itself_is_no_reason_to_try_another_backend():
    with pytest.raises(PolicyError, match="no model"):
        Machine(**every(TensorRT=PolicyError("this is no model")))


def test_lost_gpu_is_said_and_counted_and_the_batch_runs_again_on_the_cpu():
    machine = Machine(**every())
    assert machine.fail(RuntimeError(f"{OTHER[1]}\npages"), batch=7) == ("CPU", 7)
    assert machine.infer(8) == ("CPU", 8) and machine.counts == {"gpu_lost": 1}
    assert machine.said == [
        f"the GPU has failed, the test runs on the CPU ({OTHER[1]}); it is tried again in a minute"
    ]
    assert machine.chain.device == "cpu"
    assert machine.chain.description == f"CPU; the GPU has failed: {OTHER[1]}"


def test_lost_gpu_is_tried_again_after_a_minute_and_used():
    machine = Machine(**every())
    machine.fail(RuntimeError(OTHER[1]))
    machine.now = RETRY_AFTER_S - 1
    assert machine.infer(1) == ("CPU", 1) and machine.made == ["TensorRT", "CPU"]
    machine.errors["TensorRT"] = RuntimeError("still broken")
    machine.wait_a_minute()
    assert machine.infer(2) == ("CUDA", 2) and machine.chain.device == "cuda"
    assert machine.made == ["TensorRT", "CPU", "TensorRT", "CUDA"]
    assert machine.said[1:] == [
        "the GPU works again, the test runs on it: CUDA (TensorRT: still broken)"
    ]
    assert machine.fail(RuntimeError(OTHER[1])) == ("CPU", 1) and machine.counts["gpu_lost"] == 2


def test_attempt_that_fails_is_followed_by_another_a_minute_later():
    machine = Machine(**every())
    machine.fail(RuntimeError(OUT_OF_MEMORY[0]))
    for name in ("TensorRT", "CUDA", "torch"):
        machine.errors[name] = RuntimeError(OUT_OF_MEMORY[0])
    for _ in range(3):
        machine.wait_a_minute()
        assert machine.infer(1) == ("CPU", 1)
    assert machine.made[2:] == ["TensorRT", "CUDA", "torch"] * 3
    machine.errors["TensorRT"] = None
    machine.wait_a_minute()
    assert machine.infer(1) == ("TensorRT", 1) and machine.counts == {"gpu_lost": 1}


@pytest.mark.parametrize("text", STICKY)
def test_gpu_is_not_tried_again_after_an_error_that_is_final(text):
    machine = Machine(**every())
    machine.fail(RuntimeError(text))
    machine.wait_a_minute()
    assert machine.infer(1) == ("CPU", 1) and machine.made == ["TensorRT", "CPU"]
    assert machine.said[0].endswith("; this process cannot use it again")


def test_attempt_that_meets_a_final_error_is_the_last():
    machine = Machine(**every())
    machine.fail(RuntimeError(OTHER[1]))
    machine.errors["TensorRT"] = machine.errors["CUDA"] = RuntimeError(STICKY[0])
    machine.errors["torch"] = BackendUnavailable("no torch")
    machine.wait_a_minute()
    made = list(machine.made)
    machine.wait_a_minute()
    assert machine.made == made


def test_shortage_of_memory_at_the_start_is_not_for_good():
    short = RuntimeError(OUT_OF_MEMORY[-2])
    machine = Machine(**every(TensorRT=short, CUDA=short, torch=short))
    assert machine.chain.waits and machine.infer(1) == ("CPU", 1) and not machine.counts
    machine.errors["CUDA"] = None
    machine.wait_a_minute()
    assert machine.infer(2) == ("CUDA", 2)


def test_required_gpu_that_fails_is_an_error_for_the_batch_and_is_used_for_the_next():
    machine = Machine("cuda", **every())
    with pytest.raises(PolicyError, match=f"^a GPU is required and has failed: {OTHER[1]}$"):
        machine.fail(RuntimeError(OTHER[1]))
    machine.chain.runner.error = None
    assert machine.infer(2) == ("TensorRT", 2) and not machine.said and not machine.counts


def test_error_on_the_cpu_is_raised_as_it_is():
    machine = Machine(**every())
    machine.fail(RuntimeError(OTHER[1]))
    with pytest.raises(ZeroDivisionError):
        machine.chain.run(lambda runner: 1 // 0)
    assert machine.counts == {"gpu_lost": 1} and len(machine.said) == 1


def test_cpu_that_cannot_be_used_leaves_the_gpu_in_use():
    machine = Machine(**every(CPU=PolicyError("the file is gone")))
    with pytest.raises(PolicyError, match="the file is gone"):
        machine.fail(RuntimeError(OTHER[1]))
    assert machine.chain.on_gpu and not machine.said and not machine.counts


def test_closing_waits_for_an_attempt_and_no_other_follows():
    machine = Machine(**every())
    machine.fail(RuntimeError(OTHER[1]))
    machine.now += RETRY_AFTER_S
    machine.infer(1)
    machine.chain.close()
    assert not machine.chain._attempt.is_alive()
    machine.now += RETRY_AFTER_S
    assert machine.infer(1) == ("CPU", 1) and machine.made == ["TensorRT", "CPU", "TensorRT"]


def test_number_of_objects_that_are_kept_is_bounded(monkeypatch):
    kept = []
    monkeypatch.setattr(backends, "keep_for_ever", lambda *things: kept.append(things))
    machine = Machine("cuda", **every())
    for _ in range(3 * MAX_KEPT_FAILURES):
        with pytest.raises(PolicyError):
            machine.fail(RuntimeError(OTHER[1]))
    assert len(kept) == MAX_KEPT_FAILURES


PROCESS = """
import ctypes, sys
from collections import Counter
from emf_ros.runtime import backends, device
from emf_ros.runtime.backends import Backend, Backends
from emf_ros.runtime.device import DevicePolicy

device.gpu_present = lambda: True

class Buffer:
    '''As the pinned memory of torch: freed after a sticky error, it ends the process.'''
    def __del__(self):
        ctypes.CDLL(None).abort()

class Gpu:
    description = "GPU"
    def __init__(self):
        self.buffer = Buffer()
    def infer(self):
        scratch = Buffer()
        raise RuntimeError({text!r})

class Cpu:
    description = "CPU"
    def infer(self):
        return "the CPU goes on"

def gpu():
    if {at_start}:
        Gpu().infer()
    return Gpu()

chain = Backends(
    [Backend("GPU", "cuda", gpu), Backend("CPU", "cpu", Cpu)],
    DevicePolicy("auto", ValueError), "the test", lambda text: None, Counter(),
)
for _ in range(2):
    print(chain.run(lambda runner: runner.infer()), flush=True)
"""


@pytest.mark.parametrize("at_start", [False, True])
def test_buffers_whose_destructors_throw_do_not_end_the_process(at_start):
    """After a sticky error torch throws where pinned memory is freed, and nothing can catch it."""
    script = textwrap.dedent(PROCESS).format(text=STICKY[0], at_start=at_start)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "the CPU goes on\n" * 2), done.stderr
