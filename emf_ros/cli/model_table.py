"""The presets as a table, measured on this machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..lift.engine import Engine, OnnxEngine, TorchEngine, default_threads
from ..model.checkpoint import save_weights
from ..model.export import ExportError, export
from ..model.lifter import Lifter
from ..model.presets import PRESETS, presets_with_weights
from ..model.statistics import macs, parameters


def cpu_ms(engine: Engine, seconds: float) -> float:
    """Median time of one clip, ms."""
    rng, c = np.random.default_rng(0), engine.config
    keypoints = rng.normal(0.0, 0.5, (1, c.frames, 17, c.motion.channels)).astype(np.float32)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        engine.lift(keypoints)
        times.append(1000 * (time.perf_counter() - begin))
    # The first run is slower, since it allocates memory.
    return float(np.median(times[1:]))


def lines(threads: int | None = None, seconds: float = 2.0) -> Iterator[str]:
    """Lines of a table of the presets with weights; each preset is measured when its line is read.

    The weights are random, since time depends on sizes only.
    """
    threads = threads or default_threads()
    yield (
        f"{'preset':<8}{'T':>4}{'layers':>8}{'d':>5}{'parameters':>12}{'GMAC/clip':>11}"
        f"{'MMAC/frame':>12}{'CPU ms':>9}  engine"
    )
    for name in presets_with_weights():
        c = PRESETS[name]
        with tempfile.TemporaryDirectory() as folder:
            lifter = Lifter(c).eval()
            try:
                path = Path(folder) / f"{name}.onnx"
                export(lifter, path)
                engine: Engine = OnnxEngine(path, threads)
            except (ImportError, ExportError):
                path = Path(folder) / f"{name}.safetensors"
                save_weights(path, lifter)
                engine = TorchEngine(path, "cpu", threads)
            took = cpu_ms(engine, seconds)
        total = macs(c)
        yield (
            f"{name:<8}{c.frames:>4}{c.layers:>8}{c.dim:>5}{parameters(c):>12,}{total / 1e9:>11.2f}"
            f"{total / 1e6 / c.frames:>12.1f}{took:>9.1f}  {engine.description}"
        )
