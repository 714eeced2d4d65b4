"""Checks a GPU: is each engine right, does it survive failures, how fast is it?

    python benchmarks/gpu.py              # some minutes; the output goes to gpu_check.log, too
    python benchmarks/gpu.py --training DIR   # and the training, on motion capture
    python benchmarks/gpu.py --rehearse   # the same code with the CPU in place of the GPU

Each check is `ok` or `FAIL`; the exit status is 1 if one failed. A rehearsal takes few people, and
leaves out the failures of a GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

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
#: Time for which each pass is measured, s.
MEASURED_S = 0.5
#: Maximum time of a failure that is provoked, s.
FAILURE_S = 180.0

#: Number of passes whose results must be the same bits.
REPEATED_PASSES = 30

LITE = share_folder("models") / "lite.safetensors"


class Log:
    """stdout that also goes to a file."""

    def __init__(self, path: Path) -> None:
        self._file, self._stdout = path.open("w", encoding="utf-8"), sys.stdout

    def write(self, text: str) -> int:
        self._file.write(text)
        return self._stdout.write(text)

    def flush(self) -> None:
        self._file.flush()
        self._stdout.flush()


class Checks:
    """The results of the checks."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def say(self, name: str, good: bool, text: str = "") -> None:
        """Print a result, and remember a failure."""
        print("ok  " if good else "FAIL", f"{name}: {text}", flush=True)
        self.failed += [name] * (not good)

    def part(self, name: str, run: Callable[[], None]) -> None:
        """Run a part; an error is a failure of the part, and the next one follows."""
        print(f"\n{name}", flush=True)
        began = time.monotonic()
        try:
            run()
        except Exception as error:
            self.say(name, False, f"{type(error).__name__}: {first_line(error)}")
        print(f"({time.monotonic() - began:.0f} s)", flush=True)


def median_ms(run: Callable[[], Any]) -> float:
    """Median time of a call that waits for its result, ms."""
    run()
    times: list[float] = []
    end = time.perf_counter() + MEASURED_S
    while len(times) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times))


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
        same = in_a_thread(
            lambda: all(np.array_equal(engine.lift(x)[0], first) for _ in range(REPEATED_PASSES))  # noqa: B023
        )
        checks.say(f"{name} repeats itself in another thread", same)
        times = []
        for count in all_sizes:
            x = people(count, engine.config.frames, 0)
            times.append(f"{count}: {median_ms(partial(engine.lift, x)):.2f}")
        print(f"ms by number of people: {', '.join(times)}")


def sizes_of(rehearsal: bool) -> tuple[int, ...]:
    """The numbers of people in a pass."""
    return REHEARSED_SIZES if rehearsal else SIZES


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
        wanted, alone = exact.lift(x)[0], median_ms(partial(engine.lift, x))
        stop, images = threading.Event(), Counter[str]()

        def detect() -> None:
            while not stop.is_set():  # noqa: B023
                detector.detect(image, images.total() * 33_333_333)  # noqa: B023
                images["detected"] += 1  # noqa: B023

        thread = threading.Thread(target=detect)
        thread.start()
        try:
            beside = median_ms(partial(engine.lift, x))
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
    one, two = (median_ms(partial(landmarks, mine, n)) for n in (1, 2))
    mixed = median_ms(lambda: (landmarks(mine, 1), landmarks(mine, 2)))
    text = f"{one:.2f} and {two:.2f} ms alone, {mixed:.2f} ms in turns"
    checks.say("batches of two sizes in turns", mixed < 1.5 * (one + two), text)


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


def mean_ms(run: Callable[[], Any], several: int) -> float:
    """Mean time of a call, of several in a row: clips are made for several steps at once."""
    return median_ms(lambda: [run() for _ in range(several)]) / several


def waits_of(run: Callable[[], Any]) -> int:
    """How often the host waits for the GPU in a call."""
    import torch

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in given)


def training(checks: Checks, mocap: str, device: str) -> None:
    """Time of a training step, and whether the loss falls."""
    from emf_ros.train.trainer import TrainConfig, Trainer

    for preset, batch in (("lite", 256), ("base", 16)) if device == "cuda" else (("lite", 4),):
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(preset, mocap, folder, batch=batch, short_share=0.0)
            trainer = Trainer(config, device)
            first = float(trainer.train_step()["position"])
            for _ in range(20):
                last = float(trainer.train_step()["position"])
            several = trainer.synthesized_steps
            step = mean_ms(lambda: float(trainer.train_step()["position"]), several)  # noqa: B023
            synthesis = mean_ms(lambda: float(trainer.synthesize()[1].sum()), several)  # noqa: B023
            waits = waits_of(trainer.train_step) if device == "cuda" else 0
        text = f"batch {batch}: {step:.0f} ms a step, of it synthesis {synthesis:.0f}; "
        text += f"{waits} waits; position {1000 * first:.0f} to {1000 * last:.0f} mm"
        checks.say(f"{preset} trains", last < first, text)


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
    sys.stdout = Log(args.log)
    checks = Checks()
    checks.part("Machine", versions)
    checks.part("Lifter", lambda: lifter(checks, args.rehearse))
    checks.part("Detector", lambda: detector(checks, args.rehearse))
    checks.part("Both at once", lambda: together(checks, args.rehearse))
    if not args.rehearse:
        checks.part("Failures", lambda: failures(checks))
    if args.training:
        device = "cpu" if args.rehearse else "cuda"
        checks.part("Training", lambda: training(checks, args.training, device))
    print(f"\nfailed: {', '.join(checks.failed)}" if checks.failed else "\nall right")
    print(f"the whole output is in {args.log}")
    return int(bool(checks.failed))


if __name__ == "__main__":
    sys.exit(main())
