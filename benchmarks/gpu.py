"""Checks a GPU: is each engine right, does it survive failures, how fast is it?

    python benchmarks/gpu.py              # some minutes; the output goes to gpu_check.log, too
    python benchmarks/gpu.py --training DIR   # and the training, on motion capture
    python benchmarks/gpu.py --rehearse   # the same code with the CPU in place of the GPU

Each check is `ok` or `FAIL`; the exit status is 1 if one failed. A rehearsal takes few people, and
leaves out the failures of a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gpu_checks import Checks, Log
from gpu_torch import passes, training

from emf_ros.detect.blazepose.detector import BlazePoseDetector
from emf_ros.io.paths import share_folder
from emf_ros.lift.engine import Engine, OnnxEngine, TorchEngine, make_engine
from emf_ros.runtime.device import gpu_present
from emf_ros.runtime.gpu_errors import first_line
from emf_ros.runtime.machine import load, machine
from emf_ros.runtime.onnx import CPU
from emf_ros.runtime.onnx_gpu import GPU_PROVIDERS

#: Numbers of people in a pass.
SIZES = (1, 2, 3, 8, 33, 64)
#: The same where the CPU stands in for the GPU.
REHEARSED_SIZES = (1, 3)
#: Maximum difference of a pose from the CPU's, m. Half precision is off by 2 mm at most.
TOLERANCE_M = 5e-3
#: Maximum difference of a landmark from the CPU's, px of the network's input.
TOLERANCE_PX = 3.0
#: Maximum time of a failure that is provoked, s.
FAILURE_S = 180.0

#: Number of passes whose results must be the same bits, and the same in a rehearsal.
REPEATED_PASSES = 30
REHEARSED_PASSES = 3

LITE = share_folder("models") / "lite.safetensors"


def people(count: int, frames: int, seed: int) -> np.ndarray:
    """Windows (count, frames, 17, 3) of keypoints that move smoothly."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, 0.02, (count, frames, 17, 3)).cumsum(axis=1)
    steps += rng.normal(0.0, 0.4, (count, 1, 17, 3))
    steps[..., 2] = rng.uniform(0.3, 1.0, steps.shape[:-1])
    return steps.astype(np.float32)


def engines(rehearsal: bool) -> dict[str, Callable[[], Engine]]:
    """The engines to check, by name."""
    onnx = LITE.with_suffix(".onnx")
    if rehearsal:
        return {
            "onnxruntime": lambda: OnnxEngine(onnx, 2),
            "torch": lambda: TorchEngine(LITE, "cpu", 1),
        }
    made: dict[str, Callable[[], Engine]] = {
        name: partial(OnnxEngine, onnx, 2, provider, print)
        for provider, name in GPU_PROVIDERS.items()
    }
    return {**made, "torch": lambda: TorchEngine(LITE, "cuda", 2)}


def lifter(checks: Checks, rehearsal: bool) -> None:
    """Each engine against the CPU, at all sizes in two orders, and its times."""
    exact, all_sizes = OnnxEngine(LITE.with_suffix(".onnx"), 2), sizes_of(rehearsal)
    for name, make in engines(rehearsal).items():
        began = time.monotonic()
        try:
            engine = make()
            engine.warm_up(all_sizes[-1])
        except Exception as error:
            checks.say(f"{name} starts", False, first_line(error))
            continue
        print(f"{engine.description}: ready in {time.monotonic() - began:.1f} s")
        worst = 0.0
        # Twice, in two orders: buffers and padding must not remember.
        for seed, sizes in enumerate((all_sizes, all_sizes[::-1])):
            for count in sizes:
                x = people(count, engine.config.frames, seed)
                mine, theirs = engine.lift(x), exact.lift(x)
                worst = max(
                    worst, *(float(np.abs(a - b).max()) for a, b in zip(mine, theirs, strict=True))
                )
        checks.say(f"{name} is right", worst < TOLERANCE_M, f"off by {1000 * worst:.2f} mm at most")
        x = people(all_sizes[-1], engine.config.frames, 0)
        first = engine.lift(x)[0].copy()
        passes = range(REHEARSED_PASSES if rehearsal else REPEATED_PASSES)
        same = in_a_thread(
            lambda: all(np.array_equal(engine.lift(x)[0], first) for _ in passes)  # noqa: B023
        )
        checks.say(f"{name} repeats itself in another thread", same)
        times = []
        for count in all_sizes:
            x = people(count, engine.config.frames, 0)
            times.append(f"{count}: {checks.median_ms(partial(engine.lift, x)):.2f}")
        print(f"ms by number of people: {', '.join(times)}")


def sizes_of(rehearsal: bool, sizes: tuple[int, ...] = SIZES) -> tuple[int, ...]:
    """The numbers of people in a pass."""
    return REHEARSED_SIZES if rehearsal else sizes


def in_a_thread(run: Callable[[], bool]) -> bool:
    """The result of a call in another thread; false where it fails."""
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join()
    return results == [True]


def together(checks: Checks, rehearsal: bool) -> None:
    """The lifter beside the detector, in one process as in `composed`: right, and how slow."""
    device = "cpu" if rehearsal else "cuda"
    detector = BlazePoseDetector("full", 8, 0.2, device)
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    exact = OnnxEngine(LITE.with_suffix(".onnx"), 2)
    count = sizes_of(rehearsal)[-1]
    for name, make in engines(rehearsal).items():
        try:
            engine = make()
            engine.warm_up(count)
        except Exception as error:
            print(f"{name} does not start: {first_line(error)}")
            continue
        x = people(count, engine.config.frames, 0)
        wanted, alone = exact.lift(x)[0], checks.median_ms(partial(engine.lift, x))
        stop, images = threading.Event(), Counter[str]()

        def detect() -> None:
            while not stop.is_set():  # noqa: B023
                detector.detect(image, images.total() * 33_333_333)  # noqa: B023
                images["detected"] += 1  # noqa: B023

        thread = threading.Thread(target=detect)
        thread.start()
        try:
            beside = checks.median_ms(partial(engine.lift, x))
            worst = max(float(np.abs(engine.lift(x)[0] - wanted).max()) for _ in range(5))
        finally:
            stop.set()
            thread.join()
        text = f"{alone:.2f} ms alone, {beside:.2f} ms beside {images.total()} images; "
        good = worst < TOLERANCE_M and images.total() > 0
        checks.say(f"{name} beside the detector", good, f"{text}off by {1000 * worst:.2f} mm")
    detector.close()


def detector(checks: Checks, rehearsal: bool) -> None:
    """BlazePose against the CPU, and whether a change of the batch size costs time."""
    picture = np.random.default_rng(0).integers(0, 256, (8, 256, 256, 3), np.uint8)

    def sessions(device: str) -> Any:
        made = BlazePoseDetector("full", 8, 0.2, device)
        print(made.description)
        return made._networks._backends.runner.sessions[1]

    began = time.monotonic()
    mine, theirs = sessions("cpu" if rehearsal else "cuda"), sessions("cpu")
    print(f"ready in {time.monotonic() - began:.1f} s")

    def landmarks(session: Any, count: int) -> np.ndarray:
        return np.asarray(session.run(("landmarks",), {"image": picture[:count]})[0])

    worst = max(float(np.abs(landmarks(mine, n) - landmarks(theirs, n)).max()) for n in (1, 2, 8))
    checks.say("landmarks", worst < TOLERANCE_PX, f"off by {worst:.2f} px at most")
    one, two = (checks.median_ms(partial(landmarks, mine, n)) for n in (1, 2))
    mixed = checks.median_ms(lambda: (landmarks(mine, 1), landmarks(mine, 2)))
    text = f"{one:.2f} and {two:.2f} ms alone, {mixed:.2f} ms in turns"
    # Times of a CPU, which others use, too, are no result.
    checks.say("batches of two sizes in turns", rehearsal or mixed < 1.5 * (one + two), text)


#: What a process of its own prints where a failure is survived.
FAILURES = {"out of memory": "still on the GPU", "sticky": "the CPU goes on", "race": "captured"}


def failures(checks: Checks) -> None:
    """Failures, each in a process of its own."""
    for name, wanted in FAILURES.items():
        done = subprocess.run(
            [sys.executable, __file__, "--fail", name],
            capture_output=True,
            text=True,
            timeout=FAILURE_S,
        )
        good = done.returncode == 0 and wanted in done.stdout
        end = (done.stdout + done.stderr).strip()[-500:]
        checks.say(name, good, f"exit status {done.returncode}; {end}")


def fail(name: str) -> None:
    """Provoke a failure of torch's engine, and lift on."""
    import torch

    counts: Counter[Any] = Counter()
    if name == "race":
        # As a detector in this process may: it synchronises while graphs are captured.
        stop = threading.Event()

        def disturb() -> None:
            while not stop.is_set():
                torch.randn(9999, device="cuda").sum().item()
                torch.cuda.synchronize()

        disturber = threading.Thread(target=disturb)
        disturber.start()
        try:
            for _ in range(5):
                TorchEngine(LITE, "cuda", 2).warm_up(SIZES[-1])
        finally:
            stop.set()
            disturber.join()
        print("captured")
        return
    if name == "out of memory":
        engine = TorchEngine(LITE, "cuda", 2)
        engine.warm_up(SIZES[-1])
        needed = torch.cuda.max_memory_reserved()
        del engine
        torch.cuda.empty_cache()
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(0.45 * needed / whole)
    guarded = make_engine(weights=LITE, device="auto", engine="torch", counts=counts)
    x = people(SIZES[-1], guarded.config.frames, 0)
    if name == "sticky":
        guarded.lift(x[:2])
        try:
            torch.zeros(1, device="cuda")[torch.tensor([7], device="cuda")].item()
        except RuntimeError as error:
            print(first_line(error))
    else:
        guarded.warm_up(SIZES[-1])
    positions = guarded.lift(x)[0]
    exact = OnnxEngine(LITE.with_suffix(".onnx"), 2).lift(x)[0]
    right = float(np.abs(positions - exact).max()) < TOLERANCE_M
    print(guarded.description, dict(counts), "right" if right else "WRONG")
    if right and guarded.device == ("cpu" if name == "sticky" else "cuda"):
        print(FAILURES[name])


def versions() -> None:
    """The driver and the libraries."""
    import onnxruntime
    import torch

    print(f"{machine()}; {load()}")
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv"]
        print(subprocess.run(asked, capture_output=True, text=True).stdout.strip())
    except OSError as error:
        print(error)
    print(f"onnxruntime {onnxruntime.__version__}, {onnxruntime.get_available_providers()}")
    print(f"torch {torch.__version__}, built for {torch.cuda.get_arch_list()}, CPU provider {CPU}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rehearse", action="store_true", help="the CPU in place of the GPU")
    parser.add_argument("--training", default="", metavar="DIR", help="train on motion capture")
    parser.add_argument("--log", type=Path, default=Path("gpu_check.log"))
    parser.add_argument("--fail", choices=FAILURES, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.fail:
        fail(args.fail)
        return 0
    if not (args.rehearse or gpu_present()):
        print("there is no CUDA GPU")
        return 1
    with contextlib.redirect_stdout(Log(args.log)):
        return check(args)


def check(args: argparse.Namespace) -> int:
    """Run all parts; 1 if a check failed."""
    checks = Checks(args.rehearse)
    checks.part("Machine", versions)
    checks.part("Lifter", lambda: lifter(checks, args.rehearse))
    checks.part("Detector", lambda: detector(checks, args.rehearse))
    checks.part("Both at once", lambda: together(checks, args.rehearse))
    if not args.rehearse:
        checks.part("Failures", lambda: failures(checks))
    checks.part("The pass alone", lambda: passes(checks))
    if args.training:
        checks.part("Training", lambda: training(checks, args.training))
    print(f"\nfailed: {', '.join(checks.failed)}" if checks.failed else "\nall right")
    print(f"the whole output is in {args.log}")
    return int(bool(checks.failed))


if __name__ == "__main__":
    sys.exit(main())
