"""One step of the lifter, everything between keypoints and metric skeletons: by number of people,
by its parts, and by how long the people have been tracked.

python benchmarks/lifter_step.py
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from emf_ros.geometry.camera import Camera
from emf_ros.io.paths import share_folder
from emf_ros.lift import pipeline as pipeline_module
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import Engine, OnnxEngine, TorchEngine, default_threads
from emf_ros.lift.forward import run_model
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.runtime.heap import keep_freed_memory
from emf_ros.runtime.machine import load, machine
from emf_ros.types import Frame2D, Pose2D

CAMERA = Camera.from_fov(1280, 720, 60.0)

#: Numbers of people.
PEOPLE = (1, 2, 4, 8)

#: How long everybody has been followed when steps are timed; at the first the window is full.
AGES_S = (1, 10, 60)


def walking(people: int, index: int) -> list[Pose2D]:
    """Keypoints that move; what they show is of no matter to the time that a step takes."""
    rng = np.random.default_rng(7)
    out = []
    for i in range(people):
        keypoints = np.empty((17, 3))
        keypoints[:, :2] = rng.normal((640, 360), (60, 150), (17, 2))
        keypoints[:, 0] += 150 * np.sin(0.02 * index) + 10 * i
        keypoints[:, 2] = 0.9
        out.append(Pose2D(keypoints, track_id=i + 1))
    return out


def steps_ms(engine: Engine, people: int, count: int) -> np.ndarray:
    """(count,) times of the first `count` steps, ms."""
    pipeline = LiftPipeline(engine, PipelineConfig(max_people=people))
    pipeline.set_camera(CAMERA)
    times = []
    for index in range(count):
        frame = Frame2D(index * 33_333_333, "", "h36m17", CAMERA.size, walking(people, index))
        begin = time.perf_counter()
        result = pipeline.update(frame)
        times.append(1000 * (time.perf_counter() - begin))
        assert result is not None and len(result.people) == people
    return np.array(times)


def parts_ms(engine: Engine, people: int, repeats: int) -> dict[str, float]:
    """Mean CPU time of each part of a step, ms, with an engine of one thread."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            begin = time.thread_time()
            result = function(*args)
            spent[name] += 1000 * (time.thread_time() - begin) / repeats
            return result

        return run

    pipeline = LiftPipeline(engine, PipelineConfig(max_people=people))
    pipeline.set_camera(CAMERA)
    observe, cut = timed("keypoints in", pipeline.observe), timed("windows", pipeline.windows)
    network, poses = timed("network", run_model), timed("poses", pipeline.poses)
    stages = pipeline_module.STAGES
    pipeline_module.STAGES = tuple(timed(stage.__name__, stage) for stage in stages)
    try:
        for index in range(engine.config.frames + repeats):
            if index == engine.config.frames:
                spent.clear()
            stamp_ns = index * 33_333_333
            observe(Frame2D(stamp_ns, "", "h36m17", CAMERA.size, walking(people, index)))
            windows = cut()
            (lifted,) = network(engine, [windows])
            poses(windows, lifted)
    finally:
        pipeline_module.STAGES = stages
    spent["the rest of poses"] = spent["poses"] - sum(spent[stage.__name__] for stage in stages)
    del spent["poses"]
    return spent


def by_part(engine: Engine, repeats: int) -> None:
    columns = [parts_ms(engine, people, repeats) for people in PEOPLE]
    for part in columns[0]:
        print_row([part, *(f"{column[part]:.2f}" for column in columns)])
    sums = [sum(column.values()) for column in columns]
    around = [total - column["network"] for total, column in zip(sums, columns, strict=True)]
    print_row(["all around the network", *(f"{total:.2f}" for total in around)])
    print_row(["all", *(f"{total:.2f}" for total in sums)])
    print_row(["times one", *(f"{total / sums[0]:.2f}" for total in sums)])


def print_row(cells: list[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def by_people(name: str, engine: Engine, repeats: int) -> None:
    one = float("nan")
    for people in PEOPLE:
        full = steps_ms(engine, people, engine.config.frames + repeats)[-repeats:]
        p50, p95 = np.percentile(full, [50, 95])
        one = p50 if people == 1 else one
        print(
            f"| {name} | {people} | {p50:.1f} | {p95:.1f} | {p50 / people:.1f} | {p50 / one:.1f} |",
            flush=True,
        )


def by_age(engine: Engine, people: int, repeats: int) -> None:
    rate_hz = round(engine.config.rate_hz)
    times = steps_ms(engine, people, max(AGES_S) * rate_hz + repeats)
    one = float("nan")
    for age in AGES_S:
        p50, p95 = np.percentile(times[age * rate_hz :][:repeats], [50, 95])
        one = p50 if age == AGES_S[0] else one
        print(f"| {age} s | {people} | {p50:.1f} | {p95:.1f} | {p50 / one:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--repeats", type=int, default=60)
    args = parser.parse_args()
    # As the nodes do.
    keep_freed_memory()
    folder, threads = share_folder("models"), default_threads()
    print(f"lifter step, {args.preset}, {machine()}, {load()}\n")
    print("| engine | people | p50 ms | p95 ms | ms a person | times one |\n" + "|---" * 6 + "|")
    onnx, weights = folder / f"{args.preset}.onnx", folder / f"{args.preset}.safetensors"
    fastest = OnnxEngine(onnx, threads)
    engines: list[tuple[str, Engine]] = [
        (f"onnxruntime, {threads} threads", fastest),
        ("onnxruntime, 1 thread", OnnxEngine(onnx, 1)),
        (f"torch, {threads} threads", TorchEngine(weights, "cpu", threads)),
    ]
    if torch.cuda.is_available():
        engines.append(("torch, CUDA", TorchEngine(weights, "cuda", threads)))
    for name, engine in engines:
        by_people(name, engine, args.repeats)
    print("\ngoal: eight people under 3 times one\n")
    print_row(["part, CPU ms on one thread", *(f"{people} people" for people in PEOPLE)])
    print("|---" * (1 + len(PEOPLE)) + "|")
    by_part(OnnxEngine(onnx, 1), args.repeats)
    print()
    print("| tracked for | people | p50 ms | p95 ms | times first |\n" + "|---" * 5 + "|")
    by_age(fastest, 2, args.repeats)


if __name__ == "__main__":
    main()
