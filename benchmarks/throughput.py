"""What the engines get through: windows a second and ms a pass, by number of people.

python benchmarks/throughput.py
python benchmarks/throughput.py --device cuda --engine torch --batches 1 32
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence

import numpy as np

from emf_ros.lift.batching import BUCKETS
from emf_ros.lift.engine import ENGINES, Engine, EngineError, default_threads, make_engine
from emf_ros.lift.engine_base import clip_shape
from emf_ros.model.presets import PRESETS
from emf_ros.runtime.machine import load, machine


def clips(engine: Engine, people: int) -> np.ndarray:
    """Keypoints; what they show is of no matter to the time."""
    shape = (people, *clip_shape(engine.config))
    return np.random.default_rng(0).normal(0.0, 0.5, shape).astype(np.float32)


def pass_ms(engine: Engine, batches: Sequence[int], seconds: float) -> list[float]:
    """Median times of passes, three at least; what comes back is in the CPU's memory. In turns, so
    that what else the machine does falls on all alike."""
    given = [clips(engine, people) for people in batches]
    times: list[list[float]] = [[] for _ in batches]
    end = time.perf_counter() + seconds
    while len(times[0]) < 3 or time.perf_counter() < end:
        for keypoints, measured in zip(given, times, strict=True):
            begin = time.perf_counter()
            engine.lift(keypoints)
            measured.append(1000 * (time.perf_counter() - begin))
    return [float(np.median(measured)) for measured in times]


def kernels_ms(engine: Engine, keypoints: np.ndarray, passes: int = 20) -> float:
    """Time that the GPU works in a pass, ms: kernels and copies."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    engine.lift(keypoints)
    with warnings.catch_warnings(), profile(activities=[ProfilerActivity.CUDA]) as recorded:
        warnings.simplefilter("ignore")
        for _ in range(passes):
            engine.lift(keypoints)
    on_gpu = [e for e in recorded.events() if e.device_type == DeviceType.CUDA]
    return sum(e.time_range.elapsed_us() for e in on_gpu) / 1000 / passes


def table(engine: Engine, args: argparse.Namespace) -> None:
    engine.warm_up(max(args.batches))
    took = pass_ms(engine, args.batches, args.seconds)
    for people, ms in zip(args.batches, took, strict=True):
        cells = [engine.description, str(people), f"{ms:.2f}", f"{1000 * people / ms:.0f}"]
        cells.append(f"{ms / took[0]:.1f}")
        on_gpu = engine.device == "cuda"
        cells.append(f"{kernels_ms(engine, clips(engine, people)):.2f}" if on_gpu else "")
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="lite", choices=list(PRESETS))
    parser.add_argument("--weights", help="instead of the preset's")
    parser.add_argument("--engine", nargs="*", default=ENGINES[1:], choices=ENGINES[1:])
    parser.add_argument("--device", nargs="*", default=("cuda", "cpu"), choices=("cuda", "cpu"))
    parser.add_argument("--batches", nargs="*", type=int, default=BUCKETS)
    parser.add_argument("--seconds", type=float, default=20.0, help="spent on each engine")
    parser.add_argument("--threads", type=int, default=default_threads())
    args = parser.parse_args()
    print(f"{args.preset}, {machine()}, {load()}\n")
    print("| engine | people | ms a pass | windows/s | times the first | of it GPU ms |")
    print("| " + " | ".join(["---"] * 6) + " |")
    measured = 0
    for device in args.device:
        for name in args.engine:
            try:
                engine = make_engine(args.preset, args.weights, device, args.threads, name)
            except EngineError as error:
                print(f"| {name} on {device}: {error} |||||", flush=True)
                continue
            table(engine, args)
            measured += 1
    if not measured:
        raise SystemExit("no engine runs here")


if __name__ == "__main__":
    main()
