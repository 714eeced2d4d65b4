"""The tables of `gpu.py` that torch alone gives: the pass by kind of attention, and training."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from gpu_checks import Checks
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from emf_ros.model.fused import FusedLifter, half_inside
from emf_ros.model.lifter import Lifter
from emf_ros.model.presets import PRESETS, LifterConfig
from emf_ros.runtime.gpu_errors import first_line
from emf_ros.train.settings import TrainConfig
from emf_ros.train.supply import STEPS_AT_ONCE
from emf_ros.train.trainer import Trainer

#: A network for rehearsals.
TINY: dict[str, Any] = {"frames": 9, "layers": 1, "dim": 16, "dim_rep": 16, "heads": 2}
#: Numbers of people of the pass alone, with each kind of attention.
PASS_SIZES = (1, 8, 64)
#: The same in a rehearsal.
REHEARSED_PASS_SIZES = (1,)


def passes(checks: Checks) -> None:
    """The pass alone, with random weights: each kind of attention, and torch.compile."""
    rehearsal = checks.rehearsal
    sizes = REHEARSED_PASS_SIZES if rehearsal else PASS_SIZES
    kinds = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    kinds += [] if rehearsal else [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]
    presets = (
        {"tiny": LifterConfig(**TINY)} if rehearsal else {n: PRESETS[n] for n in ("lite", "base")}
    )

    def measured(network: Any, count: int, frames: int) -> str:
        x = torch.rand(count, frames, 17, 3)
        try:
            if rehearsal:
                return f"{count}: {checks.median_ms(lambda: network(x)):.2f}"
            torch.cuda.reset_peak_memory_stats()
            replay = captured(network, x.cuda())
            peak = torch.cuda.max_memory_allocated() / 1e9
            return f"{count}: {checks.median_ms(replay):.2f} ({peak:.2f} GB)"
        except RuntimeError as error:
            return f"{count}: {first_line(error)}"

    with torch.inference_mode():
        for name, config in presets.items():
            network: Any = FusedLifter(Lifter(config).eval())
            network = network if rehearsal else half_inside(network).cuda()
            compiled = torch.compile(network, dynamic=False, backend=compiler(rehearsal))
            ways = [(kind.name, network, [kind]) for kind in kinds]
            for way, run, allowed in [*ways, ("torch.compile", compiled, kinds[:3])]:
                with sdpa_kernel(allowed):
                    times = [measured(run, n, config.frames) for n in sizes]
                print(f"{name}, {way}: ms by number of people: {', '.join(times)}", flush=True)


def compiler(rehearsal: bool) -> str:
    """What torch.compile uses; `eager` needs no compiler of C++."""
    return "eager" if rehearsal else "inductor"


def captured(network: Any, x: Any) -> Callable[[], None]:
    """A call that replays the CUDA graph of a pass, and waits."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            network(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        outputs = network(x)

    def replay(_kept: Any = outputs) -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replay


def waits_of(run: Callable[[], Any]) -> int:
    """How often the host waits for the GPU in a call."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in given)


def training(checks: Checks, mocap: str) -> None:
    """Time of a training step, and whether the loss falls."""
    on_gpu = not checks.rehearsal
    device, lifter = ("cuda", {}) if on_gpu else ("cpu", TINY)
    for preset, batch in (("lite", 256), ("base", 16)) if on_gpu else (("lite", 8),):
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(preset, mocap, folder, batch=batch, short_share=0.0, lifter=lifter)
            trainer = Trainer(config, device)
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            first, last = position(trainer), 0.0
            for _ in range(20):
                last = position(trainer)
            step = mean_ms(checks, lambda: position(trainer), trainer)  # noqa: B023
            synthesis = mean_ms(checks, lambda: float(trainer.synthesize()[1].sum()), trainer)  # noqa: B023
            waits = waits_of(trainer.train_step) if on_gpu else 0
            peak = torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0
            text = f"batch {batch}: {step:.0f} ms a step, of it synthesis {synthesis:.0f}; "
            text += (
                f"{waits} waits; {peak:.1f} GB; position {1000 * first:.0f} to {1000 * last:.0f} mm"
            )
            checks.say(f"{preset} trains", checks.rehearsal or last < first, text)
            backend = compiler(not on_gpu)
            trainer._parallel = cast(
                nn.Module, torch.compile(trainer._parallel, dynamic=False, backend=backend)
            )
            step = mean_ms(checks, lambda: position(trainer), trainer)  # noqa: B023
            print(f"{preset} with torch.compile: {step:.0f} ms a step", flush=True)


def position(trainer: Any) -> float:
    """The error of positions in a training step, m; waits for it."""
    return float(trainer.train_step()["position"])


def mean_ms(checks: Checks, run: Callable[[], Any], trainer: Any) -> float:
    """Mean time of a call, ms, of several in a row: clips are made for several steps at once."""
    several = STEPS_AT_ONCE
    return checks.median_ms(lambda: [run() for _ in range(several)]) / several
