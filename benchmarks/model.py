"""The network alone: preset by engine by batch, and beside the published implementation.

python benchmarks/model.py
python benchmarks/model.py --reference DIR    # a checkout of TCPFormer's repository, to compare
python benchmarks/model.py --compile          # with torch.compile, which takes minutes on a CPU
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from published_tcpformer import reference
from torch import Tensor, nn

from emf_ros.lift.engine import OnnxEngine, default_threads
from emf_ros.model.export import export
from emf_ros.model.fused import FusedLifter, half_inside
from emf_ros.model.lifter import Lifter
from emf_ros.model.presets import PRESETS, LifterConfig
from emf_ros.model.statistics import macs
from emf_ros.runtime.machine import load, machine

BATCHES = (1, 8, 64)
Run = Callable[[], object]


def clips(batch: int, config: LifterConfig) -> Tensor:
    """Keypoints (B, T, J, 3); what they show is of no matter to the time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, config.frames, 17, 3, generator=generator)


# ------------------------------------------------------------------------------ engines


def torch_run(model: Callable[..., object], x: Tensor) -> Run:
    def run() -> object:
        with torch.inference_mode():
            return model(x)

    return run


def graph_run(model: nn.Module, x: Tensor) -> Run:
    """A CUDA graph of the model; copying the input in is part of it."""
    x, host = x.clone(), x.cpu().pin_memory()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.inference_mode():
        for _ in range(3):
            model(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode(), torch.cuda.graph(graph):
        out = model(x)

    def run() -> object:
        x.copy_(host, non_blocking=True)
        graph.replay()
        return out

    return run


def cpu_engines(
    config: LifterConfig, folder: Path, threads: int, compiled: bool
) -> Iterator[tuple[str, Callable[[int], Run]]]:
    lifter = Lifter(config).eval()
    fused = FusedLifter(lifter)
    yield "torch, as written", lambda batch: torch_run(lifter, clips(batch, config))
    yield "torch, fused", lambda batch: torch_run(fused, clips(batch, config))
    if compiled:
        module = torch.compile(fused)
        yield "torch, fused, compiled", lambda batch: torch_run(module, clips(batch, config))
    path = folder / "model.onnx"
    export(lifter, path)
    for count in sorted({1, threads}):
        engine = OnnxEngine(path, count)

        def onnx(batch: int, engine: OnnxEngine = engine) -> Run:
            x = clips(batch, config).numpy()
            return lambda: engine.lift(x)

        yield f"onnxruntime, {count} thread{'s' if count > 1 else ''}", onnx


def cuda_engines(
    config: LifterConfig, compiled: bool
) -> Iterator[tuple[str, Callable[[int], Run]]]:
    lifter = Lifter(config).eval()
    modules: dict[str, nn.Module] = {
        "as written": lifter,
        "fused": FusedLifter(copy.deepcopy(lifter)),
        # As the engine has it.
        "fused, half inside": half_inside(FusedLifter(copy.deepcopy(lifter))),
    }

    def plain(module: Callable[..., object], batch: int) -> Run:
        return torch_run(module, clips(batch, config).cuda())

    def captured(module: nn.Module, batch: int) -> Run:
        return graph_run(module, clips(batch, config).cuda())

    for how, module in modules.items():
        module.cuda()
        yield f"CUDA, {how}", partial(plain, module)
        if how != "as written":
            yield f"CUDA, {how}, graph", partial(captured, module)
            if compiled:
                yield f"CUDA, {how}, compiled", partial(plain, torch.compile(module))


# ------------------------------------------------------------------------------ measuring


def time_ms(run: Run, budget_s: float) -> tuple[float, float]:
    """Median and 95th percentile, ms, of as many runs as fit, three at least."""
    cuda = torch.cuda.is_available()
    run()
    times: list[float] = []
    end = time.perf_counter() + budget_s
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 200):
        if cuda:
            torch.cuda.synchronize()
        begin = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - begin))
    return float(np.median(times)), float(np.percentile(times, 95))


def print_row(cells: list[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def presets_table(names: list[str], args: argparse.Namespace) -> None:
    print_row(["preset", "engine", *(f"batch {b}: p50 (p95) ms" for b in BATCHES), "ms a clip"])
    print_row(["---"] * (3 + len(BATCHES)))
    for name in names:
        config = PRESETS[name]
        with tempfile.TemporaryDirectory() as folder:
            engines = list(cpu_engines(config, Path(folder), args.threads, args.compile))
            if torch.cuda.is_available():
                engines += list(cuda_engines(config, args.compile))
            for engine, prepare in engines:
                gflops = 5000.0 if "CUDA" in engine else 20.0 * args.threads
                cells, a_clip = [], float("nan")
                for batch in BATCHES:
                    expected_s = 2e-9 * batch * macs(config) / gflops
                    if expected_s > args.longest:
                        cells.append(f"over {args.longest:g} s")
                        continue
                    median, tail = time_ms(prepare(batch), args.seconds)
                    a_clip = median / batch
                    cells.append(f"{median:.1f} ({tail:.1f})")
                print_row([name, engine, *cells, f"{a_clip:.2f}"])


# ------------------------------------------------------------------------------ the reference


def reference_table(checkout: str, args: argparse.Namespace) -> None:
    """The published network and ours of the same size in turns, so that both see the same noise."""
    print_row(["16 layers, d 128", "engine", "p50 ms", "times faster"])
    print_row(["---"] * 4)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for frames in (27, 81):
        config = replace(PRESETS["base"], frames=frames)
        x = clips(1, config)
        theirs = reference(checkout, frames).to(device)
        runs: dict[str, Run] = {"published, torch": torch_run(theirs, x.to(device))}
        with tempfile.TemporaryDirectory() as folder:
            if device == "cpu":
                for name, prepare in cpu_engines(config, Path(folder), args.threads, args.compile):
                    runs[f"ours, {name}"] = prepare(1)
            else:
                for name, prepare in cuda_engines(config, args.compile):
                    runs[f"ours, {name}"] = prepare(1)
            times: dict[str, list[float]] = {name: [] for name in runs}
            for run in runs.values():
                run()
            for _ in range(args.rounds):
                for name, run in runs.items():
                    times[name].append(time_ms(run, 0.0)[0])
        base = float(np.median(times["published, torch"]))
        for name, measured in times.items():
            median = float(np.median(measured))
            print_row([f"T {frames}", name, f"{median:.1f}", f"{base / median:.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="*", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--seconds", type=float, default=3.0, help="spent on each figure")
    parser.add_argument("--longest", type=float, default=8.0, help="expected s of a run, at most")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--reference", metavar="DIR", help="checkout of the published TCPFormer")
    parser.add_argument("--rounds", type=int, default=5, help="of the comparison")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    print(f"{machine()}{gpu}, torch {torch.__version__}, {args.threads} threads, {load()}\n")
    presets_table(args.presets, args)
    if args.reference:
        print()
        reference_table(args.reference, args)


if __name__ == "__main__":
    main()
