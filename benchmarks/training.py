"""Training speed: clips a second per preset and device, the share of synthesis, and memory.

python benchmarks/training.py --mocap DIR
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch

from emf_ros.lift.engine import default_threads
from emf_ros.model.presets import PRESETS
from emf_ros.runtime.gpu_errors import free_gpu_memory, is_out_of_memory
from emf_ros.runtime.machine import load, machine
from emf_ros.train.settings import TrainConfig
from emf_ros.train.supply import STEPS_AT_ONCE
from emf_ros.train.trainer import Trainer


def seconds(work: Callable[[], object], several: int, cuda: bool, budget_s: float) -> float:
    """Median time of a call, as the mean of several in a row, as clips are made for several steps.

    As many as fit, three times at least.
    """
    work()
    times: list[float] = []
    end = time.perf_counter() + budget_s
    while len(times) < 3 or time.perf_counter() < end:
        if cuda:
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(several):
            work()
        if cuda:
            torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / several)
    return float(np.median(times))


def memory_mb(cuda: bool) -> float:
    """The largest so far: of the GPU, or of the process."""
    if cuda:
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def rows(preset: str, mocap: str, device: str, batch: int, budget_s: float) -> None:
    cuda = device == "cuda"
    for short in (False, True):
        with tempfile.TemporaryDirectory() as out:
            config = TrainConfig(preset, mocap, out, batch=batch, short_share=float(short))
            trainer = Trainer(config, device)
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            several = STEPS_AT_ONCE
            step = seconds(trainer.train_step, several, cuda, budget_s)
            synthesis = seconds(trainer.synthesize, several, cuda, budget_s / 4)
            frames = trainer.lifter.config.frames
            clips, length = (3 * batch, frames // 3) if short else (batch, frames)
            print(
                f"{preset:<8}{device:<6}{clips:>6}{length:>5}{1000 * step:>10.1f}"
                f"{clips / step:>10.1f}{100 * synthesis / step:>11.1f} %{memory_mb(cuda):>9.0f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mocap", required=True, metavar="DIR")
    parser.add_argument("--presets", nargs="*", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument(
        "--batch", type=int, help="clips a step (8 on the CPU; 64 on a GPU, or what fits)"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="spent on each row (6)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    gpu = f", {torch.cuda.get_device_name()}" if len(devices) == 2 else ""
    print(f"{machine()}{gpu}, torch {torch.__version__}, {args.threads} threads, {load()}\n")
    print(
        f"{'preset':<8}{'on':<6}{'clips':>6}{'T':>5}{'step ms':>10}{'clips/s':>10}"
        f"{'synthesis':>13}{'MB':>9}"
    )
    for preset in args.presets:
        for device in devices:
            batch = args.batch or (64 if device == "cuda" else 8)
            while True:
                try:
                    rows(preset, args.mocap, device, batch, args.seconds)
                    break
                except RuntimeError as error:
                    # `base` needs more than a gigabyte a clip.
                    if batch == 1 or not is_out_of_memory(error):
                        raise
                print(f"{preset:<8}{device:<6}{batch:>6}  do not fit", flush=True)
                batch //= 2
                free_gpu_memory()


if __name__ == "__main__":
    main()
